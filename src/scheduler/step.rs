//! Steps of a plan, and the one interpreter that applies them to a replica, in the database and in tests.

use super::place::Score;
use crate::clock::Timestamp;
use crate::model::Object;
use crate::model::ids::{NodeId, ReplicaId, ServiceId};
use crate::model::replica_words;
use crate::model::replicas::{PlacedBy, Placement, Replica, moved};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Action of a plan on a replica.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Create it on a node chosen by score or by a pin.
    ScaleUp {
        target_node_id: NodeId,
        score: Option<Score>,
        placement: Placement,
        desired_state: Option<String>,
        /// True if the node runs the replica and reports it.
        is_run: bool,
    },
    /// Delete it.
    ScaleDown { source_node_id: NodeId },
    /// Move it.
    Move {
        source_node_id: NodeId,
        target_node_id: NodeId,
        score: Option<Score>,
        cause: MoveCause,
        placement: Placement,
        /// True if the other node runs the replica and reports it.
        is_run: bool,
    },
    /// Set its desired state.
    SetDesiredState(String),
    /// Queue an update to the newest generation.
    QueueRollingUpdate,
}

/// Cause of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveCause {
    /// A problem. `blame` is true if the replica itself is at fault, which counts as a failure on its node.
    Unhealthy { blame: bool },
    /// It is pinned to the other node.
    Pinned,
    /// The other node has fewer replicas.
    Rebalance,
}

impl MoveCause {
    /// The cause as the replica's placement keeps it.
    pub fn placed_by(self) -> PlacedBy {
        match self {
            MoveCause::Unhealthy { .. } => PlacedBy::MoveUnhealthy,
            MoveCause::Pinned => PlacedBy::MovePinned,
            MoveCause::Rebalance => PlacedBy::Rebalance,
        }
    }
}

impl Step {
    /// The word on the wire.
    pub fn word(&self) -> &'static str {
        match self {
            Step::ScaleUp { .. } => "scale_up",
            Step::ScaleDown { .. } => "scale_down",
            Step::Move { cause: MoveCause::Unhealthy { .. }, .. } => "move_unhealthy",
            Step::Move { cause: MoveCause::Pinned, .. } => "move_pinned",
            Step::Move { cause: MoveCause::Rebalance, .. } => "rebalance",
            Step::SetDesiredState(_) => "set_desired_state",
            Step::QueueRollingUpdate => "queue_rolling_update",
        }
    }
}

/// An action on one replica.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Its service.
    pub service_id: ServiceId,
    /// The replica.
    pub replica_id: ReplicaId,
    /// The step.
    pub step: Step,
    /// The reason, as a sentence.
    pub detail: String,
}

impl Action {
    /// The node that the replica leaves.
    pub fn source_node_id(&self) -> Option<&NodeId> {
        match &self.step {
            Step::ScaleDown { source_node_id } | Step::Move { source_node_id, .. } => Some(source_node_id),
            Step::ScaleUp { .. } | Step::SetDesiredState(_) | Step::QueueRollingUpdate => None,
        }
    }

    /// The node that the replica goes to.
    pub fn target_node_id(&self) -> Option<&NodeId> {
        match &self.step {
            Step::ScaleUp { target_node_id, .. } | Step::Move { target_node_id, .. } => Some(target_node_id),
            Step::ScaleDown { .. } | Step::SetDesiredState(_) | Step::QueueRollingUpdate => None,
        }
    }

    /// Score of that node, if it was chosen by score.
    fn score(&self) -> Option<Score> {
        match &self.step {
            Step::ScaleUp { score, .. } | Step::Move { score, .. } => *score,
            Step::ScaleDown { .. } | Step::SetDesiredState(_) | Step::QueueRollingUpdate => None,
        }
    }

    /// The replica after this action, `None` if it is deleted; `before` is the current replica, `None` if it does not
    /// exist.
    ///
    /// # Errors
    /// Fails with a sentence if a replica that is to be created is there, or any other is not there.
    pub fn apply(&self, before: Option<Replica>, generation: i64, now: Timestamp) -> Result<Option<Replica>, String> {
        match (&self.step, before) {
            (Step::ScaleUp { target_node_id, placement, desired_state, is_run, .. }, None) => Ok(Some(Replica {
                id: self.replica_id.clone(),
                service_id: self.service_id.clone(),
                node_id: target_node_id.clone(),
                desired_state: desired_state.clone().unwrap_or_else(|| "running".to_string()),
                status: status_of_new(*is_run, generation, now),
                placement: Some(placement.clone()),
                created_at: now,
                updated_at: now,
            })),
            (Step::ScaleUp { .. }, Some(_)) => Err(format!("{} is there already", self.replica_id)),
            (_, None) => Err(format!("{} is not there", self.replica_id)),
            (Step::ScaleDown { .. }, Some(_)) => Ok(None),
            (Step::Move { target_node_id, placement, is_run, .. }, Some(mut replica)) => {
                replica.node_id.clone_from(target_node_id);
                replica.placement = Some(placement.clone());
                moved(&mut replica.status, *is_run, now);
                Ok(Some(replica))
            }
            (Step::SetDesiredState(state), Some(mut replica)) => {
                replica.desired_state.clone_from(state);
                Ok(Some(replica))
            }
            (Step::QueueRollingUpdate, Some(mut replica)) => {
                replica.status.insert("desired_generation".into(), generation.into());
                replica.status.insert("update_state".into(), "pending".into());
                replica.status.insert("update_queued_at".into(), now.to_string().into());
                Ok(Some(replica))
            }
        }
    }
}

fn status_of_new(is_run: bool, generation: i64, now: Timestamp) -> Object {
    let mut status = Object::new();
    status.insert("managed_by".into(), "scheduler".into());
    if is_run {
        status.insert("desired_generation".into(), generation.into());
        replica_words::await_report(&mut status, now);
    } else {
        status.insert("healthy".into(), true.into());
        status.insert("applied_generation".into(), generation.into());
    }
    status
}

/// Flat, as in the contract: the step's word, the replica, its nodes, and the reason.
impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_map(None)?;
        shown.serialize_entry("action", self.step.word())?;
        shown.serialize_entry("service_id", &self.service_id)?;
        shown.serialize_entry("replica_id", &self.replica_id)?;
        if let Some(source) = self.source_node_id() {
            shown.serialize_entry("source_node_id", source)?;
        }
        if let Some(target) = self.target_node_id() {
            shown.serialize_entry("target_node_id", target)?;
        }
        shown.serialize_entry("detail", &self.detail)?;
        if let Some(score) = self.score() {
            shown.serialize_entry("score", &score)?;
        }
        shown.end()
    }
}
