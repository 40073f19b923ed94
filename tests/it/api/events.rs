//! `/events`.

use crate::support::Served;
use serde_json::json;

#[test]
fn events_are_recorded_and_read_newest_first() {
    let served = Served::new();
    let admin = served.admin();
    let made =
        admin.post("/events", &json!({"id": "e1", "category": "deploy", "name": "deploy.begin", "level": "info", "fields": {"a": [1]}}));
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
