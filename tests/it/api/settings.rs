//! `/cluster-settings` and the write guard.

use crate::node::{Node, token};
use crate::support::Served;
use serde_json::json;

#[test]
fn settings_are_set_and_read() {
    let served = Served::new();
    let admin = served.admin();
    let set = admin.put("/cluster-settings/motd", &json!({"value": "hello"}));
    assert_eq!((set.status, &set.json()["key"], &set.json()["value"]), (200, &json!("motd"), &json!("hello")));
    assert_eq!(admin.get("/cluster-settings/motd").json(), set.json());
    assert_eq!(admin.get("/cluster-settings/none").detail(), "Cluster setting not found");
    let keys: Vec<String> = admin
        .get("/cluster-settings")
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["key"].as_str().unwrap().to_string())
        .collect();
    assert!(keys.is_sorted() && keys.contains(&"motd".to_string()), "{keys:?}");
    assert_eq!(admin.put("/cluster-settings/motd", &json!({"value": 5})).faults(), [r#"string_type ["body","value"]"#]);
    assert_eq!(
        admin.put("/cluster-settings/motd", &json!({"value": "x".repeat(4097)})).faults(),
        [r#"string_too_long ["body","value"]"#]
    );
    assert_eq!(admin.put("/cluster-settings/motd", &json!({"value": "x".repeat(4096)})).status, 200);
    assert_eq!(admin.put("/cluster-settings/a%20b", &json!({"value": ""})).status, 422);
}

#[test]
fn secrets_are_not_settings() {
    let served = Served::new();
    let admin = served.admin();
    for key in ["auth_password_hash", "AUTH_SECRET_KEY", "cluster_signing_key"] {
        assert_eq!(admin.put(&format!("/cluster-settings/{key}"), &json!({"value": "x"})).status, 403, "{key}");
        assert_eq!(admin.get(&format!("/cluster-settings/{key}")).status, 404, "{key}");
    }
    assert!(!admin.get("/cluster-settings").text().contains("argon2"));
}

#[test]
fn the_write_guard_stops_writes_and_nothing_else() {
    let served = Served::new();
    let admin = served.admin();
    let mut node = Node::joined(&admin, "n1");
    let fresh = token(&admin, "worker", None);
    for word in ["down", "UNAVAILABLE", "Stale"] {
        assert_eq!(admin.put("/cluster-settings/etcd_status", &json!({"value": word})).status, 200);
        for (method, path, body) in [
            ("POST", "/nodes", json!({"id": "n2", "name": "n2"})),
            ("PATCH", "/nodes/n1", json!({"name": "x"})),
            ("PATCH", "/nodes/n1", json!({})),
            ("POST", "/nodes/n1/cordon", json!({})),
            ("DELETE", "/nodes/n1", json!({})),
            ("POST", "/cluster/bootstrap", json!({})),
            ("POST", "/cluster/join-tokens", json!({"role": "worker"})),
            ("DELETE", "/cluster/join-tokens/jt-1", json!({})),
            ("POST", "/events", json!({"category": "c", "name": "n", "level": "info"})),
        ] {
            let answer = admin.send(method, path, &[], body.to_string().as_bytes());
            assert_eq!(answer.status, 503, "{method} {path}");
            assert_eq!(answer.detail(), "Cluster writes are disabled while etcd is unavailable or stale.");
        }
        assert_eq!(Node::new("n3").join(&admin, &fresh, json!({})).status, 503);
        assert_eq!(
            node.heartbeat(&admin, 45, &json!({"word": word})).status,
            200,
            "leases are renewed under the guard"
        );
        assert_eq!(admin.get("/nodes/n1").json()["status"]["word"], word);
        assert_eq!(served.admin().get("/nodes").status, 200, "sign-in and reads go on");
    }
    admin.put("/cluster-settings/etcd_status", &json!({"value": "healthy"}));
    assert_eq!(admin.post("/nodes", &json!({"id": "n2", "name": "n2"})).status, 201);
    assert_eq!(Node::new("n3").join(&admin, &fresh, json!({})).status, 200, "the guard did not use the token up");
}
