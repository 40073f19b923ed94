//! `GET /node/work`: a call that waits is answered by exactly the changes that concern its node.

use crate::node::{Node, send_with, token};
use crate::program::{Running, ok};
use crate::support::{Answer, Client, Dir, PATIENCE, Served, Wire, believing, parse, until};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::thread::JoinHandle;
use std::time::Instant;

/// The number of calls that wait, as the metrics have it.
fn waiting(client: &Client) -> usize {
    let text = client.get("/metrics").text();
    text.lines().find_map(|line| line.strip_prefix("uptimemesh_waiting_nodes ")).unwrap().parse().unwrap()
}

fn current(node: &Node, client: &Client) -> (Value, String) {
    let answer = node.call(client, "GET", "/node/work", b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let work = answer.json();
    let version = format!("{}.{}", work["epoch"], work["version"]);
    (work, version)
}

/// The document of signed work.
fn document(work: &Value) -> Value {
    serde_json::from_str(work["document"].as_str().unwrap()).unwrap()
}

/// A call that waits, from a thread of the test.
fn wait(node: &Node, client: &Client, after: &str, wait_s: u32) -> JoinHandle<Answer> {
    let target = format!("/node/work?after={after}&wait={wait_s}");
    let (signed, client) = (node.sign("GET", &target, b""), client.clone());
    std::thread::spawn(move || send_with(&client, "GET", &target, &signed.headers(), b""))
}

/// A replica of a service of its own on this node.
fn place(admin: &Client, id: &str, node_id: &str) {
    // Nothing else changes it.
    assert_eq!(admin.put("/cluster-settings/scheduler_mode", &json!({"value": "manual"})).status, 200);
    assert_eq!(admin.post("/services", &json!({"id": id, "name": id})).status, 201);
    let replica = json!({"id": format!("{id}-1"), "service_id": id, "node_id": node_id});
    let made = admin.post("/replicas", &replica);
    assert_eq!(made.status, 201, "{}", made.text());
}

#[test]
fn a_change_answers_the_call_of_its_node_and_no_other() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let (one, two) = (Node::joined(&admin, "n1"), Node::joined(&admin, "n2"));
    let (work, version) = current(&one, &client);
    assert_eq!((&work["node_id"], &work["version"]), (&json!("n1"), &json!(0)), "{work}");
    assert_eq!(document(&work)["replicas"], json!([]));
    let (ones, twos) = (wait(&one, &client, &version, 60), wait(&two, &client, &version, 60));
    until("both wait", || (waiting(&admin) == 2).then_some(()));
    place(&admin, "s1", "n1");
    let answer = ones.join().unwrap();
    assert_eq!((answer.status, &answer.json()["node_id"]), (200, &json!("n1")), "{}", answer.text());
    let (newer, newest) = current(&one, &client);
    assert_eq!(answer.json(), newer);
    assert!(newer["version"].as_u64() > Some(0));
    assert_eq!(waiting(&admin), 1, "the other node still waits");
    // An older version, one of another run, and a newer call of the same node end the wait at once.
    for old in [&version, "1.7"] {
        assert_eq!(wait(&one, &client, old, 60).join().unwrap().json(), newer);
    }
    let third = wait(&two, &client, &version, 60);
    assert_eq!(twos.join().unwrap().status, 204, "for the newer call of the node");
    // Every place that a replica leaves or comes to.
    let last = wait(&one, &client, &newest, 60);
    until("both wait again", || (waiting(&admin) == 2).then_some(()));
    let moved = admin.post("/replicas/s1-1/move", &json!({"target_node_id": "n2"}));
    assert_eq!(moved.status, 200, "{}", moved.text());
    assert_eq!((last.join().unwrap().status, third.join().unwrap().status), (200, 200));
    let (_, newest) = current(&two, &client);
    let last = wait(&two, &client, &newest, 60);
    until("it waits", || (waiting(&admin) == 1).then_some(()));
    assert_eq!(admin.delete("/services/s1?force=true").status, 204);
    assert_eq!(last.join().unwrap().status, 200, "its replica went with the service");
    let (_, newest) = current(&two, &client);
    let last = wait(&two, &client, &newest, 60);
    until("it waits", || (waiting(&admin) == 1).then_some(()));
    assert_eq!(admin.delete("/nodes/n2?force=true").status, 204);
    assert_eq!(last.join().unwrap().status, 200, "the node itself is gone");
}

#[test]
fn a_rotation_of_the_authority_is_in_the_work_of_every_node() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let node = Node::joined(&admin, "n1");
    let (work, version) = current(&node, &client);
    let authorities = |work: &Value| -> Vec<String> {
        let named = document(work)["authorities"].as_array().unwrap().clone();
        named.iter().map(|pem| pem.as_str().unwrap().to_string()).collect()
    };
    let file = || fs::read_to_string(served.config.pki_dir.join("cluster-ca.crt")).unwrap();
    let old = file();
    assert_eq!(authorities(&work), std::slice::from_ref(&old));
    let call = wait(&node, &client, &version, 60);
    until("it waits", || (waiting(&admin) == 1).then_some(()));
    assert_eq!(admin.post("/cluster/ca/rotate", &json!({})).status, 200);
    let both = call.join().unwrap().json();
    assert_eq!(authorities(&both), [file(), old]);
    assert_eq!(both["key_certificate"], work["key_certificate"], "the authority that nodes trust already still signs");
    assert_eq!(admin.delete("/cluster/ca/previous?force=true").status, 200);
    let (last, _) = current(&node, &client);
    assert_eq!(authorities(&last), [file()]);
    assert!(last["version"].as_u64() > both["version"].as_u64());
    assert_ne!(last["key_certificate"], work["key_certificate"]);
}

#[test]
fn a_call_ends_with_the_identity_that_it_was_proven_with() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let old = Node::joined(&admin, "n1");
    let (_, version) = current(&old, &client);
    let call = wait(&old, &client, &version, 60);
    until("it waits", || (waiting(&admin) == 1).then_some(()));
    let again = Node::new("n1").join(&client, &token(&admin, "worker", Some("n1")), json!({}));
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(waiting(&admin), 0, "the owner of the old key sees nothing of the new node");
    assert_eq!(call.join().unwrap().status, 204);
}

#[test]
fn an_answer_that_waited_names_the_next_authority_as_others_do() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let node = Node::joined(&admin, "n1");
    let (_, version) = current(&node, &client);
    let waits = wait(&node, &client, &version, 60);
    until("it waits", || (waiting(&admin) == 1).then_some(()));
    assert_eq!(admin.post("/cluster/ca/rotate", &json!({})).status, 200);
    place(&admin, "s1", "n1");
    let (answer, other) = (waits.join().unwrap(), admin.get("/nodes"));
    let next = |answer: &Answer| answer.header("UptimeMesh-Next-Authority").map(str::to_string);
    assert_eq!((answer.status, next(&answer)), (200, next(&other)));
    assert!(next(&other).is_some());
}

#[test]
fn a_wait_is_bounded_and_every_fault_is_named() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let node = Node::joined(&admin, "n1");
    let (_, version) = current(&node, &client);
    let now = node.call(&client, "GET", &format!("/node/work?after={version}"), b"");
    assert_eq!((now.status, now.body.len(), now.header("Content-Length")), (204, 0, None));
    assert_eq!(wait(&node, &client, &version, 1).join().unwrap().status, 204);
    assert_eq!(
        node.call(&client, "GET", "/node/work?after=1&wait=61", b"").faults(),
        [r#"string_pattern_mismatch ["query","after"]"#, r#"less_than_equal ["query","wait"]"#]
    );
    assert_eq!(admin.get("/node/work").status, 401);
    assert_eq!(waiting(&admin), 0);
}

#[test]
fn a_stop_answers_what_waits() {
    let mut served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let mut node = Node::joined(&admin, "n1");
    let (_, version) = current(&node, &client);
    let call = wait(&node, &client, &version, 60);
    until("it waits", || (waiting(&admin) == 1).then_some(()));
    let began = Instant::now();
    served.restart();
    let answer = call.join().unwrap();
    assert_eq!((answer.status, answer.header("Connection")), (204, Some("close")));
    assert!(began.elapsed() < PATIENCE);
    let client = served.anonymous();
    // The first heartbeat after the start brings a lease token for calls.
    until("a heartbeat is accepted", || (node.heartbeat(&client, 45, &json!({})).status == 200).then_some(()));
    let newer = node.call(&client, "GET", &format!("/node/work?after={version}&wait=60"), b"");
    assert_eq!((newer.status, &newer.json()["version"]), (200, &json!(0)), "another run, which counts for itself");
}

/// A node's own connection, known by its certificate.
fn connected(served: &Served, node: &mut Node) -> (Wire, Wire) {
    let admin = served.admin();
    let answer = node.join(&admin, &token(&admin, "worker", None), json!({}));
    let answer = answer.json();
    let shown = (answer["node_cert_pem"].as_str().unwrap(), node.key.serialize_der());
    let tls = believing(&served.config.pki_dir.join("cluster-ca.crt"), Some(shown));
    let connect = || Wire::connect(admin.address, Some(&tls)).unwrap();
    (connect(), connect())
}

fn read_answer(wire: &mut Wire) -> Answer {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        wire.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
        if bytes.ends_with(b"\r\n\r\n") {
            let length = parse(&bytes).header("Content-Length").map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            wire.read_exact(&mut body).unwrap();
            bytes.extend(body);
            return parse(&bytes);
        }
    }
}

#[test]
fn over_tls_a_call_waits_with_others_behind_it_and_newer_ones_end_it() {
    let served = Served::with(|config| config.requests_per_second_max = 1_000_000);
    let admin = served.admin();
    let mut node = Node::new("n1");
    let (mut wire, mut other) = connected(&served, &mut node);
    let ask = |query: &str| format!("GET /node/work{query} HTTP/1.1\r\nHost: x\r\n\r\n");
    wire.write_all(ask("").as_bytes()).unwrap();
    let first = read_answer(&mut wire).json();
    let wait = ask(&format!("?wait=60&after={}.{}", first["epoch"], first["version"]));
    // In one record with it, and in a later one.
    wire.write_all([wait.as_bytes(), b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"].concat().as_slice()).unwrap();
    until("it waits", || (waiting(&admin) == 1).then_some(()));
    wire.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    place(&admin, "s1", "n1");
    assert!(read_answer(&mut wire).json()["version"].as_u64() > first["version"].as_u64());
    assert!(read_answer(&mut wire).json()["version"].is_string(), "what came in the same record");
    assert_eq!(read_answer(&mut wire).json()["status"], "ok", "what came while it waited");
    // Each of these calls ends an older one, from two connections in turn.
    wire.write_all(ask("").as_bytes()).unwrap();
    let newest = read_answer(&mut wire).json();
    let wait = ask(&format!("?wait=60&after={}.{}", newest["epoch"], newest["version"]));
    wire.write_all(wait.as_bytes()).unwrap();
    until("it waits", || (waiting(&admin) == 1).then_some(()));
    for _ in 0..500 {
        other.write_all(wait.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut wire).status, 204);
        std::mem::swap(&mut wire, &mut other);
    }
    assert_eq!(waiting(&admin), 1);
    drop((wire, other));
    until("nothing stays behind", || (waiting(&admin) == 0).then_some(()));
}

#[test]
fn a_node_gets_the_spec_of_the_generation_that_its_replica_should_run() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let node = Node::joined(&admin, "n1");
    place(&admin, "s1", "n1");
    let specs = || {
        let work = document(&current(&node, &client).0);
        let replicas = work["replicas"].as_array().unwrap().clone();
        replicas.iter().map(|r| (r["generation"].clone(), r["spec"]["image"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(specs(), [(json!(1), Value::Null)]);
    // What has no generation follows the newest one.
    let (_, version) = current(&node, &client);
    let call = wait(&node, &client, &version, 60);
    until("it waits", || (waiting(&admin) == 1).then_some(()));
    assert_eq!(admin.patch("/services/s1", &json!({"spec": {"image": "two"}})).status, 200);
    let newer = call.join().unwrap().json();
    assert_eq!(document(&newer)["replicas"][0]["spec"], json!({"image": "two"}));
    // What runs the first goes on with it until another is wanted.
    let status = |status: Value| assert_eq!(admin.patch("/replicas/s1-1", &json!({"status": status})).status, 200);
    status(json!({"applied_generation": 1}));
    assert_eq!(specs(), [(json!(1), Value::Null)]);
    status(json!({"applied_generation": 1, "desired_generation": 2}));
    assert_eq!(specs(), [(json!(2), json!("two"))]);
    // A generation that is not kept, or was never there.
    status(json!({"desired_generation": 77}));
    assert_eq!(specs(), [(json!(2), json!("two"))]);
    let shown = admin.get("/nodes/n1/work").json();
    assert_eq!(shown["replicas"][0]["replica_id"], "s1-1");
    assert_eq!((&shown["waits"], &shown["held"]["version"]), (&json!(false), &json!(version_of(&version))));
    assert_eq!((admin.get("/nodes/n2/work").status, client.get("/nodes/n1/work").status), (404, 401));
}

fn version_of(text: &str) -> u64 {
    text.split_once('.').unwrap().1.parse().unwrap()
}

#[test]
fn an_agent_holds_its_work_on_disk_and_refuses_older_work() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let (mut control, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let admin = client.signed_in("admin", "uptime");
    let (url, token) = (format!("http://{}", client.address), token(&admin, "worker", None));
    ok(elsewhere.path(), &["join", "--api-url", &url, "--token", &token, "--node-id", "n1", "--role", "worker"]);
    let agent = |name: &str| {
        Running::start(elsewhere.path(), name, &["agent", "--node-id", "n1", "--api-url", &url, "--ttl", "10"])
    };
    let is_held = |client: &Client| {
        let state = client.get("/nodes/n1/work").json();
        let is_newest = state["held"] == json!({"epoch": state["epoch"], "version": state["version"]});
        (is_newest && state["waits"] == true).then_some(state)
    };
    let mut first = agent("first");
    until("the node has its empty work", || is_held(&admin));
    place(&admin, "s1", "n1");
    let held = until("the node has its work", || is_held(&admin).filter(|s| s["replicas"][0]["replica_id"] == "s1-1"));
    let file = elsewhere.join("data/identities/n1/work.json");
    let kept: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(document(&kept)["replicas"], held["replicas"]);
    let printed: Value = serde_json::from_str(&ok(dir.path(), &["node", "work", "n1", "--json"])).unwrap();
    assert_eq!(printed["held"], held["held"]);
    // A killed agent begins with what it holds; a copy that was altered is none, and is given again.
    first.kill();
    let mut second = agent("second");
    until("it waits again", || is_held(&admin));
    assert!(!second.logged().contains("agent.work |"), "it has asked for nothing that it holds: {}", second.logged());
    second.kill();
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("s1-1", "s1-2")).unwrap();
    let mut third = agent("third");
    until("the copy is not believed", || third.logged().contains("runner.file_damaged").then_some(()));
    until("it has its work again", || is_held(&admin).filter(|s| s["replicas"][0]["replica_id"] == "s1-1"));
    // A control plane of a later run, then one whose clock went back.
    let epoch = dir.join("data/keys/work.epoch");
    let port = client.address.port().to_string();
    let restart = |control: &mut Running, epoch_text: &str| {
        assert_eq!(control.terminate(), 0);
        fs::write(&epoch, epoch_text).unwrap();
        Running::serve(dir.path(), &["serve", "--server-port", &port])
    };
    let (mut control, client) = restart(&mut control, "99999999999");
    let admin = client.signed_in("admin", "uptime");
    let later = until("it holds the work of the later run", || is_held(&admin));
    assert_eq!(later["epoch"], 100_000_000_000_u64);
    let (control, client) = restart(&mut control, "1");
    let admin = client.signed_in("admin", "uptime");
    until("older work is refused", || third.logged().contains("it is older than the work").then_some(()));
    until("the control plane says why", || control.logged().contains("work.later_epoch").then_some(()));
    assert_eq!(admin.get("/nodes/n1/work").json()["held"], later["held"]);
    assert_eq!(third.terminate(), 0);
}
