//! The scheduler over HTTP: plans, placements, durable reconciles, and how they grow with the cluster.

use crate::fleet::Conn;
use crate::line;
use crate::server::{Server, post, temporary_dir};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Clients that fill a cluster.
const CLIENTS: usize = 4;

/// A server with so many nodes and services, its scheduler on request only.
pub struct Cluster {
    pub server: Server,
    pub session: String,
    conn: Conn,
}

impl Cluster {
    pub fn new(name: &str, nodes: usize, services: usize, replicas: usize) -> Cluster {
        let server = Server::start(&temporary_dir(name), &[]);
        let session = server.sign_in();
        let mut cluster = Cluster { conn: Conn::open(server.address), server, session };
        cluster.call("PUT", "/cluster-settings/scheduler_mode", r#"{"value":"manual"}"#);
        cluster.fill(nodes, |i| {
            let zone = format!("z{}", i % 8);
            ("/nodes", json!({"id": format!("n{i:05}"), "name": format!("n{i:05}"), "labels": {"zone": zone}}))
        });
        cluster.fill(services, |i| {
            let spec = json!({"scheduling": {"desired_replicas": replicas}});
            ("/services", json!({"id": format!("s{i:05}"), "name": format!("s{i:05}"), "spec": spec}))
        });
        cluster
    }

    fn fill(&self, count: usize, body: impl Fn(usize) -> (&'static str, Value) + Sync) {
        let (body, server, session) = (&body, &self.server, &self.session);
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                scope.spawn(move || {
                    let mut conn = Conn::open(server.address);
                    for i in (client..count).step_by(CLIENTS) {
                        let (path, body) = body(i);
                        let (status, answer) = conn.raw(&post(path, session, &body.to_string()));
                        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
                    }
                });
            }
        });
    }

    pub fn call(&mut self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let request = post(path, &self.session, body);
        let request = [method.as_bytes(), &request["POST".len()..]].concat();
        let (status, answer) = self.conn.raw(&request);
        assert!((200..300).contains(&status), "{method} {path}: {status} {}", String::from_utf8_lossy(&answer));
        answer
    }

    /// How long a call takes, the best of some: what others do on the machine only makes it longer.
    fn time(&mut self, times: usize, method: &str, path: &str) -> (f64, usize) {
        let mut best = Duration::MAX;
        let mut bytes = Vec::new();
        for _ in 0..times {
            // While nothing changes, the server answers with the previous plan.
            self.call("POST", "/nodes/n00001/uncordon", "");
            let began = Instant::now();
            bytes = self.call(method, path, "");
            best = best.min(began.elapsed());
        }
        let plans: Value = serde_json::from_slice(&bytes).unwrap();
        let actions = plans["results"].as_array().unwrap().iter().map(|p| p["actions"].as_array().unwrap().len()).sum();
        (best.as_secs_f64(), actions)
    }
}

/// Plans, applied plans, and the growth of both.
pub fn scheduler() {
    let mut times: Vec<[f64; 3]> = Vec::new();
    for scale in [1, 2, 4] {
        let (nodes, services) = (250 * scale, 250 * scale);
        let mut cluster = Cluster::new("scheduler", nodes, services, 10);
        let (cold, actions) = cluster.time(3, "GET", "/scheduler/plan/all");
        assert_eq!(actions, services * 10);
        let (durable, actions) = cluster.time(1, "POST", "/scheduler/reconcile/all");
        assert_eq!(actions, services * 10);
        let (quiet, actions) = cluster.time(3, "GET", "/scheduler/plan/all");
        assert_eq!(actions, 0);
        cluster.call("DELETE", "/nodes/n00000?force=true", "");
        let (lost, actions) = cluster.time(3, "GET", "/scheduler/plan/all");
        assert_eq!(actions, 10, "what was on the lost node");
        times.push([cold, durable, quiet]);
        if scale == 4 {
            let ms = |s: f64| format!("{:.0} ms", s * 1e3);
            let what = format!("{services} services, {} replicas, {nodes} nodes", services * 10);
            println!("    {what}, over HTTP with the answer as JSON:");
            line(
                "plan from cold, 10,000 placements",
                ms(cold),
                format!("{:.0} placements/s", 1e4 / cold),
                "(no goal)",
                true,
            );
            line("plan with nothing to do", ms(quiet), String::new(), "(no goal)", true);
            line(
                "plan after one node was lost",
                ms(lost),
                format!("{:.2} of the cold plan", lost / cold),
                "below the cold plan",
                lost < cold,
            );
            line(
                "reconcile all, applied and durable",
                ms(durable),
                format!("{:.0} replicas/s", 1e4 / durable),
                "above Nomad's 3,750/s",
                1e4 / durable > 3750.0,
            );
            list(&mut cluster);
        }
    }
    for (i, what) in ["plan from cold", "reconcile all, durable", "plan with nothing to do"].into_iter().enumerate() {
        // Least squares over two doublings is the slope between the ends.
        let exponent = (times[2][i] / times[0][i]).log2() / 2.0;
        let ends = format!("{:.1} -> {:.1} ms over 4x", times[0][i] * 1e3, times[2][i] * 1e3);
        line(&format!("growth: {what}"), format!("n^{exponent:.2}"), ends, "at most n^1.3", exponent <= 1.3);
    }
}

fn list(cluster: &mut Cluster) {
    let began = Instant::now();
    let (mut after, mut seen, mut bytes) = (String::new(), 0, 0);
    while seen < 5_000 {
        let page = cluster.call("GET", &format!("/replicas?limit=1000{after}"), "");
        bytes += page.len();
        let page: Vec<Value> = serde_json::from_slice(&page).unwrap();
        seen += page.len();
        after = format!("&after={}", page.last().unwrap()["id"].as_str().unwrap());
    }
    let took = began.elapsed().as_secs_f64();
    line(
        "list of 5,000 replicas, 5 pages",
        format!("{:.0} ms", took * 1e3),
        format!("{} KiB, parsed by the client", bytes / 1024),
        "below 250 ms",
        took < 0.25,
    );
}

/// Placements a second over ten thousand nodes.
pub fn placements() {
    const NODES: usize = 10_000;
    let mut cluster = Cluster::new("placements", NODES, 1_000, 10);
    let (many, actions) = cluster.time(3, "GET", "/scheduler/plan/all");
    assert_eq!(actions, 10_000);
    let one = json!({"id": "one", "name": "one", "spec": {"scheduling": {"desired_replicas": 10_000}}});
    cluster.call("POST", "/services", &one.to_string());
    let wide = json!({"id": "wide", "name": "wide", "spec": {"scheduling": {"desired_replicas": 10_000,
        "spread_by": "zone"}}});
    cluster.call("POST", "/services", &wide.to_string());
    let single = |cluster: &mut Cluster, id: &str| {
        let mut best = f64::MAX;
        for _ in 0..3 {
            let began = Instant::now();
            let plan: Value =
                serde_json::from_slice(&cluster.call("GET", &format!("/scheduler/plan/services/{id}"), "")).unwrap();
            assert_eq!(plan["actions"].as_array().unwrap().len(), 10_000);
            best = best.min(began.elapsed().as_secs_f64());
        }
        best
    };
    let (scaled, spread) = (single(&mut cluster, "one"), single(&mut cluster, "wide"));
    // What a plan of nothing costs here: reading 10,000 nodes and answering.
    cluster.call("PATCH", "/services/s00000", r#"{"spec":{"scheduling":{"desired_replicas":0}}}"#);
    let began = Instant::now();
    cluster.call("GET", "/scheduler/plan/services/s00000", "");
    let base = began.elapsed().as_secs_f64();
    for (what, took) in [
        ("1,000 services of 10 over 10,000 nodes", many),
        ("one service to 10,000 over 10,000 nodes", scaled),
        ("the same, spread over 8 zones", spread),
    ] {
        let (whole, net) = (1e4 / took, 1e4 / (took - base).max(1e-6));
        line(
            what,
            format!("{whole:.0}/s"),
            format!("{net:.0}/s without reading the nodes"),
            "at least 100,000/s",
            whole >= 1e5,
        );
    }
    println!("    reading 10,000 nodes for a plan takes {:.0} ms of each", base * 1e3);
}
