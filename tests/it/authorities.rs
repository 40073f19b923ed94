//! What the authorities vouch for: a node's certificate is good for the node, and for nobody else's name or address.

use crate::node::{Node, csr, token};
use crate::support::{Served, Wire, believing, until};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, ServerConfig, ServerConnection};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

fn run(program: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Whether OpenSSL, with this authority, takes a certificate for that of a name or an address.
fn openssl_takes(ca: &Path, cert: &Path, name: &str) -> bool {
    let option = if name.parse::<std::net::IpAddr>().is_ok() { "-verify_ip" } else { "-verify_hostname" };
    run("openssl", &["verify", "-purpose", "sslserver", "-CAfile", text(ca), option, name, text(cert)]).0
}

/// Whether rustls, with this authority, takes the holder of a certificate for who has a name or an address.
fn rustls_takes(ca: &Path, cert_pem: &str, key_pem: &str, name: &str) -> bool {
    let chain = CertificateDer::pem_slice_iter(cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut server =
        ServerConnection::new(Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())).unwrap();
    let mut client =
        ClientConnection::new(believing(ca, None), ServerName::try_from(name.to_string()).unwrap()).unwrap();
    for _ in 0..8 {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        client.write_tls(&mut there).unwrap();
        server.read_tls(&mut there.as_slice()).unwrap();
        let _ = server.process_new_packets();
        server.write_tls(&mut back).unwrap();
        client.read_tls(&mut back.as_slice()).unwrap();
        if client.process_new_packets().is_err() {
            return false;
        }
    }
    assert!(!client.is_handshaking());
    true
}

/// A worker that asks for these names and addresses beside its id: its certificate's file and text, and its key.
fn joins(served: &Served, token: &str, id: &str, asks: &[&str], more: Value) -> (PathBuf, String, String) {
    let mut node = Node::new(id);
    let mut body = json!({ "csr_pem": csr(&node.key, id, &[&[id], asks].concat()) });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    let answer = node.join(&served.anonymous(), token, body);
    assert_eq!(answer.status, 200, "{id}: {}", answer.text());
    let cert_pem = answer.json()["node_cert_pem"].as_str().unwrap().to_string();
    let path = served.dir.join(&format!("{}.crt", id.replace(':', "-")));
    fs::write(&path, &cert_pem).unwrap();
    (path, cert_pem, node.key.serialize_pem())
}

#[test]
fn no_node_passes_for_a_public_host_a_router_or_another_node() {
    let served = Served::new();
    let admin = served.admin();
    let ca = served.config.pki_dir.join("cluster-ca.crt");
    let known = json!({"id": "node-1", "name": "db", "mesh_ip": "10.42.0.1"});
    assert_eq!(admin.post("/nodes", &known).status, 201);
    let worker = || token(&admin, "worker", None);
    for (id, asks, mesh_ip) in [
        ("www.google.com", &["WWW.google.com", "www.google.com.mesh.internal"][..], None),
        ("xn--bcher-kva.example", &[], None),
        ("8.8.8.8", &["8.8.8.8"], Some("8.8.8.8")),
        ("1.1.1.1.nip.io", &["1.1.1.1"], Some("1.1.1.1/32")),
        ("2606:4700:4700::1111", &[], Some("2606:4700:4700::1111")),
        ("fritz.box", &["192.168.178.1"], Some("192.168.178.1")),
        ("thief", &["10.42.0.1"], Some("10.42.0.1")),
        ("twin", &["10.42.0.1"], Some("::ffff:10.42.0.1")),
        ("claims", &["10.42.0.99"], Some("10.42.0.99/24")),
        ("db", &["NODE-1"], None),
        ("NODE-1", &["node-1", "node-1.mesh.internal", "NODE-1.mesh.internal"], None),
        ("looks-local", &["127.0.0.1", "::1"], Some("127.0.0.1")),
    ] {
        let mut more = json!({"name": format!("name of {id}")});
        if let Some(mesh_ip) = mesh_ip {
            more["mesh_ip"] = mesh_ip.into();
        }
        let (cert, cert_pem, key_pem) = joins(&served, &worker(), id, asks, more);
        let own = [id.to_string(), format!("{id}.mesh.internal")];
        let may = |name: &str| {
            own.iter().any(|o| o == name)
                && (name.ends_with(".mesh.internal") || !name.contains(['.', ':']))
                && !["db", "NODE-1", "NODE-1.mesh.internal"].contains(&name)
        };
        for name in [&[id], asks].concat() {
            assert_eq!(openssl_takes(&ca, &cert, name), may(name), "OpenSSL: {id} as {name}");
            assert_eq!(rustls_takes(&ca, &cert_pem, &key_pem, name), may(name), "rustls: {id} as {name}");
        }
    }
    // What the token allows, and what an operator gave before, is the node's.
    let allowed = admin.post("/cluster/join-tokens", &json!({"role": "worker", "mesh_ip": "10.42.0.9"})).json();
    assert_eq!(allowed["mesh_ip"], "10.42.0.9");
    let by_token = joins(
        &served,
        allowed["token"].as_str().unwrap(),
        "node-9",
        &["10.42.0.9"],
        json!({"mesh_ip": "10.42.0.9/24"}),
    );
    let by_operator = joins(&served, &worker(), "node-1", &["10.42.0.1"], json!({"mesh_ip": "10.42.0.1"}));
    for ((cert, cert_pem, key_pem), names) in
        [(by_token, ["node-9", "10.42.0.9"]), (by_operator, ["node-1", "10.42.0.1"])]
    {
        for name in names {
            assert!(openssl_takes(&ca, &cert, name) && rustls_takes(&ca, &cert_pem, &key_pem, name), "{name}");
        }
    }
    let bad = admin.post("/cluster/join-tokens", &json!({"role": "worker", "mesh_ip": "10.42.0"}));
    assert_eq!(bad.faults(), [r#"string_pattern_mismatch ["body","mesh_ip"]"#]);
}

/// Whether curl, OpenSSL and rustls, with this authority, believe the server.
fn believe(served: &Served, ca: &Path) -> [bool; 3] {
    let address = served.anonymous().address;
    let url = format!("https://{address}/health");
    let curl = run("curl", &["-sS", "--cacert", text(ca), &url]).0;
    let at = address.to_string();
    let args = [
        "s_client",
        "-connect",
        &at,
        "-CAfile",
        text(ca),
        "-verify_return_error",
        "-verify_ip",
        "127.0.0.1",
        "-x509_strict",
    ];
    let openssl = run("openssl", &args).0;
    let mut wire = Wire::connect(address, Some(&believing(ca, None))).unwrap();
    let mut answer = Vec::new();
    let asked = wire.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let _ = asked.and_then(|()| wire.read_to_end(&mut answer));
    let rustls = answer.starts_with(b"HTTP/1.1 200");
    [curl, openssl, rustls]
}

/// Keeps a copy of an authority's certificate under a name.
fn keep(served: &Served, file: &str, name: &str) -> PathBuf {
    let path = served.dir.join(name);
    fs::copy(served.config.pki_dir.join(file), &path).unwrap();
    path
}

#[test]
fn what_people_trust_signs_no_node() {
    let served = Served::new();
    let (people, cluster) = (served.config.pki_dir.join("server-ca.crt"), served.config.pki_dir.join("cluster-ca.crt"));
    let (_, shown) = run("openssl", &["x509", "-in", text(&people), "-noout", "-text"]);
    for part in ["CA:TRUE", "CN = UptimeMesh Server CA", "O = UptimeMesh", "prime256v1"] {
        assert!(shown.contains(part), "{part} not in {shown}");
    }
    assert_eq!(believe(&served, &people), [true; 3]);
    assert_eq!(believe(&served, &cluster), [true; 3], "whoever trusted the cluster's own authority still does");
    let (cert, cert_pem, key_pem) = joins(&served, &token(&served.admin(), "worker", None), "node-a", &[], json!({}));
    assert!(openssl_takes(&cluster, &cert, "node-a") && rustls_takes(&cluster, &cert_pem, &key_pem, "node-a"));
    assert!(!openssl_takes(&people, &cert, "node-a") && !rustls_takes(&people, &cert_pem, &key_pem, "node-a"));
    let ca = served.admin().get("/cluster/ca").json();
    assert_eq!(ca["server_ca_cert_pem"], fs::read_to_string(&people).unwrap());
    assert_eq!(ca["ca_cert_pem"], fs::read_to_string(&cluster).unwrap());
    assert_eq!(ca["server_previous"], Value::Null);
}

#[test]
fn a_directory_with_one_authority_gets_the_other_and_loses_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let mut served = Served::new();
    let mut node = Node::joined(&served.admin(), "node-a");
    served.server.take().unwrap().shutdown();
    let cluster = keep(&served, "cluster-ca.crt", "kept");
    let files = ["server-ca.crt", "server-ca.key"].map(|name| served.config.pki_dir.join(name));
    files.iter().for_each(|file| fs::remove_file(file).unwrap());
    served.server = Some(uptimemesh::Server::start(served.config.clone()).unwrap());
    assert_eq!(fs::metadata(&files[1]).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!([believe(&served, &cluster), believe(&served, &files[0])], [[true; 3]; 2]);
    assert_eq!(node.heartbeat(&served.anonymous(), 45, &json!({})).status, 200);
    assert_eq!(served.admin().get("/cluster/ca").json()["nodes_up_to_date"], 1);
    // Half of it is refused, as of the other.
    served.server.take().unwrap().shutdown();
    fs::remove_file(&files[0]).unwrap();
    let why = uptimemesh::Server::start(served.config.clone()).map(|_| ()).unwrap_err();
    assert!(
        uptimemesh::Chain(&why).to_string().contains("server-ca.crt is not: restore it"),
        "{}",
        uptimemesh::Chain(&why)
    );
}

#[test]
fn both_authorities_are_rotated_and_the_previous_ones_hold_until_they_are_dropped() {
    let mut served = Served::new();
    let kept = |served: &Served, n: u8| {
        ["server-ca.crt", "cluster-ca.crt"].map(|file| keep(served, file, &format!("{n}-{file}")))
    };
    let first = kept(&served, 1);
    assert_eq!(served.admin().post("/cluster/ca/rotate", &json!({})).status, 200);
    let second = kept(&served, 2);
    let all = |served: &Served, of: &[PathBuf; 2]| [believe(served, &of[0]), believe(served, &of[1])];
    assert_eq!(all(&served, &first), [[true; 3]; 2]);
    served.restart();
    assert_eq!(all(&served, &first), [[true; 3]; 2]);
    let ca = served.admin().get("/cluster/ca").json();
    assert_ne!(ca["server"]["fingerprint"], ca["server_previous"]["fingerprint"]);
    assert_eq!(ca["server_ca_cert_pem"].as_str().unwrap().matches("BEGIN CERTIFICATE").count(), 2);
    // A rotation that a program with one authority had begun.
    served.server.take().unwrap().shutdown();
    for file in ["server-ca.crt", "server-ca.key"] {
        fs::remove_file(served.config.pki_dir.join("previous").join(file)).unwrap();
        fs::remove_file(served.config.pki_dir.join(file)).unwrap();
    }
    served.server = Some(uptimemesh::Server::start(served.config.clone()).unwrap());
    let third = kept(&served, 3);
    assert_eq!([believe(&served, &first[1]), believe(&served, &third[0])], [[true; 3]; 2]);
    assert_eq!(served.admin().delete("/cluster/ca/previous").status, 200);
    until("the new authorities show themselves", || (all(&served, &third) == [[true; 3]; 2]).then_some(()));
    assert_eq!(all(&served, &first), [[false; 3]; 2]);
    assert_eq!(all(&served, &second), [[false; 3], [true; 3]]);
}
