//! Bootstrap, join tokens, join, heartbeats, leases, renewal.

use crate::node::{Node, csr, epoch, key, sign, token};
use crate::support::{Answer, Client, Served, until};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyUsagePurpose};
use serde_json::{Value, json};
use std::process::Command;

fn names(client: &Client, category: &str) -> Vec<String> {
    client.events(category).iter().map(|e| e["name"].as_str().unwrap().to_string()).collect()
}

fn openssl(args: &[&str]) -> (bool, String) {
    let output = Command::new("openssl").args(args).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn bootstrap_makes_the_authority_once_and_tokens_every_time() {
    let served = Served::new();
    let admin = served.admin();
    assert_eq!(admin.get("/cluster-settings/cluster_bootstrapped").json()["value"], "false");
    let first = admin.send("POST", "/cluster/bootstrap", &[], b"");
    assert_eq!(first.status, 200, "{}", first.text());
    let first = first.json();
    assert_eq!(
        (&first["bootstrapped"], &first["core_token"]["role"], &first["worker_token"]["role"]),
        (&json!(true), &json!("core"), &json!("worker"))
    );
    assert!(first["core_token"]["id"].as_str().unwrap().starts_with("jt-"));
    let ca = std::fs::read(served.config.pki_dir.join("cluster-ca.crt")).unwrap();
    let at = admin.get("/cluster-settings/cluster_bootstrapped_at").json()["value"].clone();
    let second = admin
        .post("/cluster/bootstrap", &json!({"core_token_ttl_seconds": 60, "worker_token_ttl_seconds": 86400}))
        .json();
    assert_ne!(first["core_token"]["token"], second["core_token"]["token"]);
    assert_eq!(ca, std::fs::read(served.config.pki_dir.join("cluster-ca.crt")).unwrap());
    assert_eq!(at, admin.get("/cluster-settings/cluster_bootstrapped_at").json()["value"]);
    assert_eq!(admin.get("/cluster-settings/cluster_bootstrapped").json()["value"], "true");
    let bad = json!({"core_token_ttl_seconds": 59, "worker_token_ttl_seconds": "x"});
    assert_eq!(
        admin.post("/cluster/bootstrap", &bad).faults(),
        [
            r#"greater_than_equal ["body","core_token_ttl_seconds"]"#,
            r#"int_parsing ["body","worker_token_ttl_seconds"]"#
        ]
    );
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(served.config.pki_dir.join("cluster-ca.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn half_an_authority_is_refused_and_never_replaced() {
    let mut served = Served::new();
    served.admin().post("/cluster/bootstrap", &json!({}));
    served.server.take().unwrap().shutdown();
    for lost in ["cluster-ca.key", "cluster-ca.crt"] {
        let path = served.config.pki_dir.join(lost);
        let kept = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let refused = uptimemesh::Server::start(served.config.clone()).map(|_| ()).unwrap_err();
        assert!(uptimemesh::Chain(&refused).to_string().contains("cluster-ca"), "{}", uptimemesh::Chain(&refused));
        assert!(!path.exists());
        std::fs::write(&path, kept).unwrap();
    }
    served.server = Some(uptimemesh::Server::start(served.config.clone()).unwrap());
}

#[test]
fn tokens_are_listed_without_their_secret_and_taken_back() {
    let served = Served::new();
    let admin = served.admin();
    let made = admin.post("/cluster/join-tokens", &json!({"role": "gateway", "ttl_seconds": 120, "node_id": "gw-1"}));
    assert_eq!(made.status, 201);
    let made = made.json();
    let list = admin.get("/cluster/join-tokens");
    assert_eq!(
        (&list.json()[0]["id"], &list.json()[0]["node_id"], &list.json()[0]["used_at"]),
        (&made["id"], &json!("gw-1"), &Value::Null)
    );
    assert!(!list.text().contains(made["token"].as_str().unwrap()));
    let path = format!("/cluster/join-tokens/{}", made["id"].as_str().unwrap());
    assert_eq!((admin.delete(&path).status, admin.delete(&path).status), (204, 404));
    let mut node = Node::new("gw-1");
    assert_eq!(node.join(&admin, made["token"].as_str().unwrap(), json!({"role": "gateway"})).status, 401);
    assert_eq!(admin.post("/cluster/join-tokens", &json!({"role": "king", "ttl_seconds": 5})).faults().len(), 2);
    let database = std::fs::read(&served.config.database_path).unwrap();
    let wal = std::fs::read(served.config.database_path.with_extension("db-wal")).unwrap_or_default();
    let secret = made["token"].as_str().unwrap().as_bytes();
    assert!(![database, wal].concat().windows(secret.len()).any(|w| w == secret), "only a hash of a token is stored");
}

#[test]
fn a_machine_joins_with_a_token_that_then_is_used_up() {
    let served = Served::new();
    let admin = served.admin();
    let secret = token(&admin, "worker", None);
    let mut node = Node::new("node-b");
    let more = json!({"name": "Node B", "mesh_ip": "10.42.0.2", "labels": {"zone": "b"}, "status": {"ready": true,
        "schedulable": false}, "lease_ttl_seconds": 20});
    let answer = node.join(&served.anonymous(), &secret, more);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let shown = admin.get("/nodes/node-b").json();
    assert_eq!(shown["identity_fingerprint"], answer["identity_fingerprint"]);
    assert_eq!(
        (&shown["roles"], &shown["labels"], &shown["mesh_ip"]),
        (&json!(["worker"]), &json!({"zone": "b"}), &json!("10.42.0.2"))
    );
    assert_eq!((&shown["status"]["node_role"], &shown["status"]["ready"]), (&json!("worker"), &json!(true)));
    assert!(shown["status"]["enrolled_at"].is_string() && shown["status"].get("schedulable").is_none(), "{shown}");
    assert_eq!(admin.get("/cluster/leases").json()[0]["lease_state"], "alive");
    let told = &admin.events("cluster")[0];
    assert_eq!(
        (told["name"].as_str().unwrap(), &told["fields"]["name"], &told["fields"]["role"]),
        ("node.join", &json!("Node B"), &json!("worker"))
    );
    let again = Node::new("node-c").join(&admin, &secret, json!({}));
    assert_eq!((again.status, again.detail().as_str()), (401, "Invalid, expired, or already-used join token."));
    assert_eq!(admin.get("/cluster/join-tokens").json()[0]["used_by"], "node-b");
}

#[test]
fn what_is_refused_does_not_use_the_token_up() {
    let served = Served::new();
    let admin = served.admin();
    let secret = token(&admin, "worker", None);
    let mut node = Node::new("n1");
    admin.post("/nodes", &json!({"id": "other", "name": "taken"}));
    let broken = csr(&node.key, "n1", &[]).replacen("\nMI", "\nMA", 1);
    let mut resigned = csr(&node.key, "n1", &[]);
    let at = resigned.len() - 60;
    resigned.replace_range(at..at + 1, if &resigned[at..=at] == "A" { "B" } else { "A" });
    for (more, status) in [
        (json!({"role": "core"}), 401),
        (json!({"csr_pem": "nonsense"}), 400),
        (json!({"csr_pem": broken}), 400),
        (json!({"csr_pem": resigned}), 400),
        (json!({"csr_pem": csr(&node.key, "somebody-else", &[])}), 400),
        (json!({"name": "taken"}), 409),
        (json!({"lease_ttl_seconds": 5}), 422),
        (json!({"token": "wrong"}), 401),
    ] {
        let answer = node.join(&admin, &secret, more.clone());
        assert_eq!(answer.status, status, "{more}: {}", answer.text());
        assert!(!answer.text().contains("Internal"), "{}", answer.text());
    }
    assert_eq!(admin.post("/cluster/join", &json!({})).faults().len(), 5);
    assert_eq!(node.join(&admin, &secret, json!({})).status, 200);
}

#[test]
fn of_parallel_joins_with_one_token_exactly_one_wins() {
    let served = Served::new();
    let admin = served.admin();
    for round in 0..5 {
        let secret = token(&admin, "worker", None);
        let won: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|i| {
                    let (secret, client) = (&secret, served.anonymous());
                    scope.spawn(move || {
                        usize::from(Node::new(&format!("r{round}-n{i}")).join(&client, secret, json!({})).status == 200)
                    })
                })
                .collect();
            tries.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(won, 1);
    }
    assert_eq!(admin.get("/nodes").json().as_array().unwrap().len(), 5);
}

#[test]
fn a_living_node_is_replaced_only_with_a_token_minted_for_it() {
    let served = Served::new();
    let admin = served.admin();
    let mut old = Node::joined(&admin, "n1");
    admin.send("POST", "/nodes/n1/cordon", &[], b"");
    let mut new = Node::new("n1");
    let refused = new.join(&admin, &token(&admin, "worker", None), json!({}));
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.detail().contains("node_id"), "{}", refused.detail());
    let pinned = token(&admin, "worker", Some("n1"));
    assert_eq!(Node::new("n2").join(&admin, &pinned, json!({})).status, 401, "a token for one node admits no other");
    assert_eq!(new.join(&admin, &pinned, json!({"status": {"schedulable": true}})).status, 200);
    let refused = old.heartbeat(&admin, 45, &json!({}));
    assert_eq!((refused.status, &refused.json()["reason"]), (401, &json!("identity_replaced")));
    assert_eq!(new.heartbeat(&admin, 45, &json!({})).status, 200);
    assert_eq!(
        admin.get("/nodes/n1").json()["status"]["schedulable"],
        false,
        "a rejoin does not undo the operator's word"
    );
    assert_eq!(names(&admin, "cluster")[0], "node.rejoin");
}

#[test]
fn a_workers_token_does_not_take_over_a_silent_core_node() {
    let served = Served::new();
    let admin = served.admin();
    let mut core = Node::new("n1");
    assert_eq!(
        core.join(&admin, &token(&admin, "core", None), json!({"role": "core", "lease_ttl_seconds": 10})).status,
        200
    );
    until("it is stale", || (admin.get("/cluster/leases").json()[0]["lease_state"] == "stale").then_some(()));
    let mut thief = Node::new("n1");
    let worker = token(&admin, "worker", None);
    assert_eq!(thief.join(&admin, &worker, json!({})).detail(), "Invalid, expired, or already-used join token.");
    assert_eq!(core.heartbeat(&admin, 45, &json!({})).status, 200, "its identity stands");
    let mut other = Node::new("n2");
    assert_eq!(other.join(&admin, &worker, json!({})).status, 200, "the token was not used up");
    let minted = token(&admin, "worker", Some("n1"));
    assert_eq!(thief.join(&admin, &minted, json!({})).status, 200, "an operator's word does it");
}

#[test]
fn an_id_that_reads_like_an_address_or_a_full_name_is_no_name_in_a_certificate() {
    let served = Served::new();
    let admin = served.admin();
    for id in ["10.42.0.1", "core1.mesh.internal"] {
        let mut node = Node::new(id);
        let request = csr(&node.key, id, &[id]);
        let answer = node.join(&admin, &token(&admin, "worker", None), json!({"csr_pem": request}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let path = served.dir.join("node.crt");
        std::fs::write(&path, answer.json()["node_cert_pem"].as_str().unwrap()).unwrap();
        let (_, text) = openssl(&["x509", "-in", path.to_str().unwrap(), "-noout", "-ext", "subjectAltName"]);
        assert!(!text.contains(id), "{text}");
    }
    let mut node = Node::new("n6");
    let request = csr(&node.key, "n6", &["fd00::7"]);
    let answer =
        node.join(&admin, &given(&admin, "FD00:0::7/64"), json!({"csr_pem": request, "mesh_ip": "FD00:0::7/64"}));
    let path = served.dir.join("node6.crt");
    std::fs::write(&path, answer.json()["node_cert_pem"].as_str().unwrap()).unwrap();
    let (_, text) = openssl(&["x509", "-in", path.to_str().unwrap(), "-noout", "-ext", "subjectAltName"]);
    assert!(text.contains("IP Address:FD00:0:0:0:0:0:0:7"), "its own address is, however it was written: {text}");
}

/// A worker's token that lets the certificate have this address.
fn given(admin: &Client, mesh_ip: &str) -> String {
    let answer = admin.post("/cluster/join-tokens", &json!({"role": "worker", "mesh_ip": mesh_ip}));
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["token"].as_str().unwrap().to_string()
}

#[test]
fn a_certificate_carries_what_is_the_nodes_own_and_nothing_asked_for_beyond() {
    let served = Served::new();
    let admin = served.admin();
    let mut node = Node::new("node-x");
    let mut greedy = CertificateParams::new(vec![
        "node-x".into(),
        "node-x.mesh.internal".into(),
        "control.example".into(),
        "10.42.0.9".into(),
        "10.0.0.1".into(),
    ])
    .unwrap();
    greedy.distinguished_name = rcgen::DistinguishedName::new();
    greedy.distinguished_name.push(rcgen::DnType::CommonName, "node-x");
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = greedy.serialize_request(&node.key).unwrap().pem().unwrap();
    let answer =
        node.join(&admin, &given(&admin, "10.42.0.9"), json!({"csr_pem": pem, "mesh_ip": "10.42.0.9/24"})).json();
    let (cert, ca) = (served.dir.join("node.crt"), served.dir.join("ca.crt"));
    std::fs::write(&cert, answer["node_cert_pem"].as_str().unwrap()).unwrap();
    std::fs::write(&ca, answer["ca_cert_pem"].as_str().unwrap()).unwrap();
    let (cert, ca) = (cert.to_str().unwrap(), ca.to_str().unwrap());
    let (ok, said) = openssl(&["verify", "-x509_strict", "-CAfile", ca, cert]);
    assert!(ok, "{said}");
    for purpose in ["sslclient", "sslserver"] {
        assert!(openssl(&["verify", "-purpose", purpose, "-CAfile", ca, cert]).0, "{purpose}");
    }
    let text = openssl(&["x509", "-in", cert, "-noout", "-text"]).1;
    assert!(
        text.contains("CA:FALSE")
            && text.contains("Digital Signature")
            && text.contains("TLS Web Server Authentication, TLS Web Client Authentication"),
        "{text}"
    );
    for absent in ["CA:TRUE", "Certificate Sign", "CRL Sign", "control.example", "10.0.0.1"] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
    for own in ["DNS:node-x", "DNS:node-x.mesh.internal", "IP Address:10.42.0.9", "Subject: CN = node-x"] {
        assert!(text.contains(own), "{own} not in {text}");
    }
    let ca_text = openssl(&["x509", "-in", ca, "-noout", "-text"]).1;
    for part in ["CA:TRUE", "CN = UptimeMesh Cluster CA", "O = UptimeMesh", "prime256v1"] {
        assert!(ca_text.contains(part), "{part} not in {ca_text}");
    }
    let fingerprint = openssl(&["x509", "-in", cert, "-noout", "-fingerprint", "-sha256"]).1;
    let hex = fingerprint.split('=').nth(1).unwrap().trim().replace(':', "").to_lowercase();
    assert_eq!(answer["identity_fingerprint"], hex);
}

/// An independent client: openssl makes the key, the CSR and the signature of a heartbeat.
#[test]
fn openssl_joins_and_heartbeats() {
    let served = Served::new();
    let admin = served.admin();
    for (algorithm, id) in [
        (vec!["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "ec"),
        (vec!["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "rsa"),
    ] {
        let at = |name: &str| served.dir.join(&format!("{id}-{name}")).to_str().unwrap().to_string();
        let (key_path, csr_path, message_path, signature_path) = (at("key"), at("csr"), at("message"), at("signature"));
        let generated = openssl(&[&["genpkey", "-out", &key_path][..], &algorithm[..]].concat());
        assert!(generated.0, "{}", generated.1);
        let requested = openssl(&["req", "-new", "-key", &key_path, "-subj", &format!("/CN={id}"), "-out", &csr_path]);
        assert!(requested.0, "{}", requested.1);
        let body = json!({"token": token(&admin, "worker", None), "node_id": id, "name": id, "role": "worker", "csr_pem": std::fs::read_to_string(&csr_path).unwrap()});
        let joined = served.anonymous().post("/cluster/join", &body);
        assert_eq!(joined.status, 200, "{}", joined.text());
        let lease = joined.json()["lease_token"].as_str().unwrap().to_string();
        let now = epoch();
        std::fs::write(&message_path, format!("{id}\n{lease}\n{now}\n45\n{{\"ready\":true}}")).unwrap();
        let signed = openssl(&["dgst", "-sha256", "-sign", &key_path, "-out", &signature_path, &message_path]);
        assert!(signed.0, "{}", signed.1);
        let signature = openssl(&["base64", "-A", "-in", &signature_path]).1;
        let beat = json!({"node_id": id, "lease_token": lease, "signed_at": now, "signature": signature,
            "status_patch": {"ready": true}});
        let answer = served.anonymous().post("/cluster/heartbeat", &beat);
        assert_eq!((answer.status, &answer.json()["lease_state"]), (200, &json!("alive")), "{id}: {}", answer.text());
    }
    let weak = served.dir.join("weak").to_str().unwrap().to_string();
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", &weak]);
    let pem = openssl(&["req", "-new", "-key", &weak, "-subj", "/CN=weak"]).1;
    let body = json!({"token": token(&admin, "worker", None), "node_id": "weak", "name": "weak", "role": "worker", "csr_pem": pem});
    assert_eq!(served.anonymous().post("/cluster/join", &body).status, 400, "a key of 1,024 bits is too weak");
}

#[test]
fn a_heartbeat_renews_and_reports() {
    let served = Served::new();
    let admin = served.admin();
    let mut node = Node::joined(&admin, "n1");
    let answer = node.heartbeat(&served.anonymous(), 120, &json!({"ready": true, "load": 0.5}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!((&answer["node_id"], &answer["lease_state"]), (&json!("n1"), &json!("alive")));
    assert!(answer["server_time"].is_string() && answer.get("lease_token").is_none());
    let shown = admin.get("/nodes/n1").json();
    assert_eq!(
        (&shown["heartbeat_at"], &shown["lease_expires_at"]),
        (&answer["heartbeat_at"], &answer["lease_expires_at"])
    );
    assert_eq!(
        (&shown["status"]["load"], &shown["status"]["last_heartbeat_signed_at"]),
        (&json!(0.5), &json!(node.signed_at))
    );
    // The same report again, then another, then the first: what stands is what was said last.
    for load in [0.5, 0.7, 0.5] {
        assert_eq!(node.heartbeat(&admin, 45, &json!({"load": load})).status, 200);
        assert_eq!(admin.get("/nodes/n1").json()["status"]["load"], json!(load));
    }
    // An operator replaces the status; the next report, though unchanged, is laid over it again.
    admin.patch("/nodes/n1", &json!({"status": {"note": "x"}}));
    assert_eq!(node.heartbeat(&admin, 45, &json!({"load": 0.5})).status, 200);
    let status = admin.get("/nodes/n1").json()["status"].clone();
    assert_eq!((&status["load"], &status["note"]), (&json!(0.5), &json!("x")));
}

#[test]
fn a_heartbeat_never_undoes_the_operators_word() {
    let served = Served::new();
    let admin = served.admin();
    let mut node = Node::joined(&admin, "n1");
    admin.send("POST", "/nodes/n1/drain", &[], b"");
    let before = admin.get("/nodes/n1").json()["status"].clone();
    let own = json!({"schedulable": true, "draining": false, "cordoned_at": "x", "drain_requested_at": null,
        "enrolled_at": "x", "node_role": "core", "last_heartbeat_signed_at": 1, "ready": true});
    assert_eq!(node.heartbeat(&admin, 45, &own).status, 200);
    let after = admin.get("/nodes/n1").json()["status"].clone();
    for key in ["schedulable", "draining", "drain_requested_at", "enrolled_at", "node_role"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    assert!(after.get("cordoned_at").is_none() && after["ready"] == true);
    // Many at once with cordons: whatever the order, the last cordon stands.
    std::thread::scope(|scope| {
        let client = admin.clone();
        scope.spawn(move || {
            for i in 0..20 {
                node.signed_at = epoch() - 25 + i;
                let patch = json!({"n": i, "schedulable": true}).to_string();
                let body = node.body(node.signed_at, 45, &patch, &patch);
                client.send("POST", "/cluster/heartbeat", &[], body.as_bytes());
            }
        });
        for _ in 0..10 {
            admin.send("POST", "/nodes/n1/uncordon", &[], b"");
            admin.send("POST", "/nodes/n1/cordon", &[], b"");
        }
    });
    assert_eq!(admin.get("/nodes/n1").json()["status"]["schedulable"], false);
}

#[test]
fn refused_heartbeats_say_why_only_to_who_holds_the_token() {
    let served = Served::new();
    let admin = served.admin();
    let mut node = Node::joined(&admin, "n1");
    let other = Node::joined(&admin, "n2");
    let refused = |body: String| {
        let answer = served.anonymous().send("POST", "/cluster/heartbeat", &[], body.as_bytes());
        assert_eq!((answer.status, answer.detail().as_str()), (401, "Invalid node id or lease token."), "{body}");
        assert_eq!(answer.json().get("reason").is_some(), answer.json().get("server_time").is_some());
        answer.json()["reason"].as_str().map(str::to_string)
    };
    let now = epoch();
    let good = node.body(now, 45, "{}", "{}");
    let with = |field: &str, value: Value| {
        let mut body: Value = serde_json::from_str(&good).unwrap();
        body[field] = value;
        body.to_string()
    };
    for token in ["x", "a.b", "..", "\u{e9}.\u{e9}", other.lease_token.as_str()] {
        assert_eq!(refused(with("lease_token", json!(token))), None, "{token}");
    }
    assert_eq!(refused(with("node_id", json!("n2"))), None);
    assert_eq!(refused(with("signature", json!("AAAA"))).as_deref(), Some("bad_signature"));
    assert_eq!(refused(with("signature", json!("not base64!"))).as_deref(), Some("bad_signature"));
    assert_eq!(refused(with("ttl_seconds", json!(60))).as_deref(), Some("bad_signature"), "the TTL is signed");
    assert_eq!(refused(with("status_patch", json!({"a": 1}))).as_deref(), Some("bad_signature"), "the patch is signed");
    assert_eq!(refused(node.body(now - 60, 45, "{}", "{}")).as_deref(), Some("clock_skew"));
    assert_eq!(refused(node.body(now + 60, 45, "{}", "{}")).as_deref(), Some("clock_skew"));
    assert_eq!(node.heartbeat(&admin, 45, &json!({})).status, 200);
    assert_eq!(refused(node.body(node.signed_at, 45, "{}", "{}")).as_deref(), Some("replayed"));
    assert_eq!(refused(node.body(node.signed_at - 1, 45, "{}", "{}")).as_deref(), Some("replayed"));
    let bad = json!({"node_id": "n1", "lease_token": 1, "signed_at": "soon", "ttl_seconds": 301, "status_patch": []});
    assert_eq!(served.anonymous().post("/cluster/heartbeat", &bad).faults().len(), 5);
}

/// The canonical form, where the body's own text differs from it: key order, spaces, escapes, numbers.
#[test]
fn the_signature_covers_the_canonical_patch() {
    let served = Served::new();
    let admin = served.admin();
    let mut node = Node::joined(&admin, "n1");
    for (patch, canonical) in [
        (r#"{ "b" : 1.0, "a" : [ 1e5, -0, 1E-7 ] }"#, r#"{"a":[1e5,-0,1E-7],"b":1.0}"#),
        (
            "{\"\u{e9}\": \"\u{1f600}/\\/\\u007f\", \"A\": {\"z\": null, \"y\": true}}",
            "{\"A\":{\"y\":true,\"z\":null},\"\\u00e9\":\"\\ud83d\\ude00//\u{7f}\"}",
        ),
        (r#"{"c":"\u0001\b\f\n\r\t\"\\"}"#, r#"{"c":"\u0001\b\f\n\r\t\"\\"}"#),
    ] {
        node.signed_at = epoch().max(node.signed_at + 1);
        let answer =
            admin.send("POST", "/cluster/heartbeat", &[], node.body(node.signed_at, 45, patch, canonical).as_bytes());
        assert_eq!(answer.status, 200, "{patch}: {}", answer.text());
    }
}

/// Every character that JSON escapes or might, signed as Python's clients of V1 do, and DEL as agents of 2.0.0 do.
#[test]
fn signatures_of_v1s_clients_and_of_older_agents_are_accepted() {
    let served = Served::new();
    let admin = served.admin();
    let mut node = Node::joined(&admin, "n1");
    let mut beat = |patch: &str, canonical: &str| {
        node.signed_at = epoch().max(node.signed_at + 1);
        admin.send("POST", "/cluster/heartbeat", &[], node.body(node.signed_at, 45, patch, canonical).as_bytes())
    };
    let all = include_str!("../../canonical/python.txt").lines().find_map(|line| line.strip_prefix("all ")).unwrap();
    let patch = format!(" {}", serde_json::from_str::<serde_json::Map<_, _>>(all).map(|all| json!(all)).unwrap());
    for (patch, canonical) in [
        (patch.as_str(), all),
        ("{\"a\":\"\u{7f}\"}", r#"{"a":"\u007f"}"#),
        (r#"{"\u007f":"\\u007f"}"#, r#"{"\u007f":"\\u007f"}"#),
        (r#"{"\u007F":"\\u007f"}"#, "{\"\u{7f}\":\"\\\\u007f\"}"),
    ] {
        let answer = beat(patch, canonical);
        assert_eq!(answer.status, 200, "{patch}: {}", answer.text());
    }
    assert_eq!(beat(r#"{"a":"\\u007f"}"#, "{\"a\":\"\\\u{7f}\"}").json()["reason"], "bad_signature");
    let status = admin.get("/nodes/n1").json()["status"].clone();
    for (key, code) in serde_json::from_str::<serde_json::Map<String, Value>>(all).unwrap() {
        let want = if key == "\u{7f}" {
            json!("\\u007f")
        } else if key == "a" {
            json!("\u{7f}")
        } else {
            code
        };
        assert_eq!(status[&key], want, "{key:?}");
    }
}

/// A heartbeat, unless there was one with this second's signing time.
fn beat_of_this_second(node: &mut Node, client: &Client) -> Option<Answer> {
    (epoch() > node.signed_at).then(|| node.heartbeat(client, 45, &json!({})))
}

#[test]
fn a_lease_token_is_renewed_past_half_its_life_and_refused_past_its_end() {
    let served = Served::with(|c| c.lease_token_ttl_s = 2);
    let admin = served.admin();
    let mut node = Node::joined(&admin, "n1");
    let first = node.lease_token.clone();
    let second = until("a fresh lease token", || {
        beat_of_this_second(&mut node, &admin);
        (node.lease_token != first).then(|| node.lease_token.clone())
    });
    until("the first token ends", || {
        node.lease_token.clone_from(&first);
        (beat_of_this_second(&mut node, &admin)?.json()["reason"] == "lease_expired").then_some(())
    });
    assert_ne!(second, node.lease_token);
}

#[test]
fn a_silent_node_turns_stale_then_dead_and_comes_back() {
    let served = Served::new();
    let admin = served.admin();
    let mut node = Node::joined(&admin, "n1");
    Node::joined(&admin, "a2");
    admin.post("/nodes", &json!({"id": "never", "name": "never"}));
    assert_eq!(node.heartbeat(&admin, 10, &json!({})).status, 200);
    let state = || {
        admin.get("/cluster/leases").json().as_array().unwrap().iter().find(|l| l["node_id"] == "n1").unwrap()["lease_state"].clone()
    };
    assert_eq!(state(), "alive");
    until("stale", || (state() == "stale").then_some(()));
    let order: Vec<Value> =
        admin.get("/cluster/leases").json().as_array().unwrap().iter().map(|l| l["lease_state"].clone()).collect();
    assert_eq!(order, ["alive", "stale", "unknown"]);
    until("the event", || names(&admin, "nodes").contains(&"node.lease.stale".into()).then_some(()));
    assert_eq!(node.heartbeat(&admin, 45, &json!({})).status, 200);
    assert_eq!(state(), "alive");
    assert_eq!(names(&admin, "nodes")[0], "node.lease.alive", "recorded before the answer");
}

#[test]
fn a_restart_kills_no_node() {
    let mut served = Served::new();
    let admin = served.admin();
    let mut node = Node::joined(&admin, "n1");
    assert_eq!(node.heartbeat(&admin, 45, &json!({"a": 1})).status, 200);
    served.restart();
    let admin = served.admin();
    let shown = admin.get("/cluster/leases").json();
    assert_eq!(shown[0]["lease_state"], "alive");
    assert!(!names(&admin, "nodes").iter().any(|n| n.starts_with("node.lease")), "nothing was declared");
    let old = node.body(node.signed_at, 45, "{}", "{}");
    assert_eq!(admin.send("POST", "/cluster/heartbeat", &[], old.as_bytes()).json()["reason"], "replayed");
    until("a heartbeat after the restart", || (node.heartbeat(&admin, 45, &json!({})).status == 200).then_some(()));
}

#[test]
fn an_identity_is_renewed_on_proof_of_its_key() {
    let served = Served::new();
    let admin = served.admin();
    let mut node = Node::joined(&admin, "n1");
    let before = admin.get("/nodes/n1").json();
    let renewal = |node: &Node, with: &rcgen::KeyPair, csr_pem: &str, signed_at: i64| {
        let hash = ring::digest::digest(&ring::digest::SHA256, csr_pem.as_bytes());
        let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let message = format!("{}\nrenew\n{signed_at}\n{hex}", node.id);
        json!({"node_id": node.id, "csr_pem": csr_pem, "signed_at": signed_at, "signature": sign(with,
            message.as_bytes())})
    };
    let (stranger, fresh) = (key(), key());
    let request = csr(&fresh, "n1", &[]);
    let ask = |body: &Value| served.anonymous().post("/cluster/renew", body);
    for body in [
        json!({}),
        json!([]),
        renewal(&node, &stranger, &csr(&stranger, "n1", &[]), epoch()),
        json!({"node_id": "n1", "csr_pem": request, "signed_at": 0, "signature": "!"}),
    ] {
        assert_eq!(ask(&body).status, 401, "{body}");
    }
    assert_eq!(ask(&renewal(&node, &node.key, &request, epoch() - 100)).json()["reason"], "clock_skew");
    assert_eq!(ask(&renewal(&node, &node.key, &csr(&fresh, "n2", &[]), epoch())).status, 400);
    let body = renewal(&node, &node.key, &request, epoch());
    let renewed = ask(&body);
    assert_eq!(renewed.status, 200, "{}", renewed.text());
    assert_eq!(ask(&body).status, 401, "a renewal cannot be played again");
    let after = admin.get("/nodes/n1").json();
    assert_eq!(after["identity_fingerprint"], renewed.json()["identity_fingerprint"]);
    assert_ne!(after["identity_fingerprint"], before["identity_fingerprint"]);
    assert_eq!(node.heartbeat(&admin, 45, &json!({})).json()["reason"], "identity_replaced");
    node.key = fresh;
    node.lease_token = renewed.json()["lease_token"].as_str().unwrap().to_string();
    assert_eq!(node.heartbeat(&admin, 45, &json!({})).status, 200);
    assert_eq!(names(&admin, "cluster")[0], "node.renew");
    admin.delete("/nodes/n1");
    assert_eq!(
        ask(&renewal(&node, &node.key, &csr(&node.key, "n1", &[]), epoch())).status,
        401,
        "a deleted node cannot renew"
    );
}

#[test]
fn leases_are_paged() {
    let served = Served::new();
    let admin = served.admin();
    for name in ["c", "a", "b"] {
        admin.post("/nodes", &json!({"id": format!("id-{name}"), "name": name}));
    }
    let first = admin.get("/cluster/leases?limit=2");
    let names: Vec<Value> = first.json().as_array().unwrap().iter().map(|l| l["name"].clone()).collect();
    assert_eq!(names, ["a", "b"]);
    let link = first.header("Link").unwrap();
    let next = &link[1..link.find('>').unwrap()];
    assert_eq!(admin.get(next).json()[0]["name"], "c");
    admin.delete("/nodes/id-b");
    assert_eq!(
        admin.get(next).faults(),
        [r#"string_pattern_mismatch ["query","after"]"#],
        "an empty page would hide the rest"
    );
}

#[test]
fn a_node_that_slept_renews_until_thirty_days_after_its_certificate_ended() {
    let served = Served::new();
    let admin = served.admin();
    let node = Node::joined(&admin, "n1");
    let database = rusqlite::Connection::open(&served.config.database_path).unwrap();
    let request = csr(&node.key, "n1", &[]);
    let hash = ring::digest::digest(&ring::digest::SHA256, request.as_bytes());
    let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let ask = |ended_days_ago: i64, signed_at: i64| {
        let ended = (epoch() - ended_days_ago * 86_400) * 1_000_000;
        database.execute("UPDATE nodes SET identity_expires_at = ?1", [ended]).unwrap();
        let signature = sign(&node.key, format!("n1\nrenew\n{signed_at}\n{hex}").as_bytes());
        let body = json!({"node_id": "n1", "csr_pem": request, "signed_at": signed_at, "signature": signature});
        served.anonymous().post("/cluster/renew", &body)
    };
    let refused = ask(31, epoch());
    assert_eq!((refused.status, &refused.json()["reason"]), (401, &json!("identity_expired")));
    let renewed = ask(29, epoch() + 1);
    assert_eq!(renewed.status, 200, "{}", renewed.text());
    let text = |path: &str, key: &str| admin.get(path).json()[key].as_str().unwrap().to_string();
    assert!(text("/nodes/n1", "identity_expires_at") > text("/health", "time"), "the new certificate is valid");
}

/// Whatever joins, deletions, operators' words and heartbeats of one node do to each other, it ends in a state that
/// works.
#[test]
fn parallel_joins_deletions_and_heartbeats_leave_a_node_that_can_live() {
    let served = Served::new();
    let admin = served.admin();
    for round in 0..3 {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let mut node = Node::new("n1");
                        let joined = node.join(&admin, &token(&admin, "worker", Some("n1")), json!({})).status;
                        assert_eq!(joined, 200);
                        let beat = node.heartbeat(&admin, 45, &json!({"round": round})).status;
                        assert!(beat == 200 || beat == 401, "{beat}");
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..20 {
                    let status = admin.delete("/nodes/n1").status;
                    assert!(status == 204 || status == 404, "{status}");
                    let status = admin.send("POST", "/nodes/n1/cordon", &[], b"").status;
                    assert!(status == 200 || status == 404, "{status}");
                }
            });
        });
        let mut node = Node::new("n1");
        assert_eq!(node.join(&admin, &token(&admin, "worker", Some("n1")), json!({})).status, 200);
        let beat = node.heartbeat(&admin, 45, &json!({"last": round}));
        assert_eq!(beat.status, 200, "{}", beat.text());
        let shown = admin.get("/nodes/n1").json();
        assert_eq!(shown["status"]["last"], round);
        let leases = admin.get("/cluster/leases").json();
        assert_eq!((leases.as_array().unwrap().len(), &leases[0]["lease_state"]), (1, &json!("alive")));
    }
}
