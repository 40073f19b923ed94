//! Long commands of the real program: waits that outlive their server or end at their limit, and Ctrl-C.

use crate::backups::{cluster, plain};
use crate::machine::free_port;
use crate::program::{Running, command, fails, ok};
use crate::support::{Dir, PATIENCE, until};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Bytes that make a database large enough to be caught in the middle of its copy.
const LARGE: usize = 96 << 20;

/// A control plane at this port whose scheduler waits for its operator, with a service that lacks its replicas.
fn waiting_cluster(dir: &Path, port: &str) -> Running {
    let (serve, client) = Running::serve(dir, &["serve", "--server-port", port]);
    let url = format!("http://{}", client.address);
    let run = |line: &str| ok(dir, &line.split(' ').chain(["--api-url", &url]).collect::<Vec<_>>());
    run("setting set scheduler_mode manual");
    run("node create n1");
    fs::write(dir.join("web.json"), r#"{"id": "web", "name": "web", "spec": {"replicas_desired": 2}}"#).unwrap();
    serve
}

fn start(dir: &Path, name: &str, line: &str) -> Running {
    Running::start(dir, name, &line.split(' ').collect::<Vec<_>>())
}

fn send(running: &Running, signal: &str) {
    assert!(Command::new("kill").args(["-s", signal, &running.pid().to_string()]).status().unwrap().success());
}

#[test]
fn a_wait_outlives_its_server() {
    let dir = Dir::new();
    let port = free_port().to_string();
    let mut serve = waiting_cluster(dir.path(), &port);
    let line = format!("service apply -f web.json --wait --api-url http://127.0.0.1:{port}");
    let mut apply = start(dir.path(), "apply", &line);
    let looks = |apply: &Running| apply.logged().matches("web: 0 of 2 replicas, 2 actions left\n").count();
    until("it waits", || (looks(&apply) == 1).then_some(()));
    serve.kill();
    until("it says what is wrong", || apply.logged().contains("does not answer; retrying (cannot reach").then_some(()));
    let _serve = Running::serve(dir.path(), &["serve", "--server-port", &port]);
    // The new server has a new local credential.
    until("it waits again", || (looks(&apply) == 2).then_some(()));
    ok(dir.path(), &["scheduler", "reconcile", "web", "--api-url", &format!("http://127.0.0.1:{port}")]);
    assert_eq!(apply.exit_status(), 0, "{}", apply.logged());
}

#[test]
fn a_wait_ends_at_its_limit_and_says_how_to_look_again() {
    let dir = Dir::new();
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let mut serve = waiting_cluster(dir.path(), &port);
    let at = |line: &str| fails(dir.path(), &line.split(' ').chain(["--api-url", &url]).collect::<Vec<_>>());
    let (status, said) = at("service apply -f web.json --wait --timeout 0");
    assert!(status == 4 && said.contains("2 actions left: the time for waiting is over"), "{said}");
    assert!(said.contains("to see the work: uptimemesh scheduler plan web"), "{said}");

    ok(dir.path(), &["scheduler", "reconcile", "web", "--api-url", &url]);
    ok(dir.path(), &["node", "create", "n2", "--api-url", &url]);
    ok(dir.path(), &["setting", "set", "scheduler_mode", "auto", "--api-url", &url]);
    let (status, said) = at("node drain n1 --timeout 0");
    assert!(status == 4 && said.contains("to see the work: uptimemesh node show n1"), "{said}");
    for line in
        ["node drain n1", "service apply -f web.json", "bundle create", "ca rotate", "update start 9.9.9 --rings 1"]
    {
        let (status, said) = at(&format!("{line} --timeout 86401"));
        assert!(status == 2 && said.contains("--timeout must be 0 to 86400 seconds, not 86401"), "{line}: {said}");
    }

    ok(dir.path(), &["setting", "set", "scheduler_mode", "manual", "--api-url", &url]);
    fs::write(dir.join("web.json"), r#"{"id": "web", "name": "web", "spec": {"replicas_desired": 3}}"#).unwrap();
    let mut apply =
        start(dir.path(), "apply", &format!("service apply -f web.json --wait --timeout 3 --api-url {url}"));
    until("it waits", || apply.logged().contains("actions left").then_some(()));
    serve.kill();
    assert_eq!(apply.exit_status(), 3, "{}", apply.logged());
}

#[test]
fn an_interrupted_wait_says_that_the_work_continues() {
    let dir = Dir::new();
    let port = free_port().to_string();
    let _serve = waiting_cluster(dir.path(), &port);
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let line = format!("service apply -f web.json --wait --api-url http://127.0.0.1:{port}");
        let mut apply = start(dir.path(), "apply", &line);
        until("it waits", || apply.logged().contains("actions left").then_some(()));
        send(&apply, signal);
        assert_eq!(apply.exit_status(), status);
        let said = apply.logged();
        assert!(
            said.ends_with("Interrupted. The work continues at the server; to see it: uptimemesh scheduler plan web\n"),
            "{said}"
        );
    }
}

/// Names below a directory that a backup or a restore needs for a while only.
fn temporary(dir: &Path) -> Vec<String> {
    let names = |dir: &Path| -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let is_temporary =
        |name: &String| name.starts_with("staging-") || name.starts_with("restore.new") || name.ends_with(".new");
    [names(&dir.join("data")), names(&dir.join("data/backups"))].concat().into_iter().filter(is_temporary).collect()
}

#[test]
fn an_interrupted_backup_leaves_nothing_half_done() {
    let dir = cluster("one");
    let database = rusqlite::Connection::open(dir.join("data/app.db")).unwrap();
    database.execute_batch(&format!("CREATE TABLE filler (x); INSERT INTO filler VALUES (zeroblob({LARGE}))")).unwrap();
    database.close().unwrap();
    let backup = plain(dir.path());
    let file = backup.to_str().unwrap();
    for (args, signal, status, said) in [
        (&["backup", "create", "--no-encryption"][..], "INT", 130, "No backup was created; to see the others"),
        (&["backup", "create", "--no-encryption"], "TERM", 143, "No backup was created; to see the others"),
        (&["backup", "verify", file], "INT", 130, "The backup is as it was; to check it again: uptimemesh backup"),
        (&["backup", "restore", file, "--replace"], "INT", 130, "Nothing was restored, and no file was replaced"),
    ] {
        // It may be done before it is caught; then another one is begun.
        let caught = (0..10).any(|_| {
            let mut running = Running::of(command(dir.path(), args), dir.path(), "backup");
            while temporary(dir.path()).is_empty() && !running.has_ended() {
                std::thread::yield_now();
            }
            if running.has_ended() {
                return false;
            }
            send(&running, signal);
            let ended = running.exit_status();
            assert_eq!(temporary(dir.path()), [""; 0], "{args:?}: {}", running.logged());
            if ended == 0 {
                return false;
            }
            assert_eq!(ended, status, "{}", running.logged());
            assert!(running.logged().contains(&format!("Interrupted. {said}")), "{}", running.logged());
            true
        });
        assert!(caught, "{args:?} was never caught in the middle");
    }
    assert!(backup.exists());
    ok(dir.path(), &["migrate"]);
}

#[test]
fn an_interrupted_download_leaves_no_file() {
    let dir = Dir::new();
    fs::write(dir.join("token"), "um_x").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let args = ["bundle", "download", "one", "--output", "x.tar.gz", "--api-token-file", "token", "--api-url", &url];
    let mut download = Running::of(command(dir.path(), &args), dir.path(), "download");
    let mut server = listener.accept().unwrap().0;
    let mut request = [0; 4096];
    assert!(server.read(&mut request).unwrap() > 0);
    // A part of the file, and then silence.
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").unwrap();
    server.write_all(&[7; 100_000]).unwrap();
    let new = dir.join("x.tar.gz.new");
    let end = Instant::now() + PATIENCE;
    while !fs::metadata(&new).is_ok_and(|found| found.len() > 0) {
        assert!(Instant::now() < end, "nothing arrives: {}", download.logged());
        std::thread::yield_now();
    }
    send(&download, "INT");
    assert_eq!(download.exit_status(), 130);
    assert!(!new.exists() && !dir.join("x.tar.gz").exists());
    let said = download.logged();
    assert!(said.contains("Interrupted. Nothing was kept here; to fetch it again: uptimemesh bundle download one"));
}
