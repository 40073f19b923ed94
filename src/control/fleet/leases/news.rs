//! News from heartbeats: a node's report and its return to life, written at once, or kept in memory while the database
//! is unavailable.

use super::{Lease, Leases};
use crate::control::Control;
use crate::control::fleet::unstored::Unstored;
use crate::control::work::running;
use crate::error::{Chain, Result};
use crate::model::Object;
use crate::model::ids::NodeId;
use crate::model::node_api::Reason;
use crate::model::node_runs::AgentRun;
use crate::model::nodes::{Node, merge_status};
use crate::model::status_keys;
use crate::store::{Write, nodes};
use std::sync::Arc;

impl Leases {
    /// Takes the kept news that a heartbeat has seen, in the transaction that writes it; empty if another one has taken
    /// it.
    fn take_unstored(&self, write: &Write, id: &NodeId, seen: &Arc<Unstored>) -> Object {
        let taken = self.with(id, |l| l.unstored.take_if(|kept| Arc::ptr_eq(kept, seen))).flatten();
        let Some(taken) = taken else { return Object::new() };
        let patch = taken.patch.clone();
        let (table, of) = (self.clone(), id.clone());
        write.on_rollback(move || {
            table.with(&of, |l| l.unstored = l.unstored.take().or(Some(taken)));
        });
        patch
    }

    /// Keeps news that the database could not store, together with earlier news, if there is room and no newer
    /// heartbeat has come. Returns true if it is kept.
    fn keep_unstored(&self, id: &NodeId, signed_at: i64, patch: Object) -> bool {
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
}

/// Writes a heartbeat's changes, and the kept news of earlier ones. If the database is unavailable, the lease is
/// renewed all the same: the news is kept, and `Some(false)` means that it is not durable. Other failures are reported
/// to the node.
pub(super) fn store(
    control: &Control,
    node_id: &NodeId,
    signed_at: i64,
    patch: Object,
    digest: Option<[u8; 32]>,
    unstored: Option<Arc<Unstored>>,
) -> Result<Option<bool>> {
    let has_news = !patch.is_empty() || unstored.is_some();
    let Err(e) = write(control, node_id, patch.clone(), digest, unstored.clone()) else { return Ok(None) };
    if e.status() < 500 {
        // Together with the kept news it may be too large; the next one goes without.
        let is_seen = |kept: &mut Arc<Unstored>| unstored.as_ref().is_some_and(|seen| Arc::ptr_eq(kept, seen));
        control.leases.with(node_id, |l| l.unstored.take_if(is_seen));
        return Err(e);
    }
    if has_news && !control.leases.keep_unstored(node_id, signed_at, patch) {
        return Err(e);
    }
    log::warn!(
        target: "cluster", event = "heartbeat.status_unstored", node_id, error:% = Chain(&e);
        "Could not store a heartbeat's status; the lease is renewed, and a later heartbeat sends it again"
    );
    Ok(has_news.then_some(false))
}

/// Writes a heartbeat's changes: the status, and a return to life. The writes of one node are numbered in the writer
/// thread: two heartbeats may overtake each other on their way there, and the status contains only the patch of the
/// last one.
fn write(
    control: &Control,
    node_id: &NodeId,
    patch: Object,
    digest: Option<[u8; 32]>,
    unstored: Option<Arc<Unstored>>,
) -> Result<()> {
    let (table, id) = (control.leases.clone(), node_id.clone());
    control.store.write(move |w| {
        let mut all = unstored.map(|seen| table.take_unstored(w, &id, &seen)).unwrap_or_default();
        all.extend(patch);
        if !all.is_empty() {
            // The node may have been deleted since its heartbeat was proven.
            let mut node = nodes::by_id(w, &id)?
                .ok_or_else(|| table.refuse(&id, "node not enrolled", Some(Reason::IdentityReplaced)))?;
            let placement =
                |node: &Node| -> Vec<_> { status_keys::placement().map(|key| node.status.get(key).cloned()).collect() };
            let (before, runner) = (placement(&node), node.status.get(status_keys::RUNNER).cloned());
            // A control plane of 2.0.0 stored the run as a part of the status.
            let had_run = AgentRun::take(&mut node.status).is_some();
            if merge_status(&mut node.status, all) || had_run {
                crate::control::limits::status_fits("node", &node.status)?;
                if placement(&node) == before {
                    nodes::report(w, &node)?
                } else {
                    nodes::update(w, &node)?
                }
                if node.status.get(status_keys::RUNNER) != runner.as_ref() {
                    running::await_reports(w, &id)?;
                }
            }
            let number = table.with(&id, Lease::status_written);
            let (table, id) = (table.clone(), id.clone());
            w.on_commit(move || {
                // Durable now, unless there was a later write.
                table.with(&id, |l| l.patch = if Some(l.writes) == number { digest } else { l.patch });
            });
        }
        table.transition(w, &id).map(drop)
    })
}
