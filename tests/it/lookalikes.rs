//! Ids and names that people take for one another: nothing is refused, and everything is told.

use crate::doctor::ask;
use crate::node::{Node, token};
use crate::program::{Running, command};
use crate::support::{Answer, Dir};
use serde_json::json;
use std::fs;

/// Whether an answer warns of this.
fn warns(answer: &Answer, of: &str) -> bool {
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    let json = answer.json();
    assert!(answer.text().matches("\"warnings\"").count() <= 1, "one key: {}", answer.text());
    json["warnings"].as_array().is_some_and(|all| all.iter().any(|warning| warning.as_str().unwrap().contains(of)))
}

#[test]
fn ids_and_names_that_look_equal_are_told_of_in_the_answer_on_the_page_and_by_the_doctor() {
    let dir = Dir::new();
    let (_server, client) = Running::serve(dir.path(), &["serve", "--server-port", "0", "--log-file", ""]);
    let admin = client.signed_in("admin", "uptime");
    let plain = admin.post("/nodes", &json!({"id": "pi", "name": "pi"}));
    assert!(plain.status == 201 && plain.json().get("warnings").is_none(), "{}", plain.text());
    ask(dir.path(), &[]).has("names.alike", "ok", "", "");

    let key = [("Idempotency-Key", "k")];
    let body = json!({"id": "Pi", "name": "other"}).to_string();
    let made = admin.send("POST", "/nodes", &key, body.as_bytes());
    assert!(warns(&made, "The id \"Pi\" differs only in case from \"pi\""), "{}", made.text());
    assert!(warns(&admin.send("POST", "/nodes", &key, body.as_bytes()), "\"Pi\""), "and when it comes twice");
    // The tag is that of the object, so a guarded change works with it.
    let tag = made.header("ETag").unwrap();
    assert_eq!(admin.get("/nodes/Pi").header("ETag"), Some(tag));
    let changed = admin.send("PATCH", "/nodes/Pi", &[("If-Match", tag)], json!({"name": "pi "}).to_string().as_bytes());
    assert!(
        warns(&changed, "differs only in case or blanks from \"pi\"")
            && warns(&changed, "has leading or trailing blanks"),
        "{}",
        changed.text()
    );
    assert_eq!(changed.json()["name"], "pi ", "it is kept as it was sent");

    let mut third = Node::new("PI");
    assert!(warns(&third.join(&admin, &token(&admin, "worker", None), json!({"name": "\u{3a3}"})), "\"PI\""));
    assert!(
        warns(&admin.post("/nodes", &json!({"id": "s", "name": "\u{3c3}"})), "that of the node PI"),
        "beyond ASCII too"
    );
    let page = admin.get("/ui/nodes/pi").text();
    assert!(page.contains("differs only in case from") && page.contains("another node"), "{page}");

    admin.post("/services", &json!({"id": "web", "name": "Web"}));
    assert!(warns(&admin.post("/services", &json!({"id": "WEB", "name": "web"})), "that of the service web"));
    assert!(warns(&admin.patch("/services/web", &json!({"description": "x"})), "\"WEB\""));
    // Beside what is warned of in the spec, under one key.
    let both = admin.patch("/services/web", &json!({"spec": {"count": 1, "kept": 3}}));
    assert!(
        warns(&both, "\"WEB\"") && warns(&both, "spec.count") && both.text().matches("\"warnings\":").count() == 1,
        "{}",
        both.text()
    );
    assert!(admin.get("/ui/services/web").text().contains("another service"));
    // What is said of the spec and what is said of the names stand in one list.
    for answer in [
        admin.post("/services", &json!({"id": "weB", "name": "third", "spec": {"count": 1e0, "weight": 1}})),
        admin.patch("/services/weB", &json!({"spec": {"count": 2}})),
    ] {
        assert!(warns(&answer, "\"WEB\"") && warns(&answer, "count"), "{}", answer.text());
        assert_eq!(answer.text().matches("\"warnings\"").count(), 1, "{}", answer.text());
    }
    for seen in [
        "the ids \"PI\" and \"Pi\" and \"pi\" of nodes",
        "the names \"pi \" and \"pi\" of nodes",
        "the names \"web\" and \"Web\" of services",
    ] {
        ask(dir.path(), &[]).has("names.alike", "warn", seen, "PATCH /nodes/NODE");
    }

    fs::write(dir.join("w.json"), json!({"id": "wEb", "name": "w", "spec": {"count": 1}}).to_string()).unwrap();
    let url = format!("http://{}", client.address);
    let args = ["service", "apply", "-f", "w.json", "--username", "admin", "--password", "uptime", "--api-url", &url];
    let said = String::from_utf8(command(dir.path(), &args).output().unwrap().stderr).unwrap();
    for warning in ["The id \"wEb\" differs only in case from \"web\"", "count"] {
        assert_eq!(
            said.lines().filter(|line| line.starts_with("warning: ") && line.contains(warning)).count(),
            1,
            "{warning}: {said}"
        );
    }
}

#[test]
fn what_was_done_is_told_even_where_names_cannot_be_compared() {
    let dir = Dir::new();
    let (_server, client) = Running::serve(dir.path(), &["serve", "--server-port", "0", "--log-file", ""]);
    let admin = client.signed_in("admin", "uptime");
    assert_eq!(admin.post("/nodes", &json!({"id": "damaged", "name": "damaged"})).status, 201);
    let token = token(&admin, "worker", None);
    let database = rusqlite::Connection::open(dir.join("data/app.db")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    database.execute("UPDATE nodes SET roles = '{}' WHERE id = 'damaged'", []).unwrap();
    let joined = Node::new("n").join(&admin, &token, json!({}));
    assert_eq!(joined.status, 200, "the token is used up: {}", joined.text());
    assert_eq!(admin.post("/nodes", &json!({"id": "m", "name": "m"})).status, 201);
    assert_eq!(admin.patch("/nodes/m", &json!({"name": "o"})).status, 200);
}
