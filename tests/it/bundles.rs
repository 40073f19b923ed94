//! Support bundles: made by the control plane, fetched by admins, whole or not there, and without a secret.

use crate::node::Node;
use crate::program::{Running, fails, ok};
use crate::support::{Answer, Client, Dir, Served, until};
use crate::trouble::{can_mount, in_namespace};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// The state of a bundle.
fn state(client: &Client, id: &str) -> Value {
    client.get(&format!("/support-bundles/{id}")).json()
}

/// Waits until a bundle is made or has failed.
fn ended(client: &Client, id: &str) -> Value {
    until("the bundle ends", || {
        Some(state(client, id)).filter(|b| b["status"] == "completed" || b["status"] == "failed")
    })
}

/// Asks for one, and waits until it is made.
pub fn made(client: &Client, id: &str) -> Value {
    let asked = client.post("/support-bundles", &json!({ "id": id }));
    assert_eq!((asked.status, &asked.json()["status"]), (201, &json!("pending")), "{}", asked.text());
    let bundle = ended(client, id);
    assert_eq!(
        (&bundle["status"], &bundle["path"]),
        (&json!("completed"), &json!(format!("support-bundles/{id}.tar.gz"))),
        "{bundle}"
    );
    bundle
}

pub fn download(client: &Client, id: &str) -> Answer {
    client.get(&format!("/support-bundles/{id}/download"))
}

/// What is in a bundle, by path, as tar unpacks it; and that the manifest tells the truth about it.
pub fn unpacked(bytes: &[u8]) -> BTreeMap<String, String> {
    let dir = Dir::new();
    fs::write(dir.join("b.tar.gz"), bytes).unwrap();
    fs::create_dir(dir.join("b")).unwrap();
    let tar = Command::new("tar").args(["-xzf", "b.tar.gz", "-C", "b"]).current_dir(dir.path()).output().unwrap();
    assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    let mut all = BTreeMap::new();
    read_all(&dir.join("b"), "", &mut all);
    let manifest: Value = serde_json::from_str(&all["manifest.json"]).unwrap();
    let listed = manifest["files"].as_array().unwrap();
    assert_eq!(listed.len() + 1, all.len(), "every file but itself is in the manifest");
    for file in listed {
        let content = &all[file["path"].as_str().unwrap()];
        let digest = ring::digest::digest(&ring::digest::SHA256, content.as_bytes());
        let hex: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!((&file["bytes"], &file["sha256"]), (&json!(content.len()), &json!(hex)), "{file}");
    }
    all
}

fn read_all(dir: &Path, prefix: &str, all: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        match entry.path().is_dir() {
            true => read_all(&entry.path(), &format!("{name}/"), all),
            false => drop(all.insert(name, fs::read_to_string(entry.path()).unwrap())),
        }
    }
}

/// The files in the server's directory of bundles.
fn kept(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("support-bundles")).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_bundle_is_made_fetched_and_deleted() {
    let served = Served::new();
    let admin = served.admin();
    admin.post("/services", &json!({"id": "web", "name": "web", "spec": {"image": "nginx"}}));
    let mut node = Node::joined(&admin, "n1");
    node.heartbeat(&admin, 45, &json!({"ready": true, "version": "1.9.9", "clock_offset_seconds": 400}));
    made(&admin, "one");
    let answer = download(&admin, "one");
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/gzip")));
    assert_eq!(answer.header("Content-Disposition"), Some("attachment; filename=\"uptimemesh-one.tar.gz\""));
    assert_eq!(answer.header("Content-Length"), Some(answer.body.len().to_string().as_str()));
    let all = unpacked(&answer.body);
    let part = |path: &str| -> Value { serde_json::from_str(&all[path]).unwrap() };
    assert_eq!(part("cluster/services.json")[0]["spec"]["image"], "<text, 5 characters>");
    assert_eq!(part("cluster/nodes.json")[0]["id"], "n1");
    assert_eq!(part("cluster/leases.json")[0]["lease_state"], "alive");
    assert_eq!(part("cluster/users.json")[0]["name"], "admin");
    assert!(
        part("config.json").as_array().unwrap().iter().any(|s| s["setting"] == "SERVER_HOST" && s["is"] == "127.0.0.1")
    );
    assert!(part("events.json").as_array().unwrap().iter().any(|e| e["name"] == "support_bundle.running"));
    assert!(all["metrics.txt"].contains("uptimemesh_build_info"));
    let manifest = part("manifest.json");
    assert_eq!((&manifest["bundle_id"], &manifest["format"]), (&json!("one"), &json!(2)));
    assert!(manifest["left_out"][0]["why"].as_str().unwrap().contains("no log file is kept"), "{manifest}");
    let findings = part("doctor.json");
    let seen = |check: &str| {
        findings
            .as_array()
            .unwrap()
            .iter()
            .find(|f| f["check"] == check)
            .unwrap_or_else(|| panic!("{check}: {findings}"))
    };
    assert!(seen("nodes.versions")["seen"].as_str().unwrap().contains("n1 (1.9.9)"), "{findings}");
    assert!(seen("nodes.clocks")["seen"].as_str().unwrap().contains("n1 (400 s behind)"), "{findings}");
    assert_eq!(seen("database.integrity")["level"], "ok");
    // Its file is nobody else's, and nothing lies about.
    assert_eq!(kept(served.dir.path()), ["one.tar.gz"]);
    let mode = |name: &str| fs::metadata(served.dir.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("support-bundles"), mode("support-bundles/one.tar.gz")), (0o700, 0o600));
    // Who fetched it is told; who only asked for its size did not.
    assert_eq!(
        admin.send("HEAD", "/support-bundles/one/download", &[], b"").header("Content-Length"),
        answer.header("Content-Length")
    );
    let events: Vec<(Value, Value)> =
        admin.events("support").into_iter().map(|e| (e["name"].clone(), e["actor"].clone())).collect();
    let names: Vec<&str> = events.iter().map(|e| e.0.as_str().unwrap()).collect();
    let want =
        ["support_bundle.download", "support_bundle.completed", "support_bundle.running", "support_bundle.requested"];
    assert_eq!(names, want);
    assert_eq!((&events[0].1, &events[1].1), (&json!("user:admin"), &json!("system")));
    // It tells of users and tokens, which an operator may not see.
    for (role, status) in [("viewer", 403), ("operator", 403), ("admin", 200)] {
        assert_eq!(download(&served.user(&format!("the-{role}"), role), "one").status, status, "{role}");
        assert_eq!(download(&served.api_token(role), "one").status, status, "{role}");
    }
    assert_eq!(download(&served.anonymous(), "one").status, 401);
    assert_eq!(download(&admin, "none").detail(), "Support bundle not found");
    assert_eq!(
        admin.patch("/support-bundles/one", &json!({"status": "failed"})).status,
        409,
        "what is finished stays so"
    );
    assert_eq!(admin.post("/support-bundles", &json!({"id": "one"})).detail(), "Support bundle id already exists");
    assert_eq!(admin.delete("/support-bundles/one").status, 204);
    assert!(kept(served.dir.path()).is_empty(), "its file goes with it");
    assert_eq!(download(&admin, "one").status, 404);
    // The same id again is another bundle.
    made(&admin, "one");
    fs::remove_file(served.dir.join("support-bundles/one.tar.gz")).unwrap();
    assert!(download(&admin, "one").detail().contains("no longer exists on the control plane"));
}

#[test]
fn a_bundle_that_an_agent_takes_up_is_the_agents() {
    let served = Served::new();
    let admin = served.admin();
    // Whether the agent or the control plane comes first: who says where the result is has it.
    for id in ["b1", "b2", "b3"] {
        admin.post("/support-bundles", &json!({ "id": id }));
        let claimed =
            admin.patch(&format!("/support-bundles/{id}"), &json!({"status": "running", "path": "agent:/var/x"}));
        if claimed.status == 409 {
            assert_eq!(state(&admin, id)["status"], "completed", "the control plane was done already");
            continue;
        }
        made(&admin, &format!("{id}-after"));
        let left = state(&admin, id);
        assert_eq!((&left["status"], &left["path"]), (&json!("running"), &json!("agent:/var/x")));
        assert!(download(&admin, id).detail().contains("it is running"));
        assert_eq!(admin.patch(&format!("/support-bundles/{id}"), &json!({"status": "completed"})).status, 200);
        assert!(download(&admin, id).detail().contains("was made by an agent"));
        assert!(
            !kept(served.dir.path()).iter().any(|name| name.starts_with(&format!("{id}."))),
            "{:?}",
            kept(served.dir.path())
        );
    }
}

#[test]
fn an_agents_bundle_survives_a_restart_and_ours_does_not_stay_running() {
    let mut served = Served::new();
    served.server.take().unwrap().shutdown();
    let database = rusqlite::Connection::open(&served.config.database_path).unwrap();
    let row =
        "INSERT INTO runs (kind, id, status, result, created_at, updated_at) VALUES ('bundle', ?1, ?2, ?3, ?4, 1)";
    let now = crate::node::epoch() * 1_000_000;
    database.execute(row, ("agents", "running", "/var/x", 1)).unwrap();
    database.execute(row, ("ours", "running", "support-bundles/ours.tar.gz", now)).unwrap();
    database.execute(row, ("waiting", "pending", None::<String>, now)).unwrap();
    database.execute(row, ("old", "completed", "support-bundles/old.tar.gz", 1)).unwrap();
    database.execute(row, ("old-agents", "completed", "/var/y", 1)).unwrap();
    drop(database);
    fs::create_dir_all(served.dir.join("support-bundles")).unwrap();
    for left in ["ours.tar.gz", "ours.tar.gz.new", "nobodys.tar.gz", "old.tar.gz"] {
        fs::write(served.dir.join("support-bundles").join(left), "half").unwrap();
    }
    served.server = Some(uptimemesh::Server::start(served.config.clone()).unwrap());
    let admin = served.admin();
    assert_eq!(ended(&admin, "waiting")["status"], "completed", "what was asked for before is made");
    let ours = state(&admin, "ours");
    assert_eq!((&ours["status"], &ours["path"]), (&json!("failed"), &Value::Null));
    assert!(ours["error"].as_str().unwrap().contains("request another"), "{ours}");
    assert_eq!(state(&admin, "agents")["status"], "running");
    // One of 1970 is too old to be kept, one of an agent's is the agent's; what no row speaks of is gone.
    until("old ones are pruned", || admin.get("/support-bundles/old").json()["detail"].is_string().then_some(()));
    assert_eq!(state(&admin, "old-agents")["status"], "completed");
    until("their files are gone", || (kept(served.dir.path()) == ["waiting.tar.gz"]).then_some(()));
}

#[test]
fn several_at_once_are_made_one_after_the_other_and_the_newest_five_are_kept() {
    let served = Served::new();
    let admin = served.admin();
    let ids: Vec<String> = (0..7).map(|i| format!("b{i}")).collect();
    std::thread::scope(|scope| {
        for id in &ids {
            let admin = &admin;
            scope.spawn(move || assert_eq!(admin.post("/support-bundles", &json!({ "id": id })).status, 201));
        }
    });
    until("the two oldest are gone", || {
        let list = admin.get("/support-bundles").json();
        let list = list.as_array().unwrap();
        (list.len() == 5 && list.iter().all(|b| b["status"] == "completed")).then_some(())
    });
    let mut listed: Vec<String> = admin
        .get("/support-bundles")
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|b| format!("{}.tar.gz", b["id"].as_str().unwrap()))
        .collect();
    listed.sort();
    assert_eq!(kept(served.dir.path()), listed, "rows and files go together");
    assert_eq!(admin.events("support").iter().filter(|e| e["name"] == "support_bundle.pruned").count(), 2);
    for name in listed {
        unpacked(&download(&admin, name.trim_end_matches(".tar.gz")).body);
    }
}

#[test]
fn killed_at_any_moment_it_leaves_a_whole_bundle_or_a_failed_one() {
    const ROUNDS: u64 = 8;
    let dir = Dir::new();
    let mut before: Option<(String, Option<String>)> = None;
    let mut ends = BTreeMap::<String, usize>::new();
    for round in 0..=ROUNDS {
        let (mut server, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
        let admin = match &before {
            Some((_, token)) => Client { token: token.clone(), ..client },
            None => client.signed_in("admin", "uptime"),
        };
        match &before {
            None => {
                // Enough that making one takes a while.
                for i in 0..40 {
                    let event = json!({"category": "mine", "name": format!("e{i}"), "level": "info",
                        "fields": {"text": "words and words ".repeat(1000)}});
                    assert_eq!(admin.post("/events", &event).status, 201);
                }
            }
            Some((id, _)) => {
                let bundle = ended(&admin, id);
                *ends.entry(bundle["status"].as_str().unwrap().to_string()).or_default() += 1;
                match bundle["status"] == "completed" {
                    true => drop(unpacked(&download(&admin, id).body)),
                    false => assert_eq!(download(&admin, id).status, 404, "half a bundle is not offered"),
                }
            }
        }
        let whole: Vec<String> = admin
            .get("/support-bundles")
            .json()
            .as_array()
            .unwrap()
            .iter()
            .filter(|b| b["status"] == "completed")
            .map(|b| format!("{}.tar.gz", b["id"].as_str().unwrap()))
            .collect();
        assert!(
            kept(&dir.join("data")).iter().all(|name| whole.contains(name)),
            "{:?} {whole:?}",
            kept(&dir.join("data"))
        );
        let id = format!("k{round}");
        assert_eq!(admin.post("/support-bundles", &json!({ "id": id })).status, 201);
        until("it is on its way", || (round % 3 == 0 || state(&admin, &id)["status"] != "pending").then_some(()));
        std::thread::sleep(std::time::Duration::from_millis(round * 13 % 100));
        server.kill();
        before = Some((id, admin.token));
    }
    eprintln!("{ROUNDS} kills: {ends:?}");
}

#[test]
fn a_full_disk_fails_it_with_a_sentence() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    fs::create_dir_all(dir.join("data/support-bundles")).unwrap();
    let script = "mount -t tmpfs -o size=16k tmpfs data/support-bundles";
    let args = ["serve", "--server-host", "127.0.0.1", "--server-port", "0"];
    let server = Running::of(in_namespace(dir.path(), script, &args), dir.path(), "serve");
    let admin = server.client().signed_in("admin", "uptime");
    admin.post("/support-bundles", &json!({"id": "one"}));
    let failed = ended(&admin, "one");
    assert_eq!((&failed["status"], &failed["path"]), (&json!("failed"), &Value::Null));
    assert_eq!(
        failed["error"],
        "The disk of the control plane is full: free some space in its data directory, then request another."
    );
    assert_eq!(download(&admin, "one").detail(), "This bundle cannot be fetched: it is failed.");
    let inside = format!("/proc/{}/root{}", server.pid(), dir.join("data").display());
    assert!(kept(Path::new(&inside)).is_empty(), "half of it is removed");
    let target = format!("--target={}", server.pid());
    let bundles = dir.join("data/support-bundles");
    let room = ["--mount", "mount", "-o", "remount,size=16m", bundles.to_str().unwrap()];
    assert!(Command::new("nsenter").arg(target).args(room).status().unwrap().success());
    made(&admin, "two");
}

#[test]
fn operators_make_and_fetch_them_from_the_command_line() {
    let dir = Dir::new();
    let (_server, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let url = format!("http://{}", client.address);
    let run = |args: &[&str]| ok(dir.path(), &[&["--api-url", &url], args].concat());
    assert!(run(&["support-bundle", "create", "--output", "b.tgz"]).starts_with("Wrote b.tgz ("));
    assert_eq!(fs::metadata(dir.join("b.tgz")).unwrap().permissions().mode() & 0o777, 0o600);
    unpacked(&fs::read(dir.join("b.tgz")).unwrap());
    let waited: Value =
        serde_json::from_str(&run(&["support-bundle", "create", "--wait", "--username", "admin"])).unwrap();
    assert_eq!((&waited["status"], &waited["requested_by"]), (&json!("completed"), &json!("admin")));
    let asked: Value = serde_json::from_str(&run(&["support-bundle", "create"])).unwrap();
    assert_eq!(asked["status"], "pending");
    let id = waited["id"].as_str().unwrap();
    run(&["support-bundle", "download", id]);
    unpacked(&fs::read(dir.join(&format!("uptimemesh-{id}.tar.gz"))).unwrap());
    assert!(run(&["support-bundle", "list"]).starts_with("ID\tSTATUS\tPATH\tREQUESTED-BY\tCREATED\tERROR\n"));
    let list: Value = serde_json::from_str(&run(&["support-bundle", "list", "--json"])).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 3);
    let (status, said) = fails(dir.path(), &["--api-url", &url, "support-bundle", "download", "none", "--output", "x"]);
    assert!(status == 1 && said.contains("Support bundle not found"), "{said}");
    assert!(!dir.join("x").exists() && !dir.join("x.new").exists(), "nothing half is left");
    let (status, said) =
        fails(dir.path(), &["--api-url", &url, "support-bundle", "download", id, "--output", "no/such/x"]);
    assert!(status == 1 && said.contains("no/such/x.new cannot be written"), "{said}");
    // As root, a rename would put a file into the place of a device, and every program that needs that would fail.
    let ids = || {
        let all = client.signed_in("admin", "uptime").get("/support-bundles").json();
        all.as_array().unwrap().iter().map(|bundle| bundle["id"].clone()).collect::<Vec<_>>()
    };
    let asked = ids();
    std::os::unix::fs::symlink("uptimemesh.fifo", dir.join("link")).unwrap();
    assert!(Command::new("mkfifo").arg(dir.join("uptimemesh.fifo")).status().unwrap().success());
    for odd in ["uptimemesh.fifo", "link", "data"] {
        for args in [&["download", id][..], &["create"]] {
            let args = [&["--api-url", &url, "support-bundle"], args, &["--output", odd]].concat();
            let (status, said) = fails(dir.path(), &args);
            assert!(status == 1 && said.contains(&format!("{odd} is not a regular file")), "{said}");
            assert!(
                !fs::symlink_metadata(dir.join(odd)).unwrap().is_file() && !dir.join(&format!("{odd}.new")).exists()
            );
        }
    }
    assert_eq!(ids(), asked, "none was made in vain");
}
