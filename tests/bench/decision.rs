//! How soon the scheduler acts by itself: after a new service, and after a drain.

use crate::fleet::Conn;
use crate::line;
use crate::scheduler::Cluster;
use crate::server::Server;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Nodes of the cluster.
const NODES: usize = 20;
/// A time without changes: what follows is no part of a burst.
const QUIET: Duration = Duration::from_secs(2);
/// Limit for a decision.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reader of the scheduler's events as they are published.
pub struct Decisions {
    stream: TcpStream,
    text: Vec<u8>,
}

impl Decisions {
    pub fn follow(server: &Server, session: &str) -> Decisions {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&server.get_with("/events/stream?name=scheduler.reconcile", session)).unwrap();
        let mut decisions = Decisions { stream, text: Vec::new() };
        // The head of the answer: what is decided from now on is seen.
        decisions.read_to(b"\r\n\r\n");
        decisions
    }

    /// The next decision: its fields.
    pub fn next(&mut self) -> Value {
        loop {
            let frame = self.read_to(b"\n\n");
            let Some(data) = frame.split("data: ").nth(1) else { continue };
            let event: Value = serde_json::from_str(data.lines().next().unwrap()).unwrap();
            return event["fields"].clone();
        }
    }

    fn read_to(&mut self, mark: &[u8]) -> String {
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some(at) = self.text.windows(mark.len()).position(|w| w == mark) {
                return String::from_utf8(self.text.drain(..at + mark.len()).collect()).unwrap();
            }
            let count = self.stream.read(&mut chunk).unwrap();
            assert!(count > 0, "the stream ended");
            self.text.extend_from_slice(&chunk[..count]);
        }
    }
}

fn service(id: &str, replicas: usize, max_unavailable: usize) -> String {
    let spec = json!({
        "scheduling": {"desired_replicas": replicas},
        "rolling_update": {"max_unavailable": max_unavailable, "max_surge": 0},
    });
    json!({"id": id, "name": id, "spec": spec}).to_string()
}

pub fn decision() {
    let mut cluster = Cluster::new("decision", NODES, 0, 0);
    cluster.call("PUT", "/cluster-settings/scheduler_mode", r#"{"value":"auto"}"#);
    let mut decisions = Decisions::follow(&cluster.server, &cluster.session);
    for replicas in [100, 1_000] {
        std::thread::sleep(QUIET);
        let id = format!("of-{replicas}");
        cluster.call("POST", "/services", &service(&id, replicas, 1));
        let ms = decided(&mut decisions, &id, replicas);
        line(
            &format!("first decision, {replicas} replicas"),
            format!("{ms:.0} ms"),
            "from the 201 to the event".into(),
            "at most 100 ms",
            ms <= 100.0,
        );
        cluster.call("DELETE", &format!("/services/{id}?force=true"), "");
    }
    for max_unavailable in [100, 1] {
        drain(&mut cluster, &mut decisions, max_unavailable);
    }
}

/// Waits until all replicas of a service are placed; ms from now.
fn decided(decisions: &mut Decisions, id: &str, replicas: usize) -> f64 {
    let began = Instant::now();
    loop {
        let fields = decisions.next();
        if fields["service_id"] == id && fields["actual_replicas"] == replicas {
            return began.elapsed().as_secs_f64() * 1e3;
        }
    }
}

/// Drains the only node that has replicas of a service.
fn drain(cluster: &mut Cluster, decisions: &mut Decisions, max_unavailable: usize) {
    const REPLICAS: usize = 100;
    let others: Vec<String> = (1..NODES).map(|i| format!("/nodes/n{i:05}")).collect();
    others.iter().for_each(|node| drop(cluster.call("POST", &format!("{node}/cordon"), "")));
    let id = format!("drained-{max_unavailable}");
    cluster.call("POST", "/services", &service(&id, REPLICAS, max_unavailable));
    decided(decisions, &id, REPLICAS);
    others.iter().for_each(|node| drop(cluster.call("POST", &format!("{node}/uncordon"), "")));
    std::thread::sleep(QUIET);
    let mut conn = Conn::open(cluster.server.address);
    let left = cluster.server.get_with("/replicas?node_id=n00000&limit=1", &cluster.session);
    let began = Instant::now();
    cluster.call("POST", "/nodes/n00000/drain", "");
    while conn.raw(&left).1 != b"[]" {
        assert!(began.elapsed() < PATIENCE, "the node is not drained");
        std::thread::sleep(Duration::from_millis(2));
    }
    let s = began.elapsed().as_secs_f64();
    let goal = if max_unavailable >= REPLICAS { "at most 1 s" } else { "(no goal)" };
    line(
        &format!("drain of {REPLICAS} replicas of one service"),
        format!("{s:.2} s"),
        format!("max_unavailable {max_unavailable}"),
        goal,
        goal == "(no goal)" || s <= 1.0,
    );
    cluster.call("POST", "/nodes/n00000/uncordon", "");
    cluster.call("DELETE", &format!("/services/{id}?force=true"), "");
}
