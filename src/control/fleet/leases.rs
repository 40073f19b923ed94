//! Leases live in memory: a heartbeat proves itself and renews a lease without touching the disk.
//!
//! Only what changed is written at once: a status that is not the same any more, and a transition
//! (alive, stale, dead, alive), each with its event, in one transaction. Renewals that change nothing but times are
//! flushed in batches by a pass. Time is monotonic, so a step of the wall clock kills nobody; and after a start every
//! lease that was alive gets a fresh term, so a restart kills nobody either.

use crate::caller;
use crate::clock::{self, Timestamp};
use crate::control::Control;
use crate::control::access::throttle;
use crate::control::fleet::load_history::{LoadDay, LoadHistory, STEP_S, STEPS, Sample};
use crate::control::fleet::node_runs;
use crate::control::fleet::node_runs::{News, Runs};
use crate::control::fleet::signing_times::SigningTimes;
use crate::control::fleet::unstored::Unstored;
use crate::control::trust::tls;
use crate::crypto::pki::{self, PublicKey};
use crate::crypto::{self, lease};
use crate::error::{Chain, Error, FieldFault, Loc, Result};
use crate::logger::Quota;
use crate::model::addresses::Addresses;
use crate::model::events::NewEvent;
use crate::model::leases::{LEASE_TTL_S, LeaseState, LeaseView, STALE_S};
use crate::model::node_runs::{AgentRun, Conflict};
use crate::model::nodes::{Node, PLACEMENT_KEYS, ShowSignedAt, merge_status};
use crate::model::updates::Request;
use crate::model::{Object, Page, Paging};
use crate::store::leases::LeaseRow;
use crate::store::{Store, Write, events, leases, nodes};
use crate::thread::lock;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The table is cut in so many parts, each with its own lock, so that heartbeats on two cores do not meet.
const SHARDS: usize = 16;
/// Renewals written in one transaction: a flush of many thousands must not make other writes wait for all of it.
const FLUSH_MAX: usize = 2000;

/// What a heartbeat says.
pub struct Heartbeat {
    /// Who.
    pub node_id: String,
    /// The token that the join, or a later heartbeat, gave.
    pub lease_token: String,
    /// Epoch seconds at which the node signed.
    pub signed_at: i64,
    /// Seconds until the lease runs out.
    pub ttl_s: i64,
    /// The signature; `None` when what came was not base64.
    pub signature: Option<Vec<u8>>,
    /// What the node reports.
    pub patch: Object,
    /// The same exactly as it came: its numbers are signed as they were written.
    pub raw_patch: String,
    /// The certificate (DER) that the connection was made with, where it was made with one.
    pub certificate: Option<Arc<[u8]>>,
}

/// What an accepted heartbeat is told.
#[derive(Debug, serde::Serialize)]
pub struct Renewed {
    /// The node.
    pub node_id: String,
    heartbeat_at: Timestamp,
    lease_expires_at: Timestamp,
    lease_state: LeaseState,
    server_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_token: Option<String>,
    /// Whether the node is to renew its identity, because there is another authority to trust.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    renew_identity: bool,
    /// Where the control plane is reached by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<Addresses>,
    /// What the node is to update itself to.
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<Request>,
    /// `false`: the lease is renewed, and what the node reported is not written yet. It is in memory until a later heartbeat's write succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_stored: Option<bool>,
}

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

    /// Whether a signing time is newer than the last accepted one. One beyond `horizon` (now, and the skew that is allowed)
    /// says that the wall clock was set back since: then it counts for nothing, or the node would be shut out until the
    /// clock had caught up.
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
    shards: Arc<[Mutex<HashMap<String, Lease>>; SHARDS]>,
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
        let mut conflicts: HashMap<String, Conflict> = store.read(crate::store::node_runs::all)?.into_iter().collect();
        let (now, tick) = (clock::now(), clock::tick());
        for node in store.read(leases::enrolled)? {
            let Some(key) = PublicKey::from_spki(&node.key) else {
                log::error!(target: "cluster", event = "lease.load", node_id = node.node_id; "The node's enrolled key cannot be read; it must join again");
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

    fn shard(&self, id: &str) -> &Mutex<HashMap<String, Lease>> {
        &self.shards[self.hasher.hash_one(id) as usize % SHARDS]
    }

    fn with<T>(&self, id: &str, f: impl FnOnce(&mut Lease) -> T) -> Option<T> {
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

    /// The contract's refusal. The log names the check that failed; the client is told only once its token is proven.
    fn refuse(&self, node_id: &str, check: &'static str, reason: Option<&'static str>) -> Error {
        if self.lines.admits(throttle::source()) {
            log::warn!(target: "cluster", event = "heartbeat.refused", node_id, check; "Refused a heartbeat");
        }
        *lock(&self.beats.refused).entry(check).or_default() += 1;
        Error::Unauthenticated { detail: "Invalid node id or lease token.", reason }
    }

    /// Every enrolled node with the state of its lease.
    pub fn states(&self) -> Vec<(String, LeaseState)> {
        let tick = clock::tick();
        let mut all = Vec::new();
        for shard in self.shards.iter() {
            all.extend(lock(shard).iter().map(|(id, l)| (id.clone(), l.state(tick))));
        }
        all
    }

    /// Every enrolled node with the state of its lease and the seconds since it died, 0 where it has not. Of one that died before the
    /// start only the wall clock tells.
    pub fn seen(&self) -> Vec<(String, LeaseState, i64)> {
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

    /// Every enrolled node with the time since its lease ended: zero where it runs, `None` where it ended before the server started.
    pub fn silence(&self) -> Vec<(String, Option<Duration>)> {
        let tick = clock::tick();
        let mut all = Vec::new();
        for shard in self.shards.iter() {
            all.extend(lock(shard).iter().map(|(id, l)| (id.clone(), l.ends.map(|end| tick.saturating_duration_since(end)))));
        }
        all
    }

    /// The state of a node's lease.
    pub fn state(&self, id: &str) -> LeaseState {
        self.with(id, |l| l.state(clock::tick())).unwrap_or(LeaseState::Unknown)
    }

    /// The step of the load history that is now: they are counted from the start, by the clock that is never set.
    fn step(&self) -> u64 {
        clock::tick().saturating_duration_since(self.loaded).as_secs() / STEP_S
    }

    /// How busy a node was over the last day; `None` where it is not enrolled.
    pub fn load_day(&self, id: &str) -> Option<LoadDay> {
        let step = self.step();
        let mut day = self.with(id, |l| l.load.day(step))?;
        day.since = (step < STEPS as u64).then(|| Timestamp::from_secs(self.started_at));
        Some(day)
    }

    /// Somebody other than the node changes its status, in a transaction of its own: the next patch is written, whatever it says.
    pub(in crate::control) fn status_changed(&self, id: &str) {
        self.with(id, Lease::status_written);
    }

    /// Revokes a node's identity, in the transaction that deletes the node: a join that comes after it must not lose its lease to it.
    pub(in crate::control) fn remove(&self, write: &Write, id: &str) {
        let removed = lock(self.shard(id)).remove(id);
        self.restore_on_rollback(write, id, removed);
    }

    /// Restores this node's lease as it was, should the transaction fail.
    fn restore_on_rollback(&self, write: &Write, id: &str, before: Option<Lease>) {
        let (table, id) = (self.clone(), id.to_string());
        write.on_rollback(move || {
            let mut shard = lock(table.shard(&id));
            match before {
                Some(lease) => shard.insert(id, lease),
                None => shard.remove(&id),
            };
        });
    }

    /// Gives an enrolled node a lease under a new identity, in the transaction that enrols it.
    pub(in crate::control) fn enrol(&self, write: &Write, id: &str, seq: i64, identity: NewIdentity, ttl_s: i64) -> Result<()> {
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
            tell(write, id, from, LeaseState::Alive, write.now)?;
        }
        let before = lock(self.shard(id)).insert(id.to_string(), lease);
        self.restore_on_rollback(write, id, before);
        Ok(())
    }

    /// The key of an enrolled node, and the fingerprint of the certificate that goes with it.
    pub(in crate::control) fn identity(&self, id: &str) -> Option<(Arc<PublicKey>, String)> {
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
        id: &str,
        fingerprint: &str,
        run: Option<&AgentRun>,
        signed: Option<(i64, i64)>,
    ) -> std::result::Result<(), &'static str> {
        let admitted = self.with(id, |l| {
            if l.fingerprint != fingerprint {
                return Err("identity_replaced");
            }
            if l.runs.refuses(run) {
                return Err("another_run");
            }
            if signed.is_some_and(|(at_ms, horizon_ms)| !l.calls.use_up(at_ms, horizon_ms)) {
                return Err("replayed");
            }
            Ok(())
        });
        admitted.unwrap_or(Err("identity_replaced"))
    }

    /// The runs of a node's agent.
    pub(in crate::control) fn runs(&self, id: &str) -> Runs {
        self.with(id, |l| l.runs.clone()).unwrap_or_default()
    }

    /// The holders of a node's identity, where there are two.
    pub fn conflict(&self, id: &str) -> Option<Conflict> {
        self.with(id, |l| l.runs.conflict().cloned()).flatten()
    }

    /// Takes the news of a node's runs, in the transaction that writes it down.
    pub(in crate::control) fn take_run_news(&self, write: &Write, id: &str) -> Option<(News, Conflict)> {
        let (news, conflict) = self.with(id, |l| l.runs.take_news()).flatten()?;
        let (table, of) = (self.clone(), id.to_string());
        write.on_rollback(move || {
            table.with(&of, |l| l.runs.give_back(news));
        });
        Some((news, conflict))
    }

    /// Changes the runs of a node's agent, in the transaction that writes them.
    pub(in crate::control) fn change_runs<T>(&self, write: &Write, id: &str, change: impl FnOnce(&mut Runs) -> Option<T>) -> Option<T> {
        let before = self.runs(id);
        let (table, of) = (self.clone(), id.to_string());
        write.on_rollback(move || {
            table.with(&of, |l| l.runs = before);
        });
        self.with(id, |l| change(&mut l.runs)).flatten()
    }

    /// Takes the news that a heartbeat saw kept, in the transaction that writes it; nothing where another one has taken it.
    fn take_unstored(&self, write: &Write, id: &str, seen: &Arc<Unstored>) -> Object {
        let taken = self.with(id, |l| l.unstored.take_if(|kept| Arc::ptr_eq(kept, seen))).flatten();
        let Some(taken) = taken else { return Object::new() };
        let patch = taken.patch.clone();
        let (table, of) = (self.clone(), id.to_string());
        write.on_rollback(move || {
            table.with(&of, |l| l.unstored = l.unstored.take().or(Some(taken)));
        });
        patch
    }

    /// Keeps news that the database did not take, with what was kept before, where there is room and no newer heartbeat came. True if it
    /// is kept.
    fn keep_unstored(&self, id: &str, signed_at: i64, patch: Object) -> bool {
        let before = self.with(id, |l| l.unstored.clone()).flatten();
        let mut all = before.map(|before| before.patch.clone()).unwrap_or_default();
        all.extend(patch);
        let Some(unstored) = Unstored::keep(all, &self.unstored_bytes) else { return false };
        self.with(id, |l| {
            let newest = l.signed_at == signed_at;
            if newest {
                l.unstored = Some(Arc::new(unstored));
            }
            newest
        })
        .unwrap_or(false)
    }

    /// The length of a node's lease in seconds.
    pub(in crate::control) fn ttl_s(&self, id: &str) -> i64 {
        self.with(id, |l| l.ttl_s).unwrap_or(LEASE_TTL_S)
    }

    /// Takes note of a signing time, if it is newer than every one before. `horizon`: see [`Lease::is_new`].
    pub(in crate::control) fn advance_signed_at(&self, id: &str, signed_at: i64, horizon: i64) -> bool {
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

    /// Records a node's transition, if there is one, in a transaction; tells whether there was. Every transition is decided here, in the writer
    /// thread, so that its events stand in the order of what happened.
    fn transition(&self, write: &Write, id: &str) -> Result<bool> {
        let tick = clock::tick();
        let found = self.with(id, |l| {
            let (from, to) = (l.recorded, l.state(tick));
            l.recorded = to;
            (l.seq, from, to, l.heartbeat_at)
        });
        let Some((seq, from, to, heartbeat_at)) = found.filter(|(_, from, to, _)| from != to) else { return Ok(false) };
        let (table, of) = (self.clone(), id.to_string());
        write.on_rollback(move || {
            table.with(&of, |l| l.recorded = from);
        });
        leases::set_state(write, seq, to)?;
        tell(write, id, from, to, heartbeat_at)?;
        Ok(true)
    }

    /// Records the transitions of every lease that ran out since the last sweep. Tells how many there were.
    pub fn sweep(&self, store: &Store) -> Result<usize> {
        let tick = clock::tick();
        let mut changed = Vec::new();
        for shard in self.shards.iter() {
            changed.extend(lock(shard).iter().filter(|(_, l)| l.state(tick) != l.recorded).map(|(id, _)| id.clone()));
        }
        if changed.is_empty() {
            return Ok(0);
        }
        let table = self.clone();
        store.write(move |w| {
            let mut count = 0;
            for id in changed {
                count += usize::from(table.transition(w, &id)?);
            }
            Ok(count)
        })
    }

    /// Writes the renewals since the last flush. Tells how many there were.
    pub fn flush(&self, store: &Store) -> Result<usize> {
        let mut rows: Vec<(String, LeaseRow)> = Vec::new();
        for shard in self.shards.iter() {
            rows.extend(lock(shard).iter().filter(|(_, l)| l.dirty).map(|(id, l)| (id.clone(), l.row())));
        }
        // By key, so that a page is touched once.
        rows.sort_unstable_by_key(|(_, row)| row.node_seq);
        let count = rows.len();
        for part in rows.chunks(FLUSH_MAX) {
            let (table, part) = (self.clone(), part.to_vec());
            store.write(move |w| {
                part.iter().try_for_each(|(_, row)| leases::renew(w, row))?;
                w.on_commit(move || part.iter().for_each(|(id, row)| table.flushed(id, row)));
                Ok(())
            })?;
        }
        Ok(count)
    }

    /// A lease is durable as this row says; one that was renewed since is not.
    fn flushed(&self, id: &str, row: &LeaseRow) {
        self.with(id, |l| l.dirty = l.row() != *row);
    }
}

/// Records a transition as an event.
fn tell(write: &Write, id: &str, from: LeaseState, to: LeaseState, heartbeat_at: Timestamp) -> Result<()> {
    let (name, level) = match to {
        LeaseState::Alive => ("node.lease.alive", "info"),
        LeaseState::Stale => ("node.lease.stale", "warning"),
        LeaseState::Dead | LeaseState::Unknown => ("node.lease.dead", "error"),
    };
    let fields = json!({"node_id": id, "from": from, "to": to, "heartbeat_at": heartbeat_at});
    events::record(write, NewEvent::at(level, "nodes", name, fields)).map(drop)
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
        Some(id) => match items.iter().position(|l| l.node_id == *id) {
            Some(i) => i + 1,
            None => {
                let loc = vec![Loc::Name("query".into()), Loc::Name("after".into())];
                let msg = "This node is gone: read the list from its beginning".to_string();
                return Err(Error::Invalid(vec![FieldFault { kind: "string_pattern_mismatch", loc, msg, input: id.as_str().into() }]));
            }
        },
    };
    let rest = items.split_off(begin).into_iter().take(paging.limit + 1).collect();
    Ok(Page::cut(rest, paging.limit, total, |l| &l.node_id))
}

/// Accepts a heartbeat, or says why not. The order of the checks is the contract's.
pub fn heartbeat(control: &Control, mut beat: Heartbeat) -> Result<Renewed> {
    let (config, leases) = (&control.config, &control.leases);
    let now = clock::now();
    let key = config.cluster_signing_key.expose();
    let claims = match lease::open(key, &beat.lease_token) {
        Some(claims) if claims.n == beat.node_id => claims,
        Some(_) => return Err(leases.refuse(&beat.node_id, "lease token of another node", None)),
        None => return Err(leases.refuse(&beat.node_id, "lease token not genuine", None)),
    };
    if claims.exp < now.secs() {
        return Err(leases.refuse(&beat.node_id, "lease token expired", Some("lease_expired")));
    }
    let horizon = now.secs() + config.heartbeat_skew_s;
    let known = control.leases.with(&beat.node_id, |l| (l.fingerprint == claims.fp, Arc::clone(&l.key), l.is_new(beat.signed_at, horizon)));
    let Some((current, public_key, new)) = known else {
        return Err(leases.refuse(&beat.node_id, "node not enrolled", Some("identity_replaced")));
    };
    if !current {
        return Err(leases.refuse(&beat.node_id, "identity replaced", Some("identity_replaced")));
    }
    if let Some(certificate) = &beat.certificate {
        if pki::spki_of(certificate) != Some(public_key.spki_der()) {
            return Err(leases.refuse(&beat.node_id, "certificate of another key", Some("identity_replaced")));
        }
        if pki::validity_der(certificate).is_none_or(|(_, ends)| ends < now) {
            return Err(leases.refuse(&beat.node_id, "certificate expired", Some("certificate_expired")));
        }
    }
    if now.secs().abs_diff(beat.signed_at) > config.heartbeat_skew_s.unsigned_abs() {
        return Err(leases.refuse(&beat.node_id, "clock skew", Some("clock_skew")));
    }
    let started_at = control.leases.started_at;
    let from_before_the_start = claims.iat < started_at && beat.signed_at <= started_at && started_at <= horizon;
    if !new || from_before_the_start {
        return Err(leases.refuse(&beat.node_id, "replayed", Some("replayed")));
    }
    // The body was parsed already, so this does not fail; if it did, it would be the client's fault.
    let canonical = crypto::signature::canonical(&beat.raw_patch).map_err(Error::Malformed)?;
    let signed = |form: &str| {
        let message = crypto::signature::heartbeat_message(&beat.node_id, &beat.lease_token, beat.signed_at, beat.ttl_s, form);
        beat.signature.as_deref().is_some_and(|s| public_key.verify(&message, s))
    };
    if !signed(&canonical) && !crypto::signature::with_bare_del(&canonical).is_some_and(|form| signed(&form)) {
        return Err(leases.refuse(&beat.node_id, "bad signature", Some("bad_signature")));
    }
    // Between the first look and here another heartbeat, a rejoin or a deletion may have come: the lock decides.
    let expires_at = now.plus_secs(beat.ttl_s);
    let trust = control.ca.trusted()?;
    let (told, step) = (Sample::of(&beat.patch), leases.step());
    let digest = (!beat.patch.is_empty()).then(|| crypto::sha256(canonical.as_bytes()));
    let holder = AgentRun::take(&mut beat.patch).map(|run| node_runs::holder(run, now));
    let renewed = control.leases.with(&beat.node_id, |l| {
        if l.fingerprint != claims.fp {
            return Err("identity_replaced");
        }
        if !l.is_new(beat.signed_at, horizon) {
            return Err("replayed");
        }
        let alive = l.state(clock::tick()) == LeaseState::Alive;
        if !holder.as_ref().is_none_or(|holder| l.runs.admit(holder, beat.signed_at, alive)) {
            return Err("another_run");
        }
        l.signed_at = beat.signed_at;
        l.heartbeat_at = now;
        l.expires_at = expires_at;
        l.ttl_s = beat.ttl_s;
        l.ends = Some(clock::tick() + seconds(beat.ttl_s));
        l.dirty = true;
        if let Some(told) = told {
            l.load.note(step, told);
        }
        let seen = (l.recorded != LeaseState::Alive, digest.is_some() && l.patch != digest, l.trust != trust.digest);
        Ok((seen, l.unstored.clone(), l.runs.has_news()))
    });
    let ((back, news, renew_identity), unstored, found) = match renewed {
        Some(Ok(seen)) => seen,
        Some(Err(reason)) => return Err(leases.refuse(&beat.node_id, reason, Some(reason))),
        None => return Err(leases.refuse(&beat.node_id, "node not enrolled", Some("identity_replaced"))),
    };
    if found {
        node_runs::record(control, &beat.node_id);
    }
    let mut status_stored = None;
    if back || news || unstored.is_some() {
        caller::is(&format!("node:{}", beat.node_id));
        status_stored = store_news(control, &beat.node_id, beat.signed_at, beat.patch, digest, unstored)?;
    }
    leases.beats.accepted.fetch_add(1, Ordering::Relaxed);
    let half_life = claims.iat + (claims.exp - claims.iat) / 2;
    let lease_token = (now.secs() >= half_life).then(|| lease::mint(key, &claims_for(control, &beat.node_id, &claims.fp, now)));
    Ok(Renewed {
        addresses: control.tls.as_ref().and_then(tls::Tls::told),
        update: control.updates.told(&beat.node_id),
        node_id: beat.node_id,
        heartbeat_at: now,
        lease_expires_at: expires_at,
        lease_state: LeaseState::Alive,
        server_time: now,
        lease_token,
        renew_identity,
        status_stored,
    })
}

/// The claims of a fresh lease token.
pub(in crate::control) fn claims_for(control: &Control, node_id: &str, fingerprint: &str, now: Timestamp) -> lease::LeaseClaims {
    lease::LeaseClaims {
        exp: now.secs() + control.config.lease_token_ttl_s,
        fp: fingerprint.to_string(),
        iat: now.secs(),
        n: node_id.to_string(),
    }
}

/// Writes what a heartbeat changed, and what was kept of those before it. Where the database takes it not, the lease is renewed all the same:
/// then the news is kept, and `Some(false)` says that it is not durable. What fails for another reason is the node's to know.
fn store_news(
    control: &Control,
    node_id: &str,
    signed_at: i64,
    patch: Object,
    digest: Option<[u8; 32]>,
    unstored: Option<Arc<Unstored>>,
) -> Result<Option<bool>> {
    let has_news = !patch.is_empty() || unstored.is_some();
    let Err(e) = record(control, node_id, patch.clone(), digest, unstored.clone()) else { return Ok(None) };
    if e.status() < 500 {
        // With what was kept it may fit no more: the next one goes without.
        let is_seen = |kept: &mut Arc<Unstored>| unstored.as_ref().is_some_and(|seen| Arc::ptr_eq(kept, seen));
        control.leases.with(node_id, |l| l.unstored.take_if(is_seen));
        return Err(e);
    }
    if has_news && !control.leases.keep_unstored(node_id, signed_at, patch) {
        return Err(e);
    }
    log::warn!(target: "cluster", event = "heartbeat.status_unstored", node_id, error:% = Chain(&e); "A heartbeat's news cannot be written; the lease is renewed, and a later heartbeat tries again");
    Ok(has_news.then_some(false))
}

/// Writes what a heartbeat changed: the status, and a return to life. The writes of one node are numbered in the writer thread: two
/// heartbeats may overtake each other on their way there, and only the last one's patch is in the status.
fn record(control: &Control, node_id: &str, patch: Object, digest: Option<[u8; 32]>, unstored: Option<Arc<Unstored>>) -> Result<()> {
    let (table, id) = (control.leases.clone(), node_id.to_string());
    control.store.write(move |w| {
        let mut all = unstored.map(|seen| table.take_unstored(w, &id, &seen)).unwrap_or_default();
        all.extend(patch);
        if !all.is_empty() {
            // It may have been deleted since its heartbeat was proven.
            let mut node = nodes::by_id(w, &id)?.ok_or_else(|| table.refuse(&id, "node not enrolled", Some("identity_replaced")))?;
            let before: Vec<_> = PLACEMENT_KEYS.iter().map(|key| node.status.get(*key).cloned()).collect();
            // A control plane of 2.0.0 took the run for a part of the status.
            let had_run = AgentRun::take(&mut node.status).is_some();
            if merge_status(&mut node.status, all) || had_run {
                crate::control::limits::status_fits("node", &node.status)?;
                match PLACEMENT_KEYS.iter().zip(&before).all(|(key, was)| node.status.get(*key) == was.as_ref()) {
                    true => nodes::report(w, &node)?,
                    false => nodes::update(w, &node)?,
                }
            }
            let number = table.with(&id, Lease::status_written);
            let (table, id) = (table.clone(), id.clone());
            w.on_commit(move || {
                // Durable now, if nothing was written after it.
                table.with(&id, |l| l.patch = if Some(l.writes) == number { digest } else { l.patch });
            });
        }
        table.transition(w, &id).map(drop)
    })
}

fn seconds(s: i64) -> Duration {
    Duration::from_secs(s.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::pki::{Csr, NodeKey};

    fn lease(signed_at: i64, ends: Option<Instant>) -> Lease {
        let csr = NodeKey::generate().and_then(|key| key.csr_pem("n", &[])).expect("a request");
        let key = Csr::parse(&csr).expect("a sound request").public_key();
        let heartbeat_at = Timestamp::from_secs(signed_at);
        Lease {
            seq: 1,
            fingerprint: String::new(),
            key: Arc::new(key),
            trust: String::new(),
            heartbeat_at,
            expires_at: heartbeat_at,
            ttl_s: 45,
            signed_at,
            ends,
            recorded: LeaseState::Alive,
            dirty: false,
            patch: None,
            writes: 0,
            load: LoadHistory::default(),
            runs: Runs::default(),
            calls: SigningTimes::default(),
            unstored: None,
        }
    }

    #[test]
    fn a_clock_that_is_set_back_shuts_nobody_out() {
        let lease = lease(1000, None);
        let skew = 30;
        for (now, signed_at, new) in [(1000, 1001, true), (1000, 1000, false), (1000, 990, false), (980, 985, false), (400, 400, true)] {
            assert_eq!(lease.is_new(signed_at, now + skew), new, "signed at {signed_at} at {now}");
        }
    }

    #[test]
    fn a_lease_is_alive_then_stale_for_a_minute_then_dead() {
        let end = clock::tick();
        let lease = lease(1000, Some(end));
        for (after_s, state) in [(0, LeaseState::Alive), (1, LeaseState::Stale), (60, LeaseState::Stale), (61, LeaseState::Dead)] {
            assert_eq!(lease.state(end + Duration::from_secs(after_s)), state, "{after_s} s after its end");
        }
    }

    fn identity(fingerprint: &str) -> NewIdentity {
        let csr = NodeKey::generate().and_then(|key| key.csr_pem("n", &[])).expect("a request");
        let key = Arc::new(Csr::parse(&csr).expect("a sound request").public_key());
        NewIdentity { fingerprint: fingerprint.into(), key, trust: String::new(), runs: Runs::default() }
    }

    #[test]
    fn a_lease_that_is_renewed_while_it_is_flushed_is_flushed_again() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-flush-{}", std::process::id()));
        crate::files::private_dir(&dir).expect("a directory");
        let log = crate::store::QueryLog { queries: false, params: false, sql_chars_max: 0 };
        let store = Store::open(&dir.join("app.db"), 1, log).expect("a database");
        let table = Leases::load(&store).expect("no leases");
        let of = table.clone();
        let enrolled = store.write(move |w| {
            nodes::insert(w, &Node::new("n".into(), "n".into(), Default::default(), w.now))?;
            let seq = nodes::by_id(w, "n")?.ok_or_else(crate::control::fleet::nodes::missing)?.seq;
            of.enrol(w, "n", seq, identity("first"), 45)
        });
        enrolled.expect("it is enrolled");
        let is_dirty = || table.with("n", |l| l.dirty);
        assert!(table.advance_signed_at("n", 1000, 2000));
        let row = table.with("n", |l| l.row()).expect("a lease");
        assert_eq!((table.flush(&store).ok(), is_dirty(), table.flush(&store).ok()), (Some(1), Some(false), Some(0)));
        assert!(table.advance_signed_at("n", 1001, 2000));
        table.flushed("n", &row);
        assert_eq!(is_dirty(), Some(true), "what was written is older");
        store.close();
        assert!(table.flush(&store).is_err());
        assert_eq!(is_dirty(), Some(true), "nothing was written");
        std::fs::remove_dir_all(dir).expect("the directory is ours");
    }

    #[test]
    fn what_fails_is_taken_back_before_anything_later_is_done() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-leases-{}", std::process::id()));
        crate::files::private_dir(&dir).expect("a directory");
        let log = crate::store::QueryLog { queries: false, params: false, sql_chars_max: 0 };
        let store = Arc::new(Store::open(&dir.join("app.db"), 1, log).expect("a database"));
        let table = Leases::load(&store).expect("no leases");
        let fingerprint = || table.with("n", |l| l.fingerprint.clone());
        let of = table.clone();
        let seq = store.write(move |w| {
            nodes::insert(w, &Node::new("n".into(), "n".into(), Default::default(), w.now))?;
            let seq = nodes::by_id(w, "n")?.ok_or_else(crate::control::fleet::nodes::missing)?.seq;
            of.enrol(w, "n", seq, identity("first"), 45).map(|()| seq)
        });
        let seq = seq.expect("it is enrolled");
        // The commit fails: of all jobs of the transaction, the last first.
        for again in [false, true] {
            let of = table.clone();
            let failed = store.write(move |w| {
                of.remove(w, "n");
                if again {
                    of.enrol(w, "n", seq, identity("lost"), 45)?;
                }
                w.spoil();
                Ok(())
            });
            assert!(failed.is_err());
            assert_eq!(fingerprint().as_deref(), Some("first"));
        }
        // A deletion fails while a join of the same id waits behind it.
        let (of, writing) = (table.clone(), Arc::clone(&store));
        let deletion = crate::thread::spawn("deletion", None, move || {
            let counted = Arc::clone(&writing);
            let failed: Result<()> = writing.write(move |w| {
                of.remove(w, "n");
                while counted.writer_stats().queued < 2 {
                    std::thread::yield_now();
                }
                Err(Error::Conflict("no".into()))
            });
            assert!(failed.is_err());
        });
        while store.writer_stats().queued < 1 {
            std::thread::yield_now();
        }
        let of = table.clone();
        store.write(move |w| of.enrol(w, "n", seq, identity("second"), 45)).expect("it joins");
        deletion.expect("a thread").join().expect("it ends");
        assert_eq!(fingerprint().as_deref(), Some("second"), "the later one stands");
        store.close();
        std::fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
