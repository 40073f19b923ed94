//! A plan's actions on single replicas.

use super::{DWELL_S_MAX, Planner};
use crate::model::ids::{NodeId, ReplicaId};
use crate::model::replicas::{PlacedBy, Placement};
use crate::model::runners::Keeping;
use crate::scheduler::place::Score;
use crate::scheduler::step::{Action, MoveCause, Step};
use crate::scheduler::view::{NodeIndex, ReplicaView};

/// Maximum number of nodes that a replica avoids because it failed there.
const FAILED_ON_MAX: usize = 5;

impl<'v> Planner<'_, 'v> {
    /// Deletes a replica.
    pub(super) fn drop_replica(&mut self, replica: &'v ReplicaView, why: String) {
        if let Some(node) = replica.node {
            self.session.remove(node);
        }
        self.done.insert(&replica.id);
        self.push(&replica.id, Step::ScaleDown { source_node_id: replica.node_id.clone() }, why);
    }

    /// Moves a replica.
    pub(super) fn move_to(
        &mut self,
        cause: MoveCause,
        replica: &'v ReplicaView,
        target: NodeIndex,
        score: Option<Score>,
        reason: String,
    ) {
        if let Some(node) = replica.node {
            self.session.remove(node);
        }
        self.session.put(target);
        self.done.insert(&replica.id);
        let mut failed_on = replica.placement.as_ref().map_or(Vec::new(), |p| p.failed_on.clone());
        let mut failures = replica.placement.as_ref().map_or(0, |p| p.failures);
        if cause == (MoveCause::Unhealthy { blame: true }) {
            // A replica that was healthy for a long time starts from zero.
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
        let placement = Placement {
            action: cause.placed_by(),
            reason: reason.clone(),
            at: self.view.now,
            from_node_id: Some(replica.node_id.clone()),
            failures,
            failed_on,
        };
        let source_node_id = replica.node_id.clone();
        let (target_node_id, is_run) = self.target(target);
        let step = Step::Move { source_node_id, target_node_id, score, cause, placement, is_run };
        self.push(&replica.id, step, reason);
    }

    /// Creates a replica.
    pub(super) fn create(
        &mut self,
        id: ReplicaId,
        target: NodeIndex,
        score: Option<Score>,
        reason: String,
        desired_state: Option<String>,
    ) {
        self.session.put(target);
        self.session.note_created(&id);
        let placement = Placement {
            action: PlacedBy::ScaleUp,
            reason: reason.clone(),
            at: self.view.now,
            from_node_id: None,
            failures: 0,
            failed_on: Vec::new(),
        };
        let (target_node_id, is_run) = self.target(target);
        self.push(&id, Step::ScaleUp { target_node_id, score, placement, desired_state, is_run }, reason);
    }

    /// Id of a node, and true if it runs the replicas of this service.
    fn target(&self, target: NodeIndex) -> (NodeId, bool) {
        let node = &self.view.nodes[target as usize];
        (node.id.clone(), node.keeping(self.service.policy.driver) == Keeping::Runs)
    }

    /// Adds an action to the plan.
    pub(super) fn push(&mut self, replica_id: &ReplicaId, step: Step, detail: String) {
        let action = Action { service_id: self.service.id.clone(), replica_id: replica_id.clone(), step, detail };
        self.plan.actions.push(action);
    }
}
