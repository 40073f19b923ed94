//! `/nodes`.

use crate::node::Node;
use crate::support::Served;
use serde_json::json;

#[test]
fn a_node_is_made_read_changed_and_deleted() {
    let served = Served::new();
    let admin = served.admin();
    let made = admin.post(
        "/nodes",
        &json!({"id": "n1", "name": "First node \u{e9}", "roles": ["worker"], "labels": {"zone": "a"}, "mesh_ip": "10.42.0.1", "status": {"ready": true}, "unknown": 1}),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let node = made.json();
    assert_eq!(node["name"], "First node \u{e9}");
    assert_eq!(node["labels"], json!({"zone": "a"}));
    assert_eq!(node["api_endpoint"], json!(null));
    assert_eq!(node["heartbeat_at"], json!(null));
    assert!(node["created_at"].as_str().unwrap().ends_with('Z'));
    for key in ["lease_expires_at", "identity_fingerprint", "identity_expires_at", "updated_at"] {
        assert!(node.get(key).is_some(), "{key}");
    }

    assert_eq!(admin.get("/nodes/n1").json(), node);
    assert_eq!(admin.get("/nodes").json(), json!([node]));
    for name in ["other", "First node \u{e9}"] {
        assert_eq!(admin.post("/nodes", &json!({"id": "n1", "name": name})).detail(), "Node id already exists");
    }
    assert_eq!(
        admin.post("/nodes", &json!({"id": "n2", "name": "First node \u{e9}"})).detail(),
        "Node name already exists"
    );

    let changed = admin.patch("/nodes/n1", &json!({"labels": {}, "name": null, "api_endpoint": "https://n1"})).json();
    assert_eq!(
        (&changed["labels"], &changed["name"], &changed["api_endpoint"]),
        (&json!({}), &node["name"], &json!("https://n1"))
    );
    assert_eq!(admin.patch("/nodes/n1", &json!({})).status, 200);
    assert_eq!(admin.patch("/nodes/gone", &json!({"name": "x"})).detail(), "Node not found");
    assert_eq!(admin.patch("/nodes/gone", &json!({})).status, 404);

    let names: Vec<String> = admin.events("nodes").iter().map(|e| e["name"].as_str().unwrap().to_string()).collect();
    assert_eq!(names, ["node.update", "node.create"], "an empty PATCH tells of nothing");

    assert_eq!(admin.delete("/nodes/n1").status, 204);
    assert_eq!(admin.get("/nodes/n1").detail(), "Node not found");
    assert_eq!(admin.delete("/nodes/n1").status, 404);
}

#[test]
fn actions_mark_the_status_and_tell_of_it() {
    let served = Served::new();
    let admin = served.admin();
    admin.post("/nodes", &json!({"id": "n1", "name": "n1", "status": {"kept": 1}}));
    for (action, category, event, marks) in [
        ("cordon", "nodes", "node.cordon", json!({"schedulable": false})),
        ("drain", "nodes", "node.drain", json!({"schedulable": false, "draining": true})),
        ("uncordon", "nodes", "node.uncordon", json!({"schedulable": true, "draining": false})),
        ("reboot-marker", "nodes", "node.reboot_marker", json!({})),
        ("rotate-wg-keys", "wireguard", "node.rotate_keys", json!({})),
    ] {
        let answer = admin.send("POST", &format!("/nodes/n1/{action}"), &[], b"");
        assert_eq!(answer.status, 200, "{action}: {}", answer.text());
        let status = answer.json()["status"].clone();
        for (key, value) in marks.as_object().unwrap() {
            assert_eq!(&status[key], value, "{action} {key}");
        }
        assert_eq!(status["kept"], 1);
        let told = &admin.events(category)[0];
        assert_eq!((told["name"].as_str().unwrap(), &told["fields"]["node_id"]), (event, &json!("n1")));
        assert_eq!(admin.send("POST", &format!("/nodes/gone/{action}"), &[], b"").detail(), "Node not found");
    }
    let status = admin.get("/nodes/n1").json()["status"].clone();
    for key in
        ["cordoned_at", "uncordoned_at", "drain_requested_at", "reboot_requested_at", "wg_key_rotation_requested_at"]
    {
        assert!(status[key].as_str().unwrap().ends_with('Z'), "{key}");
    }
}

#[test]
fn every_fault_of_a_node_is_named_at_once() {
    let served = Served::new();
    let admin = served.admin();
    let long = "x".repeat(200);
    let bad = json!({"id": "-x", "name": "", "roles": "worker", "labels": {"k": 1}, "mesh_ip": "10.0.0.1/33", "status": [], "api_endpoint": 5});
    let mut faults = admin.post("/nodes", &bad).faults();
    faults.sort();
    assert_eq!(
        faults,
        [
            r#"dict_type ["body","status"]"#,
            r#"list_type ["body","roles"]"#,
            r#"string_pattern_mismatch ["body","id"]"#,
            r#"string_pattern_mismatch ["body","mesh_ip"]"#,
            r#"string_too_short ["body","name"]"#,
            r#"string_type ["body","api_endpoint"]"#,
            r#"string_type ["body","labels","k"]"#,
        ]
    );
    assert_eq!(admin.post("/nodes", &json!({})).faults(), [r#"missing ["body","id"]"#, r#"missing ["body","name"]"#]);
    let long_labels = json!({"id": "a", "name": long, "labels": {"k": "v".repeat(257), long.clone(): ""}});
    assert_eq!(admin.post("/nodes", &long_labels).faults().len(), 3);
    assert_eq!(admin.get("/nodes/a%20b").faults(), [r#"string_pattern_mismatch ["path","node_id"]"#]);
    let both = admin.patch("/nodes/a%20b", &json!({"name": 5, "roles": 1})).faults();
    assert_eq!(
        both,
        [
            r#"string_pattern_mismatch ["path","node_id"]"#,
            r#"string_type ["body","name"]"#,
            r#"list_type ["body","roles"]"#
        ]
    );
    let fat = json!({"id": "a", "name": "a", "status": {"blob": "x".repeat(70_000)}});
    assert_eq!(admin.post("/nodes", &fat).faults(), [r#"string_too_long ["body","status"]"#]);
    assert_eq!(admin.get("/nodes").json(), json!([]), "nothing of it was kept");
}

#[test]
fn lists_are_paged_and_never_cut_silently() {
    let served = Served::new();
    let admin = served.admin();
    for i in 0..5 {
        admin.post("/nodes", &json!({"id": format!("n{i}"), "name": format!("n{i}")}));
    }
    let mut seen = Vec::new();
    let mut path = "/nodes?limit=2".to_string();
    loop {
        let page = admin.get(&path);
        assert_eq!(page.header("X-Total-Count"), Some("5"));
        seen.extend(page.json().as_array().unwrap().iter().map(|n| n["id"].as_str().unwrap().to_string()));
        let Some(link) = page.header("Link") else { break };
        assert!(link.ends_with("; rel=\"next\""), "{link}");
        path = link[1..link.find('>').unwrap()].to_string();
    }
    assert_eq!(seen, ["n0", "n1", "n2", "n3", "n4"]);
    for bad in ["0", "1001", "x", ""] {
        assert_eq!(admin.get(&format!("/nodes?limit={bad}")).status, 422, "{bad}");
    }
}

#[test]
fn a_node_with_replicas_is_deleted_only_by_force() {
    let served = Served::new();
    let admin = served.admin();
    let mut node = Node::joined(&admin, "n1");
    admin.post("/services", &json!({"id": "s", "name": "s"}));
    assert_eq!(admin.post("/replicas", &json!({"id": "r", "service_id": "s", "node_id": "n1"})).status, 201);
    let refused = admin.delete("/nodes/n1");
    assert_eq!(refused.status, 409);
    assert!(refused.detail().contains("force=true"), "{}", refused.detail());
    assert_eq!(node.heartbeat(&admin, 45, &json!({})).status, 200);
    assert_eq!(admin.delete("/nodes/n1?force=maybe").faults(), [r#"bool_type ["query","force"]"#]);
    assert_eq!(admin.delete("/nodes/n1?force=true").status, 204);
    assert_eq!(node.heartbeat(&admin, 45, &json!({})).status, 401, "its identity is revoked at once");
}
