//! Bytes that durable writes put on the disk, by the kernel's count (`write_bytes`), checkpoints included; and those of
//! a minute in which nothing changes.

use crate::fleet::{Conn, Fleet};
use crate::line;
use crate::server::{Server, post, temporary_dir};
use std::time::{Duration, Instant};

/// Writes of each kind: several checkpoints.
const WRITES: usize = 1600;
/// Joins and heartbeats need keys and signatures, so there are fewer.
const NODES: usize = 160;
/// Goals in KiB, by the number of clients.
const GOALS: [(usize, f64); 2] = [(1, 16.0), (8, 6.0)];
/// Interval between heartbeats in the quiet minute.
const BEAT: Duration = Duration::from_secs(5);

/// A kind of write: its name, method and path, its body, by the number of the write.
type Kind = (&'static str, fn(usize) -> (&'static str, String, String));

const KINDS: [Kind; 6] = [
    ("service create", |i| {
        ("POST", "/services".into(), format!(r#"{{"id":"s{i}","name":"s{i}","spec":{}}}"#, spec(i)))
    }),
    ("service apply", |i| ("PATCH", format!("/services/s{}", mixed(i)), format!(r#"{{"spec":{}}}"#, spec(i + 1)))),
    ("event", |i| {
        let fields = format!(r#"{{"node_id":"m{}","text":"a line of {i}"}}"#, i % 16);
        (
            "POST",
            "/events".into(),
            format!(r#"{{"category":"deploy","name":"app.ok","level":"info","fields":{fields}}}"#),
        )
    }),
    ("node create", |i| ("POST", "/nodes".into(), format!(r#"{{"id":"m{i}","name":"m{i}","roles":["worker"]}}"#))),
    ("replica create", |i| {
        let body = format!(r#"{{"id":"r{i}","service_id":"s{}","node_id":"m{i}"}}"#, mixed(i));
        ("POST", "/replicas".into(), body)
    }),
    ("replica move", |i| {
        let body = format!(r#"{{"target_node_id":"m{}"}}"#, (mixed(i) + 7) % WRITES);
        ("POST", format!("/replicas/r{}/move", mixed(i)), body)
    }),
];

/// A usual spec; the scheduler has nothing to do for it.
fn spec(i: usize) -> String {
    format!(
        r#"{{"image":"registry.example.com/team/app:1.{i}","replicas":0,"env":{{"LOG":"info","PORT":"8080"}},"labels":{{"tier":"web"}}}}"#
    )
}

/// All numbers once, in no order.
fn mixed(i: usize) -> usize {
    i * 733 % WRITES
}

pub fn writes() {
    for (clients, goal) in GOALS {
        let dir = temporary_dir(&format!("writes-{clients}"));
        let server = Server::start(&dir, &["--log-level", "ERROR"]);
        let session = server.sign_in();
        for (name, request) in KINDS {
            let requests: Vec<Vec<u8>> = (0..WRITES)
                .map(|i| {
                    let (method, path, body) = request(i);
                    let mut bytes = post(&path, &session, &body);
                    bytes.splice(..4, method.bytes());
                    bytes
                })
                .collect();
            measure(&server, name, &requests, clients, goal);
        }
        let mut fleet = Fleet::prepare(&server, NODES);
        let (began, before) = (Instant::now(), server.written_bytes());
        fleet.join(&server, clients);
        report("join", &server, before, began, NODES, clients, goal);
        let batches = fleet.sign(1, 1);
        measure(&server, "heartbeat, changed status", &batches[0], clients, goal);
    }
    quiet();
}

fn measure(server: &Server, name: &str, requests: &[Vec<u8>], clients: usize, goal: f64) {
    let (began, before) = (Instant::now(), server.written_bytes());
    std::thread::scope(|scope| {
        for part in requests.chunks(requests.len().div_ceil(clients)) {
            scope.spawn(move || {
                let mut conn = Conn::open(server.address);
                for request in part {
                    let (status, body) = conn.raw(request);
                    assert!((200..300).contains(&status), "{name}: {status} {}", String::from_utf8_lossy(&body));
                }
            });
        }
    });
    report(name, server, before, began, requests.len(), clients, goal);
}

fn report(name: &str, server: &Server, before: u64, began: Instant, count: usize, clients: usize, goal: f64) {
    let kib = (server.written_bytes() - before) as f64 / 1024.0 / count as f64;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    let what = format!("bytes of a write, {clients} clients, {name}");
    line(&what, format!("{kib:.1} KiB"), format!("{rate:.0} writes/s"), &format!("at most {goal:.0} KiB"), kib <= goal);
}

/// Three nodes whose heartbeats report nothing new.
fn quiet() {
    let dir = temporary_dir("writes-quiet");
    let server = Server::start(&dir, &["--log-level", "ERROR"]);
    let mut fleet = Fleet::prepare(&server, 3);
    fleet.join(&server, 1);
    let beats = Duration::from_secs(80).as_secs() / BEAT.as_secs();
    let batches = fleet.sign(beats as usize, 1);
    let mut conn = Conn::open(server.address);
    let mut rounds = batches[0].chunks(3).map(|round| {
        round.iter().for_each(|request| assert_eq!(conn.raw(request).0, 200));
        std::thread::sleep(BEAT);
    });
    // What came before the minute is on the disk by then: the first heartbeats change a status.
    rounds.by_ref().take(4).for_each(drop);
    let before = server.written_bytes();
    rounds.by_ref().take(12).for_each(drop);
    let bytes = server.written_bytes() - before;
    line("bytes written in a quiet minute, 3 nodes", format!("{bytes} B"), String::new(), "0", bytes == 0);
}
