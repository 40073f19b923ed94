//! The runs of nodes' agents, kept with their leases.

use super::Leases;
use crate::control::fleet::node_runs::{News, Runs};
use crate::model::ids::NodeId;
use crate::model::node_runs::Conflict;
use crate::store::Write;

impl Leases {
    /// The runs of a node's agent.
    pub(in crate::control) fn runs(&self, id: &NodeId) -> Runs {
        self.with(id, |l| l.runs.clone()).unwrap_or_default()
    }

    /// The two holders of a node's identity, if there is a conflict.
    pub fn conflict(&self, id: &NodeId) -> Option<Conflict> {
        self.with(id, |l| l.runs.conflict().cloned()).flatten()
    }

    /// Takes the news about a node's runs, in the transaction that records it.
    pub(in crate::control) fn take_run_news(&self, write: &Write, id: &NodeId) -> Option<(News, Conflict)> {
        let (news, conflict) = self.with(id, |l| l.runs.take_news()).flatten()?;
        let (table, of) = (self.clone(), id.clone());
        write.on_rollback(move || {
            table.with(&of, |l| l.runs.restore_news(news));
        });
        Some((news, conflict))
    }

    /// Applies an operator's decision about which run of a node's agent stays, in the transaction that writes it;
    /// `None` if that is not a holder.
    pub(in crate::control) fn keep_run(&self, write: &Write, id: &NodeId, run_id: &str) -> Option<Conflict> {
        let (conflict, undo) = self.with(id, |l| l.runs.decide(run_id, write.now)).flatten()?;
        let (table, of) = (self.clone(), id.clone());
        write.on_rollback(move || {
            table.with(&of, |l| l.runs.undo(undo));
        });
        Some(conflict)
    }
}
