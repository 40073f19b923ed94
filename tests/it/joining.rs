//! From nothing to two nodes as a person does it: `up` on a terminal, and the line that it shows on a second machine.

use crate::install::{alive, is_unprivileged, join_string as join_string_of};
use crate::machine::{Init, Machine, can_have_machines};
use crate::node::Node;
use crate::program::{Running, command, fails, run};
use crate::support::{Client, Dir, until};
use crate::terminal::Terminal;
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;

const UP: [&str; 7] = ["up", "--server-port", "0", "--server-host", "127.0.0.1", "--node-id", "node-a"];

/// The control plane whose banner this is, and its join string.
fn read_banner(banner: &str) -> (Client, String) {
    let after = |mark: &str| {
        let at = banner.find(mark).unwrap_or_else(|| panic!("no {mark:?} in {banner}")) + mark.len();
        banner[at..].split(['/', ' ', '\r', '\n']).find(|word| !word.is_empty()).unwrap().to_string()
    };
    let address: SocketAddr = after("UI         http://").parse().unwrap();
    (Client { address, token: None, tls: None }, after("uptimemesh join "))
}

fn lease(admin: &Client, node: &str) -> Value {
    let leases = admin.get("/cluster/leases").json();
    leases.as_array().unwrap().iter().find(|l| l["node_id"] == node).map_or(Value::Null, |l| l["lease_state"].clone())
}

fn server() -> (Dir, Running, Client, String) {
    let dir = Dir::new();
    let (serve, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let admin = client.signed_in("admin", "uptime");
    admin.post("/cluster/bootstrap", &json!({}));
    let join = join_string(&admin);
    (dir, serve, admin, join)
}

fn join_string(admin: &Client) -> String {
    let made = admin.post("/cluster/join-tokens", &json!({"role": "worker"})).json();
    made["join_string"].as_str().unwrap().to_string()
}

#[test]
fn two_lines_make_two_nodes_and_the_first_terminal_shows_what_happens() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let mut up = Terminal::start(dir.path(), "up", &UP, &[]);
    let banner = up.shows("sign in  ");
    let (client, join) = read_banner(&banner);
    assert!(banner.contains(&format!("uptimemesh join {join} --run")), "{banner}");
    for part in
        ["node-a (this machine)", "data/app.log", "This server listens on this machine only", "ends in 30 minutes"]
    {
        assert!(banner.contains(part), "no {part:?} in {banner}");
    }
    let too_wide = banner.lines().find(|line| line.trim_end().chars().count() > 80 && !line.contains(&join));
    assert_eq!(too_wide, None);
    let at = |text: &str| banner.find(text).unwrap_or_else(|| panic!("no {text:?} in {banner}"));
    assert!(
        at("uptimemesh join ") < at("UI  ") && at("UI  ") < at("sign in  "),
        "the last lines stay on a small screen"
    );
    let rows: usize = banner.lines().map(|line| line.trim_end().len().div_ceil(80).max(1)).sum();
    assert!(rows < 24, "{rows} rows: {banner}");

    let mut second = Running::start(elsewhere.path(), "join", &["join", &join, "--run", "--node-id", "node-b"]);
    let admin = client.signed_in("admin", "uptime");
    until("node-b is alive", || (lease(&admin, "node-b") == "alive").then_some(()));
    let answer: Value =
        until("it answers with JSON where it is not a terminal", || serde_json::from_str(&second.said()).ok());
    assert_eq!(answer["node_id"], "node-b");
    until("it works as the agent", || second.logged().contains("agent.start").then_some(()));
    assert_eq!(second.terminate(), 0, "{}", second.logged());

    let said = up.shows("node-b joined as worker");
    assert!(said.contains("\x1b[32mnode-b joined as worker\x1b[0m"), "{said}");
    // The requests are in the file, and nothing of the log is on the terminal, nor the secret in the log.
    let log = until("the requests are logged", || {
        fs::read_to_string(dir.join("data/app.log")).ok().filter(|l| l.contains("request.complete"))
    });
    assert!(!up.said().contains(" | ") && !log.contains(join.split(':').nth(3).unwrap()), "{}", up.said());
    up.send("INT");
    assert_eq!(up.exit_status(), 0);
    assert!(up.said().contains("Stopping ..."), "{}", up.said());

    // A start within the second of the last heartbeat.
    let mut again = Terminal::start(dir.path(), "again", &UP, &[]);
    let (client, _) = read_banner(&again.shows("sign in  "));
    let admin = client.signed_in("admin", "uptime");
    until("node-a is alive", || (lease(&admin, "node-a") == "alive").then_some(()));
    again.send("INT");
    assert_eq!(again.exit_status(), 0);
    let log = fs::read_to_string(dir.join("data/app.log")).unwrap();
    assert!(!log.contains("heartbeat.refused"), "{}", again.said());
}

#[test]
fn a_terminal_shows_refusals_and_failures_and_no_colours_that_nobody_wants() {
    let dir = Dir::new();
    let up = Terminal::start(dir.path(), "up", &UP, &[("NO_COLOR", "1")]);
    let (client, join) = read_banner(&up.shows("sign in  "));
    let admin = client.signed_in("admin", "uptime");
    let refused = client.post("/auth/token", &json!({"username": "admin", "password": "wrong"}));
    assert_eq!(refused.status, 401);
    let said = up.shows("Refused a sign-in");
    assert!(!said.contains("auth.sign_in_failed"), "said twice: {said}");
    // A node that no heartbeat follows, and a service that no node can take.
    assert_eq!(
        Node::new("node-b").join(&client, join.split(':').nth(3).unwrap(), json!({"lease_ttl_seconds": 10})).status,
        200
    );
    let spec = json!({"scheduling": {"desired_replicas": 2, "node_selector": {"zone": "nowhere"}}});
    assert_eq!(admin.post("/services", &json!({"id": "web", "name": "web", "spec": spec})).status, 201);
    up.shows("node-b joined as worker");
    up.shows("web has a place for 0 of 2 replicas");
    let said = up.shows("node-b is stale: last heartbeat at ");
    assert!(!said.contains('\x1b'), "{said:?}");
}

#[test]
fn where_there_is_no_terminal_up_says_no_secret_and_logs_as_a_service_does() {
    let dir = Dir::new();
    let up = Running::start(dir.path(), "up", &UP);
    let said = until("it is up", || Some(up.said()).filter(|said| said.contains("add a node")));
    assert!(!said.contains("umj1:") && !said.contains('\x1b'), "{said}");
    assert!(up.logged().contains("serve.start"), "{}", up.logged());
}

#[test]
fn a_join_on_a_terminal_says_in_three_lines_what_it_did() {
    let (dir, mut serve, admin, join) = server();
    let mut joined = Terminal::start(dir.path(), "join", &["join", &join, "--node-id", "node-b"], &[]);
    assert_eq!(joined.exit_status(), 0);
    let said = joined.said();
    for part in [
        "This machine is now the node node-b (worker) of the control plane at\r\nhttps://127.0.0.1:",
        "Its identity is in data/identities/node-b;",
        "Next: uptimemesh agent --node-id node-b",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!said.contains("BEGIN CERTIFICATE") && !said.contains("lease_token"), "{said}");
    assert_eq!(lease(&admin, "node-b"), "alive");

    // Its agent shows a person no lines of the log.
    let mut agent = Terminal::start(dir.path(), "agent", &["agent", "--node-id", "node-b"], &[]);
    agent.shows("The agent of node-b runs here until it is stopped.");
    serve.kill();
    let said = agent.shows("warning: A heartbeat failed");
    assert!(!said.contains(" | "), "{said}");
    agent.send("INT");
    assert_eq!(agent.exit_status(), 0);
}

#[test]
fn a_join_that_fails_says_what_to_do_and_leaves_nothing() {
    let (dir, mut serve, admin, join) = server();
    let elsewhere = Dir::new();
    assert!(run(dir.path(), &["join", &join, "--node-id", "node-b"]).status.success());
    // A string that was used.
    let (status, said) = fails(elsewhere.path(), &["join", &join, "--node-id", "node-c", "--run"]);
    assert!(
        status == 1 && said.contains("already-used join token") && said.contains("token create --role worker"),
        "{said}"
    );
    assert!(!elsewhere.join("data/identities/node-c").exists());
    // By the machine that is a node already, with the same string and with a fresh one.
    for string in [&join, &join_string(&admin)] {
        let (status, said) = fails(dir.path(), &["join", string, "--node-id", "node-b"]);
        assert!(
            status == 1
                && said.contains("the node node-b already")
                && said.contains("uptimemesh agent --node-id node-b"),
            "{said}"
        );
    }
    assert!(dir.join("data/identities/node-b/lease.token").exists(), "its identity stays");
    // By another machine of the same name.
    let fresh = join_string(&admin);
    let (status, said) = fails(elsewhere.path(), &["join", &fresh, "--node-id", "node-b"]);
    assert!(status == 1 && said.contains("--node-id ID"), "{said}");
    assert!(!elsewhere.join("data/identities/node-b").exists());
    // Without a control plane.
    serve.kill();
    let (status, said) = fails(elsewhere.path(), &["join", &fresh, "--node-id", "node-d"]);
    assert!(status == 1 && said.contains("cannot reach https://127.0.0.1:"), "{said}");
    assert!(!elsewhere.join("data/identities/node-d").exists());
}

#[test]
fn an_installation_is_refused_before_the_join_string_is_used() {
    let (dir, _serve, admin, join) = server();
    let (status, said) = fails(dir.path(), &["join", &join, "--install", "--run", "--label", "a=b"]);
    assert_eq!(status, 2);
    assert!(said.contains("--install takes no --run") && said.contains("--install takes no --label"), "{said}");
    let (status, said) = fails(dir.path(), &["join", "--token", "t", "--role", "worker", "--install"]);
    assert!(status == 2 && said.contains("--install needs a join string"), "{said}");
    // Without root the installer itself says so.
    let nobody = command(dir.path(), &["join", &join, "--install"]);
    let mut as_nobody = std::process::Command::new("setpriv");
    as_nobody
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(nobody.get_program())
        .args(nobody.get_args());
    let output = as_nobody.current_dir("/").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("setpriv: ") {
        eprintln!("left out: {said}");
    } else {
        assert!(!output.status.success() && said.contains("this needs root"), "{said}");
    }
    let tokens = admin.get("/cluster/join-tokens").json();
    assert!(tokens.as_array().unwrap().iter().all(|token| token["used_at"].is_null()), "{tokens}");
}

/// The program that was only copied to a machine becomes a service there, by the one line.
fn installs_itself(init: Init) {
    if !can_have_machines() {
        return;
    }
    let (one, two) = (Machine::new(init), Machine::new(init));
    let client = one.install_first("node-a", "--bin /srv/uptimemesh");
    let join = join_string_of(&one, &client);
    let said = two.ok(&format!("/srv/uptimemesh join '{}' --install --node-id node-b", join.trim()));
    assert!(said.contains("done: node-b is a live node"), "{said}");
    is_unprivileged(&two, two.process("agent").expect("the agent runs as a service"));
    assert_eq!(alive(&client), ["node-a", "node-b"]);
    let said = two.fails(&format!("/srv/uptimemesh join '{}' --install --node-id node-c", join.trim()));
    assert!(said.contains("has already joined as node-b"), "{said}");
}

#[test]
fn join_installs_a_service_with_systemd() {
    installs_itself(Init::Systemd);
}

#[test]
fn join_installs_a_service_on_machines_like_alpine() {
    installs_itself(Init::OpenRc);
}

/// A rotation that waits for a node which never fetches the new authority.
fn waiting() -> (Dir, Running, String) {
    let (dir, serve, admin, _) = server();
    let node = Node::new("node-b").join(
        &admin,
        &crate::node::token(&admin, "worker", None),
        json!({"lease_ttl_seconds": 300}),
    );
    assert_eq!(node.status, 200);
    let url = format!("http://{}", admin.address);
    (dir, serve, url)
}

#[test]
fn a_wait_shows_how_far_it_is_and_an_interrupt_says_how_to_look_again() {
    let (dir, _serve, url) = waiting();
    let rotate = ["ca", "rotate", "--wait", "--api-url", &url];
    let mut on_terminal = Terminal::start(dir.path(), "rotate", &rotate, &[]);
    let said = on_terminal.shows("0 of 1 nodes are up to date, not yet node-b (");
    assert!(said.contains("\r\x1b[K0 of 1 nodes are up to date, not yet node-b ("), "{said:?}");
    on_terminal.shows("not yet node-b (1s)");
    on_terminal.send("INT");
    assert_eq!(on_terminal.exit_status(), 130);
    let said = on_terminal.said();
    assert!(
        said.contains("\r\x1b[KInterrupted. The work continues at the server; to see it: uptimemesh ca nodes"),
        "{said:?}"
    );
}

#[test]
fn in_a_pipe_a_wait_is_a_line_a_change() {
    let (dir, _serve, url) = waiting();
    let output = run(dir.path(), &["ca", "rotate", "--wait", "--timeout", "2", "--api-url", &url]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && !said.contains('\x1b') && !said.contains('\r'), "{said:?}");
    assert_eq!(said.matches("0 of 1 nodes are up to date, not yet node-b\n").count(), 1, "{said}");
}
