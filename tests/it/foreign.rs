//! What hostile servers, files and command lines can do to the program of a person: nothing.

use crate::node::{Node, token};
use crate::program::{command, fails, run};
use crate::support::{Dir, Served};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

const CONTEXTS: &str = ".config/uptimemesh/contexts.json";

/// The home of a person with a password in a file.
fn home() -> Dir {
    let home = Dir::new();
    fs::write(home.join("password"), "a password\n").unwrap();
    home
}

fn person(home: &Dir, args: &[&str]) -> Output {
    command(home.path(), args).env("HOME", home.path()).output().unwrap()
}

#[test]
fn a_fingerprint_is_never_given_in_vain() {
    let url = format!("http://127.0.0.1:8000#{}", "0".repeat(64));
    let (code, why) = fails(home().path(), &["login", &url, "--password-file", "password"]);
    assert!(code == 2 && why.contains("http://127.0.0.1:8000 cannot prove a fingerprint: use https://"), "{why}");
}

#[test]
fn of_a_server_that_answers_nonsense_nothing_is_kept_or_shown() {
    for token in [json!({}), json!({"id": "a", "owner": "\u{1b}[31m", "token": "t", "expires_at": "2026"})] {
        let (home, url) = (home(), server(token));
        let output = person(&home, &["login", &url, "--password-file", "password"]);
        let why = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(3) && why.contains("is not UptimeMesh's API"), "{why}");
        let kept: Value = serde_json::from_str(&fs::read_to_string(home.join(CONTEXTS)).unwrap()).unwrap();
        assert!(output.stdout.is_empty() && kept["contexts"] == json!([]), "{kept}");
    }
}

/// A server that answers every request with this JSON.
fn server(body: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            answer_all(&stream, &body);
        }
    });
    url
}

/// Answers every request of a connection with this JSON.
fn answer_all(mut stream: &TcpStream, body: &Value) {
    let body = body.to_string();
    let mut lines = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
            let lower = line.to_ascii_lowercase();
            length = lower.strip_prefix("content-length: ").map_or(length, |n| n.trim().parse().unwrap());
            line.clear();
        }
        let is_over = line.is_empty();
        (&mut lines).take(length).read_to_end(&mut Vec::new()).unwrap();
        if is_over || write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).is_err() {
            return;
        }
    }
}

#[test]
fn what_a_file_of_contexts_says_cannot_steer_a_terminal() {
    let home = home();
    let file = home.join(CONTEXTS);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let context = json!({"name": "a", "url": "http://127.0.0.1:1", "user": "u", "token_id": "\u{1b}[31m", "token": "t",
        "expires_at": "\u{1b}[2J"});
    fs::write(&file, json!({"version": 1, "current": "a", "contexts": [context]}).to_string()).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let output = person(&home, &["context", "remove", "a"]);
    assert!(output.status.success() && !output.stdout.contains(&0x1b), "{output:?}");
}

#[test]
fn a_faulty_line_prints_no_document() {
    let output = run(home().path(), &["docs", "join", "again"]);
    assert!(output.status.code() == Some(2) && output.stdout.is_empty(), "{output:?}");
}

#[test]
fn a_name_shows_all_that_is_in_it() {
    let served = Served::new();
    let admin = served.admin();
    for (i, hidden) in ['\u{ad}', '\u{61c}', '\u{200b}', '\u{202e}', '\u{206f}', '\u{e0041}'].into_iter().enumerate() {
        let answer = admin.post("/nodes", &json!({"id": format!("n{i}"), "name": format!("db{hidden}")}));
        assert_eq!(answer.status, 422, "{}: {}", hidden.escape_unicode(), answer.text());
    }
    assert_eq!(admin.post("/nodes", &json!({"id": "n", "name": "\u{1f680} \u{65e5}e\u{301}"})).status, 201);
}

#[test]
fn a_list_of_something_else_is_no_empty_list() {
    for body in [json!({"a": 1}), json!([1, [2]])] {
        let (home, url) = (home(), server(body));
        let mut list = command(home.path(), &["node", "list", "-o", "wide", "--api-url", &url]);
        let output = list.env("UPTIMEMESH_API_TOKEN", "um_x").output().unwrap();
        let why = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(3) && why.contains("is not UptimeMesh's API"), "{why}");
    }
}

#[test]
fn a_certificate_of_another_key_or_node_is_not_kept() {
    let (served, home) = (Served::new(), home());
    let admin = served.admin();
    let mut other = Node::new("other");
    let given = other.join(&admin, &token(&admin, "worker", None), json!({})).json();
    for id in ["own", "other"] {
        let url = server(given.clone());
        let (code, why) =
            fails(home.path(), &["join", "--api-url", &url, "--token", "t", "--role", "worker", "--node-id", id]);
        assert!(code == 1 && why.contains(&format!("not for the key of {id}; it was not kept")), "{why}");
        assert!(!home.join(&format!("data/identities/{id}/node.crt")).exists());
    }
}
