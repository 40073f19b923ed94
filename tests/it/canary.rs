//! Secrets are planted wherever the server keeps some, everything that it says is gathered, and none of them is in it.

use crate::node::{Node, token};
use crate::program::{Running, command};
use crate::support::{Answer, Client, Dir, until};
use serde_json::json;
use std::fs;

const AUTH_KEY: &str = "canary-auth-key-0123456789abcdef0123456789";
const SIGNING_KEY: &str = "canary-signing-key-0123456789abcdef0123456";
const METRICS_TOKEN: &str = "canary-metrics-token-0123456789";
const PASSWORD: &str = "canary-password-of-the-admin";
const USER_PASSWORD: &str = "canary-password-of-a-user";

/// Everything that was said, but the answers that are meant to give a secret.
#[derive(Default)]
struct Said(String);

impl Said {
    fn hear(&mut self, answer: &Answer) {
        for (name, value) in &answer.headers {
            self.0.push_str(&format!("{name}: {value}\n"));
        }
        self.0.push_str(&String::from_utf8_lossy(&answer.body));
        self.0.push('\n');
    }
}

fn sha256_hex(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn no_secret_leaves_but_where_it_is_meant_to() {
    let dir = Dir::new();
    let mut program =
        command(dir.path(), &["serve", "--server-host", "127.0.0.1", "--server-port", "0", "--log-level", "DEBUG"]);
    program.env("LOG_DB_QUERIES", "true").env("LOG_DB_QUERY_PARAMS", "true").env("LOG_SQL_MAX_LENGTH", "8000");
    program
        .env("AUTH_SECRET_KEY", AUTH_KEY)
        .env("CLUSTER_SIGNING_KEY", SIGNING_KEY)
        .env("METRICS_TOKEN", METRICS_TOKEN);
    let server = Running::of(program, dir.path(), "serve");
    let client = server.client();
    let setup_code = fs::read_to_string(dir.join("data/keys/setup-code")).unwrap().trim().to_string();
    let mut said = Said::default();

    let first = client.signed_in("admin", "uptime");
    let changed = first.post("/auth/password", &json!({"current_password": "uptime", "new_password": PASSWORD}));
    let session = changed.json()["session_token"].as_str().unwrap().to_string();
    let admin = Client { token: Some(session.clone()), ..client.clone() };
    said.hear(&admin.post("/users", &json!({"name": "u1", "role": "viewer", "password": USER_PASSWORD})));
    said.hear(&admin.post("/users/u1/password", &json!({"password": USER_PASSWORD})));
    let api_token =
        admin.post("/api-tokens", &json!({"name": "t", "role": "admin"})).json()["token"].as_str().unwrap().to_string();
    said.hear(&Client { token: Some(api_token.clone()), ..client.clone() }.get("/auth/me"));
    let join_token = token(&admin, "worker", None);
    let unused = token(&admin, "core", None);
    let mut node = Node::new("n1");
    assert_eq!(node.join(&client, &join_token, json!({})).status, 200);
    said.hear(&node.heartbeat(&client, 45, &json!({"ready": true})));

    for (method, path, ..) in uptimemesh::routes() {
        if method != "GET" || path.ends_with("/stream") || path.contains("logout") {
            continue;
        }
        let target: String =
            path.split('/').map(|part| if part.starts_with('{') { "n1" } else { part }).collect::<Vec<_>>().join("/");
        said.hear(&admin.get(&target));
        said.hear(&client.get(&target));
        said.hear(&node.call(&client, "GET", &target, b""));
    }
    said.hear(&client.send(
        "GET",
        "/metrics",
        &[("Authorization", &format!("Bearer {METRICS_TOKEN}")), ("X-Forwarded-For", "192.0.2.1")],
        b"",
    ));
    // What is wrong is told back, but not what is secret in it.
    said.hear(&client.post("/auth/token", &json!({"username": "admin", "password": format!("{PASSWORD}x")})));
    said.hear(&client.post("/auth/login", &json!({"username": "admin", "password": PASSWORD})));
    let form = format!("username=u1&password={USER_PASSWORD}x&next=/ui");
    said.hear(&client.send("POST", "/auth/login", &[], form.as_bytes()));
    said.hear(
        &admin.post(
            "/auth/password",
            &json!({"current_password": USER_PASSWORD, "new_password": format!("{PASSWORD}2")}),
        ),
    );
    said.hear(&admin.post("/auth/password", &json!({"current_password": PASSWORD, "new_password": "short"})));
    said.hear(&Client { token: Some(format!("{session}x")), ..client.clone() }.get("/nodes"));
    said.hear(&client.post(
        "/cluster/join",
        &json!({"token": unused, "node_id": "n2", "name": "n2", "role": "core", "csr_pem": "none"}),
    ));
    said.hear(&client.post(
        "/cluster/join",
        &json!({"token": join_token, "node_id": "n1", "name": "n1", "role": "worker", "csr_pem": "x"}),
    ));
    said.hear(&client.post(
        "/cluster/heartbeat",
        &json!({"node_id": "n1", "lease_token": node.lease_token, "signed_at": 1, "signature": "x"}),
    ));
    said.hear(&client.post("/cluster/renew", &json!({"node_id": "n1"})));
    said.hear(&admin.put("/cluster-settings/auth_secret_key", &json!({"value": "x"})));
    said.hear(&admin.get("/events?limit=1000"));
    said.hear(&admin.get("/no/such"));
    admin.get("/auth/logout");

    until("all is logged", || server.logged().contains("/auth/logout").then_some(()));
    said.0.push_str(&server.logged());
    said.0.push_str(&server.said());
    said.0.push_str(&fs::read_to_string(dir.join("data/app.log")).unwrap());
    let database = rusqlite::Connection::open(dir.join("data/app.db")).unwrap();
    let hash: String =
        database.query_row("SELECT password_hash FROM users WHERE name = 'admin'", [], |r| r.get(0)).unwrap();
    let ca_key = fs::read_to_string(dir.join("data/pki/cluster-ca.key")).unwrap();
    let mut secrets =
        vec![AUTH_KEY, SIGNING_KEY, METRICS_TOKEN, PASSWORD, USER_PASSWORD, &setup_code, &hash, "$argon2id$"];
    secrets.extend([session.as_str(), &api_token, &join_token, &unused, &node.lease_token]);
    secrets.extend(ca_key.lines().filter(|line| !line.starts_with("-----")));
    let hashes: Vec<String> =
        [&session, &api_token, &join_token, &unused, &node.lease_token].iter().map(|s| sha256_hex(s)).collect();
    secrets.extend(hashes.iter().map(String::as_str));
    assert!(
        said.0.contains("db.query") && said.0.contains("auth.sign_in") && said.0.contains("uptimemesh_build_info"),
        "it was heard"
    );
    for secret in secrets {
        let at = said.0.find(secret);
        assert!(
            at.is_none(),
            "{secret} is in: {}",
            &said.0[at.unwrap().saturating_sub(200)..(at.unwrap() + 200).min(said.0.len())]
        );
    }
}
