//! What lies on the disk is its owner's alone, whatever the umask of the caller is, and nothing secret lies there in plain text beside it.

use crate::program::{Running, command, ok};
use crate::support::{Dir, Served, until};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program under a umask that hides nothing.
fn open_to_all(dir: &Path, args: &[&str]) -> Command {
    let program = command(dir, args);
    let mut outer = Command::new("sh");
    outer.args(["-c", "umask 000; exec \"$@\"", "sh"]).arg(program.get_program()).args(program.get_args()).current_dir(dir);
    outer
}

/// Every file, directory and link below this one.
fn below(dir: &Path) -> Vec<PathBuf> {
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
    let args = ["up", "--node-id", "n1", "--server-host", "127.0.0.1", "--server-port", "0", "--log-file", "logs/below/app.log"];
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
    let public = |path: &Path| path.extension().is_some_and(|e| e == "crt") || path.ends_with("api.urls") || path.ends_with("status.json");
    for path in below(&data).into_iter().chain(below(&dir.join("logs"))) {
        match (public(&path), path.is_dir()) {
            (true, _) => assert_eq!(mode(&path), 0o644, "{}", path.display()),
            (false, true) => assert_eq!(mode(&path), 0o700, "{}", path.display()),
            (false, false) => assert_eq!(mode(&path), 0o600, "{}", path.display()),
        }
    }
    assert!(data.join("app.db").exists() && data.join("app.db-wal").exists() && data.join("pki/cluster-ca.crt").exists());
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
