//! Root at work in directories of another user, who plants links and pipes there and renames while root works. Root
//! becomes that user first, so nothing of root's is read, written or waited for on behalf of who planted it.

use crate::backups::{cluster, plain};
use crate::private::below;
use crate::program::{Running, command, fails, ok, run};
use crate::support::{Dir, until};
use crate::trouble::{can_mount, in_namespace};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A user that no machine has, as services do.
const SERVICE: u32 = 12345;
const CANARY: &str = "what-only-root-may-read";
const PASSPHRASE: &str = "correct horse battery";

/// Every command that works on a data directory, but for those that go on; `FILE` stands for a backup.
const COMMANDS: &[&[&str]] = &[
    &["backup", "create", "--no-encryption"],
    &["backup", "verify", "FILE"],
    &["backup", "list"],
    &["backup", "restore", "FILE", "--replace"],
    &["backup", "undo-upgrade"],
    &["migrate"],
    &["admin", "reset-password"],
    &["doctor", "--server-port", "0"],
    &["heartbeat", "--node-id", "n1", "--api-url", "http://127.0.0.1:1"],
];

fn is_root() -> bool {
    let is = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is {
        eprintln!("left out: becoming another user needs root");
    }
    is
}

/// Gives a directory, with all that is in it, to a user.
pub fn give(dir: &Path, to: u32) {
    for path in below(dir).iter().map(PathBuf::as_path).chain([dir]) {
        lchown(path, Some(to), Some(to)).unwrap();
    }
}

/// A cluster whose data belong to the service's user, and beside it directories that only root may enter: one with what
/// is to stay there, one with a backup of that cluster.
struct Attacked {
    dir: Dir,
}

fn runs(program: &str, args: &[&str], paths: &[&Path]) {
    assert!(Command::new(program).args(args).args(paths).status().unwrap().success(), "{program} {paths:?}");
}

impl Attacked {
    fn new() -> Attacked {
        let dir = cluster("one");
        let data = dir.join("data");
        fs::create_dir_all(data.join("identities/n1")).unwrap();
        for name in ["node.key", "node.crt", "lease.token"] {
            fs::write(data.join("identities/n1").join(name), "x").unwrap();
        }
        let secret = dir.join("secret");
        fs::create_dir(&secret).unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o700)).unwrap();
        fs::write(secret.join("shadow"), CANARY).unwrap();
        fs::write(secret.join("auth-secret.key"), CANARY.repeat(4)).unwrap();
        fs::create_dir(dir.join("kept")).unwrap();
        fs::set_permissions(dir.join("kept"), Permissions::from_mode(0o700)).unwrap();
        fs::copy(plain(dir.path()), dir.join("kept/one.umbackup")).unwrap();
        give(&data, SERVICE);
        runs("cp", &["-a"], &[&data, &dir.join("kept/data")]);
        Attacked { dir }
    }

    /// Puts the data back as they were.
    fn restored(&self) {
        fs::remove_dir_all(self.dir.join("data")).unwrap();
        runs("cp", &["-a"], &[&self.dir.join("kept/data"), &self.dir.join("data")]);
    }

    fn data(&self, name: &str) -> PathBuf {
        self.dir.join("data").join(name)
    }

    fn secret(&self) -> PathBuf {
        self.dir.join("secret")
    }

    /// Puts a link to what is root's alone in the place of something, which stays under another name.
    fn plant(&self, name: &str, to: &Path) {
        let (path, aside) = (self.data(name), self.data(&format!("{name}.aside")));
        if path.symlink_metadata().is_ok() {
            fs::rename(&path, aside).unwrap();
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, &path).unwrap();
        lchown(&path, Some(SERVICE), Some(SERVICE)).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let file = self.dir.join("kept/one.umbackup");
        let args: Vec<&str> = args.iter().map(|a| if *a == "FILE" { file.to_str().unwrap() } else { a }).collect();
        command(self.dir.path(), &args)
    }

    /// Runs it to its end, whichever that is, within a time in which nothing can have waited for a pipe.
    fn ends(&self, args: &[&str]) -> i32 {
        let mut running = Running::of(self.command(args), self.dir.path(), "attacked");
        running.exit_status()
    }

    /// What is root's is as it was, and nobody else has got it.
    fn nothing_happened(&self, what: &str) {
        let mut names: Vec<_> =
            fs::read_dir(self.secret()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["auth-secret.key", "shadow"], "{what}");
        assert_eq!(fs::read_to_string(self.secret().join("shadow")).unwrap(), CANARY, "{what}");
        for path in below(&self.secret()).into_iter().chain([self.secret()]) {
            assert_eq!(fs::metadata(&path).unwrap().uid(), 0, "{what}: {} was given away", path.display());
        }
        for path in below(&self.dir.join("data")) {
            let found = path.symlink_metadata().unwrap();
            assert_eq!(found.uid(), SERVICE, "{what}: {} is not the owner's", path.display());
            assert!(!found.is_file() || !holds_canary(&path), "{what}: {} holds it", path.display());
        }
        // What is in a backup is not seen from outside.
        let opened = Dir::new();
        for entry in fs::read_dir(self.data("backups")).into_iter().flatten().flatten() {
            let (path, into) = (entry.path(), opened.join(entry.file_name().to_str().unwrap()));
            if path.is_file() && path.extension().is_some_and(|end| end == "umbackup") && !self.is_kept(&path) {
                ok(opened.path(), &["backup", "restore", path.to_str().unwrap(), "--data-dir", into.to_str().unwrap()]);
                let holding: Vec<PathBuf> =
                    below(&into).into_iter().filter(|p| p.is_file() && holds_canary(p)).collect();
                assert!(holding.is_empty(), "{what}: {holding:?}");
            }
        }
    }

    /// Whether this backup was there before anything was planted.
    fn is_kept(&self, path: &Path) -> bool {
        self.dir.join("kept/data/backups").join(path.file_name().unwrap()).exists()
    }
}

#[test]
fn a_planted_link_leads_root_nowhere() {
    if !is_root() {
        return;
    }
    let there = [
        "identities",
        "identities/n1",
        "keys",
        "pki",
        "backups",
        "backups/.lock",
        "uptimemesh.lock",
        "restore.new",
        "app.log",
        "app.db-wal",
    ];
    let attacked = Attacked::new();
    for args in COMMANDS {
        for name in there {
            let to = match name {
                "backups/.lock" | "uptimemesh.lock" | "app.log" | "app.db-wal" => {
                    attacked.secret().join("made-by-a-lock")
                }
                _ => attacked.secret(),
            };
            attacked.plant(name, &to);
            attacked.ends(args);
            attacked.nothing_happened(&format!("{args:?} with a link at {name}"));
            attacked.restored();
        }
    }
}

#[test]
fn a_pipe_does_not_hang_root() {
    if !is_root() {
        return;
    }
    let there = [
        "app.db",
        "uptimemesh.lock",
        "backups/.lock",
        "backups/drill.json",
        "keys/auth-secret.key",
        "pki/cluster-ca.crt",
        "restore.json",
        "identities/n1/node.key",
        "identities/n1/api.urls",
    ];
    let attacked = Attacked::new();
    for args in COMMANDS {
        for name in there {
            let (path, aside) = (attacked.data(name), attacked.data("aside"));
            let _ = fs::rename(&path, &aside);
            runs("mkfifo", &[], &[&path]);
            lchown(&path, Some(SERVICE), Some(SERVICE)).unwrap();
            attacked.ends(args);
            attacked.restored();
        }
    }
}

/// What goes on is looked at until it listens, or has ended.
#[test]
fn what_goes_on_is_led_nowhere_and_waits_for_nothing() {
    if !is_root() {
        return;
    }
    let attacked = Attacked::new();
    let begins = |verb: &str, what: &str| {
        let args = [verb, "--server-host", "127.0.0.1", "--server-port", "0"];
        let mut running = Running::of(attacked.command(&args), attacked.dir.path(), verb);
        until(what, || (running.logged().contains("address: http://") || running.has_ended()).then_some(()));
        running.kill();
    };
    for verb in ["up", "serve"] {
        for name in ["keys", "pki", "identities", "uptimemesh.lock", "restore.new", "restore.json", "app.log", "app.db"]
        {
            let (what, path) = (format!("{verb} with something at {name}"), attacked.data(name));
            attacked.plant(name, &if path.is_dir() { attacked.secret() } else { attacked.secret().join("made") });
            begins(verb, &what);
            attacked.nothing_happened(&what);
            attacked.restored();
            let _ = fs::rename(&path, attacked.data("aside"));
            runs("mkfifo", &[], &[&path]);
            lchown(&path, Some(SERVICE), Some(SERVICE)).unwrap();
            begins(verb, &what);
            attacked.restored();
        }
    }
}

#[test]
fn a_race_of_renames_leads_root_nowhere() {
    if !is_root() {
        return;
    }
    const BOUND: Duration = Duration::from_secs(20);
    let attacked = Attacked::new();
    for name in ["keys", "identities", "backups", "restore.new"] {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (path, aside, link) = (attacked.data(name), attacked.data("aside"), attacked.data("link"));
                let end = Instant::now() + BOUND;
                symlink(attacked.secret(), &link).unwrap();
                lchown(&link, Some(SERVICE), Some(SERVICE)).unwrap();
                while !stop.load(Ordering::Relaxed) && Instant::now() < end {
                    let _ = fs::rename(&path, &aside);
                    let _ = fs::rename(&link, &path);
                    let _ = fs::rename(&path, &link);
                    let _ = fs::rename(&aside, &path);
                }
            });
            for args in COMMANDS {
                attacked.ends(args);
            }
            stop.store(true, Ordering::Relaxed);
        });
        attacked.nothing_happened(&format!("a race at {name}"));
        attacked.restored();
    }
}

/// Whoever may rename on the way to a directory decides what it is: root becomes that user, or does not go there.
#[test]
fn a_link_on_the_way_leads_root_nowhere() {
    if !is_root() {
        return;
    }
    let attacked = Attacked::new();
    // Behind the link is what belongs to root, as long as somebody looks.
    let (way, roots) = (attacked.dir.join("way"), attacked.dir.join("roots"));
    for dir in [&way, &roots] {
        fs::create_dir(dir).unwrap();
    }
    fs::create_dir(roots.join("data")).unwrap();
    symlink(&roots, way.join("on")).unwrap();
    for path in [&way, &way.join("on")] {
        lchown(path, Some(SERVICE), Some(SERVICE)).unwrap();
    }
    let through = way.join("on/data");
    for args in [
        &["migrate"][..],
        &["backup", "restore", "FILE"],
        &["serve", "--server-host", "127.0.0.1", "--server-port", "0"],
    ] {
        let args: Vec<&str> = [args, &["--data-dir", through.to_str().unwrap()]].concat();
        assert_ne!(attacked.ends(&args), 0, "{args:?}");
        assert_eq!(fs::read_dir(roots.join("data")).unwrap().count(), 0, "{args:?}");
    }
    // The data are root's, the directory of backups is where another says.
    give(&attacked.dir.join("data"), 0);
    let there = way.join("on/data");
    let create = ["backup", "create", "--no-encryption", "--backup-dir", there.to_str().unwrap()];
    assert_ne!(attacked.ends(&create), 0);
    assert_eq!(fs::read_dir(roots.join("data")).unwrap().count(), 0);
    // A link of root's own says what root means.
    symlink(&roots, attacked.dir.join("own")).unwrap();
    let own = attacked.dir.join("own/data");
    assert_eq!(attacked.ends(&["backup", "create", "--no-encryption", "--backup-dir", own.to_str().unwrap()]), 0);
    assert_eq!(attacked.ends(&["migrate", "--data-dir", own.to_str().unwrap()]), 0);
}

fn holds_canary(path: &Path) -> bool {
    fs::read(path).unwrap().windows(CANARY.len()).any(|w| w == CANARY.as_bytes())
}

/// The uid and gid, real, effective, saved and for files, and the other groups of a process.
fn identity(pid: u32) -> [Vec<u32>; 3] {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    ["Uid:", "Gid:", "Groups:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(|n| n.parse().unwrap()).collect()
    })
}

#[test]
fn what_root_starts_on_the_data_of_another_runs_as_that_user() {
    if !is_root() {
        return;
    }
    let attacked = Attacked::new();
    for (verb, node) in [("up", &["--node-id", "fresh"][..]), ("serve", &[])] {
        let args = [&[verb, "--server-host", "127.0.0.1", "--server-port", "0"], node].concat();
        let mut running = Running::of(attacked.command(&args), attacked.dir.path(), verb);
        running.client().signed_in("admin", "uptime");
        assert_eq!(identity(running.pid()), [vec![SERVICE; 4], vec![SERVICE; 4], vec![]], "{verb}");
        // Of root's powers it has none but to listen on low ports.
        let status = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
        for name in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            let powers = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            assert_eq!(u64::from_str_radix(powers.trim(), 16).unwrap() & !(1 << 10), 0, "{name}{powers}");
        }
        // Whoever is that user too cannot look into a process that root started.
        let dumpable = fs::metadata(format!("/proc/{}/environ", running.pid())).unwrap().uid();
        assert_eq!(dumpable, 0, "{verb}");
        assert_eq!(running.terminate(), 0);
        attacked.nothing_happened(verb);
    }
}

#[test]
fn root_opens_for_the_owner_what_only_root_may_read() {
    if !is_root() {
        return;
    }
    let attacked = Attacked::new();
    let private = |name: &str, text: &str| {
        let path = attacked.dir.join("kept").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    };
    let passphrase = private("passphrase", PASSPHRASE);
    let password = private("password", "a better password");
    let with = |args: &[&str]| {
        let output = attacked.command(args).env("BACKUP_PASSPHRASE_FILE", &passphrase).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let made = attacked.dir.join(with(&["backup", "create"]).trim());
    let moved = attacked.dir.join("kept/moved.umbackup");
    fs::rename(made, &moved).unwrap();
    lchown(&moved, Some(0), Some(0)).unwrap();
    with(&["backup", "verify", moved.to_str().unwrap()]);
    let handed_over = format!(
        "exec {} backup verify {} --backup-passphrase-file <(cat {})",
        env!("CARGO_BIN_EXE_uptimemesh"),
        moved.display(),
        passphrase.display()
    );
    assert!(
        Command::new("bash")
            .args(["-c", &handed_over])
            .current_dir(attacked.dir.path())
            .output()
            .unwrap()
            .status
            .success()
    );
    with(&["backup", "restore", moved.to_str().unwrap(), "--replace"]);
    with(&["admin", "reset-password", "--new-password-file", password.to_str().unwrap()]);
    attacked.nothing_happened("root's own files");
    // By a link of root's own too, but not by one of the owner's.
    symlink(&moved, attacked.dir.join("kept/newest")).unwrap();
    with(&["backup", "verify", attacked.dir.join("kept/newest").to_str().unwrap()]);
    symlink(&moved, attacked.data("theirs")).unwrap();
    lchown(attacked.data("theirs"), Some(SERVICE), Some(SERVICE)).unwrap();
    let output = attacked
        .command(&["backup", "verify", "data/theirs"])
        .env("BACKUP_PASSPHRASE_FILE", &passphrase)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("data/theirs cannot be read: Permission denied"), "{said}");
}

#[test]
fn the_owner_of_a_directory_of_the_group_root_is_no_member_of_it() {
    if !is_root() {
        return;
    }
    let attacked = Attacked::new();
    for path in below(&attacked.data("")).into_iter().chain([attacked.data("")]) {
        lchown(path, Some(SERVICE), Some(0)).unwrap();
    }
    fs::set_permissions(attacked.secret(), Permissions::from_mode(0o750)).unwrap();
    for path in below(&attacked.secret()) {
        fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap();
    }
    attacked.plant("identities", &attacked.secret());
    assert_eq!(attacked.ends(&["backup", "create", "--no-encryption"]), 1);
    attacked.nothing_happened("a directory of the group root");
}

/// Where the service may write as a member of a group, root may too.
#[test]
fn root_takes_up_the_groups_of_the_owner() {
    if !is_root() || !can_mount() {
        return;
    }
    let attacked = Attacked::new();
    let dir = &attacked.dir;
    fs::write(dir.join("passwd"), "root:x:0:0::/root:/bin/sh\nmesh:x:12345:12345::/:/bin/false\n").unwrap();
    fs::write(dir.join("group"), "root:x:0:\nmesh:x:12345:\nshare:x:23456:mesh\n").unwrap();
    fs::create_dir(dir.join("share")).unwrap();
    lchown(dir.join("share"), Some(0), Some(23456)).unwrap();
    fs::set_permissions(dir.join("share"), Permissions::from_mode(0o770)).unwrap();
    let create = ["backup", "create", "--no-encryption", "--backup-dir", "share"];
    let output = attacked.command(&create).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("must be writable by the owner of the data directory"), "{said}");
    let script = "mount --bind passwd /etc/passwd\nmount --bind group /etc/group";
    let output = in_namespace(dir.path(), script, &create).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The data are root's, and the directory of backups somebody else's, who can put there what they like.
#[test]
fn root_makes_backups_of_its_own_in_a_directory_of_others_without_following_them() {
    if !is_root() {
        return;
    }
    let dir = cluster("one");
    let (share, prey) = (dir.join("share"), dir.join("prey"));
    let sound = plain(dir.path());
    for place in [&share, &prey] {
        fs::create_dir(place).unwrap();
    }
    lchown(&share, Some(SERVICE), Some(SERVICE)).unwrap();
    let id = "manual-20260101T000000Z-00c0ffee.umbackup";
    let list = || ok(dir.path(), &["backup", "list", "--json", "--backup-dir", "share"]);
    for (name, to) in [(format!("{id}.check"), prey.clone()), (id.to_string(), sound.clone())] {
        fs::write(prey.join("kept"), "x").unwrap();
        symlink(to, share.join(&name)).unwrap();
        lchown(share.join(&name), Some(SERVICE), Some(SERVICE)).unwrap();
    }
    let output = command(dir.path(), &["backup", "verify", &format!("share/{id}")]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("is a link that is not followed"), "{said}");
    assert!(!list().contains("00c0ffee"), "what a link of others leads to is no backup");
    ok(dir.path(), &["backup", "create", "--no-encryption", "--backup-dir", "share"]);
    assert!(list().contains("manual-") && prey.join("kept").exists());
    for (name, made) in [("link", "made-by-a-lock"), ("pipe", "")] {
        fs::remove_file(share.join(".lock")).unwrap();
        match name {
            "link" => symlink(prey.join(made), share.join(".lock")).unwrap(),
            _ => runs("mkfifo", &[], &[&share.join(".lock")]),
        }
        let mut running = Running::of(
            command(dir.path(), &["backup", "create", "--no-encryption", "--backup-dir", "share"]),
            dir.path(),
            name,
        );
        assert_eq!(running.exit_status(), 1);
        assert!(running.logged().contains("is not a regular file; remove it"), "{}", running.logged());
    }
    assert_eq!(fs::read_dir(&prey).unwrap().count(), 1, "nothing was made there");
}

/// What another user wrote there is not what root does as root.
#[test]
fn settings_of_another_user_are_that_users() {
    if !is_root() {
        return;
    }
    let dir = Dir::new();
    let (home, prey) = (dir.join("home"), dir.join("prey"));
    fs::create_dir(&home).unwrap();
    fs::create_dir(&prey).unwrap();
    fs::write(home.join(".env"), format!("DATA_DIR={}\n", prey.join("data").display())).unwrap();
    lchown(&home, Some(SERVICE), Some(SERVICE)).unwrap();
    for owner in [SERVICE, 0] {
        lchown(home.join(".env"), Some(owner), Some(owner)).unwrap();
        let output = command(&home, &["migrate"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains("user 12345") && said.contains("Permission denied"),
            "{said}"
        );
        assert_eq!(fs::read_dir(&prey).unwrap().count(), 0, "{said}");
    }
    fs::remove_file(home.join(".env")).unwrap();
    runs("mkfifo", &[], &[&home.join(".env")]);
    let mut running = Running::of(command(&home, &["migrate"]), dir.path(), "piped");
    assert_eq!(running.exit_status(), 1);
    fs::remove_file(home.join(".env")).unwrap();
    ok(&home, &["migrate"]);
    assert!(
        below(&home).iter().all(|path| fs::metadata(path).unwrap().uid() == SERVICE),
        "what root makes there is the owner's"
    );
}

#[test]
fn what_stays_root_follows_no_link_of_others() {
    if !is_root() {
        return;
    }
    // The updater's reader of requests.
    let attacked = Attacked::new();
    fs::write(attacked.secret().join("request.json"), r#"{"id": "update-1", "version": "9.9.9", "channel": "stable"}"#)
        .unwrap();
    attacked.plant("update", &attacked.secret());
    let request = attacked.data("update/request.json");
    let asks = ["update", "--requested", "--state-dir", "state", "--request-file", request.to_str().unwrap()];
    let output = attacked.command(&asks).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("update is a link that is not followed"), "{said}");
    fs::remove_file(attacked.secret().join("request.json")).unwrap();
    // Where a support bundle is put.
    let mut server = Running::of(
        attacked.command(&["serve", "--server-host", "127.0.0.1", "--server-port", "0"]),
        attacked.dir.path(),
        "serve",
    );
    let url = format!("http://{}", server.client().address);
    attacked.plant("out", &attacked.secret());
    let output = attacked.data("out/bundle.tar.gz");
    let create = |output: &Path| {
        let asks = ["support-bundle", "create", "--api-url", &url, "--password", "uptime", "--output"];
        attacked.ends(&[&asks[..], &[output.to_str().unwrap()]].concat())
    };
    assert_eq!(create(&output), 1);
    assert_eq!(create(&attacked.dir.join("kept/bundle.tar.gz")), 0);
    assert_eq!(server.terminate(), 0);
    attacked.nothing_happened("a bundle");
}

/// What 2.0.0 left, where root started it in a directory of somebody else.
#[test]
fn what_root_has_left_in_a_directory_of_another_is_told_with_what_to_do() {
    if !is_root() {
        return;
    }
    let dir = cluster("roots");
    let data = dir.join("data");
    lchown(&data, Some(SERVICE), Some(SERVICE)).unwrap();
    for args in [
        &["serve", "--server-port", "0"][..],
        &["up", "--server-port", "0"],
        &["migrate"],
        &["backup", "create", "--no-encryption"],
    ] {
        let (status, said) = fails(dir.path(), args);
        assert_eq!(status, 1, "{args:?}");
        assert!(
            said.contains("chown -R 12345:12345") && said.contains("app.db") && said.contains("pki"),
            "{args:?}: {said}"
        );
    }
    let looked = run(dir.path(), &["doctor", "--server-port", "0"]);
    let said = String::from_utf8_lossy(&looked.stdout);
    assert!(
        said.contains("chown --reference=") && said.contains("cannot examine") && !said.contains("not created yet"),
        "{said}"
    );
    give(&data, SERVICE);
    ok(dir.path(), &["migrate"]);
}

/// The link is above the identity, which is root's own where that leads.
#[test]
fn a_planted_link_leads_root_to_no_identity_of_its_own() {
    if !is_root() {
        return;
    }
    let attacked = Attacked::new();
    let theirs = attacked.secret().join("n1");
    fs::create_dir(&theirs).unwrap();
    attacked.plant("identities", &attacked.secret());
    let token = "umj".repeat(10);
    for args in [
        &["join", "--token", &token, "--role", "worker", "--node-id", "n1", "--api-url", "http://127.0.0.1:1"][..],
        &["heartbeat", "--node-id", "n1", "--api-url", "http://127.0.0.1:1"],
        &["heartbeat", "--api-url", "http://127.0.0.1:1"],
        &["agent", "--node-id", "n1", "--api-url", "http://127.0.0.1:1"],
    ] {
        assert_ne!(attacked.ends(args), 0, "{args:?}");
        assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0, "{args:?}");
    }
}

#[test]
fn a_node_of_another_user_stays_that_users() {
    if !is_root() {
        return;
    }
    let (plane, node) = (Dir::new(), Dir::new());
    let (_server, client) = Running::serve(plane.path(), &["serve", "--server-port", "0", "--log-file", ""]);
    let url = format!("http://{}", client.address);
    let bootstrap: Value = serde_json::from_str(&ok(plane.path(), &["bootstrap", "--api-url", &url])).unwrap();
    let token = bootstrap["worker_token"]["token"]
        .as_str()
        .or(bootstrap["worker"]["token"].as_str())
        .unwrap_or_else(|| panic!("{bootstrap:#}"));
    let data = node.join("data");
    fs::create_dir(&data).unwrap();
    lchown(&data, Some(SERVICE), Some(SERVICE)).unwrap();
    ok(node.path(), &["join", "--token", token, "--role", "worker", "--node-id", "n1", "--api-url", &url]);
    ok(node.path(), &["heartbeat", "--node-id", "n1", "--api-url", &url]);
    let agent = Running::start(node.path(), "agent", &["agent", "--node-id", "n1", "--api-url", &url]);
    until("the agent tells of its run", || data.join("identities/n1/status.json").exists().then_some(()));
    assert_eq!(identity(agent.pid())[0], vec![SERVICE; 4]);
    assert!(below(&data).iter().all(|path| fs::metadata(path).unwrap().uid() == SERVICE));
}
