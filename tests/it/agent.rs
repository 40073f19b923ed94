//! A small cluster of real programs: a control plane that is its own first node, a second node that joins, dies,
//! returns.

use crate::program::{Running, ok};
use crate::support::{Client, Dir, until, until_within};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn lease(client: &Client, node: &str) -> Value {
    let leases = client.get("/cluster/leases").json();
    leases.as_array().unwrap().iter().find(|l| l["node_id"] == node).map_or(Value::Null, |l| l["lease_state"].clone())
}

fn up(dir: &Dir, port: &str) -> (Running, Client) {
    let (running, client) = Running::serve(dir.path(), &["up", "--server-port", port, "--node-id", "node-a"]);
    until("it says that it is up", || running.said().contains("UptimeMesh").then_some(()));
    (running, client)
}

/// A machine joins as this worker.
fn joins(dir: &Path, admin: &Client, url: &str, node_id: &str) {
    let token = crate::node::token(admin, "worker", None);
    ok(dir, &["join", "--api-url", url, "--token", &token, "--node-id", node_id, "--role", "worker"]);
}

#[test]
fn a_node_joins_dies_and_returns_and_a_restart_kills_nobody() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let (mut control, client) = up(&dir, "0");
    let said = control.said();
    assert!(said.contains(&format!("http://{}/ui", client.address)) && said.contains("admin / uptime"), "{said}");
    let admin = client.signed_in("admin", "uptime");
    assert_eq!(lease(&admin, "node-a"), "alive");
    let status = admin.get("/nodes/node-a").json()["status"].clone();
    for fact in
        ["version", "uptime_seconds", "load_1m", "memory_total_bytes", "disk_available_bytes", "kernel", "architecture"]
    {
        assert!(!status[fact].is_null(), "{fact} in {status}");
    }
    assert_eq!((&status["ready"], &status["node_role"]), (&json!(true), &json!("core")));

    let url = format!("http://{}", client.address);
    let token: Value =
        serde_json::from_str(&ok(dir.path(), &["create-token", "--role", "worker", "--api-url", &url])).unwrap();
    fs::write(elsewhere.join("token"), token["token"].as_str().unwrap()).unwrap();
    let join = [
        "--api-url",
        &url,
        "join",
        "--token-file",
        "token",
        "--node-id",
        "node-b",
        "--role",
        "worker",
        "--label",
        "zone=b",
        "disk=ssd",
        "--label",
        "os=linux",
    ];
    let joined: Value = serde_json::from_str(&ok(elsewhere.path(), &join)).unwrap();
    assert_eq!(
        fs::read_to_string(elsewhere.join("data/identities/node-b/node.crt")).unwrap(),
        joined["node_cert_pem"].as_str().unwrap()
    );
    assert_eq!(admin.get("/nodes/node-b").json()["labels"], json!({"zone": "b", "disk": "ssd", "os": "linux"}));
    let once: Value = serde_json::from_str(&ok(
        elsewhere.path(),
        &["heartbeat", "--node-id", "node-b", "--api-url", &url, "--ttl", "10"],
    ))
    .unwrap();
    assert_eq!(once["lease_state"], "alive");

    let agent = |name: &str| {
        Running::start(elsewhere.path(), name, &["agent", "--node-id", "node-b", "--api-url", &url, "--ttl", "10"])
    };
    let mut first = agent("agent-1");
    until("the agent runs", || first.logged().contains("agent.start").then_some(()));
    let table = ok(dir.path(), &["nodes-status", "--api-url", &url]);
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("NODE\tROLE\tLEASE\tHEARTBEAT\tEXPIRES"));
    assert!(
        lines.clone().any(|l| l.starts_with("node-a\tcore\talive\t"))
            && lines.any(|l| l.starts_with("node-b\tworker\talive\t")),
        "{table}"
    );

    first.kill();
    until("node-b is stale", || (lease(&admin, "node-b") == "stale").then_some(()));
    until_within("node-b is dead", Duration::from_secs(100), || (lease(&admin, "node-b") == "dead").then_some(()));
    until("its death is told", || (admin.events("nodes")[0]["name"] == "node.lease.dead").then_some(()));
    assert_eq!(lease(&admin, "node-a"), "alive");
    let mut second = agent("agent-2");
    until("node-b is alive again", || (lease(&admin, "node-b") == "alive").then_some(()));
    let of_b = |admin: &Client| -> Vec<String> {
        let events = admin.events("nodes");
        events
            .iter()
            .filter(|e| e["fields"]["node_id"] == "node-b" && e["fields"]["to"].is_string())
            .map(|e| e["name"].as_str().unwrap().to_string())
            .collect()
    };
    // The lease is renewed in memory first.
    until("its return is recorded", || (of_b(&admin).len() == 3).then_some(()));
    assert_eq!(of_b(&admin), ["node.lease.alive", "node.lease.dead", "node.lease.stale"]);

    // A power cut of the control plane, and a start on the same port: both nodes find their way back, nobody died on
    // paper.
    let port = client.address.port().to_string();
    control.kill();
    until("the agent notices", || second.logged().contains("agent.heartbeat_failed").then_some(()));
    let (mut control, client) = up(&dir, &port);
    let admin = Client { token: admin.token, ..client };
    assert_eq!((lease(&admin, "node-a"), lease(&admin, "node-b")), (json!("alive"), json!("alive")));
    until("the agent is back", || second.logged().contains("agent.back").then_some(()));
    assert_eq!(of_b(&admin), ["node.lease.alive", "node.lease.dead", "node.lease.stale"], "nothing new was recorded");
    assert_eq!(second.terminate(), 0);
    assert_eq!(control.terminate(), 0);
}

#[test]
fn an_agent_renews_what_runs_out_and_says_when_it_was_removed() {
    let dir = Dir::new();
    let short = ["up", "--server-port", "0", "--node-id", "node-a", "--cluster-lease-token-ttl-seconds", "60"];
    let (mut control, client) = Running::serve(dir.path(), &short);
    until("it is up", || control.said().contains("UptimeMesh").then_some(()));
    let port = client.address.port().to_string();
    control.kill();
    // With another key no lease token is genuine any more: only the node's own key can prove who it is.
    fs::remove_file(dir.join("data/keys/cluster-signing.key")).unwrap();
    let (control, client) = up(&dir, &port);
    until("the agent renewed its identity", || control.logged().contains("agent.renewed").then_some(()));
    let admin = client.signed_in("admin", "uptime");
    let events: Vec<Value> = admin.events("cluster").iter().map(|e| e["name"].clone()).collect();
    assert_eq!(events[0], "node.renew", "{events:?}");
    assert_eq!(events.iter().filter(|e| *e == "node.join").count(), 1, "it did not have to join again");

    let url = format!("http://{}", client.address);
    let elsewhere = Dir::new();
    joins(elsewhere.path(), &admin, &url, "gone");
    let agent = Running::start(elsewhere.path(), "agent", &["agent", "--node-id", "gone", "--api-url", &url]);
    until("the agent runs", || agent.logged().contains("agent.start").then_some(()));
    ok(dir.path(), &["node", "delete", "gone", "--api-url", &url]);
    let again = Running::start(elsewhere.path(), "again", &["agent", "--node-id", "gone", "--api-url", &url]);
    until("the agent says that it was removed", || again.logged().contains("agent.not_enrolled").then_some(()));
}

/// Each start signs a heartbeat, and no two may have the same second: the later ones run ahead of the clock.
#[test]
fn a_control_plane_may_be_started_again_and_again_within_a_second() {
    let dir = Dir::new();
    let (mut control, client) = up(&dir, "0");
    let port = client.address.port().to_string();
    for _ in 0..4 {
        assert_eq!(control.terminate(), 0);
        (control, _) = up(&dir, &port);
        assert!(!control.logged().contains("agent.rejoin"), "{}", control.logged());
    }
}

/// Passes connections on; those with a number below `forgotten` say nothing any more, as behind a router that has
/// forgotten them.
fn router(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (forgotten, made) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (limit, count) = (Arc::clone(&forgotten), Arc::clone(&made));
    let pass = move |mut from: TcpStream, mut to: TcpStream, number: usize, limit: Arc<AtomicUsize>| {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            if number >= limit.load(Ordering::SeqCst) && to.write_all(&bytes[..n]).is_err() {
                return;
            }
        }
    };
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let Ok(far) = TcpStream::connect(to) else { return };
            let (back, ways) =
                ((far.try_clone().unwrap(), near.try_clone().unwrap()), [Arc::clone(&limit), Arc::clone(&limit)]);
            let [there, here] = ways;
            std::thread::spawn(move || pass(near, far, number, there));
            std::thread::spawn(move || pass(back.0, back.1, number, here));
        }
    });
    (address, forgotten, made)
}

#[test]
fn a_connection_that_was_forgotten_on_the_way_costs_no_lease() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let (_control, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let admin = client.signed_in("admin", "uptime");
    let (address, forgotten, made) = router(client.address);
    let url = format!("http://{address}");
    joins(elsewhere.path(), &admin, &url, "n");
    let before = made.load(Ordering::SeqCst);
    let agent =
        Running::start(elsewhere.path(), "agent", &["agent", "--node-id", "n", "--api-url", &url, "--ttl", "10"]);
    until("the agent beats", || elsewhere.join("data/identities/n/status.json").exists().then_some(()));
    let three = || (made.load(Ordering::SeqCst) == before + 3).then_some(());
    until("it has one connection for heartbeats, one for the call that waits, and one for reports", three);
    for _ in 0..2 {
        let beaten = admin.get("/nodes/n").json()["heartbeat_at"].clone();
        forgotten.store(made.load(Ordering::SeqCst), Ordering::SeqCst);
        until("the next heartbeat is accepted", || {
            (admin.get("/nodes/n").json()["heartbeat_at"] != beaten).then_some(())
        });
    }
    assert!(!agent.logged().contains("agent.heartbeat_failed"), "{}", agent.logged());
    let told = admin.events("nodes");
    assert!(!told.iter().any(|e| e["name"] == "node.lease.stale"), "{told:?}");
}

#[test]
fn an_address_that_swallows_packets_costs_no_heartbeat() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let (_control, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let admin = client.signed_in("admin", "uptime");
    let url = format!("http://{}", client.address);
    joins(elsewhere.path(), &admin, &url, "n");
    // Its queue is full, so the system drops what asks to be put in.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&silent, 0).unwrap();
    let at = silent.local_addr().unwrap();
    let waiting: Vec<_> =
        (0..8).map_while(|_| TcpStream::connect_timeout(&at, Duration::from_millis(200)).ok()).collect();
    assert!(waiting.len() < 8);
    fs::write(elsewhere.join("data/identities/n/api.urls"), format!("http://{at}\n{url}\n")).unwrap();
    ok(elsewhere.path(), &["heartbeat", "--node-id", "n", "--ttl", "45"]);
    let agent = Running::start(elsewhere.path(), "agent", &["agent", "--node-id", "n", "--ttl", "45"]);
    until("a heartbeat is accepted", || elsewhere.join("data/identities/n/status.json").exists().then_some(()));
    assert!(!agent.logged().contains("agent.heartbeat_failed"), "{}", agent.logged());
}

/// `df` hangs, as it does on a dead network mount.
#[test]
fn a_disk_that_does_not_answer_costs_no_heartbeat() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let (_control, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let admin = client.signed_in("admin", "uptime");
    let url = format!("http://{}", client.address);
    joins(elsewhere.path(), &admin, &url, "n");
    let (bin, marker) = (elsewhere.join("bin"), elsewhere.join("df.pid"));
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("df"), format!("#!/bin/sh\necho $$ >> {}\nexec sleep 60\n", marker.display())).unwrap();
    fs::set_permissions(bin.join("df"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command =
        crate::program::command(elsewhere.path(), &["agent", "--node-id", "n", "--api-url", &url, "--ttl", "10"]);
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    let beaten = || admin.get("/nodes/n").json()["heartbeat_at"].clone();
    let mut last = beaten();
    let mut agent = Running::of(command, elsewhere.path(), "agent");
    // The first one is not waited for long, so that the first heartbeats report the machine's size.
    let df: i32 = until("df is run again", || fs::read_to_string(&marker).ok()?.lines().nth(1)?.parse().ok());
    let hangs = || Path::new(&format!("/proc/{df}")).exists();
    for _ in 0..2 {
        until("a heartbeat is accepted", || (beaten() != last).then_some(()));
        last = beaten();
    }
    assert!(hangs(), "the heartbeats did not wait for it");
    let status = admin.get("/nodes/n").json()["status"].clone();
    assert_eq!((&status["ready"], &status["disk_total_bytes"]), (&json!(true), &Value::Null), "{status}");
    assert_eq!(agent.terminate(), 0);
    let still = hangs();
    rustix::process::kill_process(rustix::process::Pid::from_raw(df).unwrap(), rustix::process::Signal::KILL).unwrap();
    assert!(still, "its end does not wait for it either");
    assert!(!agent.logged().contains("agent.heartbeat_failed"), "{}", agent.logged());
}
