//! Placement by room: replicas that no longer fit, and nodes with more room.

use super::*;

fn sized(sizes: &[(u64, u64)]) -> Cluster {
    let mut c = Cluster::with_nodes(sizes.len());
    for (node, (cpu, memory)) in c.nodes.iter_mut().zip(sizes) {
        (node.cpu_millis, node.memory_mb) = (Some(*cpu), Some(*memory));
    }
    c
}

fn applied() -> Value {
    json!({"applied_generation": 1})
}

#[test]
fn what_no_longer_fits_moves() {
    for (resource, wanted) in [("cpu_millis", "CPU millis"), ("memory_mb", "MB of memory")] {
        let mut c = sized(&[(1000, 1000), (1000, 1000)]);
        c.service("a", json!({"resources": {resource: 400}}));
        c.replica("r0", "a", "n0", applied());
        c.replica("r1", "a", "n0", applied());
        assert_eq!(c.step(), [""; 0]);
        c.services[0].spec = object(json!({"resources": {resource: 600}}));
        assert_eq!(c.step(), ["move_unhealthy n0>n1"], "the spec is raised");
        assert_eq!(c.step(), [""; 0], "one is enough");
        (c.nodes[1].cpu_millis, c.nodes[1].memory_mb) = (Some(500), Some(500));
        assert_eq!(c.step(), [""; 0]);
        let warned = warnings(&c.plan());
        assert!(
            warned.contains(&format!(
                "r0 stays on n1: its replicas want 600 {wanted}, and it has 500 for them; no other node can take it"
            )),
            "{warned}"
        );
        c.services[0].spec =
            object(json!({"resources": {resource: 600}, "scheduling": {"reschedule_unhealthy": false}}));
        c.node("n2");
        assert_eq!(c.step(), [""; 0]);
        let warned = warnings(&c.plan());
        assert!(warned.contains("500 for them; spec.scheduling.reschedule_unhealthy is false"), "{warned}");
        c.services[0].spec = object(json!({"resources": {resource: 600}}));
        assert_eq!(c.step(), ["move_unhealthy n1>n2"], "the node has shrunk");
    }
}

#[test]
fn replicas_that_stay_give_one_warning_per_node() {
    let mut c = sized(&[(1000, 1000), (1000, 1000)]);
    c.service("every", json!({"resources": {"cpu_millis": 1200}, "scheduling": {"mode": "per_node"}}));
    c.replica("e", "every", "n0", applied());
    let pins = json!({"pinned_replicas": [{"replica_id": "p", "node_id": "n1"}]});
    c.service("pinned", json!({"resources": {"memory_mb": 1200}, "replicas_desired": 1, "placement": pins}));
    c.replica("p", "pinned", "n1", applied());
    let plans = c.plan();
    assert!(plans.iter().all(|p| p.actions.is_empty()), "{plans:?}");
    let warned = warnings(&plans);
    assert!(
        warned.contains(
            "e stays on n0: its replicas want 1200 CPU millis, and it has 1000 for them; one runs on every \
            eligible node"
        ),
        "{warned}"
    );
    assert!(
        warned.contains(
            "p stays on n1: it is pinned there; its replicas want 1200 MB of memory, and it has 1000 for them"
        ),
        "{warned}"
    );
    c.services[0].spec =
        object(json!({"resources": {"cpu_millis": 400}, "scheduling": {"reschedule_unhealthy": false}}));
    for i in 0..5 {
        c.replica(&format!("x{i}"), "every", "n0", applied());
    }
    assert_eq!(warnings(&c.plan()).matches("CPU millis").count(), 1);
}

#[test]
fn a_larger_node_gets_more() {
    // A Pi Zero, a server, and a node that does not report its size.
    for anti_affinity in [true, false] {
        let mut c = sized(&[(1000, 430), (16_000, 64_000)]);
        c.service(
            "a",
            json!({"scheduling": {"desired_replicas": 10, "anti_affinity": anti_affinity},
            "resources": {"cpu_millis": 100, "memory_mb": 40}}),
        );
        assert_eq!(c.step().len(), 10);
        assert!(c.on("n1") >= 9, "{} on the server", c.on("n1"));
        c.node("n2");
        c.services[0].spec["scheduling"]["desired_replicas"] = 20.into();
        assert_eq!(c.step().len(), 10);
        assert!(
            c.on("n1") >= 16 && c.on("n2") >= 1 && c.on("n2") <= 2,
            "{} on the server, {} on the unknown",
            c.on("n1"),
            c.on("n2")
        );
        assert_eq!(c.step(), [""; 0]);
    }
}

#[test]
fn services_without_resources_are_spread_by_count() {
    let mut c = sized(&[(1000, 430), (16_000, 64_000)]);
    c.service("a", json!({"scheduling": {"desired_replicas": 10}}));
    c.step();
    assert_eq!((c.on("n0"), c.on("n1")), (5, 5));
}

#[test]
fn equal_nodes_share_equally() {
    let mut c = sized(&[(4000, 4000), (4000, 4000), (4000, 4000)]);
    for s in ["a", "b"] {
        c.service(s, json!({"scheduling": {"desired_replicas": 6}, "resources": {"cpu_millis": 100}}));
    }
    c.step();
    assert_eq!([c.on("n0"), c.on("n1"), c.on("n2")], [4, 4, 4]);
}

#[test]
fn rebalancing_does_not_fill_a_small_node() {
    let mut c = sized(&[(1000, 430), (16_000, 64_000)]);
    c.service("a", json!({"scheduling": {"desired_replicas": 10}, "resources": {"cpu_millis": 100, "memory_mb": 40}}));
    c.step();
    assert!(rebalance::plan(&c.view(), 20).is_empty(), "{:?}", rebalance::plan(&c.view(), 20));
}
