//! API tokens: what they may do, and when they end.

use crate::support::{Client, Served, until};
use serde_json::json;

#[test]
fn a_token_acts_in_its_owners_name_within_its_role() {
    let served = Served::new();
    let admin = served.admin();
    let made = admin.post("/api-tokens", &json!({"name": "ci", "role": "operator", "expires_in_days": 1}));
    assert_eq!(made.status, 201, "{}", made.text());
    let (object, secret) = (made.json(), made.json()["token"].as_str().unwrap().to_string());
    assert!(
        secret.starts_with("um_") && secret.len() == 46 && object["id"].as_str().unwrap().starts_with("ut-"),
        "{object}"
    );
    assert_eq!(
        admin.post("/api-tokens", &json!({"name": "ci", "role": "viewer"})).detail(),
        "You have an API token of this name already"
    );
    for days in [0, 3651] {
        assert_eq!(
            admin.post("/api-tokens", &json!({"name": "x", "role": "viewer", "expires_in_days": days})).status,
            422
        );
    }
    let token = Client { token: Some(secret.clone()), ..served.anonymous() };
    let me = token.get("/auth/me").json();
    assert_eq!(
        (me["name"].as_str(), me["role"].as_str(), me["credential"].as_str()),
        (Some("admin"), Some("operator"), Some("api_token"))
    );
    assert_eq!((token.post("/nodes", &json!({"id": "n", "name": "n"})).status, token.get("/users").status), (201, 403));
    let cookie = format!("uptimemesh_session={secret}");
    assert_eq!(
        served.anonymous().send("GET", "/nodes", &[("Cookie", &cookie)], b"").status,
        200,
        "wherever a session's token works"
    );
    let password = json!({"current_password": "uptime", "new_password": "a better password"});
    for answer in
        [token.post("/auth/password", &password), token.get("/auth/sessions"), token.delete("/auth/sessions/x")]
    {
        assert_eq!(answer.detail(), "API tokens may not do this: sign in with a password.");
    }
    let listed = admin.get("/api-tokens");
    assert!(!listed.text().contains(&secret) && !listed.text().contains("hash"));
    assert_eq!(
        (listed.json()[0]["last_used_address"].as_str(), listed.json()[0]["owner"].as_str()),
        (Some("127.0.0.1"), Some("admin"))
    );
    assert_eq!(
        Client { token: Some(format!("um_{}", "A".repeat(43))), ..served.anonymous() }.get("/nodes").status,
        401
    );
    assert_eq!(admin.delete(&format!("/api-tokens/{}", object["id"].as_str().unwrap())).status, 204);
    assert_eq!(token.get("/nodes").status, 401);
}

#[test]
fn a_token_can_do_no_more_than_its_owner_and_goes_with_it() {
    let mut served = Served::new();
    let admin = served.admin();
    let owner = served.user("owner", "admin");
    let made = owner.post("/api-tokens", &json!({"name": "t", "role": "admin"})).json();
    let token = Client { token: made["token"].as_str().map(String::from), ..served.anonymous() };
    assert_eq!(token.get("/users").status, 200);
    admin.patch("/users/owner", &json!({"role": "viewer"}));
    assert_eq!((token.get("/users").status, token.get("/nodes").status), (403, 200));
    assert_eq!(token.get("/auth/me").json()["role"], "viewer");
    served.restart();
    let (admin, token) = (served.admin(), Client { address: served.anonymous().address, ..token });
    assert_eq!(token.get("/nodes").status, 200, "it survives a restart");
    let database = rusqlite::Connection::open(&served.config.database_path).unwrap();
    let (at, from): (Option<i64>, Option<String>) = database
        .query_row("SELECT last_used_at, last_used_address FROM api_tokens", [], |r| Ok((r.get(0)?, r.get(1)?)))
        .unwrap();
    assert!(at.is_some() && from.as_deref() == Some("127.0.0.1"), "its last use was written at the end");
    database.execute("UPDATE api_tokens SET expires_at = 1", []).unwrap();
    assert_eq!(token.get("/nodes").status, 401, "it ends");
    database.execute("UPDATE api_tokens SET expires_at = 9000000000000000", []).unwrap();
    assert_eq!(token.get("/nodes").status, 200);
    assert_eq!(admin.delete("/users/owner").status, 204);
    assert_eq!(token.get("/nodes").status, 401);
}

#[test]
fn a_stream_ends_with_its_token() {
    let served = Served::new();
    let (admin, token) = (served.admin(), served.api_token("viewer"));
    let id = token.get("/auth/me").json()["credential_id"].as_str().unwrap().to_string();
    let reading = std::thread::spawn(move || token.send("GET", "/events/stream", &[], b"").status);
    until("it reads", || admin.get("/metrics").text().contains("uptimemesh_stream_readers 1\n").then_some(()));
    assert_eq!(admin.delete(&format!("/api-tokens/{id}")).status, 204);
    until("it has ended", || reading.is_finished().then_some(()));
}
