//! What lists look like on a terminal, in a pipe and to programs, and how they are followed.

use crate::machine::free_port;
use crate::node::Node;
use crate::program::{Running, command, fails, ok};
use crate::support::{Client, Dir, until};
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// A control plane with three nodes, and what commands need to reach it.
struct Cluster {
    dir: Dir,
    admin: Client,
    url: String,
    _serve: Running,
}

impl Cluster {
    fn new() -> Cluster {
        let dir = Dir::new();
        let (serve, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
        let (url, admin) = (format!("http://{}", client.address), client.signed_in("admin", "uptime"));
        let mut node = Node::joined(&admin, "berlin-1");
        assert_eq!(
            node.heartbeat(&client, 300, &json!({"ready": true, "version": "9.8.7", "load_1m": 0.25})).status,
            200
        );
        let labels = json!({"zone": "b", "note": "\u{202e}x\u{1b}[2J"});
        let name = "K\u{fc}che \u{65e5}\u{672c}";
        let more = json!({"id": "edge-of-a-long-name-2", "name": name, "roles": ["worker"], "labels": labels});
        assert_eq!(admin.post("/nodes", &more).status, 201);
        assert_eq!(
            admin.post("/nodes", &json!({"id": "pi", "name": "pi", "status": {"schedulable": false}})).status,
            201
        );
        Cluster { dir, admin, url, _serve: serve }
    }

    fn ok(&self, args: &[&str]) -> String {
        ok(self.dir.path(), &[args, &["--api-url", &self.url]].concat())
    }

    /// What a command prints whose contexts are in the cluster's directory.
    fn at_home(&self, args: &[&str]) -> String {
        let output = command(self.dir.path(), args).env("HOME", self.dir.path()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command shows on a terminal of this width.
    fn on_terminal(&self, columns: usize, args: &[&str], env: &[(&str, &str)]) -> String {
        self.shown(columns, &[args, &["--api-url", &self.url]].concat(), env)
    }

    /// The same without a URL.
    fn shown(&self, columns: usize, args: &[&str], env: &[(&str, &str)]) -> String {
        let mut running = on_terminal(self.dir.path(), columns, args, env);
        assert_eq!(running.exit_status(), 0);
        typescript(self.dir.path())
    }
}

/// The program on a terminal that `script` makes, with nothing else in its environment.
fn on_terminal(dir: &Path, columns: usize, args: &[&str], env: &[(&str, &str)]) -> Running {
    let line = format!(
        "stty cols {columns} rows 20; echo $$ >pid; exec {} {}",
        env!("CARGO_BIN_EXE_uptimemesh"),
        args.join(" ")
    );
    let mut command = Command::new("script");
    command.args(["--quiet", "--flush", "--return", "--command", &line, "typescript"]).current_dir(dir);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TERM", "xterm")
        .envs(env.iter().copied());
    Running::of(command, dir, "terminal")
}

/// What the terminal got, without what `script` says itself.
fn typescript(dir: &Path) -> String {
    let text = String::from_utf8(fs::read(dir.join("typescript")).unwrap_or_default()).unwrap_or_default();
    text.lines().filter(|line| !line.starts_with("Script ")).map(|line| format!("{line}\n")).collect()
}

/// Text without the codes of colours.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |out, part| out + part.split_once('m').map_or(part, |(_, rest)| rest))
}

fn send(signal: &str, dir: &Path) {
    let pid = fs::read_to_string(dir.join("pid")).unwrap();
    assert!(Command::new("kill").args(["-s", signal, pid.trim()]).status().unwrap().success());
}

#[test]
fn a_terminal_gets_aligned_columns_that_fit_and_a_pipe_exact_values() {
    let cluster = Cluster::new();
    let narrow = plain(&cluster.on_terminal(80, &["nodes"], &[]));
    let wide = plain(&cluster.on_terminal(140, &["nodes"], &[]));
    for (text, columns) in [(&narrow, 80), (&wide, 140)] {
        assert!(text.lines().all(|line| line.chars().count() <= columns), "{text}");
        let starts: Vec<usize> =
            text.lines().take(3).filter_map(|l| l.find("LEASE").or(l.find("alive")).or(l.find("unknown"))).collect();
        // The second row has two characters that are drawn in two columns each, so its third column is bytes away.
        assert_eq!(starts[0], starts[1], "{text}");
        assert!(!text.contains("2026-"), "ages: {text}");
    }
    assert!(
        wide.lines()
            .next()
            .unwrap()
            .split_whitespace()
            .eq("NODE NAME ROLE LEASE STATE REPLICAS LOAD VERSION HEARTBEAT".split(' ')),
        "{wide}"
    );
    assert!(
        wide.contains("9.8.7") && wide.contains("edge-of-a-long-name-2  K\u{fc}che \u{65e5}\u{672c}  worker"),
        "{wide}"
    );
    let row = wide.lines().find(|l| l.starts_with("pi ")).unwrap();
    assert!(row.contains("unknown  cordoned") && row.trim_end().ends_with('-'), "{row}");
    let label = plain(&cluster.on_terminal(200, &["nodes", "-o", "wide", "--label", "zone=b"], &[]));
    assert!(label.contains("LABELS") && label.contains("note=?x [2J zone=b") && !label.contains("berlin"), "{label}");

    let piped = cluster.ok(&["nodes"]);
    let heartbeat = cluster.admin.get("/nodes/berlin-1").json()["heartbeat_at"].as_str().unwrap().to_string();
    let mut lines = piped.lines();
    assert_eq!(lines.next(), Some("NODE\tNAME\tROLES\tSCHEDULABLE\tDRAIN\tHEARTBEAT"));
    assert_eq!(lines.next(), Some(&*format!("berlin-1\tberlin-1\tworker\t-\t-\t{heartbeat}")));
}

#[test]
fn colours_are_for_terminals_and_for_operators_who_want_them() {
    let cluster = Cluster::new();
    let colourful = cluster.on_terminal(100, &["nodes"], &[]);
    assert!(colourful.contains("\x1b[32malive\x1b[0m") && colourful.contains("\x1b[33mcordoned\x1b[0m"), "{colourful}");
    for (args, env) in [
        (&["nodes"][..], ("NO_COLOR", "1")),
        (&["nodes"], ("TERM", "dumb")),
        (&["nodes", "--color", "never"], ("A", "b")),
    ] {
        let text = cluster.on_terminal(100, args, &[env]);
        assert!(text.contains("alive") && !text.contains('\x1b'), "{args:?} {env:?}: {text}");
    }
    assert!(!cluster.ok(&["nodes"]).contains('\x1b'));
    assert!(cluster.ok(&["nodes", "-o", "table", "--color", "always"]).contains("\x1b[32malive\x1b[0m"));
}

/// Every list command with its words: the first column on a terminal, the header in a pipe, and the key of its ids.
const LISTS: &[(&str, &str, &str, &str)] = &[
    ("node list", "NODE", "NODE NAME ROLES SCHEDULABLE DRAIN HEARTBEAT", "id"),
    ("node leases", "NODE", "NODE ROLE LEASE HEARTBEAT EXPIRES", "node_id"),
    ("node tunnels", "NODE", "NODE PRIMARY SECONDARY ROUTE FAILOVER", "node_id"),
    ("ca nodes", "NODE", "NODE NAME UP-TO-DATE LEASE", "node_id"),
    ("token list", "ID", "ID ROLE NODE EXPIRES USED", "id"),
    ("service list", "SERVICE", "SERVICE NAME GENERATION DESIRED UPDATED", "id"),
    ("service history web", "GENERATION", "GENERATION ACTION RESTORED BY AT SPEC-SHA256", "generation"),
    ("replica list", "REPLICA", "REPLICA SERVICE NODE DESIRED HEALTHY GENERATION WHY", "id"),
    ("endpoint list", "ENDPOINT", "ENDPOINT REPLICA ADDRESS PORT HEALTHY CHECKED", "id"),
    ("router list", "ASSIGNMENT", "ASSIGNMENT NODE PRIMARY SECONDARY", "id"),
    ("snapshot list", "ID", "ID STATUS LOCATION REQUESTED-BY CREATED", "id"),
    ("update list", "UPDATE", "UPDATE VERSION CHANNEL STATE RINGS RING REASON", "id"),
    ("context list", "NAME", "NAME CURRENT URL USER EXPIRES", "name"),
    ("user list", "NAME", "NAME ROLE MUST_CHANGE_PASSWORD CREATED UPDATED", "name"),
    ("session list", "ID", "ID USER ADDRESS BEGAN LAST_SEEN ENDS USER_AGENT", "id"),
    ("api-token list", "ID", "ID NAME OWNER ROLE EXPIRES LAST_USED FROM", "id"),
    ("event list --name node.create", "AGE", "TIME LEVEL EVENT FIELDS", "id"),
    ("setting list", "KEY", "KEY VALUE UPDATED", "key"),
    ("bundle list", "ID", "ID STATUS PATH REQUESTED-BY CREATED ERROR", "id"),
    ("backup list", "ID", "ID CREATED BYTES ENCRYPTED FILE", "id"),
];

#[test]
fn the_table_of_lists_has_every_command_that_lists() {
    let help = include_str!("../golden/help.txt");
    let commands = help.split("\n==== ").filter_map(|section| section.split_once("\nList "));
    let mut listing: Vec<&str> = commands.map(|(name, _)| name).filter(|name| !name.contains('\n')).collect();
    let two_words = |line: &'static str| line.split_inclusive(' ').take(2).collect::<String>().trim_end().to_string();
    let mut tested: Vec<String> = LISTS.iter().map(|(line, ..)| two_words(line)).collect();
    listing.sort_unstable();
    tested.sort_unstable();
    assert_eq!(tested, listing);
}

fn user(name: &str, role: &str) -> Value {
    json!({"name": name, "password": "a good password", "role": role, "must_change_password": false})
}

/// A cluster with an object of every kind, and a context for it.
fn cluster_with_everything() -> Cluster {
    let cluster = Cluster::new();
    let posted = |path: &str, body: Value| {
        let answer = cluster.admin.post(path, &body);
        assert_eq!(answer.status, 201, "{path}: {}", answer.text());
    };
    assert_eq!(cluster.admin.put("/cluster-settings/scheduler_mode", &json!({"value": "manual"})).status, 200);
    let spec = json!({"image": "i", "ports": [80], "scheduling": {"desired_replicas": 2}});
    posted("/services", json!({"id": "web", "name": "web", "spec": spec}));
    let status = json!({"healthy": true, "applied_generation": 1});
    posted("/replicas", json!({"id": "r1", "service_id": "web", "node_id": "berlin-1", "status": status}));
    posted("/endpoints", json!({"id": "e1", "replica_id": "r1", "address": "10.0.0.1", "port": 80}));
    let routers = json!({"id": "a1", "node_id": "berlin-1", "primary_router_id": "pi",
        "secondary_router_id": "edge-of-a-long-name-2"});
    posted("/router-assignments", routers);
    posted("/etcd/snapshots", json!({"id": "s1"}));
    posted("/support-bundles", json!({"id": "b1"}));
    posted("/updates", json!({"id": "u1", "version": "9.9.9", "rings": ["*"]}));
    posted("/users", user("anna", "admin"));
    fs::write(cluster.dir.join("password"), "a good password").unwrap();
    cluster.at_home(&["login", &cluster.url, "--username", "anna", "--password-file", "password"]);
    cluster.at_home(&["backup", "create", "--no-encryption"]);
    cluster
}

#[test]
fn every_list_has_the_same_forms() {
    let cluster = cluster_with_everything();
    let home = cluster.dir.path().to_str().unwrap();
    for (line, first_column, header, key) in LISTS {
        let words: Vec<&str> = line.split(' ').collect();
        let run = |form: &[&str]| cluster.at_home(&[&words, form].concat());
        let listed: Vec<Value> = serde_json::from_str(&run(&["-o", "json"])).unwrap();
        assert!(!listed.is_empty(), "{line}");
        let ids = |list: &[Value]| -> Vec<String> { list.iter().map(|object| text_of(&object[*key])).collect() };
        assert_eq!(ids(&serde_json::from_str::<Vec<Value>>(&run(&["--json"])).unwrap()), ids(&listed), "{line}");
        let lines: Vec<Value> = run(&["-o", "jsonl"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(ids(&lines), ids(&listed), "{line}");
        for names in [run(&["-o", "name"]), run(&["-q"])] {
            assert_eq!(names.lines().collect::<Vec<_>>(), ids(&listed), "{line}");
        }
        let on_terminal = plain(&cluster.shown(200, &words, &[("HOME", home)]));
        for text in [run(&["-o", "table"]), run(&["-o", "wide"]), on_terminal] {
            assert_eq!(text.split_whitespace().next(), Some(*first_column), "{line}: {text}");
            let rows = text.lines().filter(|row| !row.trim().is_empty());
            assert_eq!(rows.count(), listed.len() + 1, "{line}: {text}");
        }
        let piped = run(&[]);
        let mut lines = piped.lines();
        let columns = header.replace(' ', "\t").replace('_', " ");
        assert_eq!(lines.next(), Some(&*columns), "{line}");
        let widths: Vec<usize> = lines.map(|row| row.split('\t').count()).collect();
        assert_eq!(widths, vec![columns.split('\t').count(); listed.len()], "{line}: {piped}");
    }
}

#[test]
fn users_who_are_not_admins_list_and_revoke_their_own_api_tokens() {
    let cluster = cluster_with_everything();
    assert_eq!(cluster.admin.post("/users", &user("vera", "viewer")).status, 201);
    let login = ["login", &cluster.url, "--username", "vera", "--password-file", "password", "--context", "vera"];
    cluster.at_home(&login);
    let own = cluster.at_home(&["api-token", "list", "-q", "--context", "vera"]);
    assert_eq!(own.lines().count(), 1, "{own}");
    let all = cluster.ok(&["api-token", "list", "-q", "--username", "anna", "--password-file", "password"]);
    assert!(all.lines().count() > 1 && all.contains(own.trim()), "{all}");
    cluster.at_home(&["api-token", "revoke", own.trim(), "--context", "vera"]);
    assert_eq!(cluster.admin.get("/api-tokens").json().as_array().unwrap().len(), 1);
}

/// A value as a list shows it.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

#[test]
fn an_empty_list_is_a_sentence_on_stderr_and_an_unknown_form_a_fault() {
    let cluster = Cluster::new();
    assert_eq!(cluster.ok(&["routers", "-o", "table"]), "");
    assert_eq!(cluster.ok(&["routers"]), "ASSIGNMENT\tNODE\tPRIMARY\tSECONDARY\n");
    let (status, said) =
        fails(cluster.dir.path(), &["nodes", "-o", "yaml", "--color", "red", "--api-url", &cluster.url]);
    assert!(
        status == 2
            && said.contains("--format must be one of table, wide, json, jsonl, name")
            && said.contains("--color must be"),
        "{said}"
    );
}

#[test]
fn services_say_how_they_are_by_what_their_replicas_report() {
    let cluster = Cluster::new();
    let admin = &cluster.admin;
    assert_eq!(admin.put("/cluster-settings/scheduler_mode", &json!({"value": "manual"})).status, 200);
    let state = |id: &str| -> String {
        let text = cluster.ok(&["services", "-o", "table"]);
        let row = text.lines().find(|l| l.starts_with(id)).unwrap_or_else(|| panic!("no {id} in {text}")).to_string();
        row[text.find("STATE").unwrap()..text.find("GEN").unwrap()].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let spec = json!({"scheduling": {"desired_replicas": 1}});
    assert_eq!(admin.post("/services", &json!({"id": "web", "name": "web", "spec": spec})).status, 201);
    assert_eq!(state("web"), "pending 0/1");
    let replica = json!({"id": "r", "service_id": "web", "node_id": "berlin-1"});
    assert_eq!(admin.post("/replicas", &replica).status, 201);
    assert_eq!(state("web"), "pending 0/1", "it is placed, and no node has reported it");
    let report = json!({"status": {"healthy": true, "applied_generation": 1}});
    assert_eq!(admin.patch("/replicas/r", &report).status, 200);
    assert_eq!(state("web"), "healthy 1/1");
    assert_eq!(
        admin.patch("/services/web", &json!({"spec": {"image": "new", "scheduling": {"desired_replicas": 1}}})).status,
        200
    );
    assert_eq!(state("web"), "rolling out 1/1");
    assert_eq!(admin.patch("/replicas/r", &json!({"status": {"state": "CrashLoop"}})).status, 200);
    assert_eq!(state("web"), "degraded 0/1");
    let shown = plain(&cluster.on_terminal(100, &["service", "show", "web"], &[]));
    assert!(shown.contains("state  ") && shown.contains("degraded") && shown.contains("s ago)"), "{shown}");
    assert!(!cluster.ok(&["service", "show", "web"]).contains("degraded"), "a pipe gets what the API says");
}

#[test]
fn quiet_commands_print_what_they_created_and_nothing_else() {
    let cluster = Cluster::new();
    assert_eq!(cluster.ok(&["node", "cordon", "berlin-1", "-q"]), "");
    assert_eq!(cluster.ok(&["node", "show", "berlin-1", "-q"]), "");
    assert_eq!(cluster.ok(&["node", "uncordon", "berlin-1", "-o", "name"]), "berlin-1\n");
    let token = cluster.ok(&["api-token", "create", "ci", "--role", "viewer", "-q"]);
    assert!(token.starts_with("um_") && token.lines().count() == 1, "{token}");
    assert_eq!(plain(&cluster.on_terminal(80, &["node", "cordon", "pi"], &[])).trim_end(), "Cordoned pi.");
    assert_eq!(
        serde_json::from_str::<Value>(&cluster.ok(&["node", "cordon", "pi"])).unwrap()["id"],
        "pi",
        "a pipe gets JSON"
    );
    assert_eq!(cluster.ok(&["node", "delete", "pi", "-q"]), "");
}

#[test]
fn a_watched_list_is_drawn_again_in_its_place() {
    let cluster = Cluster::new();
    let dir = cluster.dir.path();
    let mut running = on_terminal(dir, 100, &["nodes", "--watch", "--api-url", &cluster.url], &[]);
    let last = || typescript(dir).rsplit("\x1b[H").next().unwrap_or_default().to_string();
    until("the list is there", || last().contains("berlin-1").then_some(()));
    assert!(last().contains("3 nodes, ") && last().contains("Ctrl-C ends"), "{}", last());
    assert_eq!(cluster.admin.post("/nodes/berlin-1/cordon", &json!({})).status, 200);
    until("the change is drawn", || {
        last().lines().any(|l| l.starts_with("berlin-1") && l.contains("cordoned")).then_some(())
    });
    let drawn = typescript(dir);
    assert_eq!(drawn.matches("\x1b[2J").count(), 1, "cleared once, then drawn over: {drawn:?}");
    // More rows than lines: the screen must not scroll.
    for i in 0..30 {
        assert_eq!(
            cluster.admin.post("/nodes", &json!({"id": format!("n{i:02}"), "name": format!("n{i:02}")})).status,
            201
        );
    }
    until("what does not fit is counted", || {
        last().contains("33 nodes").then_some(()).filter(|()| last().contains("\x1b[J"))
    });
    assert!(last().contains("... and 17 more\x1b[K") && last().matches('\n').count() <= 20, "{:?}", last());
    send("INT", dir);
    assert_eq!(running.exit_status(), 0);
}

#[test]
fn a_watch_in_a_pipe_prints_changes_and_outlives_its_server() {
    let dir = Dir::new();
    let port = free_port().to_string();
    let serve = || Running::serve(dir.path(), &["serve", "--server-port", &port]);
    let (mut server, client) = serve();
    let admin = client.signed_in("admin", "uptime");
    let url = format!("http://{}", client.address);
    assert_eq!(admin.post("/nodes", &json!({"id": "a", "name": "a"})).status, 201);
    let mut watch = Running::of(command(dir.path(), &["nodes", "-w", "--api-url", &url]), dir.path(), "watch");
    let rows = |running: &Running| {
        running.said().lines().skip(1).map(|l| l.split('\t').take(4).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    until("the list is there", || (rows(&watch) == ["a a - -"]).then_some(()));
    assert!(watch.said().starts_with("NODE\tNAME\tROLES\tSCHEDULABLE\tDRAIN\tHEARTBEAT\n"));
    assert_eq!(admin.post("/nodes", &json!({"id": "b", "name": "b"})).status, 201);
    until("the new row is there", || (rows(&watch).last()? == "b b - -").then_some(()));
    assert_eq!(admin.post("/nodes/a/cordon", &json!({})).status, 200);
    until("the changed row is there", || (rows(&watch).last()? == "a a - false").then_some(()));

    server.kill();
    until("it says so", || watch.logged().contains("; trying again in 1 s\n").then_some(()));
    let (_server, _) = serve();
    until("it reads again", || {
        let deleted = admin.delete("/nodes/b").status;
        [204, 404].contains(&deleted).then_some(())
    });
    until("the row that is gone is marked", || (rows(&watch).last()? == "-b b - -").then_some(()));
    assert_eq!(rows(&watch), ["a a - -", "b b - -", "a a - false", "-b b - -"], "nothing twice");
    assert!(Command::new("kill").args(["-s", "INT", &watch.pid().to_string()]).status().unwrap().success());
    assert_eq!(watch.exit_status(), 0);
}

#[test]
fn ctrl_c_ends_a_watch_of_a_server_that_does_not_answer() {
    let (dir, silent) = (Dir::new(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut command = command(dir.path(), &["node", "list", "-w", "--api-url", &url]);
    command.env("UPTIMEMESH_API_TOKEN", "um_x");
    let mut watch = Running::of(command, dir.path(), "watch");
    let (mut connection, _) = silent.accept().unwrap();
    assert_eq!(connection.read(&mut [0; 4]).unwrap(), 4, "it waits for an answer");
    assert!(Command::new("kill").args(["-s", "INT", &watch.pid().to_string()]).status().unwrap().success());
    assert_eq!(watch.exit_status(), 0, "not 3, which is what the end of its patience has");
}

#[test]
fn a_watch_ends_with_its_reader() {
    let cluster = Cluster::new();
    let line = format!("{} nodes -w -o jsonl --api-url {} | head -n 1", env!("CARGO_BIN_EXE_uptimemesh"), cluster.url);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &line])
        .current_dir(cluster.dir.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let mut running = Running::of(shell, cluster.dir.path(), "head");
    until("the first line is there", || running.said().contains("berlin-1").then_some(()));
    // Its next line finds that its reader has gone.
    for i in 0.. {
        cluster.admin.post("/nodes", &json!({"id": format!("n{i}"), "name": format!("n{i}")}));
        if running.has_ended() {
            break;
        }
        assert!(i < 10_000, "it does not end");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(running.said().lines().count(), 1);
}
