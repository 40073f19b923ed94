//! Rollouts: updating replicas to the newest generation, and how long they have been waiting.

use super::Planner;
use crate::clock::Timestamp;
use crate::model::ids::ReplicaId;
use crate::model::replicas::Facts;
use crate::scheduler::step::{Action, Step};
use crate::scheduler::view::ReplicaView;
use serde::Serialize;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

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
        let dropped = self.plan.actions.iter().filter(|a| matches!(a.step, Step::ScaleDown { .. }));
        let gone: HashSet<&ReplicaId> = dropped.map(|a| &a.replica_id).collect();
        let moved: HashMap<&ReplicaId, bool> = self.plan.actions.iter().filter_map(move_of).collect();
        let staying = self.service.replicas.iter().filter(|r| !gone.contains(&r.id));
        let stages: Vec<(Stage, &'v ReplicaView)> = staying.map(|r| (self.stage_after(r, &moved), r)).collect();
        let in_stage = |wanted: Stage| stages.iter().filter(move |(stage, _)| *stage == wanted).map(|(_, r)| *r);
        let (queued, changing) = (in_stage(Stage::Queued).count(), in_stage(Stage::Changing).count());
        let mut old: Vec<&'v ReplicaView> = in_stage(Stage::Old).collect();
        // What is down already costs nothing more, and takes its part of what may be down.
        old.sort_by_key(|r| r.unavailable_since.is_none());
        for replica in old.iter().take(policy.at_once().saturating_sub(queued + changing)) {
            let runs = replica.facts.applied_generation.as_ref().map_or("none".to_string(), ToString::to_string);
            let detail = format!("generation {runs} is to become {generation}");
            self.push(&replica.id, Step::QueueRollingUpdate, detail);
        }
        if let Some(waiting_since) = in_stage(Stage::Queued).map(queued_at).min() {
            self.warn_of_rollout(old.len() + queued, queued, waiting_since);
        }
        let waits = in_stage(Stage::Changing).find(|_| !old.is_empty());
        if let Some((replica, why)) = waits.and_then(|r| Some((r, self.view.sickness(policy, r)?))) {
            self.warn(format!("The rollout of generation {generation} waits for {}: {why}", replica.id));
        }
    }

    /// Stage of a replica after this plan; of those that are `moved`, true for each whose new node runs it.
    fn stage_after(&self, replica: &ReplicaView, moved: &HashMap<&ReplicaId, bool>) -> Stage {
        let is_run_next = moved.get(&replica.id).copied();
        let is_available = is_run_next.map_or(replica.unavailable_since.is_none(), |is_run| !is_run);
        stage(&replica.facts, self.service.generation, is_run_next.unwrap_or(replica.is_run), is_available)
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

/// A replica that an action moves, and true if its new node runs it.
fn move_of(action: &Action) -> Option<(&ReplicaId, bool)> {
    match &action.step {
        Step::Move { is_run, .. } => Some((&action.replica_id, *is_run)),
        _ => None,
    }
}

/// Stage of a replica in a rollout.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It runs the newest generation.
    Done,
    /// It has the newest generation, and its node does not report that it is well.
    Changing,
    /// Its update is queued.
    Queued,
    /// It runs another generation.
    Old,
}

/// Stage of a replica in the rollout of a generation.
fn stage(facts: &Facts, generation: i64, is_run: bool, is_available: bool) -> Stage {
    let says = |value: &Option<Value>| value.as_ref().and_then(Value::as_i64) == Some(generation);
    let is_wanted =
        says(&facts.desired_generation) || facts.desired_generation.is_none() && says(&facts.applied_generation);
    let is_queued = says(&facts.desired_generation) && facts.update_state.as_ref().is_some_and(|s| s == "pending");
    match is_run {
        true if is_wanted && is_available && says(&facts.applied_generation) => Stage::Done,
        false if says(&facts.applied_generation) => Stage::Done,
        true | false if is_queued && !says(&facts.applied_generation) => Stage::Queued,
        true if is_wanted => Stage::Changing,
        true | false => Stage::Old,
    }
}

/// Time at which a replica's update was queued: from its status, else its last change.
fn queued_at(replica: &ReplicaView) -> Timestamp {
    let said = replica.facts.update_queued_at.as_ref().and_then(Value::as_str).and_then(Timestamp::parse);
    said.unwrap_or(replica.updated_at)
}
