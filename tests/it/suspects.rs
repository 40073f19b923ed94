//! Suspicion: a node whose waiting call breaks off is suspect at once, and agents keep that call open.

use crate::node::{Node, token};
use crate::program::{Running, ok};
use crate::support::{Client, Dir, Served, until};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;

/// A gauge of the metrics.
fn gauge(client: &Client, name: &str) -> usize {
    let text = client.get("/metrics").text();
    let line = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(line).unwrap()
}

fn until_waiting(client: &Client, count: usize) {
    until("the calls wait", || (gauge(client, "uptimemesh_waiting_nodes") == count).then_some(()));
}

/// Names of the events about suspicion, the newest first.
fn told(admin: &Client) -> Vec<Value> {
    let events = admin.events("nodes").into_iter().map(|e| e["name"].clone());
    events.filter(|name| name.as_str().unwrap().ends_with("suspect")).collect()
}

fn since(admin: &Client, node: &str) -> Value {
    admin.get(&format!("/nodes/{node}")).json()["suspect_since"].clone()
}

/// Joins a machine in this directory, over plain HTTP.
fn join(dir: &Dir, admin: &Client, node: &str) {
    let (url, token) = (format!("http://{}", admin.address), token(admin, "worker", None));
    ok(dir.path(), &["join", "--api-url", &url, "--token", &token, "--node-id", node, "--role", "worker"]);
}

fn agent(dir: &Dir, name: &str, node: &str, url: &str) -> Running {
    Running::start(dir.path(), name, &["agent", "--node-id", node, "--api-url", url, "--ttl", "60"])
}

/// A call that waits, on a connection of the test.
fn wait(node: &Node, client: &Client) -> TcpStream {
    let work = node.call(client, "GET", "/node/work", b"").json();
    let target = format!("/node/work?wait=60&after={}.{}", work["epoch"], work["version"]);
    let mut head = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n", client.address);
    for (name, value) in node.sign("GET", &target, b"").headers() {
        head += &format!("{name}: {value}\r\n");
    }
    let mut stream = TcpStream::connect(client.address).unwrap();
    stream.write_all((head + "\r\n").as_bytes()).unwrap();
    stream
}

#[test]
fn a_killed_agent_is_suspect_and_gets_nothing_new_until_it_is_back() {
    let (served, dir) = (Served::new(), Dir::new());
    let admin = served.admin();
    join(&dir, &admin, "n1");
    let _other = Node::joined(&admin, "n2");
    let url = format!("http://{}", admin.address);
    let mut first = agent(&dir, "first", "n1", &url);
    until_waiting(&admin, 1);
    first.kill();
    until("it is suspect", || (!since(&admin, "n1").is_null()).then_some(()));
    until("an event says so", || (told(&admin) == ["node.suspect"]).then_some(()));
    let leases = admin.get("/cluster/leases").json();
    let lease = leases.as_array().unwrap().iter().find(|l| l["node_id"] == "n1").unwrap();
    assert_eq!((&lease["lease_state"], lease["suspect_since"].is_string()), (&json!("alive"), true));
    assert_eq!(gauge(&admin, "uptimemesh_suspect_nodes"), 1);
    let status = admin.get("/cluster/status").json();
    assert!(status["attention"].as_array().unwrap().iter().any(|a| a["what"] == "suspect"), "{status}");
    let service = json!({"id": "s", "name": "s", "spec": {"scheduling": {"desired_replicas": 2}}});
    assert_eq!(admin.post("/services", &service).status, 201);
    let placed = || {
        let replicas = admin.get("/replicas").json();
        let nodes: Vec<Value> = replicas.as_array().unwrap().iter().map(|r| r["node_id"].clone()).collect();
        (nodes.len() == 2).then_some(nodes)
    };
    assert_eq!(until("both replicas are placed", placed), ["n2", "n2"]);
    let why = admin.get("/scheduler/explain/services/s").text();
    assert!(why.contains("suspect: its connection was reset"), "{why}");

    let mut second = agent(&dir, "second", "n1", &url);
    until("it is not suspect any more", || (told(&admin) == ["node.unsuspect", "node.suspect"]).then_some(()));
    assert!(since(&admin, "n1").is_null());
    until_waiting(&admin, 1);
    assert_eq!(second.terminate(), 0, "its end does not wait for the call");
}

#[test]
fn many_calls_that_break_off_together_make_nobody_suspect() {
    let dir = Dir::new();
    let (control, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let admin = client.signed_in("admin", "uptime");
    let nodes: Vec<Node> = ["n1", "n2", "n3"].iter().map(|id| Node::joined(&admin, id)).collect();
    let calls: Vec<TcpStream> = nodes.iter().map(|node| wait(node, &client)).collect();
    until_waiting(&admin, 3);
    drop(calls);
    until("it is decided", || control.logged().contains("node.calls_lost").then_some(()));
    assert_eq!((told(&admin), gauge(&admin, "uptimemesh_suspect_nodes")), (Vec::new(), 0));
    // One alone is suspect; its next heartbeat ends that.
    let call = wait(&nodes[0], &client);
    let others: Vec<TcpStream> = nodes[1..].iter().map(|node| wait(node, &client)).collect();
    until_waiting(&admin, 3);
    drop(call);
    until("it is suspect", || (told(&admin) == ["node.suspect"]).then_some(()));
    let mut node = nodes.into_iter().next().unwrap();
    assert_eq!(node.heartbeat(&client, 45, &json!({})).status, 200);
    until("it is not suspect any more", || (told(&admin) == ["node.unsuspect", "node.suspect"]).then_some(()));
    drop(others);
}

#[test]
fn a_control_plane_that_is_killed_and_started_gets_its_calls_back() {
    for scheme in ["http", "https"] {
        let (dir, elsewhere) = (Dir::new(), Dir::new());
        let (mut control, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
        let admin = client.signed_in("admin", "uptime");
        join(&elsewhere, &admin, "n1");
        let url = format!("{scheme}://{}", client.address);
        let mut agent =
            Running::start(elsewhere.path(), "agent", &["agent", "--node-id", "n1", "--api-url", &url, "--ttl", "10"]);
        until_waiting(&admin, 1);
        control.kill();
        until("the agent notices", || agent.logged().contains("agent.work_failed").then_some(()));
        let port = client.address.port().to_string();
        let (control, client) = Running::serve(dir.path(), &["serve", "--server-port", &port]);
        let admin = client.signed_in("admin", "uptime");
        until_waiting(&admin, 1);
        until("the agent says so", || agent.logged().contains("agent.work_back").then_some(()));
        assert_eq!(told(&admin), [] as [&str; 0], "{}", control.logged());
        assert_eq!(agent.terminate(), 0);
    }
}
