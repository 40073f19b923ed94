//! Plans: from a view of the cluster to actions for each service. Pure: no clock, no database, no changes.
//!
//! Order for each service: pinned replicas go to their nodes; surplus replicas are deleted; replicas that are lost,
//! unhealthy or on closed nodes move; missing ones are created; some of an old generation get an update. A pin that
//! cannot be satisfied reserves its place among the desired replicas, and costs no other replica anything.

mod actions;
mod away;
mod pins;
mod rollout;

pub use rollout::Rollout;

use super::place::{Session, State, filters, fits};
use super::step::{Action, Step};
use super::view::{NodeIndex, ReplicaView, ServiceView, View};
use crate::clock::Timestamp;
use crate::control::work::replicas::made_id;
use crate::model::ids::{NodeId, ReplicaId, ServiceId};
use crate::model::{leases::LeaseState, specs::Mode};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashSet};

/// Minimum seconds that a replica stays after a move because of bad health; doubled with every further move in a row.
const DWELL_S: i64 = 60;
/// Limit of the doubling: an hour.
const DWELL_S_MAX: i64 = 3600;
/// Maximum number of reasons in a warning.
const REASONS_MAX: usize = 5;

/// Actions for a service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The service.
    pub service_id: ServiceId,
    /// Its generation.
    pub generation: i64,
    /// Desired number of replicas.
    pub desired_replicas: usize,
    /// Number of replicas after the actions.
    pub actual_replicas: usize,
    /// Number of replicas before.
    pub replicas_before: usize,
    /// Number of nodes that may take one.
    pub eligible_nodes: usize,
    /// The unfinished rollout of the newest generation, if there is one.
    pub rollout: Option<Rollout>,
    /// True if nothing is applied.
    pub dry_run: bool,
    /// Warnings for an operator.
    pub warnings: Vec<String>,
    /// The actions, in order.
    pub actions: Vec<Action>,
    /// Time of the plan.
    pub generated_at: Timestamp,
    /// Number of replicas that the scheduler creates.
    #[serde(skip)]
    pub made: i64,
    /// Seconds until the next pending action is due.
    #[serde(skip)]
    pub due_in_s: Option<i64>,
    /// Replicas that stay on draining nodes.
    #[serde(skip)]
    pub stuck: Vec<Stuck>,
}

impl Plan {
    /// Counts the replicas after the actions.
    pub fn count(&mut self) {
        let made = self.actions.iter().filter(|a| matches!(a.step, Step::ScaleUp { .. })).count();
        let dropped = self.actions.iter().filter(|a| matches!(a.step, Step::ScaleDown { .. })).count();
        self.actual_replicas = self.replicas_before + made - dropped;
    }
}

/// A replica that stays on a draining node.
#[derive(Debug, Clone, PartialEq)]
pub struct Stuck {
    /// Its node.
    pub node: NodeIndex,
    /// The replica.
    pub replica_id: ReplicaId,
    /// The reason.
    pub why: String,
    /// True if it will move with time alone.
    pub waits: bool,
}

/// The plan of one service.
pub fn one(view: &View, service: usize) -> Plan {
    Planner::of(&mut State::of(view), view, service).plan()
}

/// The plans of all services: each takes the earlier ones into account.
pub fn all(view: &View) -> Vec<Plan> {
    let mut state = State::of(view);
    (0..view.services.len()).map(|service| Planner::of(&mut state, view, service).plan()).collect()
}

/// Checks plans action by action with the same judge that made them. The error names the first invalid action.
pub fn check(view: &View, plans: &[Plan]) -> Result<(), String> {
    let mut state = State::of(view);
    for plan in plans {
        let service = view.service(&plan.service_id).map(|i| &view.services[i]).ok_or("a plan of no service")?;
        for action in &plan.actions {
            if let Some(source) = action.source_node_id().and_then(|id| view.node(id)) {
                state.release(source, &service.policy);
            }
            let Some(target_id) = action.target_node_id() else { continue };
            let target = view.node(target_id).ok_or_else(|| format!("the node {target_id} does not exist"))?;
            if let Some(refusal) = fits(&state, target, &service.policy) {
                return Err(format!("{} does not fit on {target_id}: {}", action.replica_id, refusal.reason));
            }
            state.take(target, &service.policy);
        }
    }
    Ok(())
}

/// Reason why a replica should be elsewhere, the most urgent first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    /// Its node is gone, or has been dead for long enough.
    Lost(String),
    /// It is unhealthy.
    Sick(String),
    /// Its node reports that it cannot work.
    Unready,
    /// It conflicts with another replica over a port of its node, or over the node itself.
    Clash(String),
    /// Its node has less than the replicas there want.
    Overfull(String),
    /// Its node is no longer suitable.
    Closed(String),
    /// Its node is draining.
    Drained,
    /// Its node is dead, but not for long enough: seconds left.
    Waits(i64),
}

impl Trouble {
    fn reason(&self, node_id: &NodeId) -> String {
        match self {
            Trouble::Lost(why) | Trouble::Clash(why) | Trouble::Overfull(why) | Trouble::Closed(why) => {
                format!("{why} ({node_id})")
            }
            Trouble::Sick(why) => why.clone(),
            Trouble::Unready => format!("its node is not ready ({node_id})"),
            Trouble::Drained => format!("the node is draining ({node_id})"),
            Trouble::Waits(left_s) => format!("its node {node_id} is dead; it moves in {left_s} s"),
        }
    }
}

struct Planner<'s, 'v> {
    view: &'v View,
    service: &'v ServiceView,
    session: Session<'s, 'v>,
    plan: Plan,
    /// Replicas that are settled.
    done: HashSet<&'v ReplicaId>,
    /// True if a warning already says that no node can take a replica.
    warned_none: bool,
}

impl<'s, 'v> Planner<'s, 'v> {
    fn of(state: &'s mut State<'v>, view: &'v View, service: usize) -> Planner<'s, 'v> {
        let service = &view.services[service];
        let session = Session::begin(state, &service.policy, service.replicas.iter().filter_map(|r| r.node));
        let plan = Plan {
            service_id: service.id.clone(),
            generation: service.generation,
            desired_replicas: 0,
            actual_replicas: service.replicas.len(),
            replicas_before: service.replicas.len(),
            eligible_nodes: session.eligible().len(),
            rollout: None,
            dry_run: true,
            warnings: service.policy.warnings.clone(),
            actions: Vec::new(),
            generated_at: view.now,
            made: 0,
            due_in_s: None,
            stuck: Vec::new(),
        };
        Planner { view, service, session, plan, done: HashSet::new(), warned_none: false }
    }

    fn plan(mut self) -> Plan {
        if let Some(brake) = &self.view.brake {
            self.plan.warnings.push(format!("Nothing is moved: {brake}"));
        }
        match self.service.policy.mode {
            Mode::PerNode => self.per_node(),
            Mode::Replicated => self.replicated(),
        }
        self.warn_of_overfull();
        self.await_reports();
        self.roll();
        if self.plan.eligible_nodes == 0 && !self.warned_none {
            let why = self.refusals();
            self.warn(format!("No node is eligible: {why}"));
        }
        self.plan.count();
        self.plan
    }

    fn replicated(&mut self) {
        let policy = &self.service.policy;
        let wanted = policy.desired.unwrap_or(self.service.replicas.len());
        let desired = wanted.max(policy.pinned.len());
        if desired > wanted {
            self.warn(format!(
                "{} replicas are pinned, which is more than the {wanted} that are desired",
                policy.pinned.len()
            ));
        }
        self.plan.desired_replicas = desired;
        let pins = self.pin();
        let actual = self.service.replicas.len() + pins.made - pins.dropped;
        // A pin without a place does not keep another replica alive beyond the desired number.
        self.scale_down(actual.saturating_sub(wanted.max(policy.pinned.len() - pins.reserved)));
        self.move_away();
        self.scale_up(desired.saturating_sub(actual + pins.reserved));
    }

    /// The problem of a replica or its node.
    fn trouble(&self, replica: &ReplicaView) -> Option<Trouble> {
        let policy = &self.service.policy;
        let sick = || self.view.sickness(policy, replica).filter(|_| policy.reschedule_unhealthy).map(Trouble::Sick);
        let Some(index) = replica.node else { return Some(Trouble::Lost("its node is gone".into())) };
        let node = &self.view.nodes[index as usize];
        match node.lease {
            LeaseState::Dead => {
                // An operator who drains a dead node does not wait for it.
                let left_s = policy.lost_after_s - node.dead_for_s;
                return Some(if left_s > 0 && !node.draining {
                    Trouble::Waits(left_s)
                } else {
                    Trouble::Lost("its node is dead".into())
                });
            }
            _ if node.draining => return Some(sick().unwrap_or(Trouble::Drained)),
            // A stale node keeps its replicas.
            LeaseState::Stale => return sick(),
            LeaseState::Alive | LeaseState::Unknown => {}
        }
        if let Some(sick) = sick() {
            return Some(sick);
        }
        if !policy.reschedule_unhealthy {
            return None;
        }
        if node.schedulable && !node.ready {
            return Some(Trouble::Unready);
        }
        let selected = || (!node.matches(&policy.selector)).then(|| "the selector does not match its node".to_string());
        let closed = node.closed().filter(|_| !node.may_keep());
        let unable = || node.cannot_run(policy.driver).map(|why| format!("its node cannot run it: {why}"));
        let closed = closed.map(|why| format!("its node is {why}")).or_else(selected).or_else(unable);
        let closed = closed.map(Trouble::Closed);
        let clash = || self.session.clash(index).map(Trouble::Clash);
        closed.or_else(clash).or_else(|| self.session.overfull(index).map(Trouble::Overfull))
    }

    /// Notes when replicas that are not available become unhealthy.
    fn await_reports(&mut self) {
        let policy = &self.service.policy;
        let left = |r: &ReplicaView| self.view.deadline_left_s(policy, r).filter(|left_s| *left_s > 0);
        if let Some(first_s) = self.service.replicas.iter().filter_map(left).min() {
            self.due(first_s);
        }
    }

    /// True if a replica with this id exists, or this round of plans creates one.
    fn is_taken(&self, replica_id: &ReplicaId) -> bool {
        self.session.is_created(replica_id) || self.view.holder(replica_id).is_some()
    }

    /// Deletes `surplus` replicas: those in trouble first, then those on the most crowded node.
    fn scale_down(&mut self, surplus: usize) {
        if surplus == 0 {
            return;
        }
        let pinned = |r: &ReplicaView| self.service.pin(&r.id).is_some();
        let load = |session: &Session, r: &ReplicaView| r.node.map_or(u32::MAX, |node| session.load(node));
        let mut heap: BinaryHeap<_> = (0..)
            .zip(&self.service.replicas)
            .filter(|(_, r)| !self.done.contains(&r.id))
            .map(|(i, r)| (!pinned(r), self.trouble(r).is_some(), load(&self.session, r), self.same_of(r), Reverse(i)))
            .collect();
        let mut left = surplus;
        while left > 0
            && let Some((unpinned, troubled, before, same, Reverse(i))) = heap.pop()
        {
            let replica: &'v ReplicaView = &self.service.replicas[i];
            let now = (load(&self.session, replica), self.same_of(replica));
            if now != (before, same) {
                heap.push((unpinned, troubled, now.0, now.1, Reverse(i)));
                continue;
            }
            let why = match self.trouble(replica) {
                Some(trouble) => trouble.reason(&replica.node_id),
                None => format!("its node has {} replicas", now.0),
            };
            self.drop_replica(replica, why);
            left -= 1;
        }
    }

    /// Number of replicas of the service on a replica's node.
    fn same_of(&self, replica: &ReplicaView) -> u32 {
        replica.node.map_or(0, |node| self.session.same(node))
    }

    /// Warns of each node that has less than its replicas want and keeps some of this service.
    fn warn_of_overfull(&mut self) {
        let policy = &self.service.policy;
        let why = match policy.mode {
            Mode::PerNode => "one runs on every eligible node",
            Mode::Replicated if !policy.reschedule_unhealthy => "spec.scheduling.reschedule_unhealthy is false",
            Mode::Replicated if self.warned_none => "no other node can take it",
            Mode::Replicated => "it is not moved now",
        };
        let mut warned = BTreeSet::new();
        for replica in &self.service.replicas {
            let keeps = |n: &NodeIndex| self.view.nodes[*n as usize].may_keep() && !self.done.contains(&replica.id);
            let Some(node) = replica.node.filter(keeps) else { continue };
            if let Some(lack) = self.session.overfull(node).filter(|_| warned.insert(node)) {
                self.warn(format!("{} stays on {}: {lack}; {why}", replica.id, replica.node_id));
            }
        }
    }

    /// Creates `missing` replicas.
    fn scale_up(&mut self, missing: usize) {
        for made in 0..missing {
            let Some((target, score)) = self.session.best(None, &[]) else {
                let why = self.refusals();
                self.warned_none = true;
                self.warn(format!("No eligible node for {} of {missing} new replicas: {why}", missing - made));
                break;
            };
            let id = self.fresh_id();
            let reason =
                format!("{} of {} replicas were there", self.service.replicas.len(), self.plan.desired_replicas);
            self.create(id, target, Some(score), reason, None);
        }
    }

    /// Id of the next replica that the scheduler creates.
    fn fresh_id(&mut self) -> ReplicaId {
        loop {
            let id = made_id(&self.service.id, self.service.made + self.plan.made);
            self.plan.made += 1;
            if !self.is_taken(&id) {
                return id;
            }
        }
    }

    /// One replica on every eligible node, none elsewhere.
    fn per_node(&mut self) {
        let eligible: Vec<NodeIndex> = self.session.eligible().to_vec();
        self.plan.desired_replicas = eligible.len();
        let selector = &self.service.policy.selector;
        let mut has: BTreeSet<NodeIndex> = BTreeSet::new();
        for replica in &self.service.replicas {
            let first = replica.node.is_some_and(|n| has.insert(n));
            let node = replica.node.map(|n| &self.view.nodes[n as usize]);
            let why = match (self.trouble(replica), node) {
                _ if !first && replica.node.is_some() => "another one is on the same node".to_string(),
                (Some(Trouble::Waits(left_s)), _) => {
                    self.due(left_s);
                    continue;
                }
                (Some(_), Some(_)) if self.view.brake.is_some() => {
                    self.note_stuck(replica, "nothing is moved at the moment".to_string(), false);
                    continue;
                }
                (Some(Trouble::Lost(_)), Some(node)) if node.in_grace => {
                    self.note_stuck(replica, "the server has just started; its node may come back".to_string(), true);
                    self.due(1);
                    continue;
                }
                (None, Some(node)) if node.matches(selector) || self.view.brake.is_some() => continue,
                // An unhealthy replica on a node that may keep it has no better place: every node has one.
                (Some(Trouble::Sick(_) | Trouble::Clash(_) | Trouble::Overfull(_)), Some(node))
                    if node.matches(selector) && node.may_keep() =>
                {
                    continue;
                }
                (Some(trouble), _) => trouble.reason(&replica.node_id),
                (None, _) => "its node is no longer suitable".to_string(),
            };
            self.drop_replica(replica, why);
        }
        let missing: Vec<NodeIndex> = eligible.into_iter().filter(|n| !has.contains(n)).collect();
        let mut refused = Vec::new();
        for target in missing {
            if let Some(why) = self.session.refusal(target) {
                refused.push(format!("{}: {}", self.view.nodes[target as usize].id, why.reason));
                continue;
            }
            let id = self.fresh_id();
            let score = self.session.score(target);
            self.create(id, target, Some(score), "one runs on every eligible node".to_string(), None);
        }
        if !refused.is_empty() {
            let count = refused.len();
            refused.truncate(REASONS_MAX);
            self.warn(format!("{count} eligible nodes cannot take a replica: {}", refused.join("; ")));
        }
    }

    fn warn(&mut self, warning: String) {
        self.plan.warnings.push(warning);
    }

    /// Notes that something is due in `in_s` seconds.
    fn due(&mut self, in_s: i64) {
        self.plan.due_in_s = Some(self.plan.due_in_s.map_or(in_s, |other| other.min(in_s)));
    }

    /// Reasons why no node can take a replica, the most common first.
    fn refusals(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, node) in (0..).zip(&self.view.nodes) {
            let failed = filters(&self.session, node, index, &self.service.policy.selector);
            let why = failed.into_iter().next().map_or("no other node", |refusal| refusal.filter);
            *counts.entry(why).or_default() += 1;
        }
        if counts.is_empty() {
            return "there are no nodes".to_string();
        }
        let mut counts: Vec<(usize, &str)> = counts.into_iter().map(|(why, count)| (count, why)).collect();
        counts.sort_by(|a, b| b.cmp(a));
        let said = counts.into_iter().take(REASONS_MAX).map(|(count, why)| format!("{count} x {why}"));
        said.collect::<Vec<_>>().join("; ")
    }
}
