//! Limits that settings give: nodes, revisions and answers that are kept, and nodes that are forgotten.

use crate::node::{Node, token};
use crate::support::{Client, Served, until};
use serde_json::{Value, json};

fn set(admin: &Client, key: &str, value: &str) {
    let answer = admin.put(&format!("/cluster-settings/{key}"), &json!({ "value": value }));
    assert_eq!(answer.status, 200, "{key}: {}", answer.text());
}

#[test]
fn nodes_are_limited_and_the_doctor_tells_before() {
    let served = Served::new();
    let admin = served.admin();
    set(&admin, "nodes_max", "3");
    for id in ["n1", "n2"] {
        assert_eq!(admin.post("/nodes", &json!({"id": id, "name": id})).status, 201);
    }
    let unused = token(&admin, "worker", None);
    Node::joined(&admin, "n3");
    let refused = admin.post("/nodes", &json!({"id": "n4", "name": "n4"}));
    assert_eq!(refused.status, 409);
    assert!(refused.detail().contains("nodes_max"), "{}", refused.detail());
    let mut late = Node::new("n5");
    let refused = late.join(&admin, &unused, json!({}));
    assert_eq!(refused.status, 409, "{}", refused.text());
    // A known node joins whatever the limit is, and the token was not used up.
    assert_eq!(Node::new("n1").join(&admin, &unused, json!({})).status, 200);
    set(&admin, "nodes_max", "4");
    assert_eq!(admin.post("/nodes", &json!({"id": "n4", "name": "n4"})).status, 201);

    let bundle = admin.post("/support-bundles", &json!({"id": "b"}));
    assert_eq!(bundle.status, 201);
    until("it is made", || (admin.get("/support-bundles/b").json()["status"] == "completed").then_some(()));
    let all = crate::bundles::unpacked(&admin.get("/support-bundles/b/download").body);
    let findings: Value = serde_json::from_str(&all["doctor.json"]).unwrap();
    let near = findings.as_array().unwrap().iter().find(|f| f["check"] == "limits").unwrap();
    assert_eq!((&near["level"], &near["seen"]), (&json!("warn"), &json!("there are 4 nodes of 4 (nodes_max)")));
}

#[test]
fn a_dead_node_is_forgotten_when_the_operator_wants_it_and_nothing_is_placed_there() {
    let mut served = Served::new();
    let admin = served.admin();
    for id in ["gone", "with-replica", "with-router", "young", "living"] {
        Node::joined(&admin, id);
    }
    admin.post("/nodes", &json!({"id": "never-came", "name": "never-came"}));
    admin.post("/services", &json!({"id": "web", "name": "web"}));
    admin.put("/cluster-settings/scheduler_mode", &json!({"value": "paused"}));
    let replica = admin.post("/replicas", &json!({"id": "r1", "service_id": "web", "node_id": "with-replica"}));
    assert_eq!(replica.status, 201, "{}", replica.text());
    let route =
        json!({"id": "a1", "node_id": "with-router", "primary_router_id": "living", "secondary_router_id": "young"});
    assert_eq!(admin.post("/router-assignments", &route).status, 201);
    // Forty days go by, in the database of a server that is stopped.
    let database = served.dir.join("app.db");
    served.stopped(|| {
        let database = rusqlite::Connection::open(&database).unwrap();
        let dead = "UPDATE leases SET state = 2, heartbeat_at_s = heartbeat_at_s - ?1 * 86400 WHERE node_seq = (SELECT \
            seq FROM nodes WHERE id = ?2)";
        for (id, days) in [("gone", 40), ("with-replica", 40), ("with-router", 40), ("young", 20)] {
            assert_eq!(database.execute(dead, rusqlite::params![days, id]).unwrap(), 1);
        }
    });
    let admin = served.admin();
    assert_eq!(admin.get("/nodes/gone").status, 200, "off by default");
    set(&admin, "node_forget_after_days", "30");
    until("it is forgotten", || (admin.get("/nodes/gone").status == 404).then_some(()));
    for id in ["with-replica", "with-router", "young", "living", "never-came"] {
        assert_eq!(admin.get(&format!("/nodes/{id}")).status, 200, "{id}");
    }
    let told = admin.events("nodes").into_iter().find(|e| e["name"] == "node.forget").unwrap();
    assert_eq!((&told["fields"]["node_id"], &told["actor"]), (&json!("gone"), &json!("system")));
}

#[test]
fn revisions_are_limited_by_their_bytes_and_the_previous_one_stays() {
    let served = Served::new();
    let admin = served.admin();
    set(&admin, "service_revisions_bytes_max", "262144");
    let spec = |n: usize| json!({"spec": {"note": format!("{n:060000}")}});
    assert_eq!(admin.post("/services", &json!({"id": "web", "name": "web", "spec": spec(1)["spec"]})).status, 201);
    for n in 2..=9 {
        assert_eq!(admin.patch("/services/web", &spec(n)).status, 200);
    }
    let kept: Vec<i64> = admin
        .get("/services/web/revisions")
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["generation"].as_i64().unwrap())
        .collect();
    assert_eq!(kept, [9, 8, 7, 6], "four of 60,000 bytes fit into 262,144");
    let back = admin.post("/services/web/rollback", &json!({}));
    assert_eq!((back.status, &back.json()["spec"]["note"]), (200, &spec(8)["spec"]["note"]));
}

#[test]
fn answers_for_idempotency_keys_are_limited_and_none_is_forgotten_early() {
    let served = Served::new();
    let admin = served.admin();
    set(&admin, "idempotency_bytes_max", "1048576");
    let create = |n: usize| {
        let body =
            json!({"id": format!("s{n}"), "name": format!("s{n}"), "spec": {"note": "x".repeat(60_000)}}).to_string();
        admin.send(
            "POST",
            "/services",
            &[("Idempotency-Key", &format!("k{n}")), ("Content-Type", "application/json")],
            body.as_bytes(),
        )
    };
    let refused = (0..30).find(|n| create(*n).status != 201).expect("one is refused");
    assert_eq!(refused, 17, "seventeen of 60,000 bytes and a little fit into a MiB");
    let answer = create(refused);
    assert_eq!((answer.status, answer.header("Retry-After")), (429, Some("60")));
    assert!(answer.detail().contains("idempotency_bytes_max"), "{}", answer.detail());
    assert_eq!(admin.get(&format!("/services/s{refused}")).status, 404, "nothing is half made");
    assert_eq!(
        (create(0).status, create(0).header("Idempotency-Replayed").is_some()),
        (201, true),
        "what was kept is given again"
    );
    assert_eq!(admin.post("/services", &json!({"id": "x", "name": "x"})).status, 201, "without a key it goes on");
}
