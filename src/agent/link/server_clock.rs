//! The control plane's clock, as its answers show it, and the signing times that follow from it.

use crate::clock::{self, Timestamp};

/// Differences up to this many seconds come from the network and are not corrected.
const OFFSET_IGNORED_S: i64 = 2;

/// The control plane's clock.
#[derive(Default)]
pub struct ServerClock {
    offset_s: i64,
    last_signed_at: i64,
}

impl ServerClock {
    /// Learns the server's time from an answer. True if the local clock turned out to be off by another amount.
    pub fn learn(&mut self, server_time: Option<Timestamp>) -> bool {
        let Some(server_time) = server_time else { return false };
        let offset_s = server_time.secs() - clock::now().secs();
        let offset_s = if offset_s.abs() <= OFFSET_IGNORED_S { 0 } else { offset_s };
        let is_news = (offset_s - self.offset_s).abs() > OFFSET_IGNORED_S;
        // A clock that is off by a part of a second must not look different in every report: each is a write there.
        if is_news {
            self.offset_s = offset_s;
        }
        is_news
    }

    /// Error of the local clock in seconds; positive if it is behind.
    pub fn offset_s(&self) -> i64 {
        self.offset_s
    }

    /// The server's time now.
    pub fn now(&self) -> Timestamp {
        clock::now().plus_secs(self.offset_s)
    }

    /// The next signing time, in epoch seconds: now, and newer than every previous one.
    pub fn sign_at(&mut self) -> i64 {
        self.last_signed_at = self.now().secs().max(self.last_signed_at + 1);
        self.last_signed_at
    }

    /// Treats this time, in epoch seconds, as one that was signed already.
    pub fn sign_after(&mut self, signed_at: i64) {
        self.last_signed_at = self.last_signed_at.max(signed_at);
    }

    /// Forgets previous signing times: a clock that ran ahead must not hold back the right one.
    pub fn forget_signed(&mut self) {
        self.last_signed_at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_times_grow_and_follow_the_servers_clock() {
        let mut clock = ServerClock::default();
        let first = clock.sign_at();
        assert!(clock.sign_at() > first);
        clock.sign_after(first + 7);
        assert_eq!(clock.sign_at(), first + 8);
        assert!(clock.learn(Some(clock::now().plus_secs(500))));
        assert!(!clock.learn(Some(clock::now().plus_secs(500))), "known already");
        let known = clock.offset_s();
        assert!(
            !clock.learn(Some(clock::now().plus_secs(501))) && clock.offset_s() == known,
            "a second does not count"
        );
        assert!(clock.sign_at() >= first + 499);
        clock.learn(Some(clock::now().plus_secs(1)));
        assert_eq!(clock.offset_s(), 0, "a second is the network's");
        clock.forget_signed();
        assert!(clock.sign_at() < first + 100);
    }
}
