//! Thousands of agents over TLS: how soon they learn of what is placed on them, what it costs to hold them, and how
//! they come back after the server was killed. FLEET_NODES and FLEET_MINUTES change the fleet, and how long it is held.

use crate::agents::{Agents, micros};
use crate::chart::{self, Curve};
use crate::decision::Decisions;
use crate::fleet::{Conn, Fleet};
use crate::line;
use crate::server::{PARKED_AFTER, Server, post, temporary_dir};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Replicas of each workload.
const REPLICAS: usize = 10_000;
/// Clients that join nodes and create services.
const CLIENTS: usize = 4;
/// Lease while curves are drawn, and while the fleet is held: a long one, and the default of agents. In seconds.
const LEASES_S: (i64, i64) = (60, 15);
/// Microseconds of a day.
const DAY: u64 = 86_400_000_000;

const ARGS: &[&str] = &["--log-level", "ERROR", "--http-connections-max", "14000"];

/// A number from the environment.
fn setting(name: &str, default: f64) -> f64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

struct Bench {
    dir: PathBuf,
    server: Server,
    session: String,
    agents: Agents,
    nodes: usize,
}

pub fn fleet() {
    let mut bench = Bench::start(setting("FLEET_NODES", 3000.0) as usize);
    let one = [("one".to_string(), REPLICAS)];
    let many: Vec<(String, usize)> = (0..1000).map(|i| (format!("s{i:03}"), REPLICAS / 1000)).collect();
    let panels = vec![
        (format!("1 service of {REPLICAS}"), bench.curves("1 service of 10,000", &one)),
        (format!("{} services of {}", many.len(), many[0].1), bench.curves("1,000 services of 10", &many)),
    ];
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench").join("fleet.svg");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, chart::svg(&panels)).unwrap();
    println!("    drawn in {}", file.display());
    bench.hold();
    bench.kill();
}

impl Bench {
    /// A server with this many connected agents that wait for work.
    fn start(nodes: usize) -> Bench {
        let dir = temporary_dir("curve");
        let server = Server::start(&dir, ARGS);
        let mut fleet = Fleet::prepare(&server, nodes);
        fleet.join(&server, CLIENTS);
        let session = server.sign_in();
        let before_mib = server.resident_mib();
        let began = Instant::now();
        let agents = Agents::start(fleet, &dir, server.address, LEASES_S.0);
        let bench = Bench { dir, server, session, agents, nodes };
        bench.until_all_wait();
        println!("    {nodes} agents connected and waiting in {:.1} s", began.elapsed().as_secs_f64());
        // By then no thread and no buffer of the beginning is left.
        std::thread::sleep(PARKED_AFTER);
        let kib = (bench.server.resident_mib() - before_mib) * 1024.0 / nodes as f64;
        line("memory of a waiting agent", format!("{kib:.1} KiB"), format!("{nodes} of them"), "(no goal)", true);
        bench
    }

    fn waiting(&self) -> f64 {
        self.server.metric("uptimemesh_waiting_nodes").unwrap()
    }

    fn until_all_wait(&self) {
        self.server.until("every agent waits for work", || self.waiting() >= self.nodes as f64);
    }

    fn call(&self, method: &str, path: &str, body: &str) -> Value {
        let request = post(path, &self.session, body);
        let (status, answer) =
            Conn::open(self.server.address).raw(&[method.as_bytes(), &request["POST".len()..]].concat());
        assert!((200..300).contains(&status), "{method} {path}: {status} {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap_or_default()
    }

    fn set_mode(&self, mode: &str) {
        self.call("PUT", "/cluster-settings/scheduler_mode", &json!({ "value": mode }).to_string());
    }

    /// All replicas: node, and time of creation in microseconds of its day.
    fn replicas(&self) -> BTreeMap<String, (String, u64)> {
        let (mut all, mut after) = (BTreeMap::new(), String::new());
        loop {
            let page = self.call("GET", &format!("/replicas?limit=1000{after}"), "");
            let Some(last) = page.as_array().unwrap().last() else { return all };
            after = format!("&after={}", last["id"].as_str().unwrap());
            for replica in page.as_array().unwrap() {
                let text = |name: &str| replica[name].as_str().unwrap().to_string();
                all.insert(text("id"), (text("node_id"), of_day(&text("created_at"))));
            }
        }
    }

    /// Creates services while the scheduler rests, plans them, and lets it go.
    fn curves(&self, what: &str, services: &[(String, usize)]) -> Vec<Curve> {
        self.set_mode("manual");
        for (id, replicas) in services {
            let spec = json!({"scheduling": {"desired_replicas": replicas}});
            self.call("POST", "/services", &json!({"id": id, "name": id, "spec": spec}).to_string());
        }
        let began = Instant::now();
        self.call("GET", "/scheduler/plan/all", "");
        let plan = began.elapsed().as_secs_f64();
        let rate = |seconds: f64| REPLICAS as f64 / seconds;
        line(
            &format!("{what}: plan only"),
            format!("{:.0} ms", plan * 1e3),
            format!("{:.0} placements/s", rate(plan)),
            "(no goal)",
            true,
        );
        self.agents.shared.noticed();
        let mut decisions = Decisions::follow(&self.server, &self.session);
        let began = micros();
        self.set_mode("auto");
        let placed = placed(&mut decisions, began);
        let (learned, acknowledged) = self.noticed(began);
        let curves = vec![
            Curve::new("placed, durable", placed),
            Curve::new("its node knows", learned),
            Curve::new("its node has acknowledged", acknowledged),
        ];
        for curve in &curves {
            let is_placed = curve.name.starts_with("placed");
            line(
                &format!("{what}: {}", curve.name),
                format!("all {:.0} ms", curve.at(1.0)),
                format!("first {:.0}, p50 {:.0}, p95 {:.0} ms", curve.at(0.0), curve.at(0.5), curve.at(0.95)),
                if is_placed { "at least 10,000/s" } else { "(no goal)" },
                !is_placed || rate(curve.at(1.0) / 1e3) >= 10_000.0,
            );
        }
        for (id, _) in services {
            self.call("DELETE", &format!("/services/{id}?force=true"), "");
        }
        self.until_all_wait();
        curves
    }

    /// When the nodes of all replicas learned of them, and when they had acknowledged that, in ms since `began`. A
    /// replica is known with the first answer to its node after its creation.
    fn noticed(&self, began: u64) -> (Vec<f64>, Vec<f64>) {
        let replicas = self.replicas();
        assert_eq!(replicas.len(), REPLICAS);
        let mut by_node: HashMap<String, Vec<(u64, u64)>> = HashMap::new();
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            for noticed in self.agents.shared.noticed() {
                by_node.entry(noticed.node).or_default().push((noticed.learned, noticed.acknowledged));
            }
            let seen = |(node, created): &(String, u64)| {
                let times = by_node.get(node)?;
                times.iter().find(|(learned, _)| learned % DAY >= *created)
            };
            let all: Option<Vec<_>> = replicas.values().map(seen).collect();
            if let Some(all) = all {
                let ms = |time: u64| (time - began) as f64 / 1e3;
                return all.iter().map(|(learned, acknowledged)| (ms(*learned), ms(*acknowledged))).unzip();
            }
            assert!(Instant::now() < end, "a node never acknowledged a replica");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn leases(&self, state: &str) -> f64 {
        self.server.metric(&format!("uptimemesh_leases{{state=\"{state}\"}}")).unwrap()
    }

    /// Everyone renews a short lease for some minutes.
    fn hold(&self) {
        let one = json!({"scheduling": {"desired_replicas": REPLICAS}});
        self.call("POST", "/services", &json!({"id": "held", "name": "held", "spec": one}).to_string());
        self.agents.shared.ttl_s.store(LEASES_S.1, Relaxed);
        // By then every agent has a lease of the new length.
        std::thread::sleep(Duration::from_secs(LEASES_S.0 as u64 / 2));
        let minutes = setting("FLEET_MINUTES", 0.5);
        let (began, cpu) = (Instant::now(), self.server.cpu_seconds());
        let resets = self.agents.shared.resets.load(Relaxed);
        let beats = |server: &Server| server.metric("uptimemesh_heartbeats_accepted_total").unwrap();
        let before = beats(&self.server);
        let mut stale = 0.0_f64;
        while began.elapsed().as_secs_f64() < minutes * 60.0 {
            std::thread::sleep(Duration::from_secs(1));
            stale = stale.max(self.nodes as f64 - self.leases("alive"));
        }
        let seconds = began.elapsed().as_secs_f64();
        let resets = self.agents.shared.resets.load(Relaxed) - resets;
        line(
            &format!("{} nodes held for {minutes} min, not alive", self.nodes),
            format!("{stale:.0}"),
            format!("{resets} resets"),
            "0",
            stale == 0.0,
        );
        println!(
            "    server CPU {:.2} of a core at {:.0} heartbeats/s; memory {:.1} MiB",
            (self.server.cpu_seconds() - cpu) / seconds,
            (beats(&self.server) - before) / seconds,
            self.server.resident_mib()
        );
    }

    /// The server is killed and comes back to everyone.
    fn kill(&mut self) {
        let before = self.replicas();
        assert_eq!(before.len(), REPLICAS);
        let began = Instant::now();
        self.server.restart(&self.dir, ARGS);
        let first = began.elapsed().as_secs_f64();
        let is_back = AtomicBool::new(false);
        let mut times = std::thread::scope(|scope| {
            let probe = scope.spawn(|| {
                let mut conn = Conn::open(self.server.address);
                let request = self.server.get_with("/cluster-settings/etcd_status", &self.session);
                let mut times = Vec::new();
                while !is_back.load(Relaxed) {
                    let began = Instant::now();
                    assert_eq!(conn.raw(&request).0, 200);
                    times.push(began.elapsed().as_secs_f64() * 1e3);
                    std::thread::sleep(Duration::from_millis(5));
                }
                times
            });
            self.until_all_wait();
            is_back.store(true, Relaxed);
            probe.join().unwrap()
        });
        let back = began.elapsed().as_secs_f64();
        times.sort_by(f64::total_cmp);
        line(
            "killed: all back and waiting",
            format!("{back:.2} s"),
            format!("first answer after {first:.2} s"),
            "below 5 s",
            back < 5.0,
        );
        let p99 = times[times.len() * 99 / 100];
        line(
            "a small read meanwhile, p99",
            format!("{p99:.1} ms"),
            format!("{} reads", times.len()),
            "(no goal)",
            true,
        );
        // A lease and what follows it: by then whoever was lost would be stale, dead, and replaced.
        let (end, mut stale) = (Instant::now() + Duration::from_secs(45), 0.0_f64);
        while Instant::now() < end {
            std::thread::sleep(Duration::from_secs(1));
            stale = stale.max(self.nodes as f64 - self.leases("alive"));
        }
        let after = self.replicas();
        let moved = before.iter().filter(|(id, (node, _))| after.get(*id).is_none_or(|(now, _)| now != node)).count();
        line(
            "in the 45 s after it: moved, not alive",
            format!("{moved}, {stale:.0}"),
            format!("{} refusals", self.agents.shared.refusals.load(Relaxed)),
            "0, 0",
            moved == 0 && stale == 0.0,
        );
    }
}

/// When each replica was placed by a durable decision, in ms since `began`.
fn placed(decisions: &mut Decisions, began: u64) -> Vec<f64> {
    let mut times = Vec::with_capacity(REPLICAS);
    while times.len() < REPLICAS {
        let count = decisions.next()["action_count"].as_u64().unwrap() as usize;
        let ms = (micros() - began) as f64 / 1e3;
        times.extend(std::iter::repeat_n(ms, count));
    }
    times
}

/// Microseconds of its day of a time such as `2027-02-26T23:46:40.156967Z`.
fn of_day(time: &str) -> u64 {
    let clock = time.split_once('T').unwrap().1.trim_end_matches('Z');
    let (whole, part) = clock.split_once('.').unwrap_or((clock, ""));
    let seconds = whole.split(':').fold(0, |sum, n| sum * 60 + n.parse::<u64>().unwrap());
    seconds * 1_000_000 + format!("{part:0<6}").parse::<u64>().unwrap()
}
