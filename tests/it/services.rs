//! The main job, with the real program: three machines, one service, a machine that dies, one that is drained, a spec
//! that is put back.

use crate::program::{Running, command, fails, ok, run};
use crate::support::{Client, Dir, PATIENCE, until, until_within};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Number of replicas on each node.
type Places = BTreeMap<String, usize>;

/// The control plane's directory and URL, and a client to wait with: each command starts a process and signs in.
struct Fleet {
    dir: Dir,
    url: String,
    admin: Client,
    _up: Running,
}

impl Fleet {
    fn start() -> Fleet {
        let dir = Dir::new();
        let (up, client) = Running::serve(dir.path(), &["up", "--server-port", "0", "--node-id", "a"]);
        let admin = client.signed_in("admin", "uptime");
        until("the machine is a node", || (admin.get("/nodes/a").status == 200).then_some(()));
        Fleet { url: format!("http://{}", client.address), admin, dir, _up: up }
    }

    fn run(&self, args: &[&str]) -> String {
        ok(self.dir.path(), &[args, &["--api-url", &self.url]].concat())
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(args)).unwrap()
    }

    /// Joins a machine and starts its agent.
    fn join(&self, dir: &Path, id: &str) -> Running {
        let token = self.json(&["create-token", "--role", "worker"]);
        fs::write(dir.join("token"), token["token"].as_str().unwrap()).unwrap();
        ok(
            dir,
            &[
                "join",
                "--api-url",
                &self.url,
                "--token-file",
                "token",
                "--node-id",
                id,
                "--role",
                "worker",
                "--lease-ttl",
                "10",
            ],
        );
        let agent = command(dir, &["agent", "--api-url", &self.url, "--node-id", id, "--ttl", "10"]);
        Running::of(agent, dir, "agent")
    }

    fn apply(&self, spec: &Value) -> String {
        fs::write(self.dir.join("web.json"), json!({"id": "web", "name": "web", "spec": spec}).to_string()).unwrap();
        self.run(&["service", "apply", "-f", "web.json", "--wait"])
    }

    /// Where the replicas are, by the command line.
    fn places(&self) -> Places {
        count(&self.json(&["replicas", "--service", "web", "--json"]))
    }

    /// Waits until the replicas are placed like this, and gives where they are in that moment.
    fn placed(&self, what: &str, patience: Duration, is_so: impl Fn(&Places) -> bool) -> Places {
        until_within(what, patience, || Some(count(&self.admin.get("/replicas").json())).filter(&is_so))
    }

    /// Waits until three nodes are alive, and the command line says so.
    fn three_alive(&self) {
        let alive = |leases: &Value| leases.as_array().unwrap().iter().filter(|l| l["lease_state"] == "alive").count();
        until("three are alive", || (alive(&self.admin.get("/cluster/leases").json()) == 3).then_some(()));
        assert_eq!(self.run(&["nodes-status"]).matches("\talive\t").count(), 3);
    }
}

fn count(replicas: &Value) -> Places {
    let mut places = BTreeMap::new();
    for replica in replicas.as_array().unwrap() {
        *places.entry(replica["node_id"].as_str().unwrap().to_string()).or_default() += 1;
    }
    places
}

fn places(pairs: &[(&str, usize)]) -> Places {
    pairs.iter().map(|(node, count)| (node.to_string(), *count)).collect()
}

/// Applies a new spec of `web` and restores the old one as a new generation.
fn rolls_back(fleet: &Fleet) {
    let other = json!({"image": "two", "scheduling": {"desired_replicas": 3}});
    fs::write(fleet.dir.join("web.json"), json!({"id": "web", "spec": other}).to_string()).unwrap();
    assert_eq!(fleet.run(&["service", "apply", "-f", "web.json"]), "Changed web, now generation 2.\n");
    let back = fleet.json(&["service", "rollback", "web"]);
    assert_eq!((&back["generation"], &back["spec"]["image"]), (&json!(3), &json!("one")));
    let history = fleet.run(&["service", "history", "web"]);
    let lines: Vec<Vec<&str>> = history.lines().map(|l| l.split('\t').take(3).collect()).collect();
    assert_eq!(lines[1..], [vec!["3", "rollback", "1"], vec!["2", "update", "-"], vec!["1", "create", "-"]]);
    until("an update is queued", || {
        fleet.run(&["replicas", "--json"]).contains("\"update_state\": \"pending\"").then_some(())
    });
}

#[test]
fn a_service_outlives_a_machine() {
    let fleet = Fleet::start();
    let (b, c) = (Dir::new(), Dir::new());
    let mut agent_b = fleet.join(b.path(), "b");
    let _agent_c = fleet.join(c.path(), "c");
    fleet.three_alive();

    let spec =
        json!({"driver": "none", "image": "one", "scheduling": {"desired_replicas": 3, "lost_after_seconds": 2}});
    assert_eq!(fleet.apply(&spec), "Created web, generation 1.\n");
    assert_eq!(fleet.places(), places(&[("a", 1), ("b", 1), ("c", 1)]));
    assert_eq!(fleet.apply(&spec), "web is unchanged, generation 1.\n");
    assert_eq!(fleet.run(&["plan"]), "Nothing to do.\n");
    let explained = fleet.run(&["explain", "web"]);
    assert!(explained.starts_with("RANK\tNODE\t") && explained.lines().count() == 4, "{explained}");

    // A machine dies: its lease ends after 10 s, it is dead 15 s later, and 2 s after that its replica moves.
    agent_b.kill();
    let died = Instant::now();
    let moved = fleet.placed("its replica moves", Duration::from_secs(150), |now| !now.contains_key("b"));
    assert_eq!(moved.values().sum::<usize>(), 3, "none is lost, none is doubled: {moved:?}");
    let after = died.elapsed().as_secs();
    assert!((15..=60).contains(&after), "it moved after {after} s");
    let dead = fleet.json(&["events", "--name", "node.lease.dead", "--node", "b", "--json"]);
    assert_eq!(dead.as_array().unwrap().len(), 1);
    let why = fleet.run(&["replicas"]);
    assert!(why.contains("its node is dead (b)"), "{why}");

    // It comes back, and a drain of another moves everything there, step by step.
    let _agent_b = Running::of(
        command(b.path(), &["agent", "--api-url", &fleet.url, "--node-id", "b", "--ttl", "10"]),
        b.path(),
        "agent-again",
    );
    fleet.three_alive();
    assert_eq!(fleet.run(&["node", "drain", "c"]), "c is drained.\n");
    let now = fleet.places();
    assert!(!now.contains_key("c") && now.values().sum::<usize>() == 3, "{now:?}");
    fleet.run(&["node", "uncordon", "c"]);
    let evened = fleet.run(&["rebalance", "--apply"]);
    assert!(evened.contains(" -> c "), "{evened}");
    assert_eq!(fleet.places(), places(&[("a", 1), ("b", 1), ("c", 1)]));

    // A drain that cannot end says so, and why.
    for node in ["a", "b"] {
        fleet.run(&["node", "cordon", node]);
    }
    fleet.placed("nothing is left elsewhere", PATIENCE, |now| *now == places(&[("c", 3)]));
    let (status, said) = fails(fleet.dir.path(), &["node", "drain", "c", "--api-url", &fleet.url]);
    assert!(status == 1 && said.contains("3 replicas are left") && said.contains("2 x cordoned"), "{said}");
    for node in ["a", "b", "c"] {
        fleet.run(&["node", "uncordon", node]);
    }

    rolls_back(&fleet);
    let mut follow = Running::of(
        command(fleet.dir.path(), &["events", "--follow", "--api-url", &fleet.url]),
        fleet.dir.path(),
        "follow",
    );
    until("the follower sees what happens", || {
        fleet.run(&["service", "rollout", "web"]);
        follow.said().contains("service.rollout").then_some(())
    });
    follow.kill();
    let (status, said) = fails(fleet.dir.path(), &["service", "delete", "web", "--api-url", &fleet.url]);
    assert!(status == 5 && said.contains("force=true"), "{said}");
    assert_eq!(fleet.run(&["service", "delete", "web", "--force"]), "Removed web.\n");
    assert_eq!(fleet.places(), places(&[]));
}

#[test]
fn apply_tells_what_is_not_known() {
    let fleet = Fleet::start();
    fs::write(
        fleet.dir.join("web.json"),
        json!({"id": "web", "name": "web", "replicas": 3, "spec": {"count": 2}}).to_string(),
    )
    .unwrap();
    for (change, done) in [("made", "Created web"), ("applied again", "web is unchanged")] {
        let output = run(fleet.dir.path(), &["service", "apply", "-f", "web.json", "--api-url", &fleet.url]);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(out.starts_with(done), "{change}: {out}{err}");
        assert_eq!(err.matches("spec.count is not known").count(), 1, "{change}: {err}");
        assert!(
            err.contains("warning: spec.count is not known here; did you mean spec.scheduling.desired_replicas?"),
            "{change}: {err}"
        );
        assert!(err.contains("warning: replicas is not known beside spec"), "{change}: {err}");
    }
}

#[test]
fn room_is_said_by_a_command() {
    let fleet = Fleet::start();
    let capacity = until("the agent tells its size", || {
        let node = fleet.json(&["node", "show", "a", "--json"]);
        node["status"]["capacity"]["cpu_millis"].as_u64().map(|_| node["status"]["capacity"].clone())
    });
    assert!(
        capacity["system_memory_mb"].as_u64() >= Some(64) && capacity["system_cpu_millis"].as_u64() >= Some(50),
        "{capacity}"
    );
    let said =
        fleet.json(&["node", "room", "a", "--reserve-cpu", "10%", "--reserve-memory", "256", "--memory", "2048"]);
    assert_eq!(
        (&said["reserved"], &said["capacity"]),
        (&json!({"cpu_percent": 10, "memory_mb": 256}), &json!({"memory_mb": 2048}))
    );
    fails(fleet.dir.path(), &["node", "room", "a", "--reserve-cpu", "much", "--api-url", &fleet.url]);
    fails(fleet.dir.path(), &["node", "room", "a", "--reserve-cpu", "110%", "--api-url", &fleet.url]);
    assert_eq!(
        fleet.json(&["node", "show", "a", "--json"])["reserved"],
        said["reserved"],
        "what is refused changes nothing"
    );
    let said = fleet.json(&["node", "room", "a"]);
    assert_eq!((&said["reserved"], &said["capacity"]), (&Value::Null, &Value::Null));
}
