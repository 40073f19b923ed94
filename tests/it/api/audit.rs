//! Every event says who caused it.

use crate::node::Node;
use crate::support::{Served, until_within};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn every_event_says_who_caused_it_from_where_and_by_which_request() {
    let served = Served::proxied(|_| ());
    let (admin, token) = (served.user("alice", "admin"), served.api_token("operator"));
    let token_id = token.get("/auth/me").json()["credential_id"].as_str().unwrap().to_string();
    let mut node = Node::joined(&admin, "n1");
    node.heartbeat(&admin, 45, &json!({"ready": true}));
    admin.send("POST", "/nodes/n1/cordon", &[("X-Request-ID", "mine-1"), ("X-Forwarded-For", "203.0.113.9")], b"");
    token.post("/nodes/n1/uncordon", &json!({}));
    let of = |name: &str| -> Value {
        let all = admin.get("/events?limit=1000").json();
        all.as_array().unwrap().iter().find(|e| e["name"] == name).unwrap_or_else(|| panic!("{name}: {all}")).clone()
    };
    let cordon = of("node.cordon");
    assert_eq!(
        (&cordon["actor"], &cordon["address"], &cordon["request_id"]),
        (&json!("user:alice"), &json!("203.0.113.9"), &json!("mine-1"))
    );
    assert_eq!(of("node.uncordon")["actor"], format!("token:{token_id} (admin)"));
    assert!(of("node.join")["actor"].as_str().unwrap().starts_with("join-token:jt-"));
    assert_eq!(of("join_token.create")["actor"], "user:alice");
    let sign_ins = admin.events("auth").into_iter().filter(|e| e["name"] == "auth.sign_in");
    let by_whom: Vec<_> = sign_ins.map(|e| e["actor"].as_str().unwrap().to_string()).collect();
    assert_eq!(by_whom, ["user:admin", "user:alice", "user:admin"]);
    assert_eq!(of("user.create")["actor"], "user:admin");
    admin.post(
        "/events",
        &json!({"category": "mine", "name": "own", "level": "anything", "fields": {"actor": "forged"}}),
    );
    assert_eq!((of("own")["actor"].as_str(), of("own")["level"].as_str()), (Some("user:alice"), Some("anything")));
    let filtered = admin.get("/events?name=node.cordon&limit=1").json();
    assert_eq!(filtered[0]["actor"], "user:alice");
    // What the server does by itself, and what a node causes.
    node.heartbeat(&admin, 10, &json!({}));
    let stale = until_within("its lease ends", Duration::from_secs(60), || {
        admin.events("nodes").into_iter().find(|e| e["name"] == "node.lease.stale")
    });
    assert_eq!(
        (&stale["actor"], &stale["address"], &stale["request_id"]),
        (&json!("system"), &json!(null), &json!(null))
    );
    assert_eq!(node.heartbeat(&admin, 45, &json!({})).status, 200);
    assert_eq!(of("node.lease.alive")["actor"], "node:n1");
}

#[test]
fn what_the_server_says_nobody_else_can_say() {
    let served = Served::new();
    let admin = served.admin();
    for category in ["auth", "nodes", "scheduler", "cluster"] {
        let answer = admin.post("/events", &json!({"category": category, "name": "n", "level": "info"}));
        assert_eq!((answer.status, answer.detail().contains("recorded by the server only")), (403, true), "{category}");
    }
    assert_eq!(admin.post("/events", &json!({"category": "deploys", "name": "n", "level": "info"})).status, 201);
}

#[test]
fn sign_ins_and_sign_outs_are_events_and_an_attacker_cannot_fill_the_database() {
    let served = Served::proxied(|_| ());
    let admin = served.user("alice", "admin");
    for i in 0..50 {
        let far = format!("203.0.113.{}", i % 2);
        served.anonymous().from(&far, "POST", "/auth/token", &json!({"username": "alice", "password": "wrong"}));
    }
    served.anonymous().from(
        "203.0.113.7",
        "POST",
        "/auth/token",
        &json!({"username": "hunter2-in-the-name", "password": "wrong"}),
    );
    let failed: Vec<Value> = admin.events("auth").into_iter().filter(|e| e["name"] == "auth.sign_in_failed").collect();
    assert_eq!(failed.len(), 3, "one an address: {failed:?}");
    assert_eq!(
        (&failed[0]["actor"], &failed[0]["fields"]["username"]),
        (&json!("nobody"), &json!(null)),
        "a name that nobody has is not kept"
    );
    assert_eq!((&failed[1]["fields"]["username"], &failed[1]["level"]), (&json!("alice"), &json!("WARNING")));
    let gone = served.anonymous().signed_in("alice", crate::support::USER_PASSWORD);
    gone.get("/auth/logout");
    assert_eq!(admin.events("auth")[0]["name"], "auth.sign_out");
}
