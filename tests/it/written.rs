//! What people wrote with any editor: byte order marks, line ends of Windows, blanks at the ends of lines.

use crate::program::{command, fails, ok};
use crate::support::{Dir, Served, USER_PASSWORD};
use crate::tls::foreign;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A text as some editor of Windows leaves it.
fn of_windows(text: &str) -> String {
    format!("\u{feff}{}\r\n", text.trim_end().replace('\n', " \r\n"))
}

fn of_windows_in(path: &str) {
    fs::write(path, of_windows(&fs::read_to_string(path).unwrap())).unwrap();
}

#[test]
fn a_body_may_begin_with_a_byte_order_mark() {
    let served = Served::new();
    let admin = served.admin();
    let body = of_windows(&json!({"id": "n", "name": "n", "status": {"load": 1}}).to_string());
    let made = admin.send("POST", "/nodes", &[], body.as_bytes());
    assert_eq!((made.status, &made.json()["status"]["load"]), (201, &json!(1)), "{}", made.text());
    assert_eq!(admin.send("POST", "/cluster/bootstrap", &[], "\u{feff}\r\n".as_bytes()).status, 200);
    let wide: Vec<u8> = "{\"id\": \"m\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let refused = admin.send("POST", "/nodes", &[], &[b"\xff\xfe", &wide[..]].concat());
    assert_eq!(refused.faults(), [r#"json_invalid ["body",0]"#]);
    assert!(refused.text().contains("UTF-16"), "{}", refused.text());
}

#[test]
fn files_for_the_command_line_are_read_as_they_were_meant() {
    let served = Served::new();
    served.user("otto", "operator");
    let token = served.api_token("operator").token.unwrap();
    let join = served.admin().post("/cluster/join-tokens", &json!({"role": "worker"})).json()["join_string"]
        .as_str()
        .unwrap()
        .to_string();
    let (dir, url) = (Dir::new(), format!("http://{}", served.anonymous().address));
    let spec = "{\n\"id\": \"web\",\n\"name\": \"web\",\n\"spec\": {\"motd\": \"a b\"}\n}";
    for (name, text) in [("spec", spec), ("token", &token), ("password", USER_PASSWORD), ("join", &join)] {
        fs::write(dir.join(name), of_windows(text)).unwrap();
    }
    let apply = |who: &[&str]| ok(dir.path(), &[&["service", "apply", "-f", "spec", "--api-url", &url], who].concat());
    assert_eq!(apply(&["--api-token-file", "token"]), "Created web, generation 1.\n");
    assert_eq!(apply(&["--username", "otto", "--password-file", "password"]), "web is unchanged, generation 1.\n");
    ok(dir.path(), &["join", "--join-file", "join", "--node-id", "n"]);
    identity_of_windows(dir.path(), &url);
    // Blanks belong to a password.
    fs::write(dir.join("password"), format!("{USER_PASSWORD} \r\n")).unwrap();
    let (_, said) =
        fails(dir.path(), &["nodes-status", "--username", "otto", "--password-file", "password", "--api-url", &url]);
    assert!(said.contains("Invalid username or password."), "{said}");
    let wide: Vec<u8> = spec.encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(dir.join("spec"), [b"\xff\xfe", &wide[..]].concat()).unwrap();
    let (_, said) =
        fails(dir.path(), &["service", "apply", "-f", "spec", "--api-token-file", "token", "--api-url", &url]);
    assert!(said.contains("spec is UTF-16") && said.contains("save it as UTF-8"), "{said}");
    fs::write(dir.join("spec"), b"{\"id\":\n \"caf\xe9\"}").unwrap();
    let (_, said) =
        fails(dir.path(), &["service", "apply", "-f", "spec", "--api-token-file", "token", "--api-url", &url]);
    assert!(said.contains("spec is not UTF-8 (line 2)"), "{said}");
}

/// The identity in this directory still works after it was copied through an editor, and so does a status from one.
fn identity_of_windows(dir: &Path, url: &str) {
    for file in ["node.key", "node.crt", "ca.crt", "lease.token", "api.urls"] {
        of_windows_in(dir.join("data/identities/n").join(file).to_str().unwrap());
    }
    let args = ["heartbeat", "--node-id", "n", "--status-json", "\u{feff}{\"a\": 1}\r\n"];
    let output = command(dir, &args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output =
        command(dir, &[&args[..], &["--api-url", url]].concat()).env("UPTIMEMESH_CA_FILE", "nothing").output().unwrap();
    assert!(!output.status.success(), "a file that is named and not there is told");
    let answer: Value = serde_json::from_str(&ok(dir, &["heartbeat", "--node-id", "n", "--api-url", url])).unwrap();
    assert_eq!(answer["lease_state"], "alive");
}

#[test]
fn certificates_and_keys_may_have_marks_and_blanks_around_their_lines() {
    let dir = Dir::new();
    let (chain, key) = foreign(&dir, "own");
    let plain = fs::read_to_string(&chain).unwrap();
    // A chain that was put together from two files, each with a mark.
    fs::write(&chain, of_windows(&plain) + &of_windows(&plain)).unwrap();
    of_windows_in(&key);
    let mut served = Served::with(|config| config.tls_files = Some((chain.clone().into(), key.clone().into())));
    let ca_file = served.config.pki_dir.join("cluster-ca.crt").to_str().unwrap().to_string();
    for file in ["cluster-ca.key", "cluster-ca.crt"] {
        of_windows_in(served.config.pki_dir.join(file).to_str().unwrap());
    }
    // The authority as it is written now issues what the server shows, and is what the caller believes.
    served.config.tls_files = None;
    served.restart();
    let url = format!("https://127.0.0.1:{}", served.anonymous().address.port());
    ok(
        dir.path(),
        &["nodes-status", "--username", "admin", "--password", "uptime", "--ca-file", &ca_file, "--api-url", &url],
    );
    served.config.tls_files = Some((chain.clone().into(), key.into()));
    fs::write(&chain, plain.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    served.server.take().unwrap().shutdown();
    let why = uptimemesh::Server::start(served.config.clone()).map(|_| ()).unwrap_err().to_string();
    assert!(why.contains("is UTF-16") && why.contains("own"), "{why}");
}
