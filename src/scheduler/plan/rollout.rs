//! Rollouts: updating replicas to the newest generation, and how long they have been waiting.

use super::Planner;
use crate::clock::Timestamp;
use crate::model::ids::ReplicaId;
use crate::scheduler::step::Step;
use crate::scheduler::view::ReplicaView;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashSet;

/// Seconds until a plan warns of a rollout: every agent has called by then.
const QUIET_S: i64 = 15;

/// A rollout that waits for the agents of its replicas.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rollout {
    /// Replicas that do not report the newest generation.
    pub outdated: usize,
    /// Those of them with a queued update.
    pub pending: usize,
    /// Time at which the first of these was queued.
    pub waiting_since: Timestamp,
    /// Seconds from then until the plan was made.
    pub waiting_seconds: i64,
}

impl<'v> Planner<'_, 'v> {
    /// Queues updates for replicas of an old generation, at most as many as the spec allows at a time.
    pub(super) fn roll(&mut self) {
        let (policy, generation) = (&self.service.policy, self.service.generation);
        let says = |value: &Option<Value>| value.as_ref().and_then(Value::as_i64) == Some(generation);
        let dropped = self.plan.actions.iter().filter(|a| matches!(a.step, Step::ScaleDown { .. }));
        let gone: HashSet<&ReplicaId> = dropped.map(|a| &a.replica_id).collect();
        let is_old = |r: &&ReplicaView| !says(&r.facts.applied_generation) && !gone.contains(&r.id);
        let old: Vec<&'v ReplicaView> = self.service.replicas.iter().filter(is_old).collect();
        let is_queued = |r: &ReplicaView| {
            says(&r.facts.desired_generation) && r.facts.update_state.as_ref().is_some_and(|state| state == "pending")
        };
        let (queued, others): (Vec<&ReplicaView>, Vec<&ReplicaView>) = old.iter().partition(|r| is_queued(r));
        for replica in others.into_iter().take(policy.at_once().saturating_sub(queued.len())) {
            let runs = replica.facts.applied_generation.as_ref().map_or("none".to_string(), ToString::to_string);
            let detail = format!("generation {runs} is to become {generation}");
            self.push(&replica.id, Step::QueueRollingUpdate, detail);
        }
        if let Some(waiting_since) = queued.iter().map(|r| queued_at(r)).min() {
            self.warn_of_rollout(old.len(), queued.len(), waiting_since);
        }
    }

    /// Warns how long a rollout has been waiting.
    fn warn_of_rollout(&mut self, outdated: usize, pending: usize, waiting_since: Timestamp) {
        let (generation, late_s) = (self.service.generation, self.view.rollout_late_s);
        let waiting_seconds = (self.view.now.secs() - waiting_since.secs()).max(0);
        self.plan.rollout = Some(Rollout { outdated, pending, waiting_since, waiting_seconds });
        if waiting_seconds >= QUIET_S.min(late_s) {
            self.warn(format!(
                "Generation {generation} is not running everywhere: {outdated} replicas do not report it as their \
                    applied_generation, {pending} of them were asked to run it, the first {waiting_seconds} s ago \
                    ({waiting_since})"
            ));
        }
        if waiting_seconds < late_s {
            self.due(late_s - waiting_seconds);
        }
    }
}

/// Time at which a replica's update was queued: from its status, else its last change.
fn queued_at(replica: &ReplicaView) -> Timestamp {
    let said = replica.facts.update_queued_at.as_ref().and_then(Value::as_str).and_then(Timestamp::parse);
    said.unwrap_or(replica.updated_at)
}
