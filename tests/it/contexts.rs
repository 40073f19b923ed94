//! Contexts over time: authorities that are replaced, several users of one server, and what else names a credential.

use crate::login::{Person, authority, url};
use crate::machine::free_port;
use crate::program::Running;
use crate::support::{Client, Served, until};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};

/// The user's name by `whoami`, or what the command said.
fn who(output: Output) -> String {
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let me: Value = serde_json::from_str(&said).unwrap_or_default();
    me["name"].as_str().map_or(said, str::to_string)
}

#[test]
fn contexts_and_the_local_credential_follow_a_rotation() {
    let (served, person, absent) = (Served::new(), Person::new(), Person::new());
    let _alice = served.user("alice", "viewer");
    person.signs_in(&served, "alice", &[]);
    absent.signs_in(&served, "alice", &[]);
    let (admin, old) = (served.admin(), authority(&served));
    let pins = |person: &Person| {
        let context = person.contexts()["contexts"][0].clone();
        (context["authority"].clone(), context["next_authority"].clone())
    };
    let local =
        || -> Value { serde_json::from_str(&fs::read_to_string(served.dir.join("local.json")).unwrap()).unwrap() };

    person.ok(&["nodes"]);
    assert_eq!(pins(&person), (json!(old), Value::Null));
    let rotated = admin.post("/cluster/ca/rotate", &json!({}));
    assert_eq!(rotated.status, 200, "{}", rotated.text());
    let new = rotated.json()["current"]["fingerprint"].clone();
    person.ok(&["nodes"]);
    assert_eq!(pins(&person), (json!(old), new.clone()));
    assert_eq!(local()["authority"], json!(old), "the old one certifies the server still");

    assert_eq!(admin.delete("/cluster/ca/previous").status, 200);
    assert_eq!(local()["authority"], new);
    person.ok(&["nodes"]);
    assert_eq!(pins(&person), (new.clone(), Value::Null));
    assert!(!fs::read_to_string(person.file()).unwrap().contains(&old), "the old one is forgotten");

    // Nobody used this one between rotation and drop.
    let why = absent.fails(&["nodes"]);
    let to_do = format!("compare the new fingerprint and sign in again: uptimemesh login {} --context", url(&served));
    assert!(why.contains(&to_do) && why.contains("nothing was sent"), "{why}");

    // A second rotation, of which the first half went unseen.
    assert_eq!(admin.post("/cluster/ca/rotate", &json!({})).status, 200);
    person.ok(&["nodes"]);
    assert_eq!((pins(&person).0, pins(&person).1.is_string()), (new, true));
}

#[test]
fn a_named_context_counts_before_credentials_in_the_environment() {
    let (served, person) = (Served::new(), Person::new());
    let (_anna, _bob) = (served.user("anna", "viewer"), served.user("bob", "viewer"));
    person.signs_in(&served, "anna", &["--context", "one"]);
    let of_bob = |args: &[&str], context: &str| {
        let mut command = person.command(&[&["whoami", "--json"], args].concat());
        command.env("UPTIMEMESH_USERNAME", "bob").env("UPTIMEMESH_PASSWORD", "a wrong password");
        who(command.env("UPTIMEMESH_CONTEXT", context).output().unwrap())
    };
    assert_eq!(of_bob(&["--context", "one"], ""), "anna");
    assert_eq!(of_bob(&[], "one"), "anna");
    let at_server = ["--api-url", &format!("http://{}", served.anonymous().address)];
    assert!(of_bob(&at_server, "").contains("HTTP 401"), "no context is named: the environment says who");
    assert!(of_bob(&["--username", "bob", "--context", "one"], "").contains("HTTP 401"), "flags count before all");
}

#[test]
fn a_watch_whose_token_is_revoked_does_not_go_to_another_control_plane() {
    let (one, two, person) = (Served::new(), Served::new(), Person::new());
    let (_a, _b) = (one.user("alice", "viewer"), two.user("alice", "viewer"));
    for (served, name) in [(&two, "two"), (&one, "one")] {
        person.signs_in(served, "alice", &["--context", name]);
        let node = json!({"id": format!("of-{name}"), "name": name});
        assert_eq!(served.admin().post("/nodes", &node).status, 201);
    }
    let command = person.command(&["node", "list", "--watch"]);
    let mut watch = Running::of(command, person.dir.path(), "watch");
    until("it shows the node", || watch.said().contains("of-one").then_some(()));
    person.ok(&["context", "use", "two"]);
    person.ok(&["logout", "--context", "one"]);
    assert_eq!(one.admin().post("/nodes", &json!({"id": "later", "name": "later"})).status, 201);
    assert_eq!(watch.exit_status(), 1, "{}", watch.said());
    assert!(watch.logged().contains("context one is not accepted by"), "{}", watch.logged());
    assert!(!watch.said().contains("of-two"), "{}", watch.said());
}

#[test]
fn a_second_user_of_one_server_gets_a_context_of_their_own() {
    let (served, person) = (Served::new(), Person::new());
    let (_alice, _bob) = (served.user("alice", "operator"), served.user("bob", "viewer"));
    person.signs_in(&served, "alice", &[]);
    let said = person.signs_in(&served, "bob", &[]);
    assert!(said.contains("commands use context 127.0.0.1-bob from now on"), "{said}");
    assert_eq!(who(person.output(&["whoami", "--json", "--context", "127.0.0.1"])), "alice");
    assert_eq!(who(person.output(&["whoami", "--json"])), "bob");
    // Each of them again: the same contexts.
    person.signs_in(&served, "alice", &[]);
    person.signs_in(&served, "bob", &[]);
    assert_eq!(person.contexts()["contexts"].as_array().unwrap().len(), 2);
    let (url, pin) = (url(&served), authority(&served));
    let args = ["login", &url, "--fingerprint", &pin, "--username", "bob", "--password-file", "password"];
    let said = person.output(&[&args[..], &["--context", "127.0.0.1"]].concat());
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains(&format!("Context 127.0.0.1 was the one of alice at {url}; it is replaced.")), "{said}");
}

#[test]
fn a_replaced_token_that_cannot_be_revoked_is_named() {
    let (mut one, two, person) = (Served::new(), Served::new(), Person::new());
    let (_a, _b) = (one.user("alice", "viewer"), two.user("alice", "viewer"));
    person.signs_in(&one, "alice", &["--context", "prod"]);
    let id = person.contexts()["contexts"][0]["token_id"].as_str().unwrap().to_string();
    let (url, pin) = (url(&two), authority(&two));
    one.server.take().unwrap().shutdown();
    let args = ["login", &url, "--fingerprint", &pin, "--username", "alice", "--password-file", "password"];
    let output = person.output(&[&args[..], &["--context", "prod"]].concat());
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("warning: the former token {id} of context prod, of alice at ")), "{said}");
    assert!(said.contains(&format!("revoke it there: uptimemesh api-token revoke {id}")), "{said}");
    let token = Client { token: Some(person.token(0)), ..two.anonymous() };
    assert_eq!(token.get("/auth/me").status, 200, "the new one works");
}

/// A proxy that ends TLS with a certificate of its own authority: nothing of UptimeMesh is seen behind it.
#[test]
fn a_login_behind_a_private_authority_says_how_to_name_that() {
    let person = Person::new();
    let port = free_port();
    let line = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -keyout key -out cert -subj \
            /CN=proxy.example 2>/dev/null && exec openssl s_server -quiet -accept 127.0.0.1:{port} -cert cert -key key"
    );
    let mut proxy = Command::new("sh")
        .args(["-ec", &line])
        .current_dir(person.dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("it listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    let url = format!("https://127.0.0.1:{port}");
    let said = person.fails(&["login", &url, "--username", "a", "--password-file", "password"]);
    // A person reads the same in lines that are broken between words.
    let line = format!("stty cols 60 rows 20; $UPTIMEMESH login {url} --password-file password");
    let mut terminal = person.terminal(&line);
    assert_eq!(terminal.exit_status(), 3);
    let screen = terminal.screen();
    proxy.kill().unwrap();
    proxy.wait().unwrap();
    assert!(said.contains(&format!("nothing says that {url} can be trusted")), "{said}");
    assert!(said.contains("give the authority of its certificate: --ca-file FILE"), "{said}");
    let lines: Vec<&str> = screen.lines().filter(|line| !line.starts_with("Script ")).map(str::trim_end).collect();
    assert!(lines.len() > 3 && lines.iter().all(|line| line.len() <= 60), "{screen}");
    assert!(lines.join(" ").contains(said.lines().next().unwrap()), "{screen}");
}
