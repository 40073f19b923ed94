//! The link to the control plane: it keeps the lease alive with signed heartbeats, renews lease token and certificate,
//! and recovers after the machine slept or the control plane was away. Only the link calls the control plane, and it
//! never waits for a disk or a program of this machine: what came with answers goes to the ledger, which another thread
//! writes.

pub mod beat;
pub mod contact;
pub mod enrol;
mod error;
pub mod node_self;
pub mod recover;
pub mod server_clock;
pub mod status;
pub mod work;

pub use error::{AgentError, Linked};

use super::identity::Identity;
use super::ledger::{Accepted, Heard};
use super::report::Report;
use crate::client::{Api, CallError, Trust};
use crate::clock::{self, Timestamp};
use crate::crypto;
use crate::error::{Error, Result};
use crate::model::addresses::Addresses;
use crate::model::leases::LEASE_TTL_RANGE_S;
use crate::model::node_api::{Part, Reason};
use crate::thread::{Watch, catch_panic};
use contact::Contact;
use server_clock::ServerClock;
use std::time::{Duration, Instant};

/// Heartbeats in the time of one lease: two may be lost before it runs out.
const BEATS_PER_LEASE: u32 = 3;
/// Percent by which a turn may come earlier: a fleet that started together must not stay in step.
const JITTER_PERCENT: u64 = 20;
/// Wait after the first failure; it doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest wait, unless the lease is shorter: a node is back soon after its control plane is.
const BACKOFF_CEILING: Duration = Duration::from_secs(30);
/// URLs at which the control plane answered that are remembered beside those that it names.
const ANSWERED_MAX: usize = 4;
/// Time that the first heartbeat gives the machine's facts, so that it need not be repeated a moment later.
const FIRST_FACTS: Duration = Duration::from_secs(3);

/// The control plane as a node reaches it: addresses and trust.
#[derive(Clone)]
pub struct ControlPlane {
    /// Its URLs.
    pub urls: Vec<String>,
    /// Authorities (PEM) of a proxy in front of it; without any, the node trusts its own cluster's authority alone.
    pub authorities: Option<String>,
    /// True if the URLs are the kept ones and follow what the control plane says.
    pub follows: bool,
}

impl ControlPlane {
    /// Calls to it, with this node's certificate.
    pub fn api(&self, identity: &Identity) -> Result<Api> {
        let trust =
            self.authorities.clone().map_or_else(|| Trust::Cluster(identity.ca_pem.clone()), Trust::Authorities);
        Api::with(&self.urls, Some(trust), Some((&identity.cert_pem, &identity.key))).map_err(Error::Malformed)
    }
}

/// A node's link to its control plane.
pub struct Link {
    control_plane: ControlPlane,
    api: Api,
    identity: Identity,
    ttl_s: i64,
    clock: ServerClock,
    report: Report,
    accepted: Watch<Option<Accepted>>,
    contact: Watch<Option<Contact>>,
    heard: Option<Heard>,
    /// The last call was answered, so its connection may be kept.
    connected: bool,
    /// Another machine stays as this node; logged once.
    displaced: bool,
    /// The control plane could not write the last report; logged once.
    status_unstored: bool,
    renewal_tried: Option<Instant>,
    failures: u32,
    /// Interval that the control plane requests, if it is not a third of the lease.
    interval: Option<Duration>,
    /// Epoch seconds at which the control plane found its addresses.
    addresses_at: i64,
    /// URLs at which it answered in this run, newest first.
    answered: Vec<String>,
}

impl Link {
    /// A link for this identity, with leases of `ttl_s` seconds; accepted heartbeats are published in `accepted`, and
    /// what other calls need in `contact`.
    pub fn new(
        control_plane: ControlPlane,
        identity: Identity,
        ttl_s: i64,
        report: Report,
        accepted: Watch<Option<Accepted>>,
        contact: Watch<Option<Contact>>,
    ) -> Result<Link> {
        let mut api = control_plane.api(&identity)?;
        api.limit(beat::time(ttl_s), beat::CONNECT_TIME);
        Ok(Link {
            control_plane,
            api,
            identity,
            ttl_s,
            clock: ServerClock::default(),
            report,
            accepted,
            contact,
            heard: None,
            connected: false,
            displaced: false,
            status_unstored: false,
            renewal_tried: None,
            failures: 0,
            interval: None,
            addresses_at: 0,
            answered: Vec::new(),
        })
    }

    /// Signs heartbeats with later times than this one, in epoch seconds.
    pub fn sign_after(&mut self, signed_at: i64) {
        self.clock.sign_after(signed_at);
    }

    /// Works until the report is closed.
    pub fn run(&mut self) {
        log::info!(
            target: "agent", event = "agent.start", node_id = self.identity.node_id, api_url = self.api.url(),
            lease_ttl_s = self.ttl_s; "Started"
        );
        let mut next = self.report.wait(0, FIRST_FACTS);
        // `up` has sent the first heartbeat already.
        if let Some(seen) = next.filter(|_| self.heard.is_some()) {
            next = self.report.wait(seen, jittered(self.wait_after(&Ok(()))));
        }
        while let Some(seen) = next {
            let wait = catch_panic("agent-link", || self.turn());
            let wait = wait.map_or_else(|| backoff(u32::MAX, self.ttl_s), |result| self.wait_after(&result));
            next = self.report.wait(seen, jittered(wait));
        }
        log::info!(target: "agent", event = "agent.stop", node_id = self.identity.node_id; "Stopped");
    }

    fn wait_after(&self, result: &Linked<()>) -> Duration {
        let lease = Duration::from_secs(self.ttl_s.unsigned_abs());
        match result {
            // What an operator has to decide is not decided sooner by asking more often.
            Err(_) if self.displaced => lease,
            Ok(()) => self.interval.unwrap_or(lease / BEATS_PER_LEASE),
            Err(_) => backoff(self.failures, self.ttl_s),
        }
    }

    /// One heartbeat, and whatever it takes to get it accepted.
    pub fn turn(&mut self) -> Linked<()> {
        // A refused machine would take the certificate from the one that stays.
        if !self.displaced {
            self.renew_certificate();
        }
        let mut result = self.beat();
        if let Err(AgentError::Call(CallError::Refused { status: 401, reason, server_time, .. })) = &result
            && *reason != Some(Reason::AnotherRun)
        {
            result = self.recover(reason.clone(), *server_time);
        }
        self.note(&result);
        result
    }

    /// Logs how a turn went, each change once.
    fn note(&mut self, result: &Linked<()>) {
        let node_id = &self.identity.node_id;
        let displaced = matches!(result, Err(e) if e.reason() == Some(&Reason::AnotherRun));
        if displaced && !self.displaced {
            log::error!(
                target: "agent", event = "agent.displaced", node_id, run = self.report.run().id,
                identity_dir:% = self.identity.dir.display();
                "Another machine beats as this node: the identity was copied, and this machine is refused. An operator \
                 decides which one stays (uptimemesh node runs NODE; node keep-run NODE RUN); the other needs its own \
                 identity: remove this directory there and join it as another node"
            );
        }
        // Only an answer can say that it is over.
        let is_open = matches!(result, Err(e) if !e.is_refusal());
        self.displaced = displaced || self.displaced && is_open;
        match result {
            Ok(()) if self.failures > 0 => {
                log::info!(
                    target: "agent", event = "agent.back", node_id, failures = self.failures;
                    "Heartbeats are accepted again"
                );
                self.failures = 0;
            }
            Ok(()) => {}
            Err(_) if displaced && self.failures > 0 => self.failures = self.failures.saturating_add(1),
            Err(e) => {
                self.failures = self.failures.saturating_add(1);
                log::warn!(
                    target: "agent", event = "agent.heartbeat_failed", node_id, failures = self.failures, error:% = e;
                    "A heartbeat failed; it will be retried"
                );
            }
        }
    }

    fn beat(&mut self) -> Linked<()> {
        let status = self.report.patch(self.clock.offset_s());
        let kept = std::mem::take(&mut self.connected);
        let sent = beat::deliver(&mut self.api, &mut self.identity, &mut self.clock, self.ttl_s, &status, kept);
        self.connected = !matches!(sent, Err(AgentError::Call(CallError::Unreachable(_))));
        let answer = sent?.known;
        self.note_unstored(answer.status_stored == Some(false));
        self.interval = answer.next_heartbeat_seconds.map(interval);
        self.learn(answer.server_time);
        self.follow(answer.addresses.as_ref());
        self.heard = Some(Heard { update: answer.update, at: clock::now(), tick: clock::tick() });
        self.publish();
        if answer.renew_identity {
            log::info!(
                target: "agent", event = "agent.new_authority", node_id = self.identity.node_id;
                "The cluster has a new authority; renewing the identity"
            );
            if let Err(e) = self.renew() {
                log::warn!(
                    target: "agent", event = "agent.renew_failed", node_id = self.identity.node_id, error:% = e;
                    "Could not renew the identity; the next heartbeat retries"
                );
            }
        }
        Ok(())
    }

    fn note_unstored(&mut self, unstored: bool) {
        if unstored && !self.status_unstored {
            log::warn!(
                target: "agent", event = "agent.status_unstored", node_id = self.identity.node_id;
                "The control plane could not store this node's status; the lease is renewed, and the next heartbeat \
                    sends it again"
            );
        }
        self.status_unstored = unstored;
    }

    /// Hands over what is used: whether or not the disk takes it.
    fn publish(&self) {
        let urls = self.control_plane.follows.then(|| self.control_plane.urls.clone());
        self.accepted.set(Some(Accepted { given: self.identity.given(), urls, heartbeat: self.heard.clone() }));
        self.contact.set(Some(Contact {
            control_plane: self.control_plane.clone(),
            identity: self.identity.clone(),
            run: self.report.run().clone(),
            offset_s: self.clock.offset_s(),
        }));
    }

    /// Follows the control plane to its addresses. One that answered stays; one that is not named any more and never
    /// answered is forgotten.
    fn follow(&mut self, addresses: Option<&Part<Addresses>>) {
        let Some(addresses) = addresses.filter(|_| self.control_plane.follows) else { return };
        let addresses = match addresses {
            Part::Known(addresses) if beat::is_genuine(addresses, &self.identity.ca_pem) => addresses,
            _ => return,
        };
        // An older list may have been recorded by a listener; one from the future was made under a wrong clock.
        if addresses.at < self.addresses_at && self.addresses_at <= self.clock.now().secs() {
            return;
        }
        self.addresses_at = addresses.at;
        let current = self.api.url().to_string();
        self.answered.retain(|url| *url != current);
        self.answered.insert(0, current.clone());
        self.answered.truncate(ANSWERED_MAX);
        let mut urls = vec![current];
        for url in addresses.urls.iter().chain(&self.answered) {
            if !urls.contains(url) {
                urls.push(url.clone());
            }
        }
        if urls != self.control_plane.urls {
            log::info!(
                target: "agent", event = "agent.addresses", node_id = self.identity.node_id,
                api_urls:% = urls.join(" ");
                "The control plane's addresses changed"
            );
            self.control_plane.urls = urls;
            self.reconnect();
        }
    }

    /// Calls with the identity and the addresses as they are now.
    fn reconnect(&mut self) {
        match self.control_plane.api(&self.identity) {
            Ok(api) => {
                self.api = api;
                self.api.limit(beat::time(self.ttl_s), beat::CONNECT_TIME);
                self.connected = false;
            }
            Err(e) => {
                log::error!(
                    target: "agent", event = "agent.identity_unusable", node_id = self.identity.node_id, error:% = e;
                    "The new identity cannot be used; keeping the previous connection"
                );
            }
        }
    }

    fn learn(&mut self, server_time: Option<Timestamp>) {
        if self.clock.learn(server_time) {
            log::warn!(
                target: "agent", event = "agent.clock_off", node_id = self.identity.node_id,
                offset_s = self.clock.offset_s();
                "This machine's clock is off; heartbeats are signed with the server's time"
            );
        }
    }
}

/// The interval that a control plane requests: never longer than the longest lease allows.
fn interval(asked_s: i64) -> Duration {
    let longest_s = LEASE_TTL_RANGE_S.end() / i64::from(BEATS_PER_LEASE);
    Duration::from_secs(asked_s.clamp(1, longest_s).unsigned_abs())
}

/// Wait after this number of failures in a row.
fn backoff(failures: u32, ttl_s: i64) -> Duration {
    doubled(failures, BACKOFF_CEILING.min(Duration::from_secs(ttl_s.unsigned_abs()) * 2 / 3))
}

/// A first wait that doubles with each further failure, up to a ceiling.
fn doubled(failures: u32, ceiling: Duration) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(ceiling)
}

/// A wait, shortened by chance.
fn jittered(wait: Duration) -> Duration {
    let percent = u32::try_from(crypto::random_below(JITTER_PERCENT + 1)).unwrap_or(0);
    wait * (100 - percent) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_ceiling_within_the_lease() {
        let all: Vec<u64> = (1..8).map(|failures| backoff(failures, 45).as_secs()).collect();
        assert_eq!(all, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff(1000, 10).as_secs(), 6);
        for _ in 0..100 {
            let wait = jittered(Duration::from_secs(10));
            assert!((Duration::from_secs(8)..=Duration::from_secs(10)).contains(&wait), "{wait:?}");
        }
    }
}
