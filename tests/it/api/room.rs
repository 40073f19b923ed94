//! What replicas may take of a node: what it reports, what an operator says, and what no longer fits.

use crate::node::Node;
use crate::support::{Client, Served};
use serde_json::{Value, json};

fn manual() -> (Served, Client) {
    let served = Served::new();
    let admin = served.admin();
    assert_eq!(admin.put("/cluster-settings/scheduler_mode", &json!({"value": "manual"})).status, 200);
    (served, admin)
}

/// How many replicas of a megabyte the plan finds room for.
fn fit(admin: &Client, resource: &str, each: u64) -> Value {
    let spec = json!({"replicas_desired": 1000, "resources": {resource: each}});
    admin.patch("/services/probe", &json!({ "spec": spec }));
    admin.get("/scheduler/plan/services/probe").json()["actual_replicas"].clone()
}

#[test]
fn what_no_longer_fits_is_in_the_plan() {
    let (_served, admin) = manual();
    let node = |id: &str, cpu: u64| {
        admin.post(
            "/nodes",
            &json!({"id": id, "name": id, "status": {"capacity": {"cpu_millis": cpu, "memory_mb": 4096}}}),
        );
    };
    node("n0", 1000);
    let spec = |cpu: u64, moves: bool| {
        json!({"spec": {"replicas_desired": 2, "resources": {"cpu_millis": cpu},
        "scheduling": {"reschedule_unhealthy": moves}}})
    };
    admin.post("/services", &json!({"id": "s", "name": "s", "spec": spec(400, true)["spec"]}));
    assert_eq!(admin.post("/scheduler/reconcile/services/s", &json!({})).json()["actual_replicas"], 2);
    let moves = || {
        let plan = admin.get("/scheduler/plan/services/s").json();
        let all = plan["actions"].as_array().unwrap().iter().filter(|a| a["action"] == "move_unhealthy").count();
        (all, plan["warnings"].to_string())
    };
    // Raised: no other node, another one, and told to stay.
    admin.patch("/services/s", &spec(700, true));
    let (count, warnings) = moves();
    let told = "stays on n0: its replicas want 1400 CPU millis, and it has 1000 for them";
    assert!(count == 0 && warnings.contains(told) && warnings.contains("no other node can take it"), "{warnings}");
    node("n1", 700);
    assert_eq!(moves(), (1, "[]".to_string()));
    admin.patch("/services/s", &spec(700, false));
    let (count, warnings) = moves();
    assert!(count == 0 && warnings.contains(told) && warnings.contains("reschedule_unhealthy is false"), "{warnings}");
    admin.patch("/services/s", &spec(700, true));
    admin.post("/scheduler/reconcile/services/s", &json!({}));
    assert_eq!(moves(), (0, "[]".to_string()));
    // The node shrinks, by its own word and by an operator's.
    node("n2", 900);
    admin.patch("/nodes/n1", &json!({"status": {"capacity": {"cpu_millis": 600}}}));
    assert_eq!(moves().0, 1);
    admin.patch("/nodes/n1", &json!({"capacity": {"cpu_millis": 700}}));
    assert_eq!(moves().0, 0);
    admin.patch("/nodes/n0", &json!({"reserved": {"cpu_percent": 50}}));
    assert_eq!(moves().0, 1);
    admin.patch("/nodes/n2", &json!({"reserved": {"cpu_millis": 300}}));
    let (count, warnings) = moves();
    assert!(
        count == 0 && warnings.contains("stays on n0: its replicas want 700 CPU millis, and it has 500 for them"),
        "{warnings}"
    );
}

#[test]
fn an_operators_word_on_room_outlives_heartbeats() {
    let (_served, admin) = manual();
    let mut node = Node::joined(&admin, "n");
    admin.post("/services", &json!({"id": "probe", "name": "probe"}));
    let reported =
        json!({"capacity": {"cpu_millis": 4000, "memory_mb": 1000, "system_cpu_millis": 200, "system_memory_mb": 100}});
    let mut beat = || assert_eq!(node.heartbeat(&admin, 60, &reported).status, 200);
    beat();
    assert_eq!(
        (fit(&admin, "memory_mb", 10), fit(&admin, "cpu_millis", 100)),
        (json!(90), json!(38)),
        "the machine's own needs stay free"
    );
    for (said, memory, cpu) in [
        (json!({"reserved": {"memory_percent": 50, "cpu_millis": 1000}}), 50, 30),
        (json!({"capacity": {"memory_mb": 500}}), 25, 30),
        (json!({"reserved": {"memory_mb": 0}}), 50, 38),
        (json!({"name": "renamed", "status": {"mine": 1}}), 50, 1000),
        (json!({"reserved": {}, "capacity": {}}), 90, 38),
    ] {
        assert_eq!(admin.patch("/nodes/n", &said).status, 200);
        if said.get("status").is_none() {
            beat();
        }
        assert_eq!(
            (fit(&admin, "memory_mb", 10), fit(&admin, "cpu_millis", 100)),
            (json!(memory), json!(cpu)),
            "{said}"
        );
        beat();
    }
    assert_eq!(admin.get("/nodes/n").json()["reserved"], Value::Null);
    let faults = admin.patch(
        "/nodes/n",
        &json!({"capacity": {"cpu_millis": -1, "memory": 5}, "reserved": {"cpu_millis": 5, "cpu_percent": 5,
            "memory_percent": 101, "memory_mb": "x"}}),
    );
    assert_eq!(
        faults.faults(),
        [
            r#"string_pattern_mismatch ["body","capacity","memory"]"#,
            r#"greater_than_equal ["body","capacity","cpu_millis"]"#,
            r#"int_parsing ["body","reserved","memory_mb"]"#,
            r#"less_than_equal ["body","reserved","memory_percent"]"#,
            r#"string_pattern_mismatch ["body","reserved","cpu_percent"]"#,
        ]
    );
    assert_eq!(admin.patch("/nodes/n", &json!({"reserved": 5})).faults(), [r#"dict_type ["body","reserved"]"#]);
}

#[test]
fn a_larger_node_gets_more_by_its_heartbeat() {
    let (_served, admin) = manual();
    for (id, cpu, memory) in [("pi", 1000, 430), ("server", 16_000, 64_000)] {
        let mut node = Node::joined(&admin, id);
        let reported = json!({"capacity": {"cpu_millis": cpu, "memory_mb": memory}});
        assert_eq!(node.heartbeat(&admin, 60, &reported).status, 200);
    }
    let spec = json!({"replicas_desired": 10, "resources": {"cpu_millis": 100, "memory_mb": 40}});
    admin.post("/services", &json!({"id": "s", "name": "s", "spec": spec}));
    let done = admin.post("/scheduler/reconcile/services/s", &json!({})).json();
    assert_eq!(done["actual_replicas"], 10);
    let on = |id: &str| admin.get(&format!("/replicas?node_id={id}")).json().as_array().unwrap().len();
    assert!(on("pi") >= 1 && on("server") >= 8, "{} and {}", on("pi"), on("server"));
    let explained = admin.get("/scheduler/explain/services/s").json();
    assert_eq!(explained["nodes"][0]["node_id"], "server", "{explained}");
    assert_eq!(
        admin.get("/scheduler/rebalance").json()["results"],
        json!([]),
        "an even count is not worth a full node"
    );
}
