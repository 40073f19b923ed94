//! Names of commands, old and new, the help that finds them, and exit codes: by the real program.

use crate::program::{Running, command, fails, ok, run};
use crate::support::Dir;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Every listed command, by the manual.
pub fn names(dir: &Path) -> Vec<String> {
    let manual = ok(dir, &["man"]);
    let headings = manual.lines().filter_map(|line| line.strip_prefix(".SS \\fB"));
    headings.map(|line| line.split("\\fR").next().unwrap().replace("\\-", "-")).collect()
}

/// Names of version 1 and of 2.0.0 that read something, each with what it is called now.
const OLD_READERS: &[(&str, &str)] = &[
    ("nodes-status", "node leases"),
    ("nodes", "node list"),
    ("services", "service list"),
    ("replicas", "replica list"),
    ("endpoints", "endpoint list"),
    ("routers", "router list"),
    ("join-tokens", "token list"),
    ("plan", "scheduler plan"),
    ("plan web", "scheduler plan web"),
    ("explain web", "scheduler explain web"),
    ("rebalance", "scheduler rebalance"),
    ("snapshots", "snapshot list"),
    ("support-bundle list", "bundle list"),
    ("settings", "setting list"),
    ("users", "user list"),
    ("api-tokens", "api-token list"),
    ("fleet-update list", "update list"),
    ("node ls", "node list"),
    ("services ls", "service list"),
    ("services show web", "service show web"),
];

/// Those that change something, with a pattern of what they print.
const OLD_WRITERS: &[(&str, &str)] = &[
    ("bootstrap", "\"core_token\""),
    ("create-token --role worker", "\"token\": "),
    ("reconcile web", "eligible nodes"),
    ("snapshots --request", "\"status\": \"pending\""),
    ("support-bundle create", "\"requested_by\""),
    ("user add bob --role viewer --new-password a-long-password", "must_change_password"),
    ("user rm bob", "Removed bob.\n"),
    ("services rm web --force", "Removed web.\n"),
];

#[test]
fn every_old_name_is_understood_and_listed_nowhere() {
    let dir = Dir::new();
    let (_serve, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let url = format!("http://{}", client.address);
    let run = |line: &str| ok(dir.path(), &line.split(' ').chain(["--api-url", &url]).collect::<Vec<_>>());
    run("node create n1 --role worker --label zone=a");
    fs::write(dir.join("web.json"), r#"{"id": "web", "name": "web", "spec": {"replicas_desired": 1}}"#).unwrap();
    run("setting set scheduler_mode manual");
    run("service apply -f web.json");

    let listed = names(dir.path());
    for (old, new) in OLD_READERS {
        // The scheduler's clock stands in plans alone, and those print no time.
        assert_eq!(run(old), run(new), "{old} is {new}");
        let old = old.trim_end_matches(" web");
        assert!(!listed.iter().any(|name| name == old), "{old} is listed");
    }
    for (old, part) in OLD_WRITERS {
        let printed = run(old);
        assert!(printed.contains(part), "{old}: {printed}");
    }
    let token: Value = serde_json::from_str(&run("api-token create ci --role viewer")).unwrap();
    let id = token["id"].as_str().unwrap();
    assert_eq!(run(&format!("api-token delete {id}")), format!("Removed {id}.\n"));
    let token: Value = serde_json::from_str(&run("create-token --role worker")).unwrap();
    let id = token["id"].as_str().unwrap();
    assert_eq!(run(&format!("delete-token {id}")), format!("Removed {id}.\n"));
    let bundle: Value = serde_json::from_str(&run("bundle create --wait --json")).unwrap();
    let id = bundle["id"].as_str().unwrap();
    assert!(run(&format!("support-bundle download {id} --output x.tar.gz")).starts_with("Wrote x.tar.gz ("));
    let update: Value = serde_json::from_str(&run("fleet-update start 9.9.9 --rings * --json")).unwrap();
    let id = update["id"].as_str().unwrap();
    for (verb, state) in [("show", "running"), ("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")] {
        let update: Value = serde_json::from_str(&run(&format!("fleet-update {verb} {id} --json"))).unwrap();
        assert_eq!(update["state"], state, "{verb}");
    }
    let sessions = run("sessions");
    assert!(sessions.starts_with("ID\tUSER\tADDRESS\t"), "{sessions}");
    let events = run("events --limit 5");
    assert!(events.starts_with("TIME\tLEVEL\tEVENT\tFIELDS\n") && events.lines().count() == 6, "{events}");
    let (status, said) = fails(dir.path(), &["fleet-update", "show", "no-such", "--api-url", &url]);
    assert!(status == 1 && said.contains("HTTP 404"), "{said}");
    let said = ok(dir.path(), &["admin", "reset-password", "--help"]);
    assert!(said.contains("usage: uptimemesh user reset-password"), "{said}");
}

#[test]
fn resources_are_created_shown_changed_and_removed() {
    let dir = Dir::new();
    let (_serve, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let url = format!("http://{}", client.address);
    let run = |line: &str| ok(dir.path(), &line.split(' ').chain(["--api-url", &url]).collect::<Vec<_>>());
    let object = |line: &str| -> Value { serde_json::from_str(&run(&format!("{line} --json"))).unwrap() };

    assert_eq!(
        object("node create n1 --role worker --role gateway --label zone=a --label rack=1")["roles"],
        json!(["worker", "gateway"])
    );
    let labels = object("node label n1 --set zone=b disk=ssd --remove rack");
    assert_eq!(labels["labels"], json!({"zone": "b", "disk": "ssd"}));
    let (status, said) = fails(dir.path(), &["node", "label", "n1", "--set", "zone"]);
    assert!(status == 2 && said.contains("--set must be KEY=VALUE"), "{said}");
    assert!(run("node tunnels").starts_with("NODE\tPRIMARY\tSECONDARY\tROUTE\tFAILOVER\nn1\t"));

    let admin = client.signed_in("admin", "uptime");
    assert_eq!(admin.post("/services", &json!({"id": "s", "name": "s", "spec": {"replicas_desired": 1}})).status, 201);
    assert_eq!(admin.post("/replicas", &json!({"id": "r", "service_id": "s", "node_id": "n1"})).status, 201);
    assert_eq!(object("endpoint create e --replica r --address 10.0.0.7 --port 80")["healthy"], true);
    assert_eq!(object("endpoint mark e unhealthy")["healthy"], false);
    assert_eq!(object("endpoint show e")["address"], "10.0.0.7");
    let (status, said) = fails(dir.path(), &["endpoint", "mark", "e", "ill", "--api-url", &url]);
    assert!(status == 2 && said.contains("HEALTH must be healthy or unhealthy"), "{said}");
    let (status, said) = fails(dir.path(), &["endpoint", "create", "e2"]);
    assert!(
        status == 2 && ["--replica", "--address", "--port"].iter().all(|o| said.contains(&format!("{o} is required"))),
        "{said}"
    );
    assert_eq!(run("endpoint rm e"), "Removed e.\n");

    run("node create g1");
    run("node create g2");
    assert_eq!(object("router create a --node n1 --primary g1 --secondary g2")["primary_router_id"], "g1");
    assert_eq!(object("router show a")["node_id"], "n1");
    assert_eq!(run("router delete a"), "Removed a.\n");

    let token = object("token create --role worker");
    let id = token["id"].as_str().unwrap();
    let shown = object(&format!("token show {id}"));
    assert!(shown["role"] == "worker" && shown.get("token").is_none(), "{shown}");
    assert_eq!(run(&format!("token rm {id}")), format!("Removed {id}.\n"));
    let (status, said) = fails(dir.path(), &["token", "show", id, "--api-url", &url]);
    assert!(status == 1 && said.contains("uptimemesh token list"), "{said}");

    let snapshot = object("snapshot request");
    let id = snapshot["id"].as_str().unwrap();
    assert_eq!(object(&format!("snapshot show {id}"))["status"], "pending");
    let (status, said) = fails(dir.path(), &["snapshot", "delete", id, "--api-url", &url]);
    assert!(status == 5 && said.contains("only completed or failed ones can be deleted"), "{said}");
    let bundle = object("bundle create --wait");
    let id = bundle["id"].as_str().unwrap();
    assert_eq!(object(&format!("bundle show {id}"))["status"], "completed");
    assert_eq!(run(&format!("bundle delete {id}")), format!("Removed {id}.\n"));
    assert_eq!(object("setting show scheduler_mode")["value"], "auto");
    assert_eq!(object("user show admin")["role"], "admin");
    assert_eq!(object("scheduler status")["mode"], "auto");
}

#[test]
fn the_help_fits_one_screen_and_names_every_command() {
    let dir = Dir::new();
    let overview = ok(dir.path(), &["help"]);
    assert!(overview.lines().count() <= 45, "{} lines", overview.lines().count());
    assert!(overview.lines().all(|line| line.len() <= 80), "{overview}");
    let groups = &overview[overview.find("\nnodes ").unwrap()..overview.find("\noptions ").unwrap()];
    // The verbs of each noun, of its own row and of the rows that continue it; "" has the words that are no nouns.
    let mut verbs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut noun = "";
    for line in groups.lines().filter(|line| !line.is_empty()) {
        let words = if line.starts_with("other") || (noun.is_empty() && !verbs.is_empty() && line.starts_with("    ")) {
            noun = "";
            line.trim_start_matches("other")
        } else {
            let (named, words) = line[11..].split_at(10);
            noun = if named.trim().is_empty() { noun } else { named.trim() };
            words
        };
        verbs.entry(noun).or_default().extend(words.split_whitespace());
    }
    for name in names(dir.path()) {
        let (noun, verb) = name.split_once(' ').unwrap_or(("", &name));
        let first = overview.lines().any(|line| line.strip_prefix("  ").is_some_and(|line| line.starts_with(verb)));
        let is_noun = noun.is_empty() && verbs.contains_key(verb);
        let listed = verbs.get(noun).is_some_and(|verbs| verbs.contains(&verb));
        assert!(listed || is_noun || (noun.is_empty() && first), "{name} is not in the row {noun:?}: {verbs:?}");
    }
    let listed: usize = verbs.values().map(Vec::len).sum();
    assert!(listed <= names(dir.path()).len(), "a row has an unknown verb: {verbs:?}");
    let manual = ok(dir.path(), &["man"]);
    for code in 0..=5 {
        assert!(manual.contains(&format!(".TP\n.B {code}\n")), "exit code {code} is not in the manual");
        assert!(overview.contains(&format!("{code} ")), "exit code {code} is not in the help");
    }
}

#[test]
fn a_mistyped_word_is_answered_with_the_nearest() {
    let dir = Dir::new();
    for (line, said) in [
        ("nod", "unknown command \"nod\"; did you mean \"node\"?"),
        ("ndoe list", "unknown command \"ndoe\"; did you mean \"node\"?"),
        ("service aply", "service has no verb \"aply\"; did you mean \"apply\"?"),
        ("services aply", "service has no verb \"aply\"; did you mean \"apply\"?"),
        ("nodes drian n1", "node has no verb \"drian\"; did you mean \"drain\"?"),
        (
            "service show web --watch",
            "service show takes no option --watch; to follow a list: uptimemesh service list --watch",
        ),
        ("ca show -w", "ca show takes no option --watch; to follow a list: uptimemesh ca nodes --watch"),
        ("config show --watch", "config show takes no option --watch\n"),
        ("update strat", "update has no verb \"strat\"; did you mean \"start\"?"),
        ("help servce", "unknown command \"servce\"; did you mean \"service\"?"),
        ("node list --lable a=b", "unknown option --lable; did you mean --label?"),
        ("serve --server-prot=1", "unknown option --server-prot; did you mean --server-port?"),
        ("help --jsno", "unknown option --jsno"),
        ("xyzzy", "unknown command \"xyzzy\""),
        ("token", "\"token\" is followed by one of: create, list, show, revoke"),
        ("fleet-update", "\"update\" is followed by one of: "),
        ("help node list more", "unknown command \"node list more\""),
    ] {
        let (status, stderr) = fails(dir.path(), &line.split(' ').collect::<Vec<_>>());
        assert_eq!(status, 2, "{line}: {stderr}");
        assert!(stderr.starts_with(&format!("error: {said}")), "{line}: {stderr}");
    }
}

#[test]
fn the_help_of_a_command_has_no_empty_part() {
    let dir = Dir::new();
    for name in ["man", "docs", "help", "completions"] {
        let help = ok(dir.path(), &["help", name]);
        assert!(!help.contains("\noptions:\n"), "{help}");
        assert!(help.contains("\noptions of every command:\n") && help.contains("--help"), "{help}");
    }
}

#[test]
fn exit_codes_tell_why_a_command_failed() {
    let dir = Dir::new();
    let (_serve, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let (plain, secure) = (format!("http://{}", client.address), format!("https://{}", client.address));
    let code = |args: &[&str]| run(dir.path(), args).status.code().unwrap();
    let at = |url: &str, line: &str| code(&line.split(' ').chain(["--api-url", url]).collect::<Vec<_>>());
    let away = "http://127.0.0.1:1";

    assert_eq!(at(&plain, "node list"), 0);
    assert_eq!(at(&plain, "node show no-such"), 1, "a refusal");
    assert_eq!(at(&plain, "node list --password wrong"), 1, "a refused sign-in");
    assert_eq!(code(&["node", "show"]), 2);
    assert_eq!(at(away, "node list"), 3);
    // Nobody who is believed vouches for this server.
    fs::write(dir.join("other.pem"), rcgen_authority()).unwrap();
    let (status, said) = fails(dir.path(), &["node", "list", "--ca-file", "other.pem", "--api-url", &secure]);
    assert!(status == 3 && said.contains("Could not verify that"), "{said}");
    assert_eq!(at(&plain, "node create n1"), 0);
    assert_eq!(at(&plain, "node create n1"), 5, "a conflict");
    for name in ["node leases", "node list"] {
        assert_eq!(at(away, name), 3, "{name}");
    }

    // A node that lives and fetches no new authority.
    let invitation: Value =
        serde_json::from_str(&ok(dir.path(), &["token", "create", "--role", "worker", "--api-url", &plain])).unwrap();
    let token = invitation["token"].as_str().unwrap();
    let joined =
        ["join", "--token", token, "--role", "worker", "--node-id", "n2", "--lease-ttl", "300", "--api-url", &plain];
    ok(dir.path(), &joined);
    assert_eq!(at(&plain, "ca rotate --wait --timeout 0"), 4, "n2 is alive and not up to date");

    // Version 1 knows 1 alone, whatever failed.
    for line in ["nodes-status", "bootstrap", "create-token --role worker", "join --token t --role worker --node-id n9"]
    {
        assert_eq!(at(away, line), 1, "{line}");
    }
    let beat = ["heartbeat", "--node-id", "n2", "--api-url", away];
    assert_eq!(code(&beat), 1, "heartbeat");
    assert_eq!(code(&joined), 1, "the node is alive: a conflict, by a name of version 1");
    assert!(command(dir.path(), &["nodes-status", "--nonsense"]).output().unwrap().status.code() == Some(2));
}

/// A certificate of an authority that nobody uses.
fn rcgen_authority() -> String {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&crate::node::key()).unwrap().pem()
}

#[test]
fn the_status_is_one_screen_of_the_whole_cluster() {
    let dir = Dir::new();
    let (_serve, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let url = format!("http://{}", client.address);
    let run = |line: &str| ok(dir.path(), &line.split(' ').chain(["--api-url", &url]).collect::<Vec<_>>());
    run("setting set scheduler_mode manual");
    run("node create n1");
    fs::write(dir.join("web.json"), r#"{"id": "web", "name": "web", "spec": {"replicas_desired": 2}}"#).unwrap();
    run("service apply -f web.json");

    let screen = run("status");
    let has = |part: &str| assert!(screen.contains(part), "no {part:?} in {screen}");
    has(&format!("control plane  {url}, version {}", env!("CARGO_PKG_VERSION")));
    has("scheduler      manual\n");
    has("nodes          0 alive, 1 unknown\n");
    has("services       1, 0 of 2 replicas placed\n               0/2 web\n");
    has("attention      mode scheduler it is in mode manual\n");
    has("too few web 0 of 2 placed, 0 failing\n");
    assert!(screen.lines().count() <= 40, "{screen}");

    let status: Value = serde_json::from_str(&run("status --json")).unwrap();
    assert_eq!(
        status["services"],
        json!([{"service_id": "web", "desired": 2, "running": 0, "pending": 0, "failing": 0, "outdated": 0}])
    );
    assert_eq!(status["nodes"], json!({"alive": 0, "stale": 0, "dead": 0, "unknown": 1}));
    run("scheduler reconcile web");
    assert!(run("status").contains("services       1, 2 of 2 replicas placed\n"));
}
