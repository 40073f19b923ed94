//! Applies plans: all of their actions in one transaction, or none.

use super::plan::{self, Plan, Rollout};
use super::step::Action;
use super::view::{NodeIndex, View};
use crate::control::guard;
use crate::error::{Error, Result};
use crate::model::events::catalogue::{NODE_DRAIN_BLOCKED, NODE_DRAINED, SCHEDULER_RECONCILE, SCHEDULER_ROLLOUT_LATE};
use crate::model::ids::{NodeId, ServiceId};
use crate::model::status_keys;
use crate::store::{Write, events, nodes, replicas, services};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Maximum number of replicas that an event about a drain lists.
const LISTED_MAX: usize = 20;

/// Applies the plans. The caller has verified that the view is still current.
pub fn plans(write: &Write, view: &View, plans: &[Plan]) -> Result<()> {
    guard::check(write)?;
    plan::check(view, plans).map_err(|why| Error::fault("apply a plan", why))?;
    for plan in plans {
        if plan.made > 0 {
            services::count_made(write, &plan.service_id, plan.made)?;
        }
        plan.actions.iter().try_for_each(|action| apply(write, action, plan.generation))?;
    }
    Ok(())
}

/// Records the event of an applied plan.
pub fn record(write: &Write, plan: &Plan, by: &str) -> Result<()> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    plan.actions.iter().for_each(|a| *counts.entry(a.step.word()).or_default() += 1);
    let fields = json!({
        "service_id": plan.service_id, "desired_replicas": plan.desired_replicas,
        "actual_replicas": plan.actual_replicas,
        "replicas_before": plan.replicas_before,
        "action_count": plan.actions.len(), "warning_count": plan.warnings.len(), "actions": counts, "by": by,
    });
    events::record(write, SCHEDULER_RECONCILE.with(fields)).map(drop)
}

/// Applies one action: creates, changes or deletes the replica.
fn apply(write: &Write, action: &Action, generation: i64) -> Result<()> {
    let before = replicas::by_id(write, &action.replica_id)?;
    let is_new = before.is_none();
    before.iter().for_each(|replica| write.placed(&replica.node_id));
    match action.apply(before, generation, write.now).map_err(|why| Error::fault("apply a plan", why))? {
        Some(replica) if is_new => replicas::insert(write, &replica),
        Some(replica) => replicas::update(write, &replica),
        None => replicas::delete(write, &action.replica_id).map(drop),
    }
}

/// Records an event for each late rollout, once.
pub fn record_late_rollouts(write: &Write, view: &View, plans: &[Plan]) -> Result<()> {
    for (plan, rollout) in late(view, plans) {
        services::set_late_rollout(write, &plan.service_id, plan.generation)?;
        let fields = json!({
            "service_id": plan.service_id, "generation": plan.generation, "outdated": rollout.outdated,
            "pending": rollout.pending,
            "waiting_since": rollout.waiting_since, "waiting_seconds": rollout.waiting_seconds,
        });
        events::record(write, SCHEDULER_ROLLOUT_LATE.with(fields))?;
    }
    Ok(())
}

/// True if a late rollout is not recorded yet.
pub fn has_late_rollouts(view: &View, plans: &[Plan]) -> bool {
    late(view, plans).next().is_some()
}

/// The late rollouts that are not recorded yet.
fn late<'p>(view: &'p View, plans: &'p [Plan]) -> impl Iterator<Item = (&'p Plan, &'p Rollout)> {
    let waits =
        |plan: &'p Plan| plan.rollout.as_ref().filter(|r| r.waiting_seconds >= view.rollout_late_s).map(|r| (plan, r));
    let recorded = |id: &ServiceId| view.service(id).map_or(0, |i| view.services[i].late_rollout);
    plans.iter().filter_map(waits).filter(move |(plan, _)| recorded(&plan.service_id) < plan.generation)
}

/// Updates the progress of drains after the plans of all services. The end of a drain is an event, with the remaining
/// replicas and the reasons.
pub fn update_drains(write: &Write, view: &View, plans: &[Plan]) -> Result<()> {
    for (index, node) in (0..).zip(&view.nodes).filter(|(_, node)| node.draining) {
        let left = nodes::replicas_on(write, &node.id)?;
        let state = drain_state(left, continues(plans, index, &node.id));
        if node.drain_state == state {
            continue;
        }
        let Some(mut row) = nodes::by_id(write, &node.id)? else { continue };
        row.status.insert(status_keys::DRAIN_STATE.into(), state.into());
        nodes::update(write, &row)?;
        let event = match state {
            "drained" => NODE_DRAINED.with(json!({"node_id": node.id, "left": 0})),
            "blocked" => {
                let fields = json!({"node_id": node.id, "left": left, "replicas": stuck(plans, index)});
                NODE_DRAIN_BLOCKED.with(fields)
            }
            _ => continue,
        };
        events::record(write, event)?;
    }
    Ok(())
}

/// True if the progress of a drain has changed.
pub fn drains_changed(view: &View, plans: &[Plan]) -> bool {
    (0..).zip(&view.nodes).filter(|(_, node)| node.draining).any(|(index, node)| {
        let on_it = view.services.iter().flat_map(|s| &s.replicas).filter(|r| r.node == Some(index)).count() as u64;
        moves_from(plans, &node.id) || node.drain_state != drain_state(on_it, continues(plans, index, &node.id))
    })
}

/// State of a drain, from the number of remaining replicas and whether it continues by itself.
fn drain_state(left: u64, continues: bool) -> &'static str {
    match (left, continues) {
        (0, _) => "drained",
        (_, true) => "draining",
        (_, false) => "blocked",
    }
}

/// True if a drain continues: a replica moves now, or will move when its time has come.
fn continues(plans: &[Plan], node: NodeIndex, node_id: &NodeId) -> bool {
    moves_from(plans, node_id) || plans.iter().flat_map(|p| &p.stuck).any(|s| s.node == node && s.waits)
}

fn moves_from(plans: &[Plan], node_id: &NodeId) -> bool {
    plans.iter().flat_map(|p| &p.actions).any(|a| a.source_node_id() == Some(node_id))
}

/// The replicas that stay on a draining node, each with the reason.
fn stuck(plans: &[Plan], node: NodeIndex) -> Vec<Value> {
    let all = plans.iter().flat_map(|p| p.stuck.iter().filter(|s| s.node == node));
    all.take(LISTED_MAX).map(|s| json!({"replica_id": s.replica_id, "reason": s.why})).collect()
}
