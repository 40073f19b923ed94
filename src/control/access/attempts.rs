//! Failed sign-ins: networks with too many of them are locked for a while. A client with an IPv6 network may use any of
//! its addresses, so failures count for the networks around an address too.

use crate::buckets::Buckets;
use crate::clock;
use crate::error::{Error, Result};
use crate::model::address::{self, Network};
use crate::thread::lock;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Failed sign-ins from one address (an IPv6 /64), a /56 and a /48 that lock it.
const FAILURES_MAX: [usize; 3] = [5, 10, 20];
/// Window in which failures are counted.
const FAILURES_WITHIN: Duration = Duration::from_secs(60);
/// Duration of the lock.
const LOCKED_FOR: Duration = Duration::from_secs(300);
/// Seconds after which to try again where running checks use up what may be wrong: they end within a second.
const BUSY_RETRY_S: u64 = 1;
/// Maximum number of remembered networks. Above it the ones with the oldest failures are forgotten first, but never a
/// locked one: password checks are too slow for locks alone to fill the table.
const NETWORKS_MAX: usize = 10_000;
/// Maximum number of remembered characters of a name: the maximum length of a name.
const NAME_CHARS_MAX: usize = 128;

/// Failures per second, and burst, of all clients that no proxy names. They look like one client to us, and none of
/// them may be able to lock out the others.
const UNNAMED_PER_S: f64 = 1.0;
const UNNAMED_BURST: f64 = 60.0;

/// Record of failed sign-ins.
pub(in crate::control) struct Attempts {
    networks: Mutex<HashMap<Network, Tally>>,
    /// Budget of the clients that no proxy names.
    unnamed: Buckets<()>,
}

impl Default for Attempts {
    fn default() -> Attempts {
        Attempts { networks: Mutex::default(), unnamed: Buckets::new(UNNAMED_PER_S, UNNAMED_BURST) }
    }
}

/// Failures of a network.
#[derive(Default)]
struct Tally {
    /// Failures, including running checks.
    failures: Vec<Failure>,
    locked_until: Option<Instant>,
}

#[derive(Clone)]
struct Failure {
    at: Instant,
    /// The attempted name.
    name: String,
    client: IpAddr,
    /// True until the check has ended.
    is_running: bool,
}

/// An attempt whose check is running. If it is dropped before its end is known, it was never checked and leaves nothing
/// behind.
pub(in crate::control) struct Attempt<'a> {
    attempts: &'a Attempts,
    pub address: IpAddr,
    /// The attempted name.
    pub name: String,
    charged: Instant,
    is_settled: bool,
}

impl Tally {
    fn is_locked(&self, now: Instant) -> bool {
        self.locked_until.is_some_and(|until| until > now)
    }

    /// Forgets old failures. Returns true if any are left.
    fn keeps(&mut self, now: Instant) -> bool {
        self.failures.retain(|failure| now - failure.at < FAILURES_WITHIN);
        self.is_locked(now) || !self.failures.is_empty()
    }
}

impl Attempts {
    /// Starts an attempt, which counts against the limit while its check runs, so that many at once are no more guesses
    /// than one after another. Only failures lock a network: where running checks reach the limit, the next must wait.
    pub fn charge(&self, address: IpAddr, name: &str) -> Result<Attempt<'_>> {
        let now = clock::tick();
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        if address == address::UNNAMED {
            self.unnamed.take(()).map_err(refused)?;
        } else {
            let networks = address::networks(address);
            let mut all = lock(&self.networks);
            admit(&mut all, &networks, now)?;
            make_room(&mut all, &networks, now)?;
            let failure = Failure { at: now, name: name.clone(), client: address::client(address), is_running: true };
            for network in networks {
                all.entry(network).or_default().failures.push(failure.clone());
            }
        }
        Ok(Attempt { attempts: self, address, name, charged: now, is_settled: false })
    }
}

impl Attempt<'_> {
    /// Counts the attempt as failed.
    pub fn fail(&mut self) {
        self.is_settled = true;
        self.settle(|failures, own| {
            if let Some(i) = own {
                failures[i].is_running = false;
            }
        });
    }

    /// Clears the address's failures with this name after a correct password, but only these: the owner of one account
    /// must not be able to guess at others for ever.
    pub fn succeed(mut self) {
        self.is_settled = true;
        self.give_back();
        let client = address::client(self.address);
        self.settle(|failures, _| failures.retain(|failure| failure.name != self.name || failure.client != client));
    }

    fn give_back(&self) {
        if self.address == address::UNNAMED {
            self.attempts.unnamed.give_back(());
        }
    }

    /// Changes the failures of all networks around the address; `change` also gets the position of this attempt.
    fn settle(&self, change: impl Fn(&mut Vec<Failure>, Option<usize>)) {
        let (client, now) = (address::client(self.address), clock::tick());
        let mut all = lock(&self.attempts.networks);
        for network in &address::networks(self.address) {
            let Some(tally) = all.get_mut(network) else { continue };
            let own = tally
                .failures
                .iter()
                .position(|failure| failure.is_running && failure.at == self.charged && failure.client == client);
            change(&mut tally.failures, own);
            if !tally.keeps(now) {
                all.remove(network);
            }
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        self.give_back();
        self.settle(|failures, own| {
            if let Some(i) = own {
                failures.swap_remove(i);
            }
        });
    }
}

/// Locks networks with too many failures, and refuses an attempt from a locked network or from one in which running
/// checks could reach the limit.
fn admit(all: &mut HashMap<Network, Tally>, networks: &[Network], now: Instant) -> Result<()> {
    let mut wait_s = None;
    for (network, failures_max) in networks.iter().zip(FAILURES_MAX) {
        let Some(tally) = all.get_mut(network) else { continue };
        if tally.keeps(now) && !tally.is_locked(now) && tally.failures.len() >= failures_max {
            if tally.failures.iter().any(|failure| failure.is_running) {
                wait_s = wait_s.max(Some(BUSY_RETRY_S));
                continue;
            }
            tally.locked_until = Some(now + LOCKED_FOR);
            let address = network.to_string();
            let address = address.trim_end_matches("/32");
            log::warn!(target: "auth", event = "auth.locked", address, for_s = LOCKED_FOR.as_secs();
                "Locked a network after too many failed sign-ins");
        }
        if let Some(until) = tally.locked_until.filter(|until| *until > now) {
            wait_s = wait_s.max(Some((until - now).as_secs().max(1)));
        }
    }
    wait_s.map_or(Ok(()), |wait_s| Err(refused(wait_s)))
}

fn refused(retry_after_s: u64) -> Error {
    Error::RateLimited { detail: format!("Too many login attempts. Try again in {retry_after_s}s."), retry_after_s }
}

/// Makes room for these networks.
fn make_room(all: &mut HashMap<Network, Tally>, networks: &[Network], now: Instant) -> Result<()> {
    if all.len() + networks.len() <= NETWORKS_MAX {
        return Ok(());
    }
    all.retain(|_, tally| tally.keeps(now));
    while all.len() + networks.len() > NETWORKS_MAX {
        let unlocked = all.iter().filter(|(_, tally)| !tally.is_locked(now));
        let oldest = unlocked
            .min_by_key(|(_, tally)| tally.failures.last().map(|failure| failure.at))
            .map(|(network, _)| *network);
        let detail = || "Too many failed sign-ins from all addresses. Try again in 60s.".to_string();
        let oldest = oldest.ok_or_else(|| Error::RateLimited { detail: detail(), retry_after_s: 60 })?;
        all.remove(&oldest);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address in the /64 `link` of a /48.
    fn v6(site: u16, link: u16) -> IpAddr {
        IpAddr::from([0x2001, 0xdb8, site, link, 0, 0, 0, 1])
    }

    fn fail(attempts: &Attempts, address: IpAddr, name: &str) {
        attempts.charge(address, name).expect("not locked yet").fail();
    }

    /// The answer to a further attempt.
    fn refusal(attempts: &Attempts, address: IpAddr) -> String {
        attempts.charge(address, "admin").err().expect("refused").detail().to_string()
    }

    #[test]
    fn an_address_is_locked_after_five_failures_and_others_are_not() {
        let attempts = Attempts::default();
        let (bad, good): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        for _ in 0..5 {
            fail(&attempts, bad, "admin");
        }
        assert_eq!(refusal(&attempts, bad), "Too many login attempts. Try again in 300s.");
        fail(&attempts, good, "admin");
    }

    #[test]
    fn failures_count_for_the_networks_around_an_address() {
        let attempts = Attempts::default();
        for link in 0..10 {
            fail(&attempts, v6(1, link), "admin");
        }
        refusal(&attempts, v6(1, 10));
        for link in 0..10 {
            fail(&attempts, v6(1, 0x100 + 0x100 * link), "admin");
        }
        refusal(&attempts, v6(1, 0xff00));
        fail(&attempts, v6(2, 0), "admin");
    }

    #[test]
    fn a_success_forgives_what_was_tried_in_the_same_name_only() {
        let attempts = Attempts::default();
        for address in [[10, 0, 0, 1].into(), v6(1, 1)] {
            for _ in 1..5 {
                fail(&attempts, address, "admin");
            }
            attempts.charge(address, "viewer").expect("the fifth").succeed();
            fail(&attempts, address, "admin");
            refusal(&attempts, address);
        }
        attempts.charge(v6(1, 2), "admin").expect("a neighbour").succeed();
        refusal(&attempts, v6(1, 1));
    }

    #[test]
    fn running_checks_are_guesses_but_lock_no_address() {
        let attempts = Attempts::default();
        let address: IpAddr = [10, 0, 0, 1].into();
        let mut running: Vec<_> = (0..5).map(|_| attempts.charge(address, "admin").expect("a running check")).collect();
        assert_eq!(refusal(&attempts, address), "Too many login attempts. Try again in 1s.");
        running.pop().expect("five").succeed();
        for attempt in &mut running {
            attempt.fail();
        }
        assert!(lock(&attempts.networks).is_empty(), "the success forgave all that was tried in this name");

        let mut running: Vec<_> = (0..5).map(|_| attempts.charge(address, "admin").expect("a running check")).collect();
        for attempt in &mut running[1..] {
            attempt.fail();
        }
        assert_eq!(refusal(&attempts, address), "Too many login attempts. Try again in 1s.");
        running[0].fail();
        assert_eq!(refusal(&attempts, address), "Too many login attempts. Try again in 300s.");
    }

    #[test]
    fn an_unchecked_attempt_leaves_nothing_behind() {
        let attempts = Attempts::default();
        let attempt = attempts.charge(v6(1, 1), "admin").expect("a first attempt");
        assert_eq!(lock(&attempts.networks).len(), 3);
        drop(attempt);
        assert!(lock(&attempts.networks).is_empty());
    }

    #[test]
    fn networks_are_forgotten_rather_than_memory_filled_and_locks_never() {
        let attempts = Attempts::default();
        let locked: IpAddr = [192, 0, 2, 1].into();
        for _ in 0..5 {
            fail(&attempts, locked, "admin");
        }
        refusal(&attempts, locked);
        for i in 0..NETWORKS_MAX as u32 + 200 {
            fail(&attempts, IpAddr::V4(i.into()), "admin");
        }
        assert_eq!(lock(&attempts.networks).len(), NETWORKS_MAX);
        refusal(&attempts, locked);
    }
}
