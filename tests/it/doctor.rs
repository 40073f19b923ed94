//! `uptimemesh doctor`, on machines that are well and on machines with one thing wrong.

use crate::node::Node;
use crate::program::{Running, command, ok};
use crate::support::{Client, Dir, until};
use crate::trouble::{can_mount, in_namespace};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// What the doctor said, and its exit status.
pub struct Said {
    status: i32,
    json: Value,
}

impl Said {
    /// The first finding of a check.
    fn of(&self, check: &str) -> &Value {
        let findings = self.json["findings"].as_array().unwrap();
        findings.iter().find(|f| f["check"] == check).unwrap_or_else(|| panic!("no {check}: {:#}", self.json))
    }

    /// Asserts what a check found.
    pub fn has(&self, check: &str, level: &str, seen: &str, to_do: &str) {
        let finding = self.of(check);
        assert_eq!(finding["level"], level, "{finding}");
        assert!(finding["seen"].as_str().unwrap().contains(seen), "no {seen:?} in {finding}");
        assert!(finding["do"].as_str().unwrap_or_default().contains(to_do), "no {to_do:?} in {finding}");
        if level == "fail" {
            assert_eq!(self.status, 1, "a failure is told by the exit status too");
        }
    }

    fn failures(&self) -> Vec<&Value> {
        self.json["findings"].as_array().unwrap().iter().filter(|f| f["level"] == "fail").collect()
    }
}

fn said(mut program: Command) -> Said {
    let output = program.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let json = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    Said { status: output.status.code().unwrap_or(-1), json }
}

/// Asks the doctor in this directory.
pub fn ask(dir: &Path, args: &[&str]) -> Said {
    said(command(dir, &[&["doctor", "--json"], args].concat()))
}

/// A port that was free a moment ago.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// A control plane with its own node in this directory, and the arguments that name its port.
fn up(dir: &Path) -> (Running, Client, [String; 4]) {
    let port = ["--server-host".to_string(), "127.0.0.1".to_string(), "--server-port".to_string(), free_port()];
    let args: Vec<&str> = ["up", "--node-id", "n1"].into_iter().chain(port.iter().map(String::as_str)).collect();
    let running = Running::start(dir, "up", &args);
    until("it is up", || running.said().contains("is up").then_some(()));
    let client = running.client();
    (running, client, port)
}

fn texts(port: &[String; 4]) -> Vec<&str> {
    port.iter().map(String::as_str).collect()
}

/// The names of all files below a directory.
fn names(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        all.push(entry.path().display().to_string());
        if entry.path().is_dir() {
            all.extend(names(&entry.path()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_control_plane_that_is_well_is_said_to_be_running_and_stopped() {
    let dir = Dir::new();
    let (mut up, client, port) = up(dir.path());
    let admin = client.signed_in("admin", "uptime");
    let running = ask(dir.path(), &texts(&port));
    assert_eq!(running.failures(), Vec::<&Value>::new());
    assert_eq!((running.status, &running.json["failures"]), (0, &json!(0)));
    running.has("server.port", "ok", "a server runs on this data and answers at http://127.0.0.1:", "");
    for check in [
        "disk.fsync",
        "config",
        "files.keys",
        "certificates.authority",
        "certificates.server",
        "database.integrity",
        "database.version",
    ] {
        running.has(check, "ok", "", "");
    }
    for check in [
        "nodes.versions",
        "nodes.leases",
        "nodes.clocks",
        "certificates.nodes",
        "identity.certificate",
        "control.reach",
        "clock.control",
        "control.version",
        "control.node",
    ] {
        running.has(check, "ok", "", "");
    }
    running.has("config.strict", "skipped", "AUTH_SECRET_KEY must be set", "");
    running.has("password", "warn", "initial password", "uptimemesh set-password");
    running.has("backups", "warn", "there is none in data/backups", "uptimemesh backup create");
    for finding in running.json["findings"].as_array().unwrap() {
        let must = finding["level"] == "warn" || finding["level"] == "fail";
        assert_eq!(finding["do"].is_string(), must, "what is wrong has something to do about it: {finding}");
    }
    // Nodes that report an older program and a clock that is off, and one that fell silent.
    let mut node = Node::joined(&admin, "n2");
    node.heartbeat(&admin, 10, &json!({"ready": true, "version": "1.9.9", "clock_offset_seconds": -77}));
    let told = ask(dir.path(), &texts(&port));
    told.has("nodes.versions", "warn", "n2 (1.9.9)", "uptimemesh update");
    told.has("nodes.clocks", "warn", "n2 (77 s ahead)", "timedatectl");
    let stale = until("the lease of n2 runs out", || {
        Some(ask(dir.path(), &texts(&port))).filter(|s| s.of("nodes.leases")["level"] == "warn")
    });
    stale.has("nodes.leases", "warn", "n2 (stale)", "uptimemesh doctor");
    // A rotation that is going on.
    assert_eq!(admin.post("/cluster/ca/rotate", &Value::Null).status, 200);
    ask(dir.path(), &texts(&port)).has("certificates.rotation", "warn", "still trusted", "uptimemesh ca drop-previous");
    // For people it is a table.
    let text = ok(dir.path(), &[vec!["doctor"], texts(&port)].concat());
    assert!(
        text.is_ascii() && text.contains("\nwarn     backups ") && text.contains(" -> uptimemesh set-password\n"),
        "{text}"
    );
    assert!(text.lines().last().unwrap().contains("warnings, 0 failures."), "{text}");
    // Stopped, it is examined all the same, and left as it was.
    assert_eq!(up.terminate(), 0);
    let before = names(&dir.join("data"));
    let stopped = ask(dir.path(), &texts(&port));
    stopped.has("server.port", "ok", "no server runs on this data", "");
    stopped.has("database.integrity", "ok", "data/app.db is sound", "");
    stopped.has("nodes.leases", "skipped", "the server is stopped", "");
    stopped.has("control.reach", "fail", "cannot reach", "--api-url");
    assert_eq!(names(&dir.join("data")), before, "nothing is left behind");
    // A backup is found, and its age.
    let made = ok(dir.path(), &["backup", "create", "--no-encryption"]);
    ask(dir.path(), &texts(&port)).has("backups", "ok", "the newest is from", "");
    let drill = dir.join("data/backups/drill.json");
    fs::write(&drill, r#"{"at": "2026-01-01T00:00:00Z", "backup_id": "b", "problem": "it is damaged"}"#).unwrap();
    ask(dir.path(), &texts(&port)).has(
        "backups",
        "warn",
        "the restore drill of b failed: it is damaged",
        "uptimemesh backup verify",
    );
    fs::remove_file(drill).unwrap();
    fs::rename(dir.join(made.trim()), dir.join("data/backups/manual-20260101T000000Z-00000000.umbackup")).unwrap();
    ask(dir.path(), &texts(&port)).has("backups", "warn", "days ago", "uptimemesh backup create");
}

#[test]
fn a_server_starts_while_the_doctor_looks() {
    let dir = Dir::new();
    ok(dir.path(), &["migrate"]);
    let looking = fs::File::open(dir.join("data/uptimemesh.lock")).unwrap();
    looking.lock_shared().unwrap();
    std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            Running::start(dir.path(), "serve", &["serve", "--server-host", "127.0.0.1", "--server-port", "0"])
        });
        let mut server = started.join().unwrap();
        // It waits for a moment; whoever holds the lock for longer is another server.
        drop(looking);
        server.client();
        assert_eq!(server.terminate(), 0);
    });
}

#[test]
fn what_is_wrong_with_a_control_plane_is_named_with_what_to_do() {
    let dir = Dir::new();
    let (mut up, _, port) = up(dir.path());
    assert_eq!(up.terminate(), 0);
    let ask = || ask(dir.path(), &texts(&port));
    let data = |name: &str| dir.join("data").join(name);
    // Keys that others may read.
    for key in ["keys/auth-secret.key", "pki/cluster-ca.key", "identities/n1/node.key"] {
        fs::set_permissions(data(key), Permissions::from_mode(0o644)).unwrap();
        ask().has("files.keys", "fail", key, "chmod go-rwx");
        fs::set_permissions(data(key), Permissions::from_mode(0o600)).unwrap();
    }
    // A port that another program has.
    let taken = TcpListener::bind(("127.0.0.1", port[3].parse().unwrap())).unwrap();
    ask().has("server.port", "fail", "another program's", "ss -ltnp");
    drop(taken);
    let elsewhere =
        said(command(dir.path(), &["doctor", "--json", "--server-host", "203.0.113.99", "--server-port", "18"]));
    elsewhere.has("server.port", "fail", "not possible to listen", "SERVER_HOST");
    // Half an authority.
    fs::rename(data("pki/cluster-ca.key"), dir.join("away")).unwrap();
    ask().has("certificates.authority", "fail", "cluster-ca.key does not", "uptimemesh backup restore");
    assert!(!data("pki/cluster-ca.key").exists(), "the doctor makes none");
    fs::rename(dir.join("away"), data("pki/cluster-ca.key")).unwrap();
    // An authority of the future: it is the clock that is wrong. One of the past.
    let ours = ["cluster-ca.key", "cluster-ca.crt"].map(|name| (name, fs::read(data("pki").join(name)).unwrap()));
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1));
    fs::write(data("pki/cluster-ca.key"), key.serialize_pem()).unwrap();
    fs::write(data("pki/cluster-ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    ask().has("certificates.authority", "fail", "is valid from 2090", "set the clock right");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    fs::write(data("pki/cluster-ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    ask().has("certificates.authority", "fail", "ended at 2021", "uptimemesh ca rotate");
    for (name, content) in ours {
        fs::write(data("pki").join(name), content).unwrap();
    }
    // A certificate of the operator's own that has ended, and one that is not there.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["cp.example".to_string()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    fs::write(dir.join("own.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(dir.join("own.key"), key.serialize_pem()).unwrap();
    fs::set_permissions(dir.join("own.key"), Permissions::from_mode(0o600)).unwrap();
    let own = |cert: &str| {
        said(command(dir.path(), &["doctor", "--json", "--tls-cert-file", cert, "--tls-key-file", "own.key"]))
    };
    own("own.crt").has("certificates.server", "fail", "ended at 2021-01-01", "renew it");
    own("none.crt").has("certificates.server", "fail", "none.crt cannot be read", "renew it");
    // A database of a newer program, of an older one, damaged, and gone.
    let path = data("app.db");
    let edit = |sql: &str| {
        let database = rusqlite::Connection::open(&path).unwrap();
        database.execute_batch(sql).unwrap();
        database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    };
    // All of it is in the one file then.
    edit("");
    let sound = fs::read(&path).unwrap();
    edit("INSERT INTO schema_migrations VALUES (999, 'from_the_future', 'x', 0)");
    let newer = ask();
    newer.has("database.version", "fail", "at version 999", "start the newer uptimemesh");
    newer.has("nodes", "skipped", "", "");
    fs::write(&path, &sound).unwrap();
    edit("DELETE FROM schema_migrations WHERE number > 1");
    ask().has("database.version", "ok", "at version 1; the next start", "");
    let mut torn = sound.clone();
    let middle = torn.len() / 2 / 4096 * 4096;
    torn[middle..middle + 8192].fill(0xa5);
    fs::write(&path, &torn).unwrap();
    let damaged = ask();
    let finding = damaged.json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["level"] == "fail" && f["check"].as_str().unwrap().starts_with("database"));
    assert!(
        finding.is_some_and(
            |f| f["seen"].as_str().unwrap().contains("damaged") && f["do"].as_str().unwrap().contains("restore")
        ),
        "{:#}",
        damaged.json
    );
    fs::write(&path, b"this is no database, and it is longer than a header ".repeat(100)).unwrap();
    ask().has("database", "fail", "not a database", "restore a backup");
    fs::remove_file(&path).unwrap();
    ask().has("database", "fail", "there is no database at data/app.db", "restore a backup");
    assert!(!path.exists(), "the doctor makes none");
    // A configuration that cannot be used: every fault, and what can be seen without it.
    let mut program = command(dir.path(), &["doctor", "--json"]);
    program.env("APP_ENV", "prod").env("SERVER_PORT", "x").env("TLS", "maybe");
    let unusable = said(program);
    for name in ["SERVER_PORT", "TLS"] {
        assert!(
            unusable.failures().iter().any(|f| f["check"] == "config" && f["seen"].as_str().unwrap().starts_with(name)),
            "{:#}",
            unusable.json
        );
    }
    unusable.has("disk.fsync", "ok", "", "");
    let mut program = command(dir.path(), &["doctor", "--json"]);
    program.env("APP_ENV", "prod");
    said(program).has("config", "fail", "AUTH_SECRET_KEY must be set", "correct it");
}

#[test]
fn a_disk_that_cannot_be_written_or_is_full_is_named() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    ok(dir.path(), &["migrate"]);
    let script = "mount --bind data data\nmount -o remount,ro,bind data";
    said(in_namespace(dir.path(), script, &["doctor", "--json"])).has(
        "disk.fsync",
        "fail",
        "Read-only file system",
        "mount",
    );
    let script = "mount -t tmpfs -o size=2m,nr_inodes=90 tmpfs data";
    let small = said(in_namespace(dir.path(), script, &["doctor", "--json"]));
    small.has("disk.space", "fail", "of 2 MiB are free", "du -xh");
    small.has("disk.inodes", "fail", "of 90 inodes", "du -x --inodes");
    let script = "ulimit -n 128";
    said(in_namespace(dir.path(), script, &["doctor", "--json"])).has(
        "files.limit",
        "fail",
        "128 files",
        "LimitNOFILE",
    );
}

#[test]
fn somebody_who_may_not_look_is_told_so_and_which_port_is_not_theirs() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    ok(dir.path(), &["migrate"]);
    // Where nobody may go the program could not be started either.
    let place = Dir::new();
    fs::set_permissions(place.path(), Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_uptimemesh"), place.join("uptimemesh")).unwrap();
    let data = dir.join("data");
    let nobody = |args: &[&str]| {
        let mut program = Command::new("setpriv");
        program.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(place.join("uptimemesh"));
        program.args(["doctor", "--json"]).args(args).current_dir(place.path());
        said(program)
    };
    nobody(&["--data-dir", data.to_str().unwrap()]).has(
        "server",
        "fail",
        "Permission denied",
        "sudo uptimemesh doctor",
    );
    let first: u16 =
        fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap().trim().parse().unwrap();
    let migrated = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(place.join("uptimemesh"))
        .arg("migrate")
        .current_dir(place.path())
        .status();
    assert!(migrated.unwrap().success());
    match first > 18 {
        true => nobody(&["--server-port", "18"]).has(
            "server.port",
            "fail",
            "may not listen on port 18",
            "CAP_NET_BIND_SERVICE",
        ),
        false => eprintln!("left out: every port is everybody's here"),
    }
}

#[test]
fn a_node_is_examined_on_its_own_machine() {
    let dir = Dir::new();
    let (_up, client, _port) = up(dir.path());
    let admin = client.signed_in("admin", "uptime");
    let token = admin.post("/cluster/join-tokens", &json!({"role": "worker"})).json();
    let machine = Dir::new();
    let joined = Running::start(
        machine.path(),
        "join",
        &[
            "join",
            "--token",
            token["token"].as_str().unwrap(),
            "--role",
            "worker",
            "--node-id",
            "n2",
            "--api-url",
            &format!("http://{}", client.address),
        ],
    );
    until("it has joined", || joined.logged().contains("Joined").then_some(()));
    let identity = |name: &str| machine.join("data/identities/n2").join(name);
    // As if it had joined over TLS: from here on it believes its cluster's authority only.
    fs::write(identity("api.urls"), format!("https://{}\n", client.address)).unwrap();
    let well = ask(machine.path(), &[]);
    assert_eq!(well.failures(), Vec::<&Value>::new());
    well.has("server", "skipped", "no control plane is here", "");
    well.has("identity", "ok", "n2, in data/identities/n2", "");
    well.has("control.reach", "ok", "and proved to be the control plane", "");
    for check in [
        "identity.keys",
        "identity.certificate",
        "identity.authority",
        "identity.lease",
        "clock.control",
        "control.version",
    ] {
        well.has(check, "ok", "", "");
    }
    well.has("control.node", "ok", "the control plane knows n2: lease alive", "");
    ask(machine.path(), &["--node-id", "n2", "--identity-dir", "data/identities/n2"]).has("identity", "ok", "n2", "");
    // Its lease token has ended, or is none.
    let lease = fs::read(identity("lease.token")).unwrap();
    let ended = BASE64_URL_SAFE_NO_PAD.encode(json!({"exp": 1000, "n": "n2"}).to_string());
    fs::write(identity("lease.token"), format!("{ended}.x")).unwrap();
    ask(machine.path(), &[]).has("identity.lease", "warn", "expired at 1970", "uptimemesh-agent");
    fs::write(identity("lease.token"), "x").unwrap();
    ask(machine.path(), &[]).has("identity.lease", "fail", "", "uptimemesh-agent");
    fs::write(identity("lease.token"), &lease).unwrap();
    // Its key is open to others; then it is another's.
    fs::set_permissions(identity("node.key"), Permissions::from_mode(0o640)).unwrap();
    ask(machine.path(), &[]).has("identity.keys", "fail", "node.key", "chmod go-rwx");
    fs::set_permissions(identity("node.key"), Permissions::from_mode(0o600)).unwrap();
    let key = fs::read(identity("node.key")).unwrap();
    fs::write(identity("node.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    ask(machine.path(), &[]).has("control.reach", "fail", "cannot be used", "join again");
    fs::write(identity("node.key"), &key).unwrap();
    // Whoever answers there is not the cluster that it believes.
    let authority = fs::read(identity("ca.crt")).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(2000, 1, 1);
    params.not_before = date_time_ymd(1999, 1, 1);
    fs::write(identity("ca.crt"), params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()).unwrap();
    let strange = ask(machine.path(), &[]);
    strange.has("control.reach", "fail", "is this cluster's control plane (", "curl");
    strange.has("identity.authority", "fail", "ended at 2000", "uptimemesh ca rotate");
    fs::write(identity("ca.crt"), &authority).unwrap();
    // Nobody answers.
    fs::write(identity("api.urls"), "https://127.0.0.1:1\n").unwrap();
    ask(machine.path(), &[]).has("control.reach", "fail", "cannot reach https://127.0.0.1:1", "--api-url");
    // It has lost its identity.
    fs::remove_file(identity("node.crt")).unwrap();
    ask(machine.path(), &["--node-id", "n2"]).has("identity", "fail", "node.crt is not there", "uptimemesh join");
    let nothing = ask(Dir::new().path(), &[]);
    nothing.has("identity", "warn", "and no control plane is here", "--data-dir");
    assert_eq!(nothing.status, 0);
}
