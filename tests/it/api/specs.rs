//! Specs: what is not understood is told or refused, and never passed over.

use crate::support::Served;
use serde_json::{Value, json};

fn texts(list: &Value) -> Vec<String> {
    list.as_array().map(|l| l.iter().map(|t| t.as_str().unwrap().to_string()).collect()).unwrap_or_default()
}

#[test]
fn what_is_not_known_in_a_spec_is_told_wherever_it_is_shown() {
    let served = Served::new();
    let admin = served.admin();
    let spec = json!({
        "replicas": 3, "deploy": {"replicas": 3}, "image": "nginx", "owner": "me",
        "scheduling": {"desired_replica": 2, "node_selector": {"zone": "a"}},
        "rolling_update": {"maxSurge": 1, "max_unavailable": []},
        "resources": {"cpus": 2},
        "placement": {"constraints": ["x"]},
        "ports": [{"host_port": 80, "containerPort": 80}],
    });
    let made = admin.post("/services", &json!({"id": "web", "name": "web", "spec": spec}));
    assert_eq!(made.status, 201, "{}", made.text());
    let warnings = texts(&made.json()["warnings"]);
    for (key, right) in [
        ("spec.replicas ", "spec.scheduling.desired_replicas?"),
        ("spec.deploy ", "spec.scheduling, rolling_update and resources?"),
        ("spec.scheduling.desired_replica ", "spec.scheduling.desired_replicas?"),
        ("spec.rolling_update.maxSurge ", "spec.rolling_update.max_surge?"),
        ("spec.rolling_update.max_unavailable ", "a whole number"),
        ("spec.resources.cpus ", "spec.resources.cpu_millis?"),
        ("spec.placement.constraints ", "spec.scheduling.node_selector?"),
        ("spec.ports[0].containerPort ", "spec.ports[0].container_port?"),
    ] {
        assert!(warnings.iter().any(|w| w.starts_with(key) && w.contains(right)), "{key}: {warnings:?}");
    }
    assert_eq!(warnings.len(), 8, "{warnings:?}");
    let read = admin.get("/services/web");
    assert_eq!(texts(&read.json()["warnings"]), warnings);
    assert_eq!(read.header("etag"), made.header("etag"), "one version, one tag");
    for path in ["/scheduler/plan/services/web", "/scheduler/explain/services/web"] {
        let told = texts(&admin.get(path).json()["warnings"]);
        assert!(warnings.iter().all(|w| told.contains(w)), "{path}: {told:?}");
    }
    let cookie = format!("uptimemesh_session={}", admin.token.clone().unwrap());
    for path in ["/ui/services/web", "/ui/services/web/spec"] {
        let page = admin.send("GET", path, &[("Cookie", &cookie), ("Accept", "text/html")], b"").text();
        assert!(
            page.contains("spec.resources.cpus is not known here; did you mean spec.resources.cpu_millis?"),
            "{path}: {page}"
        );
    }
    let own = json!({"spec": {"image": "nginx", "command": ["x"], "env": {"replicas": "1"}, "team": {"count": 1},
        "replicas_desired": 1}});
    let near = json!(["spec.env is not known here; did you mean spec.environment?"]);
    assert_eq!(admin.patch("/services/web", &own).json()["warnings"], near);
    let again = admin.patch("/services/web", &json!({"spec": {"instances": 2}})).json();
    assert_eq!(
        texts(&again["warnings"]),
        ["spec.instances is not known here; did you mean spec.scheduling.desired_replicas?"]
    );
    let per_node = admin
        .patch("/services/web", &json!({"spec": {"scheduling": {"mode": "per_node", "desired_replicas": 2}}}))
        .json();
    assert_eq!(
        texts(&per_node["warnings"]),
        ["the desired number of replicas is ignored: spec.scheduling.mode is per_node"]
    );
}

#[test]
fn a_port_is_understood_or_refused() {
    let served = Served::new();
    let admin = served.admin();
    admin.put("/cluster-settings/scheduler_mode", &json!({"value": "manual"}));
    admin.post("/nodes", &json!({"id": "n", "name": "n"}));
    // One holds a range of ports; whatever would take one of them finds no node.
    let held = json!({"id": "held", "name": "held", "spec": {"replicas_desired": 1, "ports": ["8000-8009:80-89",
        "8000-8009:80-89/udp"]}});
    assert_eq!(admin.post("/services", &held).status, 201);
    assert_eq!(admin.post("/scheduler/reconcile/services/held", &json!({})).json()["actual_replicas"], 1);
    assert_eq!(admin.post("/services", &json!({"id": "s", "name": "s"})).status, 201);
    for (port, free) in [
        (json!(8000), false),
        (json!("8001"), false),
        (json!("8002:80"), false),
        (json!("127.0.0.1:8003:80"), false),
        (json!("[::1]:8003:80"), false),
        (json!("8004:53/udp"), false),
        (json!("7999-8000:10-11"), false),
        (json!({"published": "8005", "target": 80}), false),
        (json!({"published": 8006, "target": 80, "protocol": "udp", "mode": "host"}), false),
        (json!({"host_port": 8007, "container_port": 80, "name": "http"}), false),
        (json!("80:8000"), true),
        (json!({"target": 8000}), true),
        (json!({"container_port": 8000}), true),
        (json!("9000-9009"), true),
    ] {
        let saved = admin.patch("/services/s", &json!({"spec": {"replicas_desired": 1, "ports": [port]}}));
        assert_eq!((saved.status, &saved.json()["warnings"]), (200, &json!([])), "{port}");
        let plan = admin.get("/scheduler/plan/services/s").json();
        assert_eq!(plan["actual_replicas"] == 1, free, "{port}: {plan}");
    }
    for port in [
        json!("http"),
        json!(""),
        json!("80/sctp"),
        json!("127.0.0.1::80"),
        json!("localhost:8080:80"),
        json!("8000-8001:80"),
        json!("70000:80"),
        json!(80.5),
        json!(true),
        json!(null),
        json!([80]),
        json!({}),
        json!({"hostPort": 80}),
        json!({"static": 80}),
        json!({"published": "8000-8001", "target": 80}),
        json!({"host_port": 1, "published": 2}),
        json!({"host_port": 1, "mode": "bridge"}),
        json!({"host_port": 1, "container_port": "http"}),
    ] {
        let refused = admin.patch("/services/s", &json!({"spec": {"ports": [1, port]}}));
        assert!(refused.status == 422 && refused.text().contains(r#""ports",1"#), "{port}: {}", refused.text());
    }
    assert_eq!(
        admin.patch("/services/s", &json!({"spec": {"ports": ["1000-1100"]}})).faults(),
        [r#"list_type ["body","spec","ports"]"#]
    );
}

#[test]
fn a_selector_reaches_every_label() {
    let served = Served::new();
    let admin = served.admin();
    for (id, labels) in
        [("a", json!({"role": "db", "node_id": "x"})), ("b", json!({"label:role": "db"})), ("c", json!({"zone": "db"}))]
    {
        admin.post("/nodes", &json!({"id": id, "name": id, "roles": ["web"], "labels": labels}));
    }
    admin.post("/services", &json!({"id": "s", "name": "s"}));
    for (selector, eligible) in [
        (json!({"role": "web"}), 3),
        (json!({"role": "db"}), 0),
        (json!({"label:role": "db"}), 2),
        (json!({"label:node_id": "x"}), 1),
        (json!({"label:zone": "db"}), 1),
        (json!({"label:zone": "other"}), 0),
    ] {
        admin.patch("/services/s", &json!({"spec": {"scheduling": {"node_selector": selector}}}));
        assert_eq!(admin.get("/scheduler/plan/services/s").json()["eligible_nodes"], eligible, "{selector}");
    }
}
