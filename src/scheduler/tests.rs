//! Plans over generated clusters: the effect of each rule, and the properties that hold for any cluster.

mod random;
mod room;
mod runs;
mod silence;

use super::plan::{self, Plan};
use super::rebalance;
use super::step::{Action, MoveCause, Step};
use super::view::{NodeView, View};
use crate::clock::Timestamp;
use crate::model::Object;
use crate::model::leases::LeaseState;
use crate::model::replicas::{Facts, PlacedBy, Placement, Replica};
use crate::model::services::Service;
use crate::model::specs::{AntiAffinity, Mode, Policy};
pub(super) use random::Random;
use random::some_cluster;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

/// A cluster to which plans can be applied.
#[derive(Clone, Default)]
struct Cluster {
    nodes: Vec<NodeView>,
    services: Vec<Service>,
    replicas: Vec<Replica<Object>>,
    brake: Option<String>,
    grace: bool,
    later_s: i64,
}

fn object(value: Value) -> Object {
    value.as_object().cloned().unwrap_or_default()
}

impl Cluster {
    fn node(&mut self, id: &str) -> &mut NodeView {
        self.nodes.push(NodeView {
            id: id.into(),
            roles: vec!["worker".into()],
            labels: BTreeMap::new(),
            schedulable: true,
            draining: false,
            drain_state: String::new(),
            ready: true,
            lease: LeaseState::Alive,
            suspect: false,
            // For a long time, if it is dead.
            dead_for_s: 1_000_000,
            in_grace: false,
            cpu_millis: None,
            memory_mb: None,
            drivers: None,
        });
        self.nodes.last_mut().expect("just pushed")
    }

    fn with_nodes(count: usize) -> Cluster {
        let mut cluster = Cluster::default();
        for i in 0..count {
            cluster.node(&format!("n{i}"));
        }
        cluster
    }

    fn service(&mut self, id: &str, spec: Value) {
        self.services.push(Service {
            id: id.into(),
            name: id.into(),
            description: None,
            spec: object(spec),
            generation: 1,
            created_at: NOW,
            updated_at: NOW,
            replicas_made: 0,
            late_rollout: 0,
            records_only: false,
        });
    }

    fn replica(&mut self, id: &str, service: &str, node: &str, status: Value) {
        self.replicas.push(Replica {
            id: id.into(),
            service_id: service.into(),
            node_id: node.into(),
            desired_state: "running".into(),
            status: object(status),
            placement: None,
            created_at: NOW,
            updated_at: NOW,
        });
    }

    fn view(&self) -> View {
        let facts = |r: &Replica<Object>| Replica {
            id: r.id.clone(),
            service_id: r.service_id.clone(),
            node_id: r.node_id.clone(),
            desired_state: r.desired_state.clone(),
            status: serde_json::from_value::<Facts>(Value::Object(r.status.clone())).expect("facts are of any type"),
            placement: r.placement.clone(),
            created_at: r.created_at,
            updated_at: r.updated_at,
        };
        let replicas = self.replicas.iter().map(facts).collect();
        let graced = |n: &NodeView| NodeView { in_grace: self.grace && n.lease == LeaseState::Dead, ..n.clone() };
        let nodes = self.nodes.iter().map(graced).collect();
        View::of(NOW.plus_secs(self.later_s), nodes, self.services.clone(), replicas, self.brake.clone())
    }

    /// Applies plans like `apply` does to the database.
    fn apply(&mut self, plans: &[Plan]) {
        for plan in plans {
            if let Some(service) = self.services.iter_mut().find(|s| s.id == plan.service_id) {
                service.replicas_made += plan.made;
            }
            for action in &plan.actions {
                self.carry_out(action, plan.generation);
            }
        }
    }

    fn carry_out(&mut self, action: &Action, generation: i64) {
        let at = self.replicas.iter().position(|r| r.id == action.replica_id);
        let before = at.map(|at| self.replicas[at].clone());
        if let (Some(before), Some(source)) = (&before, action.source_node_id()) {
            assert_eq!(&before.node_id, source, "{} is elsewhere", before.id);
        }
        let after = action.apply(before, generation, NOW.plus_secs(self.later_s)).unwrap_or_else(|why| panic!("{why}"));
        match (at, after) {
            (Some(at), Some(replica)) => self.replicas[at] = replica,
            (Some(at), None) => drop(self.replicas.remove(at)),
            (None, replica) => self.replicas.extend(replica),
        }
    }

    fn plan(&self) -> Vec<Plan> {
        plan::all(&self.view())
    }

    /// Plans and applies. Returns the actions as `name replica-or-target`.
    fn step(&mut self) -> Vec<String> {
        let plans = self.plan();
        plan::check(&self.view(), &plans).expect("what is planned fits");
        self.apply(&plans);
        said(&plans)
    }

    fn on(&self, node: &str) -> usize {
        self.replicas.iter().filter(|r| r.node_id == node).count()
    }
}

fn said(plans: &[Plan]) -> Vec<String> {
    let one = |a: &Action| match (a.source_node_id(), a.target_node_id()) {
        (Some(from), Some(to)) => format!("{} {from}>{to}", a.step.word()),
        (None, Some(to)) => format!("{} >{to}", a.step.word()),
        (Some(from), None) => format!("{} {from}", a.step.word()),
        (None, None) => a.step.word().to_string(),
    };
    plans.iter().flat_map(|p| p.actions.iter().map(one)).collect()
}

fn warnings(plans: &[Plan]) -> String {
    plans.iter().flat_map(|p| p.warnings.clone()).collect::<Vec<_>>().join("\n")
}

#[test]
fn replicas_go_to_the_least_loaded_nodes_and_leave_the_fullest() {
    let mut c = Cluster::with_nodes(3);
    c.service("a", json!({"scheduling": {"desired_replicas": 2}}));
    c.service("b", json!({"scheduling": {"desired_replicas": 2}}));
    assert_eq!(c.step(), ["scale_up >n0", "scale_up >n1", "scale_up >n2", "scale_up >n0"]);
    assert_eq!(c.step(), [""; 0]);
    c.services[0].spec = object(json!({"replicas_desired": 1}));
    assert_eq!(c.step(), ["scale_down n0"]);
    c.services[1].spec = object(json!({"replicas_desired": "0"}));
    assert_eq!(c.step().len(), 2);
    assert_eq!(c.replicas.len(), 1);
}

#[test]
fn anti_affinity_is_soft_hard_or_off() {
    for (value, on_n0) in [(json!(true), 2), (json!(false), 0), (json!("hard"), 1)] {
        let mut c = Cluster::with_nodes(2);
        c.service("z", json!({"scheduling": {"desired_replicas": 4}, "placement": {}}));
        c.replicas.clear();
        for i in 0..4 {
            c.replica(&format!("z{i}"), "z", "n0", json!({"applied_generation": 1}));
        }
        c.service("a", json!({"scheduling": {"desired_replicas": 4, "anti_affinity": value}}));
        let plans = c.plan();
        c.apply(&plans);
        assert_eq!(c.replicas.iter().filter(|r| r.service_id == "a" && r.node_id == "n0").count(), on_n0, "{value}");
        assert_eq!(
            warnings(&plans).contains("2 of 4 new replicas: 2 x anti_affinity"),
            value == "hard",
            "{}",
            warnings(&plans)
        );
    }
}

#[test]
fn without_rescheduling_only_lost_and_drained_replicas_move() {
    let mut c = Cluster::with_nodes(4);
    c.service("a", json!({"scheduling": {"reschedule_unhealthy": false}, "rolling_update": {"max_unavailable": 5}}));
    for i in 0..3 {
        c.replica(&format!("r{i}"), "a", &format!("n{i}"), json!({"applied_generation": 1, "healthy": false}));
    }
    c.nodes[0].schedulable = false;
    c.nodes[1].draining = true;
    c.nodes[2].lease = LeaseState::Dead;
    assert_eq!(c.step(), ["move_unhealthy n2>n3", "move_unhealthy n1>n3"]);
    assert_eq!(c.on("n0"), 1);
}

#[test]
fn a_sick_replica_that_moved_stays_a_while_and_avoids_where_it_failed() {
    let mut c = Cluster::with_nodes(3);
    c.service("a", json!({}));
    c.replica("r", "a", "n0", json!({"applied_generation": 1, "healthy": false}));
    let sicken = |c: &mut Cluster| drop(c.replicas[0].status.insert("healthy".into(), false.into()));
    assert_eq!(c.step(), ["move_unhealthy n0>n1"]);
    sicken(&mut c);
    assert_eq!(c.step(), [""; 0]);
    assert!(
        warnings(&c.plan()).contains("it was moved 1 times for that, and stays for 60 s more"),
        "{}",
        warnings(&c.plan())
    );
    c.later_s = 60;
    assert_eq!(c.step(), ["move_unhealthy n1>n2"], "not back to where it failed");
    sicken(&mut c);
    c.later_s = 60 + 119;
    assert_eq!(c.step(), [""; 0], "the wait doubles");
    c.later_s = 60 + 120;
    assert_eq!(c.step(), ["move_unhealthy n2>n0"], "where no other is left, a node it failed on is better than none");
    c.nodes[0].lease = LeaseState::Dead;
    assert_eq!(c.step(), ["move_unhealthy n0>n1"], "from a dead node at once");
}

#[test]
fn drains_go_step_by_step_and_say_what_holds_them() {
    let mut c = Cluster::with_nodes(3);
    c.service("a", json!({"scheduling": {"desired_replicas": 3, "anti_affinity": false}}));
    for i in 0..3 {
        c.replica(&format!("r{i}"), "a", "n0", json!({"applied_generation": 1}));
    }
    c.nodes[0].draining = true;
    for left in [2, 1, 0] {
        let waiting: Vec<bool> = c.plan()[0].stuck.iter().map(|s| s.waits).collect();
        assert_eq!(waiting, vec![true; left], "their turn comes");
        assert_eq!(c.step().len(), 1);
        assert_eq!(c.on("n0"), left);
    }
    c.nodes[1].schedulable = false;
    c.nodes[2].draining = true;
    let plans = c.plan();
    assert!(
        plans[0].stuck.iter().any(|s| s.replica_id.as_str().starts_with('r') && s.why.contains("draining")),
        "{:?}",
        plans[0].stuck
    );
}

#[test]
fn capacity_ports_and_zones_are_respected() {
    let mut c = Cluster::with_nodes(4);
    for (i, zone) in ["a", "a", "b", "b"].into_iter().enumerate() {
        c.nodes[i].labels.insert("zone".into(), zone.into());
        c.nodes[i].cpu_millis = Some(1000);
    }
    c.service(
        "spread",
        json!({"scheduling": {"desired_replicas": 2, "spread_by": "zone"}, "resources": {"cpu_millis": 600}}),
    );
    assert_eq!(c.step(), ["scale_up >n0", "scale_up >n2"]);
    c.service("wide", json!({"scheduling": {"desired_replicas": 9}, "resources": {"cpu_millis": 400}}));
    assert_eq!(c.step().len(), 6, "two fit on each empty node, one on each other");
    assert!(warnings(&c.plan()).contains("3 of 3 new replicas: 4 x cpu"), "{}", warnings(&c.plan()));
    c.service("web", json!({"scheduling": {"desired_replicas": 5}, "ports": [80]}));
    assert_eq!(c.step().len(), 4);
    c.service("other", json!({"scheduling": {"desired_replicas": 1}, "ports": [{"host_port": 80, "protocol": "udp"}]}));
    assert_eq!(c.step().len(), 1, "another protocol is another port");
}

#[test]
fn one_on_every_node_follows_the_nodes() {
    let mut c = Cluster::with_nodes(3);
    c.service("agent", json!({"scheduling": {"mode": "per_node", "node_selector": {"role": "worker"}}}));
    assert_eq!(c.step().len(), 3);
    c.node("n3");
    assert_eq!(c.step(), ["scale_up >n3"]);
    c.nodes[0].draining = true;
    c.nodes[1].roles.clear();
    let mut gone = c.step();
    gone.sort();
    assert_eq!(gone, ["scale_down n0", "scale_down n1"]);
    c.nodes[2].lease = LeaseState::Stale;
    assert_eq!(c.step(), [""; 0]);
    assert_eq!(c.plan()[0].desired_replicas, 1);
    c.services[0].spec = object(json!({"scheduling": {"mode": "per_node", "reschedule_unhealthy": false}}));
    c.nodes[0].schedulable = false;
    c.nodes[3].ready = false;
    assert!(c.step().iter().all(|a| !a.starts_with("scale_down")), "without rescheduling what is there stays");
}

#[test]
fn pinned_replicas_are_where_they_are_pinned() {
    let mut c = Cluster::with_nodes(3);
    let pins = json!([{"replica_id": "p", "node_id": "n2"}, {"replica_id": "q", "node_id": "none"}]);
    c.service("a", json!({"scheduling": {"desired_replicas": 3}, "placement": {"pinned_replicas": pins}}));
    c.replica("p", "a", "n0", json!({"applied_generation": 1, "healthy": false}));
    assert_eq!(c.step(), ["move_pinned n0>n2", "scale_up >n0"]);
    assert!(warnings(&c.plan()).contains("q is pinned to the node none, which does not exist"));
    c.services[0].spec.insert("scheduling".into(), json!({"desired_replicas": 1}));
    assert_eq!(c.step(), ["scale_down n0"], "two pins are two replicas, one of which has no place");
    assert_eq!(c.step(), [""; 0]);
    c.nodes[2].schedulable = false;
    assert_eq!(c.step(), [""; 0]);
    assert!(warnings(&c.plan()).contains("it is pinned there"));
}

#[test]
fn a_pin_without_a_place_costs_other_replicas_nothing() {
    let mut c = Cluster::with_nodes(3);
    c.service("a", json!({"scheduling": {"desired_replicas": 3}}));
    assert_eq!(c.step().len(), 3);
    let pin = |id: &str, node: &str| json!({"pinned_replicas": [{"replica_id": id, "node_id": node}]});
    c.services[0].spec.insert("placement".into(), pin("p", "none"));
    assert_eq!(c.step(), [""; 0]);
    c.services[0].spec.insert("placement".into(), pin("p", "n1"));
    assert_eq!(c.step().len(), 2, "one is made there, one goes");
    assert_eq!((c.replicas.len(), c.on("n1")), (3, 1));
    assert_eq!(c.step(), [""; 0]);
}

#[test]
fn a_replica_in_the_way_of_a_pin_gives_way() {
    let mut c = Cluster::with_nodes(2);
    c.service("a", json!({"scheduling": {"desired_replicas": 2, "anti_affinity": "hard"}}));
    assert_eq!(c.step().len(), 2);
    c.services[0].spec.insert("placement".into(), json!({"pinned_replicas": [{"replica_id": "p", "node_id": "n1"}]}));
    c.brake = Some("x".into());
    assert_eq!(c.step(), [""; 0]);
    c.brake = None;
    assert_eq!(c.step(), ["scale_down n1", "scale_up >n1"]);
    assert_eq!((c.on("n0"), c.on("n1")), (1, 1));
    assert_eq!(c.step(), [""; 0]);
}

#[test]
fn of_two_services_that_pin_one_id_the_first_gets_it() {
    let mut c = Cluster::with_nodes(2);
    for id in ["a", "b"] {
        let pins = json!([{"replica_id": "p", "node_id": "n1"}]);
        c.service(id, json!({"scheduling": {"desired_replicas": 1}, "placement": {"pinned_replicas": pins}}));
    }
    c.service("c", json!({"scheduling": {"desired_replicas": 1}}));
    assert!(warnings(&c.plan()).contains("another service has a replica with that id"));
    assert_eq!(c.step(), ["scale_up >n1", "scale_up >n0"]);
    assert_eq!(c.step(), [""; 0]);
}

#[test]
fn a_pin_says_what_its_replica_should_do() {
    let mut c = Cluster::with_nodes(1);
    let pins = json!([{"replica_id": "p", "node_id": "n0", "desired_state": "stopped"}]);
    c.service("a", json!({"placement": {"pinned_replicas": pins}}));
    c.replica("p", "a", "n0", json!({"applied_generation": 1}));
    assert_eq!(c.step(), ["set_desired_state"]);
    assert_eq!(c.replicas[0].desired_state, "stopped");
    assert_eq!(c.step(), [""; 0]);
}

#[test]
fn a_drain_takes_sick_replicas_and_those_of_dead_nodes_too() {
    let mut c = Cluster::with_nodes(3);
    c.service("agent", json!({"scheduling": {"mode": "per_node", "lost_after_seconds": 30}}));
    assert_eq!(c.step().len(), 3);
    c.replicas[0].status.insert("healthy".into(), false.into());
    assert_eq!(c.step(), [""; 0], "there is no better place");
    c.nodes[0].draining = true;
    assert_eq!(c.step(), ["scale_down n0"]);
    c.service("web", json!({"scheduling": {"lost_after_seconds": 604_800}}));
    c.replica("w", "web", "n1", json!({"applied_generation": 1}));
    c.nodes[1].lease = LeaseState::Dead;
    c.nodes[1].dead_for_s = 5;
    assert_eq!(c.step(), [""; 0]);
    assert!(c.plan().iter().all(|p| p.stuck.is_empty()));
    c.nodes[1].draining = true;
    c.grace = true;
    assert_eq!(c.step(), [""; 0]);
    assert!(c.plan().iter().any(|p| p.stuck.iter().any(|s| s.waits && s.replica_id == "w")));
    c.grace = false;
    let mut gone = c.step();
    gone.sort();
    assert_eq!(gone, ["move_unhealthy n1>n2", "scale_down n1"]);
}

#[test]
fn a_node_that_flaps_is_left_at_once_and_then_more_slowly() {
    let mut c = Cluster::with_nodes(2);
    c.service("a", json!({}));
    c.replica("r", "a", "n0", json!({"applied_generation": 1}));
    c.nodes[0].ready = false;
    assert_eq!(c.step(), ["move_unhealthy n0>n1"]);
    c.nodes[0].ready = true;
    c.nodes[1].ready = false;
    assert_eq!(c.step(), [""; 0]);
    c.later_s = 60;
    assert_eq!(c.step(), ["move_unhealthy n1>n0"]);
    c.nodes[1].ready = true;
    c.nodes[0].schedulable = false;
    assert_eq!(c.step(), ["move_unhealthy n0>n1"], "a cordon is an operator's word");
}

#[test]
fn replicas_that_clash_part() {
    let mut c = Cluster::with_nodes(3);
    c.service("a", json!({"ports": [80]}));
    c.service("b", json!({"ports": [80], "scheduling": {"reschedule_unhealthy": false}}));
    c.replica("a0", "a", "n0", json!({"applied_generation": 1}));
    c.replica("b0", "b", "n0", json!({"applied_generation": 1}));
    assert_eq!(c.step(), ["move_unhealthy n0>n1"], "one of them is enough");
    c.services[0].spec.insert("scheduling".into(), json!({"anti_affinity": "hard"}));
    c.services[0].spec.remove("ports");
    c.replica("a1", "a", "n1", json!({"applied_generation": 1}));
    assert_eq!(c.step(), ["move_unhealthy n1>n2"]);
    assert_eq!(c.step(), [""; 0]);
    c.services[0].spec.insert("ports".into(), json!([80]));
    c.replica("b1", "b", "n1", json!({"applied_generation": 1}));
    assert_eq!(c.step(), [""; 0], "no node is free");
    assert!(warnings(&c.plan()).contains("No eligible node for 1 replicas"), "{}", warnings(&c.plan()));
}

#[test]
fn updates_are_queued_a_few_at_a_time() {
    let mut c = Cluster::with_nodes(2);
    c.service("a", json!({"rolling_update": {"max_surge": 1, "max_unavailable": 1}}));
    for i in 0..5 {
        c.replica(&format!("r{i}"), "a", "n0", json!({"applied_generation": 0}));
    }
    assert_eq!(c.step().iter().filter(|a| a.starts_with("queue")).count(), 2);
    assert_eq!(c.step(), [""; 0], "two are under way");
    c.replicas[0].status.insert("applied_generation".into(), 1.into());
    assert_eq!(c.step(), ["queue_rolling_update"]);
}

#[test]
fn rebalancing_evens_out_and_ends() {
    let mut c = Cluster::with_nodes(4);
    for s in ["a", "b", "c"] {
        c.service(s, json!({"scheduling": {"desired_replicas": 4}}));
        for i in 0..4 {
            c.replica(&format!("{s}{i}"), s, "n0", json!({"applied_generation": 1}));
        }
    }
    let plans = rebalance::plan(&c.view(), 5);
    assert_eq!(said(&plans).len(), 5, "at most five");
    c.apply(&plans);
    let plans = rebalance::plan(&c.view(), 100);
    plan::check(&c.view(), &plans).expect("what is planned fits");
    c.apply(&plans);
    assert_eq!((0..4).map(|i| c.on(&format!("n{i}"))).collect::<Vec<_>>(), [3, 3, 3, 3]);
    c.later_s = 600;
    assert_eq!(rebalance::plan(&c.view(), 100), []);
    for i in 0..40 {
        c.node(&format!("a{i}")).roles.clear();
    }
    c.node("n4").roles.push("new".into());
    c.services
        .iter_mut()
        .for_each(|s| drop(s.spec.insert("scheduling".into(), json!({"node_selector": {"role": "worker"}}))));
    assert_eq!(said(&rebalance::plan(&c.view(), 100)).len(), 2, "empty nodes that do not suit do not matter");
    assert_eq!(c.step(), [""; 0], "the scheduler leaves it so");
}

/// Properties that hold after every plan, whatever the cluster.
fn holds(before: &Cluster, plans: &[Plan], after: &Cluster) {
    let moved = |a: &&Action| matches!(a.step, Step::Move { .. });
    let actions: Vec<&Action> = plans.iter().flat_map(|p| &p.actions).collect();
    if before.brake.is_some() {
        assert_eq!(actions.iter().copied().filter(moved).count(), 0, "nothing moves under the brake");
    }
    let mut ids = BTreeSet::new();
    assert!(after.replicas.iter().all(|r| ids.insert(&r.id)), "no replica is doubled");
    let policies: HashMap<&str, Policy> = after.services.iter().map(|s| (s.id.as_str(), Policy::of(&s.spec))).collect();
    for node in &after.nodes {
        let here: Vec<_> = after.replicas.iter().filter(|r| r.node_id == node.id).collect();
        let came = actions.iter().any(|a| a.target_node_id() == Some(&node.id));
        if !came {
            continue;
        }
        assert_eq!(node.closed(), None, "{} is closed", node.id);
        let runs = |a: &&Action| node.cannot_run(policies[a.service_id.as_str()].driver).is_none();
        assert!(actions.iter().filter(|a| a.target_node_id() == Some(&node.id)).all(runs), "a driver is there");
        // Clients may have placed more on it than fits; newcomers must fit beside that.
        let newcomers: Vec<_> = actions.iter().filter(|a| a.target_node_id() == Some(&node.id)).collect();
        for newcomer in newcomers {
            let policy = &policies[newcomer.service_id.as_str()];
            let sum = |of: fn(&Policy) -> u64| here.iter().map(|r| of(&policies[r.service_id.as_str()])).sum::<u64>();
            let cpu = policy.resources.cpu_millis == 0
                || node.cpu_millis.is_none_or(|has| sum(|p| p.resources.cpu_millis) <= has);
            let memory = policy.resources.memory_mb == 0
                || node.memory_mb.is_none_or(|has| sum(|p| p.resources.memory_mb) <= has);
            assert!(cpu && memory, "{} is over capacity", node.id);
            for port in &policy.ports {
                assert_eq!(
                    here.iter().filter(|r| policies[r.service_id.as_str()].ports.contains(port)).count(),
                    1,
                    "a port clashes"
                );
            }
            if policy.anti_affinity == AntiAffinity::Hard {
                assert_eq!(
                    here.iter().filter(|r| r.service_id == newcomer.service_id).count(),
                    1,
                    "hard anti-affinity"
                );
            }
            let pinned = policy.pinned.iter().any(|p| p.replica_id == newcomer.replica_id);
            assert!(pinned || node.matches(&policy.selector), "the selector");
        }
    }
    for plan in plans {
        let policy = &policies[plan.service_id.as_str()];
        let is_move = |a: &&Action| matches!(a.step, Step::Move { cause: MoveCause::Unhealthy { .. }, .. });
        let drained = plan.actions.iter().filter(is_move).filter(|a| a.detail.starts_with("the node is draining"));
        assert!(drained.count() <= policy.at_once(), "too many drained at once");
        let count = after.replicas.iter().filter(|r| r.service_id == plan.service_id).count();
        let wanted = plan.desired_replicas.max(plan.actual_replicas);
        assert!(policy.mode == Mode::PerNode || count <= wanted, "more than are wanted");
    }
}

#[test]
fn in_any_cluster_plans_keep_the_rules_and_come_to_rest() {
    let mut random = Random(1);
    let (mut acted, mut rested_at_once) = (0, 0);
    for round in 0..8_000 {
        let mut c = some_cluster(&mut random);
        let before = c.clone();
        let plans = c.plan();
        plan::check(&c.view(), &plans).unwrap_or_else(|why| panic!("round {round}: {why}"));
        c.apply(&plans);
        holds(&before, &plans, &c);
        acted += usize::from(!said(&plans).is_empty());
        let (mut passes, mut later) = (0, Vec::new());
        // Drains proceed step by step, and a free place lets another replica move; everything else happens at once.
        let settles = before.nodes.iter().all(|n| !n.draining);
        loop {
            let next = c.plan();
            if said(&next).is_empty() {
                break;
            }
            let before = c.clone();
            plan::check(&c.view(), &next).unwrap_or_else(|why| panic!("round {round}: {why}"));
            c.apply(&next);
            holds(&before, &next, &c);
            passes += 1;
            later.extend(said(&next));
            assert!(passes < 50, "round {round} does not come to rest: {:?}", said(&next));
        }
        // If something found no place, a replica that left meanwhile may have made room for it.
        if settles && !warnings(&plans).contains("No eligible node") && !warnings(&plans).contains("cannot") {
            assert_eq!(passes, 0, "round {round}: a second plan after the first is not empty: {later:?}");
            rested_at_once += 1;
        }
    }
    assert!(
        acted > 4_000 && rested_at_once > 1_000,
        "{acted} clusters needed something, {rested_at_once} were to rest at once"
    );
}

#[test]
fn the_shared_heap_finds_what_looking_at_every_node_finds() {
    let mut random = Random(7);
    for round in 0..3_000 {
        let c = some_cluster(&mut random);
        let view = c.view();
        let mut state = super::place::State::of(&view);
        for service in &view.services {
            let on = || service.replicas.iter().filter_map(|r| r.node);
            let mut session = super::place::Session::begin(&mut state, &service.policy, on());
            for _ in 0..random.below(6) {
                let all = session.eligible().to_vec();
                let by_hand =
                    all.iter().filter(|n| session.refusal(**n).is_none()).map(|n| (session.score(*n), *n)).min();
                let found = session.best(None, &[]).map(|(node, score)| (score, node));
                assert_eq!(found, by_hand, "round {round}");
                if let Some((_, node)) = found {
                    session.put(node);
                }
            }
            if let Some(node) = on().next() {
                session.remove(node);
            }
        }
    }
}

#[test]
fn a_placement_is_kept_with_its_reason() {
    let mut c = Cluster::with_nodes(2);
    c.service("a", json!({}));
    c.replica("r", "a", "n0", json!({"applied_generation": 1, "state": "failed"}));
    c.step();
    let placement = c.replicas[0].placement.clone().expect("it was placed");
    let reason = "its state is failed".to_string();
    let failed_on = vec!["n0".into()];
    assert_eq!(
        placement,
        Placement {
            action: PlacedBy::MoveUnhealthy,
            reason,
            at: NOW,
            from_node_id: Some("n0".into()),
            failures: 1,
            failed_on
        }
    );
    assert!(!c.replicas[0].status.contains_key("state"));
}

#[test]
fn an_action_is_flat_json_in_the_order_that_clients_know() {
    let mut c = Cluster::with_nodes(2);
    c.service("a", json!({"scheduling": {"desired_replicas": 1}}));
    c.service("b", json!({"scheduling": {"desired_replicas": 1}}));
    c.service("d", json!({"scheduling": {"desired_replicas": 0}}));
    c.replica("r", "b", "gone", json!({}));
    c.replica("s", "d", "n1", json!({}));
    let text = |a: &Action| serde_json::to_string(a).expect("JSON");
    let said: Vec<String> = c.plan().iter().flat_map(|p| &p.actions).map(text).collect();
    let made = crate::control::work::replicas::made_id(&"a".into(), 0);
    assert_eq!(
        said,
        [
            format!(r#"{{"action":"scale_up","service_id":"a","replica_id":"{made}","target_node_id":"n0","detail":"0 of 1 replicas were there","score":{{"zone_replicas":0,"used_permille":0,"same_service":0,"load":0}}}}"#),
            r#"{"action":"move_unhealthy","service_id":"b","replica_id":"r","source_node_id":"gone","target_node_id":"n0","detail":"its node is gone (gone)","score":{"zone_replicas":0,"used_permille":0,"same_service":0,"load":1}}"#.into(),
            r#"{"action":"queue_rolling_update","service_id":"b","replica_id":"r","detail":"generation none is to become 1"}"#.into(),
            r#"{"action":"scale_down","service_id":"d","replica_id":"s","source_node_id":"n1","detail":"its node has 1 replicas"}"#.into(),
        ]
    );
}
