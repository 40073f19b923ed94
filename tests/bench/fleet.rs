//! Many nodes: their keys, their joins, their heartbeats, made by the contract alone.

use crate::server::{Server, post};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn epoch_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// A connection that is kept.
pub struct Conn {
    pub stream: TcpStream,
    pub buffer: Vec<u8>,
}

impl Conn {
    pub fn open(address: SocketAddr) -> Conn {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Conn { stream, buffer: Vec::new() }
    }
}

pub struct Node {
    pub id: String,
    key: KeyPair,
    join: Vec<u8>,
    pub lease_token: String,
    certificate: String,
}

impl Node {
    /// A signed heartbeat, as a whole request.
    pub fn heartbeat(&self, signed_at: i64, ttl_s: i64, patch: &str) -> Vec<u8> {
        let Node { id, lease_token, .. } = self;
        let message = format!("{id}\n{lease_token}\n{signed_at}\n{ttl_s}\n{patch}");
        let signature = BASE64_STANDARD.encode(self.key.sign(message.as_bytes()).unwrap());
        let body = format!(
            r#"{{"node_id":"{id}","lease_token":"{lease_token}","signed_at":{signed_at},"ttl_seconds":{ttl_s},"status_patch":{patch},"signature":"{signature}"}}"#
        );
        post("/cluster/heartbeat", "", &body)
    }
}

pub struct Fleet {
    pub nodes: Vec<Node>,
    /// The next time to sign at: it only grows.
    signed_at: i64,
}

impl Fleet {
    /// Keys, signing requests and join tokens for so many nodes.
    pub fn prepare(server: &Server, count: usize) -> Fleet {
        let session = server.sign_in();
        let mut conn = Conn::open(server.address);
        let nodes = (0..count).map(|i| {
            let id = format!("node-{i:05}");
            let (status, body) = conn.raw(&post("/cluster/join-tokens", &session, r#"{"role":"worker"}"#));
            assert_eq!(status, 201);
            let token: Value = serde_json::from_slice(&body).unwrap();
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, &id);
            let csr_pem = params.serialize_request(&key).unwrap().pem().unwrap();
            // A long lease, so that nobody turns stale while other things are measured.
            let body =
                json!({"token": token["token"], "node_id": id, "name": id, "role": "worker", "csr_pem": csr_pem, "lease_ttl_seconds": 300});
            Node { join: post("/cluster/join", "", &body.to_string()), id, key, lease_token: String::new(), certificate: String::new() }
        });
        let nodes = nodes.collect();
        Fleet { nodes, signed_at: epoch_seconds() }
    }

    /// Joins them all, over so many connections.
    pub fn join(&mut self, server: &Server, clients: usize) {
        let part = self.nodes.len().div_ceil(clients);
        std::thread::scope(|scope| {
            for nodes in self.nodes.chunks_mut(part) {
                scope.spawn(|| {
                    let mut conn = Conn::open(server.address);
                    for node in nodes {
                        let (status, body) = conn.raw(&node.join);
                        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
                        let answer: Value = serde_json::from_slice(&body).unwrap();
                        node.lease_token = answer["lease_token"].as_str().unwrap().to_string();
                        node.certificate = answer["node_cert_pem"].as_str().unwrap().to_string();
                    }
                });
            }
        });
    }

    /// How each node speaks TLS: it believes the cluster's authority, and shows its certificate.
    pub fn tls(&self, dir: &Path) -> Vec<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read(dir.join("data/pki/cluster-ca.crt")).unwrap();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = |node: &Node| {
            let chain = vec![CertificateDer::from_pem_slice(node.certificate.as_bytes()).unwrap()];
            let key = PrivatePkcs8KeyDer::from(node.key.serialize_der()).into();
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
            let builder = builder.with_safe_default_protocol_versions().unwrap();
            let builder = builder.with_root_certificates(roots.clone());
            let mut config = builder.with_client_auth_cert(chain, key).unwrap();
            config.resumption = Resumption::disabled();
            Arc::new(config)
        };
        self.nodes.iter().map(config).collect()
    }

    /// Signed heartbeats with an unchanged status, `rounds` for each node, as whole requests in one list a client.
    pub fn sign(&mut self, rounds: usize, clients: usize) -> Vec<Vec<Vec<u8>>> {
        let mut batches = vec![Vec::new(); clients];
        for _ in 0..rounds {
            self.signed_at += 1;
            for (i, node) in self.nodes.iter().enumerate() {
                batches[i % clients].push(node.heartbeat(self.signed_at, 300, r#"{"ready":true,"version":"2.0.0"}"#));
            }
        }
        batches
    }
}
