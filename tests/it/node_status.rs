//! `POST /node/status`: what a node reports is what everyone sees of its replicas, and nothing else is.

use crate::node::Node;
use crate::support::{Answer, Client, Served};
use crate::ui::Visitor;
use serde_json::{Value, json};

/// Nodes `n1`, which has a runner, and `n2`, and a service `s` with a replica on each, of which nothing else changes.
fn fleet(admin: &Client) -> (Node, Node) {
    assert_eq!(admin.put("/cluster-settings/scheduler_mode", &json!({"value": "manual"})).status, 200);
    let mut nodes = (Node::joined(admin, "n1"), Node::joined(admin, "n2"));
    let runner = json!({"runner": {"drivers": ["process"], "limits": "v2", "rights": "root"}});
    assert_eq!(nodes.0.heartbeat(admin, 45, &runner).status, 200);
    let service = json!({"id": "s", "name": "s", "spec": {"command": ["/bin/true"]}});
    assert_eq!(admin.post("/services", &service).status, 201);
    for number in [1, 2] {
        let node_id = format!("n{number}");
        let status = json!({"managed_by": "scheduler", "desired_generation": 1, "update_state": "pending"});
        let replica = json!({"id": format!("s-{number}"), "service_id": "s", "node_id": node_id, "status": status});
        assert_eq!(admin.post("/replicas", &replica).status, 201);
    }
    nodes
}

fn report(node: &Node, client: &Client, body: &Value) -> Answer {
    node.call(client, "POST", "/node/status", body.to_string().as_bytes())
}

/// A report of one replica.
fn says(run: &str, seq: u64, replica_id: &str, status: Value) -> Value {
    json!({"run": run, "changes": [{"replica_id": replica_id, "seq": seq, "status": status}]})
}

fn status(admin: &Client, replica_id: &str) -> Value {
    admin.get(&format!("/replicas/{replica_id}")).json()["status"].clone()
}

/// The commits of the server, as the metrics count them.
fn commits(admin: &Client) -> u64 {
    let text = admin.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix("uptimemesh_store_commits_total "));
    line.unwrap().parse::<f64>().unwrap() as u64
}

#[test]
fn a_report_is_written_where_it_differs_and_only_for_own_replicas() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let (one, _two) = fleet(&admin);
    let before = status(&admin, "s-2");
    let claimed = admin.patch("/replicas/s-1", &json!({"status": {"healthy": true, "desired_generation": 1}})).json();
    assert_eq!((&claimed["status"]["state"], &claimed["status"]["healthy"]), (&json!("pending"), &Value::Null));
    let queued = json!({"managed_by": "scheduler", "desired_generation": 1, "update_state": "pending"});
    assert_eq!(admin.patch("/replicas/s-1", &json!({"status": queued})).status, 200);
    let exit = json!({"signal": 9, "oom": true, "at": "2026-01-02T03:04:05.000006Z", "words": "killed by SIGKILL"});
    let runs = json!({
        "state": "healthy", "healthy": true, "applied_generation": 1, "restarts": 2, "exit": exit,
        "started_at": "2026-01-02T03:04:06.000006Z", "message": "well", "pid": 17,
        "ports": [{"name": "http", "port": 8080}], "usage": {"cpu_millis": 5, "memory_bytes": 4096},
    });
    let both = json!({"run": "r1", "full": true, "changes": [
        {"replica_id": "s-1", "seq": 1, "status": runs}, {"replica_id": "s-2", "seq": 1, "status": runs},
        {"replica_id": "unknown", "seq": 1, "status": runs},
    ]});
    let answer = report(&one, &client, &both);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let taken = json!({"taken": 1, "late": 0, "foreign": ["s-2", "unknown"], "wants_full": false});
    assert_eq!(answer.json(), taken);
    assert_eq!(status(&admin, "s-2"), before, "it is another node's");
    let now = status(&admin, "s-1");
    for key in ["state", "healthy", "applied_generation", "restarts", "exit", "started_at", "message", "ports", "pid"] {
        assert_eq!(now[key], runs[key], "{key}");
    }
    assert_eq!((&now["managed_by"], &now["desired_generation"]), (&json!("scheduler"), &json!(1)), "others stay");
    assert_eq!((&now["update_state"], &now["usage"]), (&Value::Null, &Value::Null), "the update is done");
    // The same again, and new figures alone: no write.
    let count = commits(&admin);
    let mut again = runs.clone();
    again["usage"]["memory_bytes"] = json!(8192);
    let answer = report(&one, &client, &says("r1", 2, "s-1", again)).json();
    assert_eq!((&answer["taken"], commits(&admin)), (&json!(1), count));
    assert_eq!(status(&admin, "s-1"), now);
    let work = admin.get("/nodes/n1/work").json();
    assert_eq!(work["usage"], json!({"s-1": {"cpu_millis": 5, "memory_bytes": 8192}}));
    assert_eq!((&work["foreign_reports"], work["reported_at"].is_string()), (&json!(2), true));
    // A client's status cannot take the node's words.
    let patched = admin.patch("/replicas/s-1", &json!({"status": {"healthy": false, "mine": 1}})).json();
    assert_eq!((&patched["status"]["healthy"], &patched["status"]["mine"]), (&json!(true), &json!(1)));
}

#[test]
fn what_comes_late_is_dropped_and_a_full_report_ends_what_is_gone() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let (one, _two) = fleet(&admin);
    let send = |body: &Value| report(&one, &client, body).json();
    let state = |word: &str| json!({"state": word});
    let first = send(&says("r1", 5, "s-1", state("running")));
    assert_eq!((&first["taken"], &first["wants_full"]), (&json!(1), &json!(true)));
    for seq in [5, 4] {
        assert_eq!(send(&says("r1", seq, "s-1", state("failed")))["late"], 1);
    }
    assert_eq!(status(&admin, "s-1")["state"], "running");
    let since = status(&admin, "s-1")["state_since"].clone();
    // A new start counts from the beginning, and then the earlier one is late as a whole.
    let next = send(&says("r2", 1, "s-1", json!({"state": "running", "restarts": 1})));
    assert_eq!((&next["taken"], &status(&admin, "s-1")["state_since"]), (&json!(1), &since));
    assert_eq!(send(&says("r1", 9, "s-1", state("failed")))["late"], 1);
    assert_eq!(status(&admin, "s-1")["state"], "running");
    let refused = json!({"version": {"epoch": 1, "version": 2}, "reason": "its signature is not genuine"});
    let full = json!({"run": "r2", "full": true, "held": {"epoch": 1, "version": 1}, "refused": refused});
    assert_eq!(send(&full)["wants_full"], false);
    let now = status(&admin, "s-1");
    let left = json!({
        "managed_by": "scheduler", "desired_generation": 1, "update_state": "pending", "state": "pending",
        "unavailable_since": now["unavailable_since"],
    });
    assert!(now == left && now["unavailable_since"].is_string(), "the node does not know it any more: {now}");
    let work = admin.get("/nodes/n1/work").json();
    assert_eq!((&work["refused"], &work["acts_on"]), (&refused, &json!({"epoch": 1, "version": 1})));
}

#[test]
fn a_report_does_not_wake_the_node_and_its_troubles_are_events() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let (one, _two) = fleet(&admin);
    let version = || one.call(&client, "GET", "/node/work", b"").json()["version"].clone();
    let before = version();
    for (seq, word) in (1..).zip(["running", "crashloop", "running", "crashloop", "running", "healthy", "completed"]) {
        let said = json!({"state": word, "message": format!("{word} now"), "applied_generation": 1});
        assert_eq!(report(&one, &client, &says("r1", seq, "s-1", said)).status, 200);
    }
    assert_eq!(version(), before, "the node has nothing to learn from its own report");
    let events = admin.get("/events?name=replica.state&limit=50").json();
    let told = |event: &Value| (event["level"].clone(), event["fields"]["state"].clone());
    let mut told: Vec<_> =
        events["items"].as_array().unwrap_or_else(|| events.as_array().unwrap()).iter().map(told).collect();
    told.sort_by_key(|(level, state)| (level.to_string(), state.to_string()));
    let expected = [("INFO", "completed"), ("INFO", "healthy"), ("WARNING", "crashloop")];
    assert_eq!(told, expected.map(|(level, state)| (json!(level), json!(state))));
}

#[test]
fn every_fault_of_a_report_is_named_and_nothing_of_it_is_written() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let (one, _two) = fleet(&admin);
    let before = status(&admin, "s-1");
    let good = json!({"replica_id": "s-1", "seq": 1, "status": {"state": "running"}});
    let bad =
        json!({"replica_id": "?", "seq": -1, "status": {"state": "resting", "exit": {"code": "x", "at": "noon"}}});
    let answer = report(&one, &client, &json!({"run": "", "changes": [good, bad]}));
    let mut faults = answer.faults();
    faults.sort();
    let at = |rest: &str| format!(r#"["body","changes",1,{rest}]"#);
    let mut expected = [
        r#"string_too_short ["body","run"]"#.to_string(),
        format!("string_pattern_mismatch {}", at(r#""replica_id""#)),
        format!("greater_than_equal {}", at(r#""seq""#)),
        format!("string_pattern_mismatch {}", at(r#""status","state""#)),
        format!("int_parsing {}", at(r#""status","exit","code""#)),
        format!("string_pattern_mismatch {}", at(r#""status","exit","at""#)),
        format!("missing {}", at(r#""status","exit","words""#)),
    ];
    expected.sort();
    assert_eq!(faults, expected);
    let many: Vec<Value> = (0..1001).map(|_| good.clone()).collect();
    assert_eq!(
        report(&one, &client, &json!({"run": "r", "changes": many})).faults(),
        [r#"list_type ["body","changes"]"#]
    );
    let large = format!(r#"{{"run": "r", "more": "{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(one.call(&client, "POST", "/node/status", large.as_bytes()).status, 413);
    assert_eq!(status(&admin, "s-1"), before);
    assert_eq!(admin.post("/node/status", &json!({"run": "r"})).status, 401, "of a user");
    assert_eq!(admin.put("/cluster-settings/etcd_status", &json!({"value": "down"})).status, 200);
    let held = json!({"run": "r", "changes": [good]});
    assert_eq!(report(&one, &client, &held).status, 503, "nothing is written meanwhile");
    assert_eq!(admin.put("/cluster-settings/etcd_status", &json!({"value": "up"})).status, 200);
    assert_eq!(report(&one, &client, &held).json()["taken"], 1, "and the same report is not late then");
}

#[test]
fn services_from_before_runners_stay_records_until_someone_lets_them_run() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let (one, _two) = fleet(&admin);
    let visitor = Visitor::new(&served, "bob", "operator");
    assert_eq!(admin.get("/services/s").json()["records_only"], false);
    // As the migration of an older database leaves it.
    let database = rusqlite::Connection::open(&served.config.database_path).unwrap();
    let lay = |id: &str| database.execute("UPDATE services SET records_only = 1 WHERE id = ?1", [id]).unwrap();
    assert_eq!(lay("s"), 1);
    let patched = |id: &str, status: Value| admin.patch(&format!("/replicas/{id}"), &json!({"status": status})).json();
    let record = patched("s-1", json!({"healthy": true, "applied_generation": 1}));
    assert_eq!(record["status"]["healthy"], true, "clients speak for a record");
    let spec = || {
        let work = one.call(&client, "GET", "/node/work", b"").json();
        let document: Value = serde_json::from_str(work["document"].as_str().unwrap()).unwrap();
        (work["version"].as_u64().unwrap(), document["replicas"][0]["spec"].clone())
    };
    let (before, laid_over) = spec();
    assert_eq!(laid_over, json!({"command": ["/bin/true"], "driver": "none"}));
    let shown = admin.get("/services/s").json();
    assert_eq!((&shown["records_only"], &shown["spec"]), (&json!(true), &json!({"command": ["/bin/true"]})));
    assert!(shown["warnings"][0].as_str().unwrap().contains("uptimemesh service run s"), "{shown}");
    assert!(visitor.page("/ui/services/s").contains("Let nodes run it"));
    let run = admin.post("/services/s/run", &json!({})).json();
    assert_eq!((&run["records_only"], &run["generation"], &run["warnings"]), (&json!(false), &json!(1), &json!([])));
    assert!(!visitor.page("/ui/services/s").contains("Let nodes run it"));
    let (after, own) = spec();
    assert!(after > before && own == json!({"command": ["/bin/true"]}), "its node learns of it: {own}");
    let waits = status(&admin, "s-1");
    assert_eq!((&waits["state"], &waits["desired_generation"]), (&json!("pending"), &json!(1)), "{waits}");
    assert_eq!(status(&admin, "s-2")["state"], Value::Null, "its node runs nothing");
    // A spec that names its driver says that it is to run, too.
    assert_eq!(lay("s"), 1);
    let same = admin.patch("/services/s", &json!({"spec": {"command": ["/bin/false"]}})).json();
    assert_eq!(same["records_only"], true);
    let named = admin.patch("/services/s", &json!({"spec": {"command": ["/bin/false"], "driver": "process"}})).json();
    assert_eq!(named["records_only"], false);
}

#[test]
fn pages_and_commands_say_what_the_node_reports() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let (one, _two) = fleet(&admin);
    let visitor = Visitor::new(&served, "bob", "operator");
    assert!(visitor.page("/ui/replicas/s-1").contains("pending"), "nobody has reported it");
    let figures = || admin.get("/cluster/status").json()["services"][0].clone();
    let counted = |service: &Value| ["running", "pending", "failing"].map(|key| service[key].as_u64().unwrap());
    assert_eq!(counted(&figures()), [1, 1, 0], "{}", figures());
    let exit =
        json!({"signal": 9, "oom": true, "at": "2026-01-02T03:04:05Z", "words": "killed by SIGKILL, out of memory"});
    let usage = json!({"cpu_millis": 5, "memory_bytes": 4 << 20});
    let said =
        json!({"state": "crashloop", "restarts": 6, "exit": exit, "message": "Starts again <soon>.", "usage": usage});
    let refused = json!({"reason": "its signature is <not> genuine"});
    let body = json!({"run": "r", "refused": refused, "changes": [{"replica_id": "s-1", "seq": 1, "status": said}]});
    assert_eq!(report(&one, &client, &body).status, 200);
    assert_eq!(counted(&figures()), [1, 0, 1]);
    let page = visitor.page("/ui/replicas/s-1");
    for part in ["crashloop", "killed by SIGKILL, out of memory", "Restarts", "Starts again &lt;soon&gt;.", "4.0 MiB"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(
        visitor.page("/ui/nodes/n1").contains("refuses its work, and keeps what it has: its signature is &lt;not&gt;")
    );
    let healthy = json!({"state": "healthy", "healthy": true, "applied_generation": 1});
    assert_eq!(report(&one, &client, &says("r", 2, "s-1", healthy)).status, 200);
    assert_eq!(counted(&figures()), [2, 0, 0]);
}

#[test]
fn a_document_has_no_more_than_a_node_takes_and_the_rest_is_named() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let (one, _two) = fleet(&admin);
    let visitor = Visitor::new(&served, "bob", "operator");
    let large = json!({"command": ["/bin/true"], "environment": {"TEXT": "x".repeat(60_000)}});
    assert_eq!(admin.patch("/services/s", &json!({"spec": large})).status, 200);
    for number in 10..80 {
        let replica = json!({"id": format!("a-{number}"), "service_id": "s", "node_id": "n1"});
        assert_eq!(admin.post("/replicas", &replica).status, 201);
    }
    let work = one.call(&client, "GET", "/node/work", b"").json();
    let text = work["document"].as_str().unwrap();
    let document: Value = serde_json::from_str(text).unwrap();
    let has: Vec<&str> =
        document["replicas"].as_array().unwrap().iter().map(|r| r["replica_id"].as_str().unwrap()).collect();
    assert!(text.len() < 4 << 20 && has.contains(&"s-1"), "the oldest stays: {}", text.len());
    let state = admin.get("/nodes/n1/work").json();
    let left_out = state["left_out"].as_array().unwrap();
    assert_eq!(has.len() + left_out.len(), 71);
    assert!(left_out.contains(&json!("a-79")) && !left_out.contains(&json!("a-10")), "{left_out:?}");
    let notice = format!("it does not get the {} newest", left_out.len());
    assert!(visitor.page("/ui/nodes/n1").contains(&notice), "{notice}");
}
