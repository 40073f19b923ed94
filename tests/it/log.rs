//! The log as an operator reads it: its form, its file, and that nobody can write into it.

use crate::program::{Running, command};
use crate::support::{Dir, raw, until};
use serde_json::json;
use std::fs;

/// Whether a line has the form of the contract.
fn well_formed(line: &str) -> bool {
    let parts: Vec<&str> = line.split(" | ").collect();
    let symbols =
        [("DEBUG   ", "(?)"), ("INFO    ", "(*)"), ("WARNING ", "(!)"), ("ERROR   ", "(x)"), ("CRITICAL", "(X)")];
    let moment = |text: &str| {
        let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        shape == "0000-00-00 00:00:00.000"
    };
    line.is_ascii()
        && line.len() < 8192
        && parts.len() >= 5
        && moment(parts[0])
        && symbols.iter().any(|(level, symbol)| parts[1] == *level && parts[3].starts_with(symbol))
        && parts[5..].iter().all(|field| field.contains(": "))
}

#[test]
fn every_line_has_the_form_and_no_input_forges_one() {
    let dir = Dir::new();
    let (server, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    client.send("GET", "/health", &[("X-Request-ID", "mine-1")], b"");
    client.send("GET", "/%0a2026-11-23%2020:12:26.900%20|%20ERROR", &[("X-Request-ID", "evil|id")], b"");
    client.post(
        "/auth/token",
        &json!({"username": "a\n2026 | ERROR    | auth | (x) forged | \u{e9}\u{1f600}\u{1b}[31m",
            "password": "hunter2-in-the-log"}),
    );
    raw(client.address, b"GET /a\x1b[31mb HTTP/1.1\r\nHost: x\r\n\r\n");
    client.send("GET", &format!("/{}", "long".repeat(3000)), &[], b"");
    let log = until("all is logged", || {
        let log = server.logged();
        (log.matches("request.complete").count() >= 5).then_some(log)
    });
    for line in log.lines() {
        assert!(well_formed(line), "{line}");
    }
    assert!(!log.contains("hunter2"), "{log}");
    let of_mine = log.lines().find(|l| l.contains("request_id: mine-1")).unwrap();
    assert!(
        of_mine.contains(
            " | INFO     | api | (*) request.complete | Completed | request_id: mine-1 | method: GET \
        | path: /health | status_code: 200 | duration_ms: "
        ),
        "{of_mine}"
    );
    assert!(log.contains("request_id: evil\\x7cid"), "a bar in a value is escaped");
    until("the file has the same", || {
        (fs::read_to_string(dir.join("data/app.log")).unwrap() == server.logged()).then_some(())
    });
}

#[test]
fn the_file_is_appended_to_and_opened_anew_after_rotation() {
    let dir = Dir::new();
    fs::write(dir.join("own.log"), "kept\n").unwrap();
    let args = ["serve", "--server-port", "0", "--log-file", "own.log", "--log-level", "info"];
    let (_server, client) = Running::serve(dir.path(), &args);
    until("it is appended to", || {
        let text = fs::read_to_string(dir.join("own.log")).unwrap();
        (text.starts_with("kept\n") && text.contains("serve.start")).then_some(())
    });
    fs::rename(dir.join("own.log"), dir.join("own.log.1")).unwrap();
    until("the new file is written", || {
        client.get("/health");
        fs::read_to_string(dir.join("own.log")).is_ok_and(|text| text.contains("request.complete")).then_some(())
    });
}

#[test]
fn queries_are_logged_on_request_without_their_secrets() {
    let dir = Dir::new();
    let mut program = command(dir.path(), &["serve", "--server-host", "127.0.0.1", "--server-port", "0"]);
    program.env("LOG_DB_QUERIES", "true").env("LOG_DB_QUERY_PARAMS", "true").env("LOG_SQL_MAX_LENGTH", "60");
    let server = Running::of(program, dir.path(), "serve");
    let admin = server.client().signed_in("admin", "uptime");
    let new = json!({"current_password": "uptime", "new_password": "another-password"});
    assert_eq!(admin.post("/auth/password", &new).status, 200);
    let log = until("queries are logged", || {
        Some(server.logged()).filter(|l| l.contains("UPDATE users SET") && l.contains("/auth/password"))
    });
    let line = log.lines().find(|l| l.contains("UPDATE users SET")).unwrap();
    let (_, id) =
        line.split_once("request_id: ").unwrap_or_else(|| panic!("a write of a request carries its id: {line}"));
    let id = id.split(' ').next().unwrap();
    assert!(
        log.lines().any(|l| l.contains("request.complete") && l.contains(id) && l.contains("/auth/password")),
        "{log}"
    );
    assert!(
        line.contains(":password_hash=(hidden)") && line.contains(":name=admin") && !log.contains("argon2id"),
        "{line}"
    );
    let sql = line.split("sql: ").nth(1).unwrap().split(" | ").next().unwrap();
    assert!(sql.len() <= 60 && well_formed(line), "{line}");
}
