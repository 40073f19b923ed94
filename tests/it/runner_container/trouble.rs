//! A daemon that hangs, dies, and comes back; a registry that refuses, hangs and dies.

use super::daemon::{Daemon, Kind, REGISTRY, has};
use super::{FOREVER, NODE, ended, open, running, script, start, wait_for, with};
use crate::support::{PATIENCE, until};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use uptimemesh::runner::container::{ContainerConfig, Containers, Credentials};
use uptimemesh::runner::run::{Asked, RunId, RunState};

/// Line of an htpasswd file: `puller` with the password `s3cret`.
const PULLER: &str = "puller:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK";

#[test]
fn docker_may_hang_and_die() {
    Daemon::start(Kind::Docker).iter_mut().for_each(hangs_and_dies);
}

#[test]
fn podman_may_hang_and_die() {
    Daemon::start(Kind::Podman).iter_mut().for_each(hangs_and_dies);
}

fn hangs_and_dies(daemon: &mut Daemon) {
    let driver = open(daemon);
    let id = start(&driver, script(FOREVER));
    let pid = running(&driver, &id);
    daemon.kill();
    let unknown = |word: &str| {
        let why = until("nothing is known", || driver.list().err().filter(|e| e.detail().contains(word)));
        assert_eq!((why.status(), driver.daemon()), (503, None), "{why}");
    };
    unknown("cannot be reached");
    // What is started meanwhile is neither there nor failed.
    let second = start(&driver, script(FOREVER));
    daemon.run();
    assert_eq!(running(&driver, &id), pid, "the same process runs on");
    wait_for(&driver, &second, "the list decides", |run| run.is_none().then_some(()));
    daemon.signal("STOP");
    // A call is under way, or the next one comes.
    let begin = Instant::now();
    driver.stop(&id, "SIGTERM", Duration::ZERO).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5), "the caller does not wait");
    unknown("does not answer");
    daemon.signal("CONT");
    until("the containers are known", || driver.list().ok());
    wait_for(&driver, &id, "it is asked for again", |run| {
        driver.stop(&id, "SIGTERM", Duration::ZERO).unwrap();
        matches!(run?.state, RunState::Ended(_)).then_some(())
    });
    assert_eq!(ended(&driver, &id).asked, Some(Asked::Kill));
    driver.remove(&id).unwrap();
}

/// A registry in the daemon's network. Dropping it ends it.
struct Registry(Child);

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Registry {
    fn start(daemon: &Daemon) -> Registry {
        let dir = daemon.dir.path();
        fs::write(dir.join("htpasswd"), format!("{PULLER}\n")).unwrap();
        let storage = format!("storage: {{filesystem: {{rootdirectory: {}}}}}", dir.join("registry").display());
        let auth = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}", dir.join("htpasswd").display());
        let text = format!("version: 0.1\nlog: {{level: error}}\n{storage}\nhttp: {{addr: {REGISTRY}}}\n{auth}\n");
        fs::write(dir.join("registry.yml"), text).unwrap();
        let log = File::options().create(true).append(true).open(dir.join("registry.log")).unwrap();
        let mut command = daemon.command("docker-registry");
        command.args(["serve", "registry.yml"]).current_dir(dir).stdout(Stdio::null()).stderr(log);
        let registry = Registry(command.spawn().unwrap());
        until("the registry listens", || {
            let mut ask = daemon.command("busybox");
            ask.args(["nc", "127.0.0.1", "5000"]).stdin(Stdio::null()).stderr(Stdio::null());
            ask.status().unwrap().success().then_some(())
        });
        registry
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap().success());
    }
}

#[test]
fn docker_pulls_from_a_registry() {
    pulls(Kind::Docker);
}

#[test]
fn podman_pulls_from_a_registry() {
    pulls(Kind::Podman);
}

fn pulls(kind: Kind) {
    if !has(&["docker-registry", "skopeo"]) {
        return;
    }
    let Some(daemon) = Daemon::start(kind) else { return };
    let registry = Registry::start(&daemon);
    let image = format!("{REGISTRY}/t/bb:1");
    let mut push = daemon.command("skopeo");
    push.args(["copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", "puller:s3cret"]);
    let pushed = push.arg("docker-archive:image.tar").arg(format!("docker://{image}")).current_dir(daemon.dir.path());
    assert!(pushed.status().unwrap().success());
    refuses(&daemon, &image);
    hangs_dies_and_serves(&daemon, registry, &image);
}

fn credentials(password: &str) -> Option<Credentials> {
    Some(Credentials { username: "puller".to_string(), password: password.to_string() })
}

fn pulled(image: &str) -> Value {
    with(script(FOREVER), json!({"container": {"image": image}}))
}

fn begin(driver: &Containers, of: Value, credentials: Option<Credentials>) -> RunId {
    let spec = super::spec(of);
    driver.start(&spec, credentials).unwrap();
    spec.id
}

fn failure(driver: &Containers, image: &str, credentials: Option<Credentials>) -> String {
    let id = begin(driver, pulled(image), credentials);
    let failure = ended(driver, &id).failure.unwrap();
    driver.remove(&id).unwrap();
    failure
}

fn refuses(daemon: &Daemon, image: &str) {
    let driver = open(daemon);
    for (image, credentials, part) in [
        (image, None, "refuses it without the right name and password"),
        (image, credentials("wrong"), "refuses it without the right name and password"),
        (format!("{REGISTRY}/t/none").as_str(), credentials("s3cret"), "has no such image or tag"),
        ("127.0.0.1:5999/t/bb:1", None, "127.0.0.1:5999 cannot be reached"),
    ] {
        let failure = failure(&driver, image, credentials);
        assert!(
            failure.contains(part) && failure.starts_with(&format!("cannot start: the image {image}")),
            "{failure}"
        );
    }
}

fn hangs_dies_and_serves(daemon: &Daemon, registry: Registry, image: &str) {
    let pull_stall = Duration::from_secs(3);
    let config = ContainerConfig { socket: daemon.socket(), node: NODE.to_string(), pull_stall };
    let driver = Containers::open(config).unwrap();
    until("the containers are known", || driver.list().ok());
    // A registry that hangs: the pull can be cancelled, and fails by itself.
    registry.signal("-STOP");
    let id = begin(&driver, pulled(image), credentials("s3cret"));
    until("it pulls", || driver.progress(&id).filter(|progress| progress.starts_with("pulling ")));
    driver.stop(&id, "SIGTERM", PATIENCE).unwrap();
    assert_eq!(ended(&driver, &id).asked, Some(Asked::Stop));
    driver.remove(&id).unwrap();
    let words = failure(&driver, image, credentials("s3cret"));
    assert!(words.contains("there was no progress in 3 s"), "{words}");
    // One that dies in the middle.
    let id = begin(&driver, pulled(image), credentials("s3cret"));
    until("it pulls", || driver.progress(&id));
    drop(registry);
    let exit = ended(&driver, &id);
    assert!(exit.failure.is_some_and(|words| words.starts_with("cannot start: the image")));
    driver.remove(&id).unwrap();
    let registry = Registry::start(daemon);
    let id = begin(&driver, pulled(image), credentials("s3cret"));
    running(&driver, &id);
    let digest = driver.digest(image).unwrap().expect("it came from a registry");
    assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");
    // Without the registry, the image that is there is used.
    drop(registry);
    let id = begin(&driver, with(pulled(image), json!({"container": {"pull": "always"}})), None);
    running(&driver, &id);
    let id = begin(&driver, pulled(image), None);
    running(&driver, &id);
}
