//! A node as a caller: proven by its certificate, or by a signature that nobody can use for anything else.

use super::throttle::used_up;
use crate::node::{Node, Signed, epoch, epoch_ms, key, send_with, token};
use crate::support::{Answer, Client, Served, believing, until};
use rcgen::{CertificateParams, DnType};
use serde_json::{Value, json};

const SELF: &str = "/node/self";

/// The status of an answer, and the reason where it is a refusal.
fn said(answer: &Answer) -> (u16, Option<String>) {
    (answer.status, answer.json()["reason"].as_str().map(str::to_string))
}

fn refused(reason: &str) -> (u16, Option<String>) {
    (401, Some(reason.to_string()))
}

const ACCEPTED: (u16, Option<String>) = (200, None);
const UNKNOWN: (u16, Option<String>) = (401, None);

#[test]
fn a_node_reads_of_itself_what_the_control_plane_knows() {
    let served = Served::new();
    let admin = served.admin();
    let mut node = Node::joined(&admin, "n1");
    node.heartbeat(&admin, 45, &json!({"ready": true}));
    let known = admin.get("/nodes/n1").json();
    let own = node.call(&served.anonymous(), "GET", SELF, b"").json();
    for key in ["name", "identity_fingerprint", "identity_expires_at", "heartbeat_at", "lease_expires_at"] {
        assert!(own[key].is_string() && own[key] == known[key], "{key}: {own}");
    }
    assert_eq!(own["node_id"], "n1");
    assert_eq!(own["lease_state"], "alive");
    assert_eq!(own["proven_by"], "signature");
    assert!(own.get("update").is_none(), "{own}");
    admin.post("/updates", &json!({"id": "up1", "version": "9.9.9", "rings": ["*"]}));
    let wanted = until("the update is wanted", || {
        Some(node.call(&served.anonymous(), "GET", SELF, b"").json()["update"].clone())
            .filter(|update| !update.is_null())
    });
    assert_eq!(wanted["version"], "9.9.9");
}

#[test]
fn a_signature_is_for_one_call_only() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let node = Node::joined(&admin, "n1");
    let other = Node::joined(&admin, "n2");
    let signed = node.sign("GET", SELF, b"");
    assert_eq!(said(&signed.send(&client, "GET", SELF, b"")), ACCEPTED);
    assert_eq!(said(&signed.send(&client, "GET", SELF, b"")), refused("replayed"));
    // Every part of it is signed.
    let sent_as =
        |method: &str, target: &str, body: &[u8]| node.sign("GET", SELF, b"").send(&client, method, target, body);
    for (method, target, body) in
        [("GET", "/node/self?a=b", &b""[..]), ("GET", "/node/%73elf", b""), ("GET", SELF, b"{}")]
    {
        let answer = sent_as(method, target, body);
        assert_eq!(answer.status, 401, "{method} {target}");
        assert_ne!(said(&answer), refused("replayed"));
    }
    assert_eq!(said(&sent_as("GET", "/node/self?a=b", b"")), refused("bad_signature"));
    assert_eq!(said(&sent_as("GET", SELF, b"{}")), refused("bad_signature"));
    assert_eq!(sent_as("HEAD", SELF, b"").status, 401, "another method");
    assert_eq!(node.call(&client, "HEAD", SELF, b"").status, 200);
    assert_eq!(said(&node.call(&client, "GET", "/node/self?a=b", b"")), ACCEPTED);
    assert_eq!(said(&node.call(&client, "GET", SELF, b"{}")), ACCEPTED);
    // So are the headers.
    let changed = |change: fn(&mut Signed)| {
        let mut signed = node.sign("GET", SELF, b"");
        change(&mut signed);
        said(&signed.send(&client, "GET", SELF, b""))
    };
    assert_eq!(changed(|signed| signed.signed_at_ms += 1), refused("bad_signature"));
    assert_eq!(changed(|signed| signed.run = "a/b".into()), refused("bad_signature"));
    assert_eq!(changed(|signed| signed.signature = "AAAA".into()), refused("bad_signature"));
    assert_eq!(changed(|signed| signed.lease_token.push('x')), UNKNOWN, "a token that is not genuine is told nothing");
    // Another node's token does not fit this key.
    let mut theirs = node.sign("GET", SELF, b"");
    theirs.lease_token = other.lease_token.clone();
    assert_eq!(said(&theirs.send(&client, "GET", SELF, b"")), refused("bad_signature"));
    // A clock that is off. The skew that is allowed is 30 s.
    for off_ms in [-60_000, 60_000] {
        let answer = node.sign_at(epoch_ms() + off_ms, "", "GET", SELF, b"").send(&client, "GET", SELF, b"");
        assert_eq!(said(&answer), refused("clock_skew"));
        assert!(answer.json()["server_time"].is_string());
    }
    // A heartbeat's signature is none of a call, and the other way round.
    let beat: Value = serde_json::from_str(&node.body(epoch(), 45, "{}", "{}")).unwrap();
    let mut of_beat = node.sign("GET", SELF, b"");
    of_beat.signature = beat["signature"].as_str().unwrap().to_string();
    assert_eq!(said(&of_beat.send(&client, "GET", SELF, b"")), refused("bad_signature"));
    // Calls overtake each other on their way.
    let calls: Vec<Signed> = (0..8).map(|_| node.sign("GET", SELF, b"")).collect();
    for call in calls.iter().rev() {
        assert_eq!(said(&call.send(&client, "GET", SELF, b"")), ACCEPTED);
    }
}

#[test]
fn headers_of_a_signature_stand_once_and_whole() {
    let served = Served::new();
    let node = Node::joined(&served.admin(), "n1");
    let client = served.anonymous();
    let send = |headers: &[(&str, String)]| send_with(&client, "GET", SELF, headers, b"");
    for i in 0..3 {
        let whole = node.sign("GET", SELF, b"").headers();
        let twice = [&whole[..], &whole[i..=i]].concat();
        let mut without = whole.clone();
        without.remove(i);
        let mut long = whole.clone();
        long[i].1 = "1".repeat(3000);
        for headers in [twice, without, long] {
            let answer = send(&headers);
            assert_eq!(said(&answer), UNKNOWN);
            assert!(answer.detail().contains("X-UptimeMesh-Lease-Token"), "it says what to do: {}", answer.text());
        }
    }
    let mut strange = node.sign("GET", SELF, b"").headers();
    strange.push(("X-UptimeMesh-Run", "not a run".into()));
    assert_eq!(said(&send(&strange)), UNKNOWN);
    assert_eq!(client.get(SELF).detail(), "Authentication required", "who shows nothing learns nothing");
    assert_eq!(client.get("/node/none").detail(), "Authentication required");
    assert!(served.admin().get(SELF).detail().starts_with("Only nodes may call this"));
    assert_eq!(said(&node.call(&client, "GET", "/nodes", b"")), UNKNOWN, "a node is not a user");
}

#[test]
fn a_node_that_is_not_it_any_more_is_refused_at_once() {
    let served = Served::with(|config| config.lease_token_ttl_s = 2);
    let (admin, client) = (served.admin(), served.anonymous());
    let call = |node: &Node| said(&node.call(&client, "GET", SELF, b""));
    let old = Node::joined(&admin, "n1");
    assert_eq!(call(&old), ACCEPTED);
    until("the lease token has ended", || (call(&old) == refused("lease_expired")).then_some(()));
    // It is joined again, by another machine.
    let mut again = Node::new("n1");
    assert_eq!(again.join(&admin, &token(&admin, "worker", Some("n1")), json!({})).status, 200);
    let stolen = Node { lease_token: again.lease_token.clone(), ..old };
    assert_eq!(call(&stolen), refused("bad_signature"), "the token without the key");
    let before = again.lease_token.clone();
    assert_eq!(call(&again), ACCEPTED);
    assert_eq!(again.join(&admin, &token(&admin, "worker", Some("n1")), json!({})).status, 200);
    assert_eq!(call(&again), ACCEPTED);
    let fresh = std::mem::replace(&mut again.lease_token, before);
    assert_eq!(call(&again), refused("identity_replaced"), "a token of the previous certificate");
    again.lease_token = fresh;
    assert_eq!(admin.delete("/nodes/n1").status, 204);
    assert_eq!(call(&again), refused("identity_replaced"));
}

#[test]
fn a_call_of_the_previous_run_of_the_server_is_not_played_again() {
    let mut served = Served::new();
    let started_at = epoch();
    until("the second of the start is over", || (epoch() > started_at).then_some(()));
    let mut node = Node::joined(&served.admin(), "n1");
    // The second one is by a clock that is ahead, but not too far: it is signed after the next start.
    let calls = [0, 20_000].map(|ahead_ms| node.sign_at(epoch_ms() + ahead_ms, "", "GET", SELF, b""));
    for call in &calls {
        assert_eq!(said(&call.send(&served.anonymous(), "GET", SELF, b"")), ACCEPTED);
    }
    // Without a pause: a token counts as old also if it was issued in the second of the start.
    served.restart();
    for call in &calls {
        assert_eq!(said(&call.send(&served.anonymous(), "GET", SELF, b"")), refused("replayed"));
    }
    let old = node.lease_token.clone();
    until("the node beats after the start", || {
        (node.heartbeat(&served.anonymous(), 45, &json!({})).status == 200).then_some(())
    });
    assert_ne!(node.lease_token, old, "it got a token that no earlier call has");
    assert_eq!(said(&node.call(&served.anonymous(), "GET", SELF, b"")), ACCEPTED);
    let fresh = node.lease_token.clone();
    assert_eq!(node.heartbeat(&served.anonymous(), 45, &json!({})).status, 200);
    assert_eq!(node.lease_token, fresh, "once");
}

#[test]
fn a_certificate_proves_the_node_where_no_proxy_stands_between() {
    let served = Served::proxied(|_| ());
    let (admin, anonymous) = (served.admin(), served.anonymous());
    let ca = served.config.pki_dir.join("cluster-ca.crt");
    let over_tls = |cert: &str, key: &rcgen::KeyPair| Client {
        tls: Some(believing(&ca, Some((cert, key.serialize_der())))),
        ..anonymous.clone()
    };
    let mut node = Node::new("n1");
    let enrol = |node: &mut Node| {
        let joined = node.join(&admin, &token(&admin, "worker", Some("n1")), json!({})).json();
        over_tls(joined["node_cert_pem"].as_str().unwrap(), &node.key)
    };
    let first = enrol(&mut node);
    let own = first.get(SELF).json();
    assert_eq!(own["node_id"], "n1");
    assert_eq!(own["proven_by"], "certificate");
    assert_eq!(said(&first.from("203.0.113.9", "GET", SELF, &json!(null))), UNKNOWN, "the certificate is the proxy's");
    let passed_on =
        [&node.sign("GET", SELF, b"").headers()[..], &[("X-Forwarded-For", "203.0.113.9".to_string())]].concat();
    assert_eq!(send_with(&first, "GET", SELF, &passed_on, b"").json()["proven_by"], "signature");
    // Another certificate for the same key takes its place.
    let second = enrol(&mut node);
    assert_eq!(said(&first.get(SELF)), refused("identity_replaced"));
    assert_eq!(said(&second.get(SELF)), ACCEPTED);
    // A connection that was kept over a renewal shows the previous one: then the signature counts.
    for (connection, proof) in [(&first, "signature"), (&second, "certificate")] {
        let answer = send_with(connection, "GET", SELF, &node.sign("GET", SELF, b"").headers(), b"");
        assert_eq!(answer.json()["proven_by"], proof, "{}", answer.text());
    }
    // Anybody can write the node's name into a certificate.
    let stranger = key();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "n1");
    let forged = over_tls(&params.self_signed(&stranger).unwrap().pem(), &stranger);
    assert_eq!(said(&forged.get(SELF)), UNKNOWN);
    assert_eq!(admin.delete("/nodes/n1").status, 204);
    assert_eq!(said(&second.get(SELF)), UNKNOWN);
}

#[test]
fn of_two_machines_with_one_identity_one_is_answered() {
    let served = Served::new();
    let (admin, client) = (served.admin(), served.anonymous());
    let mut node = Node::joined(&admin, "n1");
    let call =
        |node: &Node, run: &str| said(&node.sign_at(epoch_ms(), run, "GET", SELF, b"").send(&client, "GET", SELF, b""));
    assert_eq!(call(&node, ""), ACCEPTED);
    // The first run beats on after the second has begun.
    let now = epoch();
    for (run, boot, at) in [("a", "1", now), ("b", "2", now + 1), ("a", "1", now + 12), ("a", "1", now + 14)] {
        let patch = json!({"uptimemesh_run": {"boot": boot, "id": run}}).to_string();
        let beat = client.send("POST", "/cluster/heartbeat", &[], node.body(at, 45, &patch, &patch).as_bytes());
        assert_eq!(beat.status, 200, "{}", beat.text());
        if let Some(fresh) = beat.json()["lease_token"].as_str() {
            node.lease_token = fresh.to_string();
        }
    }
    assert_eq!(call(&node, "a/1"), ACCEPTED);
    for other in ["", "b/2", "c/2", "c/3", "a/2"] {
        assert_eq!(call(&node, other), refused("another_run"), "{other}");
    }
    assert_eq!(admin.post("/nodes/n1/keep-run", &json!({"run": "b"})).status, 200);
    assert_eq!(call(&node, "a/1"), refused("another_run"));
    assert_eq!(call(&node, "b/2"), ACCEPTED);
}

#[test]
fn neighbours_of_a_bad_client_are_heard() {
    const BAD: &str = "203.0.113.9";
    let served = Served::proxied(|_| ());
    let client = served.anonymous();
    let node = Node::joined(&served.admin(), "n1");
    let from_there = |signed: &Signed| {
        let headers = [&signed.headers()[..], &[("X-Forwarded-For", BAD.to_string())]].concat();
        send_with(&client, "GET", SELF, &headers, b"")
    };
    let mut forged = node.sign("GET", SELF, b"");
    forged.lease_token.push('x');
    used_up(|_| from_there(&forged));
    // What a node does costs its address nothing.
    assert!((0..1100).all(|_| from_there(&node.sign("GET", SELF, b"")).status == 200));
    assert_eq!(client.from(BAD, "GET", "/health", &json!(null)).status, 200);
}
