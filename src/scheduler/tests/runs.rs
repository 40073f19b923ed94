//! Replicas that their nodes run: only a report makes them available.

use super::*;
use crate::model::node_status::{ReplicaStatus, RunWord};
use crate::model::replica_words;
use crate::model::workload::Driver;

/// Nodes with a runner, and the service `a` with this spec beside its command.
fn cluster(nodes: usize, spec: Value) -> Cluster {
    let mut c = Cluster::with_nodes(nodes);
    c.nodes.iter_mut().for_each(|node| node.drivers = Some(vec![Driver::Process]));
    let mut spec = object(spec);
    spec.insert("command".into(), json!(["/bin/true"]));
    c.service("a", Value::Object(spec));
    c
}

/// A report of the replica's node.
fn report(c: &mut Cluster, index: usize, state: RunWord, generation: i64) {
    let healthy = match state {
        RunWord::Healthy => Some(true),
        RunWord::Unhealthy => Some(false),
        _ => None,
    };
    let said = ReplicaStatus { healthy, applied_generation: Some(generation), ..ReplicaStatus::of(state) };
    replica_words::take(&mut c.replicas[index].status, &said, NOW.plus_secs(c.later_s));
}

fn all_healthy(c: &mut Cluster) {
    for index in 0..c.replicas.len() {
        let wanted = c.replicas[index].status["desired_generation"].as_i64().expect("a generation");
        report(c, index, RunWord::Healthy, wanted);
    }
}

#[test]
fn a_new_replica_is_pending_where_its_node_runs_it_and_as_before_elsewhere() {
    let mut c = cluster(1, json!({"scheduling": {"desired_replicas": 2}}));
    c.node("v1");
    c.step();
    let status = |c: &Cluster, node: &str| {
        let replica = c.replicas.iter().find(|r| r.node_id == node).expect("one on each");
        Value::Object(replica.status.clone())
    };
    let pending = json!({
        "state": "pending", "managed_by": "scheduler", "desired_generation": 1, "unavailable_since": NOW,
    });
    assert_eq!(status(&c, "n0"), pending);
    assert_eq!(status(&c, "v1"), json!({"healthy": true, "managed_by": "scheduler", "applied_generation": 1}));
    assert!(c.step().is_empty(), "and that is all");
    // A move ends what the old node said.
    all_healthy_but(&mut c, "v1");
    c.nodes[0].draining = true;
    assert_eq!(c.step(), ["move_unhealthy n0>v1"]);
    assert!(c.replicas.iter().all(|r| r.node_id == "v1"));
    let record = json!({
        "healthy": true, "managed_by": "scheduler", "applied_generation": 1, "desired_generation": 1,
    });
    assert_eq!(Value::Object(c.replicas[0].status.clone()), record);
}

fn all_healthy_but(c: &mut Cluster, node: &str) {
    for index in 0..c.replicas.len() {
        if c.replicas[index].node_id != node {
            report(c, index, RunWord::Healthy, 1);
        }
    }
}

#[test]
fn a_rollout_waits_for_the_health_of_what_it_has_changed() {
    let mut c = cluster(3, json!({"scheduling": {"desired_replicas": 3}}));
    c.step();
    all_healthy(&mut c);
    c.services[0].generation = 2;
    assert_eq!(c.step(), ["queue_rolling_update"]);
    let changed = c.replicas.iter().position(|r| r.status["desired_generation"] == 2).expect("one");
    for word in [RunWord::Starting, RunWord::Running] {
        report(&mut c, changed, word, 2);
        assert!(c.step().is_empty(), "{word:?} is not healthy");
    }
    report(&mut c, changed, RunWord::Healthy, 2);
    assert_eq!(c.step(), ["queue_rolling_update"], "the next one");
    // One of the old generation that is down takes its part of what may be down, and goes first.
    all_healthy(&mut c);
    let old = c.replicas.iter().position(|r| r.status["desired_generation"] == 1).expect("the last");
    report(&mut c, old, RunWord::BackingOff, 1);
    assert_eq!(c.step(), ["queue_rolling_update"]);
    assert_eq!(c.replicas[old].status["desired_generation"], 2);
}

#[test]
fn a_drain_waits_until_what_it_moved_is_healthy() {
    let mut c = cluster(3, json!({"scheduling": {"desired_replicas": 4, "anti_affinity": false}}));
    c.step();
    all_healthy(&mut c);
    let draining = c.replicas[0].node_id.clone();
    c.nodes.iter_mut().find(|n| n.id == draining).expect("it is there").draining = true;
    let here = c.on(draining.as_str());
    assert!(here > 1, "{here}");
    assert_eq!(c.step().len(), 1);
    let plans = c.plan();
    assert!(said(&plans).is_empty(), "the first one is not healthy yet");
    assert!(plans[0].stuck[0].waits, "{:?}", plans[0].stuck);
    all_healthy(&mut c);
    assert_eq!(c.step().len(), 1, "the next one");
}

#[test]
fn what_is_not_well_in_time_is_unhealthy_with_its_reason() {
    let spec = json!({"scheduling": {"desired_replicas": 1}, "rolling_update": {"healthy_deadline_seconds": 60}});
    let mut c = cluster(2, spec);
    c.step();
    c.later_s = 59;
    let plans = c.plan();
    assert_eq!((said(&plans).len(), plans[0].due_in_s), (0, Some(1)), "the scheduler looks again in time");
    c.later_s = 60;
    let mut starting = c.view();
    starting.is_starting = true;
    assert!(said(&plan::all(&starting)).is_empty(), "a server that has just started has missed reports itself");
    let plans = c.plan();
    assert_eq!(said(&plans).len(), 1);
    assert_eq!(plans[0].actions[0].detail, "its node has not reported it for 60 s");
    c.apply(&plans);
    assert_eq!(c.replicas[0].status["state"], "pending", "and it has its time again");
    report(&mut c, 0, RunWord::Crashloop, 1);
    c.later_s = 200;
    assert_eq!(c.plan()[0].actions[0].detail, "its state is crashloop");
}

#[test]
fn a_node_takes_only_what_its_runner_can_run() {
    let mut c = cluster(1, json!({"scheduling": {"desired_replicas": 1}}));
    c.nodes[0].drivers = Some(vec![Driver::Container]);
    let view = c.view();
    assert!(said(&plan::all(&view)).is_empty());
    let filters = &super::super::explain::service(&view, 0).nodes[0].filters;
    assert_eq!(filters[0].filter, "driver");
    assert_eq!(filters[0].reason, "its runner has no driver process, it has container");
    // A record fits everywhere, and so does everything where no runner is reported.
    c.services[0].records_only = true;
    assert_eq!(c.step(), ["scale_up >n0"]);
    assert_eq!(c.replicas[0].status["healthy"], true);
    c.services[0].records_only = false;
    c.node("n1").drivers = Some(vec![Driver::Process]);
    assert_eq!(c.step(), ["move_unhealthy n0>n1"], "once it is to run, it goes where it can");
    assert_eq!(c.replicas[0].status["state"], "pending");
    // A node that gets a runner says nothing of what it had before: that is no sickness.
    let mut c = Cluster::with_nodes(2);
    c.service("a", json!({"command": ["/bin/true"], "scheduling": {"desired_replicas": 1}}));
    c.step();
    c.nodes[0].drivers = Some(vec![Driver::Process]);
    c.later_s = 100_000;
    assert!(c.step().is_empty());
}

#[test]
fn a_node_runs_a_thousand_replicas_at_most() {
    let mut c = cluster(1, json!({"scheduling": {"desired_replicas": 1001, "anti_affinity": false}}));
    assert_eq!(c.step().len(), 1000);
    assert!(warnings(&c.plan()).contains("1 x replicas"), "{}", warnings(&c.plan()));
    c.nodes[0].drivers = None;
    assert!(c.step().contains(&"scale_up >n0".to_string()), "no document has records only");
}
