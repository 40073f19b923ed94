//! Updates of a node by the real scripts, from a real server, with real signatures: whatever goes wrong, a program that
//! works is left.
//!
//! The new build is this build with another version written into it: as long as the old one, so that every byte else is
//! the same. Programs that are broken on purpose are small scripts.

mod host;
mod machine;

use crate::program;
use crate::support::{Client, Dir, Served, kills, until, write_program};
use host::{Fault, Host};
use machine::Machine;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

const OLD: &str = env!("CARGO_PKG_VERSION");

/// The version of the new build: the last digit is another one.
pub fn new_version() -> String {
    let (head, last) = OLD.split_at(OLD.len() - 1);
    format!("{head}{}", if last == "9" { "8" } else { "9" })
}

/// Puts a program somewhere, so that no crash of the test leaves half of it.
fn put(path: &Path, content: &[u8]) {
    let new = path.with_extension("being-put");
    write_program(&new, content);
    fs::rename(&new, path).unwrap();
}

/// This build, stripped so that it is copied fast, and the same with the new version in it.
pub fn builds() -> &'static (Vec<u8>, Vec<u8>) {
    static BUILDS: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    BUILDS.get_or_init(|| {
        let dir = Dir::new();
        let stripped = dir.join("stripped");
        let status =
            Command::new("strip").arg("-o").arg(&stripped).arg(env!("CARGO_BIN_EXE_uptimemesh")).status().unwrap();
        assert!(status.success());
        let old = fs::read(&stripped).unwrap();
        let (from, to) = (OLD.as_bytes(), new_version());
        let mut new = old.clone();
        let places: Vec<usize> =
            old.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(at, _)| at).collect();
        assert!(!places.is_empty(), "the program tells its version");
        for at in places {
            new[at..at + from.len()].copy_from_slice(to.as_bytes());
        }
        (old, new)
    })
}

/// A machine with the program, and a host with releases for it.
struct Bench {
    dir: Dir,
    host: Host,
    machine: Machine,
    /// Options beyond those that every update here has.
    more: Vec<String>,
}

impl Bench {
    fn new(machine: Machine) -> Bench {
        let dir = Dir::new();
        for name in ["host", "bin"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        put(&dir.join("bin/uptimemesh"), &builds().0);
        program::ok(dir.path(), &["release", "keygen", "--out", "key"]);
        let host = Host::new(&dir.join("host"));
        Bench { dir, host, machine, more: Vec::new() }
    }

    fn bin(&self) -> PathBuf {
        self.dir.join("bin/uptimemesh")
    }

    /// Offers a program under a version.
    fn offer(&self, program: &[u8], version: &str) {
        offer(&self.dir.join("host"), &self.dir.join("key"), program, version);
    }

    /// A script of this repository with the options of this machine.
    fn command(&self, script: &str, args: &[&str]) -> Command {
        let (shell, path) = self.machine.shell(self.dir.path());
        let mut command = Command::new(&shell[0]);
        command
            .args(&shell[1..])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
            .args(self.options())
            .args(args);
        command.current_dir(self.dir.path()).env_clear().env("PATH", path).stdin(Stdio::null());
        command
    }

    fn options(&self) -> Vec<String> {
        let own = [
            "--version-url",
            &self.host.url(),
            "--health-wait",
            "8",
            "--settle",
            "1",
            "--tries",
            "2",
            "--config",
            "/nonexistent",
        ]
        .map(str::to_string);
        let paths = [
            ("--bin", self.bin()),
            ("--state-dir", self.dir.join("state")),
            ("--release-key", self.dir.join("key.pub")),
        ];
        let paths = paths.iter().flat_map(|(name, path)| [name.to_string(), path.display().to_string()]);
        own.into_iter().chain(paths).chain(self.more.clone()).collect()
    }

    /// Runs the updater; gives its exit status and what it said.
    fn update(&self, args: &[&str]) -> (i32, String) {
        run(self.command("ops/node-update.sh", args))
    }

    /// The version that the program in place says it is.
    fn installed(&self) -> String {
        let output = Command::new(self.bin()).arg("version").output().unwrap();
        assert!(output.status.success(), "the program in place does not run");
        String::from_utf8(output.stdout).unwrap().trim().trim_start_matches("uptimemesh ").to_string()
    }

    fn state(&self) -> Value {
        serde_json::from_slice(&fs::read(self.dir.join("state/state.json")).unwrap()).unwrap()
    }

    /// Nothing that an update needs only while it runs is left.
    fn is_tidy(&self) {
        let mut left: Vec<String> = Vec::new();
        for dir in ["bin", "state"] {
            left.extend(
                fs::read_dir(self.dir.join(dir)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()),
            );
        }
        let expected = ["uptimemesh", "uptimemesh.previous", "lock", "state.json", "node-update.sh", "failed"];
        left.retain(|name| !expected.contains(&name.as_str()));
        assert!(left.is_empty(), "left: {left:?}");
    }

    /// Runs the program as a service that `restart.sh` starts anew, with these arguments.
    fn with_service(mut self, args: &str) -> Bench {
        let (bin, dir) = (self.bin(), self.dir.path());
        let text = format!(
            "cd '{0}'\nold=$(cat pid 2>/dev/null)\n[ -z \"$old\" ] || kill -9 \"$old\" 2>/dev/null\nwhile [ -n \
                \"$old\" ] && [ -e \"/proc/$old/exe\" ]; do sleep 0.05; done\nsetsid sh -c 'echo $$ >pid; exec \"{1}\" \
                    {args}' </dev/null >>service.log 2>&1 &\n",
            dir.display(),
            bin.display()
        );
        fs::write(dir.join("restart.sh"), text).unwrap();
        self.more.extend(["--restart-command".into(), format!("sh '{}'", dir.join("restart.sh").display())]);
        assert!(Command::new("sh").arg(dir.join("restart.sh")).status().unwrap().success());
        self
    }

    /// The version of the program that the service runs as; it must be running.
    fn serving(&self) -> String {
        let pid = fs::read_to_string(self.dir.join("pid")).unwrap();
        let running = until("the service runs", || fs::read_link(format!("/proc/{}/exe", pid.trim())).ok());
        assert_eq!(running, self.bin(), "it runs the program in place");
        self.installed()
    }
}

/// Makes a release of a program under a version, in the directory of a host.
pub fn offer(host: &Path, key: &Path, program: &[u8], version: &str) {
    fs::write(host.join("program"), program).unwrap();
    fs::copy("ops/node-update.sh", host.join("node-update.sh")).unwrap();
    let artifact = json!({"url": "program", "sha256": sum(&host.join("program"))});
    let script = json!({"version": version, "path": "node-update.sh", "sha256": sum(&host.join("node-update.sh"))});
    let manifest = json!({"schema_version": 1, "version": version, "channels": {"stable": {
        "version": version, "bootstrap": script, "updater": script,
        "agent": {"name": "uptimemesh", "version": version, "artifacts": {"linux-amd64": artifact,
        "linux-arm64": artifact}},
    }}});
    sign(host, key, &manifest);
}

fn sign(host: &Path, key: &Path, manifest: &Value) {
    fs::write(host.join("version.json"), serde_json::to_vec_pretty(manifest).unwrap()).unwrap();
    program::ok(host, &["release", "sign", "--key-file", key.to_str().unwrap(), "version.json"]);
}

impl Drop for Bench {
    /// Ends what `restart.sh` has started: processes whose program is in this test's own directory.
    fn drop(&mut self) {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let exe = fs::read_link(entry.path().join("exe")).unwrap_or_default();
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let ours = self.dir.join("bin").display().to_string();
            if exe.starts_with(self.dir.join("bin")) || String::from_utf8_lossy(&line).contains(&ours) {
                let _ = Command::new("kill").arg("-9").arg(entry.file_name()).stderr(Stdio::null()).status();
            }
        }
    }
}

fn run(mut command: Command) -> (i32, String) {
    let output = command.output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn sum(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_string()
}

/// A program that says which version it is, and does this for anything else.
pub fn stand_in(version: &str, then: &str) -> Vec<u8> {
    format!("#!/bin/sh\ncase $1 in version) echo 'uptimemesh {version}' ;; *) {then} ;; esac\n").into_bytes()
}

/// Gives the manifest of a host another end, or none, and signs it by openssl: the program signs nothing that has
/// expired.
pub fn expire(host: &Path, key: &Path, end: Option<&str>) {
    let mut manifest: Value = serde_json::from_slice(&fs::read(host.join("version.json")).unwrap()).unwrap();
    manifest.as_object_mut().unwrap().remove("expires");
    if let Some(end) = end {
        manifest["expires"] = end.into();
    }
    fs::write(host.join("version.json"), serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
    let line = format!(
        "openssl pkeyutl -sign -inkey '{}' -rawin -in version.json -out raw && openssl base64 -A -in raw -out \
            version.json.sig",
        key.display()
    );
    assert!(Command::new("sh").args(["-c", &line]).current_dir(host).status().unwrap().success());
}

/// A machine whose agent runs against this control plane.
fn agent(machine: Machine, served: &Served) -> Bench {
    let bench = Bench::new(machine);
    let url = format!("http://{}", served.server.as_ref().unwrap().addr());
    let node = format!("{machine:?}");
    let token = crate::node::token(&served.admin(), "worker", None);
    fs::write(bench.dir.join("token"), token).unwrap();
    let join = [
        "join",
        "--api-url",
        &url,
        "--token-file",
        "token",
        "--role",
        "worker",
        "--node-id",
        &node,
        "--identity-dir",
        "identity",
    ];
    program::ok(bench.dir.path(), &join);
    let status = bench.dir.join("identity").join(&node).join("status.json");
    let mut bench =
        bench.with_service(&format!("agent --node-id {node} --identity-dir identity --api-url {url} --ttl 10"));
    bench.more.extend(["--status-file".into(), status.display().to_string()]);
    until("the agent has had a heartbeat accepted", || status.exists().then_some(()));
    bench
}

#[test]
fn an_agent_is_updated_and_asked_whether_it_works() {
    let served = Served::new();
    for machine in Machine::ALL {
        let bench = agent(machine, &served);
        bench.offer(&builds().1, &new_version());
        let before = fs::read(bench.dir.join(&format!("identity/{machine:?}/status.json"))).unwrap();
        let (status, said) = bench.update(&["--dry-run"]);
        assert!(status == 0 && said.contains("update.would"), "{machine:?} {said}");
        assert!(!bench.dir.join("state").exists(), "a dry run leaves nothing");
        assert_eq!(bench.installed(), OLD);

        let (status, said) = bench.update(&[]);
        assert!(status == 0 && said.contains("update.done"), "{machine:?} {status} {said}");
        assert!(
            said.is_ascii()
                && said
                    .lines()
                    .all(|l| [" | update | (*) update.", " | update | (!) update."].iter().any(|m| l.contains(m))),
            "{said}"
        );
        assert_eq!(bench.serving(), new_version());
        let after: Value =
            serde_json::from_slice(&fs::read(bench.dir.join(&format!("identity/{machine:?}/status.json"))).unwrap())
                .unwrap();
        assert_eq!(after["version"], new_version().as_str());
        assert_ne!(fs::read(bench.dir.join(&format!("identity/{machine:?}/status.json"))).unwrap(), before);
        assert_eq!((&bench.state()["state"], &bench.state()["from"]), (&json!("updated"), &json!(OLD)));
        assert_eq!(
            fs::read(bench.dir.join("bin/uptimemesh.previous")).unwrap(),
            builds().0,
            "the old one is beside it"
        );
        bench.is_tidy();

        let (status, said) = bench.update(&[]);
        assert!(status == 0 && said.contains("update.current"), "{said}");
        // An old manifest, genuine as it is, takes nobody back.
        bench.offer(&builds().0, OLD);
        let (status, said) = bench.update(&[]);
        assert!(status == 7 && said.contains("--allow-downgrade"), "{status} {said}");
        assert_eq!(bench.serving(), new_version());
        let (status, said) = bench.update(&["--allow-downgrade"]);
        assert_eq!((status, bench.serving()), (0, OLD.to_string()), "{said}");
    }
}

#[test]
fn an_old_release_is_no_update_however_genuine_it_is() {
    for machine in Machine::ALL {
        let bench = Bench::new(machine);
        let program = fs::read(bench.bin()).unwrap();
        bench.offer(&builds().1, &new_version());
        let (host, key) = (bench.dir.join("host"), bench.dir.join("key"));
        let all = |args: &[&str], check: &dyn Fn(&str, i32, &str)| {
            for script in ["ops/node-update.sh", "ops/bootstrap.sh"] {
                // Asked of the program in place, and where there is none, of openssl.
                for is_there in [true, machine == Machine::Busybox] {
                    if !is_there {
                        fs::remove_file(bench.bin()).unwrap();
                    }
                    let (status, said) = run(bench.command(script, args));
                    check(script, status, &said);
                    put(&bench.bin(), &program);
                }
            }
        };
        for (end, why) in
            [(Some("2020-01-01T00:00:00Z"), "expired at 2020-01-01T00:00:00Z"), (None, "has no expiry date")]
        {
            expire(&host, &key, end);
            all(&[], &|script, status, said| {
                assert!(
                    status == 4 && said.contains(why) && said.contains("--allow-expired"),
                    "{machine:?} {script} {status} {said}"
                );
            });
            // The operator's own word.
            all(&["--allow-expired", "--dry-run"], &|script, status, said| {
                assert!(status == 0 && said.contains("update.would"), "{machine:?} {script} {status} {said}");
            });
        }
        for no_end in ["soon", "9999", "2020-01-01T00:00:00Z\",\"x\":\"9999-01-01T00:00:00Z"] {
            expire(&host, &key, Some(no_end));
            all(&[], &|script, status, said| assert_eq!(status, 4, "{machine:?} {script} {said}"));
        }
        expire(&host, &key, Some("9998-12-31T23:59:59Z"));
        all(&["--dry-run"], &|script, status, said| assert_eq!(status, 0, "{machine:?} {script} {said}"));
    }
}

#[test]
fn a_control_plane_is_updated_and_asked_for_its_version() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bench = Bench::new(Machine::Debian);
    let mut bench = bench.with_service(&format!(
        "up --node-id n --server-host 127.0.0.1 --server-port {port} --data-dir data --log-file \"\""
    ));
    bench.more.extend(["--health-url".into(), format!("http://127.0.0.1:{port}")]);
    bench.more.extend(["--health-wait".into(), "30".into()]);
    bench.offer(&builds().1, &new_version());
    let (status, said) = bench.update(&[]);
    assert_eq!((status, bench.serving()), (0, new_version()), "{said}");
    // A build that starts and does not answer.
    bench.offer(&stand_in("99.0.0", "exec sleep 60"), "99.0.0");
    bench.more.extend(["--health-wait".into(), "3".into()]);
    let (status, said) = bench.update(&[]);
    assert!(status == 10 || status == 11, "{status} {said}");
    assert_eq!(bench.serving(), new_version());
}

#[test]
fn what_stands_in_an_address_to_be_let_in_is_not_told() {
    for machine in Machine::ALL {
        let bench = Bench::new(machine);
        for script in ["ops/node-update.sh", "ops/bootstrap.sh"] {
            let url = "http://bob:hunter2@127.0.0.1:1/version.json?token=abc123";
            let (status, said) = run(bench.command(script, &["--version-url", url, "--tries", "1"]));
            assert_eq!(status, 3, "{said}");
            let state = fs::read_to_string(bench.dir.join("state/state.json")).unwrap_or_default();
            for secret in ["hunter2", "abc123"] {
                assert!(!said.contains(secret) && !state.contains(secret), "{machine:?} {script}: {said}{state}");
            }
            assert!(said.contains("http://127.0.0.1:1/version.json?..."), "{said}");
        }
    }
}

/// A new control plane that brings the database up to date and then is not well: the old one gets its database back.
#[test]
fn a_control_plane_whose_database_was_brought_up_to_date_goes_back_with_it() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let bench = Bench::new(Machine::Debian);
    let mut bench = bench.with_service(&format!(
        "up --node-id n --server-host 127.0.0.1 --server-port {port} --data-dir data --log-file \"\""
    ));
    let data = bench.dir.join("data");
    bench.more.extend(["--health-url".into(), url.clone(), "--data-dir".into(), data.display().to_string()]);
    let client = Client { address: ([127, 0, 0, 1], port).into(), token: None, tls: None };
    let names = || {
        until("the control plane answers", || {
            TcpStream::connect(client.address).ok()?;
            let nodes = client.signed_in("admin", "uptime").get("/nodes").json();
            Some(nodes.as_array()?.iter().map(|n| n["id"].as_str().unwrap().to_string()).collect::<Vec<_>>())
        })
    };
    assert_eq!(names(), ["n"]);
    client.signed_in("admin", "uptime").post("/nodes", &json!({"id": "before", "name": "before"}));
    // What the program after this one does at its start, as far as the database goes: a backup, then a migration that
    // this one does not know.
    let migrated = "import sqlite3; d = sqlite3.connect('data/app.db'); d.execute(\"INSERT INTO schema_migrations \
        VALUES (9999, 'later', 'x', 0)\"); d.execute(\"DELETE FROM nodes WHERE id = 'before'\"); d.commit()";
    let then = format!(
        "made=$('{0}' backup create --no-encryption --data-dir data) && mv \"$made\" \
            \"data/backups/pre-upgrade-${{made#*/manual-}}\" && python3 -c \"{1}\"; exit 1",
        bench.dir.join("bin/uptimemesh.previous").display(),
        migrated.replace('"', "\\\"")
    );
    bench.offer(&stand_in("99.0.0", &then), "99.0.0");
    bench.more.extend(["--health-wait".into(), "6".into()]);
    let (status, said) = bench.update(&[]);
    assert_eq!(status, 10, "{said}{}", fs::read_to_string(bench.dir.join("service.log")).unwrap());
    assert_eq!(bench.serving(), OLD);
    assert!(said.contains("before the upgrade") && said.contains("replaced-"), "{said}");
    assert_eq!(names(), ["before", "n"], "what was there before the update is there");
    assert_eq!(bench.state()["state"], "rolled_back");
    bench.is_tidy();
    // The same, cut off before anybody could see that it was not well: the start of the service undoes it.
    bench.more.extend(["--retry".into(), "--health-wait".into(), "60".into()]);
    let mut update = started(bench.command("ops/node-update.sh", &[]), &bench.dir.join("update.log"));
    until("the database is brought up to date", || {
        let log = fs::read_to_string(bench.dir.join("service.log")).ok()?;
        (log.matches("Copying the database").count() > 1 && bench.dir.join("state/journal").exists()).then_some(())
    });
    let version = || {
        let database = rusqlite::Connection::open(data.join("app.db")).unwrap();
        database.query_row("SELECT max(number) FROM schema_migrations", [], |r| r.get::<_, i64>(0)).ok()
    };
    until("its version is the new one", || (version() == Some(9999)).then_some(()));
    kill(&mut update);
    let (status, said) = bench.update(&["--recover"]);
    assert_eq!((status, bench.installed()), (0, OLD.to_string()), "{said}");
    assert!(version() < Some(9999), "{said}");
    assert!(Command::new("sh").arg(bench.dir.join("restart.sh")).status().unwrap().success());
    assert_eq!(names(), ["before", "n"]);
}

/// Where the settings let it listen, and whatever proxy downloads go through.
#[test]
fn a_control_plane_is_asked_where_it_listens_and_without_a_proxy() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for machine in [Machine::Debian, Machine::Busybox] {
        let port = TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap().port();
        let bench = Bench::new(machine);
        let mut bench = bench.with_service(&format!(
            "up --node-id n --server-host 127.0.0.2 --server-port {port} --data-dir data --log-file \"\""
        ));
        fs::write(bench.dir.join("settings"), format!("SERVER_HOST=127.0.0.2\nSERVER_PORT={port}\n")).unwrap();
        bench.more.extend(["--service", "uptimemesh", "--health-wait", "30", "--config"].map(str::to_string));
        bench.more.push(bench.dir.join("settings").display().to_string());
        bench.offer(&builds().1, &new_version());
        // The host of the releases is on this machine too: it is fetched from without the proxy by its name's
        // exception.
        let mut command = bench.command("ops/node-update.sh", &[]);
        if machine == Machine::Debian {
            command.env("http_proxy", format!("http://{dead}")).env("no_proxy", "127.0.0.1");
        }
        let (status, said) = run(command);
        assert_eq!((status, bench.serving()), (0, new_version()), "{machine:?}: {said}");
    }
}

#[test]
fn what_is_not_genuine_or_not_whole_changes_nothing() {
    for machine in Machine::ALL {
        let bench = Bench::new(machine);
        let offer = || bench.offer(&builds().1, &new_version());
        let host = bench.dir.join("host");
        let refused = |what: &str, expected: i32| {
            let (status, said) = bench.update(&[]);
            assert_eq!(status, expected, "{machine:?}, {what}: {said}");
            assert_eq!(bench.installed(), OLD, "{what}");
            assert_eq!(bench.state()["state"], "failed", "{what}");
            bench.is_tidy();
            bench.host.repair();
        };
        offer();
        bench.host.fault("program", Fault::CutAt(100_000));
        refused("an interrupted download", 3);
        assert_eq!(bench.host.requests("program"), 2, "it is tried again");
        bench.host.fault("version.json", Fault::CutAt(100));
        refused("an interrupted manifest", 3);
        fs::write(host.join("program"), "something else").unwrap();
        refused("a wrong sum", 4);
        offer();
        let manifest = fs::read(host.join("version.json")).unwrap();
        fs::write(host.join("version.json"), &manifest[..manifest.len() - 10]).unwrap();
        refused("a truncated manifest", 4);
        offer();
        let altered = String::from_utf8(manifest.clone()).unwrap().replace("\"stable\"", "\"stabel\"");
        fs::write(host.join("version.json"), altered).unwrap();
        refused("an altered manifest", 4);
        offer();
        fs::write(host.join("version.json.sig"), format!("{}\n", "A".repeat(88))).unwrap();
        refused("a wrong signature", 4);
        fs::remove_file(host.join("version.json.sig")).unwrap();
        refused("no signature", 3);
        offer();
        let big = vec![b' '; 70_000];
        fs::write(host.join("version.json"), [big, manifest].concat()).unwrap();
        refused("a manifest without end", 3);
        bench.offer(b"\x7fELF this is no program", &new_version());
        refused("what does not run", 9);
        bench.offer(&stand_in("7.7.7", "exit 1"), &new_version());
        refused("what says it is another version", 9);
        offer();
        let (status, said) = bench.update(&["--channel", "beta"]);
        assert_eq!(status, 4, "{said}");
        let (status, said) = bench.update(&["--want-version", "5.0.0"]);
        assert_eq!(status, 7, "{said}");
        // And when all is well again it is updated, over a line that breaks once.
        bench.host.fault("program", Fault::CutOnceAt(5));
        let (status, said) = bench.update(&[]);
        assert!(status == 0 && said.contains("update.fetch_failed"), "{said}");
        assert_eq!(bench.installed(), new_version());
    }
}

#[test]
fn without_anything_that_checks_signatures_nothing_is_believed() {
    let bench = Bench::new(Machine::Busybox);
    // An old program that knows nothing of signatures, and no openssl.
    put(&bench.bin(), &stand_in("1.0.0", "exit 1"));
    bench.offer(&builds().1, &new_version());
    let (status, said) = bench.update(&[]);
    assert!(status == 4 && said.contains("install openssl"), "{status} {said}");
    assert_eq!(bench.installed(), "1.0.0");
    // With openssl the same machine is updated.
    let bench = Bench::new(Machine::Bare);
    put(&bench.bin(), &stand_in("1.0.0", "exit 1"));
    bench.offer(&builds().1, &new_version());
    let (status, said) = bench.update(&[]);
    assert_eq!((status, bench.installed()), (0, new_version()), "{said}");
    // The wrong signature is seen by it too.
    put(&bench.bin(), &stand_in("1.0.0", "exit 1"));
    fs::write(bench.dir.join("host/version.json.sig"), format!("{}\n", "A".repeat(88))).unwrap();
    assert_eq!(bench.update(&[]).0, 4);
}

#[test]
fn a_new_program_that_is_not_well_is_rolled_back() {
    let served = Served::new();
    for machine in Machine::ALL {
        let bench = agent(machine, &served);
        for (what, then) in [("it crashes", "exit 1"), ("it never beats", "exec sleep 60")] {
            let program = stand_in(&new_version(), &format!(": {what}; {then}"));
            bench.offer(&program, &new_version());
            let (status, said) = bench.update(&["--health-wait", "4"]);
            assert!(status == 10 && said.contains("update.rolled_back"), "{machine:?}, {what}: {status} {said}");
            assert_eq!(bench.serving(), OLD, "{what}");
            assert_eq!(bench.state()["state"], "rolled_back", "{what}");
            bench.is_tidy();
            // The same is not tried again by itself; an operator may.
            let (status, said) = bench.update(&[]);
            assert!(status == 7 && said.contains("--retry"), "{said}");
            assert_eq!(bench.serving(), OLD);
        }
        bench.offer(&builds().1, &new_version());
        let (status, said) = bench.update(&[]);
        assert_eq!((status, bench.serving()), (0, new_version()), "{said}");
    }
}

#[test]
fn a_full_disk_changes_nothing() {
    if !Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|s| s.success()) {
        eprintln!("left out: mount namespaces need root");
        return;
    }
    for machine in [Machine::Debian, Machine::Busybox] {
        let bench = Bench::new(machine);
        bench.offer(&builds().1, &new_version());
        for (what, filler_kb) in [("no room from the start", 40_000), ("no room in the end", 0)] {
            let update = bench.command("ops/node-update.sh", &[]);
            // Of the second disk more is free than the old program would need twice, and less than what the host sends.
            if filler_kb == 0 {
                let mut big = builds().1.clone();
                big.resize(big.len() * 2 + (8 << 20), 0);
                bench.offer(&big, &new_version());
            }
            let size_kb = builds().0.len() / 1024;
            let script = format!(
                "mkdir -p disk\nmount -t tmpfs -o size={}k tmpfs disk\ncp bin/uptimemesh disk/\nmount --bind disk \
                    bin\n[ {filler_kb} = 0 ] || head -c {} /dev/zero >bin/filler\n\"$@\" || status=$?\n\
                 bin/uptimemesh version >says\nls bin >left\nexit ${{status:-0}}",
                size_kb * 3 + 6 * 1024,
                size_kb * 1024
            );
            let mut outer = Command::new("unshare");
            outer.args(["--mount", "sh", "-c", &script, "sh"]).arg(update.get_program()).args(update.get_args());
            let (_, path) = machine.shell(bench.dir.path());
            // The test's own preparations need more tools than the machine has.
            let path = format!("{path}:{}", std::env::var("PATH").unwrap());
            outer.current_dir(bench.dir.path()).env_clear().env("PATH", path);
            let (status, said) = run(outer);
            assert_eq!(status, 6, "{machine:?}, {what}: {said}");
            let says = fs::read_to_string(bench.dir.join("says")).unwrap();
            assert_eq!(says, format!("uptimemesh {OLD}\n"));
            let left = fs::read_to_string(bench.dir.join("left")).unwrap();
            assert!(!left.contains(".new"), "{left}");
        }
    }
}

#[test]
fn what_cannot_be_written_is_said_and_not_taken_for_a_wrong_command_line() {
    for machine in Machine::ALL {
        let bench = Bench::new(machine);
        bench.offer(&builds().1, &new_version());
        // A directory is what even root cannot write into as a file.
        fs::create_dir(bench.dir.join("bin/uptimemesh.new")).unwrap();
        let (status, said) = bench.update(&[]);
        assert!(status == 6 && said.contains("bin cannot be written"), "{machine:?} {status} {said}");
        assert_eq!((&bench.state()["state"], bench.installed()), (&json!("failed"), OLD.to_string()));
        if machine != Machine::Debian {
            continue;
        }
        fs::remove_file(bench.dir.join("state/lock")).unwrap();
        fs::create_dir(bench.dir.join("state/lock")).unwrap();
        let (status, said) = bench.update(&[]);
        assert!(status == 6 && said.contains("lock cannot be written"), "{machine:?} {status} {said}");
    }
}

#[test]
fn settings_that_are_wrong_are_told_to_who_asked() {
    let bench = Bench::new(Machine::Debian);
    fs::create_dir(bench.dir.join("state")).unwrap();
    // A node that knows of no place of releases.
    let mut options = bench.options();
    options.drain(..2);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/node-update.sh");
    let mut command = Command::new("dash");
    command.arg(script).args(options).args(["--update-id", "u.1", "--want-version", "99.0.0"]);
    let (status, said) = run(command);
    assert_eq!(status, 2, "{said}");
    let state = bench.state();
    assert_eq!(
        (&state["state"], &state["update_id"], &state["to"]),
        (&json!("failed"), &json!("u.1"), &json!("99.0.0"))
    );
    assert!(state["reason"].as_str().unwrap().contains("VERSION_URL in the settings of this node"), "{state}");
}

#[test]
fn neither_wrong_settings_nor_a_full_disk_keep_a_program_from_being_put_back() {
    let can_mount = Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|s| s.success());
    for machine in Machine::ALL {
        let bench = Bench::new(machine);
        put(&bench.bin(), &stand_in("99.0.0", "exit 1"));
        put(&bench.dir.join("bin/uptimemesh.previous"), &builds().0);
        fs::create_dir(bench.dir.join("state")).unwrap();
        let sums = (sum(&bench.dir.join("bin/uptimemesh.previous")), sum(&bench.bin()));
        let bin = bench.bin().display().to_string();
        let journal = format!("phase=swap\nbin={bin}\nfrom={OLD}\nfrom_sum={}\nto=99.0.0\nto_sum={}\n", sums.0, sums.1);
        fs::write(bench.dir.join("state/journal"), journal).unwrap();
        fs::write(
            bench.dir.join("settings"),
            "VERSION_URL=nowhere\nUPDATE_CHANNEL=A B\nRELEASE_KEY_FILE=/nonexistent\n",
        )
        .unwrap();
        let (shell, path) = machine.shell(bench.dir.path());
        let mut line = shell.clone();
        line.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/node-update.sh").display().to_string());
        line.push("--recover".to_string());
        for (option, name) in [("--state-dir", "state"), ("--config", "settings")] {
            line.extend([option.to_string(), bench.dir.join(name).display().to_string()]);
        }
        // On a disk that has no room for another file.
        if can_mount {
            let full = "mkdir full\nmount -t tmpfs -o nr_inodes=3 tmpfs full\ncp state/journal full/\n: \
                >full/lock\nmount --bind full state\n\"$@\"";
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-ec", full, "sh"]).args(&line).current_dir(bench.dir.path());
            // Preparing it takes more tools than the machine has.
            command.env_clear().env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap()));
            let (status, said) = run(command);
            assert!(status == 0 && said.contains("update.undone"), "{machine:?} {status} {said}");
            assert_eq!(bench.installed(), OLD);
            put(&bench.bin(), &stand_in("99.0.0", "exit 1"));
        }
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).env_clear().env("PATH", path);
        let (status, said) = run(command);
        assert!(status == 0 && said.contains("update.undone"), "{machine:?} {status} {said}");
        assert_eq!((bench.installed(), &bench.state()["state"]), (OLD.to_string(), &json!("rolled_back")));
        bench.is_tidy();
    }
}

/// Starts the updater in a process group of its own.
fn started(mut command: Command, log: &Path) -> Child {
    let log = fs::File::create(log).unwrap();
    command.process_group(0).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// Kills it and what it runs, as a power cut would.
fn kill(child: &mut Child) {
    let group = format!("-{}", child.id());
    // It may have ended by itself.
    let _ = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status().unwrap();
    child.wait().unwrap();
}

#[test]
fn two_at_once_do_not_meet_and_a_dead_ones_lock_is_nobodys() {
    for machine in Machine::ALL {
        let bench = Bench::new(machine);
        bench.offer(&builds().1, &new_version());
        bench.host.fault("program", Fault::Stall);
        let mut first = started(bench.command("ops/node-update.sh", &[]), &bench.dir.join("first"));
        until("the first is in the middle of the download", || (bench.host.requests("program") == 1).then_some(()));
        let (status, said) = bench.update(&[]);
        assert!(status == 5 && said.contains("update.busy"), "{machine:?} {status} {said}");
        bench.host.repair();
        assert_eq!(first.wait().unwrap().code(), Some(0), "{}", fs::read_to_string(bench.dir.join("first")).unwrap());
        assert_eq!(bench.installed(), new_version());

        put(&bench.bin(), &builds().0);
        bench.host.fault("program", Fault::Stall);
        let mut second = started(bench.command("ops/node-update.sh", &[]), &bench.dir.join("second"));
        until("the second is in the middle of the download", || (bench.host.requests("program") == 2).then_some(()));
        kill(&mut second);
        bench.host.repair();
        let (status, said) = until("the lock of the killed one is free", || {
            let (status, said) = bench.update(&[]);
            (status != 5).then_some((status, said))
        });
        assert_eq!((status, bench.installed()), (0, new_version()), "{machine:?} {said}");
        bench.is_tidy();
    }
}

/// The steps that the updater tells of, in their order.
const STEPS: &[&str] =
    &["update.fetch ", "update.swap", "update.restart", "update.health", "update.rolled_back", "update.done"];

#[test]
fn killed_at_every_step_it_is_finished_or_undone_by_the_next_run() {
    let served = Served::new();
    let bench = agent(Machine::Debian, &served);
    let log = bench.dir.join("killed");
    let sick = stand_in(&new_version(), "exec sleep 60");
    for (well, program) in [(true, &builds().1), (false, &sick)] {
        for step in STEPS {
            if *step == if well { "update.rolled_back" } else { "update.done" } {
                continue;
            }
            put(&bench.bin(), &builds().0);
            bench.offer(program, &new_version());
            let _ = fs::remove_file(bench.dir.join("state/failed"));
            let mut child = started(bench.command("ops/node-update.sh", &["--health-wait", "3"]), &log);
            until(&format!("it is at {step}"), || fs::read_to_string(&log).unwrap().contains(step).then_some(()));
            kill(&mut child);
            let now = bench.installed();
            assert!(now == OLD || now == new_version(), "{step}: {now}");

            // The machine starts anew: the start of the service asks first.
            let confirmed = !bench.dir.join("state/journal").exists();
            let (status, said) = bench.update(&["--recover"]);
            assert_eq!(status, 0, "{step}: {said}");
            assert_ne!(bench.state()["state"], "running", "{step}: nothing runs any more");
            if !confirmed || !well {
                assert_eq!(bench.installed(), OLD, "{step}: what was not found healthy does not run");
            }
            bench.update(&["--health-wait", "3", "--retry"]);
            assert_eq!(bench.serving(), if well { new_version() } else { OLD.to_string() }, "{step}");
            bench.is_tidy();
        }
    }
}

#[test]
fn a_run_after_a_killed_one_goes_on_where_it_was() {
    let served = Served::new();
    let bench = agent(Machine::Debian, &served);
    let log = bench.dir.join("killed");
    bench.offer(&builds().1, &new_version());
    let mut child = started(bench.command("ops/node-update.sh", &["--settle", "60"]), &log);
    until("the new program is in its place", || {
        fs::read_to_string(&log).unwrap().contains("update.health").then_some(())
    });
    kill(&mut child);
    let fetched = bench.host.requests("program");
    let (status, said) = bench.update(&[]);
    assert!(status == 0 && said.contains("Finished an interrupted update"), "{said}");
    assert_eq!((bench.serving(), bench.host.requests("program")), (new_version(), fetched));
    bench.is_tidy();
}

#[test]
fn kills_at_random_moments_leave_a_program_that_works() {
    let served = Served::new();
    let bench = agent(Machine::Debian, &served);
    let sick = stand_in(&new_version(), "exit 1");
    let log = bench.dir.join("killed");
    // A small generator with a fixed seed, so that a failure can be repeated.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    // Both programs, each with and without a recovery by itself.
    for round in 0..kills(4) {
        let well = round % 2 == 0;
        put(&bench.bin(), &builds().0);
        bench.offer(if well { &builds().1 } else { &sick }, &new_version());
        let _ = fs::remove_file(bench.dir.join("state/failed"));
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut child = started(bench.command("ops/node-update.sh", &["--health-wait", "2"]), &log);
        // Where in its work it is by then is a matter of chance: that is what is tried here.
        std::thread::sleep(Duration::from_millis(random % 4500));
        kill(&mut child);
        let said = fs::read_to_string(&log).unwrap();
        let now = bench.installed();
        assert!(now == OLD || now == new_version(), "round {round}: {now}\n{said}");
        if round % 4 < 2 {
            let confirmed = said.contains("update.done");
            let (status, said) = bench.update(&["--recover"]);
            assert_eq!(status, 0, "round {round}: {said}");
            // It may have been found healthy in the moment before the kill.
            let has_begun = bench.dir.join("state/state.json").exists();
            if !confirmed && (!well || !has_begun || bench.state()["state"] != "updated") {
                assert_eq!(bench.installed(), OLD, "round {round}");
            }
        }
        let (status, said) = bench.update(&["--retry", "--health-wait", "6"]);
        assert!(status == 0 || (status == 10 && !well), "round {round}: {status} {said}");
        assert_eq!(bench.serving(), if well { new_version() } else { OLD.to_string() }, "round {round}: {said}");
    }
}

#[test]
fn the_bootstrap_hands_over_to_a_genuine_updater_and_to_no_other() {
    for machine in Machine::ALL {
        let bench = Bench::new(machine);
        bench.offer(&builds().1, &new_version());
        let bootstrap = |args: &[&str]| run(bench.command("ops/bootstrap.sh", args));
        let (status, said) = bootstrap(&["--dry-run"]);
        assert!(
            status == 0 && said.contains("update.would") && !said.contains("bootstrap.local"),
            "{machine:?} {said}"
        );
        assert_eq!(bench.host.requests("node-update.sh"), 1);
        // The updater's status is its own.
        assert_eq!(bootstrap(&["--want-version", "5.0.0"]).0, 7);
        fs::write(bench.dir.join("host/node-update.sh"), "touch pwned\n").unwrap();
        assert_eq!(bootstrap(&[]).0, 4);
        bench.offer(&builds().1, &new_version());
        fs::write(bench.dir.join("host/version.json.sig"), format!("{}\n", "A".repeat(88))).unwrap();
        assert_eq!(bootstrap(&[]).0, 4);
        assert!(!bench.dir.join("pwned").exists());
        assert_eq!(bench.installed(), OLD);
        // An old release, genuine as it is, brings its old updater only to who asks for it.
        bench.offer(&builds().0, "1.99.9");
        let (status, said) = bootstrap(&["--dry-run"]);
        assert!(status == 4 && said.contains("older than this bootstrap"), "{machine:?} {status} {said}");
        let (status, said) = bootstrap(&["--dry-run", "--allow-downgrade"]);
        assert!(status == 0 && said.contains("update.would"), "{machine:?} {status} {said}");
        // Where nothing can be fetched the updater beside it works, and says why it cannot.
        fs::remove_file(bench.dir.join("host/version.json.sig")).unwrap();
        let (status, said) = bootstrap(&["--tries", "1"]);
        assert!(
            status == 3 && said.contains("bootstrap.local") && said.contains("update.unreachable"),
            "{status} {said}"
        );
        bench.offer(&builds().1, &new_version());
        let (status, said) = bootstrap(&[]);
        assert_eq!((status, bench.installed()), (0, new_version()), "{said}");
        assert_eq!(bootstrap(&["--channel", "$(touch pwned)"]).0, 2);
    }
}

#[test]
fn the_program_updates_itself_and_heeds_a_request_only_for_what_it_says() {
    let bench = Bench::new(Machine::Debian);
    bench.offer(&builds().1, &new_version());
    let own = |args: &[&str]| {
        let mut command = Command::new(bench.bin());
        // Its own file is what it replaces.
        let options = bench.options();
        let at = options.iter().position(|o| o == "--bin").unwrap();
        let options = [&options[..at], &options[at + 2..]].concat();
        command.arg("update").args(options).args(args).current_dir(bench.dir.path()).stdin(Stdio::null());
        run(command)
    };
    let (status, said) = own(&["--check"]);
    assert!(status == 0 && said.contains("update.would"), "{said}");
    assert_eq!(own(&["--check", "--requested"]).0, 2);
    assert_eq!(own(&["--no-such"]).0, 2);
    fs::write(bench.dir.join("file"), "").unwrap();
    let (status, said) = own(&["--state-dir", bench.dir.join("file/state").to_str().unwrap()]);
    assert!(status == 1 && said.contains("run this as root, or give --state-dir"), "{said}");

    let request = bench.dir.join("request.json");
    let requested = ["--requested", "--request-file", request.to_str().unwrap()];
    let (status, said) = own(&requested);
    assert!(status == 0 && said.contains("No update is requested"), "{said}");
    let ask = |id: &str, version: &str| json!({"id": id, "channel": "stable", "version": version}).to_string();
    for hostile in [
        "{}".to_string(),
        ask("a; touch pwned", &new_version()),
        ask("a", "--recover"),
        ask("a", "2.0.0\n"),
        "x".repeat(5000),
    ] {
        fs::write(&request, hostile).unwrap();
        let (status, said) = own(&requested);
        assert_eq!(status, 1, "{said}");
    }
    fs::write(bench.dir.join("elsewhere"), ask("a", &new_version())).unwrap();
    fs::remove_file(&request).unwrap();
    symlink("elsewhere", &request).unwrap();
    assert_eq!(own(&requested).0, 1, "a link is not followed");
    fs::remove_file(&request).unwrap();
    assert_eq!(bench.installed(), OLD);

    fs::write(&request, ask("update-1", "5.0.0")).unwrap();
    let (status, said) = own(&requested);
    assert_eq!(status, 7, "{said}");
    fs::write(&request, ask("update-2", &new_version())).unwrap();
    let before = fs::metadata(&request).unwrap();
    let (status, said) = own(&requested);
    assert_eq!((status, bench.installed()), (0, new_version()), "{said}");
    assert_eq!((&bench.state()["state"], &bench.state()["update_id"]), (&json!("updated"), &json!("update-2")));
    let (status, said) = own(&requested);
    assert!(status == 0 && said.contains("was done before"), "{said}");
    assert_eq!(fs::metadata(&request).unwrap().modified().unwrap(), before.modified().unwrap());
    let state = bench.dir.join("state").display().to_string();
    let told = program::ok(bench.dir.path(), &["update", "status", "--json", "--state-dir", &state]);
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["update_id"], "update-2");
    assert_eq!(own(&["--recover"]).0, 0);
    bench.is_tidy();
}

#[test]
fn a_ring_waits_for_the_rings_before_it() {
    let served = Served::new();
    let admin = served.admin();
    let mut bench = Bench::new(Machine::Debian);
    bench.offer(&builds().1, &new_version());
    let token = admin.post("/api-tokens", &json!({"name": "rings", "role": "viewer"})).json()["token"]
        .as_str()
        .unwrap()
        .to_string();
    fs::write(bench.dir.join("api-token"), token).unwrap();
    let (status, said) = bench.update(&["--ring", "2", "--ring-wait", "0"]);
    assert!(status == 8 && said.contains("--api-token-file"), "{said}");
    bench.more.extend([
        "--api-url".into(),
        format!("http://{}", admin.address),
        "--api-token-file".into(),
        "api-token".into(),
    ]);
    // A node of the first ring that never sent a heartbeat is not alive.
    assert_eq!(admin.post("/nodes", &json!({"id": "first", "name": "first", "labels": {"ring": "1"}})).status, 201);
    let (status, said) = bench.update(&["--ring", "2", "--ring-wait", "0"]);
    assert!(status == 8 && said.contains("ring 1 has lost nodes: first"), "{status} {said}");
    assert_eq!(bench.installed(), OLD);
    assert_eq!(admin.delete("/nodes/first").status, 204);
    let mut node = crate::node::Node::new("first");
    let joined = node.join(&admin, &crate::node::token(&admin, "worker", None), json!({"labels": {"ring": "1"}}));
    assert_eq!(joined.status, 200, "{}", joined.text());
    let (status, said) = bench.update(&["--ring", "2", "--ring-wait", "1"]);
    assert!(said.contains("update.ring_wait"), "{said}");
    assert_eq!((status, bench.installed()), (0, new_version()), "{said}");
}

#[test]
fn a_wrong_command_line_names_every_fault_and_does_nothing() {
    let bench = Bench::new(Machine::Debian);
    let (status, said) = bench.update(&[
        "--bin",
        "relative",
        "--channel",
        "A B",
        "--ring",
        "x",
        "--service",
        "a;b",
        "--no-such",
        "1",
        "word",
        "--version-url",
        "ftp://x",
    ]);
    assert_eq!(status, 2, "{said}");
    for fault in
        ["--bin must", "--channel must", "--ring must", "--service must", "--no-such", "word", "--version-url must"]
    {
        assert!(said.contains(fault), "{fault} in {said}");
    }
    assert!(!bench.dir.join("state").exists());
}

#[test]
fn a_machine_without_tools_fetches_with_the_program() {
    let dir = Dir::new();
    let host = Host::new(dir.path());
    fs::write(dir.join("file"), "x".repeat(1000)).unwrap();
    let url = format!("http://{}/file", host.address);
    program::ok(dir.path(), &["release", "fetch", &url, "--out", "got"]);
    assert_eq!(fs::read(dir.join("got")).unwrap(), fs::read(dir.join("file")).unwrap());
    let (status, said) = program::fails(dir.path(), &["release", "fetch", &url, "--out", "got", "--bytes-max", "999"]);
    assert!(status == 1 && said.contains("longer than 999"), "{said}");
    host.fault("file", Fault::CutAt(10));
    assert_eq!(program::fails(dir.path(), &["release", "fetch", &url, "--out", "got"]).0, 1);
    assert_eq!(program::fails(dir.path(), &["release", "fetch", &format!("{url}-not"), "--out", "got"]).0, 1);
}

/// The updater asks the program what the settings say; where that is too old, it understands the same or nothing.
#[test]
fn the_updater_reads_settings_as_the_program_does() {
    let dir = Dir::new();
    let script = fs::read_to_string("ops/node-update.sh").unwrap();
    let from = script.find("\nbounded() {\n").unwrap();
    let bounded = &script[from..from + script[from..].find("\n}\n").unwrap() + 3];
    let from = script.find("\nsetting() {\n").unwrap();
    let setting = &script[from..from + script[from..].find("\n}\n").unwrap() + 3];
    let has = "has() { command -v \"$1\" >/dev/null 2>&1; }\nANSWER_S=20\nbin=$1 config=$2 settings_by=$3\n";
    for machine in Machine::ALL {
        let (shell, path) = machine.shell(dir.path());
        let said = |file: &str, by: &str| {
            let mut command = Command::new(&shell[0]);
            command.args(&shell[1..]).args(["-c", &format!("{has}{bounded}{setting}setting APP_NAME"), "sh"]);
            command
                .args([env!("CARGO_BIN_EXE_uptimemesh"), file, by])
                .env_clear()
                .env("PATH", &path)
                .env("LC_ALL", "C");
            let output = command.current_dir(dir.path()).output().unwrap();
            (output.status.success(), String::from_utf8(output.stdout).unwrap())
        };
        let mut understood = 0;
        for (text, wanted) in crate::settings::table() {
            fs::write(dir.join("settings"), &text).unwrap();
            let by_program = said("settings", "program");
            match &wanted {
                Ok(value) => assert_eq!(by_program, (true, format!("{value}\n")), "{machine:?} {text:?}"),
                Err(why) => assert!(!by_program.0 && by_program.1.contains(why), "{machine:?} {text:?} {by_program:?}"),
            }
            let alone = said("settings", "");
            if alone.0 && wanted.is_ok() {
                assert_eq!(alone, by_program, "{machine:?} {text:?}");
                understood += 1;
            }
            // What this finds in a file that the program refuses is what stands there alone on a plain line: nothing.
            assert!(!alone.0 || wanted.is_ok() || alone.1 == "\n", "{machine:?} {text:?} {alone:?}");
        }
        assert!(understood > 10, "{understood}");
        assert_eq!(said("nowhere", ""), (true, String::new()));
    }
}

/// What the service's user puts in the place of its status keeps nobody waiting, and leads root nowhere.
#[test]
fn no_file_of_the_services_user_holds_an_update_up() {
    for machine in [Machine::Debian, Machine::Bare] {
        let mut bench = Bench::new(machine);
        bench.offer(&builds().1, &new_version());
        let dir = bench.dir.path().to_path_buf();
        fs::create_dir_all(dir.join("identities/a")).unwrap();
        let sh =
            |line: &str| assert!(Command::new("sh").args(["-ec", line]).current_dir(&dir).status().unwrap().success());
        // Pipes, links and directories from the beginning; and a file in whose place comes a pipe as soon as it was
        // looked at.
        sh("mkdir identities/b identities/c identities/d identities/d/status.json; mkfifo identities/b/status.json");
        sh("ln -s /dev/zero identities/c/status.json; echo '{\"run\":\"1\",\"version\":\"9.9.9\"}' \
                >identities/a/status.json");
        let swap = format!(
            "#!/bin/sh\nrm -f '{0}/a/status.json'\n/usr/bin/mkfifo '{0}/a/status.json' 2>/dev/null\nexec /usr/bin/head \
                \"$@\"\n",
            dir.join("identities").display()
        );
        let tools = dir.join("first");
        fs::create_dir(&tools).unwrap();
        put(&tools.join("head"), swap.as_bytes());
        bench.more.extend(["--status-file".into(), format!("{}/*/status.json", dir.join("identities").display())]);
        bench.more.extend(["--restart-command".into(), "true".into(), "--health-wait".into(), "2".into()]);
        let mut command = bench.command("ops/node-update.sh", &[]);
        let path = format!("{}:{}", tools.display(), bench.machine.shell(&dir).1);
        let mut child =
            command.env("PATH", path).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap();
        let status = until("the update ends", || child.try_wait().unwrap());
        // No agent has told of a run: the old program is back, and was no better.
        assert_eq!(status.code(), Some(11), "{machine:?}");
        assert!(
            fs::metadata(dir.join("identities/a/status.json")).is_ok_and(|m| !m.is_file()),
            "the pipe was put there meanwhile"
        );
    }
}

#[test]
fn the_updaters_own_readers_understand_one_thing_only() {
    let dir = Dir::new();
    let script = fs::read_to_string("ops/node-update.sh").unwrap();
    let function = |name: &str| {
        let from = script.find(&format!("\n{name}() {{\n")).unwrap();
        let to = script[from..].find("\n}\n").unwrap();
        script[from..from + to + 3].to_string()
    };
    for machine in Machine::ALL {
        let (shell, path) = machine.shell(dir.path());
        let holds = |name: &str, call: &str, input: &str| {
            let mut command = Command::new(&shell[0]);
            command.args(&shell[1..]).args(["-c", &format!("{}{call}", function(name)), "sh"]).env_clear();
            command
                .env("PATH", &path)
                .env("LC_ALL", "C")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            // It may have seen enough before it has read everything.
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            child.wait().unwrap().success()
        };
        // The order of Semantic Versioning's own example, and numbers beside it.
        let order = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.9",
            "1.0.10",
            "1.9.0",
            "1.10.0",
            "2.0.0-0",
            "2.0.0",
        ];
        for (i, a) in order.iter().enumerate() {
            for (k, b) in order.iter().enumerate() {
                assert_eq!(holds("older", &format!("older {a} {b}"), ""), i < k, "{machine:?}: {a} and {b}");
            }
        }
        let sound = fs::read_to_string("version.json").unwrap();
        let compact = sound.replace([' ', '\n'], "");
        for json in [&sound, &compact, "{}", r#"{"a": [1, -2.5e3, {"b": "x\"y"}, []], "c": true, "d": null}"#] {
            assert!(holds("read_json", "read_json", json), "{machine:?}: {json}");
        }
        for json in [
            "",
            "{",
            "}",
            "x",
            "[1,]",
            r#"{"a":1,}"#,
            r#"{"a" 1}"#,
            r#"{"a":1}{}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"\u0061":1}"#,
            "{\"a\":\"x\ty\"}",
            r#"{"a":{"b":1},"a/b":2}"#,
            r#"{"a":01x}"#,
            r#"{a:1}"#,
            r#"{'a':1}"#,
        ] {
            assert!(!holds("read_json", "read_json", json), "{machine:?}: {json}");
        }
        assert!(
            !holds("read_json", "read_json", &"[".repeat(100))
                && !holds("read_json", "read_json", &sound[..sound.len() - 3])
        );
    }
}

#[test]
fn scripts_say_the_key_and_the_exit_statuses_that_are_true() {
    let key = fs::read_to_string("ops/release-key.pub").unwrap();
    for script in ["ops/bootstrap.sh", "ops/node-update.sh"] {
        let text = fs::read_to_string(script).unwrap();
        assert!(
            text.contains(&format!("OWN_KEY='{}'", key.trim_end())),
            "{script} has another release key than ops/release-key.pub"
        );
        assert!(text.is_ascii() && text.starts_with("#!/bin/sh\n"), "{script}");
        let mut check = Command::new("shellcheck");
        let output =
            check.args(["-s", "sh", script]).output().expect("shellcheck is installed (apt-get install shellcheck)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    // Options of the script are options of the command, one by one.
    let help = Command::new("sh").args(["ops/node-update.sh", "--help"]).output().unwrap();
    let mut text = String::new();
    (&help.stdout[..]).read_to_string(&mut text).unwrap();
    let own = program::ok(Path::new("."), &["update", "--help"]);
    for option in text.lines().filter_map(|l| l.trim().strip_prefix("--")?.split([' ']).next()) {
        let option = if option == "dry-run" { "check" } else { option };
        assert!(option == "update-id" || own.contains(&format!("--{option} ")), "uptimemesh update has no --{option}");
    }
}

#[test]
fn a_fleet_is_updated_by_its_agents_and_their_updaters() {
    let served = Served::new();
    let admin = served.admin();
    let bench = Bench::new(Machine::Debian);
    bench.offer(&builds().1, &new_version());
    let url = format!("http://{}", admin.address);
    fs::write(bench.dir.join("token"), crate::node::token(&admin, "worker", None)).unwrap();
    let identity = ["--node-id", "n", "--identity-dir", "identities"];
    let join = ["join", "--api-url", &url, "--token-file", "token", "--role", "worker", "--label", "ring=1"];
    program::ok(bench.dir.path(), &[&join[..], &identity].concat());
    let arguments = format!(
        "agent --node-id n --identity-dir identities --api-url {url} --ttl 10 --update-dir update --update-state \
            state/state.json"
    );
    let mut bench = bench.with_service(&arguments);
    bench.more.extend(["--status-file".into(), bench.dir.join("identities/n/status.json").display().to_string()]);

    let version = new_version();
    let token = admin.post("/api-tokens", &json!({"name": "fleet", "role": "admin"})).json()["token"]
        .as_str()
        .unwrap()
        .to_string();
    fs::write(bench.dir.join("api-token"), token).unwrap();
    let fleet = |args: &[&str]| {
        let all =
            [&["fleet-update"][..], args, &["--api-url", &url, "--api-token-file", "api-token", "--json"]].concat();
        serde_json::from_str::<Value>(&program::ok(bench.dir.path(), &all)).unwrap()
    };
    let id = fleet(&["start", &version, "--wait-seconds", "1", "--rings", "1"])["id"].as_str().unwrap().to_string();
    let request = bench.dir.join("update/request.json");
    until("the agent asks its updater", || request.exists().then_some(()));
    let asked: Value = serde_json::from_slice(&fs::read(&request).unwrap()).unwrap();
    assert_eq!(asked, json!({"id": format!("{id}.1"), "channel": "stable", "version": version}));

    // What the unit of the updater does when the file is there. The host is away at first.
    let update = || {
        let mut command = Command::new(bench.bin());
        command.arg("update").args(bench.options()).args(["--requested", "--request-file"]).arg(&request);
        run(command)
    };
    let manifest = fs::read(bench.dir.join("host/version.json")).unwrap();
    fs::remove_file(bench.dir.join("host/version.json")).unwrap();
    assert_eq!(update().0, 3);
    let of = |id: &str| fleet(&["show", id]);
    let halted = until("it halts", || Some(of(&id)).filter(|u| u["state"] == "halted"));
    assert!(halted["reason"].as_str().unwrap().contains("n: failed"), "{halted}");
    assert_eq!(update().0, 0, "the same request is not tried again");

    fs::write(bench.dir.join("host/version.json"), manifest).unwrap();
    fleet(&["resume", &id]);
    until("the agent asks again", || fs::read_to_string(&request).unwrap().contains(&format!("{id}.2")).then_some(()));
    let (status, said) = update();
    assert_eq!((status, bench.serving()), (0, version.clone()), "{said}");
    until("the update is complete", || (of(&id)["state"] == "completed").then_some(()));
    assert_eq!(fleet(&["list"]).as_array().unwrap().len(), 1);
    assert_eq!(admin.get("/nodes/n").json()["status"]["version"], version.as_str());
}
