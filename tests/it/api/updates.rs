//! Updates of the fleet, with nodes that speak the contract: rings, waits, and what stops one.

use crate::node::{Node, epoch, token};
use crate::support::{Client, Served, until};
use serde_json::{Value, json};

const NEW: &str = "9.1.0";

fn node(admin: &Client, id: &str, ring: &str) -> Node {
    let mut node = Node::new(id);
    let joined = node.join(admin, &token(admin, "worker", None), json!({"labels": {"ring": ring}}));
    assert_eq!(joined.status, 200, "{}", joined.text());
    node
}

/// A heartbeat; gives what the node is told to update to.
fn beat(admin: &Client, node: &mut Node, patch: Value) -> Value {
    let answer = node.heartbeat(admin, 60, &patch);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["update"].clone()
}

/// Beats once a second, as often as there is a new time to sign at, until the node is told this.
fn until_told(what: &str, admin: &Client, node: &mut Node, patch: &Value, id: &str) -> Value {
    until(what, || {
        let now = epoch();
        let told = if now > node.signed_at { beat(admin, node, patch.clone()) } else { Value::Null };
        (told["id"] == id).then_some(told)
    })
}

fn version(version: &str) -> Value {
    json!({"ready": true, "version": version})
}

fn show(admin: &Client, id: &str) -> Value {
    admin.get(&format!("/updates/{id}")).json()
}

fn start(admin: &Client, more: Value) -> String {
    let mut body = json!({"version": NEW, "rings": ["1", "*"], "wait_seconds": 1});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let made = admin.post("/updates", &body);
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["id"].as_str().unwrap().to_string()
}

/// The names of the events of updates, oldest first.
fn told(admin: &Client) -> Vec<String> {
    let mut names: Vec<String> =
        admin.events("updates").iter().map(|e| e["name"].as_str().unwrap().to_string()).collect();
    names.reverse();
    names
}

#[test]
fn rings_follow_each_other_and_only_the_ring_is_told() {
    let mut served = Served::new();
    let admin = served.admin();
    let (mut first, mut rest) = (node(&admin, "first", "1"), node(&admin, "rest", "7"));
    assert_eq!(
        beat(&admin, &mut first, version("2.0.0")),
        Value::Null,
        "nobody is told anything while there is no update"
    );
    beat(&admin, &mut rest, version("2.0.0"));
    // What a word that is written wrong would leave out is not the ring that the others wait for.
    for body in [
        json!({"version": NEW, "rings": ["one", "*"]}),
        json!({"version": NEW, "rings": ["1", "*"], "ring_label": "rings"}),
    ] {
        let refused = admin.post("/updates", &body);
        assert!(refused.status == 409 && refused.text().contains("No live node has the label"), "{}", refused.text());
    }
    assert_eq!(admin.get("/updates").json(), json!([]), "nothing of it is left");
    let id = start(&admin, json!({}));
    let wanted = json!({"id": format!("{id}.1"), "channel": "stable", "version": NEW});
    assert_eq!(until_told("the first ring is told", &admin, &mut first, &version("2.0.0"), &format!("{id}.1")), wanted);
    assert_eq!(beat(&admin, &mut rest, version("2.0.0")), Value::Null);
    assert_eq!(admin.post("/updates", &json!({"version": NEW, "rings": ["*"]})).status, 409, "one at a time");

    beat(&admin, &mut first, version(NEW));
    until_told("the next ring is told", &admin, &mut rest, &version("2.0.0"), &format!("{id}.1"));
    assert_eq!(beat(&admin, &mut first, version(NEW)), Value::Null, "who has it is not told again");
    assert_eq!((&show(&admin, &id)["ring"], &show(&admin, &id)["state"]), (&json!(1), &json!("running")));
    // It goes on after a restart.
    served.restart();
    let admin = served.admin();
    until_told("the ring is told again", &admin, &mut rest, &version("2.0.0"), &format!("{id}.1"));
    beat(&admin, &mut first, version(NEW));
    beat(&admin, &mut rest, version("9.2.0"));
    until("it is complete", || (show(&admin, &id)["state"] == "completed").then_some(()));
    assert_eq!(told(&admin), ["update.started", "update.ring", "update.completed"]);
    assert_eq!(admin.post(&format!("/updates/{id}/pause"), &json!({})).status, 409, "what is over stays so");
    assert_eq!(beat(&admin, &mut rest, version("2.0.0")), Value::Null);
}

#[test]
fn a_node_that_rolls_back_halts_it_and_an_operator_goes_on() {
    let served = Served::new();
    let admin = served.admin();
    let (mut first, mut rest) = (node(&admin, "first", "1"), node(&admin, "rest", "2"));
    beat(&admin, &mut rest, version("2.0.0"));
    let id = start(&admin, json!({}));
    let failed = |attempt: u32| {
        let update = json!({"id": format!("{id}.{attempt}"), "state": "rolled_back", "reason": "it did not answer"});
        json!({"ready": true, "version": "2.0.0", "update": update})
    };
    beat(&admin, &mut first, failed(1));
    let halted = until("it halts", || Some(show(&admin, &id)).filter(|u| u["state"] == "halted"));
    assert_eq!(halted["reason"], "1 nodes failed, 0 are lost: first: rolled_back (it did not answer)");
    assert_eq!(beat(&admin, &mut first, failed(1)), Value::Null, "nobody is told anything now");
    let event = &admin.events("updates")[0];
    assert_eq!((&event["name"], &event["level"]), (&json!("update.halted"), &json!("WARNING")));

    let resumed = admin.post(&format!("/updates/{id}/resume"), &json!({}));
    assert_eq!((resumed.status, &resumed.json()["attempt"], &resumed.json()["reason"]), (200, &json!(2), &Value::Null));
    until_told("it is told anew", &admin, &mut first, &failed(1), &format!("{id}.2"));
    let paused = admin.post(&format!("/updates/{id}/pause"), &json!({}));
    assert_eq!(paused.json()["state"], "paused");
    assert_eq!(beat(&admin, &mut first, failed(1)), Value::Null, "from the answer on");
    assert_eq!(admin.post(&format!("/updates/{id}/cancel"), &json!({})).json()["state"], "cancelled");
    assert_eq!(admin.post(&format!("/updates/{id}/resume"), &json!({})).status, 409);
    assert_eq!(
        told(&admin),
        ["update.started", "update.halted", "update.resumed", "update.paused", "update.cancelled"]
    );

    // With one that may fail the rest is updated.
    let id = start(&admin, json!({"lost_max": 1, "wait_seconds": 0}));
    beat(&admin, &mut first, json!({"update": {"id": format!("{id}.1"), "state": "failed", "reason": "no room"}}));
    until_told("the rest is told", &admin, &mut rest, &version("2.0.0"), &format!("{id}.1"));
    beat(&admin, &mut rest, version(NEW));
    until("it is complete", || (show(&admin, &id)["state"] == "completed").then_some(()));
    let list = admin.get("/updates?limit=1");
    assert_eq!((list.json().as_array().unwrap().len(), list.header("x-total-count")), (1, Some("2")));
    assert_eq!(list.json()[0]["id"], id.as_str(), "newest first");
}

#[test]
fn an_update_that_is_none_is_refused_with_every_fault() {
    let served = Served::new();
    let admin = served.admin();
    let bad = json!({"version": "two", "channel": "A B", "rings": [], "wait_seconds": -1, "lost_max": "many",
        "ring_label": "a b"});
    assert_eq!(admin.post("/updates", &bad).faults().len(), 6);
    assert_eq!(admin.post("/updates", &json!({})).faults().len(), 2);
    assert_eq!(admin.post("/updates", &json!({"version": NEW, "rings": ["1", "1"]})).faults().len(), 1);
    assert_eq!(
        admin.post("/updates", &json!({"version": NEW, "rings": ["1"], "id": "x".repeat(41)})).faults().len(),
        1
    );
    assert_eq!(admin.get("/updates/update-0").status, 404);
    assert_eq!(admin.post("/updates/update-0/pause", &json!({})).status, 404);
    let operator = served.user("operator", "operator");
    assert_eq!(operator.post("/updates", &json!({"version": NEW, "rings": ["*"]})).status, 403);
    assert_eq!(operator.get("/updates").json(), json!([]));
}

#[test]
fn an_update_with_an_odd_id_of_a_node_can_still_be_read_and_ended() {
    let served = Served::new();
    let admin = served.admin();
    let _first = node(&admin, "first", "1");
    let id = start(&admin, json!({}));
    let database = rusqlite::Connection::open(&served.config.database_path).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    assert_eq!(database.execute("UPDATE updates SET watched = '[\"no id\"]'", []).unwrap(), 1);
    assert_eq!(show(&admin, &id)["id"], id.as_str());
    assert_eq!(admin.post(&format!("/updates/{id}/cancel"), &json!({})).json()["state"], "cancelled");
}
