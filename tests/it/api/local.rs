//! The server's local credential: who can read its data directory needs no password, on its own machine.

use crate::support::{Client, Served};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// What a server wrote for commands on its machine.
fn written(served: &Served) -> Value {
    serde_json::from_str(&fs::read_to_string(served.dir.join("local.json")).unwrap()).unwrap()
}

fn by_local(served: &Served) -> Client {
    Client { token: written(served)["token"].as_str().map(String::from), ..served.anonymous() }
}

#[test]
fn the_local_credential_is_an_admin_of_this_machine_until_the_server_stops() {
    let mut served = Served::new();
    let path = served.dir.join("local.json");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(written(&served)["url"], format!("http://{}", served.anonymous().address));
    assert_eq!(written(&served)["authority"], json!(served.server.as_ref().unwrap().authority().unwrap()));
    let local = by_local(&served);
    let me = local.get("/auth/me").json();
    let said = ["name", "role", "credential", "credential_id"].map(|key| me[key].as_str().unwrap().to_string());
    assert_eq!(said, ["(this machine)", "admin", "local", "local"]);
    assert_eq!(local.post("/nodes", &json!({"id": "n", "name": "n"})).status, 201);
    let event = local.get("/events?name=node.create").json()[0].clone();
    assert_eq!((event["actor"].as_str(), event["address"].as_str()), (Some("local:machine"), Some("127.0.0.1")));

    let mut wrong = local.clone();
    wrong.token = Some(format!("uml_{}", "A".repeat(43)));
    assert_eq!(wrong.get("/nodes").status, 401);
    served.stopped(|| assert!(!path.exists(), "a clean stop removes it"));
    let late = Client { address: served.anonymous().address, ..local };
    assert_eq!(late.get("/nodes").status, 401, "it ended with its server");
    assert_eq!(by_local(&served).get("/nodes").status, 200);
}

#[test]
fn the_local_credential_counts_on_this_machine_only() {
    let served = Served::proxied(|_| ());
    let local = by_local(&served);
    assert_eq!(local.get("/nodes").status, 200);
    for header in ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"] {
        let value = if header == "Forwarded" { "for=127.0.0.1" } else { "127.0.0.1" };
        assert_eq!(local.send("GET", "/nodes", &[(header, value)], b"").status, 401, "{header}");
    }
    let other = Served::new();
    let stranger = Client { address: other.anonymous().address, ..local };
    assert_eq!(stranger.get("/nodes").status, 401, "each server has its own");
}

#[test]
fn what_only_a_person_may_do_the_local_credential_may_not_but_it_manages_users() {
    let served = Served::new();
    let local = by_local(&served);
    let password = json!({"current_password": "uptime", "new_password": "a better password"});
    let token = json!({"name": "t", "role": "viewer"});
    for answer in [
        local.post("/auth/password", &password),
        local.get("/auth/sessions"),
        local.post("/api-tokens", &token),
        local.post("/auth/api-tokens", &json!({"name": "t"})),
    ] {
        let sentence = "Only a person may do this, signed in with a password: the local credential cannot.";
        assert_eq!((answer.status, answer.detail().as_str()), (403, sentence));
    }
    let made = local.post("/users", &json!({"name": "eve", "role": "viewer", "password": "a password of eve"}));
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(local.patch("/users/eve", &json!({"role": "operator"})).status, 200);
    assert_eq!(local.post("/users/eve/password", &json!({"password": "another of eve's"})).status, 204);
    assert_eq!(local.delete("/users/eve").status, 204);
}

#[test]
fn the_first_use_in_a_run_is_an_event_and_no_other() {
    let mut served = Served::new();
    for run in 1..=2 {
        let local = by_local(&served);
        for _ in 0..5 {
            assert_eq!(local.get("/nodes").status, 200);
        }
        let uses: Vec<Value> =
            local.events("auth").into_iter().filter(|event| event["name"] == "auth.local_use").collect();
        assert_eq!((uses.len(), uses[0]["actor"].as_str()), (run, Some("local:machine")));
        served.restart();
    }
}

#[test]
fn everybody_makes_and_revokes_tokens_of_their_own() {
    let served = Served::new();
    let viewer = served.user("vera", "viewer");
    let for_long = viewer.post("/auth/api-tokens", &json!({"name": "cli vera@laptop", "expires_in_days": 91}));
    assert_eq!(for_long.status, 422, "90 days are the limit of a token that no admin gave: {}", for_long.text());
    let made = viewer.post("/auth/api-tokens", &json!({"name": "cli vera@laptop"}));
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    assert_eq!((made["owner"].as_str(), made["role"].as_str()), (Some("vera"), Some("viewer")));
    let token = Client { token: made["token"].as_str().map(String::from), ..served.anonymous() };
    assert_eq!(token.get("/nodes").status, 200);
    assert_eq!(token.post("/auth/api-tokens", &json!({"name": "more"})).status, 403, "a token makes no tokens");

    let other = viewer.post("/auth/api-tokens", &json!({"name": "other"})).json();
    let own = |client: &Client| {
        let listed = client.get("/auth/api-tokens").json();
        listed.as_array().unwrap().iter().map(|token| token["name"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    let mut names = own(&viewer);
    names.sort();
    assert_eq!(names, ["cli vera@laptop", "other"]);
    assert_eq!((own(&token).len(), own(&served.user("xena", "admin")).len()), (2, 0), "only the caller's own");
    let path = |token: &Value| format!("/auth/api-tokens/{}", token["id"].as_str().unwrap());
    assert_eq!(token.delete(&path(&other)).status, 404, "a token revokes itself alone");
    assert_eq!(served.user("wim", "operator").delete(&path(&made)).status, 404, "and nobody another's");
    assert_eq!(token.delete(&path(&made)).status, 204);
    assert_eq!(token.get("/nodes").status, 401);
    assert_eq!(viewer.delete(&path(&other)).status, 204);
}
