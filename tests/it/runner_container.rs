//! The driver of containers, with the daemons of Docker and Podman.

mod daemon;
mod service;
mod trouble;

use crate::support::{PATIENCE, until};
use daemon::{Daemon, Kind};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};
use uptimemesh::runner::container::{ContainerConfig, Containers, PULL_STALL};
use uptimemesh::runner::run::{Asked, Exit, RunId, RunSpec, RunState, SeenRun};

const IMAGE: &str = "localhost/bb:1";
const NODE: &str = "n1";

/// A run of a shell script in the image of tests.
fn script(text: &str) -> Value {
    json!({
        "v": 1, "id": RunId::random(), "replica_id": "web-1", "service_id": "web", "generation": 1, "digest": "d",
        "command": ["/bin/sh", "-c", text], "container": {"image": IMAGE},
    })
}

fn spec(of: Value) -> RunSpec {
    serde_json::from_value(of).unwrap()
}

/// The driver, once the daemon has answered.
fn open(daemon: &Daemon) -> Containers {
    let config = ContainerConfig { socket: daemon.socket(), node: NODE.to_string(), pull_stall: PULL_STALL };
    let driver = Containers::open(config).unwrap();
    until("the containers are known", || driver.list().ok());
    driver
}

/// Waits for a run by the driver's changes alone.
fn wait_for<T>(driver: &Containers, id: &RunId, what: &str, check: impl Fn(Option<&SeenRun>) -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        let runs = driver.list();
        let run = runs.as_ref().ok().and_then(|runs| runs.iter().find(|run| run.spec.id == *id));
        if let Some(found) = check(run).filter(|_| runs.is_ok()) {
            return found;
        }
        assert!(Instant::now() < end, "{what}: {runs:?}");
        driver.wait_for_change(Duration::from_secs(1)).unwrap();
    }
}

fn running(driver: &Containers, id: &RunId) -> u32 {
    wait_for(driver, id, "it runs", |run| match run?.state {
        RunState::Running { pid, .. } => Some(pid),
        RunState::Ended(ref exit) => panic!("it ended: {exit:?}"),
        _ => None,
    })
}

fn ended(driver: &Containers, id: &RunId) -> Exit {
    wait_for(driver, id, "it ends", |run| match &run?.state {
        RunState::Ended(exit) => Some(exit.clone()),
        _ => None,
    })
}

/// Starts a run.
fn start(driver: &Containers, of: Value) -> RunId {
    let spec = spec(of);
    driver.start(&spec, None).unwrap();
    spec.id
}

/// Reason why a run does not start.
fn failure(driver: &Containers, of: Value) -> String {
    let id = start(driver, of);
    let failure = ended(driver, &id).failure.expect("a failure");
    driver.remove(&id).unwrap();
    assert!(!driver.list().unwrap().iter().any(|run| run.spec.id == id));
    failure
}

fn with(mut spec: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Object(inner) => inner.iter().for_each(|(name, value)| spec[key][name] = value.clone()),
            value => spec[key] = value.clone(),
        }
    }
    spec
}

const FOREVER: &str = "while :; do sleep 1; done";

#[test]
fn docker_runs_replicas() {
    Daemon::start(Kind::Docker).iter().for_each(runs_replicas);
}

#[test]
fn podman_runs_replicas() {
    Daemon::start(Kind::Podman).iter().for_each(runs_replicas);
}

fn runs_replicas(daemon: &Daemon) {
    let driver = open(daemon);
    assert_eq!(driver.list().unwrap(), []);
    let name = driver.daemon().expect("it is there");
    assert!(name.starts_with(if daemon.kind == Kind::Docker { "docker 2" } else { "podman 4" }), "{name}");
    serves_and_is_adopted(daemon, driver);
    let driver = open(daemon);
    ends_are_seen(&driver);
    stops(daemon, &driver);
    failures_are_sentences(&driver);
    leftovers(daemon, driver);
}

/// A web server is reached by its port, is created with all its bounds, and outlives the driver.
fn serves_and_is_adopted(daemon: &Daemon, driver: Containers) {
    let web = json!({
        "command": ["/bin/httpd", "-f", "-p", "80", "-h", "/"], "environment": {"A": "b c"}, "working_dir": "/tmp",
        "limits": {"cpu_millis": 500, "memory_mb": 64, "pids": 20}, "logs": {"max_mb": 2, "files": 4},
        "stop": {"signal": "SIGINT", "grace_s": 7},
        "container": {"ports": [{"host_port": 8080, "container_port": 80, "protocol": "tcp", "address": "127.0.0.1"}]},
    });
    let web = spec(with(script(""), web));
    driver.start(&web, None).unwrap();
    assert!(driver.start(&web, None).is_err(), "it is there already");
    let pid = running(&driver, &web.id);
    let page = until("it serves", || {
        let mut get = daemon.command("busybox");
        let got = get.args(["wget", "-q", "-O-", "http://127.0.0.1:8080/index.html"]).output().unwrap();
        Some(String::from_utf8(got.stdout).unwrap()).filter(|page| !page.is_empty())
    });
    assert_eq!(page, "it serves\n");
    let name = format!("um-web-1-{}", web.id);
    let made = daemon.call("GET", &format!("/containers/{name}/json"), b"");
    let host = &made["HostConfig"];
    assert_eq!((&host["Memory"], &host["MemorySwap"]), (&json!(64 << 20), &json!(64 << 20)), "{host}");
    assert_eq!((&host["NanoCpus"], &host["PidsLimit"]), (&json!(500_000_000), &json!(20)), "{host}");
    assert!(["no", ""].contains(&host["RestartPolicy"]["Name"].as_str().unwrap()), "{host}");
    assert!(host["SecurityOpt"].to_string().contains("no-new-privileges"), "{host}");
    let log = match daemon.kind {
        Kind::Docker => host["LogConfig"].clone(),
        Kind::Podman => daemon.podman(&format!("/containers/{name}/json"))["HostConfig"]["LogConfig"].clone(),
    };
    let (kind, size) = match daemon.kind {
        Kind::Docker => ("json-file", &log["Config"]["max-size"]),
        Kind::Podman => ("k8s-file", &log["Size"]),
    };
    assert_eq!(log["Type"], kind, "{log}");
    assert!(size.as_str().unwrap().starts_with('2'), "{log}");
    let config = &made["Config"];
    let environment = config["Env"].to_string();
    for part in ["\"A=b c\"", "\"UPTIMEMESH_REPLICA=web-1\"", &format!("\"UPTIMEMESH_RUN={}\"", web.id)] {
        assert!(environment.contains(part), "{environment}");
    }
    assert_eq!(config["WorkingDir"], "/tmp");
    drop(driver);
    let driver = open(daemon);
    let adopted = driver.list().unwrap();
    assert_eq!((adopted.len(), &adopted[0].spec), (1, &web));
    assert_eq!(running(&driver, &web.id), pid, "it is the same process");
    assert!(driver.remove(&web.id).is_err(), "it lives");
    // A crash is seen.
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
    let exit = ended(&driver, &web.id);
    assert_eq!((exit.signal, exit.asked, exit.failure), (Some(9), None, None));
    driver.remove(&web.id).unwrap();
    assert_eq!(driver.list().unwrap(), []);
    until("its container is gone", || daemon.containers().is_empty().then_some(()));
}

fn ends_are_seen(driver: &Containers) {
    let id = start(driver, script("echo bye; exit 3"));
    let exit = ended(driver, &id);
    assert_eq!((exit.code, exit.signal, exit.oom, exit.asked), (Some(3), None, false, None));
    assert!(exit.ended_at >= exit.started_at);
    driver.remove(&id).unwrap();
    let hog = json!({"limits": {"memory_mb": 16}});
    let id = start(driver, with(script("x=0123456789abcdef; while :; do x=$x$x; done"), hog));
    let exit = ended(driver, &id);
    assert_eq!((exit.signal, exit.asked), (Some(9), None), "{exit:?}");
    driver.remove(&id).unwrap();
}

fn stops(daemon: &Daemon, driver: &Containers) {
    let id = start(driver, script(&format!("trap 'exit 7' TERM; {FOREVER}")));
    running(driver, &id);
    driver.stop(&id, "SIGTERM", PATIENCE).unwrap();
    let exit = ended(driver, &id);
    assert_eq!((exit.code, exit.signal, exit.asked), (Some(7), None, Some(Asked::Stop)));
    driver.remove(&id).unwrap();
    // One that does not listen. A shorter grace replaces a longer one.
    let id = start(driver, script(&format!("trap '' TERM; {FOREVER}")));
    running(driver, &id);
    driver.stop(&id, "SIGTERM", 10 * PATIENCE).unwrap();
    driver.stop(&id, "SIGTERM", Duration::from_millis(100)).unwrap();
    let exit = ended(driver, &id);
    assert_eq!((exit.code, exit.signal, exit.asked), (None, Some(9), Some(Asked::Kill)));
    let next = open(daemon);
    assert_eq!(ended(&next, &id), exit, "the next driver knows that it was requested");
    drop(next);
    driver.stop(&id, "SIGTERM", Duration::ZERO).unwrap();
    driver.remove(&id).unwrap();
    assert!(driver.stop(&RunId::random(), "SIGTERM", Duration::ZERO).is_err(), "there is no such run");
}

fn failures_are_sentences(driver: &Containers) {
    let ports = json!([{"host_port": 8081, "container_port": 80, "protocol": "tcp"}]);
    let first = start(driver, with(script(FOREVER), json!({"container": {"ports": ports}})));
    running(driver, &first);
    for (changes, part) in [
        (json!({"command": ["/bin/nope"]}), "the image does not have the program /bin/nope"),
        (json!({"user": "stranger"}), "the image does not have the user stranger"),
        (json!({"container": {"image": "localhost/none", "pull": "never"}}), "does not have the image localhost/none"),
        (json!({"container": {"ports": ports}}), "another program of this machine uses a port of 8081"),
    ] {
        let failure = failure(driver, with(script(FOREVER), changes));
        assert!(failure.starts_with("cannot start: ") && failure.contains(part), "{failure}");
    }
    driver.stop(&first, "SIGTERM", Duration::ZERO).unwrap();
    ended(driver, &first);
    driver.remove(&first).unwrap();
}

/// A container that was created and not started goes; those of others stay.
fn leftovers(daemon: &Daemon, driver: Containers) {
    drop(driver);
    let create = |node: &str| {
        let spec = script(FOREVER).to_string();
        let labels = json!({"uptimemesh.node": node, "uptimemesh.spec": spec});
        let body = json!({"Image": IMAGE, "Cmd": ["/bin/sh"], "Labels": labels}).to_string();
        daemon.call("POST", &format!("/containers/create?name={node}"), body.as_bytes());
    };
    create(NODE);
    create("n2");
    let driver = open(daemon);
    assert_eq!(driver.list().unwrap(), []);
    let names: Vec<Value> = daemon.containers().iter().map(|c| c["Names"][0].clone()).collect();
    assert_eq!(names, ["/n2"]);
}
