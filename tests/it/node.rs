//! A node written for the tests, from the contract alone: it shares no code with the agent.

use crate::support::{Answer, Client};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub struct Node {
    pub id: String,
    pub key: KeyPair,
    pub lease_token: String,
    /// The last signing time that was used: each heartbeat needs a newer one.
    pub signed_at: i64,
}

pub fn epoch() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// Epoch milliseconds that no other call of this test program was signed at.
pub fn epoch_ms() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let next = |last: i64| Some(now.max(last + 1));
    next(LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap()).unwrap()
}

/// A call that a node signs, and the headers that say so.
pub struct Signed {
    pub lease_token: String,
    pub signed_at_ms: i64,
    pub run: String,
    pub signature: String,
}

impl Signed {
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("X-UptimeMesh-Lease-Token", self.lease_token.clone()),
            ("X-UptimeMesh-Signed-At", self.signed_at_ms.to_string()),
            ("X-UptimeMesh-Signature", self.signature.clone()),
        ];
        if !self.run.is_empty() {
            headers.push(("X-UptimeMesh-Run", self.run.clone()));
        }
        headers
    }

    /// Sends a call with these headers.
    pub fn send(&self, client: &Client, method: &str, target: &str, body: &[u8]) -> Answer {
        send_with(client, method, target, &self.headers(), body)
    }
}

pub fn send_with(client: &Client, method: &str, target: &str, headers: &[(&str, String)], body: &[u8]) -> Answer {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    client.send(method, target, &headers, body)
}

/// A CSR for this common name and these further names.
pub fn csr(key: &KeyPair, common_name: &str, names: &[&str]) -> String {
    let mut params = CertificateParams::new(names.iter().map(|n| n.to_string()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serialize_request(key).unwrap().pem().unwrap()
}

pub fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

pub fn sign(key: &KeyPair, message: &[u8]) -> String {
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key.serialize_der(), &random).unwrap();
    BASE64_STANDARD.encode(pair.sign(&random, message).unwrap())
}

/// A join token's secret.
pub fn token(admin: &Client, role: &str, node_id: Option<&str>) -> String {
    let answer = admin.post("/cluster/join-tokens", &json!({"role": role, "node_id": node_id}));
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["token"].as_str().unwrap().to_string()
}

impl Node {
    pub fn new(id: &str) -> Node {
        Node { id: id.to_string(), key: key(), lease_token: String::new(), signed_at: 0 }
    }

    /// A node that has joined as a worker.
    pub fn joined(admin: &Client, id: &str) -> Node {
        let mut node = Node::new(id);
        let answer = node.join(admin, &token(admin, "worker", None), json!({}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        node
    }

    /// Joins as a worker unless `more` says otherwise.
    pub fn join(&mut self, client: &Client, token: &str, more: Value) -> Answer {
        let mut body = json!({"token": token, "node_id": self.id, "name": self.id, "role": "worker", "csr_pem": csr(&self.key, &self.id, &[])});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = client.post("/cluster/join", &body);
        if answer.status == 200 {
            self.lease_token = answer.json()["lease_token"].as_str().unwrap().to_string();
        }
        answer
    }

    /// Signs a call, as the documents of the API say.
    pub fn sign(&self, method: &str, target: &str, body: &[u8]) -> Signed {
        self.sign_at(epoch_ms(), "", method, target, body)
    }

    pub fn sign_at(&self, signed_at_ms: i64, run: &str, method: &str, target: &str, body: &[u8]) -> Signed {
        let digest: String =
            ring::digest::digest(&ring::digest::SHA256, body).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let message =
            format!("{}\nrequest\n{}\n{signed_at_ms}\n{run}\n{method}\n{target}\n{digest}", self.id, self.lease_token);
        let (lease_token, signature) = (self.lease_token.clone(), sign(&self.key, message.as_bytes()));
        Signed { lease_token, signed_at_ms, run: run.to_string(), signature }
    }

    /// Sends a call that this node signs.
    pub fn call(&self, client: &Client, method: &str, target: &str, body: &[u8]) -> Answer {
        self.sign(method, target, body).send(client, method, target, body)
    }

    /// The body of a heartbeat; `patch` is the status patch as text, and its canonical form is the caller's to give.
    pub fn body(&self, signed_at: i64, ttl_s: i64, patch: &str, canonical: &str) -> String {
        let message = format!("{}\n{}\n{signed_at}\n{ttl_s}\n{canonical}", self.id, self.lease_token);
        format!(
            r#"{{"node_id":"{}","lease_token":"{}","signed_at":{signed_at},"ttl_seconds":{ttl_s},"status_patch":{patch},"signature":"{}"}}"#,
            self.id,
            self.lease_token,
            sign(&self.key, message.as_bytes())
        )
    }

    /// Sends a heartbeat with the next signing time that is newer than the last.
    pub fn heartbeat(&mut self, client: &Client, ttl_s: i64, patch: &Value) -> Answer {
        // Signing times are whole seconds, must grow, and be later than the server's start; the skew allows to run
        // ahead of the clock.
        self.signed_at = epoch().max(self.signed_at) + 1;
        let text = patch.to_string();
        let answer =
            client.send("POST", "/cluster/heartbeat", &[], self.body(self.signed_at, ttl_s, &text, &text).as_bytes());
        if let Some(fresh) = answer.json()["lease_token"].as_str() {
            self.lease_token = fresh.to_string();
        }
        answer
    }
}
