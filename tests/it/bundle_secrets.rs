//! Secrets are planted wherever people put them, and none is in a support bundle: it shows what is ours, and shapes of
//! all else.

use crate::bundles::{download, made, unpacked};
use crate::node::Node;
use crate::program::{Running, command};
use crate::support::{Client, Dir, until};
use serde_json::{Map, Value, json};
use std::fs;

/// Every planted secret; each is a text that stands nowhere else.
#[derive(Default)]
struct Plants(Vec<String>);

impl Plants {
    fn plant(&mut self) -> String {
        let secret = format!("hunter{}Zq", 1000 + self.0.len());
        self.0.push(secret.clone());
        secret
    }

    fn plant_small(&mut self) -> String {
        let secret = format!("hunter{}.zq-small", 1000 + self.0.len());
        self.0.push(secret.clone());
        secret
    }
}

/// Names under which people keep secrets, in several languages and with none of the usual words in some.
const KEYS: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "pass",
    "passphrase",
    "secret",
    "client_secret",
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "api_key",
    "apikey",
    "x-api-key",
    "private_key",
    "ssh_key",
    "creds",
    "credentials",
    "otp",
    "totp_seed",
    "seed",
    "salt",
    "pepper",
    "signing",
    "signing_key",
    "bearer",
    "auth",
    "authorization",
    "cookie",
    "session",
    "sid",
    "jwt",
    "pin",
    "puk",
    "code",
    "license",
    "dsn",
    "connection_string",
    "database_url",
    "redis_url",
    "webhook",
    "hook",
    "slack",
    "passwort",
    "kennwort",
    "geheimnis",
    "contrase\u{f1}a",
    "clave",
    "mot_de_passe",
    "motdepasse",
    "senha",
    "parola",
    "has\u{142}o",
    "wachtwoord",
    "l\u{f6}senord",
    "\u{43f}\u{430}\u{440}\u{43e}\u{43b}\u{44c}",
    "\u{5bc6}\u{7801}",
    "\u{30d1}\u{30b9}\u{30ef}\u{30fc}\u{30c9}",
    "id",
    "name",
    "node_id",
    "note",
    "value",
    "x",
    "image",
    "state",
    "version",
];

/// A spec with a secret in every way that people write one into it.
fn spec(p: &mut Plants) -> Value {
    let keys: Map<String, Value> = KEYS.iter().map(|key| (key.to_string(), Value::from(p.plant()))).collect();
    let command = [
        "run".into(),
        "--password".into(),
        p.plant(),
        format!("--token={}", p.plant()),
        "-u".into(),
        format!("admin:{}", p.plant()),
        format!("-p{}", p.plant()),
        "-H".into(),
        format!("X-Auth: {}", p.plant()),
        "sh".into(),
        "-c".into(),
        format!(
            "mysql -p{} && curl -u a:{} https://b:{}@example.org/?sig={}",
            p.plant(),
            p.plant(),
            p.plant(),
            p.plant()
        ),
        format!("echo {} | docker login --password-stdin", p.plant()),
    ];
    json!({
        "image": format!("registry.example/{}:1", p.plant()),
        "env": keys,
        "environment": [format!("A={}", p.plant()), {"name": "OTHER", "value": p.plant()}, {"B": p.plant()}],
        "labels": {"zone": p.plant(), "traefik.http.middlewares.auth.basicauth.users": format!("u:$apr1${}",
        p.plant())},
        "command": command,
        "args": p.plant(),
        "files": [
            {"name": "tls.key", "content": format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", p.plant())},
            {"path": ".netrc", "content": format!("machine h login l password {}", p.plant())},
            {"path": ".pgpass", "content": format!("h:5432:d:u:{}", p.plant())},
            {"path": "wg0.conf", "content": format!("[Interface]\nPrivateKey = {}=\n[Peer]\nPresharedKey = {}=", p.plant(), p.plant())},
            {"path": "config.json", "content": json!({"auths": {"r.example": {"auth": p.plant()}}}).to_string()},
            {"path": ".aws/credentials", "content": format!("aws_secret_access_key = {}", p.plant())},
            {"path": "kubeconfig", "content": format!("users:\n- user: {{client-key-data: {}}}", p.plant())},
        ],
        "notes": format!("the root password is {} and the other one {}", p.plant(), p.plant()),
        "hooks": [format!("https://hooks.slack.example/services/T0/B0/{}", p.plant()),
        format!("https://discord.example/api/webhooks/1/{}", p.plant())],
        "urls": {"amqp": format!("amqp://u:{}@mq/", p.plant()), "mongo": format!("mongodb+srv://u:{}@m/?x={}",
        p.plant(), p.plant()), "jdbc": format!("jdbc:x;password={};", p.plant())},
        "credentials": {"deep": [{"deeper": [[{"deepest": p.plant()}]]}], "id": p.plant(), "desired_replicas": p.plant()},
        "scheduling": {"desired_replicas": 1, "mode": "replicated", "node_selector": {"zone": p.plant()}, "spread_by": p.plant(), "annotation": p.plant()},
        "rolling_update": {"max_surge": 1, "secret": p.plant()},
        "resources": {"cpu_millis": 1, "token": p.plant()},
        "pin": 31_415_926_535_897_i64,
        "keys": {format!("k {}", p.plant()): true, format!("{}_0123456789", p.plant()): 1},
    })
}

/// What the objects of a cluster hold besides specs.
fn plant_objects(p: &mut Plants, admin: &Client) {
    let service = json!({"id": "web", "name": p.plant(), "description": format!("ask bob, it is {}", p.plant()),
        "spec": spec(p)});
    let created = admin.post("/services", &service);
    assert_eq!(created.status, 201, "{}", created.text());
    let status =
        json!({"note": p.plant(), "db": {"password": p.plant(), "id": p.plant()}, "kernel": p.plant(), "ready": true});
    let node = json!({
        "id": "n2", "name": p.plant(), "roles": ["worker", p.plant()], "status": status, "api_endpoint": format!("https://u:{}@n2.example", p.plant()),
        "labels": {"root_password": p.plant(), "disk": p.plant(), "zone": p.plant()},
    });
    let created = admin.post("/nodes", &node);
    assert_eq!(created.status, 201, "{}", created.text());
    let status = json!({"access_token": p.plant(), "state": p.plant(), "healthy": true, "message": p.plant(),
        "log": [p.plant()]});
    let replica = json!({"id": "r1", "service_id": "web", "node_id": "n2", "status": status});
    assert_eq!(admin.post("/replicas", &replica).status, 201);
    let endpoint =
        json!({"id": "e1", "replica_id": "r1", "address": format!("https://u:{}@host", p.plant()), "port": 80});
    assert_eq!(admin.post("/endpoints", &endpoint).status, 201);
    for key in ["smtp_pass", "harmless", "webhook", "scheduler_note"] {
        assert_eq!(admin.put(&format!("/cluster-settings/{key}"), &json!({"value": p.plant()})).status, 200, "{key}");
    }
    let event = json!({
        "category": format!("mine.{}", p.plant()), "name": p.plant(), "level": "info",
        "fields": {"password": p.plant(), "text": p.plant(), "node_id": p.plant(), "nested": {"node_id": p.plant()},
        "list": [p.plant()]},
    });
    let created = admin.post("/events", &event);
    assert_eq!(created.status, 201, "{}", created.text());
    admin.post("/etcd/snapshots", &json!({"id": "s1", "requested_by": p.plant()}));
    admin.patch(
        "/etcd/snapshots/s1",
        &json!({"status": "failed", "error": format!("it was {}", p.plant()), "location": format!("s3://{}", p.plant())}),
    );
    assert_eq!(admin.post("/api-tokens", &json!({"name": p.plant(), "role": "viewer"})).status, 201);
    let mut node = Node::joined(admin, "n1");
    // Under keys of ours, and in letters that our own words have.
    let update = json!({"state": p.plant_small(), "reason": p.plant(), "channel": p.plant_small()});
    let patch = json!({"db_password": p.plant(), "note": p.plant(), "version": p.plant(), "update": update});
    assert_eq!(node.heartbeat(admin, 45, &patch).status, 200);
}

/// What clients and other programs may get into the log.
fn plant_log(p: &mut Plants, admin: &Client, dir: &Dir) {
    for id in [format!("password={}", p.plant()), p.plant(), format!("a:{}", p.plant())] {
        admin.send("GET", "/nodes", &[("X-Request-ID", &id)], b"");
    }
    admin.get(&format!("/nodes/{}", p.plant()));
    admin.get(&format!("/nodes/n1?token={}", p.plant()));
    let last = p.plant();
    admin.get(&format!("/no/such/{last}/path"));
    until("all is logged", || fs::read_to_string(dir.join("data/app.log")).unwrap().contains(&last).then_some(()));
    let older = format!(
        "a line of another program, password={}\n2026-11-23 20:12:26.900 | INFO     | x | (*) log | a library said {}\n\
         2026-11-23 20:12:26.900 | ERROR    | store | (x) store.disk | Disk trouble | error: write {} (os error 28)\n",
        p.plant(),
        p.plant(),
        p.plant()
    );
    fs::write(dir.join("data/app.log.1"), older).unwrap();
}

#[test]
fn no_secret_is_in_a_bundle() {
    let dir = Dir::new();
    let mut p = Plants::default();
    let mut program =
        command(dir.path(), &["serve", "--server-port", "0", "--log-level", "DEBUG", "--app-name", &p.plant()]);
    program.env("LOG_DB_QUERIES", "true").env("LOG_DB_QUERY_PARAMS", "true").env("LOG_SQL_MAX_LENGTH", "8000");
    let server = Running::of(program, dir.path(), "serve");
    let admin = server.client().signed_in("admin", "uptime");
    plant_objects(&mut p, &admin);
    plant_log(&mut p, &admin, &dir);
    assert!(p.0.len() > 150, "{} were planted", p.0.len());

    made(&admin, "one");
    let all = unpacked(&download(&admin, "one").body);
    let text: String = all.iter().map(|(path, content)| format!("== {path}\n{content}\n")).collect();
    for secret in p.0.iter().map(String::as_str).chain(["31415926535897"]) {
        let at = text.find(secret);
        assert!(at.is_none(), "{secret} is in: {}", around(&text, at.unwrap_or_default()));
    }
    // And it is still worth reading.
    for kept in [
        "\"desired_replicas\": 1",
        "\"mode\": \"replicated\"",
        "\"lease_state\": \"alive\"",
        "\"contrase\u{f1}a\": \"<text, 12 characters>\"",
        "os error 28",
        "db.query",
        "path: /nodes/{...}",
        "path: /{...}/{...}/{...}/{...}",
        "status_code: 404",
        "service.create",
        "SELECT",
        "\"username\": \"admin\"",
        "\"seen\": \"",
        "uptimemesh_build_info",
    ] {
        assert!(text.contains(kept), "{kept} is missing");
    }

    // With values it is for the operator alone, says so, and still holds nothing of the server's own secrets.
    let created = admin.post("/support-bundles", &json!({"id": "two", "with_values": true}));
    assert_eq!((created.status, &created.json()["with_values"]), (201, &json!(true)));
    until("it is made", || (admin.get("/support-bundles/two").json()["status"] == "completed").then_some(()));
    let all = unpacked(&download(&admin, "two").body);
    let text: String = all.values().map(String::as_str).collect();
    let shown = p.0.iter().filter(|secret| text.contains(secret.as_str())).count();
    assert!(shown > 140, "{shown} values are shown");
    assert!(all["manifest.json"].contains("Keep it private"));
    let setup_code = fs::read_to_string(dir.join("data/keys/setup-code")).unwrap();
    let database = rusqlite::Connection::open(dir.join("data/app.db")).unwrap();
    let hash: String =
        database.query_row("SELECT password_hash FROM users WHERE name = 'admin'", [], |r| r.get(0)).unwrap();
    let mut own = vec![setup_code.trim().to_string(), hash, admin.token.clone().unwrap()];
    let ca_key = fs::read_to_string(dir.join("data/pki/cluster-ca.key")).unwrap();
    own.extend(ca_key.lines().filter(|line| !line.starts_with("-----")).map(str::to_string));
    for secret in own {
        assert!(!text.contains(&secret), "{secret} is in: {}", around(&text, text.find(&secret).unwrap_or_default()));
    }
    let operator = admin.post("/api-tokens", &json!({"name": "o", "role": "operator"})).json()["token"]
        .as_str()
        .unwrap()
        .to_string();
    let refused =
        Client { token: Some(operator), ..server.client() }.post("/support-bundles", &json!({"with_values": true}));
    assert_eq!(refused.status, 403, "{}", refused.text());
}

fn around(text: &str, at: usize) -> String {
    String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(300)..(at + 100).min(text.len())]).into_owned()
}
