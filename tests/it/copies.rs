//! Two machines with one identity: a copied card or image.

use crate::program::{Running, fails, ok, run};
use crate::support::{Client, Dir, until, until_within};
use crate::trouble::{can_mount, in_namespace};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The overlap that proves a copy, and two heartbeats more.
const FOUND: Duration = Duration::from_secs(90);

/// Where the identity is on a machine.
const AT: &str = "data/identities/n";

fn agent(machine: &Path, name: &str, url: &str) -> Running {
    Running::start(machine, name, &["agent", "--node-id", "n", "--api-url", url, "--ttl", "10"])
}

fn beats(machine: &Path) -> bool {
    fs::read_to_string(machine.join("data/identities/n/status.json")).is_ok_and(|text| text.contains("heartbeat_at"))
}

fn told(admin: &Client) -> Vec<Value> {
    admin.events("nodes").into_iter().filter(|e| e["name"] == "node.two_holders").collect()
}

/// A control plane, its URL, somebody who may administer it, and the node `n` on two machines.
fn copied(dir: &Dir, original: &Dir, copy: &Dir) -> (Running, String, Client) {
    let (control, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let admin = client.signed_in("admin", "uptime");
    let url = format!("http://{}", client.address);
    let token = crate::node::token(&admin, "worker", None);
    ok(original.path(), &["join", "--api-url", &url, "--token", &token, "--node-id", "n", "--role", "worker"]);
    fs::create_dir_all(copy.join(AT)).unwrap();
    for name in ["node.key", "node.crt", "ca.crt", "lease.token", "api.urls"] {
        fs::copy(original.join(AT).join(name), copy.join(AT).join(name)).unwrap();
    }
    (control, url, admin)
}

#[test]
fn a_run_that_2_0_0_took_for_a_part_of_the_status_is_taken_out_of_it() {
    let (dir, machine, other) = (Dir::new(), Dir::new(), Dir::new());
    let (_control, url, admin) = copied(&dir, &machine, &other);
    let status = json!({"mine": 1, "uptimemesh_run": {"id": "8c8ed2ceea1d3a49", "boot": "b08aab8ecacd4c19"}});
    assert_eq!(admin.patch("/nodes/n", &json!({"status": status})).status, 200);
    ok(machine.path(), &["heartbeat", "--node-id", "n", "--api-url", &url, "--status-json", "{\"mine\":1}"]);
    let status = admin.get("/nodes/n").json()["status"].clone();
    assert_eq!((&status["mine"], status.get("uptimemesh_run")), (&json!(1), None), "{status}");
}

#[test]
fn a_copied_identity_is_found_and_one_of_two_stays() {
    let (dir, original, copy) = (Dir::new(), Dir::new(), Dir::new());
    let (mut control, url, admin) = copied(&dir, &original, &copy);
    // One-shots are runs of nobody, and an agent that is started again is no copy.
    for i in 0..3 {
        let mut early = agent(original.path(), &format!("early-{i}"), &url);
        until("it beats", || beats(original.path()).then_some(()));
        fs::remove_file(original.join(AT).join("status.json")).unwrap();
        early.kill();
        ok(original.path(), &["heartbeat", "--node-id", "n", "--api-url", &url, "--ttl", "10"]);
    }
    let first = agent(original.path(), "first", &url);
    until("the original beats", || beats(original.path()).then_some(()));
    assert!(admin.get("/nodes/n").json()["status"]["uptimemesh_run"].is_null(), "it is no part of the status");
    let second = agent(copy.path(), "second", &url);
    until("the copy beats", || beats(copy.path()).then_some(()));
    until_within("it is found", FOUND, || (!told(&admin).is_empty()).then_some(()));
    until("the copy says so", || second.logged().contains("agent.displaced").then_some(()));
    assert!(second.logged().contains("node keep-run NODE RUN") && !first.logged().contains("agent.displaced"));

    let event = &told(&admin)[0];
    assert!(event["level"].as_str().unwrap().eq_ignore_ascii_case("warning"), "{event}");
    let runs = admin.get("/nodes/n/runs").json();
    assert_eq!(
        (&runs["kept"]["id"], runs["refused"].as_array().unwrap().len()),
        (&event["fields"]["kept"]["id"], 1),
        "{runs}"
    );
    let of = |machine: &Dir| {
        let text = fs::read_to_string(machine.join(AT).join("status.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["run"].clone()
    };
    assert_eq!(
        (&runs["kept"]["id"], &runs["refused"][0]["id"]),
        (&of(&original), &of(&copy)),
        "the later one is refused"
    );
    let page = |path: &str| admin.get(path).text();
    assert!(page("/ui/nodes/n").contains("Two machines with one identity") && page("/ui/nodes").contains("copied"));
    let doctor = String::from_utf8(run(dir.path(), &["doctor"]).stdout).unwrap();
    assert!(doctor.contains("nodes.copied") && doctor.contains("two machines send heartbeats as one node"), "{doctor}");

    // A restart of the control plane lets nobody in.
    let port = admin.address.port().to_string();
    control.kill();
    let (_control, _) = Running::serve(dir.path(), &["serve", "--server-port", &port]);
    let asked = |run: &Running| run.logged().matches("agent.displaced").count();
    let beaten = admin.get("/nodes/n").json()["heartbeat_at"].clone();
    until("the original beats", || (admin.get("/nodes/n").json()["heartbeat_at"] != beaten).then_some(()));
    assert_eq!(admin.get("/nodes/n/runs").json()["kept"], runs["kept"]);
    assert_eq!((asked(&first), told(&admin).len()), (0, 1));

    // An operator decides for the copy.
    let (status, said) = fails(dir.path(), &["node", "keep-run", "n", "nobody", "--api-url", &url]);
    assert!(status == 1 && said.contains("no such run"), "{said}");
    let chosen = runs["refused"][0]["id"].as_str().unwrap();
    assert!(page(&format!("/ui/nodes/n/keep-run/{chosen}")).contains("Keep this one"));
    ok(dir.path(), &["node", "keep-run", "n", chosen, "--api-url", &url]);
    until("the copy is back", || second.logged().contains("agent.back").then_some(()));
    until("the original is refused", || first.logged().contains("agent.displaced").then_some(()));
    let runs: Value =
        serde_json::from_str(&ok(dir.path(), &["node", "runs", "n", "--json", "--api-url", &url])).unwrap();
    assert!(runs["kept"]["id"] == chosen && !runs["decided_at"].is_null(), "{runs}");
    assert!(page("/ui/nodes/n").contains("one was chosen") && !page("/ui/nodes").contains("copied"));
    // An identity of its own ends it.
    ok(
        original.path(),
        &[
            "join",
            "--api-url",
            &url,
            "--token",
            &crate::node::token(&admin, "worker", Some("n")),
            "--role",
            "worker",
            "--node-id",
            "n",
        ],
    );
    assert_eq!(admin.get("/nodes/n/runs").json()["kept"], Value::Null);
}

/// Two kernels: each machine has a boot id of its own, which tells a restart of one from a restart of the other.
#[test]
fn while_nobody_has_decided_each_machine_is_known_by_its_boot() {
    if !can_mount() {
        return;
    }
    let (dir, original, copy) = (Dir::new(), Dir::new(), Dir::new());
    let (_control, url, admin) = copied(&dir, &original, &copy);
    let agent = |machine: &Dir, boot: &str, name: &str| {
        fs::write(machine.join("boot"), boot).unwrap();
        let line = ["agent", "--node-id", "n", "--api-url", &url, "--ttl", "10"];
        let script = "mount --bind boot /proc/sys/kernel/random/boot_id";
        Running::of(in_namespace(machine.path(), script, &line), machine.path(), name)
    };
    let (first, second) = ("0b5c7a52-1111", "0b5c7a52-2222");
    let mut one = agent(&original, first, "one");
    until("the original beats", || beats(original.path()).then_some(()));
    let mut two = agent(&copy, second, "two");
    until_within("it is found", FOUND, || (!told(&admin).is_empty()).then_some(()));
    until("the copy is refused", || two.logged().contains("agent.displaced").then_some(()));
    two.kill();
    let two = agent(&copy, second, "two-again");
    until("its next run is, too", || two.logged().contains("agent.displaced").then_some(()));
    one.kill();
    fs::remove_file(original.join(AT).join("status.json")).unwrap();
    let one = agent(&original, first, "one-again");
    until("the original's next run beats", || beats(original.path()).then_some(()));
    assert!(!one.logged().contains("agent.displaced"), "{}", one.logged());
    let third = agent(&copy, "0b5c7a52-3333", "another-boot");
    until("another boot waits", || third.logged().contains("agent.displaced").then_some(()));
}
