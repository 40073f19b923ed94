//! What lies on the disk is its owner's alone, whatever the umask of the caller is, and nothing secret lies there in
//! plain text beside it.

use crate::backups::cluster;
use crate::program::{Running, command, ok};
use crate::support::{Dir, Served, until};
use crate::trouble::{can_mount, in_namespace};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The program under a umask that hides nothing.
fn open_to_all(dir: &Path, args: &[&str]) -> Command {
    let program = command(dir, args);
    let mut outer = Command::new("sh");
    outer
        .args(["-c", "umask 000; exec \"$@\"", "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(dir);
    outer
}

/// Every file, directory and link below this one.
pub fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()) {
        if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_the_program_makes_is_its_owners_alone_whatever_the_umask_is() {
    let dir = Dir::new();
    let data = dir.join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
    let args = [
        "up",
        "--node-id",
        "n1",
        "--server-host",
        "127.0.0.1",
        "--server-port",
        "0",
        "--log-file",
        "logs/below/app.log",
    ];
    let running = Running::of(open_to_all(dir.path(), &args), dir.path(), "up");
    until("it is up", || running.said().contains("is up").then_some(()));
    let admin = running.client().signed_in("admin", "uptime");
    assert_eq!(admin.post("/backups", &json!({})).status, 201);
    until("the bundle is made", || {
        let made = admin.post("/support-bundles", &json!({}));
        assert_eq!(made.status, 201, "{}", made.text());
        data.join("support-bundles").exists().then_some(())
    });
    // What everybody may read holds no secret: certificates, addresses, and what the agent tells of its run.
    let public = |path: &Path| {
        path.extension().is_some_and(|e| e == "crt") || path.ends_with("api.urls") || path.ends_with("status.json")
    };
    for path in below(&data).into_iter().chain(below(&dir.join("logs"))) {
        match (public(&path), path.is_dir()) {
            (true, _) => assert_eq!(mode(&path), 0o644, "{}", path.display()),
            (false, true) => assert_eq!(mode(&path), 0o700, "{}", path.display()),
            (false, false) => assert_eq!(mode(&path), 0o600, "{}", path.display()),
        }
    }
    assert!(
        data.join("app.db").exists() && data.join("app.db-wal").exists() && data.join("pki/cluster-ca.crt").exists()
    );
    let output = open_to_all(dir.path(), &["release", "keygen", "--out", "release.key"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((mode(&dir.join("release.key")), mode(&dir.join("release.key.pub"))), (0o600, 0o644));
}

#[test]
fn the_doctor_tells_of_an_older_directory_that_others_can_read() {
    let dir = Dir::new();
    ok(dir.path(), &["migrate"]);
    let examine = || -> Value {
        let output = command(dir.path(), &["doctor", "--json", "--server-port", "0"]).output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        said["findings"].as_array().unwrap().iter().find(|f| f["check"] == "files.keys").unwrap().clone()
    };
    assert_eq!(examine()["level"], "ok");
    for (name, open, closed) in [("data", 0o755, 0o700), ("data/app.db", 0o644, 0o600)] {
        fs::set_permissions(dir.join(name), Permissions::from_mode(open)).unwrap();
        let said = examine();
        assert_eq!(said["level"], "fail", "{said}");
        let todo = said["do"].as_str().unwrap();
        assert!(todo.starts_with("chmod go-rwx ") && todo.contains(name), "{todo}");
        fs::set_permissions(dir.join(name), Permissions::from_mode(closed)).unwrap();
    }
}

#[test]
fn a_backup_that_is_refused_because_another_is_made_is_no_failure() {
    let served = Served::new();
    let admin = served.admin();
    assert_eq!(admin.post("/backups", &json!({})).status, 201);
    let held = fs::File::open(served.config.backup_dir.join(".lock")).unwrap();
    held.lock().unwrap();
    let refused = admin.post("/backups", &json!({}));
    assert!(refused.status == 409 && refused.detail().contains("try again"), "{}", refused.text());
    let page = admin.send("POST", "/ui/backups/create", &[], b"");
    assert!(page.status >= 400, "{}", page.status);
    drop(held);
    assert_eq!(admin.post("/backups", &json!({})).status, 201);
    let events = admin.events("backups");
    assert!(events.iter().all(|e| e["name"] != "backup.failed"), "{events:?}");
}

/// Names in the directory of backups that are of no backup, and files there that hold something in plain text.
fn plain_text(backups: &Path) -> Vec<PathBuf> {
    const PLAIN: [&[u8]; 2] = [b"SQLite format 3", b"PRIVATE KEY"];
    let is_known = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy();
        path.parent() == Some(backups)
            && (name.ends_with(".umbackup")
                || name.ends_with(".umbackup.new")
                || name.starts_with("drill.json")
                || name == ".lock")
    };
    // What is gone before it is read was there under a name, which is looked at too.
    let holds = |path: &Path| {
        fs::read(path).is_ok_and(|bytes| PLAIN.iter().any(|plain| bytes.windows(plain.len()).any(|w| w == *plain)))
    };
    below(backups).into_iter().filter(|path| !is_known(path) || holds(path)).collect()
}

fn staged(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir.join("data"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.to_string_lossy().contains("staging-"))
        .collect()
}

const SEALED: &[&str] = &["--backup-dir", "share", "--backup-passphrase-file", "passphrase"];

/// A cluster with some megabytes in its database, whose backups are encrypted and lie on a share.
fn sealed() -> Dir {
    let dir = cluster("one");
    fs::write(dir.join("passphrase"), "correct horse battery\n").unwrap();
    let database = rusqlite::Connection::open(dir.join("data/app.db")).unwrap();
    database
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) INSERT INTO \
        cluster_settings (key, value, created_at, updated_at) SELECT 'k' || i, hex(randomblob(20000)), 1, 1 FROM n",
        )
        .unwrap();
    dir
}

#[test]
fn what_is_encrypted_is_never_beside_itself_in_plain_text() {
    let dir = sealed();
    let share = dir.join("share");
    let file = dir.join(ok(dir.path(), &[&["backup", "create"], SEALED].concat()).trim());
    let verbs: [&[&str]; 2] = [&["backup", "create"], &["backup", "verify", file.to_str().unwrap()]];
    for verb in verbs {
        let args = [verb, SEALED].concat();
        let began = Instant::now();
        ok(dir.path(), &args);
        let whole = began.elapsed();
        for step in 0..12 {
            let mut child = command(dir.path(), &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            // The moment of the kill is what is tested; nothing is waited for.
            std::thread::sleep(whole * step / 12);
            let _ = child.kill();
            child.wait().unwrap();
            assert_eq!(plain_text(&share), [""; 0].map(PathBuf::from), "{verb:?} killed at {step} of 12");
            let made =
                below(&share).into_iter().filter(|path| path.is_file() && *path != file && !path.ends_with(".lock"));
            made.for_each(|path| fs::remove_file(path).unwrap());
        }
    }
    // What the crashes left is in the data directory, and goes with the next start or the next backup.
    fs::create_dir_all(dir.join("data/staging-0123456789abcdef/pki")).unwrap();
    fs::create_dir(dir.join("data/staging-of-mine")).unwrap();
    ok(dir.path(), &[&["backup", "create"], SEALED].concat());
    assert_eq!(staged(dir.path()), [dir.join("data/staging-of-mine")]);
    fs::create_dir_all(dir.join("data/staging-fedcba9876543210")).unwrap();
    let (mut server, _) =
        Running::serve(dir.path(), &[&["serve", "--server-port", "0", "--log-file", ""], SEALED].concat());
    assert_eq!(staged(dir.path()), [dir.join("data/staging-of-mine")]);
    assert_eq!(server.terminate(), 0);
}

#[test]
fn a_drill_leaves_nothing_in_plain_text_in_the_directory_of_backups() {
    let dir = sealed();
    let (_server, client) =
        Running::serve(dir.path(), &[&["serve", "--server-port", "0", "--log-file", ""], SEALED].concat());
    let admin = client.signed_in("admin", "uptime");
    assert_eq!(admin.post("/backups", &json!({})).status, 201);
    assert_eq!(admin.put("/cluster-settings/backup_drill_interval_seconds", &json!({"value": "1"})).status, 200);
    let passed = || admin.events("backups").iter().filter(|e| e["name"] == "backup.drill_passed").count();
    let mut looked_at = Instant::now();
    until("three drills are passed", || {
        // Looked at as often as can be, asked now and then.
        while looked_at.elapsed() < Duration::from_millis(200) {
            assert_eq!(plain_text(&dir.join("share")), [""; 0].map(PathBuf::from));
        }
        looked_at = Instant::now();
        (passed() >= 3).then_some(())
    });
    assert_eq!(staged(dir.path()), [""; 0].map(PathBuf::from));
}

#[test]
fn a_directory_of_backups_may_be_on_another_disk_and_the_data_nowhere() {
    let dir = sealed();
    if can_mount() {
        let script = "mkdir share\nmount -t tmpfs tmpfs share\n";
        let listing = "\"$@\"\nls share\n";
        let output = in_namespace(dir.path(), &format!("{script}{listing}"), &[&["backup", "create"], SEALED].concat())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.lines().filter(|l| l.ends_with(".umbackup")).count() >= 2, "{said}");
        assert!(!said.lines().any(|l| l.ends_with(".new")), "{said}");
    }
    // Where there is no data directory, a check makes one and takes it away again.
    let (file, elsewhere) = (dir.join(ok(dir.path(), &[&["backup", "create"], SEALED].concat()).trim()), Dir::new());
    let passphrase = dir.join("passphrase");
    ok(
        elsewhere.path(),
        &["backup", "verify", file.to_str().unwrap(), "--backup-passphrase-file", passphrase.to_str().unwrap()],
    );
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}
