//! Leases live in memory: a heartbeat is proven and renews a lease without touching the disk.
//!
//! Only changes are written at once: a changed status, or a transition (alive, stale, dead, alive), each with its
//! event, in one transaction. Renewals that change nothing but times are flushed in batches by a pass. Time is
//! monotonic, so a step of the wall clock kills no node; and after a start every lease that was alive gets a fresh
//! term, so a restart kills no node either.
//!
//! This file has the table; `beat` accepts heartbeats, `news` writes their changes, `transitions` writes transitions
//! and renewals, `suspects` has the nodes whose waiting calls broke off.

mod beat;
mod holders;
mod list;
mod news;
mod pace;
mod standstill;
pub mod suspects;
mod transitions;

pub(in crate::control) use beat::claims_for;
pub use beat::{Heartbeat, heartbeat};
pub use list::list;

use crate::clock::{self, Timestamp};
use crate::control::fleet::load_history::{LoadDay, LoadHistory, STEP_S, STEPS};
use crate::control::fleet::losses::Losses;
use crate::control::fleet::node_runs::Runs;
use crate::control::fleet::signing_times::SigningTimes;
use crate::control::fleet::unstored::Unstored;
use crate::control::settings;
use crate::crypto::pki::PublicKey;
use crate::error::Result;
use crate::logger::Quota;
use crate::model::ids::NodeId;
use crate::model::leases::{LEASE_TTL_S, LeaseState};
use crate::model::node_api::Reason;
use crate::model::node_runs::{AgentRun, Conflict};
use crate::model::nodes::{Node, ShowSignedAt};
use crate::store::leases::LeaseRow;
use crate::store::{Store, Write, leases};
use crate::thread::lock;
use pace::Pace;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use suspects::Suspicion;

/// Number of parts of the table, each with its own lock, so that heartbeats on two cores do not meet.
const SHARDS: usize = 16;

/// Identity of a node at its enrolment.
pub(in crate::control) struct NewIdentity {
    /// Fingerprint of its certificate.
    pub fingerprint: String,
    /// Its key.
    pub key: Arc<PublicKey>,
    /// Digest of the authorities that it gets.
    pub trust: String,
    /// The runs of its agent.
    pub runs: Runs,
}

/// One enrolled node's lease.
#[derive(Clone)]
pub(in crate::control) struct Lease {
    seq: i64,
    fingerprint: String,
    key: Arc<PublicKey>,
    /// Digest of the authorities that the node has.
    trust: String,
    heartbeat_at: Timestamp,
    expires_at: Timestamp,
    ttl_s: i64,
    signed_at: i64,
    /// End of the lease in monotonic time; `None` if it was dead when the server started.
    ends: Option<Instant>,
    /// The state in the last event.
    recorded: LeaseState,
    /// True if the node called since the server started.
    heard: bool,
    /// Renewed since the last flush.
    dirty: bool,
    /// Digest of the last status patch that is durable and still in the status as written.
    patch: Option<[u8; 32]>,
    /// Number of writes of the status: the writer thread decides which of two was the last.
    writes: u64,
    /// Load of the node.
    load: LoadHistory,
    /// The runs of its agent.
    runs: Runs,
    /// Signing times of its calls.
    calls: SigningTimes,
    /// News that the database could not store.
    unstored: Option<Arc<Unstored>>,
    /// Suspicion about the node.
    suspicion: Suspicion,
}

impl Lease {
    fn state(&self, now: Instant, stale_for: Duration) -> LeaseState {
        match self.ends {
            Some(end) if now <= end => LeaseState::Alive,
            Some(end) if now <= end + stale_for => LeaseState::Stale,
            _ => LeaseState::Dead,
        }
    }

    /// Time until the state changes by itself, if it does.
    fn changes_in(&self, now: Instant, stale_for: Duration) -> Option<Duration> {
        let end = self.ends?;
        [end, end + stale_for].into_iter().find(|at| *at >= now).map(|at| at - now)
    }

    /// Notes a write of the status: until it is durable, every patch is news. Returns the number of the write.
    fn status_written(&mut self) -> u64 {
        self.patch = None;
        self.writes += 1;
        self.writes
    }

    /// True if a signing time is newer than the last accepted one. A last time beyond `horizon` (now, plus the allowed
    /// skew) means that the wall clock was set back since: then it is ignored, or the node would be locked out until
    /// the clock had caught up.
    fn is_new(&self, signed_at: i64, horizon: i64) -> bool {
        signed_at > self.signed_at || self.signed_at > horizon
    }

    fn row(&self) -> LeaseRow {
        LeaseRow {
            node_seq: self.seq,
            heartbeat_at_s: self.heartbeat_at.secs(),
            signed_at_s: self.signed_at,
            ttl_s: self.ttl_s,
            state: self.recorded,
        }
    }
}

/// The leases of all enrolled nodes. Clones share one table.
#[derive(Clone)]
pub struct Leases {
    shards: Arc<[Mutex<HashMap<NodeId, Lease>>; SHARDS]>,
    hasher: RandomState,
    /// Epoch seconds of the start. A heartbeat with an older lease token must be signed after it: otherwise it may be a
    /// replay of one whose renewal was not flushed before a crash.
    started_at: i64,
    /// The same moment in monotonic time.
    loaded: Instant,
    beats: Arc<Beats>,
    pace: Pace,
    /// Planned time of the next sweep.
    sweep_due: Arc<Mutex<Instant>>,
    dead_after: Arc<DeadAfter>,
    /// Quota of log lines about refused heartbeats.
    lines: Arc<Quota>,
    /// Size of the news that the database could not store, in bytes.
    unstored_bytes: Arc<AtomicUsize>,
    /// Waiting calls that broke off.
    pub(in crate::control) losses: Losses,
}

/// A lease as the scheduler sees it.
#[derive(Debug, Clone, Copy)]
pub struct SeenLease {
    /// Its state.
    pub state: LeaseState,
    /// Seconds since its node's death, 0 if it is not dead. For a death before the start only the wall clock is known.
    pub dead_for_s: i64,
    /// True if its node called since the server started.
    pub heard: bool,
    /// True if its node's waiting call broke off.
    pub suspect: bool,
}

/// The setting of how long a node is stale before it is dead.
#[derive(Default)]
struct DeadAfter {
    seconds: AtomicU64,
    /// Version of the database that it was read from.
    version: AtomicI64,
}

/// Counters of heartbeats since the start.
#[derive(Default)]
struct Beats {
    accepted: AtomicU64,
    /// By failed check.
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl Leases {
    /// Loads the table from the database.
    pub fn load(store: &Store) -> Result<Leases> {
        let table = Leases {
            shards: Arc::default(),
            hasher: RandomState::new(),
            started_at: clock::now().secs(),
            loaded: clock::tick(),
            beats: Arc::default(),
            pace: Pace::default(),
            sweep_due: Arc::new(Mutex::new(clock::tick())),
            dead_after: Arc::default(),
            lines: Arc::default(),
            unstored_bytes: Arc::default(),
            losses: Losses::default(),
        };
        table.read_dead_after(store)?;
        let mut conflicts: HashMap<NodeId, Conflict> = store.read(crate::store::node_runs::all)?.into_iter().collect();
        let (now, tick) = (clock::now(), clock::tick());
        for node in store.read(leases::enrolled)? {
            let Some(key) = PublicKey::from_spki(&node.key) else {
                log::error!(
                    target: "cluster", event = "lease.load", node_id = node.node_id;
                    "A node's enrolled key cannot be read; the node must join again"
                );
                continue;
            };
            let row = node.lease;
            let heartbeat_at = Timestamp::from_secs(row.heartbeat_at_s);
            let (ends, expires_at) = match row.state {
                LeaseState::Alive => (Some(tick + seconds(row.ttl_s)), now.plus_secs(row.ttl_s)),
                LeaseState::Stale => (Some(tick), now),
                LeaseState::Dead | LeaseState::Unknown => (None, heartbeat_at.plus_secs(row.ttl_s)),
            };
            let lease = Lease {
                seq: row.node_seq,
                fingerprint: node.fingerprint,
                key: Arc::new(key),
                trust: node.trust.unwrap_or_default(),
                heartbeat_at,
                expires_at,
                ttl_s: row.ttl_s,
                signed_at: row.signed_at_s,
                ends,
                recorded: row.state,
                heard: false,
                dirty: false,
                patch: None,
                writes: 0,
                load: LoadHistory::default(),
                runs: Runs::of(conflicts.remove(&node.node_id)),
                calls: SigningTimes::default(),
                unstored: None,
                suspicion: Suspicion::default(),
            };
            lock(table.shard(&node.node_id)).insert(node.node_id, lease);
        }
        Ok(table)
    }

    /// Reads the setting again if anything was committed since, by this process or another.
    fn read_dead_after(&self, store: &Store) -> Result<()> {
        let version = store.version()?;
        if self.dead_after.version.load(Ordering::Relaxed) != version {
            let seconds = store.read(|r| settings::number(r, settings::NODE_DEAD_AFTER))?;
            self.dead_after.seconds.store(seconds.unsigned_abs(), Ordering::Relaxed);
            self.dead_after.version.store(version, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Time from the end of a lease until its node is dead.
    fn stale_for(&self) -> Duration {
        Duration::from_secs(self.dead_after.seconds.load(Ordering::Relaxed))
    }

    fn shard(&self, id: &NodeId) -> &Mutex<HashMap<NodeId, Lease>> {
        &self.shards[self.hasher.hash_one(id) as usize % SHARDS]
    }

    fn with<T>(&self, id: &NodeId, f: impl FnOnce(&mut Lease) -> T) -> Option<T> {
        lock(self.shard(id)).get_mut(id).map(f)
    }

    /// Overlays a row with the node's lease: the one place where reads see the table. Returns true if there is one.
    pub(in crate::control) fn overlay<R, L, S: ShowSignedAt>(&self, node: &mut Node<R, L, S>) -> bool {
        let (tick, stale_for) = (self.tick(), self.stale_for());
        let times = |l: &mut Lease| (l.heartbeat_at, l.expires_at, l.signed_at, l.suspect_since(tick, stale_for));
        let Some((heartbeat_at, expires_at, signed_at, suspect_since)) = self.with(&node.id, times) else {
            return false;
        };
        node.suspect_since = suspect_since;
        node.heartbeat_at = Some(heartbeat_at);
        node.lease_expires_at = Some(expires_at);
        if signed_at > 0 {
            node.status.show_signed_at(signed_at);
        }
        true
    }

    /// Heartbeats since the start: the accepted ones, and the refused ones by failed check.
    pub fn heartbeats(&self) -> (u64, BTreeMap<&'static str, u64>) {
        (self.beats.accepted.load(Ordering::Relaxed), lock(&self.beats.refused).clone())
    }

    /// Every enrolled node with the state of its lease.
    pub fn states(&self) -> Vec<(NodeId, LeaseState)> {
        let (tick, stale_for) = (self.tick(), self.stale_for());
        let mut all = Vec::new();
        for shard in self.shards.iter() {
            all.extend(lock(shard).iter().map(|(id, l)| (id.clone(), l.state(tick, stale_for))));
        }
        all
    }

    /// Every enrolled node as the scheduler sees it.
    pub fn seen(&self) -> Vec<(NodeId, SeenLease)> {
        let (now, tick) = (clock::now(), self.tick());
        let (stale_for, up) = (self.stale_for(), tick.saturating_duration_since(self.loaded));
        let stale_s = i64::try_from(stale_for.as_secs()).unwrap_or(i64::MAX);
        let dead_for_s = |l: &Lease| match l.ends {
            Some(end) => i64::try_from(tick.saturating_duration_since(end + stale_for).as_secs()).unwrap_or(i64::MAX),
            // If the clock ran ahead at that time, the node must not wait longer than this server has been running.
            None => (now.secs() - l.expires_at.secs() - stale_s).max(i64::try_from(up.as_secs()).unwrap_or(0)),
        };
        let mut all = Vec::new();
        for shard in self.shards.iter() {
            let seen = |l: &Lease| SeenLease {
                state: l.state(tick, stale_for),
                dead_for_s: dead_for_s(l),
                heard: l.heard,
                suspect: l.suspect_since(tick, stale_for).is_some(),
            };
            all.extend(lock(shard).iter().map(|(id, l)| (id.clone(), seen(l))));
        }
        all
    }

    /// Every enrolled node with the time since its lease expired: zero while it is valid, `None` if it expired before
    /// the server started.
    pub fn silence(&self) -> Vec<(NodeId, Option<Duration>)> {
        let tick = self.tick();
        let mut all = Vec::new();
        for shard in self.shards.iter() {
            all.extend(
                lock(shard).iter().map(|(id, l)| (id.clone(), l.ends.map(|end| tick.saturating_duration_since(end)))),
            );
        }
        all
    }

    /// The state of a node's lease.
    pub fn state(&self, id: &NodeId) -> LeaseState {
        let (tick, stale_for) = (self.tick(), self.stale_for());
        self.with(id, |l| l.state(tick, stale_for)).unwrap_or(LeaseState::Unknown)
    }

    /// Current step of the load history; steps are counted from the start in monotonic time.
    fn step(&self) -> u64 {
        clock::tick().saturating_duration_since(self.loaded).as_secs() / STEP_S
    }

    /// Load of a node over the last day; `None` if it is not enrolled.
    pub fn load_day(&self, id: &NodeId) -> Option<LoadDay> {
        let step = self.step();
        let mut day = self.with(id, |l| l.load.day(step))?;
        day.since = (step < STEPS as u64).then(|| Timestamp::from_secs(self.started_at));
        Some(day)
    }

    /// Notes that another caller than the node changes its status, in a separate transaction: the next patch must be
    /// written, whatever its contents.
    pub(in crate::control) fn status_changed(&self, id: &NodeId) {
        self.with(id, Lease::status_written);
    }

    /// Revokes a node's identity, in the transaction that deletes the node: a later join must not lose its lease to it.
    pub(in crate::control) fn remove(&self, write: &Write, id: &NodeId) {
        let removed = lock(self.shard(id)).remove(id);
        self.restore_on_rollback(write, id, removed);
    }

    /// Restores this node's lease if the transaction fails.
    fn restore_on_rollback(&self, write: &Write, id: &NodeId, before: Option<Lease>) {
        let (table, id) = (self.clone(), id.clone());
        write.on_rollback(move || {
            let mut shard = lock(table.shard(&id));
            match before {
                Some(lease) => shard.insert(id, lease),
                None => shard.remove(&id),
            };
        });
    }

    /// Gives an enrolled node a lease under a new identity, in the transaction that enrols it.
    pub(in crate::control) fn enrol(
        &self,
        write: &Write,
        id: &NodeId,
        seq: i64,
        identity: NewIdentity,
        ttl_s: i64,
    ) -> Result<()> {
        let NewIdentity { fingerprint, key, trust, runs } = identity;
        // With the same key, a used signature must stay used: a recorded renewal cannot be replayed.
        let signed_at =
            self.with(id, |l| if l.key.spki_der() == key.spki_der() { l.signed_at } else { 0 }).unwrap_or(0);
        let lease = Lease {
            seq,
            fingerprint,
            key,
            trust,
            heartbeat_at: write.now,
            expires_at: write.now.plus_secs(ttl_s),
            ttl_s,
            signed_at,
            ends: Some(clock::tick() + seconds(ttl_s)),
            recorded: LeaseState::Alive,
            heard: true,
            dirty: false,
            patch: None,
            writes: 0,
            // The machine is the same.
            load: self.with(id, |l| l.load.clone()).unwrap_or_default(),
            runs,
            // A signature covers the lease token, and that covers the certificate: signatures under the previous
            // identity are void.
            calls: SigningTimes::default(),
            unstored: self.with(id, |l| l.unstored.clone()).flatten(),
            suspicion: self.with(id, |l| l.suspicion.of_a_new_identity()).unwrap_or_default(),
        };
        leases::put(write, &lease.row())?;
        if let Some(from) = self.with(id, |l| l.recorded).filter(|state| *state != LeaseState::Alive) {
            transitions::record(write, id, from, LeaseState::Alive, write.now)?;
        }
        let before = lock(self.shard(id)).insert(id.clone(), lease);
        if before.as_ref().is_some_and(|l| l.suspicion.is_recorded()) {
            self.losses.news.set(());
        }
        self.restore_on_rollback(write, id, before);
        Ok(())
    }

    /// The key of an enrolled node, and the fingerprint of its certificate.
    pub(in crate::control) fn identity(&self, id: &NodeId) -> Option<(Arc<PublicKey>, String)> {
        self.with(id, |l| (Arc::clone(&l.key), l.fingerprint.clone()))
    }

    /// Epoch seconds of the server's start.
    pub(in crate::control) fn started_at(&self) -> i64 {
        self.started_at
    }

    /// Admits a call that a node has proven with the identity of this fingerprint; otherwise returns the reason for the
    /// refusal. `signed`: epoch milliseconds of the signature, which are used up by this call, and the latest allowed
    /// value.
    pub(in crate::control) fn admit_call(
        &self,
        id: &NodeId,
        fingerprint: &str,
        run: Option<&AgentRun>,
        signed: Option<(i64, i64)>,
    ) -> std::result::Result<(), Reason> {
        let admitted = self.with(id, |l| {
            if l.fingerprint != fingerprint {
                return Err(Reason::IdentityReplaced);
            }
            if l.runs.refuses(run) {
                return Err(Reason::AnotherRun);
            }
            if signed.is_some_and(|(at_ms, horizon_ms)| !l.calls.use_up(at_ms, horizon_ms)) {
                return Err(Reason::Replayed);
            }
            self.hear(l);
            Ok(())
        });
        admitted.unwrap_or(Err(Reason::IdentityReplaced))
    }

    /// Length of a node's lease, in seconds.
    pub(in crate::control) fn ttl_s(&self, id: &NodeId) -> i64 {
        self.with(id, |l| l.ttl_s).unwrap_or(LEASE_TTL_S)
    }

    /// Notes a signing time, if it is newer than all previous ones. `horizon`: see [`Lease::is_new`].
    pub(in crate::control) fn advance_signed_at(&self, id: &NodeId, signed_at: i64, horizon: i64) -> bool {
        self.with(id, |l| {
            let newer = l.is_new(signed_at, horizon);
            if newer {
                l.signed_at = signed_at;
                l.dirty = true;
            }
            newer
        })
        .unwrap_or(false)
    }
}

fn seconds(s: i64) -> Duration {
    Duration::from_secs(s.unsigned_abs())
}

#[cfg(test)]
mod tests;
