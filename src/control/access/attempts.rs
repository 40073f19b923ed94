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
/// Maximum number of remembered networks. Above it the ones with the oldest failures are forgotten first, but never a
/// locked one: checking passwords takes so much time that locks alone cannot fill the table.
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
    /// Failures, including running checks: these count until they have succeeded.
    failures: Vec<Failure>,
    locked_until: Option<Instant>,
}

#[derive(Clone)]
struct Failure {
    at: Instant,
    /// The attempted name.
    name: String,
    client: IpAddr,
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
    /// Counts an attempt as failed until it has succeeded, so that many at once cannot outrun the count; refuses a
    /// locked network.
    pub fn charge(&self, address: IpAddr, name: &str) -> Result<Instant> {
        let now = clock::tick();
        if address == address::UNNAMED {
            return self.unnamed.take(()).map(|_| now).map_err(locked);
        }
        let networks = address::networks(address);
        let mut all = lock(&self.networks);
        for (network, failures_max) in networks.iter().zip(FAILURES_MAX) {
            let Some(tally) = all.get_mut(network) else { continue };
            if tally.keeps(now) && !tally.is_locked(now) && tally.failures.len() >= failures_max {
                tally.locked_until = Some(now + LOCKED_FOR);
                let address = network.to_string();
                let address = address.trim_end_matches("/32");
                log::warn!(target: "auth", event = "auth.locked", address, for_s = LOCKED_FOR.as_secs();
                    "Locked a network after too many failed sign-ins");
            }
        }
        if let Some(until) =
            networks.iter().filter_map(|network| all.get(network)?.locked_until).filter(|until| *until > now).max()
        {
            return Err(locked((until - now).as_secs().max(1)));
        }
        make_room(&mut all, &networks, now)?;
        let failure =
            Failure { at: now, name: name.chars().take(NAME_CHARS_MAX).collect(), client: address::client(address) };
        for network in networks {
            all.entry(network).or_default().failures.push(failure.clone());
        }
        Ok(now)
    }

    /// Removes an attempt that was never checked.
    pub fn refund(&self, address: IpAddr, charged: Instant) {
        if address == address::UNNAMED {
            return self.unnamed.give_back(());
        }
        let client = address::client(address);
        self.settle(address, |failures| {
            if let Some(i) = failures.iter().position(|failure| failure.at == charged && failure.client == client) {
                failures.swap_remove(i);
            }
        });
    }

    /// Clears the address's failures with this name after a correct password, but only these: the owner of one account
    /// must not be able to guess at others for ever.
    pub fn forgive(&self, address: IpAddr, name: &str) {
        if address == address::UNNAMED {
            return self.unnamed.give_back(());
        }
        let client = address::client(address);
        self.settle(address, |failures| failures.retain(|failure| failure.name != name || failure.client != client));
    }

    /// Changes the failures of all networks around an address.
    fn settle(&self, address: IpAddr, change: impl Fn(&mut Vec<Failure>)) {
        let mut all = lock(&self.networks);
        for (network, failures_max) in address::networks(address).iter().zip(FAILURES_MAX) {
            let Some(tally) = all.get_mut(network) else { continue };
            change(&mut tally.failures);
            // Checks that were still running when the network was locked may succeed later: then the limit was not
            // reached.
            if tally.failures.len() < failures_max {
                tally.locked_until = None;
            }
            if tally.failures.is_empty() {
                all.remove(network);
            }
        }
    }
}

fn locked(retry_after_s: u64) -> Error {
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

    #[test]
    fn an_address_is_locked_after_five_failures_and_others_are_not() {
        let attempts = Attempts::default();
        let (bad, good): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        for _ in 0..5 {
            attempts.charge(bad, "admin").expect("not locked yet");
        }
        let refused = attempts.charge(bad, "admin").expect_err("the sixth is refused");
        assert_eq!(refused.detail(), "Too many login attempts. Try again in 300s.");
        attempts.charge(good, "admin").expect("another address may sign in");
    }

    #[test]
    fn failures_count_for_the_networks_around_an_address() {
        let attempts = Attempts::default();
        for link in 0..10 {
            attempts.charge(v6(1, link), "admin").expect("ten links of one /56");
        }
        attempts.charge(v6(1, 10), "admin").expect_err("the /56 is locked");
        for link in 0..10 {
            attempts.charge(v6(1, 0x100 + 0x100 * link), "admin").expect("ten more of other /56s");
        }
        attempts.charge(v6(1, 0xff00), "admin").expect_err("the /48 is locked");
        attempts.charge(v6(2, 0), "admin").expect("another /48 is not");
    }

    #[test]
    fn a_success_forgives_what_was_tried_in_the_same_name_only() {
        let attempts = Attempts::default();
        for address in [[10, 0, 0, 1].into(), v6(1, 1)] {
            for _ in 1..5 {
                attempts.charge(address, "admin").expect("not locked yet");
            }
            attempts.charge(address, "viewer").expect("the fifth");
            attempts.forgive(address, "viewer");
            attempts.charge(address, "admin").expect("the fifth in this name");
            attempts.charge(address, "viewer").expect_err("four and one");
        }
        attempts.forgive(v6(1, 2), "admin");
        attempts.charge(v6(1, 1), "viewer").expect_err("a neighbour's success forgives nothing");
    }

    #[test]
    fn many_correct_passwords_at_once_lock_no_address() {
        let attempts = Attempts::default();
        let address: IpAddr = [10, 0, 0, 1].into();
        for _ in 0..5 {
            attempts.charge(address, "admin").expect("a check that is running");
        }
        attempts.charge(address, "admin").expect_err("more than may be wrong at once");
        attempts.forgive(address, "admin");
        attempts.charge(address, "admin").expect("they were right");
    }

    #[test]
    fn an_unchecked_attempt_leaves_nothing_behind() {
        let attempts = Attempts::default();
        let charged = attempts.charge(v6(1, 1), "admin").expect("a first attempt");
        assert_eq!(lock(&attempts.networks).len(), 3);
        attempts.refund(v6(1, 1), charged);
        assert!(lock(&attempts.networks).is_empty());
    }

    #[test]
    fn networks_are_forgotten_rather_than_memory_filled_and_locks_never() {
        let attempts = Attempts::default();
        let locked: IpAddr = [192, 0, 2, 1].into();
        for _ in 0..5 {
            attempts.charge(locked, "admin").expect("not locked yet");
        }
        attempts.charge(locked, "admin").expect_err("locked");
        for i in 0..NETWORKS_MAX as u32 + 200 {
            attempts.charge(IpAddr::V4(i.into()), "admin").expect("a first attempt");
        }
        assert_eq!(lock(&attempts.networks).len(), NETWORKS_MAX);
        attempts.charge(locked, "admin").expect_err("a lock is not forgotten");
    }
}
