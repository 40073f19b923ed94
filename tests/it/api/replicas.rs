//! `/replicas`, `/endpoints`, `/router-assignments`, snapshots and WireGuard status.

use crate::support::{Client, Served};
use serde_json::{Value, json};

fn with_replica(admin: &Client) {
    for id in ["n1", "n2", "n3"] {
        admin.post("/nodes", &json!({"id": id, "name": id}));
    }
    admin.post("/services", &json!({"id": "s", "name": "s"}));
    let made = admin.post("/replicas", &json!({"id": "r", "service_id": "s", "node_id": "n1"}));
    assert_eq!(made.status, 201, "{}", made.text());
}

fn event(admin: &Client, category: &str) -> Value {
    let newest = &admin.events(category)[0];
    json!([newest["name"], newest["fields"]])
}

#[test]
fn a_replica_lives_as_the_contract_says() {
    let served = Served::new();
    let admin = served.admin();
    admin.put("/cluster-settings/scheduler_mode", &json!({"value": "manual"}));
    with_replica(&admin);
    let replica = admin.get("/replicas/r").json();
    assert_eq!(
        (&replica["service_id"], &replica["node_id"], &replica["desired_state"], &replica["status"]),
        (&json!("s"), &json!("n1"), &json!("running"), &json!({}))
    );
    for (body, status, detail) in [
        (json!({"id": "r", "service_id": "s", "node_id": "n1"}), 409, "Replica id already exists"),
        (json!({"id": "x", "service_id": "none", "node_id": "n1"}), 404, "Service not found"),
        (json!({"id": "x", "service_id": "s", "node_id": "none"}), 404, "Node not found"),
    ] {
        let answer = admin.post("/replicas", &body);
        assert_eq!((answer.status, answer.detail().as_str()), (status, detail));
    }
    assert_eq!(
        admin.post("/replicas", &json!({"id": "", "status": [], "desired_state": 1})).faults(),
        [
            r#"string_too_short ["body","id"]"#,
            r#"missing ["body","service_id"]"#,
            r#"missing ["body","node_id"]"#,
            r#"string_type ["body","desired_state"]"#,
            r#"dict_type ["body","status"]"#,
        ]
    );
    let patched = admin
        .patch("/replicas/r", &json!({"desired_state": "stopped", "status": {"healthy": false, "state": "failed"}}))
        .json();
    assert_eq!(
        (&patched["desired_state"], &patched["status"]),
        (&json!("stopped"), &json!({"healthy": false, "state": "failed"}))
    );
    let replaced = admin.patch("/replicas/r", &json!({"status": {"state": "Failed", "a": 1}})).json();
    assert_eq!(replaced["status"], json!({"state": "Failed", "a": 1}), "a status replaces the one before");

    assert_eq!(admin.post("/replicas/r/move", &json!({"target_node_id": "none"})).detail(), "Target node not found");
    assert_eq!(admin.post("/replicas/r/move", &json!({})).faults(), [r#"missing ["body","target_node_id"]"#]);
    let moved = admin.post("/replicas/r/move", &json!({"target_node_id": "n2"})).json();
    assert_eq!(
        (&moved["node_id"], &moved["status"]),
        (&json!("n2"), &json!({"a": 1, "healthy": true})),
        "placing clears the sick marks"
    );
    assert_eq!(moved["placement"]["reason"], "moved by admin");
    let told = event(&admin, "replicas");
    assert_eq!(
        (&told[0], &told[1]["replica_id"], &told[1]["target_node_id"]),
        (&json!("replica.move"), &json!("r"), &json!("n2"))
    );

    let at = |action: &str, key: &str| {
        let status = admin.send("POST", &format!("/replicas/r/{action}"), &[], b"").json()["status"].clone();
        assert!(status[key].as_str().unwrap().ends_with('Z'), "{status}");
    };
    at("restart", "last_restart_at");
    at("snapshot", "last_snapshot_at");
    at("restore", "last_restore_at");
    let restored = admin.post("/replicas/r/restore", &json!({"snapshot_id": "snap-1"})).json();
    assert_eq!(restored["status"]["last_restore_snapshot_id"], "snap-1");
    assert_eq!(event(&admin, "replicas"), json!(["replica.restore", {"replica_id": "r", "snapshot_id": "snap-1"}]));

    assert_eq!(admin.delete("/replicas/r").status, 204);
    assert_eq!(event(&admin, "replicas"), json!(["replica.delete", {"replica_id": "r", "service_id": "s"}]));
    for (method, path) in
        [("GET", ""), ("DELETE", ""), ("POST", "/restart"), ("POST", "/snapshot"), ("POST", "/restore")]
    {
        let answer = admin.send(method, &format!("/replicas/r{path}"), &[], b"");
        assert_eq!((answer.status, answer.detail().as_str()), (404, "Replica not found"), "{method} {path}");
    }
}

#[test]
fn replicas_are_listed_by_service_and_by_node() {
    let served = Served::new();
    let admin = served.admin();
    with_replica(&admin);
    admin.post("/services", &json!({"id": "t", "name": "t"}));
    for (id, service, node) in [("a", "t", "n1"), ("b", "t", "n2"), ("c", "s", "n2")] {
        admin.post("/replicas", &json!({"id": id, "service_id": service, "node_id": node}));
    }
    for (query, want) in [
        ("", "a b c r"),
        ("?service_id=t", "a b"),
        ("?node_id=n2", "b c"),
        ("?service_id=s&node_id=n1", "r"),
        ("?service_id=none", ""),
        ("?service_id=t&limit=1", "a"),
        ("?node_id=n2&after=b", "c"),
    ] {
        let page = admin.get(&format!("/replicas{query}"));
        let ids: Vec<_> =
            page.json().as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_string()).collect();
        assert_eq!(ids.join(" "), want, "{query}");
    }
    assert_eq!(admin.get("/replicas?service_id=t&limit=1").header("X-Total-Count"), Some("2"));
    assert_eq!(admin.get("/replicas?node_id=a%20b").faults(), [r#"string_pattern_mismatch ["query","node_id"]"#]);
}

#[test]
fn endpoints_go_with_their_replica() {
    let served = Served::new();
    let admin = served.admin();
    with_replica(&admin);
    let made = admin.post("/endpoints", &json!({"id": "e", "replica_id": "r", "address": "10.0.0.1", "port": 80}));
    assert_eq!(
        (made.status, &made.json()["healthy"], &made.json()["last_checked_at"]),
        (201, &json!(true), &Value::Null)
    );
    assert_eq!(
        admin.post("/endpoints", &json!({"id": "e", "replica_id": "r", "address": "h", "port": 1})).detail(),
        "Endpoint id already exists"
    );
    assert_eq!(
        admin.post("/endpoints", &json!({"id": "f", "replica_id": "x", "address": "h", "port": 1})).detail(),
        "Replica not found"
    );
    assert_eq!(
        admin
            .post("/endpoints", &json!({"id": "f", "replica_id": "r", "address": "", "port": 65536, "healthy": "yes"}))
            .faults(),
        [
            r#"string_too_short ["body","address"]"#,
            r#"less_than_equal ["body","port"]"#,
            r#"bool_type ["body","healthy"]"#
        ]
    );
    let checked = admin.patch("/endpoints/e", &json!({"healthy": false})).json();
    assert_eq!(checked["healthy"], false);
    assert!(checked["last_checked_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(event(&admin, "endpoints"), json!(["endpoint.update", {"endpoint_id": "e", "healthy": false}]));
    admin.post("/endpoints", &json!({"id": "f", "replica_id": "r", "address": "h", "port": 1}));
    assert_eq!(admin.get("/endpoints?replica_id=r").json().as_array().unwrap().len(), 2);
    assert_eq!(admin.delete("/endpoints/f").status, 204);
    assert_eq!(admin.get("/endpoints/f").detail(), "Endpoint not found");
    admin.delete("/replicas/r");
    assert_eq!(admin.get("/endpoints").json(), json!([]));
}

#[test]
fn router_assignments_name_nodes_that_are_there() {
    let served = Served::new();
    let admin = served.admin();
    with_replica(&admin);
    let body = |id: &str, node: &str, first: &str, second: &str| {
        json!({"id": id, "node_id": node,
        "primary_router_id": first, "secondary_router_id": second})
    };
    assert_eq!(admin.post("/router-assignments", &body("a", "n1", "n2", "n3")).status, 201);
    assert_eq!(
        event(&admin, "router_assignments"),
        json!(["router_assignment.create", {"assignment_id": "a", "node_id": "n1"}])
    );
    for (body, status, detail) in [
        (body("a", "n1", "n2", "n3"), 409, "Router assignment id already exists"),
        (body("b", "n1", "n2", "n2"), 400, "Primary and secondary router must differ"),
        (body("b", "x", "n2", "n3"), 404, "Node not found: x"),
        (body("b", "n1", "x", "n3"), 404, "Node not found: x"),
        (body("b", "n1", "n2", "x"), 404, "Node not found: x"),
    ] {
        let answer = admin.post("/router-assignments", &body);
        assert_eq!((answer.status, answer.detail().as_str()), (status, detail));
    }
    assert_eq!(admin.get("/router-assignments/b").detail(), "Router assignment not found");
    assert_eq!(admin.get("/router-assignments?node_id=n1").json()[0], admin.get("/router-assignments/a").json());
    assert_eq!(admin.delete("/nodes/n2").status, 409, "it is somebody's router");
    assert_eq!(admin.delete("/nodes/n2?force=true").status, 204);
    assert_eq!(admin.get("/router-assignments").json(), json!([]));
    admin.post("/router-assignments", &body("c", "n1", "n3", "n1"));
    assert_eq!(admin.delete("/router-assignments/c").status, 204);
}

#[test]
fn snapshots_are_asked_for_and_reported_on() {
    let served = Served::new();
    let admin = served.admin();
    {
        let (path, what, result) = ("/etcd/snapshots", "Snapshot", "location");
        let (category, name, id) = ("etcd", "snapshot", "snapshot_id");
        let made = admin.post(path, &json!({"id": "one", "requested_by": "me"}));
        assert_eq!((made.status, &made.json()["status"], &made.json()[result]), (201, &json!("pending"), &Value::Null));
        assert_eq!(event(&admin, category), json!([format!("{name}.requested"), {id: "one", "requested_by": "me"}]));
        assert_eq!(admin.post(path, &json!({"id": "one"})).detail(), format!("{what} id already exists"));
        let unnamed = admin.send("POST", path, &[], b"").json();
        let ids: Vec<_> = admin.get(path).json().as_array().unwrap().iter().map(|r| r["id"].clone()).collect();
        assert_eq!(ids, [unnamed["id"].clone(), json!("one")], "newest first");
        assert_eq!(admin.get(&format!("{path}?limit=1")).header("X-Total-Count"), Some("2"));
        assert_eq!(admin.delete(&format!("{path}/one")).status, 409, "it is not finished");
        let report = |body: Value| admin.patch(&format!("{path}/one"), &body);
        assert_eq!(report(json!({"status": "lost", result: 5})).faults().len(), 2);
        assert_eq!(report(json!({"status": "running"})).json()["status"], "running");
        let done = report(json!({"status": "completed", result: "/var/x"})).json();
        assert_eq!((&done["status"], &done[result]), (&json!("completed"), &json!("/var/x")));
        assert_eq!(report(json!({"status": "failed"})).status, 409, "what is finished stays so");
        assert_eq!(admin.delete(&format!("{path}/one")).status, 204);
        assert_eq!(admin.get(&format!("{path}/one")).detail(), format!("{what} not found"));
        assert_eq!(admin.post(path, &json!({"id": "a b", "requested_by": 5})).faults().len(), 2);
    }
}

#[test]
fn wireguard_status_is_what_nodes_report() {
    let served = Served::new();
    let admin = served.admin();
    let status = json!({"wg_primary_tunnel": "up", "wg_active_route": "primary"});
    admin.post("/nodes", &json!({"id": "n1", "name": "n1", "status": status}));
    admin.post("/nodes", &json!({"id": "n2", "name": "n2"}));
    let line = |id: &str, primary: Value, active: Value| {
        json!({"node_id": id, "primary_tunnel": primary,
        "secondary_tunnel": null, "active_route": active, "failover_state": null})
    };
    let want = json!([line("n1", json!("up"), json!("primary")), line("n2", Value::Null, Value::Null)]);
    assert_eq!(admin.get("/wireguard/status").json(), want);
    let page = admin.get("/wireguard/status?limit=1");
    assert_eq!((page.header("X-Total-Count"), page.header("Link").is_some()), (Some("2"), true));
}

#[test]
fn nodes_are_filtered_by_role_label_and_lease() {
    let served = Served::new();
    let admin = served.admin();
    admin.post(
        "/nodes",
        &json!({"id": "a", "name": "a", "roles": ["core", "worker"], "labels": {"zone": "x", "disk": "ssd"}}),
    );
    admin.post("/nodes", &json!({"id": "b", "name": "b", "roles": ["worker"], "labels": {"zone": "x"}}));
    crate::node::Node::joined(&admin, "c");
    for (query, want) in [
        ("role=worker", "a b c"),
        ("role=core", "a"),
        ("label=zone=x", "a b"),
        ("label=zone=x&label=disk=ssd", "a"),
        ("label=zone=", ""),
        ("lease_state=alive", "c"),
        ("lease_state=unknown", "a b"),
        ("lease_state=dead", ""),
        ("role=worker&lease_state=unknown&label=zone=x&limit=1", "a"),
    ] {
        let page = admin.get(&format!("/nodes?{query}"));
        let ids: Vec<_> =
            page.json().as_array().unwrap().iter().map(|n| n["id"].as_str().unwrap().to_string()).collect();
        assert_eq!(ids.join(" "), want, "{query}");
        if !query.contains("limit") {
            assert_eq!(page.header("X-Total-Count").unwrap(), ids.len().to_string(), "{query}");
        }
    }
    assert_eq!(
        admin.get("/nodes?lease_state=lively&label=x").faults(),
        [r#"string_pattern_mismatch ["query","lease_state"]"#, r#"string_pattern_mismatch ["query","label"]"#]
    );
}

#[test]
fn ids_that_an_older_version_stored_in_a_placement_do_not_stop_the_scheduler() {
    let served = Served::new();
    let admin = served.admin();
    admin.put("/cluster-settings/scheduler_mode", &json!({"value": "manual"}));
    with_replica(&admin);
    for id in ["odd", "damaged"] {
        assert_eq!(admin.post("/replicas", &json!({"id": id, "service_id": "s", "node_id": "n2"})).status, 201);
    }
    let database = rusqlite::Connection::open(&served.config.database_path).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    let at = "2026-01-02T03:04:05.000006Z";
    let odd = json!({"action": "move_unhealthy", "reason": "r", "at": at, "from_node_id": "no id", "failures": 1,
        "failed_on": ["", "n1", "/"]});
    let damaged = json!({"action": "move", "reason": "r", "at": at, "failed_on": [5]});
    for (id, placement) in [("odd", &odd), ("damaged", &damaged)] {
        let changed =
            database.execute("UPDATE replicas SET placement = ?1 WHERE id = ?2", [&placement.to_string(), id]).unwrap();
        assert_eq!(changed, 1);
    }
    assert_eq!(admin.get("/replicas/odd").json()["placement"], odd, "as it was stored");
    assert_eq!(admin.get("/replicas/damaged").json()["placement"], Value::Null);
    assert_eq!(admin.patch("/services/s", &json!({"spec": {"replicas_desired": 4}})).status, 200);
    let plan = admin.get("/scheduler/plan/services/s");
    assert_eq!((plan.status, &plan.json()["desired_replicas"]), (200, &json!(4)), "{}", plan.text());
    let done = admin.post("/scheduler/reconcile/all", &json!({}));
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(admin.get("/replicas").json().as_array().unwrap().len(), 4);
}
