//! Replicas that should be elsewhere: which of them move now, and which wait.

use super::{DWELL_S, DWELL_S_MAX, Planner, Stuck, Trouble};
use crate::model::ids::ReplicaId;
use crate::scheduler::step::MoveCause;
use crate::scheduler::view::{NodeIndex, ReplicaView};
use std::collections::HashSet;

/// A reason to stay for now.
pub(super) struct Hold {
    pub why: String,
    /// True if it ends with time alone.
    pub waits: bool,
}

impl Hold {
    pub fn until_decided(why: impl Into<String>) -> Hold {
        Hold { why: why.into(), waits: false }
    }

    pub fn for_a_while(why: impl Into<String>) -> Hold {
        Hold { why: why.into(), waits: true }
    }
}

/// The replicas of a service that may leave draining nodes in one step.
struct Drains {
    /// Maximum number of replicas that are away at a time.
    at_once: usize,
    /// Replicas that are away already.
    away: usize,
    /// Replicas that may still leave in this step.
    left: usize,
    /// True if a drain waits for something that comes with time: a step of this plan, or a dead node.
    waits: bool,
}

/// Replicas without a place.
#[derive(Default)]
struct Unplaceable {
    count: usize,
    refusals: String,
}

impl<'v> Planner<'_, 'v> {
    /// Moves replicas that should be elsewhere.
    pub(super) fn move_away(&mut self) {
        let troubled = self.troubled();
        let mut drains = self.drains(&troubled);
        let mut unplaceable = Unplaceable::default();
        for (trouble, replica) in troubled {
            if self.is_over(&trouble, replica) {
                continue;
            }
            if let Some(hold) = self.hold(&trouble, replica, &drains) {
                self.stay(replica, &trouble, hold);
                continue;
            }
            self.leave(&trouble, replica, &mut drains, &mut unplaceable);
        }
        self.warn_of_clashes();
        if unplaceable.count > 0 {
            self.warned_none = true;
            let Unplaceable { count, refusals } = unplaceable;
            self.warn(format!("No eligible node for {count} replicas that should move: {refusals}"));
        }
    }

    /// The replicas in trouble that are not settled yet, the most urgent first.
    fn troubled(&self) -> Vec<(Trouble, &'v ReplicaView)> {
        let service = self.service;
        let open = service.replicas.iter().filter(|replica| !self.done.contains(&replica.id));
        let mut troubled: Vec<_> = open.filter_map(|replica| Some((self.trouble(replica)?, replica))).collect();
        troubled.sort_by(|a, b| (&a.0, &a.1.id).cmp(&(&b.0, &b.1.id)));
        troubled
    }

    fn drains(&self, troubled: &[(Trouble, &ReplicaView)]) -> Drains {
        let is_away =
            |t: &Trouble| matches!(t, Trouble::Lost(_) | Trouble::Sick(_) | Trouble::Unready | Trouble::Waits(_));
        let settled: HashSet<&ReplicaId> = troubled.iter().map(|(_, replica)| &replica.id).collect();
        let is_awaited = |r: &&ReplicaView| r.unavailable_since.is_some() && !settled.contains(&r.id);
        let awaited = self.service.replicas.iter().filter(is_awaited).count();
        let away = troubled.iter().filter(|(t, _)| is_away(t)).count() + awaited;
        let at_once = self.service.policy.at_once();
        let waits = awaited > 0 || troubled.iter().any(|(t, _)| matches!(t, Trouble::Waits(_)));
        Drains { at_once, away, left: at_once.saturating_sub(away), waits }
    }

    /// True if an earlier move of this plan has ended the trouble.
    fn is_over(&self, trouble: &Trouble, replica: &ReplicaView) -> bool {
        match trouble {
            Trouble::Clash(_) => replica.node.and_then(|n| self.session.clash(n)).is_none(),
            Trouble::Overfull(_) => replica.node.and_then(|n| self.session.overfull(n)).is_none(),
            _ => false,
        }
    }

    /// True if a replica's node is silent since before the server started, a short while ago.
    pub(super) fn is_in_grace(&self, replica: &ReplicaView) -> bool {
        replica.node.is_some_and(|n| self.view.nodes[n as usize].in_grace)
    }

    /// Reason why a replica in trouble stays for now.
    fn hold(&mut self, trouble: &Trouble, replica: &ReplicaView, drains: &Drains) -> Option<Hold> {
        if self.view.brake.is_some() {
            return Some(Hold::until_decided("nothing is moved at the moment"));
        }
        if self.is_in_grace(replica) {
            self.due(1);
            return Some(Hold::for_a_while("the server has just started; its node may come back"));
        }
        if let Trouble::Waits(left_s) = trouble {
            self.due(*left_s);
            return Some(Hold::for_a_while(trouble.reason(&replica.node_id)));
        }
        if *trouble == Trouble::Drained && drains.left == 0 {
            let Drains { at_once, away, .. } = drains;
            let why = format!("{at_once} of this service may be away at once, and {away} are");
            return Some(Hold { why, waits: drains.waits || self.plan.due_in_s.is_some() });
        }
        self.dwell(replica, trouble).map(Hold::for_a_while)
    }

    /// Moves a replica to the best other node, if there is one.
    fn leave(
        &mut self,
        trouble: &Trouble,
        replica: &'v ReplicaView,
        drains: &mut Drains,
        unplaceable: &mut Unplaceable,
    ) {
        let failed_on = replica.placement.iter().flat_map(|p| &p.failed_on);
        let avoid: Vec<NodeIndex> = failed_on.filter_map(|id| self.view.node(id)).collect();
        let Some((target, score)) = self.session.best(replica.node, &avoid) else {
            if unplaceable.count == 0 {
                unplaceable.refusals = self.refusals();
            }
            unplaceable.count += 1;
            let why = format!("no other node can take it: {}", unplaceable.refusals);
            self.note_stuck(replica, why, false);
            return;
        };
        if *trouble == Trouble::Drained {
            drains.left -= 1;
            drains.waits = true;
        }
        let blame = matches!(trouble, Trouble::Sick(_) | Trouble::Unready);
        let reason = trouble.reason(&replica.node_id);
        self.move_to(MoveCause::Unhealthy { blame }, replica, target, Some(score), reason);
    }

    /// Warns of replicas that clash with others and stay, because the spec says so.
    fn warn_of_clashes(&mut self) {
        let service = self.service;
        if service.policy.reschedule_unhealthy {
            return;
        }
        for replica in service.replicas.iter().filter(|r| !self.done.contains(&r.id)) {
            if let Some(clash) = replica.node.and_then(|n| self.session.clash(n)) {
                self.plan.warnings.push(format!("{} stays on {}: {clash}", replica.id, replica.node_id));
            }
        }
    }

    /// Reason why an unhealthy replica stays for now: it was moved a short while ago.
    fn dwell(&mut self, replica: &ReplicaView, trouble: &Trouble) -> Option<String> {
        let flaps = matches!(trouble, Trouble::Sick(_) | Trouble::Unready);
        let placement = replica.placement.as_ref().filter(|p| p.failures > 0 && flaps)?;
        let node = replica.node.map(|n| &self.view.nodes[n as usize]);
        if node.is_some_and(|node| !node.may_keep() && *trouble != Trouble::Unready) {
            // It has to leave anyway.
            return None;
        }
        let wait_s = dwell_s(placement.failures);
        let left_s = wait_s - (self.view.now.secs() - placement.at.secs());
        if left_s <= 0 {
            return None;
        }
        self.due(left_s);
        Some(format!(
            "{}; it was moved {} times for that, and stays for {left_s} s more",
            trouble.reason(&replica.node_id),
            placement.failures
        ))
    }

    /// Keeps a replica in trouble where it is.
    pub(super) fn stay(&mut self, replica: &ReplicaView, trouble: &Trouble, Hold { why, waits }: Hold) {
        self.note_stuck(replica, why.clone(), waits);
        if *trouble != Trouble::Drained && self.view.brake.is_none() {
            self.warn(format!("{} stays on {}: {why}", replica.id, replica.node_id));
        }
    }

    /// Notes a replica that a drain has to wait for.
    pub(super) fn note_stuck(&mut self, replica: &ReplicaView, why: String, waits: bool) {
        if let Some(node) = replica.node.filter(|n| self.view.nodes[*n as usize].draining) {
            self.plan.stuck.push(Stuck { node, replica_id: replica.id.clone(), why, waits });
        }
    }
}

/// Seconds that a replica stays after `failures` moves in a row.
fn dwell_s(failures: u32) -> i64 {
    DWELL_S.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(DWELL_S_MAX)
}
