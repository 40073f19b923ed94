//! Leases on disk: transitions with their events at once, and the times of renewals in batches.

use super::pace::LATE;
use super::{Lease, Leases};
use crate::clock::{self, Timestamp};
use crate::error::Result;
use crate::model::events::catalogue::{NODE_LEASE_ALIVE, NODE_LEASE_DEAD, NODE_LEASE_STALE};
use crate::model::ids::NodeId;
use crate::model::leases::LeaseState;
use crate::store::leases::LeaseRow;
use crate::store::{Store, Write, events, leases};
use crate::thread::lock;
use serde_json::json;
use std::time::Duration;

/// Least difference of two times.
const INSTANT: Duration = Duration::from_millis(1);

/// Renewals written in one transaction: a flush of many thousands must not make other writes wait for all of it.
const FLUSH_MAX: usize = 2000;

impl Leases {
    /// Records a node's transition, if there is one, in a transaction. Returns true if there was one. Every transition
    /// is decided here, in the writer thread, so that its events are in order.
    pub(super) fn transition(&self, write: &Write, id: &NodeId) -> Result<bool> {
        let (tick, stale_for) = (self.tick(), self.stale_for());
        let found = self.with(id, |l| {
            let (from, to) = (l.recorded, l.state(tick, stale_for));
            l.recorded = to;
            if to != LeaseState::Alive {
                l.suspicion = l.suspicion.of_an_ended_lease();
            }
            (l.seq, from, to, l.heartbeat_at)
        });
        let Some((seq, from, to, heartbeat_at)) = found.filter(|(_, from, to, _)| from != to) else { return Ok(false) };
        let (table, of) = (self.clone(), id.clone());
        write.on_rollback(move || {
            table.with(&of, |l| l.recorded = from);
        });
        leases::set_state(write, seq, to)?;
        record(write, id, from, to, heartbeat_at)?;
        Ok(true)
    }

    /// Records the transitions of every lease that expired since the last sweep. Returns the time until the next sweep,
    /// at most `at_most`: a state is noticed when it begins.
    pub fn sweep(&self, store: &Store, at_most: Duration) -> Result<Duration> {
        self.read_dead_after(store)?;
        let (tick, stale_for) = (clock::tick(), self.stale_for());
        let late_by = tick.saturating_duration_since(*lock(&self.sweep_due));
        let (mut changed, mut nodes, mut next) = (Vec::new(), 0, at_most);
        for shard in self.shards.iter() {
            let mut shard = lock(shard);
            if late_by > LATE {
                shard.values_mut().for_each(|l| l.extend(late_by, tick));
            }
            nodes += shard.len();
            let is_changed = |l: &Lease| l.state(tick, stale_for) != l.recorded;
            changed.extend(shard.iter().filter(|(_, l)| is_changed(l)).map(|(id, _)| id.clone()));
            // A state lasts to the end of its time, inclusive.
            let changes = shard.values().filter_map(|l| l.changes_in(tick, stale_for));
            next = changes.map(|left| left + INSTANT).fold(next, Duration::min);
        }
        *lock(&self.sweep_due) = tick + next;
        self.pace.note(nodes, late_by);
        if !changed.is_empty() {
            let table = self.clone();
            let recorded = store.write(move |w| changed.iter().try_for_each(|id| table.transition(w, id).map(drop)));
            // A failed pass comes again after that time.
            recorded.inspect_err(|_| *lock(&self.sweep_due) = clock::tick() + at_most)?;
        }
        Ok(next)
    }

    /// Writes the renewals since the last flush. Returns their number.
    pub fn flush(&self, store: &Store) -> Result<usize> {
        let mut rows: Vec<(NodeId, LeaseRow)> = Vec::new();
        for shard in self.shards.iter() {
            rows.extend(lock(shard).iter().filter(|(_, l)| l.dirty).map(|(id, l)| (id.clone(), l.row())));
        }
        // By key, so that each page is written once.
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

    /// Notes that this row of a lease is durable, unless the lease was renewed since.
    pub(super) fn flushed(&self, id: &NodeId, row: &LeaseRow) {
        self.with(id, |l| l.dirty = l.row() != *row);
    }
}

/// Records a transition as an event.
pub(super) fn record(write: &Write, id: &NodeId, from: LeaseState, to: LeaseState, beat_at: Timestamp) -> Result<()> {
    let event = match to {
        LeaseState::Alive => NODE_LEASE_ALIVE,
        LeaseState::Stale => NODE_LEASE_STALE,
        LeaseState::Dead | LeaseState::Unknown => NODE_LEASE_DEAD,
    };
    let fields = json!({"node_id": id, "from": from, "to": to, "heartbeat_at": beat_at});
    events::record(write, event.with(fields)).map(drop)
}
