//! `logs`: what nodes post reaches readers, in order and bounded, and what cannot be read is named.

use crate::node::{Node, send_with};
use crate::program::{Running, command, fails, ok};
use crate::support::{Answer, Client, Dir, Served, Wire, until};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Replicas `s-1`, `s-2`, .. of a service `s` on these nodes, of which nothing else changes.
fn place(admin: &Client, nodes: &[&str]) {
    assert_eq!(admin.put("/cluster-settings/scheduler_mode", &json!({"value": "manual"})).status, 200);
    assert_eq!(admin.post("/services", &json!({"id": "s", "name": "s"})).status, 201);
    for (number, node_id) in nodes.iter().enumerate() {
        let replica = json!({"id": format!("s-{}", number + 1), "service_id": "s", "node_id": node_id});
        assert_eq!(admin.post("/replicas", &replica).status, 201);
    }
}

/// Reads from a thread of the test, to the end.
fn read(client: &Client, target: &str) -> JoinHandle<Answer> {
    let (client, target) = (client.clone(), target.to_string());
    std::thread::spawn(move || client.get(&target))
}

fn entries(answer: &Answer) -> Vec<Value> {
    answer.text().lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The relays that are requested of a node, once there are some.
fn requested(node: &Node, client: &Client) -> Vec<Value> {
    let work = node.call(client, "GET", "/node/work", b"").json();
    let target = format!("/node/work?after={}.{}&wait=30", work["epoch"], work["version"]);
    let mut found = work["relay_requests"].clone();
    if found.is_null() {
        let waiting = node.sign("GET", &target, b"");
        found = send_with(client, "GET", &target, &waiting.headers(), b"").json()["relay_requests"].clone();
    }
    let documents = found.as_array().unwrap().iter().map(|request| request["document"].as_str().unwrap());
    documents.map(|document| serde_json::from_str(document).unwrap()).collect()
}

fn post(node: &Node, client: &Client, relay: &Value, seq: u64, state: &str, text: &str) -> Answer {
    let target = format!("/node/relay/{}", relay["relay_id"].as_str().unwrap());
    let body = json!({"seq": seq, "state": state, "text": text});
    node.call(client, "POST", &target, body.to_string().as_bytes())
}

#[test]
fn what_nodes_post_is_interleaved_and_a_node_that_fails_is_named() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let nodes = [Node::joined(&admin, "n1"), Node::joined(&admin, "n2"), Node::joined(&admin, "n3")];
    assert_eq!(admin.post("/nodes", &json!({"id": "n4", "name": "n4"})).status, 201);
    place(&admin, &["n1", "n2", "n3", "n4"]);
    assert_eq!(served.user("v", "viewer").get("/services/s/logs").status, 403);
    assert_eq!(admin.get("/services/t/logs").status, 404);
    assert_eq!(admin.get("/replicas/t/logs").status, 404);
    assert_eq!(admin.get("/replicas/s-1/logs?tail=-1&since=x").faults().len(), 2);
    let reading = read(&admin, "/services/s/logs?tail=7");
    let relays: Vec<Value> = nodes.iter().flat_map(|node| requested(node, &client)).collect();
    assert_eq!(relays.len(), 3);
    let wanted = json!({"logs": {"replicas": ["s-1"], "since": null, "tail": 7, "follow": false}});
    assert_eq!((&relays[0]["node_id"], &relays[0]["wants"]), (&json!("n1"), &wanted));
    let line = |second: u32, text: &str| format!("0 2026-01-02T03:04:0{second}Z o F {text}\n");
    let send = |node: usize, relay: usize, seq: u64, state: &str, text: &str| {
        post(&nodes[node], &client, &relays[relay], seq, state, text).status
    };
    assert_eq!(send(1, 0, 0, "more", &line(0, "forged")), 410, "another node's relay");
    assert_eq!(send(0, 0, 0, "more", "nonsense\n"), 422);
    assert_eq!(send(0, 0, 1, "more", &line(0, "early")), 409);
    assert_eq!(send(0, 0, 0, "more", &line(1, "a")), 204);
    assert_eq!(send(0, 0, 0, "more", &line(1, "a")), 204, "a repeated post is taken once");
    let second = line(2, "b") + &line(4, "d") + "7 2026-01-02T03:04:05Z o F no such replica\n";
    assert_eq!(send(1, 1, 0, "end", &second), 204);
    assert_eq!(send(0, 0, 1, "end", &line(3, "c \u{e9}")), 204);
    let failed = json!({"seq": 0, "state": "failed", "reason": "the disk is broken"}).to_string();
    let target = format!("/node/relay/{}", relays[2]["relay_id"].as_str().unwrap());
    assert_eq!(nodes[2].call(&client, "POST", &target, failed.as_bytes()).status, 204);
    let answer = reading.join().unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
    let entries = entries(&answer);
    let lines: Vec<&str> = entries.iter().filter_map(|entry| entry["text"].as_str()).collect();
    assert_eq!(lines, ["a", "b", "c \u{e9}", "d"], "{}", answer.text());
    let first = json!({"kind": "line", "replica_id": "s-1", "node_id": "n1", "at": "2026-01-02T03:04:01Z",
        "stream": "stdout", "partial": false, "text": "a"});
    assert!(entries.contains(&first), "{}", answer.text());
    for (replica_id, node_id, reason) in [("s-3", "n3", "the disk is broken"), ("s-4", "n4", "its node is unknown")] {
        let missing = json!({"kind": "missing", "replica_id": replica_id, "node_id": node_id, "reason": reason});
        assert!(entries.contains(&missing), "{}", answer.text());
    }
    assert_eq!(entries.last(), Some(&json!({"kind": "end"})));
    assert_eq!(send(0, 0, 2, "end", ""), 410, "the reader has all");
    let readings: Vec<Value> = admin.events("services").into_iter().filter(|e| e["name"] == "service.logs").collect();
    assert_eq!(readings.len(), 1);
    assert_eq!(readings[0]["fields"], json!({"service_id": "s", "node_id": null, "follow": false}));
    assert!(readings[0]["actor"].as_str().is_some_and(|actor| actor.contains("admin")), "{}", readings[0]);
}

#[test]
fn a_reader_that_never_reads_holds_its_node_back_and_costs_little() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let node = Node::joined(&admin, "n1");
    place(&admin, &["n1"]);
    let mut reader = Wire::connect(admin.address, None).unwrap();
    let token = served.api_token("operator");
    let head = format!(
        "GET /replicas/s-1/logs?follow=true HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        token.token.as_deref().unwrap()
    );
    reader.write_all(head.as_bytes()).unwrap();
    let relays = requested(&node, &client);
    let text = format!("0 2026-01-02T03:04:05Z o F {}\n", "x".repeat(60_000));
    let mut taken = 0;
    let last = loop {
        let answer = post(&node, &client, &relays[0], taken, "live", &text);
        if answer.status != 204 {
            break answer;
        }
        taken += 1;
        // The buffers of the sockets, and what the server holds.
        assert!(taken < 300, "{taken} posts were taken for a reader that does not read");
    };
    assert_eq!(last.status, 410, "after {taken} posts: {}", last.text());
    assert!(taken > 4);
    let mut bytes = Vec::new();
    let _ = reader.read_to_end(&mut bytes);
    assert!(bytes.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn a_reader_that_leaves_ends_its_relay_and_a_node_serves_a_few() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let node = Node::joined(&admin, "n1");
    place(&admin, &["n1"]);
    let token = served.api_token("operator");
    let head = format!(
        "GET /replicas/s-1/logs?follow=true HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        token.token.as_deref().unwrap()
    );
    let open = || {
        let mut reader = Wire::connect(admin.address, None).unwrap();
        reader.write_all(head.as_bytes()).unwrap();
        reader
    };
    let mut relays = Vec::new();
    let readers: Vec<Wire> = (0..4)
        .map(|_| {
            let reader = open();
            relays.extend(requested(&node, &client));
            reader
        })
        .collect();
    assert_eq!(relays.len(), 4);
    let fifth = entries(&admin.get("/services/s/logs"));
    assert!(fifth[0]["reason"].as_str().unwrap().contains("too many"), "{fifth:?}");
    for relay in &relays {
        assert_eq!(post(&node, &client, relay, 0, "live", "").status, 204);
    }
    drop(readers);
    let mut seq = 0;
    for relay in &relays {
        until("the server sees that the reader has left", || {
            seq += 1;
            (post(&node, &client, relay, seq, "live", "").status == 410).then_some(())
        });
        seq = 0;
    }
}

fn log_file(dir: &Path, replica: &str, run: &str) -> PathBuf {
    let dir = dir.join("data/runner/logs").join(replica).join(run);
    fs::create_dir_all(&dir).unwrap();
    dir.join("log.0")
}

fn append(file: &Path, lines: &[(u32, &str)]) {
    let mut file = fs::File::options().create(true).append(true).open(file).unwrap();
    let text: String =
        lines.iter().map(|(second, text)| format!("2026-01-02T03:04:{second:02}Z o F {text}\n")).collect();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn the_program_shows_logs_of_its_node_and_follows_them() {
    let dir = Dir::new();
    let (_up, client) = Running::serve(dir.path(), &["up", "--server-port", "0", "--node-id", "n1"]);
    let admin = client.signed_in("admin", "uptime");
    assert_eq!(admin.post("/nodes", &json!({"id": "n2", "name": "n2"})).status, 201);
    place(&admin, &["n1", "n1", "n2"]);
    let url = format!("http://{}", client.address);
    let run = |line: &str| ok(dir.path(), &line.split(' ').chain(["--api-url", &url]).collect::<Vec<_>>());
    assert_eq!(run("logs s-1"), "", "it has written nothing yet");
    let (one, two) = (log_file(dir.path(), "s-1", "aa"), log_file(dir.path(), "s-2", "bb"));
    append(&one, &[(1, "first"), (3, "third\u{1b}[31m")]);
    append(&two, &[(2, "second")]);
    assert_eq!(run("logs s-1"), "first\nthird\u{1b}[31m\n");
    assert_eq!(run("logs s-1 --tail 1 -t"), "2026-01-02T03:04:03Z third\u{1b}[31m\n");
    assert_eq!(run("logs s --since 2026-01-02T03:04:02Z"), "s-2 | second\ns-1 | third\u{1b}[31m\n");
    assert_eq!(run("logs s --node n2"), "");
    let all = command(dir.path(), &["logs", "s", "--api-url", &url]).output().unwrap();
    let said = String::from_utf8(all.stderr).unwrap();
    assert_eq!(all.status.code(), Some(0), "{said}");
    assert!(said.contains("s-3 on n2 cannot be read: its node is unknown"), "{said}");
    let lines = run("logs s-2 --json");
    assert!(lines.contains(r#""text":"second""#) && lines.ends_with("{\"kind\":\"end\"}\n"), "{lines}");
    let (code, why) = fails(dir.path(), &["logs", "nothing", "--api-url", &url]);
    assert!(code == 1 && why.contains("no service and no replica nothing"), "{code} {why}");
    let (code, why) = fails(dir.path(), &["logs", "s", "--since", "soon", "--api-url", &url]);
    assert!(code == 2 && why.contains("--since must be"), "{code} {why}");

    let following = Running::start(dir.path(), "follow", &["logs", "s", "-f", "--tail", "1", "--api-url", &url]);
    let shows = |text: &str| {
        until(text, || fs::read_to_string(dir.join("follow.out")).unwrap_or_default().contains(text).then_some(()));
    };
    shows("s-2 | second");
    append(&one, &[(4, "fourth")]);
    shows("s-1 | fourth");
    fs::rename(&one, one.with_file_name("log.1")).unwrap();
    append(&one, &[(5, "fifth")]);
    shows("s-1 | fifth");
    append(&log_file(dir.path(), "s-1", "00"), &[(6, "of the next run")]);
    shows("s-1 | of the next run");
    drop(following);
}
