//! Backups of the real program: made while others write, read whole, damaged, cut, killed in the middle, and restored
//! elsewhere.

use crate::program::{Running, command, fails, ok};
use crate::root::give;
use crate::support::{Client, Dir, Served, kills, until, until_within};
use crate::trouble::{can_mount, in_namespace};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const PASSPHRASE: &str = "correct horse battery";
const SERVE: &[&str] = &["serve", "--server-port", "0", "--log-file", ""];

/// The program with a passphrase.
fn with(dir: &Path, passphrase: &str, args: &[&str]) -> (bool, String, String) {
    let output = command(dir, args).env("UPTIMEMESH_BACKUP_PASSPHRASE", passphrase).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// A server that encrypts its backups.
pub fn sealed() -> Served {
    Served::with(|config| {
        let path = config.data_dir.join("passphrase");
        fs::create_dir_all(&config.data_dir).unwrap();
        fs::write(&path, PASSPHRASE).unwrap();
        config.backup_passphrase_file = Some(path);
    })
}

/// Makes a backup that is not encrypted, and gives its file.
pub fn plain(dir: &Path) -> PathBuf {
    dir.join(ok(dir, &["backup", "create", "--no-encryption"]).trim())
}

fn database(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}

fn column(database: &rusqlite::Connection, sql: &str) -> BTreeSet<String> {
    let mut statement = database.prepare(sql).unwrap();
    statement.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
}

/// A small generator with a fixed seed, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn a_backup_made_while_eight_write_is_one_moment() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let (_server, client) = Running::serve(dir.path(), SERVE);
    let admin = client.signed_in("admin", "uptime");
    let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    let acknowledged_before = std::thread::scope(|scope| {
        for writer in 0..8 {
            let (admin, stop, written) = (&admin, &stop, &written);
            scope.spawn(move || {
                for i in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = format!("w{writer}-{i}");
                    assert_eq!(admin.post("/nodes", &json!({"id": id, "name": id})).status, 201);
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        until("some are written", || (written.load(Ordering::Relaxed) > 50).then_some(()));
        let before = written.load(Ordering::Relaxed);
        let (good, said, why) = with(dir.path(), PASSPHRASE, &["backup", "create"]);
        stop.store(true, Ordering::Relaxed);
        assert!(good && said.trim().ends_with(".umbackup"), "{why}");
        before
    });
    let list: Value = serde_json::from_str(&ok(dir.path(), &["backup", "list", "--json"])).unwrap();
    assert_eq!((&list[0]["kind"], &list[0]["encrypted"]), (&json!("manual"), &json!(true)));
    let file = dir.join(list[0]["path"].as_str().unwrap());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (good, said, why) = with(dir.path(), PASSPHRASE, &["backup", "verify", file.to_str().unwrap(), "--json"]);
    assert!(good, "{why}");
    let manifest: Value = serde_json::from_str(&said).unwrap();
    let (good, _, why) = with(elsewhere.path(), PASSPHRASE, &["backup", "restore", file.to_str().unwrap()]);
    assert!(good, "{why}");
    let restored = database(&elsewhere.join("data/app.db"));
    let nodes = column(&restored, "SELECT id FROM nodes");
    let told = column(&restored, "SELECT json_extract(fields, '$.node_id') FROM events WHERE category = 'nodes'");
    assert_eq!(nodes, told, "a node and its event are of one moment");
    assert!(
        nodes.len() >= acknowledged_before && manifest["rows"]["nodes"] == nodes.len(),
        "{} {manifest}",
        nodes.len()
    );
    let left: Vec<_> = fs::read_dir(dir.join("data/backups")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the backup and the lock: {left:?}");
}

#[test]
fn what_is_damaged_cut_or_strange_is_refused_before_anything_is_touched() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    ok(dir.path(), &["migrate"]);
    let (status, said) = fails(dir.path(), &["backup", "create"]);
    assert!(status == 1 && said.contains("UPTIMEMESH_BACKUP_PASSPHRASE") && said.contains("--no-encryption"), "{said}");
    let (good, _, said) = with(dir.path(), "short", &["backup", "create"]);
    assert!(!good && said.contains("at least 12 characters"), "{said}");
    let (good, encrypted, why) = with(dir.path(), PASSPHRASE, &["backup", "create"]);
    assert!(good, "{why}");
    let encrypted = dir.join(encrypted.trim());
    let path = encrypted.to_str().unwrap();
    for (passphrase, part) in [("another passphrase", "passphrase is wrong"), ("", "The backup is encrypted")] {
        let (good, _, said) = with(elsewhere.path(), passphrase, &["backup", "restore", path]);
        assert!(!good && said.contains(part), "{said}");
    }
    let sound = fs::read(plain(dir.path())).unwrap();
    let bad = elsewhere.join("bad.umbackup");
    let refused = |bytes: &[u8]| {
        fs::write(&bad, bytes).unwrap();
        for verb in ["verify", "restore"] {
            let (status, said) = fails(elsewhere.path(), &["backup", verb, bad.to_str().unwrap()]);
            assert!(status == 1 && said.contains("backup"), "{said}");
        }
    };
    for at in [0, 8, 9, 30, 38, 60, 65_000, sound.len() / 2, sound.len() - 1] {
        let mut changed = sound.clone();
        changed[at] ^= 0x20;
        refused(&changed);
    }
    for end in [0, 20, 38, 1000, 38 + 65_552, sound.len() - 1] {
        refused(&sound[..end]);
    }
    refused(&[&sound[..], b"more"].concat());
    refused(b"this was never a backup");
    let left: Vec<_> = fs::read_dir(elsewhere.join("data")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["uptimemesh.lock"], "nothing is left of what was refused");
    fs::write(&bad, &sound).unwrap();
    ok(elsewhere.path(), &["backup", "restore", "bad.umbackup"]);
    let (status, said) = fails(elsewhere.path(), &["backup", "restore", "bad.umbackup"]);
    assert!(status == 1 && said.contains("--replace"), "{said}");
    let (_server, _) = Running::serve(elsewhere.path(), SERVE);
    let (status, said) = fails(elsewhere.path(), &["backup", "restore", "bad.umbackup", "--replace"]);
    assert!(status == 1 && said.contains("Stop it first"), "{said}");
}

/// Whoever looks must not wait for the other end of a pipe, and neither must the server.
#[test]
fn what_is_no_ordinary_file_is_no_backup() {
    let dir = cluster("no-ordinary-file");
    let made = plain(dir.path());
    let odd = dir.path().join("data/backups/manual-20260101T000000Z-0123abcd.umbackup");
    let status = Command::new("mkfifo").arg(&odd).status().unwrap();
    assert!(status.success());
    let listed: Value = serde_json::from_str(&ok(dir.path(), &["backup", "list", "--json"])).unwrap();
    let listed: Vec<&str> = listed.as_array().unwrap().iter().map(|b| b["path"].as_str().unwrap()).collect();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert!(made.ends_with(listed[0]), "{listed:?}");
    for odd in [odd.to_str().unwrap(), "/dev/zero", "/tmp"] {
        for args in [&["backup", "verify", odd][..], &["backup", "restore", odd, "--data-dir", "elsewhere"]] {
            let stderr = fails(dir.path(), args).1;
            assert!(stderr.contains(&format!("{odd} cannot be read: it is not a regular file")), "{stderr}");
        }
    }
}

#[test]
fn running_agents_reconnect_to_a_restored_control_plane() {
    let (here, node, fresh) = (Dir::new(), Dir::new(), Dir::new());
    let up = |port: &str| ["up", "--node-id", "first", "--server-port", port].map(String::from);
    let (mut first, client) = Running::serve(here.path(), &["up", "--node-id", "first", "--server-port", "0"]);
    let port = client.address.port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let join = ok(here.path(), &["create-token", "--role", "worker", "--join-string", "--api-url", &url]);
    ok(node.path(), &["join", join.trim(), "--node-id", "node-b"]);
    let agent = Running::start(node.path(), "agent", &["agent", "--node-id", "node-b"]);
    let admin = client.signed_in("admin", "uptime");
    let alive = |admin: &Client| {
        let leases = admin.get("/cluster/leases").json();
        let all = leases.as_array().unwrap().clone();
        (all.len() == 2 && all.iter().all(|l| l["lease_state"] == "alive")).then_some(all)
    };
    until("both are alive", || alive(&admin));
    let unused = ok(here.path(), &["create-token", "--role", "worker", "--join-string", "--api-url", &url]);
    let (good, file, why) = with(here.path(), PASSPHRASE, &["backup", "create"]);
    assert!(good, "{why}");
    fs::copy(here.join(file.trim()), fresh.join("cluster.umbackup")).unwrap();
    let authority = fs::read(here.join("data/pki/cluster-ca.crt")).unwrap();
    let key = fs::read(node.join("data/identities/node-b/node.key")).unwrap_or_default();
    let agents_log = agent.logged().len();
    first.kill();
    fs::remove_dir_all(here.join("data")).unwrap();

    let (good, said, why) = with(fresh.path(), PASSPHRASE, &["backup", "restore", "cluster.umbackup"]);
    assert!(good && said.contains("Nodes reconnect by themselves"), "{why}");
    let args = up(&port);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (second, client) = Running::serve(fresh.path(), &args);
    let restarted_s = crate::node::epoch();
    assert_eq!(
        client
            .send("GET", "/nodes", &[("Authorization", &format!("Bearer {}", admin.token.as_ref().unwrap()))], b"")
            .status,
        401
    );
    let admin = client.signed_in("admin", "uptime");
    until_within("every lease is renewed by its agent", Duration::from_secs(60), || {
        let all = alive(&admin)?;
        let renewed = |l: &Value| {
            let at = l["heartbeat_at"].as_str()?.to_string();
            (uptimemesh_epoch(&at) >= restarted_s).then_some(())
        };
        all.iter().all(|l| renewed(l).is_some()).then_some(())
    });
    assert_eq!(fs::read(fresh.join("data/pki/cluster-ca.crt")).unwrap(), authority);
    assert_eq!(fs::read(node.join("data/identities/node-b/node.key")).unwrap_or_default(), key);
    assert!(
        !agent.logged()[agents_log..].contains("not_enrolled") && !second.logged().contains("agent.rejoin"),
        "{}",
        agent.logged()
    );
    let restored = admin.events("backups");
    assert!(restored.iter().any(|e| e["name"] == "backup.restored"), "{restored:?}");
    let (status, said) = fails(node.path(), &["join", unused.trim(), "--node-id", "node-c"]);
    assert!(status == 1, "a join string from before is good for nothing: {said}");
}

/// Seconds since 1970 of a moment in UTC.
fn uptimemesh_epoch(text: &str) -> i64 {
    let output = Command::new("date").args(["-u", "-d", text, "+%s"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Starts the program and kills it after so long.
fn killed(dir: &Path, args: &[&str], after: Duration) {
    let mut child = command(dir, args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The moment of the kill is what is tested; nothing is waited for.
    std::thread::sleep(after);
    let _ = child.kill();
    child.wait().unwrap();
}

/// A cluster that says its name in its database, with keys and an authority of its own.
pub fn cluster(name: &str) -> Dir {
    let dir = Dir::new();
    let (mut server, client) = Running::serve(dir.path(), SERVE);
    let admin = client.signed_in("admin", "uptime");
    assert_eq!(admin.put("/cluster-settings/cluster_name", &json!({"value": name})).status, 200);
    assert_eq!(admin.post("/cluster/bootstrap", &json!({})).status, 200);
    assert_eq!(server.terminate(), 0);
    dir
}

#[test]
fn what_root_makes_belongs_to_whom_the_server_runs_as() {
    const NOBODY: u32 = 65534;
    let dir = Dir::new();
    ok(dir.path(), &["migrate"]);
    if std::os::unix::fs::chown(dir.join("data"), Some(NOBODY), Some(NOBODY)).is_err() {
        eprintln!("left out: giving files away needs root");
        return;
    }
    give(&dir.join("data"), NOBODY);
    let file = plain(dir.path());
    ok(dir.path(), &["backup", "restore", file.to_str().unwrap(), "--replace"]);
    for name in ["backups", "backups/.lock", "app.db", "uptimemesh.lock", "restored.json"] {
        assert_eq!(fs::metadata(dir.join("data").join(name)).unwrap().uid(), NOBODY, "{name}");
    }
    assert_eq!(fs::metadata(&file).unwrap().uid(), NOBODY);
    // Also in a directory that somebody has made for the server.
    fs::create_dir(dir.join("other")).unwrap();
    std::os::unix::fs::chown(dir.join("other"), Some(NOBODY), Some(NOBODY)).unwrap();
    ok(dir.path(), &["backup", "create", "--no-encryption", "--backup-dir", "other"]);
    assert_eq!(fs::metadata(dir.join("other/.lock")).unwrap().uid(), NOBODY);
}

/// Nobody backs up the half of one cluster and the half of another, and whom the server runs as can finish what root
/// began.
#[test]
fn a_restore_that_stopped_half_way_is_finished_by_the_server_and_not_backed_up() {
    const NOBODY: u32 = 65534;
    if !can_mount() {
        return;
    }
    let dir = cluster("one");
    let file = plain(dir.path());
    give(&dir.join("data"), NOBODY);
    // What is mounted cannot be renamed.
    let args = ["backup", "restore", file.to_str().unwrap(), "--replace"];
    let output =
        in_namespace(dir.path(), "mount -t tmpfs -o uid=65534,mode=700 tmpfs data/keys\n", &args).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::metadata(dir.join("data/restore.json")).unwrap().uid(), NOBODY);
    let said = fails(dir.path(), &["backup", "create", "--no-encryption"]);
    assert!(said.1.contains("was interrupted"), "{said:?}");
    ok(dir.path(), &["migrate"]);
    assert!(!dir.join("data/restore.json").exists() && dir.join("data/keys/cluster-signing.key").exists());
    plain(dir.path());
}

#[test]
fn files_of_others_in_the_directory_of_backups_stay_and_what_crashes_left_goes() {
    let dir = Dir::new();
    ok(dir.path(), &["migrate"]);
    let place = dir.join("data/backups");
    let id = "manual-20260101T000000Z-00c0ffee";
    let others = ["notes.new", "photos.newest/one", "app.db.new", "manual-x.umbackup.new", "old.umbackup.check/one"];
    let left = [
        format!("{id}.db.new"),
        format!("{id}.db.new-journal"),
        format!("{id}.umbackup.new"),
        format!("{id}.umbackup.check/pki/key"),
    ];
    for name in others.iter().copied().chain(left.iter().map(String::as_str)) {
        fs::create_dir_all(place.join(name).parent().unwrap()).unwrap();
        fs::write(place.join(name), "x").unwrap();
    }
    plain(dir.path());
    assert!(others.iter().all(|name| place.join(name).exists()), "what is of others stays");
    assert!(left.iter().all(|name| !place.join(name.split('/').next().unwrap()).exists()), "what a crash left goes");
    // What is being checked is left alone.
    let (file, check) = (place.join(format!("{id}.umbackup")), place.join(format!("{id}.umbackup.check")));
    fs::write(&file, "x").unwrap();
    fs::create_dir(&check).unwrap();
    let held = fs::File::open(&file).unwrap();
    held.lock().unwrap();
    plain(dir.path());
    assert!(check.exists());
    drop(held);
    plain(dir.path());
    assert!(!check.exists());
}

#[test]
fn a_clock_that_was_wrong_and_a_strange_passphrase_stop_neither_backups_nor_drills() {
    let served = Served::new();
    let admin = served.admin();
    let dir = &served.config.backup_dir;
    let made = admin.post("/backups", &json!({})).json();
    let future = dir.join("scheduled-29990101T000000Z-00c0ffee.umbackup");
    fs::copy(made["path"].as_str().unwrap(), &future).unwrap();
    fs::write(dir.join("drill.json"), r#"{"at": "2999-01-01T00:00:00Z", "backup_id": "x", "problem": null}"#).unwrap();
    let (sealed, _, said) = with(
        dir.parent().unwrap(),
        PASSPHRASE,
        &["backup", "create", "--data-dir", dir.parent().unwrap().to_str().unwrap()],
    );
    assert!(sealed, "{said}");
    let set = |key: &str, value: &str| {
        assert_eq!(admin.put(&format!("/cluster-settings/{key}"), &json!({"value": value})).status, 200)
    };
    set("backup_keep", "1");
    set("backup_interval_seconds", "1");
    until("the one of the wrong clock makes room", || (!future.exists()).then_some(()));
    let kinds = || -> Vec<String> {
        admin
            .get("/backups")
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|b| b["kind"].as_str().unwrap().to_string())
            .collect()
    };
    until("the server's own is there", || kinds().contains(&"scheduled".to_string()).then_some(()));
    set("backup_interval_seconds", "0");
    // Newer than the server's own, and not for its eyes.
    assert!(
        with(
            dir.parent().unwrap(),
            PASSPHRASE,
            &["backup", "create", "--data-dir", dir.parent().unwrap().to_str().unwrap()]
        )
        .0
    );
    set("backup_drill_interval_seconds", "1");
    until("a drill is passed", || admin.events("backups").into_iter().find(|e| e["name"] == "backup.drill_passed"));
    assert!(admin.events("backups").iter().all(|e| e["name"] != "backup.drill_failed"));
}

#[test]
fn kills_at_random_moments_of_a_backup_leave_whole_backups_only() {
    let dir = cluster("one");
    let began = std::time::Instant::now();
    plain(dir.path());
    let whole = began.elapsed().as_micros() as u64;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..kills(15) {
        killed(dir.path(), &["backup", "create", "--no-encryption"], Duration::from_micros(random.below(whole)));
        for entry in fs::read_dir(dir.join("data/backups")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "umbackup") {
                ok(dir.path(), &["backup", "verify", path.to_str().unwrap()]);
            }
        }
    }
    plain(dir.path());
    let left: Vec<String> = fs::read_dir(dir.join("data/backups"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(left.iter().all(|name| name.ends_with(".umbackup") || name == ".lock"), "{left:?}");
    assert!(ok(dir.path(), &["migrate"]).contains("0 migrations were applied"));
}

#[test]
fn kills_at_random_moments_of_a_restore_leave_the_old_cluster_or_the_new() {
    let clusters = [cluster("one"), cluster("two")];
    let files = clusters.each_ref().map(|dir| plain(dir.path()));
    let keys = clusters.each_ref().map(|dir| {
        ["pki/cluster-ca.key", "pki/cluster-ca.crt", "keys/cluster-signing.key"]
            .map(|f| fs::read(dir.join("data").join(f)).unwrap())
    });
    let dir = Dir::new();
    ok(dir.path(), &["backup", "restore", files[0].to_str().unwrap()]);
    let began = std::time::Instant::now();
    ok(dir.path(), &["backup", "restore", files[1].to_str().unwrap(), "--replace"]);
    let whole = began.elapsed().as_micros() as u64;
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut ended = [0; 2];
    let mut now = 1;
    for _ in 0..kills(15) {
        let next = 1 - now;
        killed(
            dir.path(),
            &["backup", "restore", files[next].to_str().unwrap(), "--replace"],
            Duration::from_micros(random.below(whole * 2)),
        );
        ok(dir.path(), &["migrate"]);
        let found = database(&dir.join("data/app.db"));
        let sound: String = found.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
        assert_eq!(sound, "ok");
        let name = column(&found, "SELECT value FROM cluster_settings WHERE key = 'cluster_name'");
        let which = usize::from(name.contains("two"));
        assert!(which == 1 || name.contains("one"));
        let has = ["pki/cluster-ca.key", "pki/cluster-ca.crt", "keys/cluster-signing.key"]
            .map(|f| fs::read(dir.join("data").join(f)).unwrap());
        assert!(has == keys[which], "database, authority and keys are of one cluster");
        ended[usize::from(which == next)] += 1;
        now = which;
    }
    eprintln!("{} ended with the old cluster, {} with the new", ended[0], ended[1]);
}

#[test]
fn a_full_disk_leaves_no_half_backup() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    ok(dir.path(), &["migrate"]);
    let place = dir.join("small");
    fs::create_dir(&place).unwrap();
    let args = ["backup", "create", "--no-encryption", "--backup-dir", place.to_str().unwrap()];
    // With df the room is measured before; without it the disk says so itself.
    for (path, part) in [("", "Not enough space for a backup"), ("PATH=/nonexistent\nexport PATH\n", "isk")] {
        let script = format!("mount -t tmpfs -o size=20k tmpfs {}\n{path}", place.display());
        let listing = "\"$@\" || code=$?\nset -- $(echo small/* small/.[a-z]*)\necho \"left: $*\"\nexit ${code:-0}\n";
        let output = in_namespace(dir.path(), &format!("{script}{listing}"), &args).output().unwrap();
        let (said, out) = (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
        assert!(output.status.code() == Some(1) && said.contains(part), "{said}");
        assert_eq!(out.trim(), "left: small/* small/.lock", "{said}");
    }
}

/// The migrations as they are in the repository.
fn migrations() -> Vec<(i64, String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/migrations");
    let mut names: Vec<String> =
        fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let read = |name: String| {
        let text = fs::read_to_string(dir.join(&name)).unwrap();
        let (number, rest) = name.split_once('_').unwrap();
        (number.parse().unwrap(), rest.trim_end_matches(".sql").to_string(), text)
    };
    names.into_iter().map(read).collect()
}

/// A database as the program of that time left it, with rows in it.
pub fn of_version(path: &Path, version: i64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let database = database(path);
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE schema_migrations (number INTEGER PRIMARY KEY, \
        name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT",
        )
        .unwrap();
    for (number, name, text) in migrations().into_iter().filter(|m| m.0 <= version) {
        database.execute_batch(&text).unwrap();
        let sum = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let sum: String = sum.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        database.execute("INSERT INTO schema_migrations VALUES (?1, ?2, ?3, 0)", (number, name, sum)).unwrap();
    }
    database
        .execute_batch(
            "INSERT INTO nodes (id, name, roles, labels, status, created_at, updated_at) VALUES ('old', 'old', \
                '[\"worker\"]', '{}', '{}', 1, 1);
             INSERT INTO cluster_settings (key, value, created_at, updated_at) VALUES ('motd', 'kept', 1, 1)",
        )
        .unwrap();
}

#[test]
fn what_does_not_fit_is_neither_restored_nor_checked() {
    if !can_mount() {
        return;
    }
    let dir = cluster("one");
    let file = plain(dir.path());
    let place = dir.join("small");
    fs::create_dir(&place).unwrap();
    let script =
        format!("mount -t tmpfs -o size=8m tmpfs {0}\ncp {1} {0}/x.umbackup\n", place.display(), file.display());
    let listing = "\"$@\" || code=$?\necho left: $(ls small)\nexit ${code:-0}\n";
    let restore = ["backup", "restore", file.to_str().unwrap(), "--data-dir", "small"];
    for (args, what) in [
        (&restore[..], "to restore a backup"),
        (&["backup", "verify", "small/x.umbackup", "--data-dir", "small"][..], "to check a backup"),
    ] {
        let output = in_namespace(dir.path(), &format!("{script}{listing}"), args).output().unwrap();
        let (said, out) = (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
        assert!(output.status.code() == Some(1) && said.contains(&format!("Not enough space {what}")), "{said}");
        assert!(!out.contains("restore.new") && !out.contains("staging") && out.contains("x.umbackup"), "{out}");
    }
}

#[test]
fn a_password_is_not_reset_by_an_upgrade_behind_a_servers_back() {
    let dir = Dir::new();
    let path = dir.join("data/app.db");
    let numbers: Vec<i64> = migrations().into_iter().map(|m| m.0).collect();
    let [.., before, newest] = numbers[..] else { panic!("two migrations") };
    of_version(&path, before);
    let version = || column(&database(&path), "SELECT CAST(max(number) AS TEXT) FROM schema_migrations");
    let server = fs::File::create(dir.join("data/uptimemesh.lock")).unwrap();
    server.lock().unwrap();
    let (status, said) = fails(dir.path(), &["admin", "reset-password"]);
    assert!(status == 1 && said.contains("Stop it first"), "{said}");
    assert!(version() == BTreeSet::from([before.to_string()]) && !dir.join("data/backups").exists());
    drop(server);
    ok(dir.path(), &["admin", "reset-password"]);
    assert_eq!(version(), BTreeSet::from([newest.to_string()]));
    let list: Value = serde_json::from_str(&ok(dir.path(), &["backup", "list", "--json"])).unwrap();
    assert!(list.as_array().unwrap().len() == 1 && list[0]["kind"] == "pre-upgrade", "{list}");
}

#[test]
fn every_earlier_database_starts_after_a_backup_that_leads_back() {
    let newest = migrations().last().unwrap().0;
    for version in migrations().into_iter().map(|m| m.0).filter(|number| *number < newest) {
        let dir = Dir::new();
        let path = dir.join("data/app.db");
        of_version(&path, version);
        let (mut server, client) = Running::serve(dir.path(), SERVE);
        let admin = client.signed_in("admin", "uptime");
        assert_eq!(admin.get("/nodes/old").json()["id"], "old", "from version {version}");
        assert_eq!(admin.get("/cluster-settings/motd").json()["value"], "kept");
        assert_eq!(admin.post("/nodes", &json!({"id": "new", "name": "new"})).status, 201);
        assert_eq!(server.terminate(), 0);
        let list: Value = serde_json::from_str(&ok(dir.path(), &["backup", "list", "--json"])).unwrap();
        assert!(list.as_array().unwrap().len() == 1 && list[0]["kind"] == "pre-upgrade", "{list}");

        // As a program before this one sees it: a database that is newer than it knows.
        database(&path).execute("INSERT INTO schema_migrations VALUES (999, 'from_the_future', 'x', 0)", []).unwrap();
        let (status, said) = fails(dir.path(), &["serve", "--server-port", "0"]);
        let way = said.trim().rsplit_once("upgrade: uptimemesh ").unwrap_or_else(|| panic!("{said}")).1;
        assert_eq!(status, 1);
        ok(dir.path(), &way.split(' ').collect::<Vec<_>>());
        let back = column(&database(&path), "SELECT CAST(max(number) AS TEXT) FROM schema_migrations");
        assert_eq!(back, BTreeSet::from([version.to_string()]));
        assert_eq!(column(&database(&path), "SELECT id FROM nodes"), BTreeSet::from(["old".to_string()]));
    }
}

#[test]
fn without_room_for_the_backup_an_upgrade_does_not_begin() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    of_version(&dir.join("old.db"), 2);
    let script = "mkdir -p data\nmount -t tmpfs -o size=6m tmpfs data\ncp old.db data/app.db\nbefore=$(sha256sum < \
        data/app.db)\n";
    let refused = format!(
        "{script}\"$@\" || code=$?\ntest \"$before\" = \"$(sha256sum < data/app.db)\" && echo untouched\nexit \
            ${{code:-0}}\n"
    );
    let output = in_namespace(dir.path(), &refused, &["migrate"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("Nothing was changed")
            && said.contains("BACKUP_BEFORE_UPGRADE=off")
            && said.contains("Not enough space"),
        "{said}"
    );
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b"untouched\n"[..]));
    let output = in_namespace(dir.path(), script, &["migrate", "--backup-before-upgrade", "off"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_server_makes_keeps_and_tries_backups_by_itself() {
    let served = Served::new();
    let admin = served.admin();
    let set = |key: &str, value: &str| {
        assert_eq!(admin.put(&format!("/cluster-settings/{key}"), &json!({"value": value})).status, 200)
    };
    let event = |name: &str| admin.events("backups").into_iter().find(|e| e["name"] == name);
    let ids = || -> Vec<String> {
        admin.get("/backups").json().as_array().unwrap().iter().map(|b| b["id"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(admin.put("/cluster-settings/backup_keep", &json!({"value": "0"})).status, 422);
    set("backup_keep", "2");
    set("backup_drill_interval_seconds", "1");
    set("backup_interval_seconds", "1");
    let first = until("a backup is made", || ids().pop());
    until("the oldest goes, two stay", || {
        let now = ids();
        (now.len() == 2 && !now.contains(&first)).then_some(())
    });
    until("a drill is passed", || event("backup.drill_passed"));
    let ok_is = |value: &str| {
        let metrics = admin.get("/metrics").text();
        assert!(
            metrics.contains("uptimemesh_backup_age_seconds ")
                && metrics.contains("uptimemesh_backup_drill_age_seconds "),
            "{metrics}"
        );
        metrics.lines().any(|l| l == format!("uptimemesh_backup_ok {value}")).then_some(())
    };
    until("all is well", || ok_is("1"));

    // What is damaged is found by the next drill, which has no newer backup to take.
    set("backup_interval_seconds", "0");
    let newest = ids().remove(0);
    let path = served.config.backup_dir.join(format!("{newest}.umbackup"));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let failed = until("the drill fails", || event("backup.drill_failed"));
    assert!(failed["fields"]["error"].as_str().unwrap().contains("damaged"), "{failed}");
    until("it is told", || ok_is("0"));
    assert!(admin.get("/ui").text().contains("restore drill"), "the overview says so");
    assert_eq!(admin.delete(&format!("/backups/{newest}")).status, 204);
    until("the next drill is passed", || ok_is("1"));
    let held = fs::File::open(served.config.backup_dir.join(".lock")).unwrap();
    held.lock().unwrap();
    set("backup_interval_seconds", "1");
    until("the failure is an event", || event("backup.failed"));
    until("and told", || ok_is("0"));
    drop(held);
    until("and over with the next backup", || ok_is("1"));
}

#[test]
fn backups_are_made_and_fetched_over_the_api() {
    let bare = Served::new();
    let made = bare.admin().post("/backups", &json!({})).json();
    assert_eq!(made["encrypted"], false);
    let refused = bare.admin().get(&format!("/backups/{}/download", made["id"].as_str().unwrap()));
    assert!(refused.status == 403 && refused.detail().contains("BACKUP_PASSPHRASE_FILE"), "{}", refused.text());

    let served = sealed();
    let admin = served.admin();
    let made = admin.post("/backups", &json!({}));
    assert_eq!(made.status, 201, "{}", made.text());
    let backup = made.json();
    assert_eq!((&backup["kind"], &backup["encrypted"]), (&json!("manual"), &json!(true)));
    let path = format!("/backups/{}", backup["id"].as_str().unwrap());
    assert_eq!(admin.get(&path).json(), backup);
    assert_eq!(admin.get("/backups").json(), json!([backup]));
    let head = admin.send("HEAD", &format!("{path}/download"), &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, Some(backup["bytes"].to_string().as_str())));
    assert!(!admin.events("backups").iter().any(|e| e["name"] == "backup.download"), "nobody has got it");
    let download = admin.get(&format!("{path}/download"));
    assert_eq!(download.body, fs::read(backup["path"].as_str().unwrap()).unwrap());
    let operator = served.user("olga", "operator");
    for (method, path) in [("POST", "/backups"), ("GET", &format!("{path}/download")), ("DELETE", &path)] {
        assert_eq!(operator.send(method, path, &[], b"").status, 403, "{method} {path}");
    }
    assert_eq!(
        (admin.delete(&path).status, admin.get(&path).status, admin.get("/backups/..%2fx").status),
        (204, 404, 422)
    );
    let names: BTreeSet<String> =
        admin.events("backups").iter().map(|e| e["name"].as_str().unwrap().to_string()).collect();
    assert_eq!(names, ["backup.create", "backup.delete", "backup.download"].map(String::from).into());
}
