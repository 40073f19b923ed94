//! The link to the control plane: it keeps the lease alive with signed heartbeats, renews lease token and certificate, and
//! recovers after the machine slept or the control plane was away. Nothing else of the agent calls the control plane.

pub mod beat;
pub mod enrol;
pub mod identity;
pub mod server_clock;

use super::updates::Updates;
use crate::client::{Api, CallError, Trust};
use crate::clock::{self, Timestamp};
use crate::crypto;
use crate::files;
use crate::model::Object;
use crate::model::node_runs::{AgentRun, RUN_KEY};
use crate::sys::host;
use crate::thread::Stop;
use identity::Identity;
use serde_json::{Value, json};
use server_clock::ServerClock;
use std::time::{Duration, Instant};

/// Heartbeats in the time of one lease: two may be lost before it runs out.
const BEATS_PER_LEASE: u32 = 3;
/// A turn comes this much earlier, at most, in percent: a fleet that started together must not stay in step.
const JITTER_PERCENT: u64 = 20;
/// The first wait after a failure; it doubles with every further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest wait, unless the lease is shorter: a node is back soon after its control plane is.
const BACKOFF_CEILING: Duration = Duration::from_secs(30);
/// The machine's facts are taken anew so often. In between the same ones are sent, which costs the control plane no write.
const FACTS_EVERY: Duration = Duration::from_secs(300);
/// The reason of a refusal: another machine beats as this node, and is the one that stays until an operator decides.
const ANOTHER_RUN: &str = "another_run";
/// After a failed renewal of the certificate the next try waits so long: there are weeks left.
const RENEWAL_RETRY: Duration = Duration::from_secs(600);

/// The control plane as a node reaches it: addresses and trust.
#[derive(Clone)]
pub struct ControlPlane {
    /// Its URLs.
    pub urls: Vec<String>,
    /// Authorities (PEM) of a proxy before it; without any, the node believes its own cluster's authority and nobody else.
    pub authorities: Option<String>,
    /// Whether the URLs are those that were kept, and follow what the control plane says of where it is reached.
    pub follows: bool,
}

impl ControlPlane {
    /// Calls to it, with this node's certificate.
    pub fn api(&self, identity: &Identity) -> Result<Api, String> {
        let trust = self.authorities.clone().map_or_else(|| Trust::Cluster(identity.ca_pem.clone()), Trust::Authorities);
        Api::with(&self.urls, Some(trust), Some((&identity.cert_pem, &identity.key)))
    }
}

/// A heartbeat whose signing time was used already is tried with so many newer ones: fewer seconds than a node's clock may be off.
pub const REPLAYS_MAX: u32 = 8;

/// URLs at which the control plane answered that are remembered beside those that it tells.
const ANSWERED_MAX: usize = 4;

/// A node's agent.
pub struct Agent {
    control_plane: ControlPlane,
    api: Api,
    identity: Identity,
    ttl_s: i64,
    clock: ServerClock,
    facts: Option<(Instant, String)>,
    /// The last call was answered, so its connection may be kept.
    connected: bool,
    /// The control plane hears another machine as this node, which was told.
    displaced: bool,
    /// The last heartbeat's news could not be written, which was told.
    unstored: bool,
    /// The identity's files did not take what came, which was told.
    unwritten: bool,
    renewal_tried: Option<Instant>,
    failures: u32,
    run: Run,
    updates: Updates,
    /// When the control plane found the addresses that it told last, in epoch seconds.
    addresses_at: i64,
    /// URLs at which it answered in this run, the last one first.
    answered: Vec<String>,
}

/// From the start of an agent to its end.
struct Run {
    /// A name that no other run has: whoever started the agent anew sees that it is not the one from before, whatever the clocks say.
    id: String,
    started_at: Timestamp,
    told: bool,
}

/// The file beside the identity that tells of the run, once the control plane has accepted a heartbeat of it.
pub const STATUS: &str = "status.json";

impl Agent {
    /// An agent for this identity, whose heartbeats ask for leases of so many seconds.
    pub fn new(control_plane: ControlPlane, identity: Identity, ttl_s: i64, updates: Updates) -> Result<Agent, String> {
        let mut api = control_plane.api(&identity)?;
        api.limit(beat::time(ttl_s), beat::CONNECT_TIME);
        let run = Run { id: crypto::random_hex(8), started_at: clock::now(), told: false };
        Ok(Agent {
            control_plane,
            api,
            identity,
            ttl_s,
            clock: ServerClock::default(),
            facts: None,
            connected: false,
            displaced: false,
            unstored: false,
            unwritten: false,
            renewal_tried: None,
            failures: 0,
            run,
            updates,
            addresses_at: 0,
            answered: Vec::new(),
        })
    }

    /// Works until the flag is raised.
    pub fn run(&mut self, stop: &Stop) {
        log::info!(target: "agent", event = "agent.start", node_id = self.identity.node_id, api_url = self.api.url(), lease_ttl_s = self.ttl_s; "Started");
        let mut wait = Duration::ZERO;
        while !stop.wait(wait) {
            wait = match self.turn() {
                // What an operator has to decide is not decided sooner by asking more often.
                Err(_) if self.displaced => jittered(Duration::from_secs(self.ttl_s.unsigned_abs())),
                Ok(()) => jittered(Duration::from_secs(self.ttl_s.unsigned_abs()) / BEATS_PER_LEASE),
                Err(_) => jittered(backoff(self.failures, self.ttl_s)),
            };
        }
        log::info!(target: "agent", event = "agent.stop", node_id = self.identity.node_id; "Stopped");
    }

    /// One heartbeat, and whatever it takes to get it accepted.
    pub fn turn(&mut self) -> Result<(), CallError> {
        // One that is refused would take the certificate from the machine that stays.
        if !self.displaced {
            self.renew_certificate();
        }
        let mut result = self.beat();
        if let Err(CallError::Refused { status: 401, reason, server_time, .. }) = &result
            && reason.as_deref() != Some(ANOTHER_RUN)
        {
            result = self.recover(reason.clone(), *server_time);
        }
        let displaced = matches!(&result, Err(CallError::Refused { reason: Some(reason), .. }) if reason == ANOTHER_RUN);
        if displaced && !self.displaced {
            log::error!(target: "agent", event = "agent.displaced", node_id = self.identity.node_id, run = self.run.id, identity_dir:% = self.identity.dir.display(); "Another machine beats as this node: the identity was copied, and this machine is refused. An operator decides which one stays (uptimemesh node runs NODE; node keep-run NODE RUN); the other needs an identity of its own: remove this directory there and join it as another node");
        }
        // A lost answer says nothing about it.
        self.displaced = displaced || self.displaced && matches!(result, Err(CallError::Unreachable(_)));
        match &result {
            Ok(()) if self.failures > 0 => {
                log::info!(target: "agent", event = "agent.back", node_id = self.identity.node_id, failures = self.failures; "Heartbeats are accepted again");
                self.failures = 0;
            }
            Ok(()) => {}
            // Told once.
            Err(_) if displaced && self.failures > 0 => self.failures = self.failures.saturating_add(1),
            Err(e) => {
                self.failures += 1;
                log::warn!(target: "agent", event = "agent.heartbeat_failed", node_id = self.identity.node_id, failures = self.failures, error:% = e; "A heartbeat failed; the next try follows");
            }
        }
        result
    }

    fn beat(&mut self) -> Result<(), CallError> {
        let status = self.status();
        let kept = std::mem::take(&mut self.connected);
        let sent = beat::deliver(&mut self.api, &mut self.identity, &mut self.clock, self.ttl_s, &status, kept);
        self.connected = !matches!(sent, Err(CallError::Unreachable(_)));
        let answer = sent?;
        self.write_down();
        let unstored = answer["status_stored"] == false;
        if unstored && !self.unstored {
            log::warn!(target: "agent", event = "agent.status_unstored", node_id = self.identity.node_id; "The control plane cannot write what this node reports; the lease is renewed, and each heartbeat tells it again");
        }
        self.unstored = unstored;
        self.learn(answer["server_time"].as_str().and_then(Timestamp::parse));
        self.write_run_status();
        self.follow(&answer["addresses"]);
        self.updates.accept(&answer["update"]);
        if answer["renew_identity"] == true {
            log::info!(target: "agent", event = "agent.new_authority", node_id = self.identity.node_id; "The cluster has another authority to trust; the identity is renewed");
            if let Err(e) = self.renew() {
                log::warn!(target: "agent", event = "agent.renew_failed", node_id = self.identity.node_id, error:% = e; "The identity could not be renewed; the next heartbeat asks again");
            }
        }
        Ok(())
    }

    /// Keeps what came with answers. It is used whether or not the files take it; with every heartbeat they are tried again.
    fn write_down(&mut self) {
        let failed = self.identity.write_down().err();
        if let Some(e) = failed.as_ref().filter(|_| !self.unwritten) {
            log::error!(target: "agent", event = "agent.identity_unwritten", node_id = self.identity.node_id, directory:% = self.identity.dir.display(), error:% = crate::error::Chain(e); "What the control plane has given cannot be written down: is the disk full or read-only? It is used from memory, and tried again with every heartbeat; a restart may have to renew it");
        }
        if failed.is_none() && self.unwritten {
            log::info!(target: "agent", event = "agent.identity_written", node_id = self.identity.node_id; "The identity is written down again");
        }
        self.unwritten = failed.is_some();
    }

    /// Takes over where the control plane is reached by now. Where it answered stays; what is not told any more and never answered is forgotten.
    fn follow(&mut self, told: &Value) {
        let Some(told) = beat::addresses(told, &self.identity.ca_pem).filter(|_| self.control_plane.follows) else { return };
        // An older list may be one that somebody has listened to; one of the future was told under a wrong clock.
        if told.at < self.addresses_at && self.addresses_at <= self.clock.now().secs() {
            return;
        }
        self.addresses_at = told.at;
        let current = self.api.url().to_string();
        self.answered.retain(|url| *url != current);
        self.answered.insert(0, current.clone());
        self.answered.truncate(ANSWERED_MAX);
        let mut urls = vec![current];
        for url in told.urls.into_iter().chain(self.answered.iter().cloned()) {
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        if urls == self.control_plane.urls {
            return;
        }
        log::info!(target: "agent", event = "agent.addresses", node_id = self.identity.node_id, api_urls:% = urls.join(" "); "The control plane tells where it is reached");
        if let Err(e) = Identity::keep_urls(&self.identity.dir, &urls) {
            log::warn!(target: "agent", event = "agent.addresses_unwritten", node_id = self.identity.node_id, error:% = crate::error::Chain(&e); "Where the control plane is reached could not be written; it is known until this agent ends");
        }
        self.control_plane.urls = urls;
        self.reconnect();
    }

    /// Tells the updater of this machine that the program works. Once in a run: written with every heartbeat it would wear out an SD card.
    fn write_run_status(&mut self) {
        if self.run.told {
            return;
        }
        let (id, started_at, heartbeat_at) = (&self.run.id, self.run.started_at, clock::now());
        let status = json!({"version": env!("CARGO_PKG_VERSION"), "run": id, "pid": std::process::id(), "node_id": self.identity.node_id, "started_at": started_at, "heartbeat_at": heartbeat_at});
        match files::write(&self.identity.dir.join(STATUS), format!("{status}\n").as_bytes(), files::PUBLIC) {
            Ok(()) => self.run.told = true,
            Err(e) => {
                log::warn!(target: "agent", event = "agent.status_unwritten", node_id = self.identity.node_id, error:% = crate::error::Chain(&e); "The status file could not be written; the next heartbeat tries again");
            }
        }
    }

    /// Does what the refusal asks for, and beats once more.
    fn recover(&mut self, reason: Option<String>, server_time: Option<Timestamp>) -> Result<(), CallError> {
        self.learn(server_time);
        match reason.as_deref() {
            Some("clock_skew") => self.clock.forget_signed(),
            // The next signing time is newer, by one second: whoever was started anew several times within one has run ahead by as many.
            Some("replayed") => {
                for _ in 1..REPLAYS_MAX {
                    match self.beat() {
                        Err(CallError::Refused { reason: Some(reason), .. }) if reason == "replayed" => {}
                        result => return result,
                    }
                }
            }
            // The lease token has ended, is of another time of the cluster, or an answer with a newer one was lost: the key
            // proves who this is. An operator may also have joined this machine anew, beside the running agent.
            _ => {
                if let Some(current) = self.identity.replaced() {
                    self.identity = current;
                    self.reconnect();
                } else if let Err(e) = self.renew() {
                    if matches!(&e, CallError::Refused { status: 401, reason: None, .. }) {
                        log::error!(target: "agent", event = "agent.not_enrolled", node_id = self.identity.node_id; "The control plane does not know this node's key: it was removed or replaced. Join again with a new token");
                    }
                    return Err(e);
                }
            }
        }
        self.beat()
    }

    /// Renews the certificate once half of its life is over.
    fn renew_certificate(&mut self) {
        let waiting = self.renewal_tried.is_some_and(|at| at.elapsed() < RENEWAL_RETRY);
        if waiting || !enrol::renewal_is_due(&self.identity.cert_pem, self.clock.now()) {
            return;
        }
        self.renewal_tried = Some(clock::tick());
        if let Err(e) = self.renew() {
            log::warn!(target: "agent", event = "agent.renew_failed", node_id = self.identity.node_id, error:% = e; "The certificate could not be renewed; another try follows");
        }
    }

    /// Renews certificate and lease token; with the server's time, where the local clock turns out to be off.
    fn renew(&mut self) -> Result<(), CallError> {
        let mut result = enrol::renew(&self.api, &mut self.identity, self.clock.sign_at());
        if let Err(CallError::Refused { reason: Some(reason), server_time, .. }) = &result
            && (reason == "clock_skew" || reason == "replayed")
        {
            if reason == "clock_skew" {
                self.clock.forget_signed();
            }
            let server_time = *server_time;
            self.learn(server_time);
            result = enrol::renew(&self.api, &mut self.identity, self.clock.sign_at());
        }
        if result.is_ok() {
            self.write_down();
            self.reconnect();
            log::info!(target: "agent", event = "agent.renewed", node_id = self.identity.node_id; "Renewed the certificate and the lease token");
        }
        result
    }

    /// Calls with the identity as it is now from here on.
    fn reconnect(&mut self) {
        match self.control_plane.api(&self.identity) {
            Ok(api) => {
                self.api = api;
                self.api.limit(beat::time(self.ttl_s), beat::CONNECT_TIME);
                self.connected = false;
            }
            Err(why) => {
                log::error!(target: "agent", event = "agent.identity_unusable", node_id = self.identity.node_id, error = why; "The new identity cannot be used; the connection of the old one stays");
            }
        }
    }

    fn learn(&mut self, server_time: Option<Timestamp>) {
        if self.clock.learn(server_time) {
            // The control plane is told with the next heartbeat.
            self.facts = None;
            let offset_s = self.clock.offset_s();
            log::warn!(target: "agent", event = "agent.clock_off", node_id = self.identity.node_id, offset_s; "This machine's clock is off; heartbeats are signed with the server's time");
        }
    }

    /// What this machine reports, as JSON: the same text until it is time to look anew.
    fn status(&mut self) -> String {
        let news = self.updates.poll_updater();
        match &self.facts {
            Some((at, text)) if at.elapsed() < FACTS_EVERY && !news => text.clone(),
            _ => {
                let mut facts = host::facts(&self.identity.dir);
                facts.insert("clock_offset_seconds".into(), self.clock.offset_s().into());
                let mut status = status(facts);
                // Signed with the status, and no part of it.
                status.insert(RUN_KEY.into(), json!(AgentRun { id: self.run.id.clone(), boot: host::boot() }));
                status.extend(self.updates.report().map(|told| ("update".to_string(), told)));
                let text = Value::Object(status).to_string();
                self.facts = Some((clock::tick(), text.clone()));
                text
            }
        }
    }
}

/// The status of a healthy node with these facts.
pub fn status(mut facts: Object) -> Object {
    facts.insert("ready".into(), json!(true));
    facts.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
    facts
}

/// The wait after so many failures in a row.
fn backoff(failures: u32, ttl_s: i64) -> Duration {
    let ceiling = BACKOFF_CEILING.min(Duration::from_secs(ttl_s.unsigned_abs()) * 2 / 3);
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
