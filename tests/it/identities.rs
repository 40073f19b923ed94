//! Where identities lie, and which one is meant.

use crate::program::{Running, command, fails, ok};
use crate::support::{Client, Dir, until};
use crate::trouble::{can_mount, in_namespace};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;

const FILES: [&str; 4] = ["node.key", "node.crt", "ca.crt", "lease.token"];

/// A control plane, its URL, and somebody who may administer it.
fn served(dir: &Dir) -> (Running, String, Client) {
    let (running, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let url = format!("http://{}", client.address);
    (running, url, client.signed_in("admin", "uptime"))
}

fn join(machine: &Path, url: &str, admin: &Client, node: &str, more: &[&str]) -> Value {
    let token = crate::node::token(admin, "worker", None);
    let join = ["join", "--api-url", url, "--token", &token, "--role", "worker", "--node-id", node];
    serde_json::from_str(&ok(machine, &[&join[..], more].concat())).unwrap()
}

#[test]
fn a_directory_of_identities_has_one_for_each_node() {
    let (dir, machine) = (Dir::new(), Dir::new());
    let (_control, url, admin) = served(&dir);
    for node in ["n1", "n:2", "N.3_-x"] {
        join(machine.path(), &url, &admin, node, &["--identity-dir", "all"]);
        assert!(FILES.iter().all(|name| machine.join("all").join(node).join(name).exists()), "{node}");
    }
    assert!(FILES.iter().all(|name| !machine.join("all").join(name).exists()));
    for node in ["n1", "n:2", "N.3_-x"] {
        let beat = ok(machine.path(), &["heartbeat", "--node-id", node, "--identity-dir", "all", "--api-url", &url]);
        assert_eq!(serde_json::from_str::<Value>(&beat).unwrap()["node_id"], node);
    }
    let agent = Running::start(
        machine.path(),
        "agent",
        &["agent", "--node-id", "n1", "--identity-dir", "all/", "--api-url", &url],
    );
    until("the agent tells of its run", || machine.join("all/n1/status.json").exists().then_some(()));
    drop(agent);
    // `up` keeps its own there too, and takes up one that is there.
    for _ in 0..2 {
        let up = ["up", "--server-port", "0", "--node-id", "own", "--identity-dir", "all", "--data-dir", "of-up"];
        let (up, _) = Running::serve(machine.path(), &up);
        until("it is up", || up.said().contains("node     own").then_some(()));
        assert!(FILES.iter().all(|name| machine.join("all/own").join(name).exists()));
        assert!(!machine.join("of-up/identities").exists());
    }
}

#[test]
fn an_identity_that_lies_in_the_directory_itself_is_found() {
    let (dir, machine) = (Dir::new(), Dir::new());
    let (_control, url, admin) = served(&dir);
    join(machine.path(), &url, &admin, "old", &[]);
    fs::rename(machine.join("data/identities/old"), machine.join("direct")).unwrap();
    let direct = ["--identity-dir", "direct", "--api-url", &url];
    for named in [&["--node-id", "old"][..], &[]] {
        ok(machine.path(), &[&["heartbeat"], named, &direct].concat());
        let agent = Running::start(machine.path(), "agent", &[&["agent"], named, &direct].concat());
        until("the agent tells of its run", || machine.join("direct/status.json").exists().then_some(()));
        fs::remove_file(machine.join("direct/status.json")).unwrap();
        drop(agent);
        let said = ok(machine.path(), &[&["doctor"], named, &direct].concat());
        assert!(said.contains("old, in direct"), "{said}");
    }
    // Another node's is put beside it, and takes nothing of it.
    let before = FILES.map(|name| fs::read(machine.join("direct").join(name)).unwrap());
    join(machine.path(), &url, &admin, "new", &["--identity-dir", "direct"]);
    assert_eq!(FILES.map(|name| fs::read(machine.join("direct").join(name)).unwrap()), before);
    assert!(FILES.iter().all(|name| machine.join("direct/new").join(name).exists()));
    for node in ["old", "new"] {
        ok(machine.path(), &[&["heartbeat", "--node-id", node], &direct[..]].concat());
    }
    let (status, said) = fails(machine.path(), &[&["heartbeat"], &direct[..]].concat());
    assert!(status == 2 && said.contains("--node-id: new, old"), "{said}");
}

#[test]
fn one_identity_is_meant_whatever_the_machine_is_called() {
    let (dir, machine) = (Dir::new(), Dir::new());
    let (_control, url, admin) = served(&dir);
    let beat = ["heartbeat", "--api-url", &url];
    let (_, said) = fails(machine.path(), &beat);
    assert!(said.contains("join first"), "{said}");
    join(machine.path(), &url, &admin, "called-so-once", &[]);
    // What is no identity does not count: a copy that was put aside, an unfinished join.
    let aside = machine.join("data/identities/aside");
    fs::create_dir_all(&aside).unwrap();
    for name in FILES {
        fs::copy(machine.join("data/identities/called-so-once").join(name), aside.join(name)).unwrap();
    }
    fs::create_dir_all(machine.join("data/identities/unfinished")).unwrap();
    fs::write(machine.join("data/identities/unfinished/node.key"), "").unwrap();
    let node_id = |text: &str| serde_json::from_str::<Value>(text).unwrap()["node_id"].clone();
    assert_eq!(node_id(&ok(machine.path(), &beat)), "called-so-once");
    let agent = Running::start(machine.path(), "agent", &["agent", "--api-url", &url]);
    until("the agent beats", || machine.join("data/identities/called-so-once/status.json").exists().then_some(()));
    drop(agent);
    // It joins again as what it is.
    let token = crate::node::token(&admin, "worker", Some("called-so-once"));
    assert_eq!(
        node_id(&ok(machine.path(), &["join", "--api-url", &url, "--token", &token, "--role", "worker"])),
        "called-so-once"
    );

    join(machine.path(), &url, &admin, "another", &[]);
    for line in
        [&beat[..], &["agent", "--api-url", &url], &["join", "--api-url", &url, "--token", "x", "--role", "worker"]]
    {
        let (status, said) = fails(machine.path(), line);
        assert!(status == 2 && said.contains("--node-id: another, called-so-once"), "{line:?}: {status} {said}");
    }
    let named = command(machine.path(), &beat).env("UPTIMEMESH_NODE_ID", "another").output().unwrap();
    assert_eq!(node_id(&String::from_utf8(named.stdout).unwrap()), "another");
}

#[test]
fn up_is_the_node_whose_identity_is_there() {
    let dir = Dir::new();
    let up = ["up", "--server-port", "0"];
    let (mut first, _) = Running::serve(dir.path(), &[&up[..], &["--node-id", "called-so-once"]].concat());
    until("it is up", || first.said().contains("node     called-so-once").then_some(()));
    assert_eq!(first.terminate(), 0);
    let (again, client) = Running::serve(dir.path(), &up);
    until("it is up", || again.said().contains("node     called-so-once").then_some(()));
    let nodes = client.signed_in("admin", "uptime").get("/nodes").json();
    assert_eq!(nodes.as_array().unwrap().len(), 1, "{nodes}");
}

/// As containers of 2.0.0 left it, of which each was another node.
#[test]
fn up_starts_on_a_volume_with_several_identities_as_the_node_that_was_used_last() {
    let dir = Dir::new();
    let up = ["up", "--server-port", "0"];
    for id in ["z-first", "a-last"] {
        let (mut running, _) = Running::serve(dir.path(), &[&up[..], &["--node-id", id]].concat());
        until("it is up", || running.said().contains(&format!("node     {id}")).then_some(()));
        assert_eq!(running.terminate(), 0);
    }
    let (again, _) = Running::serve(dir.path(), &up);
    until("it is up", || again.said().contains("node     a-last").then_some(()));
    assert!(again.logged().contains("note: several nodes have an identity"), "{}", again.logged());
}

/// As a container that is made anew beside its volume: it has another host name each time.
#[test]
fn a_container_that_is_made_again_is_the_same_node() {
    let dir = Dir::new();
    let data = dir.join("volume");
    let named = |name: &str| {
        let program = command(dir.path(), &["up", "--server-port", "0", "--server-host", "127.0.0.1"]);
        let mut outer = std::process::Command::new("unshare");
        outer
            .args(["--uts", "sh", "-ec", "hostname \"$0\"; exec \"$@\"", name])
            .arg(program.get_program())
            .args(program.get_args());
        outer
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("DATA_DIR", &data)
            .env("LOG_FILE", "");
        outer.current_dir(dir.path());
        Running::of(outer, dir.path(), name)
    };
    for name in ["3f1c9a7be210", "b02d44e1c9aa"] {
        let mut up = named(name);
        until("it is up", || up.said().contains("node     3f1c9a7be210").then_some(()));
        let nodes = up.client().signed_in("admin", "uptime").get("/nodes").json();
        assert_eq!(nodes.as_array().unwrap().len(), 1, "{nodes}");
        assert_eq!(up.terminate(), 0);
    }
}

#[test]
fn a_join_that_replaces_a_node_says_whom() {
    let (dir, machine, other) = (Dir::new(), Dir::new(), Dir::new());
    let (_control, url, admin) = served(&dir);
    let for_n = || crate::node::token(&admin, "worker", Some("n"));
    let rejoin = |machine: &Path, name: &str| {
        let token = for_n();
        let line = ["join", "--api-url", &url, "--token", &token, "--role", "worker", "--node-id", "n", "--name", name];
        let output = crate::program::run(machine, &line);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        (serde_json::from_slice::<Value>(&output.stdout).unwrap(), said)
    };
    // An operator made it known before: nobody's place is taken.
    admin.post("/nodes", &json!({"id": "n", "name": "first"}));
    let (fresh, said) = rejoin(machine.path(), "first");
    assert!(fresh.get("replaced").is_none() && !said.contains("warning: this takes the place"), "{fresh} {said}");
    assert!(admin.events("cluster")[0]["level"].as_str().unwrap().eq_ignore_ascii_case("info"));
    ok(machine.path(), &["heartbeat", "--node-id", "n", "--api-url", &url]);
    for (from, same_key, before, name) in [(&other, false, "first", "second"), (&other, true, "second", "third")] {
        let seen = admin.get("/nodes/n").json();
        let (answer, said) = rejoin(from.path(), name);
        let replaced = json!({"node_id": "n", "name": before, "last_seen_at": seen["heartbeat_at"],
            "identity_fingerprint": seen["identity_fingerprint"], "same_key": same_key});
        assert_eq!(answer["replaced"], replaced);
        let second = &seen["heartbeat_at"].as_str().unwrap()[.."2000-01-01T00:00:00".len()];
        assert!(said.contains(&format!("the node n (named {before}, last seen {second}Z)")), "{said}");
        let event = &admin.events("cluster")[0];
        assert!(
            event["name"] == "node.rejoin" && event["level"].as_str().unwrap().eq_ignore_ascii_case("warning"),
            "{event}"
        );
        assert_eq!(event["fields"]["replaced"], replaced);
    }
}

#[test]
fn a_join_that_could_not_be_kept_costs_no_token() {
    if !can_mount() {
        return;
    }
    let (dir, machine) = (Dir::new(), Dir::new());
    let (_control, url, admin) = served(&dir);
    join(machine.path(), &url, &admin, "n", &[]);
    let token = crate::node::token(&admin, "worker", Some("n"));
    let line = ["join", "--api-url", &url, "--token", &token, "--role", "worker", "--node-id", "n"];
    let at = "data/identities/n";
    let output = in_namespace(machine.path(), &format!("mount --bind {at} {at}\nmount -o remount,bind,ro {at}"), &line)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("Read-only file system"), "{said}");
    ok(machine.path(), &line);
}

/// Answers one request with this JSON; gives its URL.
fn one_answer(body: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let (mut line, mut length) = (String::new(), 0);
        while lines.read_line(&mut line).unwrap() > 2 {
            length = line
                .to_ascii_lowercase()
                .strip_prefix("content-length: ")
                .map_or(length, |n| n.trim().parse().unwrap());
            line.clear();
        }
        lines.take(length).read_to_end(&mut Vec::new()).unwrap();
        let body = body.to_string();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
    });
    url
}

/// A directory has the name under which a file is prepared: as on a card that takes no writes any more, also for root.
#[test]
fn what_cannot_be_written_down_is_used_and_told() {
    let (dir, machine) = (Dir::new(), Dir::new());
    let (mut control, url, admin) = served(&dir);
    join(machine.path(), &url, &admin, "n1", &[]);
    let place = |name: &str| machine.join("data/identities/n1").join(name);
    let blocked = ["lease.token.new", "node.crt.new", "ca.crt.new"].map(place);
    blocked.iter().for_each(|path| fs::create_dir_all(path.join("full")).unwrap());

    let at = "2026-11-23T20:12:26.900008Z";
    let answered = one_answer(json!({
        "node_id": "n1", "heartbeat_at": at, "lease_expires_at": at, "lease_state": "alive",
        "lease_token": "a.fresh.one",
    }));
    let beat = crate::program::run(machine.path(), &["heartbeat", "--node-id", "n1", "--api-url", &answered]);
    let said = String::from_utf8_lossy(&beat.stderr).into_owned();
    assert!(beat.status.success() && said.contains("warning: the heartbeat was accepted"), "{said}");
    assert!(String::from_utf8_lossy(&beat.stdout).contains("\"alive\""));

    // No lease token is genuine any more: the agent renews its identity, and uses what it is given.
    let port = url.rsplit(':').next().unwrap().to_string();
    control.kill();
    fs::remove_file(dir.join("data/keys/cluster-signing.key")).unwrap();
    let (_control, _) = Running::serve(dir.path(), &["serve", "--server-port", &port]);
    let before = fs::read(place("lease.token")).unwrap();
    let agent =
        Running::start(machine.path(), "agent", &["agent", "--node-id", "n1", "--api-url", &url, "--ttl", "10"]);
    until("it is told", || agent.logged().contains("agent.identity_unwritten").then_some(()));
    until("its heartbeats are accepted", || place("status.json").exists().then_some(()));
    let beaten = admin.get("/nodes/n1").json()["heartbeat_at"].clone();
    until("and the next ones", || (admin.get("/nodes/n1").json()["heartbeat_at"] != beaten).then_some(()));
    assert_eq!(fs::read(place("lease.token")).unwrap(), before);
    blocked.iter().for_each(|path| fs::remove_dir_all(path).unwrap());
    until("it is written down", || agent.logged().contains("agent.identity_written").then_some(()));
    assert_ne!(fs::read(place("lease.token")).unwrap(), before);
    let log = agent.logged();
    assert_eq!(log.matches("agent.identity_unwritten").count(), 1, "told once: {log}");
    assert!(!log.contains("agent.heartbeat_failed"), "{log}");
}
