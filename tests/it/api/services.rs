//! `/services`: specs, their history, rollouts and rollbacks.

use crate::support::{Client, Served};
use serde_json::{Value, json};

fn generations(admin: &Client, id: &str) -> Vec<(i64, String)> {
    let list = admin.get(&format!("/services/{id}/revisions")).json();
    list.as_array()
        .unwrap()
        .iter()
        .map(|r| (r["generation"].as_i64().unwrap(), r["action"].as_str().unwrap().to_string()))
        .collect()
}

#[test]
fn a_service_keeps_every_spec_it_had() {
    let served = Served::new();
    let admin = served.admin();
    let made = admin.post(
        "/services",
        &json!({"id": "web", "name": "Web", "description": "d", "spec": {"image": "a", "own": [1]}}),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!((&made.json()["generation"], &made.json()["spec"]), (&json!(1), &json!({"image": "a", "own": [1]})));
    assert_eq!(admin.get("/services/web").json(), made.json());
    let answer = admin.send("POST", "/services/web/rollback", &[], b"");
    let nothing = "web has only one generation: there is nothing to roll back to";
    assert_eq!((answer.status, answer.detail().as_str()), (404, nothing));
    for name in ["Other", "Web"] {
        assert_eq!(admin.post("/services", &json!({"id": "web", "name": name})).detail(), "Service id already exists");
    }
    assert_eq!(admin.post("/services", &json!({"id": "other", "name": "Web"})).detail(), "Service name already exists");

    let patch = |body: Value| admin.patch("/services/web", &body).json();
    assert_eq!(patch(json!({"description": "e"}))["generation"], 1);
    assert_eq!(patch(json!({"spec": {"own": [1], "image": "a"}}))["generation"], 1, "it says the same as before");
    assert_eq!(patch(json!({"spec": {"image": "b"}}))["generation"], 2);
    assert_eq!(patch(json!({}))["generation"], 2);
    assert_eq!(patch(json!({"spec": null}))["generation"], 2);

    let rolled = admin.post("/services/web/rollout", &json!({})).json();
    assert_eq!((&rolled["generation"], &rolled["spec"]["image"]), (&json!(3), &json!("b")));
    let asked = rolled["spec"]["rollout_requested_at"].clone();
    assert!(asked.as_str().unwrap().ends_with('Z'));
    let kept = patch(json!({"spec": {"image": "c"}}));
    assert_eq!(kept["spec"], json!({"image": "c", "rollout_requested_at": asked}), "a later spec does not lose it");
    let same = patch(json!({"spec": {"image": "c", "rollout_requested_at": "yesterday"}}));
    assert_eq!((&same["spec"]["rollout_requested_at"], &same["generation"]), (&asked, &json!(4)), "nor set it");

    let back = admin.post("/services/web/rollback", &json!({"target_generation": 1})).json();
    assert_eq!(
        (&back["generation"], &back["spec"]["image"], &back["spec"]["own"]),
        (&json!(5), &json!("a"), &json!([1]))
    );
    assert!(back["spec"]["rollback_requested_at"].as_str().unwrap().ends_with('Z'));
    let before = admin.send("POST", "/services/web/rollback", &[], b"").json();
    assert_eq!(
        (&before["generation"], &before["spec"]["image"]),
        (&json!(6), &json!("c")),
        "the generation before is the default"
    );
    for never in [0, 7, 99] {
        let answer = admin.post("/services/web/rollback", &json!({"target_generation": never}));
        assert_eq!(answer.status, if never == 0 { 422 } else { 404 }, "{never}");
    }
    let history = generations(&admin, "web");
    let want = [(6, "rollback"), (5, "rollback"), (4, "update"), (3, "rollout"), (2, "update"), (1, "create")];
    assert_eq!(history, want.map(|(g, a)| (g, a.to_string())));
    let newest = &admin.get("/services/web/revisions?limit=1").json()[0];
    assert_eq!((&newest["restored_generation"], &newest["created_by"]), (&json!(4), &json!("admin")));
    assert_eq!(newest["spec"], json!({"image": "c"}), "bookkeeping is no part of a revision");
    let page = admin.get("/services/web/revisions?limit=4");
    assert_eq!((page.header("X-Total-Count"), page.json().as_array().unwrap().len()), (Some("6"), 4));
    let next = page.header("Link").unwrap();
    assert_eq!(admin.get(&next[1..next.find('>').unwrap()]).json()[1]["generation"], 1);

    let names: Vec<_> = admin.events("services").iter().map(|e| e["name"].as_str().unwrap().to_string()).collect();
    assert_eq!(names.iter().filter(|n| *n == "service.rollback").count(), 2);
    let rollback = admin.events("services").into_iter().find(|e| e["name"] == "service.rollback").unwrap();
    assert_eq!((&rollback["fields"]["service_id"], &rollback["fields"]["generation"]), (&json!("web"), &json!(6)));
}

#[test]
fn a_spec_is_validated_when_it_is_written() {
    let served = Served::new();
    let admin = served.admin();
    let bad = json!({"id": "a", "name": "a", "spec": {
        "scheduling": {"desired_replicas": 10_001, "lost_after_seconds": -1, "mode": "everywhere", "spread_by": 5},
        "replicas_desired": "20000",
        "rolling_update": {"max_surge": 1001, "max_unavailable": 99999},
        "resources": {"cpu_millis": "many", "memory_mb": 1e12},
        "ports": [80, 0, "x", {"host_port": 70000, "protocol": "icmp"}],
        "placement": {"pinned_replicas": [{"replica_id": "r"}, 5]},
    }});
    let mut faults = admin.post("/services", &bad).faults();
    faults.sort();
    assert_eq!(
        faults,
        [
            r#"dict_type ["body","spec","placement","pinned_replicas",1]"#,
            r#"greater_than_equal ["body","spec","ports",1]"#,
            r#"greater_than_equal ["body","spec","scheduling","lost_after_seconds"]"#,
            r#"int_parsing ["body","spec","resources","cpu_millis"]"#,
            r#"int_type ["body","spec","ports",2]"#,
            r#"less_than_equal ["body","spec","ports",3,"host_port"]"#,
            r#"less_than_equal ["body","spec","replicas_desired"]"#,
            r#"less_than_equal ["body","spec","resources","memory_mb"]"#,
            r#"less_than_equal ["body","spec","rolling_update","max_surge"]"#,
            r#"less_than_equal ["body","spec","rolling_update","max_unavailable"]"#,
            r#"less_than_equal ["body","spec","scheduling","desired_replicas"]"#,
            r#"missing ["body","spec","placement","pinned_replicas",0,"node_id"]"#,
            r#"string_pattern_mismatch ["body","spec","ports",3,"protocol"]"#,
            r#"string_pattern_mismatch ["body","spec","scheduling","mode"]"#,
            r#"string_type ["body","spec","scheduling","spread_by"]"#,
        ]
    );
    // What V1 named falls back; unknown keys are kept.
    let lenient = json!({"id": "a", "name": "a", "spec": {"scheduling": [], "rolling_update": "x",
        "replicas_desired": [], "mine": {"x": 1}}});
    assert_eq!(admin.post("/services", &lenient).json()["spec"], lenient["spec"]);
    let plan = admin.get("/scheduler/plan/services/a").json();
    assert_eq!(plan["warnings"].as_array().unwrap().len(), 4, "three that fell back, and no node: {plan}");
    let fat = json!({"id": "b", "name": "b", "spec": {"blob": "x".repeat(70_000)}});
    assert_eq!(admin.post("/services", &fat).faults(), [r#"string_too_long ["body","spec"]"#]);
    assert_eq!(
        admin.post("/services", &json!({"id": "b", "name": "b", "spec": []})).faults(),
        [r#"dict_type ["body","spec"]"#]
    );
    assert_eq!(
        admin.post("/services", &json!({"description": 5})).faults(),
        [r#"missing ["body","id"]"#, r#"missing ["body","name"]"#, r#"string_type ["body","description"]"#]
    );
}

#[test]
fn a_service_with_replicas_is_deleted_only_by_force() {
    let served = Served::new();
    let admin = served.admin();
    admin.post("/nodes", &json!({"id": "n", "name": "n"}));
    admin.post("/services", &json!({"id": "s", "name": "s"}));
    admin.post("/replicas", &json!({"id": "r", "service_id": "s", "node_id": "n"}));
    admin.post("/endpoints", &json!({"id": "e", "replica_id": "r", "address": "10.0.0.1", "port": 80}));
    assert_eq!(admin.delete("/services/s").status, 409);
    assert_eq!(admin.delete("/services/s?force=true").status, 204);
    for path in ["/services/s", "/replicas/r", "/endpoints/e", "/services/s/revisions"] {
        assert_eq!(admin.get(path).status, 404, "{path}");
    }
    let again = admin.post("/services", &json!({"id": "s", "name": "s"})).json();
    assert_eq!(again["generation"], 1);
    assert_eq!(admin.delete("/services/s").status, 204);
}

#[test]
fn of_two_who_edit_one_object_the_later_learns_of_the_earlier() {
    let served = Served::new();
    let admin = served.admin();
    // The scheduler would be a third one.
    admin.put("/cluster-settings/scheduler_mode", &json!({"value": "manual"}));
    admin.post("/nodes", &json!({"id": "n", "name": "n"}));
    admin.post("/services", &json!({"id": "s", "name": "s"}));
    admin.post("/replicas", &json!({"id": "r", "service_id": "s", "node_id": "n"}));
    admin.post("/endpoints", &json!({"id": "e", "replica_id": "r", "address": "10.0.0.1", "port": 80}));
    admin.post("/etcd/snapshots", &json!({"id": "x"}));
    for (path, body) in [
        ("/services/s", json!({"spec": {"a": 1}})),
        ("/nodes/n", json!({"labels": {"a": "b"}})),
        ("/replicas/r", json!({"status": {"a": 1}})),
        ("/endpoints/e", json!({"healthy": false})),
        ("/etcd/snapshots/x", json!({"status": "running"})),
    ] {
        let tag = admin.get(path).header("ETag").unwrap().to_string();
        let send =
            |method: &str, tag: &str| admin.send(method, path, &[("If-Match", tag)], body.to_string().as_bytes());
        assert_eq!(send("PATCH", "\"other\"").status, 412, "{path}");
        let first = send("PATCH", &tag);
        assert_eq!(first.status, 200, "{path}: {}", first.text());
        assert_eq!(first.header("ETag"), admin.get(path).header("ETag"), "{path}");
        assert_eq!(send("PATCH", &tag).status, 412, "{path}: it has changed since");
        assert_eq!(send("PATCH", "*").status, 200, "{path}");
        assert_eq!(send("DELETE", &tag).status, 412, "{path}");
        let known = admin.get(path).header("ETag").unwrap().to_string();
        let empty = |tag: &str| admin.send("PATCH", path, &[("If-Match", tag)], b"{}").status;
        assert_eq!((empty("\"other\""), empty(&known)), (412, 200), "{path}: a change of nothing");
        let unchanged = admin.send("GET", path, &[("If-None-Match", &known)], b"");
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0), "{path}");
    }
    let put = |tag: &str| admin.send("PUT", "/cluster-settings/k", &[("If-Match", tag)], br#"{"value": "v"}"#);
    assert_eq!(put("\"other\"").status, 412, "it is not there");
    assert_eq!(put("*").status, 412, "nor is any version of it");
    admin.put("/cluster-settings/k", &json!({"value": "v"}));
    let made = put("*");
    assert_eq!((put("\"other\"").status, put(made.header("ETag").unwrap()).status), (412, 200));
    let tag = admin.get("/nodes/n").header("ETag").unwrap().to_string();
    assert_eq!(admin.send("POST", "/nodes/n/cordon", &[("If-Match", &tag)], b"").status, 200);
    assert_eq!(admin.send("POST", "/nodes/n/uncordon", &[("If-Match", &tag)], b"").status, 412);
}

/// What proxies that compress make of a tag still names the version.
#[test]
fn a_tag_that_a_proxy_has_touched_is_understood() {
    let served = Served::new();
    let admin = served.admin();
    admin.post("/services", &json!({"id": "s", "name": "s"}));
    let tag = || admin.get("/services/s").header("ETag").unwrap().trim_matches('"').to_string();
    let touched = |tag: &str| {
        ["W/\"T\"", "\"T-gzip\"", "\"T--gzip\"", "\"T;br\"", "W/\"T-br\"", "\"T:zstd\"", "\"a,b\", W/\"T\""]
            .map(|form| form.replace('T', tag))
    };
    let read = |tags: &str| admin.send("GET", "/services/s", &[("If-None-Match", tags)], b"").status;
    for form in touched(&tag()) {
        assert_eq!(read(&form), 304, "{form}");
    }
    assert_eq!((read("*"), read("W/\"x\""), read(&format!("\"{}0\"", tag())), read("\"-gzip\"")), (304, 200, 200, 200));
    let two = admin.send(
        "GET",
        "/services/s",
        &[("If-None-Match", "\"a\""), ("If-None-Match", &format!("\"{}\"", tag()))],
        b"",
    );
    assert_eq!(
        (two.status, two.header("ETag")),
        (304, Some(format!("\"{}\"", tag()).as_str())),
        "a list may stand in two lines"
    );
    let write = |tags: &str, word: &str| {
        let body = json!({"description": word}).to_string();
        admin.send("PATCH", "/services/s", &[("If-Match", tags)], body.as_bytes()).status
    };
    for i in 0..touched("").len() {
        let (form, old) = (&touched(&tag())[i], &touched(&tag())[i]);
        assert_eq!((write(form, &format!("d{i}")), write(old, "later")), (200, 412), "{form}");
    }
    for wrong in ["\"T-\"", "\"T-x\"", "\"Tgzip\"", "W/T", "\"0-gzip\""] {
        assert_eq!(write(&wrong.replace('T', &tag()), "x"), 412, "{wrong}");
    }
}

#[test]
fn what_creates_may_be_sent_twice() {
    let mut served = Served::new();
    let admin = served.admin();
    let send = |admin: &Client, path: &str, key: &str, body: &Value| {
        admin.send("POST", path, &[("Idempotency-Key", key)], body.to_string().as_bytes())
    };
    for (path, body) in [
        ("/nodes", json!({"id": "n", "name": "n"})),
        ("/services", json!({"id": "s", "name": "s"})),
        ("/replicas", json!({"id": "r", "service_id": "s", "node_id": "n"})),
        ("/endpoints", json!({"id": "e", "replica_id": "r", "address": "h", "port": 1})),
        ("/events", json!({"category": "c", "name": "n", "level": "info"})),
        ("/etcd/snapshots", json!({})),
        ("/support-bundles", json!({})),
    ] {
        let key = format!("key{path}");
        let first = send(&admin, path, &key, &body);
        assert_eq!((first.status, first.header("Idempotency-Replayed")), (201, None), "{path}: {}", first.text());
        let again = send(&admin, path, &key, &body);
        assert_eq!((again.status, again.header("Idempotency-Replayed")), (201, Some("true")), "{path}");
        assert_eq!(again.json(), first.json(), "{path}");
    }
    let other = send(&admin, "/nodes", "key/nodes", &json!({"id": "m", "name": "m"}));
    assert_eq!((other.status, other.detail().contains("used for another request")), (409, true));
    assert_eq!(send(&admin, "/nodes", "a b", &json!({"id": "m", "name": "m"})).status, 400);
    // One that failed may be tried again under its key.
    assert_eq!(send(&admin, "/replicas", "k", &json!({"id": "q", "service_id": "t", "node_id": "n"})).status, 404);
    admin.post("/services", &json!({"id": "t", "name": "t"}));
    assert_eq!(send(&admin, "/replicas", "k", &json!({"id": "q", "service_id": "t", "node_id": "n"})).status, 201);
    served.restart();
    let admin = served.admin();
    assert_eq!(
        send(&admin, "/services", "key/services", &json!({"id": "s", "name": "s"})).status,
        201,
        "a restart forgets none"
    );
    assert_eq!(admin.get("/etcd/snapshots").json().as_array().unwrap().len(), 1);
}
