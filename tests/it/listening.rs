//! Where a server listens, and where it says that it is reached: the same, in networks of every kind.

use crate::program::{Running, command};
use crate::support::{Client, Dir, Served, until};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// The program in a network of its own, which a script has prepared.
pub fn in_network(dir: &Path, script: &str, args: &[&str]) -> Command {
    let program = command(dir, args);
    let mut outer = Command::new("unshare");
    let script = format!("ip link set lo up\n{script}\nexec \"$@\"");
    outer
        .args(["--net", "sh", "-ec", &script, "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(dir);
    outer.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    outer
}

/// Whether this user may make networks; CI's may.
pub fn can_network() -> bool {
    let can = Command::new("unshare").args(["--net", "true"]).status().is_ok_and(|s| s.success());
    if !can {
        eprintln!("left out: network namespaces need root");
    }
    can
}

/// A control plane in such a network.
struct There(Running, Dir);

impl There {
    fn serve(script: &str, more: &[&str]) -> There {
        let dir = Dir::new();
        let args = [&["up", "--server-port", "8000", "--node-id", "n1"], more].concat();
        let running = Running::of(in_network(dir.path(), script, &args), dir.path(), "up");
        until("it is up", || running.said().contains("is up").then_some(()));
        There(running, dir)
    }

    /// Runs something in that network.
    fn run(&self, program: &str, args: &[&str]) -> Output {
        let net = format!("--net=/proc/{}/ns/net", self.0.pid());
        Command::new("nsenter").args([&net, program]).args(args).current_dir(self.1.path()).output().unwrap()
    }

    fn program(&self, args: &[&str]) -> String {
        let output = self.run(env!("CARGO_BIN_EXE_uptimemesh"), args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A join string, and its addresses.
    fn join_string(&self) -> (String, Vec<String>) {
        let made: Value =
            serde_json::from_str(&self.program(&["create-token", "--role", "worker", "--password", "uptime"])).unwrap();
        let text = made["join_string"].as_str().unwrap().to_string();
        let addresses = text.splitn(5, ':').nth(4).unwrap().split(',').map(str::to_string).collect();
        (text, addresses)
    }

    /// Whether the server answers there, as the certificate says.
    fn answers(&self, at: &str) -> bool {
        self.run(
            "curl",
            &["-sS", "--max-time", "20", "--cacert", "data/pki/server-ca.crt", &format!("https://{at}/health")],
        )
        .status
        .success()
    }

    fn finding(&self, more: &[&str]) -> Value {
        let args = [&["doctor", "--json", "--server-port", "8000"], more].concat();
        let output = self.run(env!("CARGO_BIN_EXE_uptimemesh"), &args);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["findings"].as_array().unwrap().iter().find(|f| f["check"] == "server.reach").unwrap().clone()
    }
}

#[test]
fn by_default_both_families_are_heard_and_told() {
    let dir = Dir::new();
    let serve = Running::start(dir.path(), "serve", &["serve", "--server-port", "0"]);
    let client = serve.client();
    assert!(client.address.is_ipv4(), "{}", client.address);
    // An IPv4 address that comes by a socket of IPv6 is this machine all the same: the first password works from here
    // only.
    assert!(client.signed_in("admin", "uptime").get("/nodes").status == 200);
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let v6 = Client { address: format!("[::1]:{}", client.address.port()).parse().unwrap(), ..client.clone() };
        assert!(v6.signed_in("admin", "uptime").get("/nodes").status == 200);
    }
}

#[test]
fn a_machine_with_ipv6_alone_is_joined() {
    if !can_network() {
        return;
    }
    let there = There::serve("ip addr add fd00:1::7/128 dev lo", &[]);
    let (text, addresses) = there.join_string();
    assert_eq!(addresses, ["[fd00:1::7]:8000"]);
    assert!(there.answers("[fd00:1::7]:8000") && there.answers("127.0.0.1:8000"));
    assert!(there.0.said().contains("https://[fd00:1::7]:8000/ui from other machines"), "{}", there.0.said());
    fs::write(there.1.join("join"), text).unwrap();
    there.program(&["join", "--join-file", "join", "--node-id", "n2"]);
    assert_eq!(fs::read_to_string(there.1.join("data/identities/n2/api.urls")).unwrap(), "https://[fd00:1::7]:8000\n");
    assert_eq!(there.finding(&[])["level"], "ok");
}

#[test]
fn what_is_told_is_what_is_listened_on() {
    if !can_network() {
        return;
    }
    let both = "ip addr add 10.9.0.7/32 dev lo; ip addr add fd00:1::7/128 dev lo";
    for (script, more, told, answers) in [
        (both.to_string(), &[][..], &["[fd00:1::7]:8000", "10.9.0.7:8000"][..], &["[::1]:8000"][..]),
        (both.to_string(), &["--server-host", "0.0.0.0"], &["10.9.0.7:8000"], &["127.0.0.1:8000"]),
        (
            format!("{both}; sysctl -qw net.ipv6.bindv6only=1"),
            &[],
            &["[fd00:1::7]:8000", "10.9.0.7:8000"],
            &["[::1]:8000", "127.0.0.1:8000"],
        ),
        (
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=1; ip addr add 10.9.0.7/32 dev lo".into(),
            &[],
            &["10.9.0.7:8000"],
            &["127.0.0.1:8000"],
        ),
    ] {
        let there = There::serve(&script, more);
        // Of a machine with nothing but a loopback interface no address is likelier than another.
        let mut addresses = there.join_string().1;
        addresses.sort_by_key(|a| !a.starts_with('['));
        assert_eq!(addresses, told, "{script} {more:?}");
        for at in told.iter().chain(answers) {
            assert!(there.answers(at), "{at}: {script} {more:?}");
        }
        assert_eq!(there.finding(more)["level"], "ok", "{script} {more:?}");
    }
}

#[test]
fn every_address_is_told_and_doctor_tries_each() {
    if !can_network() {
        return;
    }
    let script: String = (1..=9).map(|i| format!("ip addr add 10.9.0.{i}/32 dev lo; ")).collect();
    let there = There::serve(&script, &[]);
    assert_eq!(there.join_string().1.len(), 9);
    drop(there);
    let advertised = ["--advertise-addresses", "10.9.0.7,10.9.0.1:8000,192.0.2.99:8443"];
    let there = There::serve(&script, &advertised);
    assert_eq!(there.join_string().1, ["10.9.0.7:8000", "10.9.0.1:8000", "192.0.2.99:8443"]);
    assert!(there.0.said().contains("https://10.9.0.7:8000/ui from other machines"), "{}", there.0.said());
    let finding = there.finding(&advertised);
    assert_eq!(finding["level"], "warn", "{finding}");
    assert!(
        finding["seen"].as_str().unwrap().contains("192.0.2.99:8443")
            && !finding["seen"].as_str().unwrap().contains("10.9.0.7"),
        "{finding}"
    );
    assert!(finding["do"].as_str().unwrap().contains("ADVERTISE_ADDRESSES"), "{finding}");
}

#[test]
fn what_an_operator_advertises_is_a_name_of_the_server() {
    let served = Served::with(|config| {
        config.advertised = vec![("cp.example.org".into(), Some(8443)), ("fd00::7".into(), None)]
    });
    let port = served.anonymous().address.port();
    let made = served.admin().post("/cluster/join-tokens", &json!({"role": "worker"})).json();
    let ends = format!(":cp.example.org:8443,[fd00::7]:{port}");
    assert!(made["join_string"].as_str().unwrap().ends_with(&ends), "{}", made["join_string"]);
    let (ca, resolve) = (served.config.pki_dir.join("server-ca.crt"), format!("cp.example.org:{port}:127.0.0.1"));
    let url = format!("https://cp.example.org:{port}/health");
    let output = Command::new("curl")
        .args(["-sS", "--cacert", ca.to_str().unwrap(), "--resolve", &resolve, &url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_agent_learns_where_its_control_plane_is_and_forgets_what_never_answered() {
    let mut served =
        Served::with(|config| config.advertised = vec![("127.0.0.1".into(), None), ("localhost".into(), None)]);
    let port = served.anonymous().address.port();
    served.config.server_port = port;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let made = served.admin().post("/cluster/join-tokens", &json!({"role": "worker"})).json();
    let join = made["join_string"].as_str().unwrap().replace(&format!("localhost:{port}"), &dead.to_string());
    let dir = Dir::new();
    fs::write(dir.join("join"), join).unwrap();
    let joined = command(dir.path(), &["join", "--join-file", "join", "--node-id", "n1"]).output().unwrap();
    assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
    let kept = || fs::read_to_string(dir.join("data/identities/n1/api.urls")).unwrap();
    let urls = |hosts: &[&str]| hosts.iter().map(|host| format!("https://{host}:{port}\n")).collect::<String>();
    assert_eq!(kept(), format!("https://127.0.0.1:{port}\nhttps://{dead}\n"));
    let agent = Running::start(dir.path(), "agent", &["agent", "--node-id", "n1", "--ttl", "10"]);
    until("the address that never answered is forgotten", || {
        (kept() == urls(&["127.0.0.1", "localhost"])).then_some(())
    });
    served.config.advertised = vec![("127.0.0.2".into(), None), ("127.0.0.1".into(), None)];
    served.restart();
    until("the new address is known", || (kept() == urls(&["127.0.0.1", "127.0.0.2"])).then_some(()));
    drop(agent);

    // Where the command line says where to go, nothing else is learned.
    let url = format!("https://localhost:{port}");
    let other = Running::start(dir.path(), "other", &["agent", "--node-id", "n1", "--ttl", "10", "--api-url", &url]);
    until("it beats", || dir.join("data/identities/n1/status.json").exists().then_some(()));
    assert_eq!(kept(), urls(&["127.0.0.1", "127.0.0.2"]));
    drop(other);
}
