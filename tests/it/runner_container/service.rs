//! A service of containers, from its spec to the daemon and back in the replica's status.

use super::IMAGE;
use super::daemon::{Daemon, Kind};
use crate::program::{Running, command};
use crate::support::{Client, Dir, until};
use serde_json::{Value, json};
use std::process::Command;

/// Control plane and agent in one, with this daemon.
fn up(dir: &Dir, name: &str, daemon: &Daemon) -> (Running, Client) {
    let args = ["up", "--server-port", "0", "--server-host", "127.0.0.1", "--node-id", "n1"];
    let mut program = command(dir.path(), &args);
    program.env("DOCKER_HOST", format!("unix://{}", daemon.socket().display()));
    let up = Running::of(program, dir.path(), name);
    let client = up.client();
    let admin = until("the control plane is ready", || {
        let answer = client.try_post("/auth/token", &json!({"username": "admin", "password": "uptime"}))?;
        (answer.status == 200).then(|| client.signed_in("admin", "uptime"))
    });
    (up, admin)
}

/// The status of the replica, once it is one that `look` wants.
fn status(admin: &Client, what: &str, look: impl Fn(&Value) -> bool) -> Value {
    until(what, || {
        let all = admin.get("/replicas").json();
        let items = all.as_array().or_else(|| all["items"].as_array()).unwrap().clone();
        let replica = items.into_iter().find(|replica| replica["service_id"] == "web")?;
        Some(replica["status"].clone()).filter(|status| look(status))
    })
}

#[test]
fn a_service_runs_in_containers() {
    for kind in [Kind::Docker, Kind::Podman] {
        Daemon::start(kind).iter_mut().for_each(runs_a_service);
    }
}

fn runs_a_service(daemon: &mut Daemon) {
    let dir = Dir::new();
    let (mut first, admin) = up(&dir, "first", daemon);
    let spec = json!({
        "image": IMAGE, "command": ["/bin/sleep", "1000"], "stop": {"grace_seconds": 0},
        "scheduling": {"desired_replicas": 1},
    });
    let made = admin.post("/services", &json!({"id": "web", "name": "web", "spec": spec}));
    assert_eq!(made.status, 201, "{}", made.text());
    let pid = status(&admin, "it runs", |status| status["pid"].is_u64())["pid"].clone();
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    let again = status(&admin, "it runs again", |status| status["pid"].is_u64() && status["pid"] != pid);
    assert_eq!((&again["restarts"], &again["exit"]["signal"]), (&json!(1), &json!(9)), "{again}");
    daemon.kill();
    let away = status(&admin, "its daemon is away", |status| {
        status["message"].as_str().is_some_and(|message| message.contains("the container daemon cannot be reached"))
    });
    assert_eq!((&away["pid"], &away["restarts"]), (&again["pid"], &again["restarts"]), "{away}");
    daemon.run();
    status(&admin, "its daemon is back", |status| status["pid"] == again["pid"] && status["message"].is_null());
    first.kill();
    let (_second, admin) = up(&dir, "second", daemon);
    status(&admin, "the next agent adopts it", |status| status["pid"] == again["pid"]);
    // The last run that ended stays as the memory of its end.
    assert_eq!(daemon.containers().len(), 2);
    assert_eq!(admin.delete("/services/web?force=true").status, 204);
    until("its container is gone", || daemon.containers().is_empty().then_some(()));
}
