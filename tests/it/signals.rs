//! Signals to the real program: what ends it, what opens files again, and what it does not care for.

use crate::node::token;
use crate::program::{Running, ok};
use crate::support::{Dir, until};
use crate::terminal::Terminal;
use std::fs;
use std::path::Path;
use std::process::Command;

fn send(running: &Running, signal: &str) {
    assert!(
        Command::new("kill").args(["-s", signal, &running.pid().to_string()]).status().unwrap().success(),
        "{signal}"
    );
}

/// What nothing here sends, and what would end a process that does not know it.
const MEANINGLESS: &[&str] =
    &["USR1", "USR2", "PIPE", "ALRM", "VTALRM", "PROF", "IO", "XCPU", "XFSZ", "STKFLT", "34", "36", "64"];

/// Sends all of them; the process must be there afterwards, with its log opened again by SIGHUP.
fn lives_through(running: &Running, log: &Path) {
    for signal in MEANINGLESS {
        send(running, signal);
    }
    let moved = log.with_extension("moved");
    fs::rename(log, &moved).unwrap();
    send(running, "HUP");
    // The line about it is the first one of the new file: no later line was needed to find out.
    until("the log is opened again", || fs::read_to_string(log).ok().filter(|text| text.contains("log.reopened")));
    assert!(!fs::read_to_string(moved).unwrap().contains("log.reopened"));
}

#[test]
fn only_what_asks_for_the_end_ends_a_control_plane_and_in_order() {
    for (subcommand, signal) in [("serve", "TERM"), ("up", "INT"), ("serve", "QUIT"), ("serve", "PWR")] {
        let dir = Dir::new();
        let args = [subcommand, "--server-port", "0", "--server-host", "127.0.0.1"];
        let mut running = Running::start(dir.path(), subcommand, &args);
        let client = running.client();
        // What is read at the start is not read again.
        fs::write(dir.join(".env"), "LOG_LEVEL=ERROR\nnonsense\n").unwrap();
        lives_through(&running, &dir.join("data/app.log"));
        assert_eq!(client.get("/health").status, 200);
        send(&running, signal);
        assert_eq!(running.exit_status(), 0, "{}", running.logged());
        assert!(running.logged().lines().last().unwrap().contains("serve.stop"), "{}", running.logged());
    }
}

#[test]
fn an_agent_lives_through_the_same() {
    let dir = Dir::new();
    let (_serve, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let url = format!("http://{}", client.address);
    fs::write(dir.join("token"), token(&client.signed_in("admin", "uptime"), "worker", None)).unwrap();
    ok(dir.path(), &["join", "--api-url", &url, "--token-file", "token", "--role", "worker", "--node-id", "n1"]);
    let mut agent = Running::start(
        dir.path(),
        "agent",
        &["agent", "--node-id", "n1", "--api-url", &url, "--log-file", "agent.log"],
    );
    until("it runs", || agent.logged().contains("agent.start").then_some(()));
    lives_through(&agent, &dir.join("agent.log"));
    assert_eq!(agent.terminate(), 0, "{}", agent.logged());
    assert!(agent.logged().contains("agent.stop"), "{}", agent.logged());
}

/// A second one ends the process while the first is still at work, and says so.
#[test]
fn who_asks_twice_gets_the_end_at_once_and_the_log_has_it() {
    let dir = Dir::new();
    let (mut running, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    // A request that is not whole yet keeps the end waiting for its grace.
    let mut half = std::net::TcpStream::connect(client.address).unwrap();
    std::io::Write::write_all(&mut half, b"POST /auth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        .unwrap();
    send(&running, "TERM");
    until("it stops listening", || std::net::TcpStream::connect(client.address).is_err().then_some(()));
    send(&running, "TERM");
    let status = running.exit_status();
    assert!(status == 143 || status == 0, "{status}");
    assert!(running.logged().contains("serve.stop"), "{}", running.logged());
}

/// The operator's certificate is read again although its size and time are the old one's.
#[test]
fn a_hangup_reads_the_certificate_again() {
    let dir = Dir::new();
    let certificate = |name: &str| {
        let line = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -keyout key.new \
            -out cert.new -subj /CN=";
        let made = Command::new("sh")
            .args(["-ec", &format!("{line}{name} 2>/dev/null")])
            .current_dir(dir.path())
            .status()
            .unwrap();
        assert!(made.success());
        // One length and one time for all: nothing but reading them tells them apart.
        let place = "touch cert key; truncate -s 4096 cert.new key.new; for f in cert key; do cat $f.new >$f; touch -d \
            @1700000000 $f; done";
        assert!(Command::new("sh").args(["-ec", place]).current_dir(dir.path()).status().unwrap().success());
    };
    certificate("first.example");
    let tls = ["serve", "--server-port", "0", "--tls-cert-file", "cert", "--tls-key-file", "key"];
    let (running, client) = Running::serve(dir.path(), &tls);
    let shown = || {
        let line = format!(
            "openssl s_client -connect {} </dev/null 2>/dev/null | openssl x509 -noout -subject",
            client.address
        );
        String::from_utf8(Command::new("sh").args(["-c", &line]).output().unwrap().stdout).unwrap()
    };
    assert!(shown().contains("first.example"), "{}", running.logged());
    certificate("other.example");
    assert!(shown().contains("first.example"));
    send(&running, "HUP");
    until("the other one is shown", || shown().contains("other.example").then_some(()));
    // One that cannot be used changes nothing.
    fs::write(dir.join("cert"), "nothing").unwrap();
    send(&running, "HUP");
    until("it is told", || running.logged().contains("tls.unchanged").then_some(()));
    assert!(shown().contains("other.example"));
}

#[test]
fn the_setup_code_goes_to_a_terminal_and_nowhere_else() {
    let dir = Dir::new();
    let code = |dir: &Dir| fs::read_to_string(dir.join("data/keys/setup-code")).unwrap().trim().to_string();
    let args = ["up", "--server-port", "0", "--server-host", "127.0.0.1"];
    let running = Running::start(dir.path(), "up", &args);
    let said = until("it is up", || Some(running.said()).filter(|said| said.contains("add a node")));
    assert!(said.contains("a setup code, which is in data/keys/setup-code\n") && !said.contains(&code(&dir)), "{said}");
    assert!(!running.logged().contains(&code(&dir)));
    drop(running);

    let mut up = Terminal::start(dir.path(), "terminal", &args, &[]);
    up.shows(&format!("this setup code: {}", code(&dir)));
    up.shows("Add a machine");
    up.send("TERM");
    assert_eq!(up.exit_status(), 0);
}

#[test]
fn what_runs_on_a_terminal_ends_in_order_when_that_is_closed() {
    let dir = Dir::new();
    let args = ["up", "--server-port", "0", "--server-host", "127.0.0.1"];
    let mut up = Terminal::start(dir.path(), "terminal", &args, &[]);
    up.shows("Add a machine");
    // On a terminal that is still there, SIGHUP opens the log again.
    let log = dir.join("data/app.log");
    up.send("HUP");
    until("the log is opened again", || fs::read_to_string(&log).ok().filter(|text| text.contains("log.reopened")));
    up.close();
    until("it has stopped", || fs::read_to_string(&log).ok().filter(|text| text.contains("serve.stop")));
    assert!(!dir.join("data/local.json").exists(), "the credential is withdrawn, as at every end in order");
}
