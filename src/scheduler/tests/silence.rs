//! Nodes that fell silent, and those that may have.

use super::*;

#[test]
fn a_suspect_node_keeps_its_replicas_and_gets_no_new_ones() {
    let mut c = Cluster::with_nodes(2);
    c.service("a", json!({"scheduling": {"desired_replicas": 2}}));
    assert_eq!(c.step(), ["scale_up >n0", "scale_up >n1"]);
    c.nodes[0].suspect = true;
    assert_eq!(c.step(), [""; 0]);
    c.service("b", json!({"scheduling": {"desired_replicas": 2}}));
    assert_eq!(c.step(), ["scale_up >n1", "scale_up >n1"]);
    let pins = json!([{"replica_id": "p", "node_id": "n0"}]);
    c.service("c", json!({"scheduling": {"desired_replicas": 1}, "placement": {"pinned_replicas": pins}}));
    assert_eq!(c.step(), [""; 0], "a pin waits, too");
    c.nodes[0].suspect = false;
    assert_eq!(c.step(), ["scale_up >n0"]);
}

#[test]
fn sick_and_lost_replicas_move_and_stale_nodes_keep_theirs() {
    let mut c = Cluster::with_nodes(5);
    c.service("a", json!({"scheduling": {"lost_after_seconds": 30}}));
    for (i, status) in
        [json!({"healthy": false}), json!({"state": "CrashLoop"}), json!({}), json!({"healthy": "false"})]
            .into_iter()
            .enumerate()
    {
        let mut status = object(status);
        status.insert("applied_generation".into(), 1.into());
        c.replica(&format!("r{i}"), "a", &format!("n{i}"), Value::Object(status));
    }
    c.replica("r4", "a", "gone", json!({"applied_generation": 1}));
    c.nodes[2].lease = LeaseState::Stale;
    assert_eq!(c.step(), ["move_unhealthy gone>n4", "move_unhealthy n0>n1", "move_unhealthy n1>n0"]);
    assert_eq!(c.step(), [""; 0], "placement clears the marks");
    c.nodes[2].lease = LeaseState::Dead;
    c.nodes[2].dead_for_s = 10;
    assert_eq!(c.step(), [""; 0]);
    assert_eq!(c.plan()[0].due_in_s, Some(20));
    c.nodes[2].dead_for_s = 30;
    c.grace = true;
    assert_eq!(c.step(), [""; 0], "nodes may come back after a start");
    c.grace = false;
    c.brake = Some("x".into());
    assert_eq!(c.step(), [""; 0]);
    assert!(warnings(&c.plan()).contains("Nothing is moved: x"));
    c.brake = None;
    assert_eq!(c.step().len(), 1);
    assert_eq!(c.on("n2"), 0);
}
