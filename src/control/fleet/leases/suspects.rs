//! Suspicion: a node whose waiting call broke off, and that did not call again. It is a hint beside the state of the
//! lease: people see it, and nothing new is placed there. The node's next heartbeat or call ends it, and so does the
//! end of its lease.

use super::{Lease, Leases};
use crate::clock::{self, Timestamp};
use crate::control::Control;
use crate::error::Result;
use crate::model::events::catalogue::{NODE_SUSPECT, NODE_UNSUSPECT};
use crate::model::ids::NodeId;
use crate::model::leases::LeaseState;
use crate::store::{Write, events};
use crate::thread::{Watch, lock};
use serde_json::json;
use std::time::{Duration, Instant};

/// Suspicion about one node.
#[derive(Clone, Copy, Default)]
pub(super) struct Suspicion {
    /// Its beginning, if there is one.
    since: Option<Timestamp>,
    /// True if the last event says that there is one.
    recorded: bool,
    /// Time of the node's last heartbeat or call.
    heard_at: Option<Instant>,
}

impl Suspicion {
    /// The same after a new enrolment, which ends it.
    pub(super) fn of_a_new_identity(self) -> Suspicion {
        Suspicion { since: None, ..self }
    }

    /// True if the last event says that there is one.
    pub(super) fn is_recorded(self) -> bool {
        self.recorded
    }

    /// The same after the end of the lease, whose event says more.
    pub(super) fn of_an_ended_lease(self) -> Suspicion {
        Suspicion { since: None, recorded: false, ..self }
    }
}

impl Lease {
    /// Beginning of the suspicion about a node that is alive, if there is one.
    pub(super) fn suspect_since(&self, now: Instant, stale_for: Duration) -> Option<Timestamp> {
        self.suspicion.since.filter(|_| self.state(now, stale_for) == LeaseState::Alive)
    }
}

impl Leases {
    /// Notes that a node was heard, which ends a suspicion.
    pub(super) fn hear(&self, lease: &mut Lease) {
        lease.suspicion.heard_at = Some(clock::tick());
        if lease.suspicion.since.take().is_some() {
            self.losses.news.set(());
        }
    }

    /// Set when there may be a suspicion, or an end of one, to decide or record.
    pub fn suspicion_news(&self) -> &Watch<()> {
        &self.losses.news
    }

    /// Number of suspect nodes.
    pub fn suspects(&self) -> usize {
        let (tick, stale_for) = (self.tick(), self.stale_for());
        let is_suspect = |l: &&Lease| l.suspect_since(tick, stale_for).is_some();
        self.shards.iter().map(|shard| lock(shard).values().filter(is_suspect).count()).sum()
    }

    /// Beginning of the suspicion about a node, if there is one.
    pub fn suspect_since(&self, id: &NodeId) -> Option<Timestamp> {
        let (tick, stale_for) = (self.tick(), self.stale_for());
        self.with(id, |l| l.suspect_since(tick, stale_for)).flatten()
    }

    /// Suspects a node whose call broke off at `lost_at`, unless it was heard since.
    pub(super) fn suspect(&self, id: &NodeId, lost_at: Instant) {
        self.with(id, |l| {
            if l.suspicion.heard_at.is_none_or(|at| at <= lost_at) {
                l.suspicion.since.get_or_insert(clock::now());
            }
        });
    }

    /// Nodes about which the last event is not true any more.
    fn unrecorded(&self) -> Vec<NodeId> {
        let is_news = |l: &Lease| l.suspicion.since.is_some() != l.suspicion.recorded;
        let mut all = Vec::new();
        for shard in self.shards.iter() {
            all.extend(lock(shard).iter().filter(|(_, l)| is_news(l)).map(|(id, _)| id.clone()));
        }
        all
    }

    /// Records the beginning or the end of a suspicion, in a transaction.
    fn record_suspicion(&self, write: &Write, id: &NodeId) -> Result<()> {
        let found = self.with(id, |l| {
            let Suspicion { since, recorded, .. } = l.suspicion;
            l.suspicion.recorded = since.is_some();
            (since, recorded)
        });
        let Some((since, recorded)) = found.filter(|(since, recorded)| since.is_some() != *recorded) else {
            return Ok(());
        };
        let (table, of) = (self.clone(), id.clone());
        write.on_rollback(move || {
            table.with(&of, |l| l.suspicion.recorded = recorded);
        });
        // The scheduler places nothing there, or places again.
        write.changed();
        let event = match since {
            Some(since) => NODE_SUSPECT.with(json!({"node_id": id, "since": since})),
            None => NODE_UNSUSPECT.with(json!({"node_id": id})),
        };
        events::record(write, event).map(drop)
    }
}

/// Decides about calls that broke off, and records what changed. Returns the time until it has to look again.
pub fn turn(control: &Control) -> Result<Duration> {
    let leases = &control.leases;
    for (node_id, lost_at) in leases.losses.due(clock::tick()) {
        if !control.node_work.is_waiting(&node_id) {
            leases.suspect(&node_id, lost_at);
        }
    }
    let unrecorded = leases.unrecorded();
    if !unrecorded.is_empty() {
        let table = leases.clone();
        control.store.write(move |w| unrecorded.iter().try_for_each(|id| table.record_suspicion(w, id)))?;
    }
    Ok(leases.losses.next(clock::tick()))
}
