//! Rebalancing: moves from the most loaded nodes to the least loaded, if nothing else forbids them. Only on request.

use super::place::{Session, State};
use super::plan::Plan;
use super::step::{Action, MoveCause, Step};
use super::view::{NodeIndex, ReplicaView, View};
use crate::model::leases::LeaseState;
use crate::model::replicas::{PlacedBy, Placement};
use crate::model::runners::Keeping;
use crate::model::specs::Mode;
use std::collections::{BTreeSet, HashMap};

/// Targets to try for one source before the next source.
const TARGETS_TRIED: usize = 32;
/// Seconds for which a newly placed replica is left alone.
const DWELL_S: i64 = 60;

/// At most `moves_max` moves that balance the number of replicas per node: each reduces the difference between two
/// nodes. One plan for each service concerned.
pub fn plan(view: &View, moves_max: usize) -> Vec<Plan> {
    let mut plans: HashMap<usize, Plan> = HashMap::new();
    if view.brake.is_some() {
        return Vec::new();
    }
    let mut state = State::of(view);
    let open = |n: NodeIndex| view.nodes[n as usize].closed().is_none();
    let mut on: HashMap<NodeIndex, Vec<(usize, &ReplicaView)>> = HashMap::new();
    for (s, service) in view.services.iter().enumerate() {
        for replica in &service.replicas {
            if let Some(node) = replica.node.filter(|_| may_move(view, s, replica)) {
                on.entry(node).or_default().push((s, replica));
            }
        }
    }
    // The nodes of each service's replicas, as moves proceed.
    let mut places: Vec<Vec<NodeIndex>> =
        view.services.iter().map(|s| s.replicas.iter().filter_map(|r| r.node).collect()).collect();
    let mut order: BTreeSet<(u32, NodeIndex)> =
        (0..).zip(&view.nodes).map(|(n, _)| n).filter(|n| open(*n)).map(|n| (state.load(n), n)).collect();
    let mut exhausted: BTreeSet<NodeIndex> = BTreeSet::new();
    let mut moves = 0;
    while moves < moves_max {
        let Some(&(high, source)) = order.iter().rev().find(|(_, n)| !exhausted.contains(n)) else { break };
        let candidates = on.get(&source).cloned().unwrap_or_default();
        let selectors: BTreeSet<&[(String, String)]> =
            candidates.iter().map(|(s, _)| &view.services[*s].policy.selector[..]).collect();
        let suits = |n: NodeIndex| selectors.iter().any(|selector| view.nodes[n as usize].matches(selector));
        let lower = order.iter().take_while(|(low, _)| low + 2 <= high).map(|(_, n)| *n);
        let targets: Vec<NodeIndex> = lower.filter(|n| suits(*n)).take(TARGETS_TRIED).collect();
        let found = targets.iter().find_map(|&target| {
            candidates
                .iter()
                .enumerate()
                .find(|(_, (s, _))| improves(&mut state, view, *s, &places[*s], source, target))
                .map(|(i, _)| (target, i))
        });
        let Some((target, i)) = found else {
            exhausted.insert(source);
            continue;
        };
        let Some((s, replica)) = on.get_mut(&source).map(|list| list.remove(i)) else { break };
        let policy = &view.services[s].policy;
        order.remove(&(high, source));
        order.remove(&(state.load(target), target));
        state.release(source, policy);
        state.take(target, policy);
        order.insert((state.load(source), source));
        order.insert((state.load(target), target));
        if let Some(place) = places[s].iter_mut().find(|n| **n == source) {
            *place = target;
        }
        plans.entry(s).or_insert_with(|| empty(view, s)).actions.push(action(
            view,
            s,
            replica,
            source,
            target,
            high,
            state.load(target),
        ));
        moves += 1;
    }
    let mut plans: Vec<(usize, Plan)> = plans.into_iter().collect();
    plans.sort_by_key(|(s, _)| *s);
    plans.into_iter().map(|(_, plan)| plan).collect()
}

/// True if a replica may move for balance alone.
fn may_move(view: &View, service: usize, replica: &ReplicaView) -> bool {
    let service = &view.services[service];
    let at_home = |n: NodeIndex| {
        let node = &view.nodes[n as usize];
        node.lease != LeaseState::Stale && node.closed().is_none() && node.matches(&service.policy.selector)
    };
    let settled = replica
        .placement
        .as_ref()
        .is_none_or(|p| p.action == PlacedBy::ScaleUp || view.now.secs() - p.at.secs() >= DWELL_S);
    service.policy.mode == Mode::Replicated
        && service.pin(&replica.id).is_none()
        && view.sickness(&service.policy, replica).is_none()
        && replica.unavailable_since.is_none()
        && replica.node.is_some_and(at_home)
        && settled
}

/// True if the service is not worse off with a replica on the target instead of the source.
fn improves<'v>(
    state: &mut State<'v>,
    view: &'v View,
    service: usize,
    places: &[NodeIndex],
    source: NodeIndex,
    target: NodeIndex,
) -> bool {
    let policy = &view.services[service].policy;
    let mut session = Session::begin(state, policy, places.iter().copied());
    if !session.is_eligible(target) {
        return false;
    }
    let before = session.score(source);
    session.remove(source);
    let (refused, after) = (session.refusal(target).is_some(), session.score(target));
    session.put(target);
    let used_permille = session.score(target).used_permille;
    session.remove(target);
    session.put(source);
    // The source counted with the replica, the target without.
    let fair = before.same_service == 0 || after.same_service < before.same_service;
    // A small node is not filled up for the sake of an even count.
    let roomy = !session.by_room() || used_permille < before.used_permille;
    !refused && fair && roomy && (before.zone_replicas == 0 || after.zone_replicas < before.zone_replicas)
}

fn empty(view: &View, service: usize) -> Plan {
    let service = &view.services[service];
    Plan {
        service_id: service.id.clone(),
        generation: service.generation,
        desired_replicas: service.policy.desired.unwrap_or(service.replicas.len()),
        actual_replicas: service.replicas.len(),
        replicas_before: service.replicas.len(),
        eligible_nodes: view
            .nodes
            .iter()
            .filter(|n| n.closed().is_none() && n.matches(&service.policy.selector))
            .count(),
        rollout: None,
        dry_run: true,
        warnings: Vec::new(),
        actions: Vec::new(),
        generated_at: view.now,
        made: 0,
        due_in_s: None,
        stuck: Vec::new(),
    }
}

fn action(
    view: &View,
    service: usize,
    replica: &ReplicaView,
    source: NodeIndex,
    target: NodeIndex,
    high: u32,
    low: u32,
) -> Action {
    let name = |n: NodeIndex| view.nodes[n as usize].id.clone();
    let detail = format!("{} had {high} replicas, {} has {low} with it", name(source), name(target));
    let placement = Placement {
        action: MoveCause::Rebalance.placed_by(),
        reason: detail.clone(),
        at: view.now,
        from_node_id: Some(name(source)),
        failures: replica.placement.as_ref().map_or(0, |p| p.failures),
        failed_on: replica.placement.as_ref().map_or(Vec::new(), |p| p.failed_on.clone()),
    };
    let step = Step::Move {
        source_node_id: name(source),
        target_node_id: name(target),
        score: None,
        cause: MoveCause::Rebalance,
        placement,
        is_run: view.nodes[target as usize].keeping(view.services[service].policy.driver) == Keeping::Runs,
    };
    Action { service_id: view.services[service].id.clone(), replica_id: replica.id.clone(), step, detail }
}
