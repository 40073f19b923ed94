//! Replicas that really run: the program as control plane and agent, and services of plain processes.

use crate::node::token;
use crate::program::{Running, command, ok};
use crate::support::{Client, Dir, until};
use serde_json::{Value, json};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use uptimemesh::runner::process::{ProcessConfig, Processes};
use uptimemesh::runner::run::{RunState, SeenRun};

/// The data directory of an agent. Dropping it ends what runs there, whatever became of the agent.
struct Home {
    dir: Dir,
}

impl Home {
    fn new() -> Home {
        Home { dir: Dir::new() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn up(&self, name: &str) -> (Running, Client) {
        let args = ["up", "--server-port", "0", "--server-host", "127.0.0.1", "--node-id", "n1"];
        let up = Running::start(self.path(), name, &args);
        let client = up.client();
        let admin = until("the control plane is ready", || {
            let answer = client.try_post("/auth/token", &json!({"username": "admin", "password": "uptime"}))?;
            (answer.status == 200).then(|| client.signed_in("admin", "uptime"))
        });
        (up, admin)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        end_runs(&self.dir.join("data/runner"));
    }
}

/// Ends what the runner of a directory left running, as no agent will.
pub fn end_runs(runner: &Path) {
    let config = ProcessConfig {
        runs_dir: runner.join("runs"),
        logs_dir: runner.join("logs"),
        program: PathBuf::from(env!("CARGO_BIN_EXE_uptimemesh")),
    };
    let is_over = |processes: &Processes| {
        let runs = processes.list().unwrap_or_default();
        let is_alive = |run: &&SeenRun| matches!(run.state, RunState::Starting | RunState::Running { .. });
        let alive: Vec<&SeenRun> = runs.iter().filter(is_alive).collect();
        for run in &alive {
            let _ = processes.stop(&run.spec.id, "SIGKILL", Duration::ZERO);
        }
        alive.is_empty().then(|| runs.iter().for_each(|run| drop(processes.remove(&run.spec.id))))
    };
    // The agent that was killed may hold the directory for a moment.
    let processes = until("the runs can be ended", || Processes::open(clone(&config)).ok());
    until("the runs have ended", || is_over(&processes));
}

fn clone(config: &ProcessConfig) -> ProcessConfig {
    let (runs_dir, logs_dir, program) = (config.runs_dir.clone(), config.logs_dir.clone(), config.program.clone());
    ProcessConfig { runs_dir, logs_dir, program }
}

/// A port that is free now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn web(port: u16) -> Value {
    json!({"command": ["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", port.to_string()]})
}

fn answers(port: u16) -> bool {
    TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_ok()
}

/// Applies a service of one replica.
fn apply(admin: &Client, id: &str, mut spec: Value) {
    spec["scheduling"] = json!({"desired_replicas": 1});
    let made = admin.post("/services", &json!({"id": id, "name": id, "spec": spec}));
    assert_eq!(made.status, 201, "{}", made.text());
}

/// The status of a service's replica, once it is one that `look` wants.
fn status(admin: &Client, service: &str, what: &str, look: impl Fn(&Value) -> bool) -> Value {
    until(&format!("{service}: {what}"), || {
        let all = admin.get("/replicas").json();
        let items = all.as_array().or_else(|| all["items"].as_array()).unwrap().clone();
        let replica = items.into_iter().find(|replica| replica["service_id"] == service)?;
        Some(replica["status"].clone()).filter(|status| look(status))
    })
}

fn pid(status: &Value) -> u64 {
    status["pid"].as_u64().unwrap()
}

fn is_alive(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn kill(pid: u64) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_service_answers_and_goes_on_through_every_kill() {
    let home = Home::new();
    let (mut up, admin) = home.up("first");
    let port = free_port();
    let began = Instant::now();
    apply(&admin, "web", web(port));
    until("the service answers", || answers(port).then_some(()));
    let answered = began.elapsed();
    let first = status(&admin, "web", "it runs", |s| s["pid"].is_u64());
    assert_eq!((&first["applied_generation"], &first["restarts"]), (&json!(1), &json!(0)), "{first}");
    let died = Instant::now();
    kill(pid(&first));
    until("it is not there", || (!is_alive(pid(&first))).then_some(()));
    until("it answers again", || answers(port).then_some(()));
    let back = died.elapsed();
    let second = status(&admin, "web", "its restart is reported", |s| s["restarts"] == 1 && s["pid"].is_u64());
    assert_eq!(second["exit"]["words"], "killed by SIGKILL", "{second}");
    assert_ne!(pid(&first), pid(&second));
    up.kill();
    assert!(is_alive(pid(&second)) && answers(port), "the replica does not need the program");
    let (mut up, admin) = home.up("second");
    let told = |text: &str| up.logged().contains(text);
    until("the program reports what it found", || told("/node/status").then_some(()));
    let third = status(&admin, "web", "it is known", |s| s["pid"].is_u64());
    assert_eq!((pid(&third), &third["restarts"]), (pid(&second), &json!(1)), "the same process goes on");
    assert_eq!(third["exit"]["words"], "killed by SIGKILL", "its last end is still known: {third}");
    assert_eq!(up.terminate(), 0);
    assert!(is_alive(pid(&second)), "also after a stop of the program");
    let (_up, admin) = home.up("third");
    let mut none = web(port);
    none["scheduling"] = json!({"desired_replicas": 0});
    assert_eq!(admin.patch("/services/web", &json!({"spec": none})).status, 200);
    until("what is not wanted is stopped", || (!is_alive(pid(&second))).then_some(()));
    println!("answered {answered:?} after it was applied, and {back:?} after it was killed");
}

#[test]
fn an_agent_starts_its_work_without_the_control_plane() {
    let (control_dir, home) = (Dir::new(), Home::new());
    let (mut control, client) = Running::serve(control_dir.path(), &["serve", "--server-port", "0"]);
    let admin = client.signed_in("admin", "uptime");
    let (url, token) = (format!("http://{}", client.address), token(&admin, "worker", None));
    ok(home.path(), &["join", "--api-url", &url, "--token", &token, "--node-id", "n1", "--role", "worker"]);
    let agent = |name: &str| Running::start(home.path(), name, &["agent", "--node-id", "n1", "--api-url", &url]);
    let mut first = agent("first");
    until("the node reports its runner", || {
        admin.get("/nodes/n1").json()["status"]["runner"]["drivers"].as_array().map(drop)
    });
    let port = free_port();
    apply(&admin, "web", web(port));
    let found = status(&admin, "web", "it runs", |s| s["pid"].is_u64());
    until("it answers", || answers(port).then_some(()));
    first.kill();
    control.kill();
    kill(pid(&found));
    until("it is gone", || (!answers(port)).then_some(()));
    let mut second = agent("second");
    until("it answers again", || answers(port).then_some(()));
    assert!(!second.has_ended());
}

#[test]
fn what_cannot_run_says_why() {
    let home = Home::new();
    let (_up, admin) = home.up("up");
    apply(&admin, "crash", json!({"command": ["/bin/sh", "-c", "exit 3"], "restart": {"delay_max_seconds": 1}}));
    apply(&admin, "missing", json!({"command": ["/no/such/program"], "restart": {"policy": "never"}}));
    apply(&admin, "root", json!({"command": ["/bin/sleep", "600"], "user": "no-such-user"}));
    apply(&admin, "once", json!({"command": ["/bin/true"], "restart": {"policy": "on_failure"}}));
    let refused = status(&admin, "root", "it is refused", |s| s["state"] == "refused");
    assert!(refused["message"].as_str().unwrap().contains("no user no-such-user"), "{refused}");
    let failed = status(&admin, "missing", "it failed", |s| s["state"] == "failed");
    let words = failed["exit"]["words"].as_str().unwrap();
    assert!(words.starts_with("cannot start") && words.contains("/no/such/program"), "{words}");
    status(&admin, "once", "it is completed", |s| s["state"] == "completed");
    let crashed = status(&admin, "crash", "it is a crash loop", |s| s["state"] == "crashloop");
    assert_eq!((&crashed["exit"]["code"], &crashed["healthy"]), (&json!(3), &json!(false)), "{crashed}");
    assert!(crashed["restarts"].as_u64().unwrap() >= 4, "{crashed}");
}

#[test]
fn a_new_generation_replaces_what_runs_and_kills_what_does_not_stop() {
    let home = Home::new();
    let (_up, admin) = home.up("up");
    let stubborn = json!({"command": ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
        "stop": {"grace_seconds": 1}, "scheduling": {"desired_replicas": 1}});
    apply(&admin, "s", stubborn.clone());
    let first = status(&admin, "s", "it runs", |s| s["pid"].is_u64());
    // Another stop or health check is no reason to restart it.
    let mut second = stubborn.clone();
    second["rolling_update"] = json!({"min_healthy_seconds": 0});
    assert_eq!(admin.patch("/services/s", &json!({"spec": second})).status, 200);
    let same = status(&admin, "s", "it is adopted", |s| s["applied_generation"] == 2 && s["healthy"] == true);
    assert_eq!(pid(&same), pid(&first));
    second["environment"] = json!({"A": "b"});
    assert_eq!(admin.patch("/services/s", &json!({"spec": second})).status, 200);
    let other = status(&admin, "s", "it is another one", |s| s["applied_generation"] == 3 && s["healthy"] == true);
    assert_ne!(pid(&other), pid(&first));
    assert!(!is_alive(pid(&first)), "there are never two");
    let words = other["exit"]["words"].as_str().unwrap();
    assert!(words.contains("SIGKILL") && words.contains("did not stop in time"), "{words}");
    let environment = fs::read_to_string(format!("/proc/{}/environ", pid(&other))).unwrap();
    assert!(environment.split('\0').any(|variable| variable == "A=b"), "{environment}");
}

#[test]
fn a_health_check_decides() {
    let home = Home::new();
    let (_up, admin) = home.up("up");
    // The check runs as the replica's user, who may not look into the test's directory.
    let flag = std::env::temp_dir().join(format!("uptimemesh-well-{}", std::process::id()));
    let health = json!({"exec": ["/usr/bin/test", "-e", flag], "interval_seconds": 1, "start_period_seconds": 0,
        "retries": 1});
    apply(&admin, "s", json!({"command": ["/bin/sleep", "600"], "health": health}));
    let sick = status(&admin, "s", "it is restarted", |s| s["restarts"].as_u64().is_some_and(|n| n > 0));
    assert!(sick["exit"]["words"].as_str().unwrap().contains("SIGTERM"), "{sick}");
    fs::write(&flag, "").unwrap();
    let well = status(&admin, "s", "it is healthy", |s| s["state"] == "healthy");
    fs::remove_file(&flag).unwrap();
    let sick = status(&admin, "s", "it is unhealthy", |s| s["healthy"] == false);
    assert!(well["healthy"] == true && sick["message"].as_str().unwrap().contains("/usr/bin/test"), "{sick}");
}

#[test]
fn an_agent_without_a_runner_only_keeps_its_work() {
    let dir = Dir::new();
    let mut program =
        command(dir.path(), &["up", "--server-port", "0", "--server-host", "127.0.0.1", "--node-id", "n1"]);
    program.env("UPTIMEMESH_RUNNER", "none");
    let up = Running::of(program, dir.path(), "up");
    let admin = until("it is up", || up.said().contains("sign in").then(|| up.client())).signed_in("admin", "uptime");
    apply(&admin, "s", json!({"command": ["/bin/sleep", "600"]}));
    status(&admin, "s", "it is a record", |s| s["managed_by"] == "scheduler" && s["healthy"] == true);
    let node = admin.get("/nodes/n1").json();
    assert_eq!((&node["status"]["runner"], dir.join("data/runner").exists()), (&Value::Null, false), "{node}");
    let mut wrong = command(dir.path(), &["up", "--server-port", "0"]);
    let output = wrong.env("UPTIMEMESH_RUNNER", "outside").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("--runner must be inside, none or"), "{output:?}");
}
