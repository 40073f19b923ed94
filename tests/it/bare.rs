//! The static program as it ships, in a directory that has nothing but it and `/data`: no shell, no C library, no
//! `/etc`, `/proc`, `/dev` or
//! `/tmp`, and as a user without rights.

use crate::program::Running;
use crate::release::built;
use crate::support::{Client, Dir, until};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;

/// A user who owns nothing else.
const USER: u32 = 54_321;
/// Replicas of one service: their rows are more pages than SQLite keeps in memory for a change that may be taken back.
const REPLICAS: usize = 1_000;

/// A directory to be the root of a program that is alone in the world.
struct Bare {
    dir: Dir,
    root: PathBuf,
}

impl Bare {
    /// `None` where this machine has no static program, or does not let us change the root.
    fn new() -> Option<Bare> {
        let program = built(&format!("{}-unknown-linux-musl/dist/uptimemesh", std::env::consts::ARCH))?;
        if !Command::new("chroot").args(["/", "true"]).status().is_ok_and(|s| s.success()) {
            eprintln!("left out: changing the root needs root");
            return None;
        }
        let dir = Dir::new();
        let root = dir.join("root");
        fs::create_dir_all(root.join("data")).unwrap();
        chown(root.join("data"), Some(USER), Some(USER)).unwrap();
        fs::copy(program, root.join("uptimemesh")).unwrap();
        Some(Bare { dir, root })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.args([&format!("--userspec={USER}:{USER}"), self.root.to_str().unwrap(), "/uptimemesh"]).args(args);
        // The path is for finding chroot; inside it leads nowhere.
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(std::process::Stdio::null());
        command
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn start(&self, name: &str, args: &[&str]) -> Running {
        Running::of(self.command(args), self.dir.path(), name)
    }

    fn entries(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(&self.root).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// The control plane's leases, by node, once they are as wanted.
fn until_leases(client: &Client, want: &[(&str, &str)]) {
    let admin = client.signed_in("admin", "uptime");
    until(&format!("the leases are {want:?}"), || {
        let leases = admin.get("/cluster/leases").json();
        let is = |node: &str, state: &str| {
            leases.as_array().unwrap().iter().any(|l| l["node_id"] == node && l["lease_state"] == state)
        };
        want.iter().all(|(node, state)| is(node, state)).then_some(())
    });
}

#[test]
fn the_static_program_needs_nothing_but_its_data() {
    let Some((core, other)) = Bare::new().zip(Bare::new()) else { return };
    let told: Value = serde_json::from_str(&core.ok(&["version", "--json"])).unwrap();
    assert!(told["linked"] == "static" && (told["profile"] == "dist" || told["profile"] == "release"), "{told}");
    assert!(told["target"].as_str().unwrap().ends_with("-linux-musl"));

    let up = ["up", "--server-host", "127.0.0.1", "--server-port", "0", "--node-id", "core-1"];
    let mut control = core.start("up", &up);
    let client = control.client();
    assert_eq!(client.get("/health").status, 200);
    until_leases(&client, &[("core-1", "alive")]);

    let url = format!("http://{}", client.address);
    let line = core.ok(&["create-token", "--api-url", &url, "--role", "worker", "--join-string"]);
    other.ok(&["join", line.trim(), "--node-id", "worker-1"]);
    let agent = other.start("agent", &["agent", "--node-id", "worker-1"]);
    until_leases(&client, &[("core-1", "alive"), ("worker-1", "alive")]);
    let status = core.ok(&["nodes-status", "--api-url", &url]);
    assert!(status.lines().any(|l| l.starts_with("worker-1\tworker\talive")), "{status}");

    // SQLite would put the pages of a large change aside, should it be taken back: there is no directory for that here.
    let admin = client.signed_in("admin", "uptime");
    let scale = |replicas: usize| json!({"spec": {"image": "x", "scheduling": {"desired_replicas": replicas}}});
    let placed = |want: usize| {
        until(&format!("there are {want} replicas"), || {
            // Without /proc no replica can run here, and the log says so.
            let is_fault = |line: &str| line.contains("| ERROR") && !line.contains("agent.runner_failed");
            assert!(!control.logged().lines().any(is_fault), "{}", control.logged());
            (admin.get("/replicas?limit=1").header("X-Total-Count") == Some(&want.to_string())).then_some(())
        });
    };
    let mut service = scale(REPLICAS);
    (service["id"], service["name"]) = ("many".into(), "many".into());
    assert_eq!(admin.post("/services", &service).status, 201);
    placed(REPLICAS);
    assert_eq!(admin.patch("/services/many", &scale(0)).status, 200);
    placed(0);

    control.kill();
    let port = client.address.port().to_string();
    let mut control =
        core.start("again", &["up", "--server-host", "127.0.0.1", "--server-port", &port, "--node-id", "core-1"]);
    let client = control.client();
    assert_eq!(client.get("/health").status, 200);
    // Each is heard of again, and not only held alive by the fresh term after a start.
    let admin = client.signed_in("admin", "uptime");
    let began = admin.get("/cluster/leases").json();
    let renewed = |node: &str, leases: &Value| {
        leases
            .as_array()
            .unwrap()
            .iter()
            .find(|l| l["node_id"] == node)
            .map(|l| l["heartbeat_at"].clone())
            .unwrap_or_default()
    };
    for node in ["core-1", "worker-1"] {
        until(&format!("{node} is heard of again"), || {
            let leases = admin.get("/cluster/leases").json();
            (renewed(node, &leases) != renewed(node, &began)).then_some(())
        });
    }
    assert_eq!(control.terminate(), 0, "{}", control.logged());
    drop(agent);

    for bare in [&core, &other] {
        assert_eq!(bare.entries(), ["data", "uptimemesh"]);
    }
}
