//! What an operator's machine can do to the control plane: a full disk, a read-only directory, a damaged or foreign
//! database.

use crate::program::{Running, command, fails, ok};
use crate::support::{Client, Dir, PATIENCE, until};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The program in a mount namespace of its own, after this shell script has prepared it.
pub fn in_namespace(dir: &Path, script: &str, args: &[&str]) -> Command {
    let program = command(dir, args);
    let mut outer = Command::new("unshare");
    outer
        .args(["--mount", "sh", "-ec", &format!("{script}\nexec \"$@\""), "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(dir);
    outer
}

/// Whether this machine lets us mount: elsewhere the tests that need it say so and are left out.
pub fn can_mount() -> bool {
    let can = Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|s| s.success());
    if !can {
        eprintln!("left out: mount namespaces need root");
    }
    can
}

/// A server whose data lie on a disk of four megabytes, a quarter of which a file takes.
fn on_a_small_disk(dir: &Dir) -> Running {
    fs::create_dir(dir.join("data")).unwrap();
    let script = "mount -t tmpfs -o size=4m tmpfs data\nhead -c 1000000 /dev/zero > data/filler";
    let args = ["serve", "--server-host", "127.0.0.1", "--server-port", "0", "--log-file", ""];
    Running::of(in_namespace(dir.path(), script, &args), dir.path(), "serve")
}

/// Takes that file away.
fn make_room(server: &Running, dir: &Dir) {
    fs::remove_file(format!("/proc/{}/root{}", server.pid(), dir.join("data/filler").display())).unwrap();
}

#[test]
fn a_full_disk_refuses_writes_whole_and_reads_go_on() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    let server = on_a_small_disk(&dir);
    let admin = server.client().signed_in("admin", "uptime");
    let node =
        |i: usize| json!({"id": format!("n{i:04}"), "name": format!("n{i}"), "status": {"blob": "x".repeat(30_000)}});
    let full = (0..1000).find(|i| {
        let answer = admin.post("/nodes", &node(*i));
        assert!(answer.status == 201 || answer.status == 503, "{}", answer.text());
        answer.status == 503 && answer.detail().contains("control plane's disk")
    });
    let kept = full.expect("four megabytes are soon full");
    assert!(kept > 5, "{kept}");
    let listed = |client: &Client| client.get("/nodes").header("X-Total-Count").unwrap().parse::<usize>().unwrap();
    assert_eq!(listed(&admin), kept, "reads go on, with all that was acknowledged and nothing of what was refused");
    assert_eq!(admin.events("nodes").len(), kept);
    assert_eq!(admin.signed_in("admin", "uptime").get("/nodes/n0000").status, 200);
    make_room(&server, &dir);
    until("writes are possible again", || (admin.post("/nodes", &node(kept)).status == 201).then_some(()));
    assert_eq!(listed(&admin), kept + 1);
}

#[test]
fn a_heartbeat_with_news_is_renewed_while_nothing_can_be_written() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    let server = on_a_small_disk(&dir);
    let admin = server.client().signed_in("admin", "uptime");
    let mut node = crate::node::Node::joined(&admin, "n");
    let sized = |i: usize, bytes: usize| {
        json!({"id": format!("n{i:04}"), "name": format!("n{i}"),
        "status": {"blob": "x".repeat(bytes)}})
    };
    let blob = |i: usize| sized(i, 30_000);
    // To the last page: what is smaller must not fit either.
    for (from, bytes) in [(0, 30_000), (3000, 5_000), (6000, 10)] {
        (from..from + 1000)
            .find(|i| admin.post("/nodes", &sized(*i, bytes)).status == 503)
            .expect("four megabytes are soon full");
    }
    let status = |admin: &Client| admin.get("/nodes/n").json()["status"].clone();

    let before = admin.get("/nodes/n").json()["lease_expires_at"].clone();
    for (ttl_s, news) in [(100, json!({"a": "x".repeat(20_000), "b": 1})), (200, json!({"b": 2, "c": [3]}))] {
        let answer = node.heartbeat(&admin, ttl_s, &news);
        assert_eq!((answer.status, &answer.json()["status_stored"]), (200, &json!(false)), "{}", answer.text());
    }
    assert!(status(&admin)["b"].is_null(), "nothing is shown that is not durable");
    assert_ne!(admin.get("/nodes/n").json()["lease_expires_at"], before);
    // What fits no status is the node's to know, and shuts it out no longer than that.
    let large = node.heartbeat(&admin, 45, &json!({"d": "x".repeat(50_000)}));
    assert_eq!(large.status, 422, "{}", large.text());
    let answer = node.heartbeat(&admin, 45, &json!({"a": "y".repeat(20_000), "b": 1}));
    assert_eq!((answer.status, &answer.json()["status_stored"]), (200, &json!(false)), "{}", answer.text());
    let answer = node.heartbeat(&admin, 45, &json!({"b": 2, "c": [3]}));
    assert_eq!((answer.status, &answer.json()["status_stored"]), (200, &json!(false)), "{}", answer.text());

    make_room(&server, &dir);
    until("writes are possible again", || (admin.post("/nodes", &blob(2000)).status == 201).then_some(()));
    // A heartbeat that has nothing to tell writes what is kept.
    let answer = node.heartbeat(&admin, 45, &json!({}));
    assert_eq!((answer.status, &answer.json()["status_stored"]), (200, &serde_json::Value::Null), "{}", answer.text());
    let stored = status(&admin);
    assert_eq!((&stored["b"], &stored["c"], &stored["a"]), (&json!(2), &json!([3]), &json!("y".repeat(20_000))));
}

#[test]
fn a_read_only_directory_is_named() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    ok(dir.path(), &["migrate"]);
    let script = "mount --bind data data\nmount -o remount,ro,bind data";
    let output = in_namespace(dir.path(), script, &["serve", "--server-port", "0", "--log-file", ""]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("error: open the lock of the data directory (is it writable?): Read-only file system"),
        "{said}"
    );
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = Dir::new();
    fs::write(dir.join("data"), "a file").unwrap();
    let (status, said) = fails(dir.path(), &["serve", "--server-port", "0"]);
    assert!(status == 1 && said.contains("create a directory"), "{said}");
}

#[test]
fn a_database_that_is_damaged_newer_or_changed_is_refused_and_left_alone() {
    let dir = Dir::new();
    let path = dir.join("data/app.db");
    let refused = |part: &str| {
        let before = fs::read(&path).unwrap();
        for command in [&["serve", "--server-port", "0"][..], &["migrate"]] {
            let (status, said) = fails(dir.path(), command);
            assert!(status == 1 && said.contains(part), "{said}");
        }
        assert_eq!(fs::read(&path).unwrap(), before, "it is left as it was");
    };
    ok(dir.path(), &["migrate"]);
    let sound = fs::read(&path).unwrap();
    let edit = |sql: &str| {
        let database = rusqlite::Connection::open(&path).unwrap();
        database.execute_batch(sql).unwrap();
        database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    };
    edit("INSERT INTO schema_migrations VALUES (999, 'from_the_future', 'x', 0)");
    refused("start the newer uptimemesh, or restore a backup");
    fs::write(&path, &sound).unwrap();
    edit("UPDATE schema_migrations SET sha256 = 'x' WHERE number = 1");
    refused("was changed after it had been applied");
    fs::write(&path, b"this is no database, and it is longer than a header ".repeat(100)).unwrap();
    refused("damaged or not a database; restore a backup");
    let mut torn = sound.clone();
    torn[100..].fill(0xa5);
    fs::write(&path, &torn).unwrap();
    refused("damaged; restore a backup");
    fs::write(&path, &sound).unwrap();
    assert!(ok(dir.path(), &["migrate"]).contains("is at version 13"));
}

/// Somebody else's transaction on a database, as a backup script or a curious operator begins one; it ends when this is
/// dropped.
fn held(path: &Path, how: &str) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(path).unwrap();
    database.busy_timeout(PATIENCE).unwrap();
    database.execute_batch(how).unwrap();
    database
}

#[test]
fn a_database_that_another_process_holds_refuses_writes_for_now_and_loses_nothing() {
    let dir = Dir::new();
    let (server, client) = Running::serve(dir.path(), &["serve", "--server-port", "0", "--log-file", ""]);
    let admin = client.signed_in("admin", "uptime");
    let credential = fs::read(dir.join("data/local.json")).unwrap();
    let credential: serde_json::Value = serde_json::from_slice(&credential).unwrap();
    let local = Client { token: credential["token"].as_str().map(String::from), ..client.clone() };
    let post = |id: &str| admin.post("/nodes", &json!({"id": id, "name": id}));
    assert_eq!(post("before").status, 201);
    let holder = held(&dir.join("data/app.db"), "BEGIN EXCLUSIVE");
    let began = Instant::now();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..16).map(|i| scope.spawn(move || post(&format!("n{i}")))).collect();
        assert_eq!(admin.get("/nodes/before").status, 200, "reads go on");
        let by_local: Vec<u16> = (0..4).map(|_| local.get("/nodes/before").status).collect();
        assert_eq!(by_local, [200; 4], "for commands on this machine, too");
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    // One after the other they would have waited for more than a minute.
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    for answer in &answers {
        assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("5")), "{}", answer.text());
        assert!(answer.detail().contains("Another process holds"), "{}", answer.text());
    }
    assert_eq!(
        client.signed_in("admin", "uptime").get("/nodes/before").status,
        200,
        "whoever comes to look into it gets in"
    );
    assert_eq!(admin.get("/metrics").status, 200);
    assert_eq!(server.logged().matches("auth.unrecorded").count(), 1, "{}", server.logged());
    drop(holder);
    until("writes are possible again", || (post("after").status == 201).then_some(()));
    let ids: Vec<_> =
        admin.get("/nodes").json().as_array().unwrap().iter().map(|n| n["id"].as_str().unwrap().to_string()).collect();
    assert_eq!(ids, ["after", "before"], "what was acknowledged is there, what was refused is not");
    assert_eq!(admin.events("nodes").len(), 2);
    until("the use of the local credential is recorded", || {
        assert_eq!(local.get("/nodes").status, 200);
        admin.events("auth").iter().any(|event| event["name"] == "auth.local_use").then_some(())
    });
}

#[test]
fn a_start_waits_for_a_database_that_another_process_holds_and_says_so() {
    let dir = Dir::new();
    ok(dir.path(), &["migrate"]);
    for how in [
        "BEGIN IMMEDIATE",
        "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; CREATE TABLE passing (a); DROP TABLE passing",
    ] {
        let holder = held(&dir.join("data/app.db"), how);
        let args = ["serve", "--server-host", "127.0.0.1", "--server-port", "0", "--log-file", ""];
        let server = Running::start(dir.path(), "serve", &args);
        until("it says that it waits", || {
            server.logged().contains("Another process holds the database; waiting").then_some(())
        });
        assert!(!server.logged().contains("serve.start"));
        drop(holder);
        assert_eq!(server.client().signed_in("admin", "uptime").get("/nodes").status, 200, "{how}");
    }
}

#[test]
fn half_an_authority_stops_the_start() {
    let dir = Dir::new();
    fs::create_dir_all(dir.join("data/pki")).unwrap();
    fs::write(dir.join("data/pki/cluster-ca.crt"), "a certificate whose key is lost").unwrap();
    let (status, said) = fails(dir.path(), &["serve", "--server-port", "0"]);
    assert!(status == 1 && said.contains("cluster-ca.key is not: restore it from a backup"), "{said}");
    assert!(!dir.join("data/pki/cluster-ca.key").exists(), "it is never replaced");
}

#[test]
fn a_damaged_key_stops_the_start() {
    let dir = Dir::new();
    fs::create_dir_all(dir.join("data/keys")).unwrap();
    fs::write(dir.join("data/keys/auth-secret.key"), "short").unwrap();
    let (status, said) = fails(dir.path(), &["serve", "--server-port", "0"]);
    assert!(status == 1 && said.contains("auth-secret.key is damaged"), "{said}");
}
