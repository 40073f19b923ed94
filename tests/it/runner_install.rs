//! The runner as the installer sets it up: see [`crate::machine`] for what stands in for a service manager.

use crate::install::join_string;
use crate::machine::{Init, Machine, can_have_machines, status_of};
use crate::runner_service::{sleepers, unique};
use crate::support::until;
use serde_json::json;
use std::os::unix::net::UnixStream;

/// A first node and one that joins it run a service; it outlives what watches it, and ends before the machine does.
fn runs(init: Init, add: u32) {
    if !can_have_machines() {
        return;
    }
    let (one, two) = (Machine::new(init), Machine::new(init));
    let client = one.install_first("node-a", "--bin /srv/uptimemesh");
    two.put("/srv/join", join_string(&one, &client).as_bytes(), 0o600);
    two.install("join --bin /srv/uptimemesh --join-file /srv/join --node-id node-b");
    for machine in [&one, &two] {
        let runner = machine.process("runner").expect("the runner runs");
        assert_eq!((status_of(runner, "NoNewPrivs").as_str(), status_of(runner, "Uid").as_str()), ("1", "0\t0\t0\t0"));
        assert_eq!(machine.ok("stat -c '%U:%G %a' /run/uptimemesh/runner.sock").trim(), "root:uptimemesh 660");
    }
    // Before any work was there: the join string said whose.
    assert!(two.ok("uptimemesh runner trust").contains("for the node node-b"));

    let (admin, sleeps_s) = (client.signed_in("admin", "uptime"), unique(add));
    let has_runner =
        |id: &str| admin.get(&format!("/nodes/{id}")).json()["status"]["runner"]["drivers"] == json!(["process"]);
    until("both report a runner", || (has_runner("node-a") && has_runner("node-b")).then_some(()));
    let spec = json!({
        "command": ["/bin/sleep", sleeps_s.to_string()], "scheduling": {"desired_replicas": 2},
        "stop": {"grace_seconds": 2},
    });
    let made = admin.post("/services", &json!({"id": "s1", "name": "s1", "spec": spec}));
    assert_eq!(made.status, 201, "{}", made.text());
    let is_running = |of: &serde_json::Value| of["status"]["state"] == "running" || of["status"]["state"] == "healthy";
    until("a replica runs on each", || {
        let replicas = admin.get("/replicas").json();
        let all = replicas.as_array().unwrap();
        (all.len() == 2 && all[0]["node_id"] != all[1]["node_id"] && all.iter().all(is_running)).then_some(())
    });
    let pids = sleepers(sleeps_s);
    assert_eq!(pids.len(), 2);
    let account = two.ok("id -u uptimemesh-work");
    for pid in &pids {
        assert!(status_of(*pid, "Uid").starts_with(account.trim()), "{}", status_of(*pid, "Uid"));
        assert_eq!(status_of(*pid, "NoNewPrivs"), "1");
    }

    let service = |verb: &str, name: &str| {
        two.ok(&match init {
            Init::Systemd => format!("systemctl {verb} {name}"),
            Init::OpenRc => format!("rc-service {name} {verb}"),
        })
    };
    let runner = two.process("runner");
    service("restart", "uptimemesh-agent");
    service("restart", "uptimemesh-runner");
    assert_ne!(two.process("runner"), runner);
    assert_eq!(sleepers(sleeps_s), pids, "they go on");
    // Not every service manager waits until it is ready.
    until("it listens", || UnixStream::connect(two.path("/run/uptimemesh/runner.sock")).ok());
    service("stop", "uptimemesh-work");
    assert_eq!(sleepers(sleeps_s).len(), 1, "the machine goes down");
    one.install("uninstall");
    assert_eq!((one.process("runner"), sleepers(sleeps_s).len()), (None, 0));
    two.install("uninstall --purge");
    assert!(!two.has("/var/lib/uptimemesh-runner"));
}

#[test]
fn machines_with_systemd_run_work_beside_their_agents() {
    runs(Init::Systemd, 200);
}

#[test]
fn machines_like_alpine_run_work_beside_their_agents() {
    runs(Init::OpenRc, 210);
}
