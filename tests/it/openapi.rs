//! The API's document: complete, true to what is answered, and held against the server by a fuzzer that knows nothing
//! else.

use crate::node::Node;
use crate::support::{Client, Served, until};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is wrong with a value by a schema of the document; knows as much of JSON Schema as the document uses.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let target = document.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{name} is not there"));
        return faults(document, target, value, at, found);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let fits = |option: &&Value| {
            let mut found = Vec::new();
            faults(document, option, value, at, &mut found);
            found.is_empty()
        };
        if any.iter().find(fits).is_none() {
            found.push(format!("{at}: {value} is none of {any:?}"));
        }
    }
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    };
    let fits = match &schema["type"] {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().any(|n| is(n.as_str().unwrap())),
        _ => true,
    };
    if !fits || schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        found.push(format!("{at}: {value} is not {schema}"));
    }
    for (i, item) in value.as_array().into_iter().flatten().enumerate().filter(|_| !schema["items"].is_null()) {
        faults(document, &schema["items"], item, &format!("{at}/{i}"), found);
    }
    let Some(object) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, inside) in object {
        match &schema["properties"][name] {
            Value::Null if schema["additionalProperties"] == false => {
                found.push(format!("{at}: {name} is not in the document"))
            }
            Value::Null => {}
            property => faults(document, property, inside, &format!("{at}/{name}"), found),
        }
    }
}

fn document(admin: &Client) -> Value {
    admin.get("/openapi.json").json()
}

/// A cluster with one of everything. Gives the node that has joined.
fn fill(admin: &Client) -> Node {
    for id in ["n1", "n2"] {
        admin.post("/nodes", &json!({"id": id, "name": id, "labels": {"a": "b"}}));
    }
    let mut node = Node::joined(admin, "n3");
    node.heartbeat(admin, 45, &json!({"ready": true}));
    admin.post("/services", &json!({"id": "s1", "name": "s1", "spec": {"replicas_desired": 2}}));
    admin.post("/replicas", &json!({"id": "r1", "service_id": "s1", "node_id": "n1"}));
    admin.post("/scheduler/reconcile/all", &json!({}));
    admin.post("/endpoints", &json!({"id": "e1", "replica_id": "r1", "address": "h", "port": 80}));
    admin.post(
        "/router-assignments",
        &json!({"id": "a1", "node_id": "n1", "primary_router_id": "n2", "secondary_router_id": "n3"}),
    );
    admin.post("/users", &json!({"name": "u1", "role": "viewer", "password": "a password"}));
    admin.post("/api-tokens", &json!({"name": "t1", "role": "viewer"}));
    admin.post("/etcd/snapshots", &json!({"id": "x1"}));
    admin.post("/support-bundles", &json!({"id": "b1"}));
    until("it is made", || (admin.get("/support-bundles/b1").json()["status"] == "completed").then_some(()));
    let made = admin.post("/backups", &json!({})).json();
    let made = std::path::Path::new(made["path"].as_str().unwrap());
    std::fs::rename(made, made.with_file_name(format!("{}.umbackup", known("backup_id")))).unwrap();
    admin.post("/updates", &json!({"id": "up1", "version": "9.9.9", "rings": ["*"]}));
    node
}

/// The ids of [`fill`], by the name of a path's argument.
fn known(name: &str) -> &'static str {
    match name {
        "node_id" => "n1",
        "service_id" => "s1",
        "replica_id" => "r1",
        "endpoint_id" => "e1",
        "assignment_id" => "a1",
        "snapshot_id" => "x1",
        "bundle_id" => "b1",
        "backup_id" => "manual-20260101T000000Z-00000000",
        "update_id" => "up1",
        "name" => "u1",
        "key" => "etcd_status",
        _ => "none",
    }
}

#[test]
fn every_route_is_in_the_document_and_every_answer_keeps_to_it() {
    let served = crate::backups::sealed();
    let admin = served.admin();
    let node = fill(&admin);
    let document = document(&admin);
    assert_eq!(document["openapi"], "3.1.0");
    let mut answered = 0;
    for (method, path, access, _) in uptimemesh::routes() {
        let is_page = path.starts_with("/ui")
            || path.starts_with("/static")
            || path == "/favicon.ico"
            || path.starts_with("/auth/log");
        let operation = &document["paths"][path][method.to_lowercase()];
        assert_eq!(operation.is_null(), is_page || path == "/openapi.json", "{method} {path}");
        if method != "GET" || operation.is_null() || path.ends_with("/stream") {
            continue;
        }
        let part = |p: &str| p.strip_prefix('{').map_or(p.to_string(), |p| known(p.trim_end_matches('}')).to_string());
        let target: String = path.split('/').map(part).collect::<Vec<_>>().join("/");
        let answer = if access == "node" { node.call(&admin, "GET", &target, b"") } else { admin.get(&target) };
        let described = &operation["responses"][answer.status.to_string()];
        assert!(!described.is_null() && answer.status < 400, "GET {target}: {} is not in the document", answer.status);
        let schema = &described["content"]["application/json"]["schema"];
        if !schema.is_null() {
            let mut found = Vec::new();
            faults(&document, schema, &answer.json(), "", &mut found);
            assert!(found.is_empty(), "GET {target}: {found:#?}");
            answered += 1;
        }
    }
    assert!(answered > 25, "{answered}");
    // What a reader asks for is what the document says.
    let ttl = &document["paths"]["/cluster/join-tokens"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        ["properties"]["ttl_seconds"];
    assert_eq!(ttl["anyOf"][0]["anyOf"][0], json!({"type": "integer", "minimum": 60, "maximum": 86_400}));
    let spec = "/services/post/requestBody/content/application~1json/schema/properties/spec/anyOf/0/properties";
    let spec = document["paths"]["/services"].pointer(spec.trim_start_matches("/services")).unwrap();
    assert_eq!(spec["resources"]["anyOf"][0]["properties"]["cpu_millis"]["anyOf"][0]["anyOf"][0]["maximum"], 1_000_000);
}

/// What is wrong with a sentence for readers of the document.
pub fn wording(text: &str) -> Option<&'static str> {
    const CALQUES: [&str; 19] = [
        "so many",
        "so long",
        "so often",
        " anew",
        "heed",
        " told",
        " tells",
        "whoever",
        "somebody",
        "nobody ",
        "everybody",
        "deed",
        " is none",
        " is no ",
        "put back",
        "take back",
        "taken back",
        "asked for",
        "the one before",
    ];
    let lower = format!(" {}", text.to_lowercase()).replace("there is no", "");
    if !text.starts_with(|c: char| c.is_ascii_uppercase() || c == '`') {
        return Some("does not begin with a capital letter");
    }
    if ["what ", "whether ", "how ", "who ", "why ", "where ", "when "]
        .iter()
        .any(|word| lower.trim_start().starts_with(word))
    {
        return Some("begins with a clause, not with a noun or a verb");
    }
    CALQUES.iter().any(|word| lower.contains(word)).then_some("has a word that no native writer would use")
}

/// Every property below a schema that nothing is said about, or not well.
fn unsaid(schema: &Value, at: &str, found: &mut Vec<String>) {
    let units =
        [("_seconds", "second"), ("_percent", "percent"), ("_mb", "MiB"), ("_millis", "thousandths"), ("_days", "day")];
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        let text = property["description"].as_str().unwrap_or_default();
        if !text.ends_with('.') {
            found.push(format!("{at} has no description, or not a sentence: {text:?}"));
        }
        found.extend(wording(text).map(|why| format!("{at} {why}: {text}")));
        let unit = units.iter().find(|(end, unit)| name.ends_with(end) && !text.contains(unit));
        found.extend(unit.map(|(_, unit)| format!("{at} does not say its unit, {unit}: {text}")));
        unsaid(property, &at, found);
    }
    let inside = [&schema["items"], &schema["additionalProperties"]].into_iter();
    for part in inside.chain(schema["anyOf"].as_array().into_iter().flatten()).filter(|s| s.is_object()) {
        unsaid(part, at, found);
    }
}

/// The same for an operation.
fn unsaid_of(operation: &Value, at: &str, found: &mut Vec<String>) {
    let summary = operation["summary"].as_str().unwrap();
    let is_verb = !["", "A", "An", "The"].contains(&summary.split(' ').next().unwrap());
    if !is_verb || summary.chars().count() > 100 || summary.ends_with('.') {
        found.push(format!("{at} needs a short summary that begins with a verb: {summary:?}"));
    }
    let mut texts = vec![summary.to_string()];
    texts.extend(operation["description"].as_str().map(str::to_string));
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    texts.extend(parameters.map(|p| p["description"].as_str().unwrap_or_default().to_string()));
    texts.extend(
        operation["responses"].as_object().unwrap().values().map(|r| r["description"].as_str().unwrap().to_string()),
    );
    found.extend(texts.iter().filter_map(|text| Some(format!("{at} {}: {text:?}", wording(text)?))));
    unsaid(&operation["requestBody"]["content"]["application/json"]["schema"], at, found);
}

#[test]
fn every_route_parameter_and_property_is_said_in_words() {
    let document = document(&Served::new().admin());
    let mut found = Vec::new();
    let mut used = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            unsaid_of(operation, &format!("{method} {path}"), &mut found);
            used.push(operation["tags"][0].as_str().unwrap());
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let text = schema["description"].as_str().unwrap_or_default();
        found.extend(wording(text).map(|why| format!("{name} {why}: {text}")));
        unsaid(schema, name, &mut found);
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    used.sort_unstable();
    used.dedup();
    let tags: Vec<&str> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    assert_eq!(used, tags, "every tag is described, and used");
    // What stands in the source for the document is in it.
    let prose = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/openapi/prose.rs")).unwrap();
    let rows: Vec<&str> = prose.lines().filter_map(|l| l.trim().strip_prefix("row(\"")?.strip_suffix("\"),")).collect();
    assert!(rows.len() > 80, "{rows:?}");
    let text = document.to_string();
    let unused: Vec<&str> =
        rows.iter().map(|r| r.rsplit_once("\", \"").unwrap().1).filter(|says| !text.contains(says)).collect();
    assert!(unused.is_empty(), "no route reads {unused:?}");
}

/// Where schemathesis is: beside the build, where `.ci/run` puts it, or on the path.
fn schemathesis() -> PathBuf {
    let own =
        Path::new(env!("CARGO_BIN_EXE_uptimemesh")).ancestors().nth(2).unwrap().join("schemathesis/bin/schemathesis");
    if own.exists() { own } else { PathBuf::from("schemathesis") }
}

/// With ids that it has read somewhere the fuzzer would end its own session.
const ENDS_SESSIONS: [&str; 8] = [
    "--exclude-path",
    "/sessions/{session_id}",
    "--exclude-path",
    "/auth/sessions/{session_id}",
    "--exclude-path",
    "/users/{name}",
    "--exclude-path",
    "/api-tokens/{token_id}",
];

#[test]
fn a_fuzzer_that_reads_the_document_finds_nothing() {
    fuzz(false);
}

#[test]
fn a_fuzzer_that_knows_what_is_there_finds_nothing() {
    fuzz(true);
}

/// The document alone drives the fuzzer: with ids of its own making, or with `ids` that are there.
fn fuzz(ids: bool) {
    let served = Served::with(|config| {
        config.connections_per_address_max = 1000;
        config.requests_per_second_max = 1_000_000;
    });
    let admin = served.admin();
    fill(&admin);
    let file = served.dir.join("openapi.json");
    let document = document(&admin);
    fs::write(&file, document.to_string()).unwrap();
    let mut config = String::new();
    if ids {
        config.push_str("[parameters]\n");
        for name in [
            "node_id",
            "service_id",
            "replica_id",
            "endpoint_id",
            "assignment_id",
            "snapshot_id",
            "bundle_id",
            "name",
            "session_id",
            "token_id",
        ] {
            config.push_str(&format!("\"path.{name}\" = \"{}\"\n", known(name)));
        }
    }
    fs::write(served.dir.join("schemathesis.toml"), config).unwrap();
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,negative_data_rejection";
    let output = Command::new(schemathesis())
        .current_dir(served.dir.path())
        .args([
            "run",
            "openapi.json",
            "--url",
            &format!("http://{}", admin.address),
            "--checks",
            checks,
            "--max-examples",
            "15",
        ])
        .args([
            "-H",
            &format!("Authorization: Bearer {}", admin.token.as_deref().unwrap()),
            "--phases",
            "examples,coverage,fuzzing",
        ])
        // A stream does not end, and a changed password would end this session.
        .args(if ids { &[][..] } else { &ENDS_SESSIONS[..] })
        .args([
            "--exclude-path",
            "/events/stream",
            "--exclude-path",
            "/auth/password",
            "--no-color",
            "--workers",
            "1",
            "--seed",
            "1",
        ])
        .output()
        .unwrap_or_else(|e| panic!("schemathesis cannot be run ({e}): pip install schemathesis"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(admin.get("/health").status, 200);
}

#[test]
fn metrics_are_for_this_machine_and_for_who_shows_the_token() {
    let served = Served::with(|config| config.metrics_token = Some(uptimemesh::Secret::new("a-token-of-my-own")));
    let admin = served.user("somebody", "admin");
    let mut node = Node::joined(&admin, "n1");
    node.heartbeat(&admin, 45, &json!({}));
    let anonymous = served.anonymous();
    let bad = json!({"node_id": "n1", "lease_token": "x", "signed_at": 1, "signature": "x"});
    assert_eq!(anonymous.post("/cluster/heartbeat", &bad).status, 401);
    let text = anonymous.get("/metrics").text();
    for line in [
        "uptimemesh_build_info{version=\"2.0.0\"} 1",
        "uptimemesh_http_requests_total{method=\"POST\",route=\"/cluster/heartbeat\",status=\"200\"} 1",
        "uptimemesh_http_requests_total{method=\"POST\",route=\"/cluster/heartbeat\",status=\"401\"} 1",
        "uptimemesh_http_request_seconds_count{method=\"POST\",route=\"/cluster/heartbeat\"} 2",
        "uptimemesh_leases{state=\"alive\"} 1",
        "uptimemesh_heartbeats_accepted_total 1",
        "uptimemesh_heartbeats_refused_total{reason=\"lease token not genuine\"} 1",
        "uptimemesh_stream_readers 0",
        "uptimemesh_scheduler_brake 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    for name in [
        "scheduler_runs_total",
        "store_commits_total",
        "store_database_bytes",
        "store_wal_bytes",
        "certificate_days_left{of=\"ca\"}",
    ] {
        assert!(text.contains(&format!("\nuptimemesh_{name} ")), "{name}");
    }
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let family = name.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| family.strip_suffix(end)).unwrap_or(family);
        assert!(text.contains(&format!("# TYPE {family} ")), "{line}");
    }
    // Through a proxy on this machine everybody would seem to be this machine.
    let proxied = |headers: &[(&str, &str)]| {
        anonymous.send("GET", "/metrics", &[&[("X-Forwarded-For", "192.0.2.1")], headers].concat(), b"").status
    };
    assert_eq!(proxied(&[]), 401);
    assert_eq!(proxied(&[("Authorization", "Bearer a-token-of-another")]), 401);
    assert_eq!(proxied(&[("Authorization", "Bearer a-token-of-my-own")]), 200);
    assert_eq!(proxied(&[("Authorization", &format!("Bearer {}", admin.token.as_deref().unwrap()))]), 200);
}
