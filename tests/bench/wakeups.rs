//! A server at rest: how often its threads wake up while three agents keep their leases.

use crate::line;
use crate::server::{Server, Switches, post, temporary_dir};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Nodes of the cluster.
const AGENTS: usize = 3;
/// Time at rest that is watched.
const REST: Duration = Duration::from_secs(30);

/// An agent of the real program; it ends with this.
struct Agent(Child);

impl Agent {
    fn join(server: &Server, dir: &Path, number: usize) -> Agent {
        let session = server.sign_in();
        let body = post("/cluster/join-tokens", &session, r#"{"role":"worker"}"#);
        let (status, answer) = crate::fleet::Conn::open(server.address).raw(&body);
        assert_eq!(status, 201);
        let token: Value = serde_json::from_slice(&answer).unwrap();
        let node = format!("node-{number}");
        let child = Command::new(env!("CARGO_BIN_EXE_uptimemesh"))
            .args(["join", "--run", "--token", token["token"].as_str().unwrap(), "--role", "worker"])
            .args(["--lease-ttl", "15", "--node-id", &node, "--identity-dir", &format!("identities-{number}")])
            .args(["--api-url", &format!("https://{}", server.address), "--ca-file", "data/pki/cluster-ca.crt"])
            .current_dir(dir)
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Agent(child)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        self.0.wait().unwrap();
    }
}

pub fn wakeups() {
    let dir = temporary_dir("wakeups");
    let server = Server::start(&dir, &[]);
    let agents: Vec<Agent> = (0..AGENTS).map(|number| Agent::join(&server, &dir, number)).collect();
    let beats = || server.metric("uptimemesh_heartbeats_accepted_total").unwrap();
    server.until("every agent beats", || beats() >= 2.0 * AGENTS as f64);
    // What a start begins ends by itself.
    std::thread::sleep(Duration::from_secs(10));
    let before = beats();
    let mut switches = Switches::watch(server.pid(), REST);
    let seconds = REST.as_secs_f64();
    let sum = |of: fn(&Switches) -> u64| switches.iter().map(of).sum::<u64>() as f64 / seconds;
    let (woken, displaced) = (sum(|s| s.voluntary), sum(|s| s.involuntary));
    line(
        "context switches a second, three agents",
        format!("{:.1}", woken + displaced),
        format!("{displaced:.1} by others' load; {} threads", switches.len()),
        "at most 3",
        woken + displaced <= 3.0,
    );
    switches.sort_by_key(|thread| std::cmp::Reverse(thread.voluntary));
    for thread in switches.iter().filter(|thread| thread.voluntary > 0) {
        println!("    {:<16} {:.2} a second", thread.name, thread.voluntary as f64 / seconds);
    }
    println!("    {:.2} heartbeats a second meanwhile", (beats() - before) / seconds);
    drop(agents);
}
