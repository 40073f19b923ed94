//! The example configurations of proxies, each tried in front of a running server: only ports, certificate and paths
//! are others. nginx must be there; Caddy and HAProxy are tried where they are installed.

use crate::node::Node;
use crate::program::Running;
use crate::support::{Dir, Served, USER_PASSWORD, until};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A client whose address is another than the proxy's.
const CLIENT: &str = "127.0.0.5";

/// Runs a proxy by its example configuration in front of a server, and lives through what people do.
fn lives_behind(name: &str, base: &str, start: impl Fn(&Dir, &str, u16) -> Command, replace: &[(&str, &str)]) {
    let served = Served::proxied(|config| {
        config.tls = false;
        config.auth_cookie_secure = true;
    });
    served.user("alice", "admin");
    let dir = Dir::new();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "key",
            "-out",
            "cert",
        ])
        .args(["-subj", "/CN=uptimemesh.example", "-addext", "subjectAltName=DNS:uptimemesh.example"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    fs::write(
        dir.join("pem"),
        fs::read_to_string(dir.join("cert")).unwrap() + &fs::read_to_string(dir.join("key")).unwrap(),
    )
    .unwrap();

    let port = crate::machine::free_port();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/proxies").join(name);
    let mut text = fs::read_to_string(example).unwrap();
    for (wanted, put) in replace {
        assert!(text.contains(wanted), "{name} has no {wanted:?}");
        text =
            text.replace(wanted, &put.replace("DIR", dir.path().to_str().unwrap()).replace("PORT", &port.to_string()));
    }
    let upstream = served.server.as_ref().unwrap().addr().to_string();
    assert!(text.contains("127.0.0.1:8000"));
    text = text.replace("127.0.0.1:8000", &upstream);
    fs::write(dir.join("conf"), text).unwrap();
    let proxy = Running::of(start(&dir, dir.path().to_str().unwrap(), port), dir.path(), "proxy");

    let (origin, url) =
        (format!("https://uptimemesh.example:{port}"), format!("https://uptimemesh.example:{port}{base}"));
    let curl = |more: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--interface", CLIENT, "--cacert"]).arg(dir.join("cert"));
        command.args(["--resolve", &format!("uptimemesh.example:{port}:127.0.0.1"), "--max-time", "30"]).args(more);
        // What a client claims about its address is not believed.
        command.args(["-H", "X-Forwarded-For: 192.0.2.66"]);
        command
    };
    let get = |more: &[&str]| {
        let output = curl(more).output().unwrap();
        assert!(output.status.success(), "{more:?}: {}\n{}", String::from_utf8_lossy(&output.stderr), proxy.logged());
        String::from_utf8(output.stdout).unwrap()
    };
    until("the proxy passes on", || {
        curl(&["-f", &format!("{url}/health")]).output().unwrap().status.success().then_some(())
    });

    // The form of a browser: the origin is the proxy's, and the cookie is for HTTPS.
    let form = format!("username=alice&password={}", USER_PASSWORD.replace(' ', "+"));
    let answer = get(&["-i", "-H", &format!("Origin: {origin}"), "--data", &form, &format!("{url}/auth/login")]);
    let answer = answer.to_ascii_lowercase();
    let head = answer.lines().next().unwrap();
    assert!(head.contains(" 303") && answer.contains("set-cookie: ") && answer.contains("; secure"), "{answer}");
    assert!(
        answer.contains(&format!("\nlocation: {base}/ui"))
            && answer.contains(&format!("; path={}; ", if base.is_empty() { "/" } else { base })),
        "{answer}"
    );
    let refused = get(&["-i", "-H", "Origin: https://evil.example", "--data", &form, &format!("{url}/auth/login")]);
    assert!(refused.lines().next().unwrap().contains(" 403"), "{refused}");

    // A program.
    let signed_in: Value = serde_json::from_str(&get(&[
        "--json",
        &json!({"username": "alice", "password": USER_PASSWORD}).to_string(),
        &format!("{url}/auth/token"),
    ]))
    .unwrap();
    let bearer = format!("Authorization: Bearer {}", signed_in["session_token"].as_str().unwrap());

    // An event comes while the stream is open, which no proxy may hold back.
    let stream = Running::of(curl(&["-N", "-H", &bearer, &format!("{url}/events/stream")]), dir.path(), "stream");
    until("somebody reads the stream", || {
        served.anonymous().get("/metrics").text().contains("uptimemesh_stream_readers 1").then_some(())
    });
    get(&["-f", "-H", &bearer, "--json", r#"{"role":"worker"}"#, &format!("{url}/cluster/join-tokens")]);
    until("the event comes", || stream.said().contains("join_token").then_some(()));

    // Of two changes that are guarded the second is refused, although the answer was compressed on its way.
    get(&["-f", "-H", &bearer, "--json", r#"{"id":"web","name":"web"}"#, &format!("{url}/services")]);
    let read = get(&["-i", "--compressed", "-H", &bearer, &format!("{url}/services/web")]);
    let line =
        |name: &str| read.lines().find_map(|line| line.strip_prefix(name).or(line.strip_prefix(&name.to_lowercase())));
    let tag = line("ETag: ").unwrap_or_else(|| panic!("{read}")).trim();
    assert_eq!(name.starts_with("nginx"), line("Content-Encoding: gzip").is_some() && tag.starts_with("W/"), "{read}");
    let guarded = |guard: &str, more: &[&str]| {
        let guard = format!("{guard}: {tag}");
        let all = [&["-o", "/dev/null", "-w", "%{http_code}", "-H", &bearer, "-H", &guard], more].concat();
        get(&[&all[..], &[&format!("{url}/services/web")]].concat())
    };
    assert_eq!(guarded("If-None-Match", &["--compressed"]), "304");
    let change = ["-X", "PATCH", "--json", r#"{"description":"changed"}"#];
    assert_eq!((guarded("If-Match", &change).as_str(), guarded("If-Match", &change).as_str()), ("200", "412"));

    // A node, whose certificate ends at the proxy.
    let node = Node::joined(&served.admin(), "n1");
    let signed: Vec<String> =
        node.sign("GET", "/node/self", b"").headers().iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let shown: Vec<&str> = signed.iter().flat_map(|header| ["-H", header]).collect();
    let own: Value = serde_json::from_str(&get(&[&shown[..], &[&format!("{url}/node/self")]].concat())).unwrap();
    assert_eq!(own["proven_by"], "signature", "{own}");

    // Whose it was.
    let events: Vec<Value> = serde_json::from_str(&get(&["-H", &bearer, &format!("{url}/events?limit=1000")])).unwrap();
    let of_alice: Vec<&str> = events
        .iter()
        .filter(|event| event["actor"].as_str().is_some_and(|a| a.contains("alice")))
        .map(|event| event["address"].as_str().unwrap())
        .collect();
    // The first one, which is the last here, was signed in for this test without the proxy.
    assert_eq!(of_alice, [CLIENT, CLIENT, CLIENT, CLIENT, CLIENT, "127.0.0.1"]);
    // From elsewhere the figures are for who shows the token.
    assert!(get(&["-i", &format!("{url}/metrics")]).lines().next().unwrap().contains(" 40"));
}

fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
    if !found {
        eprintln!("left out: {program} is not installed");
    }
    found
}

/// nginx with the configuration `conf` of this directory.
pub fn nginx(dir: &Dir) -> Command {
    let at = dir.path().to_str().unwrap();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
        .collect();
    // It compresses, as many do: that changes the tags of what it passes on.
    let gzip = "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;";
    let outer = format!(
        "daemon off; pid {at}/pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off; {gzip}\n{temporary}include \
            {at}/conf; }}\n"
    );
    fs::write(dir.join("nginx.conf"), outer).unwrap();
    let mut command = Command::new("nginx");
    command.args(["-c", &format!("{at}/nginx.conf"), "-p", at, "-e", "stderr"]);
    command
}

const NGINX: [(&str, &str); 4] = [
    ("listen 443 ssl;", "listen 127.0.0.1:PORT ssl;"),
    ("    listen [::]:443 ssl;\n", ""),
    ("/etc/ssl/uptimemesh.example.crt", "DIR/cert"),
    ("/etc/ssl/uptimemesh.example.key", "DIR/key"),
];

#[test]
fn nginx_in_front() {
    lives_behind("nginx.conf", "", |dir, _, _| nginx(dir), &NGINX);
}

#[test]
fn nginx_in_front_below_a_path() {
    lives_behind("nginx-path.conf", "/mesh", |dir, _, _| nginx(dir), &NGINX);
}

#[test]
fn caddy_in_front() {
    if !has("caddy") {
        return;
    }
    let start = |_: &Dir, at: &str, _: u16| {
        let mut command = Command::new("caddy");
        command
            .args(["run", "--adapter", "caddyfile", "--config", &format!("{at}/conf")])
            .env("HOME", at)
            .env("XDG_DATA_HOME", at);
        command
    };
    let site = "{\n    admin off\n    auto_https disable_redirects\n}\nhttps://uptimemesh.example:PORT {\n    bind \
        127.0.0.1\n    tls DIR/cert DIR/key\n";
    lives_behind("Caddyfile", "", start, &[("uptimemesh.example {\n", site)]);
}

#[test]
fn haproxy_in_front() {
    if !has("haproxy") {
        return;
    }
    let start = |_: &Dir, at: &str, _: u16| {
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f", &format!("{at}/conf")]);
        command
    };
    lives_behind(
        "haproxy.cfg",
        "",
        start,
        &[("bind :443 ", "bind 127.0.0.1:PORT "), ("/etc/ssl/uptimemesh.example.pem", "DIR/pem")],
    );
}
