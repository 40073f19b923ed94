//! TLS by itself: who is believed, what is refused, and what an attacker in the middle gets to see.

use crate::node::{Node, csr, epoch, token};
use crate::program::{Running, fails, ok};
use crate::support::{Client, Dir, Served, until};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn run(program: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An address of this machine that is not loopback, where it has one.
fn outer_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

fn ca_of(served: &Served) -> String {
    path(&served.config.pki_dir.join("cluster-ca.crt")).to_string()
}

#[test]
fn one_port_speaks_plain_and_tls_and_the_authority_vouches_for_it() {
    let served = Served::new();
    let port = served.anonymous().address.port();
    assert_eq!(served.anonymous().get("/health").status, 200);
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("https://{host}:{port}/health");
        let (fine, said) = run("curl", &["-sS", "--cacert", &ca_of(&served), &url]);
        assert!(fine && said.contains("\"ok\""), "{said}");
        let (fine, said) = run("curl", &["-sS", &url]);
        assert!(!fine && said.contains("certificate"), "{said}");
    }
    // The name is checked, too.
    let elsewhere = format!("elsewhere.example:{port}:127.0.0.1");
    let url = format!("https://elsewhere.example:{port}/health");
    assert!(!run("curl", &["-sS", "--cacert", &ca_of(&served), "--resolve", &elsewhere, &url]).0);
}

#[test]
fn old_versions_are_refused_and_sessions_are_resumed() {
    let served = Served::new();
    let at = served.anonymous().address.to_string();
    let ca = ca_of(&served);
    let connect = |more: &[&str]| {
        run("openssl", &[&["s_client", "-connect", &at, "-CAfile", &ca, "-verify_return_error"], more].concat())
    };
    for old in ["-tls1", "-tls1_1"] {
        let (fine, said) = connect(&[old, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(!fine && said.contains(" alert ") && said.contains("Cipher is (NONE)"), "{old}: {said}");
    }
    let dir = Dir::new();
    let kept = dir.join("session");
    for (version, word) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let (fine, said) = connect(&[version]);
        assert!(fine && said.contains(word) && said.contains("Verify return code: 0 (ok)"), "{version}: {said}");
        // A request makes the server send its ticket before the session is kept.
        let once = |option: &str| {
            let line = format!(
                "printf 'GET /health HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client \
                    -connect {at} -CAfile {ca} {version} -ign_eof {option} {}",
                kept.display()
            );
            run("sh", &["-c", &line]).1
        };
        let first = once("-sess_out");
        assert!(first.contains("New, ") && first.contains("200 OK"), "{version}: {first}");
        let second = once("-sess_in");
        assert!(second.contains("Reused, ") && second.contains("200 OK"), "{version}: {second}");
    }
}

#[test]
fn from_elsewhere_plain_http_is_only_a_redirect() {
    let Some(outer) = outer_address() else {
        eprintln!("left out: this machine has no address but loopback");
        return;
    };
    let served = Served::with(|config| config.server_host = "0.0.0.0".into());
    let port = served.anonymous().address.port();
    let body = r#"{"username":"admin","password":"uptime"}"#;
    let (_, said) = run("curl", &["-sS", "-i", &format!("http://{outer}:{port}/auth/token?a=b"), "-d", body]);
    assert!(
        said.contains("308 Permanent Redirect") && said.contains(&format!("https://{outer}:{port}/auth/token?a=b")),
        "{said}"
    );
    assert!(!said.contains("session_token"));
    // A name that is not ours leads nowhere, whoever it is of: the host is judged before anything is told of it.
    for evil in ["evil.example", "evil.example:443", "127.0.0.1.evil.example", "xn--e1awd7f.example."] {
        let (_, said) =
            run("curl", &["-sS", "-i", "-H", &format!("Host: {evil}"), &format!("http://{outer}:{port}/ui")]);
        assert!(said.contains(" 421 ") && !said.contains("Location"), "{said}");
    }
    let (_, said) =
        run("curl", &["-sS", "-i", "--request-target", "http://evil.example/ui", &format!("http://{outer}:{port}/")]);
    assert!(!said.contains("Location"), "{said}");
    // The certificate has the machine's own addresses.
    let (fine, said) = run("curl", &["-sS", "--cacert", &ca_of(&served), &format!("https://{outer}:{port}/health")]);
    assert!(fine, "{said}");
    let off = Served::with(|config| {
        config.server_host = "0.0.0.0".into();
        config.tls = false;
    });
    let (fine, said) = run("curl", &["-sS", &format!("http://{outer}:{}/health", off.anonymous().address.port())]);
    assert!(fine && said.contains("\"ok\""), "{said}");
}

/// A certificate for 127.0.0.1 that no authority of a cluster has issued, and its key.
pub fn foreign(dir: &Dir, name: &str) -> (String, String) {
    let (cert, key) = (dir.join(&format!("{name}.crt")), dir.join(&format!("{name}.key")));
    let subject = format!("/CN={name}");
    let args = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        &subject,
    ];
    let rest = [
        "-addext",
        "subjectAltName=IP:127.0.0.1,DNS:control-plane.uptimemesh.internal",
        "-out",
        path(&cert),
        "-keyout",
        path(&key),
    ];
    let (fine, said) = run("openssl", &[&args[..], &rest[..]].concat());
    assert!(fine, "{said}");
    (path(&cert).to_string(), path(&key).to_string())
}

/// A machine in the middle: it ends TLS with a certificate of its own and writes down what it is told.
struct Middle(Child, std::path::PathBuf);

impl Middle {
    fn listen(dir: &Dir, (cert, key): &(String, String)) -> (Middle, u16) {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let heard = dir.join("heard");
        let at = port.to_string();
        let args = ["s_server", "-accept", &at, "-cert", cert, "-key", key, "-alpn", "uptimemesh/1,http/1.1", "-quiet"];
        let child = Command::new("openssl")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(fs::File::create(&heard).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("the machine in the middle listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        (Middle(child, heard), port)
    }

    fn heard(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.1).unwrap()).into_owned()
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_join_string_leads_to_its_cluster_and_tells_a_machine_in_the_middle_nothing() {
    let served = Served::new();
    let made = served.admin().post("/cluster/join-tokens", &json!({"role": "worker"})).json();
    let (join, secret) =
        (made["join_string"].as_str().unwrap().to_string(), made["token"].as_str().unwrap().to_string());
    let port = served.anonymous().address.port();
    assert!(
        join.starts_with("umj1:worker:") && join.contains(&secret) && join.ends_with(&format!("127.0.0.1:{port}")),
        "{join}"
    );

    let dir = Dir::new();
    let (middle, middle_port) = Middle::listen(&dir, &foreign(&dir, "middle"));
    let misled = join.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{middle_port}"));
    fs::write(dir.join("misled"), &misled).unwrap();
    let (status, said) = fails(dir.path(), &["join", "--join-file", "misled", "--node-id", "node-b"]);
    assert!(status == 1 && said.contains("is this cluster's control plane ("), "{said}");
    assert_eq!(middle.heard(), "");
    // Whoever believes that machine tells it something: it was listening.
    let at = format!("https://127.0.0.1:{middle_port}");
    let told = Command::new("curl").args(["-sk", "--max-time", "2", &at, "-d", &secret]).output().unwrap();
    drop(told);
    until("the machine in the middle hears what it is told", || middle.heard().contains(&secret).then_some(()));

    // The token is unused: the right way leads in. The first address that answers is taken.
    let both = join.replace("127.0.0.1:", &format!("127.0.0.1:{middle_port},127.0.0.1:"));
    fs::write(dir.join("both"), format!("{both}\n")).unwrap();
    ok(dir.path(), &["join", "--join-file", "both", "--node-id", "node-b"]);
    let beat: Value = serde_json::from_str(&ok(dir.path(), &["heartbeat", "--node-id", "node-b"])).unwrap();
    assert_eq!(beat["lease_state"], "alive");
    assert_eq!(served.admin().get("/nodes/node-b").json()["roles"], json!(["worker"]));
}

/// Sends a heartbeat of a node by curl over TLS, with the certificate and key in these files.
fn beat(served: &Served, node: &mut Node, shown: Option<(&str, &str)>) -> (u16, Value) {
    let dir = Dir::new();
    node.signed_at = epoch().max(node.signed_at + 1);
    fs::write(dir.join("body"), node.body(node.signed_at, 45, "{}", "{}")).unwrap();
    let url = format!("https://127.0.0.1:{}/cluster/heartbeat", served.anonymous().address.port());
    let (ca, body) = (ca_of(served), format!("@{}", path(&dir.join("body"))));
    let mut args = vec!["-sS", "--cacert", &ca, "-w", "\n%{http_code}", &url, "--data-binary", &body];
    if let Some((cert, key)) = shown {
        args.extend(["--cert", cert, "--key", key]);
    }
    let (fine, said) = run("curl", &args);
    assert!(fine, "{said}");
    let (answer, status) = said.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(answer).unwrap())
}

#[test]
fn a_certificate_counts_only_while_its_node_is_enrolled_with_that_key() {
    let served = Served::new();
    let admin = served.admin();
    let dir = Dir::new();
    let enrol = |id: &str| {
        let mut node = Node::new(id);
        let answer = node.join(&admin, &token(&admin, "worker", None), json!({}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let (cert, key) = (dir.join(&format!("{id}.crt")), dir.join(&format!("{id}.key")));
        fs::write(&cert, answer.json()["node_cert_pem"].as_str().unwrap()).unwrap();
        fs::write(&key, node.key.serialize_pem()).unwrap();
        (node, path(&cert).to_string(), path(&key).to_string())
    };
    let (mut a, a_cert, a_key) = enrol("node-a");
    let (mut b, b_cert, b_key) = enrol("node-b");
    assert_eq!(beat(&served, &mut a, None).0, 200, "behind a proxy that ends TLS there is no certificate");
    assert_eq!(beat(&served, &mut a, Some((&a_cert, &a_key))).0, 200);
    let (status, answer) = beat(&served, &mut a, Some((&b_cert, &b_key)));
    assert_eq!((status, &answer["reason"]), (401, &json!("identity_replaced")), "another node's certificate");
    let foreign = foreign(&dir, "foreign");
    assert_eq!(beat(&served, &mut a, Some((&foreign.0, &foreign.1))).0, 401, "a certificate of nobody's");
    // Under another key the old certificate is void, and so it is when the node is deleted.
    let again = token(&admin, "worker", Some("node-a"));
    let mut rekeyed = Node::new("node-a");
    assert_eq!(rekeyed.join(&admin, &again, json!({})).status, 200);
    assert_eq!(beat(&served, &mut rekeyed, Some((&a_cert, &a_key))).0, 401);
    assert_eq!(admin.delete("/nodes/node-b").status, 204);
    assert_eq!(beat(&served, &mut b, Some((&b_cert, &b_key))).0, 401);
}

#[test]
fn no_node_gets_the_servers_own_names() {
    let served = Served::with(|config| config.tls_names = vec!["cp.example".into()]);
    let admin = served.admin();
    for id in ["cp.example", "localhost", "control-plane.uptimemesh.internal", "CP.example"] {
        let mut node = Node::new(id);
        let csr = csr(&node.key, id, &[id, "127.0.0.1"]);
        let answer = node.join(&admin, &token(&admin, "worker", None), json!({"mesh_ip": "127.0.0.1", "csr_pem": csr}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let dir = Dir::new();
        fs::write(dir.join("c"), answer.json()["node_cert_pem"].as_str().unwrap()).unwrap();
        let (_, text) = run("openssl", &["x509", "-in", path(&dir.join("c")), "-noout", "-ext", "subjectAltName"]);
        assert!(!text.to_lowercase().contains(&id.to_lowercase()) && !text.contains("127.0.0.1"), "{id}: {text}");
    }
}

#[test]
fn an_operators_own_certificate_is_shown_to_people_and_read_again_while_nodes_see_the_clusters() {
    let dir = Dir::new();
    let (first, second) = (foreign(&dir, "first"), foreign(&dir, "second"));
    let served = Served::with(|config| config.tls_files = Some((first.0.clone().into(), first.1.clone().into())));
    let url = format!("https://127.0.0.1:{}/health", served.anonymous().address.port());
    let believes = |ca: &str| run("curl", &["-sS", "--cacert", ca, &url]).0;
    assert!(believes(&first.0) && !believes(&second.0));
    let second_cert = fs::read(&second.0).unwrap();
    // The key is late: until it comes the old pair stays.
    fs::copy(&second.0, &first.0).unwrap();
    fs::copy(&second.1, &first.1).unwrap();
    fs::write(dir.join("second-again.crt"), second_cert).unwrap();
    until("the new certificate is shown", || believes(path(&dir.join("second-again.crt"))).then_some(()));
    let made = served.admin().post("/cluster/join-tokens", &json!({"role": "worker"})).json();
    fs::write(dir.join("join"), made["join_string"].as_str().unwrap()).unwrap();
    ok(dir.path(), &["join", "--join-file", "join", "--node-id", "node-b"]);

    let wrong = uptimemesh::Server::start({
        let mut config = served.config.clone();
        config.data_dir = dir.join("other");
        config.database_path = dir.join("other/app.db");
        config.pki_dir = dir.join("other/pki");
        config.tls_files = Some((second.0.clone().into(), "/nowhere/key.pem".into()));
        config
    });
    let why = wrong.map(|_| ()).unwrap_err().to_string();
    assert!(why.contains("/nowhere/key.pem cannot be read"), "{why}");
}

#[test]
fn an_authority_is_rotated_under_living_agents() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let (control, client) = Running::serve(dir.path(), &["up", "--server-port", "0", "--node-id", "node-a"]);
    until("it says that it is up", || control.said().contains("UptimeMesh").then_some(()));
    let admin: Client = client.signed_in("admin", "uptime");
    let url = format!("http://{}", client.address);
    let made: Value =
        serde_json::from_str(&ok(dir.path(), &["create-token", "--role", "worker", "--api-url", &url])).unwrap();
    let join = made["join_string"].as_str().unwrap().replace(&outer_and_port(&made), &client.address.to_string());
    fs::write(elsewhere.join("join"), join).unwrap();
    ok(elsewhere.path(), &["join", "--join-file", "join", "--node-id", "node-b"]);
    let agent = Running::start(elsewhere.path(), "agent", &["agent", "--node-id", "node-b", "--ttl", "10"]);
    let authorities =
        |dir: &Path, node: &str| fs::read_to_string(dir.join(format!("data/identities/{node}/ca.crt"))).unwrap();
    let first = authorities(elsewhere.path(), "node-b");
    let before = admin.get("/cluster/ca").json();
    assert_eq!(
        (&before["previous"], &before["nodes"], &before["nodes_up_to_date"]),
        (&Value::Null, &json!(2), &json!(2))
    );

    let rotated = ok(dir.path(), &["ca", "rotate", "--wait", "--json", "--api-url", &url]);
    let rotated: Value = serde_json::from_str(&rotated).unwrap();
    assert_eq!(rotated["previous"]["fingerprint"], before["current"]["fingerprint"]);
    assert_eq!((&rotated["nodes"], &rotated["nodes_up_to_date"]), (&json!(2), &json!(2)));
    let both = authorities(elsewhere.path(), "node-b");
    assert!(
        both.matches("BEGIN CERTIFICATE").count() == 2 && both.ends_with(&first),
        "the new one, and the one before"
    );
    assert_eq!(admin.post("/cluster/ca/rotate", &json!({})).status, 409);

    ok(dir.path(), &["ca", "drop-previous", "--api-url", &url]);
    assert_eq!(admin.get("/cluster/ca").json()["previous"], Value::Null);
    let (_, said) = fails(dir.path(), &["ca", "drop-previous", "--api-url", &url]);
    assert!(said.contains("no previous authority"), "{said}");
    until("nodes forget the old authority", || {
        let up_to_date = admin.get("/cluster/ca").json()["nodes_up_to_date"] == 2;
        let alive = admin.get("/cluster/leases").json().as_array().unwrap().iter().all(|l| l["lease_state"] == "alive");
        (up_to_date && alive && !authorities(elsewhere.path(), "node-b").contains(first.trim())).then_some(())
    });
    drop((agent, control));
}

/// The addresses in a join string.
fn outer_and_port(made: &Value) -> String {
    made["join_string"].as_str().unwrap().splitn(5, ':').nth(4).unwrap().to_string()
}

#[test]
fn half_a_handshake_holds_nobody_up() {
    let served = Served::new();
    let address = served.anonymous().address;
    let mut open = Vec::new();
    for part in
        [&b"\x16"[..], b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x01\xff\xff\x01\x00", b"\x16\x03\x01\x00\x05hello"]
    {
        for _ in 0..10 {
            let mut socket = TcpStream::connect(address).unwrap();
            socket.write_all(part).unwrap();
            open.push(socket);
        }
    }
    let url = format!("https://127.0.0.1:{}/health", address.port());
    assert!(run("curl", &["-sS", "--cacert", &ca_of(&served), &url]).0);
    assert_eq!(served.anonymous().get("/health").status, 200);
    // Each is ended within the time of a head: by an alert, or by the end.
    for mut socket in open {
        socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest[0] == 21, "{rest:?}");
    }
}

#[test]
fn nobody_renegotiates() {
    let served = Served::new();
    let at = served.anonymous().address.to_string();
    // A line that is an R asks s_client to begin anew.
    let line = format!(
        "(sleep 1; echo R; sleep 1) | timeout 20 openssl s_client -connect {at} -CAfile {} -tls1_2",
        ca_of(&served)
    );
    let (_, said) = run("sh", &["-c", &line]);
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
    assert_eq!(served.anonymous().get("/health").status, 200);
}
