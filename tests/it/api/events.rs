//! `/events`.

use crate::support::{Client, Served};
use serde_json::{Value, json};

#[test]
fn events_are_recorded_and_read_newest_first() {
    let served = Served::new();
    let admin = served.admin();
    let made = admin.post(
        "/events",
        &json!({"id": "e1", "category": "deploy", "name": "deploy.begin", "level": "info", "fields": {"a": [1]}}),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json()["fields"], json!({"a": [1]}));
    assert_eq!(
        admin.post("/events", &json!({"id": "e1", "category": "c", "name": "n", "level": "info"})).detail(),
        "Event id already exists"
    );
    let unnamed = admin.post("/events", &json!({"category": "deploy", "name": "deploy.end", "level": "info"})).json();
    let ids: Vec<_> = admin.events("deploy").iter().map(|e| e["id"].clone()).collect();
    assert_eq!(ids, [unnamed["id"].clone(), json!("e1")]);
    assert_eq!(
        admin.post("/events", &json!({"category": 1, "fields": [], "level": ""})).faults(),
        [
            r#"string_type ["body","category"]"#,
            r#"missing ["body","name"]"#,
            r#"string_too_short ["body","level"]"#,
            r#"dict_type ["body","fields"]"#
        ]
    );
}

#[test]
fn what_could_not_be_read_back_is_not_taken() {
    let served = Served::new();
    let admin = served.admin();
    let fields = json!({"a": {"$serde_json::private::RawValue": "no JSON"}});
    let said = admin
        .post("/events", &json!({"id": "e1", "category": "deploy", "name": "n", "level": "info", "fields": fields}));
    let kept = admin.get("/events?category=deploy");
    assert_eq!((kept.status, kept.text().as_str()), (200, "[]"), "{}", said.text());
    assert!(said.faults()[0].starts_with("json_invalid"), "{}", said.text());
}

#[test]
fn the_limit_of_events_is_clamped_and_pages_go_on() {
    let served = Served::new();
    let admin = served.admin();
    for i in 0..5 {
        admin.post("/events", &json!({"id": format!("e{i}"), "category": "c", "name": "n", "level": "info"}));
    }
    let count = |path: &str| admin.get(path).json().as_array().unwrap().len();
    assert_eq!(count("/events?category=c&limit=0"), 1);
    assert_eq!(count("/events?category=c&limit=-5"), 1);
    assert_eq!(count("/events?category=c&limit=99999"), 5);
    assert_eq!(count("/events?category=c&limit=99999999999999999999"), 5);
    assert_eq!(count("/events?category=c&limit=-99999999999999999999"), 1);
    assert_eq!(admin.get("/events?limit=x").faults(), [r#"int_parsing ["query","limit"]"#]);
    let first = admin.get("/events?category=c&limit=2");
    assert_eq!(first.header("X-Total-Count"), Some("5"));
    let link = first.header("Link").unwrap();
    let rest = admin.get(&link[1..link.find('>').unwrap()]).json();
    assert_eq!(rest[0]["id"], "e2");
    assert_eq!(count("/events?category=c&after=gone"), 0);
}

#[test]
fn events_are_filtered_by_whatever_is_known_of_them() {
    let served = Served::new();
    let admin = served.admin();
    let post = |id: &str, category: &str, name: &str, level: &str, node: &str| {
        let body = json!({"id": id, "category": category, "name": name, "level": level, "fields": {"node_id": node}});
        admin.post("/events", &body).json()["created_at"].as_str().unwrap().to_string()
    };
    post("e1", "a", "x", "info", "n1");
    let second = post("e2", "a", "y", "Warning", "n2");
    post("e3", "b", "x", "info", "n1");
    post("e4", "b", "y", "warning", "n1");
    for (query, want) in [
        ("category=a", "e2 e1"),
        ("name=x", "e3 e1"),
        ("level=warning", "e4 e2"),
        ("level=WARNING", "e4 e2"),
        ("category=b&level=Warning", "e4"),
        ("name=y&level=wARNING", "e4 e2"),
        ("node_id=n1", "e4 e3 e1"),
        ("node_id=n1&category=b", "e4 e3"),
        ("node_id=n1&name=x&level=info", "e3 e1"),
        ("name=y&category=a", "e2"),
        (&format!("since={second}&category=b"), "e4 e3"),
        (&format!("since={second}&node_id=n2"), ""),
        (&format!("since={second}&level=info"), "e3"),
        ("node_id=n1&limit=1&after=e4", "e3"),
    ] {
        let page = admin.get(&format!("/events?{query}"));
        let ids: Vec<_> =
            page.json().as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_string()).collect();
        assert_eq!(ids.join(" "), want, "{query}");
        if !query.contains("limit") {
            assert_eq!(page.header("X-Total-Count").unwrap(), ids.len().to_string(), "{query}");
        }
    }
    assert_eq!(admin.get("/events?since=then").faults(), [r#"string_pattern_mismatch ["query","since"]"#]);
    let fat = json!({"category": "c", "name": "n", "level": "info", "fields": {"x": "y".repeat(17_000)}});
    assert_eq!(admin.post("/events", &fat).faults(), [r#"string_too_long ["body","fields"]"#]);
}

#[test]
fn the_servers_own_levels_are_in_upper_case_and_a_clients_as_it_was_sent() {
    let mut served = Served::new();
    let admin = served.admin();
    admin.post("/nodes", &json!({"id": "n", "name": "n"}));
    admin.delete("/nodes/n");
    served.anonymous().post("/auth/token", &json!({"username": "admin", "password": "wrong"}));
    for level in ["info", "Warning", "ERROR", "fatal \u{e9}"] {
        let event = json!({"category": "mine", "name": "n", "level": level});
        assert_eq!(admin.post("/events", &event).json()["level"], level);
    }
    let levels = |client: &Client| -> Vec<(String, String)> {
        let all = client.get("/events?limit=1000").json();
        let text = |e: &Value, key: &str| e[key].as_str().unwrap().to_string();
        all.as_array().unwrap().iter().map(|e| (text(e, "category"), text(e, "level"))).collect()
    };
    let before = levels(&admin);
    let (clients, own): (Vec<_>, Vec<_>) = before.iter().partition(|(category, _)| category == "mine");
    assert!(
        own.len() >= 3 && own.iter().all(|(_, level)| ["INFO", "WARNING", "ERROR"].contains(&level.as_str())),
        "{own:?}"
    );
    let sent: Vec<&str> = clients.iter().rev().map(|(_, level)| level.as_str()).collect();
    assert_eq!(sent, ["info", "Warning", "ERROR", "fatal \u{e9}"]);
    let page = admin.get("/ui/events?level=WARNING").text();
    assert!(
        page.contains("class=\"state warning\">WARNING<") && page.contains("class=\"state warning\">Warning<"),
        "{page}"
    );
    assert!(page.contains("<option value=\"warning\" selected"), "{page}");

    // What 2.0.0 stored is brought along once, and nothing of a client's is.
    served.server.take().unwrap().shutdown();
    let database = rusqlite::Connection::open(&served.config.database_path).unwrap();
    database
        .execute_batch(
            "UPDATE events SET level = lower(level) WHERE category != 'mine'; DELETE FROM schema_migrations \
            WHERE number = 7",
        )
        .unwrap();
    drop(database);
    served.server = Some(uptimemesh::Server::start(served.config.clone()).unwrap());
    let after = levels(&served.admin());
    assert_eq!(after[after.len() - before.len()..], before[..]);
}

#[test]
fn how_long_events_are_kept_is_a_setting_within_bounds() {
    let served = Served::new();
    let admin = served.admin();
    let put = |key: &str, value: &str| admin.put(&format!("/cluster-settings/{key}"), &json!({"value": value})).status;
    for (key, value, status) in [
        ("events_retention_days", "7", 200),
        ("events_retention_days", "0", 422),
        ("events_retention_days", "soon", 422),
        ("events_retention_rows", "1000", 200),
        ("events_retention_rows", "999", 422),
    ] {
        assert_eq!(put(key, value), status, "{key} = {value}");
    }
}
