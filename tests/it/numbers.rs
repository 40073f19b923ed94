//! Numbers are kept as they were written, wherever people and nodes may write them.

use crate::node::{Node, epoch, token};
use crate::program::ok;
use crate::stream::Reader;
use crate::support::{Answer, Client, Dir, Served};
use crate::ui::Visitor;
use serde_json::json;
use std::fs;

/// Legal JSON, all of it, in no other form than this.
const NUMBERS: &str = r#"[123456789012345678901234567890,-123456789012345678901234567890,18446744073709551616,1e400,-1E400,-0.0,-0,0.0,1.0,1.10,1E5,1e5,1e+5,1e-400,0.1e+1,0.1E01,9007199254740993,3.14159265358979323846264338327950288]"#;

fn send(client: &Client, method: &str, path: &str, body: &str) -> Answer {
    let answer = client.send(method, path, &[], body.as_bytes());
    assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.text());
    answer
}

/// Whether they stand in a text as they were written, whatever is between them.
fn holds(text: &str) -> bool {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    text.contains(NUMBERS)
}

fn kept(client: &Client, path: &str) {
    let answer = client.get(path);
    assert!(answer.status == 200 && holds(&answer.text()), "{path}: {}", answer.text());
}

#[test]
fn the_status_of_a_node_keeps_its_numbers() {
    let served = Served::new();
    let admin = served.admin();
    let status = format!(r#"{{"n":{NUMBERS},"o":{{"p":[{NUMBERS}]}}}}"#);
    assert!(holds(&send(&admin, "POST", "/nodes", &format!(r#"{{"id":"a","name":"a","status":{status}}}"#)).text()));
    kept(&admin, "/nodes/a");
    send(&admin, "PATCH", "/nodes/a", r#"{"status":{}}"#);
    assert!(holds(&send(&admin, "PATCH", "/nodes/a", &format!(r#"{{"status":{status}}}"#)).text()));
    // What changes another key writes the whole status again.
    send(&admin, "POST", "/nodes/a/cordon", "");
    kept(&admin, "/nodes/a");
    let mut node = Node::new("b");
    let join = json!({"token": token(&admin, "worker", None), "node_id": "b", "name": "b", "role": "worker",
        "csr_pem": crate::node::csr(&node.key, "b", &[])});
    let join = join.to_string().replacen('{', &format!(r#"{{"status":{status},"#), 1);
    node.lease_token = send(&admin, "POST", "/cluster/join", &join).json()["lease_token"].as_str().unwrap().to_string();
    kept(&admin, "/nodes/b");
    send(&admin, "PATCH", "/nodes/b", r#"{"status":{}}"#);
    // The signature is over the numbers as they stand in the body.
    node.signed_at = epoch();
    send(&admin, "POST", "/cluster/heartbeat", &node.body(node.signed_at, 45, &status, &status));
    kept(&admin, "/nodes/b");
    kept(&admin, "/nodes");
    kept(&admin, "/nodes?role=worker");
    // The same again is no news, and another form of the same number is.
    let changed = |admin: &Client| admin.get("/nodes/b").json()["updated_at"].clone();
    let before = changed(&admin);
    node.heartbeat(&admin, 45, &json!({}));
    node.signed_at += 1;
    send(&admin, "POST", "/cluster/heartbeat", &node.body(node.signed_at, 45, &status, &status));
    assert_eq!(changed(&admin), before);
    let page = admin.get("/ui/nodes/b").text();
    for number in ["123456789012345678901234567890", "1e400", "-0.0", "1E5", "0.1e+1"] {
        assert!(page.contains(number), "{number}: {page}");
    }
}

#[test]
fn specs_replicas_and_events_keep_their_numbers() {
    let mut served = Served::new();
    let admin = served.admin();
    // What is placed here is placed by this test.
    send(&admin, "PUT", "/cluster-settings/scheduler_mode", r#"{"value":"manual"}"#);
    let mut stream = Reader::open(&admin, "?category=mine", None);
    let spec = format!(r#"{{"scheduling":{{"desired_replicas":1e0}},"n":{NUMBERS}}}"#);
    send(&admin, "POST", "/nodes", r#"{"id":"a","name":"a"}"#);
    assert!(holds(&send(&admin, "POST", "/services", &format!(r#"{{"id":"s","name":"s","spec":{spec}}}"#)).text()));
    assert_eq!(send(&admin, "PATCH", "/services/s", &format!(r#"{{"spec":{spec}}}"#)).json()["generation"], 1);
    let other = spec.replace("1E5", "1E05");
    assert_eq!(send(&admin, "PATCH", "/services/s", &format!(r#"{{"spec":{other}}}"#)).json()["generation"], 2);
    send(&admin, "POST", "/services/s/rollback", "");
    kept(&admin, "/services/s");
    kept(&admin, "/services");
    kept(&admin, "/services/s/revisions");
    let visitor = Visitor::new(&served, "otto", "operator");
    assert!(visitor.page("/ui/services/s/spec").contains("0.1e+1"));
    visitor
        .done("/ui/new-service", &format!("id=u&name=u&description=&spec={{\"n\":{}}}", NUMBERS.replace('+', "%2B")));
    kept(&admin, "/services/u");
    let status = format!(r#"{{"applied_generation":1,"n":{NUMBERS}}}"#);
    send(&admin, "POST", "/replicas", &format!(r#"{{"id":"r","service_id":"s","node_id":"a","status":{status}}}"#));
    // The plan reads 1e0 as one, marks the replica, and leaves the rest of its status as it is.
    assert_eq!(admin.get("/scheduler/plan/services/s").json()["desired_replicas"], 1);
    send(&admin, "POST", "/scheduler/reconcile/services/s", "");
    assert_eq!(admin.get("/replicas/r").json()["status"]["update_state"], "pending");
    kept(&admin, "/replicas/r");
    send(&admin, "POST", "/replicas/r/restart", "");
    kept(&admin, "/replicas?service_id=s");
    let event = format!(r#"{{"id":"e","category":"mine","name":"n","level":"info","fields":{{"n":{NUMBERS}}}}}"#);
    assert!(holds(&send(&admin, "POST", "/events", &event).text()));
    kept(&admin, "/events?category=mine");
    assert!(holds(&stream.next_text()), "the stream");
    served.restart();
    let admin = served.admin();
    kept(&admin, "/events?category=mine");
    kept(&admin, "/services/s");
    let refused = admin.send("POST", "/services", &[], br#"{"id":1E5,"name":"x"}"#);
    assert!(refused.status == 422 && refused.text().contains(r#""input":1E5"#), "{}", refused.text());
    let refused = admin.send(
        "POST",
        "/services",
        &[],
        br#"{"id":"t","name":"t","spec":{"scheduling":{"desired_replicas":1e400}}}"#,
    );
    assert_eq!(refused.faults(), [r#"less_than_equal ["body","spec","scheduling","desired_replicas"]"#]);
}

#[test]
fn the_command_line_shows_and_sends_numbers_as_they_are() {
    let served = Served::new();
    let admin = served.admin();
    let (dir, url) = (Dir::new(), format!("http://{}", admin.address));
    fs::write(dir.join("s.json"), format!(r#"{{"id":"s","name":"s","spec":{{"n":{NUMBERS}}}}}"#)).unwrap();
    let run = |args: &[&str]| {
        ok(dir.path(), &[args, &["--username", "admin", "--password", "uptime", "--api-url", &url]].concat())
    };
    run(&["service", "apply", "-f", "s.json"]);
    kept(&admin, "/services/s");
    fs::write(dir.join("s.json"), format!(r#"{{"id":"s","name":"s","spec":{{"m":1,"n":{NUMBERS}}}}}"#)).unwrap();
    run(&["service", "apply", "-f", "s.json"]);
    kept(&admin, "/services/s");
    assert!(holds(&run(&["service", "show", "s", "--json"])));
    let made =
        admin.post("/cluster/join-tokens", &json!({"role": "worker"})).json()["token"].as_str().unwrap().to_string();
    fs::write(dir.join("token"), made).unwrap();
    ok(dir.path(), &["join", "--api-url", &url, "--token-file", "token", "--node-id", "n", "--role", "worker"]);
    let status = format!(r#"{{"n":{NUMBERS}}}"#);
    ok(dir.path(), &["heartbeat", "--api-url", &url, "--node-id", "n", "--status-json", &status]);
    kept(&admin, "/nodes/n");
    assert!(holds(&run(&["node", "show", "n", "--json"])));
}
