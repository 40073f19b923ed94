//! The runner as a service of its own: the real program with a directory and a socket of its own, fed with what real
//! control planes have signed.

use crate::node::{Node, token};
use crate::program::{Running, command, fails, ok};
use crate::support::{Client, Dir, PATIENCE, Served, kills, until};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

/// A user that no machine has, as the agent's.
const AGENT: u32 = 12345;
/// Another one.
const STRANGER: u32 = 12346;

/// The service in a directory of its own. Dropping it ends its runs.
struct Service {
    dir: Dir,
    starts: usize,
    running: Option<Running>,
}

impl Service {
    fn new() -> Service {
        let dir = Dir::new();
        // Other users must reach the socket, and replicas their working directory.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let mut service = Service { dir, starts: 0, running: None };
        service.start();
        service
    }

    fn args(&self, verb: &[&str], more: &[&str]) -> Vec<String> {
        let place = |name: &str| self.dir.join(name).to_str().unwrap().to_string();
        let mut args: Vec<String> = [&["runner"], verb].concat().iter().map(|word| (*word).to_string()).collect();
        for (option, name) in
            [("--dir", "state"), ("--socket", "sock"), ("--runs-dir", "run/runs"), ("--policy", "policy")]
        {
            args.extend([option.to_string(), place(name)]);
        }
        args.extend(more.iter().map(|word| (*word).to_string()));
        args
    }

    /// Starts it and does not wait.
    fn begin(&mut self) {
        self.starts += 1;
        let args = self.args(&[], &["--agent-user", &AGENT.to_string()]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.running = Some(Running::start(self.dir.path(), &format!("runner-{}", self.starts), &args));
    }

    fn start(&mut self) {
        self.begin();
        until("the service is ready", || self.logged().contains("runner.ready").then_some(()));
    }

    fn kill(&mut self) {
        self.running.take().unwrap().kill();
    }

    fn logged(&self) -> String {
        self.running.as_ref().unwrap().logged()
    }

    fn command(&self, verb: &[&str], more: &[&str]) -> String {
        let args = self.args(verb, more);
        ok(self.dir.path(), &args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn connect(&self) -> Agent {
        let stream = UnixStream::connect(self.dir.join("sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Agent { lines: BufReader::new(stream.try_clone().unwrap()), stream }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let args = self.args(&["stop-all"], &[]);
        let _ = command(self.dir.path(), &args.iter().map(String::as_str).collect::<Vec<_>>()).output();
    }
}

/// An agent's end of the socket.
struct Agent {
    lines: BufReader<UnixStream>,
    stream: UnixStream,
}

impl Agent {
    fn hand_over(&mut self, work: &Value) {
        writeln!(self.stream, "{}", json!({"v": 1, "work": work})).unwrap();
    }

    /// Reads messages until one is what is looked for.
    fn hear<T>(&mut self, look: impl Fn(&Value) -> Option<T>) -> T {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the service speaks");
            if let Some(found) = look(&serde_json::from_str(&line).unwrap()) {
                return found;
            }
        }
    }

    /// Waits until a replica has this state, and gives its process.
    fn replica(&mut self, id: &str, state: &str) -> Option<u32> {
        self.hear(|message| {
            let changes = message["status"]["changes"].as_array()?;
            let found = changes.iter().find(|of| of["replica_id"] == id && of["status"]["state"] == state)?;
            Some(found["status"]["pid"].as_u64().map(|pid| u32::try_from(pid).unwrap()))
        })
    }

    /// Waits until this is the work that the service acts on.
    fn holds(&mut self, work: &Value) {
        self.hear(|message| {
            let status = &message["status"];
            (status["held"] == version(work) && status["refused"].is_null()).then_some(())
        });
    }

    fn accepts(&mut self, work: &Value) {
        self.hand_over(work);
        self.holds(work);
    }

    /// Hands over work that must be refused, with this reason.
    fn refuses(&mut self, work: &Value, why: &str) {
        self.hand_over(work);
        let refused = self.hear(|message| {
            let refused = &message["status"]["refused"];
            (refused["version"] == version(work)).then(|| refused["reason"].as_str().unwrap().to_string())
        });
        assert!(refused.contains(why), "{refused}");
    }
}

fn version(work: &Value) -> Value {
    json!({"epoch": work["epoch"], "version": work["version"]})
}

/// A control plane with a node, whose work the test fetches as an agent would.
struct Cluster {
    served: Served,
    admin: Client,
    node: Node,
}

impl Cluster {
    fn new(node_id: &str) -> Cluster {
        let served = Served::new();
        let admin = served.admin();
        assert_eq!(admin.put("/cluster-settings/scheduler_mode", &json!({"value": "manual"})).status, 200);
        let node = Node::joined(&admin, node_id);
        Cluster { served, admin, node }
    }

    /// A service with a replica that sleeps for this number of seconds, which names its processes.
    fn place(&self, id: &str, sleeps_s: u32) {
        let spec = json!({"command": ["/bin/sleep", sleeps_s.to_string()], "stop": {"grace_seconds": 1}});
        let made = self.admin.post("/services", &json!({"id": id, "name": id, "spec": spec}));
        assert_eq!(made.status, 201, "{}", made.text());
        let replica = json!({"id": format!("{id}-1"), "service_id": id, "node_id": "n1"});
        assert_eq!(self.admin.post("/replicas", &replica).status, 201);
    }

    fn work(&self) -> Value {
        self.node.call(&self.served.anonymous(), "GET", "/node/work", b"").json()
    }
}

/// Processes that sleep for this number of seconds.
pub fn sleepers(sleeps_s: u32) -> Vec<u32> {
    let line = format!("/bin/sleep\0{sleeps_s}\0");
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| found == line.as_bytes())).collect()
}

/// A number of seconds that no other test sleeps for.
pub fn unique(add: u32) -> u32 {
    100_000_000 + std::process::id() % 1_000_000 * 1000 + add
}

fn is_root() -> bool {
    let is = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is {
        eprintln!("left out: becoming another user needs root");
    }
    is
}

#[test]
fn work_outlives_the_service_and_is_started_from_its_disk() {
    let cluster = Cluster::new("n1");
    let mut service = Service::new();
    let sleeps_s = unique(1);
    cluster.place("s1", sleeps_s);
    let work = cluster.work();
    let mut agent = service.connect();
    let abilities = agent.hear(|message| message.get("abilities").cloned());
    assert_eq!(abilities["drivers"], json!(["process"]), "{abilities}");
    assert_eq!(agent.hear(|message| message.get("status").cloned())["full"], true, "all replicas at the beginning");
    agent.hand_over(&work);
    let running = agent.replica("s1-1", "running");
    until("the program is its process", || (running.map(|pid| vec![pid]) == Some(sleepers(sleeps_s))).then_some(()));
    until("it says that no authority was given", || service.logged().contains("runner.trust_first").then_some(()));
    let said = service.command(&["trust"], &[]);
    assert!(said.contains("for the node n1") && said.contains("authority "), "{said}");

    // The service is killed, and the next one adopts what runs.
    service.kill();
    assert_eq!(sleepers(sleeps_s), [running.unwrap()]);
    service.start();
    let again = service.connect().replica("s1-1", "running");
    assert_eq!((again, sleepers(sleeps_s).len()), (running, 1));

    // After a power cut it starts from its disk, before any agent has connected.
    service.kill();
    assert!(Command::new("kill").args(["-9", &running.unwrap().to_string()]).status().unwrap().success());
    until("the process is gone", || sleepers(sleeps_s).is_empty().then_some(()));
    service.start();
    let started = until("it runs again", || sleepers(sleeps_s).first().copied());
    assert_ne!(Some(started), running);

    // A damaged file is reported, and the previous generation counts until the newest is handed over again.
    let mut agent = service.connect();
    agent.replica("s1-1", "running");
    cluster.place("s2", sleeps_s + 1);
    agent.hand_over(&cluster.work());
    agent.replica("s2-1", "running");
    service.kill();
    fs::write(service.dir.join("state/work/work.json"), "{").unwrap();
    service.start();
    until("the damage is logged", || service.logged().contains("runner.file_damaged").then_some(()));
    let mut agent = service.connect();
    agent.holds(&work);
    agent.hand_over(&cluster.work());
    agent.replica("s2-1", "running");

    // The end of the machine.
    let said = service.command(&["stop-all"], &[]);
    assert!(said.contains("stopped"), "{said}");
    assert_eq!((sleepers(sleeps_s).len(), sleepers(sleeps_s + 1).len()), (0, 0));
    cluster.place("s3", sleeps_s + 2);
    agent.hand_over(&cluster.work());
    agent.replica("s3-1", "stopped");
    assert_eq!(sleepers(sleeps_s + 2).len(), 0, "nothing is started while the machine goes down");
    service.kill();
    service.start();
    until("all run after the next start", || (0..3).all(|add| sleepers(sleeps_s + add).len() == 1).then_some(()));
    // Without a service, what it has left is stopped by the command itself.
    service.kill();
    service.command(&["stop-all"], &[]);
    assert!((0..3).all(|add| sleepers(sleeps_s + add).is_empty()));
}

#[test]
fn the_agent_is_believed_about_nothing() {
    let (ours, theirs) = (Cluster::new("n1"), Cluster::new("n1"));
    let service = Service::new();
    let mut agent = service.connect();
    let first = ours.work();
    agent.accepts(&first);
    theirs.place("s1", unique(5));
    agent.refuses(&theirs.work(), "not certified by an authority");
    // A key of the own cluster does not help.
    let mut mixed = theirs.work();
    for key in ["key_pem", "key_certificate"] {
        mixed[key] = ours.work()[key].clone();
    }
    agent.refuses(&mixed, "signature is not genuine");
    let neighbour = Node::joined(&ours.admin, "n2").call(&ours.served.anonymous(), "GET", "/node/work", b"");
    agent.refuses(&neighbour.json(), "work of another node");
    ours.place("s1", unique(6));
    agent.accepts(&ours.work());
    agent.refuses(&first, "older than the work");
    until("refusals are logged", || service.logged().contains("runner.work_refused").then_some(()));
    assert!(sleepers(unique(5)).is_empty());
    agent.stream.shutdown(std::net::Shutdown::Both).unwrap();

    // The authority is rotated: the old one vouches for the new one, and then it is not believed any more.
    let mut agent = service.connect();
    assert_eq!(ours.admin.post("/cluster/ca/rotate", &json!({})).status, 200);
    let both = ours.work();
    agent.accepts(&both);
    assert_eq!(ours.admin.delete("/cluster/ca/previous?force=true").status, 200);
    let new = ours.work();
    assert_ne!(new["key_certificate"], both["key_certificate"]);
    agent.accepts(&new);
}

#[test]
fn root_can_say_whose_work_is_believed_before_there_is_any() {
    let (ours, theirs) = (Cluster::new("n1"), Cluster::new("n1"));
    let mut service = Service::new();
    service.kill();
    let authority = ours.served.config.pki_dir.join("cluster-ca.crt");
    let bundle = service.dir.join("bundle");
    let both = ours.served.config.pki_dir.join("server-ca.crt");
    fs::write(&bundle, [fs::read(&both).unwrap(), fs::read(&authority).unwrap()].concat()).unwrap();
    let shown = ours.admin.get("/cluster/ca").json();
    let print = shown["current"]["fingerprint"].as_str().unwrap();
    let bundle = bundle.to_str().unwrap();
    let said = service.command(&["trust"], &["--node-id", "n1", "--authority", bundle, "--fingerprint", print]);
    assert!(said.matches("authority ").count() == 1, "only the one that is meant: {said}");
    let args = service.args(&["trust"], &["--node-id", "n1", "--authority", "/proc/version"]);
    let (status, why) = fails(service.dir.path(), &args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(status == 1 && why.contains("in PEM"), "{why}");
    service.start();
    let mut agent = service.connect();
    agent.refuses(&theirs.work(), "not certified by an authority");
    agent.accepts(&ours.work());
    assert!(!service.logged().contains("runner.trust_first"));
}

#[test]
fn only_root_and_the_user_of_the_agent_are_heard() {
    if !is_root() {
        return;
    }
    let service = Service::new();
    let socket = service.dir.join("sock");
    let meta = fs::metadata(&socket).unwrap();
    assert_eq!((meta.mode() & 0o777, meta.uid(), meta.gid()), (0o660, 0, AGENT));
    let program = service.dir.join("uptimemesh");
    fs::copy(env!("CARGO_BIN_EXE_uptimemesh"), &program).unwrap();
    let stop_as = |user: u32| {
        let args = service.args(&["stop-all"], &[]);
        let user = user.to_string();
        let mut stop = Command::new("setpriv");
        stop.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(&program).args(args);
        let output = stop.current_dir("/").output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (is_done, why) = stop_as(STRANGER);
    assert!(!is_done && why.contains("cannot be reached"), "{why}");
    let (is_done, why) = stop_as(AGENT);
    assert!(!is_done && why.contains("only root may stop all work"), "{why}");
    // Whatever the file's mode says by now, the kernel says who it is.
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    let (is_done, why) = stop_as(STRANGER);
    assert!(!is_done && why.contains("only root and the agent's user are heard"), "{why}");
    until("it is logged", || service.logged().contains("runner.stranger").then_some(()));
    assert!(service.command(&["stop-all"], &[]).contains("stopped"), "root is heard");
}

#[test]
fn a_service_that_is_killed_at_any_moment_leaves_no_orphan_and_no_double() {
    let cluster = Cluster::new("n1");
    let mut service = Service::new();
    const REPLICAS: u32 = 5;
    let sleeps_s = unique(100);
    for round in 0..kills(8) {
        // Replicas come and go while it is killed.
        let number = u32::try_from(round).unwrap() % REPLICAS;
        let id = format!("k{number}");
        if cluster.admin.delete(&format!("/services/{id}?force=true")).status == 404 {
            cluster.place(&id, sleeps_s + number);
        }
        service.connect().hand_over(&cluster.work());
        std::thread::sleep(Duration::from_millis(u64::from(std::process::id() + number * 37) % 120));
        service.kill();
        service.start();
    }
    for number in 0..REPLICAS {
        cluster.admin.delete(&format!("/services/k{number}?force=true"));
        cluster.place(&format!("k{number}"), sleeps_s + number);
        assert!(sleepers(sleeps_s + number).len() <= 1, "a double");
    }
    service.connect().accepts(&cluster.work());
    until("each runs once", || (0..REPLICAS).all(|number| sleepers(sleeps_s + number).len() == 1).then_some(()));
    for number in 0..REPLICAS {
        cluster.admin.delete(&format!("/services/k{number}?force=true"));
    }
    service.connect().accepts(&cluster.work());
    until("none is left", || (0..REPLICAS).all(|number| sleepers(sleeps_s + number).is_empty()).then_some(()));
}

#[test]
fn an_agent_uses_the_service_and_finds_it_again() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let (_control, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let admin = client.signed_in("admin", "uptime");
    let (url, token) = (format!("http://{}", client.address), token(&admin, "worker", None));
    ok(elsewhere.path(), &["join", "--api-url", &url, "--token", &token, "--node-id", "n1", "--role", "worker"]);
    let mut service = Service::new();
    service.kill();
    let socket = service.dir.join("sock");
    let agent = ["agent", "--node-id", "n1", "--api-url", &url, "--ttl", "10", "--runner", socket.to_str().unwrap()];
    let agent = Running::start(elsewhere.path(), "agent", &agent);
    let runner = || admin.get("/nodes/n1").json()["status"]["runner"].clone();
    until("nothing can run there yet", || (runner()["drivers"] == json!([])).then_some(()));
    assert_eq!(runner()["away"], true);
    service.start();
    until("the runner is there", || (runner()["drivers"] == json!(["process"])).then_some(()));
    let sleeps_s = unique(7);
    let spec = json!({"command": ["/bin/sleep", sleeps_s.to_string()], "scheduling": {"desired_replicas": 1}});
    let made = admin.post("/services", &json!({"id": "s1", "name": "s1", "spec": spec}));
    assert_eq!(made.status, 201, "{}", made.text());
    let state = || {
        let replicas = admin.get("/replicas?service_id=s1").json();
        let status = replicas[0]["status"].clone();
        (status["state"] == "running" || status["state"] == "healthy").then(|| status.clone())
    };
    until("the node reports that it runs", state);
    let pid = sleepers(sleeps_s);
    assert_eq!(pid.len(), 1);
    service.kill();
    until("the agent says so", || agent.logged().contains("agent.runner_away").then_some(()));
    service.start();
    assert!(Command::new("kill").args(["-9", &pid[0].to_string()]).status().unwrap().success());
    until("its end is reported through the new service", || {
        state().filter(|status| status["restarts"].as_u64() >= Some(1) && sleepers(sleeps_s) != pid)
    });
}
