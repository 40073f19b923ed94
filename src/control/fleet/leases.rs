//! Leases live in memory: a heartbeat proves itself and renews a lease without touching the disk.
//!
//! Only what changed is written at once: a status that is not the same any more, and a transition
//! (alive, stale, dead, alive), each with its event, in one transaction. Renewals that change nothing but times are
//! flushed in batches by a pass. Time is monotonic, so a step of the wall clock kills nobody; and after a start every
//! lease that was alive gets a fresh term, so a restart kills nobody either.
//!
//! Here is the table; `beat` accepts heartbeats, `news` writes what they bring, `transitions` what becomes of leases on
//! the disk.

mod beat;
mod news;
mod transitions;

pub(in crate::control) use beat::claims_for;
pub use beat::{Heartbeat, heartbeat};

use crate::clock::{self, Timestamp};
use crate::control::Control;
use crate::control::fleet::load_history::{LoadDay, LoadHistory, STEP_S, STEPS};
use crate::control::fleet::node_runs::{News, Runs};
use crate::control::fleet::signing_times::SigningTimes;
use crate::control::fleet::unstored::Unstored;
use crate::crypto::pki::PublicKey;
use crate::error::{Error, FieldFault, Loc, Result};
use crate::logger::Quota;
use crate::model::ids::NodeId;
use crate::model::leases::{LEASE_TTL_S, LeaseState, LeaseView, STALE_S};
use crate::model::node_api::Reason;
use crate::model::node_runs::{AgentRun, Conflict};
use crate::model::nodes::{Node, ShowSignedAt};
use crate::model::{Page, Paging};
use crate::store::leases::LeaseRow;
use crate::store::{Store, Write, leases, nodes};
use crate::thread::lock;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The table is cut in so many parts, each with its own lock, so that heartbeats on two cores do not meet.
const SHARDS: usize = 16;

/// What a node is enrolled with.
pub(in crate::control) struct NewIdentity {
    /// Fingerprint of its certificate.
    pub fingerprint: String,
    /// Its key.
    pub key: Arc<PublicKey>,
    /// Digest of what it is given to trust.
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
    /// Digest of what the node was given to trust.
    trust: String,
    heartbeat_at: Timestamp,
    expires_at: Timestamp,
    ttl_s: i64,
    signed_at: i64,
    /// When the lease runs out, in monotonic time; `None`: it was dead already when the server started.
    ends: Option<Instant>,
    /// The state that the last event told.
    recorded: LeaseState,
    /// Renewed since the last flush.
    dirty: bool,
    /// Digest of the last status patch that is durable and still in the status as written.
    patch: Option<[u8; 32]>,
    /// Writes of the status so far: which of two was the last is decided in the writer thread.
    writes: u64,
    /// How busy the node was.
    load: LoadHistory,
    /// The runs of its agent.
    runs: Runs,
    /// Signing times of its calls.
    calls: SigningTimes,
    /// News that the database did not take.
    unstored: Option<Arc<Unstored>>,
}

impl Lease {
    fn state(&self, now: Instant) -> LeaseState {
        match self.ends {
            Some(end) if now <= end => LeaseState::Alive,
            Some(end) if now <= end + Duration::from_secs(STALE_S) => LeaseState::Stale,
            _ => LeaseState::Dead,
        }
    }

    /// The status is being written: until that is durable every patch is news. Gives the number of the write.
    fn status_written(&mut self) -> u64 {
        self.patch = None;
        self.writes += 1;
        self.writes
    }

    /// Whether a signing time is newer than the last accepted one. One beyond `horizon` (now, and the skew that is
    /// allowed) says that the wall clock was set back since: then it counts for nothing, or the node would be shut out
    /// until the clock had caught up.
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
    /// Epoch seconds of the start: a heartbeat under an older lease token must be signed after it, or it may be a
    /// replay of one whose renewal was not flushed before the server fell.
    started_at: i64,
    /// The same moment, by the clock that is never set.
    loaded: Instant,
    beats: Arc<Beats>,
    /// Lines about refused heartbeats.
    lines: Arc<Quota>,
    /// Bytes of news that the database did not take.
    unstored_bytes: Arc<AtomicUsize>,
}

/// Heartbeats since the start.
#[derive(Default)]
struct Beats {
    accepted: AtomicU64,
    /// By the check that failed.
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
            lines: Arc::default(),
            unstored_bytes: Arc::default(),
        };
        let mut conflicts: HashMap<NodeId, Conflict> = store.read(crate::store::node_runs::all)?.into_iter().collect();
        let (now, tick) = (clock::now(), clock::tick());
        for node in store.read(leases::enrolled)? {
            let Some(key) = PublicKey::from_spki(&node.key) else {
                log::error!(target: "cluster", event = "lease.load", node_id = node.node_id; "A node's enrolled key cannot be read; the node must join again");
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
                dirty: false,
                patch: None,
                writes: 0,
                load: LoadHistory::default(),
                runs: Runs::of(conflicts.remove(&node.node_id)),
                calls: SigningTimes::default(),
                unstored: None,
            };
            lock(table.shard(&node.node_id)).insert(node.node_id, lease);
        }
        Ok(table)
    }

    fn shard(&self, id: &NodeId) -> &Mutex<HashMap<NodeId, Lease>> {
        &self.shards[self.hasher.hash_one(id) as usize % SHARDS]
    }

    fn with<T>(&self, id: &NodeId, f: impl FnOnce(&mut Lease) -> T) -> Option<T> {
        lock(self.shard(id)).get_mut(id).map(f)
    }

    /// Lays a node's lease over its row: the one place where reads see the table. Tells whether there is one.
    pub(in crate::control) fn overlay<R, L, S: ShowSignedAt>(&self, node: &mut Node<R, L, S>) -> bool {
        let seen = self.with(&node.id, |l| (l.heartbeat_at, l.expires_at, l.signed_at));
        let Some((heartbeat_at, expires_at, signed_at)) = seen else { return false };
        node.heartbeat_at = Some(heartbeat_at);
        node.lease_expires_at = Some(expires_at);
        if signed_at > 0 {
            node.status.show_signed_at(signed_at);
        }
        true
    }

    /// Heartbeats since the start: accepted, and refused by the check that failed.
    pub fn heartbeats(&self) -> (u64, BTreeMap<&'static str, u64>) {
        (self.beats.accepted.load(Ordering::Relaxed), lock(&self.beats.refused).clone())
    }

    /// Every enrolled node with the state of its lease.
    pub fn states(&self) -> Vec<(NodeId, LeaseState)> {
        let tick = clock::tick();
        let mut all = Vec::new();
        for shard in self.shards.iter() {
            all.extend(lock(shard).iter().map(|(id, l)| (id.clone(), l.state(tick))));
        }
        all
    }

    /// Every enrolled node with the state of its lease and the seconds since it died, 0 where it has not. Of one that
    /// died before the start only the wall clock tells.
    pub fn seen(&self) -> Vec<(NodeId, LeaseState, i64)> {
        let (now, tick) = (clock::now(), clock::tick());
        let (stale, up) = (Duration::from_secs(STALE_S), tick.saturating_duration_since(self.loaded));
        let dead_for_s = |l: &Lease| match l.ends {
            Some(end) => i64::try_from(tick.saturating_duration_since(end + stale).as_secs()).unwrap_or(i64::MAX),
            // A clock that ran ahead at the time must not hold it for longer than this server runs.
            None => (now.secs() - l.expires_at.secs() - STALE_S as i64).max(i64::try_from(up.as_secs()).unwrap_or(0)),
        };
        let mut all = Vec::new();
        for shard in self.shards.iter() {
            all.extend(lock(shard).iter().map(|(id, l)| (id.clone(), l.state(tick), dead_for_s(l))));
        }
        all
    }

    /// Every enrolled node with the time since its lease ended: zero where it runs, `None` where it ended before the
    /// server started.
    pub fn silence(&self) -> Vec<(NodeId, Option<Duration>)> {
        let tick = clock::tick();
        let mut all = Vec::new();
        for shard in self.shards.iter() {
            all.extend(lock(shard).iter().map(|(id, l)| (id.clone(), l.ends.map(|end| tick.saturating_duration_since(end)))));
        }
        all
    }

    /// The state of a node's lease.
    pub fn state(&self, id: &NodeId) -> LeaseState {
        self.with(id, |l| l.state(clock::tick())).unwrap_or(LeaseState::Unknown)
    }

    /// The step of the load history that is now: they are counted from the start, by the clock that is never set.
    fn step(&self) -> u64 {
        clock::tick().saturating_duration_since(self.loaded).as_secs() / STEP_S
    }

    /// How busy a node was over the last day; `None` where it is not enrolled.
    pub fn load_day(&self, id: &NodeId) -> Option<LoadDay> {
        let step = self.step();
        let mut day = self.with(id, |l| l.load.day(step))?;
        day.since = (step < STEPS as u64).then(|| Timestamp::from_secs(self.started_at));
        Some(day)
    }

    /// Somebody other than the node changes its status, in a transaction of its own: the next patch is written,
    /// whatever it says.
    pub(in crate::control) fn status_changed(&self, id: &NodeId) {
        self.with(id, Lease::status_written);
    }

    /// Revokes a node's identity, in the transaction that deletes the node: a join that comes after it must not lose
    /// its lease to it.
    pub(in crate::control) fn remove(&self, write: &Write, id: &NodeId) {
        let removed = lock(self.shard(id)).remove(id);
        self.restore_on_rollback(write, id, removed);
    }

    /// Restores this node's lease as it was, should the transaction fail.
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
    pub(in crate::control) fn enrol(&self, write: &Write, id: &NodeId, seq: i64, identity: NewIdentity, ttl_s: i64) -> Result<()> {
        let NewIdentity { fingerprint, key, trust, runs } = identity;
        // Under the same key an old signature must stay used: a renewal that was listened to cannot be played again.
        let signed_at = self.with(id, |l| if l.key.spki_der() == key.spki_der() { l.signed_at } else { 0 }).unwrap_or(0);
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
            dirty: false,
            patch: None,
            writes: 0,
            // The machine is the same.
            load: self.with(id, |l| l.load.clone()).unwrap_or_default(),
            runs,
            // A signature covers the lease token, and that the certificate: those of the previous identity are void.
            calls: SigningTimes::default(),
            unstored: self.with(id, |l| l.unstored.clone()).flatten(),
        };
        leases::put(write, &lease.row())?;
        if let Some(from) = self.with(id, |l| l.recorded).filter(|state| *state != LeaseState::Alive) {
            transitions::record(write, id, from, LeaseState::Alive, write.now)?;
        }
        let before = lock(self.shard(id)).insert(id.clone(), lease);
        self.restore_on_rollback(write, id, before);
        Ok(())
    }

    /// The key of an enrolled node, and the fingerprint of the certificate that goes with it.
    pub(in crate::control) fn identity(&self, id: &NodeId) -> Option<(Arc<PublicKey>, String)> {
        self.with(id, |l| (Arc::clone(&l.key), l.fingerprint.clone()))
    }

    /// Epoch seconds of the server's start; see [`Leases::started_at`].
    pub(in crate::control) fn started_at(&self) -> i64 {
        self.started_at
    }

    /// Admits a call that a node has proven by the identity with this fingerprint; otherwise gives the reason of the refusal. `signed`:
    /// epoch milliseconds at which it signed, which are used up by it, and the latest at which it may sign now.
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
            Ok(())
        });
        admitted.unwrap_or(Err(Reason::IdentityReplaced))
    }

    /// The runs of a node's agent.
    pub(in crate::control) fn runs(&self, id: &NodeId) -> Runs {
        self.with(id, |l| l.runs.clone()).unwrap_or_default()
    }

    /// The holders of a node's identity, where there are two.
    pub fn conflict(&self, id: &NodeId) -> Option<Conflict> {
        self.with(id, |l| l.runs.conflict().cloned()).flatten()
    }

    /// Takes the news of a node's runs, in the transaction that writes it down.
    pub(in crate::control) fn take_run_news(&self, write: &Write, id: &NodeId) -> Option<(News, Conflict)> {
        let (news, conflict) = self.with(id, |l| l.runs.take_news()).flatten()?;
        let (table, of) = (self.clone(), id.clone());
        write.on_rollback(move || {
            table.with(&of, |l| l.runs.give_back(news));
        });
        Some((news, conflict))
    }

    /// Changes the runs of a node's agent, in the transaction that writes them.
    pub(in crate::control) fn change_runs<T>(&self, write: &Write, id: &NodeId, change: impl FnOnce(&mut Runs) -> Option<T>) -> Option<T> {
        let before = self.runs(id);
        let (table, of) = (self.clone(), id.clone());
        write.on_rollback(move || {
            table.with(&of, |l| l.runs = before);
        });
        self.with(id, |l| change(&mut l.runs)).flatten()
    }

    /// The length of a node's lease in seconds.
    pub(in crate::control) fn ttl_s(&self, id: &NodeId) -> i64 {
        self.with(id, |l| l.ttl_s).unwrap_or(LEASE_TTL_S)
    }

    /// Takes note of a signing time, if it is newer than every one before. `horizon`: see [`Lease::is_new`].
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

/// A page of `GET /cluster/leases`: alive, stale, dead, unknown, each by name.
pub fn list(control: &Control, paging: &Paging) -> Result<Page<LeaseView>> {
    let named = control.store.read(nodes::names)?;
    let tick = clock::tick();
    let mut items: Vec<LeaseView> = named
        .into_iter()
        .map(|(node_id, name, roles)| {
            let seen = control.leases.with(&node_id, |l| (l.heartbeat_at, l.expires_at, l.state(tick)));
            let (heartbeat_at, lease_expires_at) = (seen.map(|s| s.0), seen.map(|s| s.1));
            LeaseView { node_id, name, roles, heartbeat_at, lease_expires_at, lease_state: seen.map_or(LeaseState::Unknown, |s| s.2) }
        })
        .collect();
    items.sort_by(|a, b| (a.lease_state, &a.name).cmp(&(b.lease_state, &b.name)));
    let total = items.len() as u64;
    let begin = match &paging.after {
        None => 0,
        Some(id) => match items.iter().position(|l| l.node_id == id.as_str()) {
            Some(i) => i + 1,
            None => {
                let loc = vec![Loc::Name("query".into()), Loc::Name("after".into())];
                let msg = "This node was deleted: read the list from its beginning".to_string();
                return Err(Error::Invalid(vec![FieldFault { kind: "string_pattern_mismatch", loc, msg, input: id.as_str().into() }]));
            }
        },
    };
    let rest = items.split_off(begin).into_iter().take(paging.limit + 1).collect();
    Ok(Page::cut(rest, paging.limit, total, |l| l.node_id.as_str()))
}

fn seconds(s: i64) -> Duration {
    Duration::from_secs(s.unsigned_abs())
}

#[cfg(test)]
mod tests;
