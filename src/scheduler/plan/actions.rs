//! What a plan does to single replicas, and how a planner puts it down.

use super::{DWELL_S_MAX, Planner};
use crate::model::replicas::Placement;
use crate::scheduler::place::Score;
use crate::scheduler::view::{NodeIndex, ReplicaView};
use serde::Serialize;

/// Nodes that a replica failed on and avoids.
const FAILED_ON_MAX: usize = 5;
/// What can be done to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is made.
    ScaleUp,
    /// It goes.
    ScaleDown,
    /// It moves, because something is wrong with it or with where it is.
    MoveUnhealthy,
    /// It moves to the node that it is pinned to.
    MovePinned,
    /// It moves to even out the load.
    Rebalance,
    /// It is told what it should do.
    SetDesiredState,
    /// It is told to run the newest generation.
    QueueRollingUpdate,
}

impl Kind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::ScaleUp => "scale_up",
            Kind::ScaleDown => "scale_down",
            Kind::MoveUnhealthy => "move_unhealthy",
            Kind::MovePinned => "move_pinned",
            Kind::Rebalance => "rebalance",
            Kind::SetDesiredState => "set_desired_state",
            Kind::QueueRollingUpdate => "queue_rolling_update",
        }
    }
}

/// What is to be done to one replica.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Action {
    /// Which of the things that a plan can do.
    pub action: Kind,
    /// Of which service.
    pub service_id: String,
    /// Which replica.
    pub replica_id: String,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_node_id: Option<String>,
    /// Where it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_node_id: Option<String>,
    /// Why.
    pub detail: String,
    /// How good the target is, where it was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// What the replica keeps of it, where it is placed.
    #[serde(skip)]
    pub placement: Option<Placement>,
    /// What it should do, where it is made or that changes.
    #[serde(skip)]
    pub desired_state: Option<String>,
}

impl Action {
    /// An action that moves nothing.
    pub fn of(kind: Kind, service_id: &str, replica_id: &str, detail: String) -> Action {
        Action {
            action: kind,
            service_id: service_id.to_string(),
            replica_id: replica_id.to_string(),
            source_node_id: None,
            target_node_id: None,
            detail,
            score: None,
            placement: None,
            desired_state: None,
        }
    }
}

impl<'v> Planner<'_, 'v> {
    /// Takes a replica away.
    pub(super) fn drop_replica(&mut self, replica: &'v ReplicaView, why: String) {
        if let Some(node) = replica.node {
            self.session.remove(node);
        }
        self.done.insert(&replica.id);
        let source_node_id = Some(replica.node_id.clone());
        let action = Action::of(Kind::ScaleDown, &self.service.id, &replica.id, why);
        self.plan.actions.push(Action { source_node_id, ..action });
    }

    /// Moves a replica. `failed`: because it was not well where it is.
    pub(super) fn go(
        &mut self,
        kind: Kind,
        replica: &'v ReplicaView,
        target: NodeIndex,
        score: Option<Score>,
        reason: String,
        failed: Option<()>,
    ) {
        if let Some(node) = replica.node {
            self.session.remove(node);
        }
        self.session.put(target);
        self.done.insert(&replica.id);
        let mut failed_on = replica.placement.as_ref().map_or(Vec::new(), |p| p.failed_on.clone());
        let mut failures = replica.placement.as_ref().map_or(0, |p| p.failures);
        if failed.is_some() {
            // One that was well for long begins anew.
            let since_s = replica.placement.as_ref().map_or(0, |p| self.view.now.secs() - p.at.secs());
            if since_s > 2 * DWELL_S_MAX {
                (failures, failed_on) = (0, Vec::new());
            }
            failures += 1;
            failed_on.retain(|id| *id != replica.node_id);
            failed_on.push(replica.node_id.clone());
            let surplus = failed_on.len().saturating_sub(FAILED_ON_MAX);
            failed_on.drain(..surplus);
        }
        let from_node_id = Some(replica.node_id.clone());
        let placement =
            Placement { action: kind.as_str().into(), reason: reason.clone(), at: self.view.now, from_node_id, failures, failed_on };
        self.plan.actions.push(Action {
            source_node_id: Some(replica.node_id.clone()),
            target_node_id: Some(self.view.nodes[target as usize].id.clone()),
            score,
            placement: Some(placement),
            ..Action::of(kind, &self.service.id, &replica.id, reason)
        });
    }

    pub(super) fn make(&mut self, id: String, target: NodeIndex, score: Option<Score>, reason: String, desired_state: Option<String>) {
        self.session.put(target);
        self.session.note_made(&id);
        let placement = Placement {
            action: Kind::ScaleUp.as_str().into(),
            reason: reason.clone(),
            at: self.view.now,
            from_node_id: None,
            failures: 0,
            failed_on: Vec::new(),
        };
        self.plan.actions.push(Action {
            target_node_id: Some(self.view.nodes[target as usize].id.clone()),
            score,
            placement: Some(placement),
            desired_state,
            ..Action::of(Kind::ScaleUp, &self.service.id, &id, reason)
        });
    }
}
