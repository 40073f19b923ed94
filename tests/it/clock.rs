//! Machines whose clock is wrong: a control plane that waits for it, one that was made under it, and nodes that find
//! their way in.

use crate::node::Node;
use crate::program::{Running, command, fails};
use crate::support::{Dir, Served, until};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The program with another clock: `+3650d`, or `@1970-01-02 00:00:00`. Monotonic time goes on as it is.
fn at(time: &str, dir: &Path, args: &[&str]) -> Command {
    // Without the wrapper, which would be what a test ends, and leave the program running.
    let mut faked = command(dir, args);
    faked.env("LD_PRELOAD", preload()).env("FAKETIME", time).env("DONT_FAKE_MONOTONIC", "1");
    faked
}

#[test]
fn a_first_start_before_the_programs_date_makes_nothing() {
    for (time, args) in [
        ("@1970-01-01 00:00:10", &["up", "--node-id", "n1"][..]),
        ("@2016-11-03 17:16:44", &["serve"]),
        ("@2026-01-01 00:00:00", &["serve"]),
    ] {
        let dir = Dir::new();
        let all = [args, &["--server-port", "0", "--server-host", "127.0.0.1", "--clock-wait-seconds", "1"]].concat();
        let output = at(time, dir.path(), &all).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("waiting for the clock")
                && said.contains("no certificates or tokens are issued until the clock is right"),
            "{said}"
        );
        assert!(said.contains(&time[1..11]), "{said}");
        for made in ["data/pki", "data/app.db", "data/identities"] {
            assert!(!dir.join(made).exists(), "{made}");
        }
    }
}

#[test]
fn a_first_start_goes_on_once_the_clock_is_right() {
    let dir = Dir::new();
    let clock = dir.join("clock");
    fs::write(&clock, "@2016-11-03 17:16:44\n").unwrap();
    let mut waiting =
        command(dir.path(), &["up", "--server-port", "0", "--server-host", "127.0.0.1", "--node-id", "n1"]);
    waiting.env("LD_PRELOAD", preload()).env("DONT_FAKE_MONOTONIC", "1");
    waiting.env("FAKETIME_TIMESTAMP_FILE", &clock).env("FAKETIME_NO_CACHE", "1");
    let up = Running::of(waiting, dir.path(), "up");
    until("it says that it waits", || up.logged().contains("waiting for the clock").then_some(()));
    assert!(!dir.join("data/pki").exists());
    fs::write(&clock, "+0\n").unwrap();
    until("it is up", || up.said().contains("is up").then_some(()));
    assert!(dir.join("data/identities/n1/node.crt").exists() && up.logged().contains("clock.right"));
    let (_, until_when) = dates(&dir.join("data/pki/cluster-ca.crt"));
    assert!(until_when > 2030, "{until_when}");
}

/// What makes a program believe another clock, where the distribution put it.
fn preload() -> String {
    let output = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

/// The years in which a certificate begins and ends.
fn dates(cert: &Path) -> (i32, i32) {
    let output =
        Command::new("openssl").args(["x509", "-noout", "-dates", "-in", cert.to_str().unwrap()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut years = text.lines().map(|line| line.trim_end_matches(" GMT").rsplit(' ').next().unwrap().parse().unwrap());
    (years.next().unwrap(), years.next().unwrap())
}

/// An authority as an older program made it under a wrong clock.
fn misdated(pki: &Path, name: &str, years: (i32, i32)) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "UptimeMesh Cluster CA");
    params.distinguished_name.push(DnType::OrganizationName, "UptimeMesh");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    fs::create_dir_all(pki).unwrap();
    fs::write(pki.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    fs::write(pki.join(format!("{name}.crt")), params.self_signed(&key).unwrap().pem()).unwrap();
}

fn told(served: &Served) -> Vec<Value> {
    served.admin().events("cluster").into_iter().filter(|e| e["name"] == "certificate.outside_dates").collect()
}

#[test]
fn an_authority_of_another_time_is_told_and_made_again_where_no_node_relies_on_it() {
    for years in [(1970, 1980), (2090, 2100)] {
        let mut served = Served::new();
        served.server.take().unwrap().shutdown();
        let (pki, cert) = (served.config.pki_dir.clone(), served.config.pki_dir.join("cluster-ca.crt"));
        misdated(&pki, "cluster-ca", years);
        served.server = Some(uptimemesh::Server::start(served.config.clone()).unwrap());
        assert_ne!(dates(&cert), years);
        let events = told(&served);
        assert!(events.len() == 1 && events[0]["fields"]["made_again"] == true, "{events:?}");
        assert_eq!(events[0]["level"].as_str().unwrap().to_uppercase(), "WARNING");
        assert_eq!(served.admin().get("/cluster/ca").json()["previous"], Value::Null);

        // With a node it is only told: the node would have to join again.
        Node::joined(&served.admin(), "node-a");
        served.server.take().unwrap().shutdown();
        misdated(&pki, "cluster-ca", years);
        served.server = Some(uptimemesh::Server::start(served.config.clone()).unwrap());
        assert_eq!(dates(&cert), years);
        let events = told(&served);
        assert!(events.len() == 2 && events[0]["fields"]["made_again"] == false, "{events:?}");
    }
}

#[test]
fn under_a_wrong_clock_a_running_cluster_goes_on_and_dates_nothing() {
    let dir = Dir::new();
    let serve = ["serve", "--server-port", "0", "--server-host", "127.0.0.1"];
    let (mut first, client) = Running::serve(dir.path(), &serve[..3]);
    let mut node = Node::joined(&client.signed_in("admin", "uptime"), "node-a");
    assert_eq!(first.terminate(), 0);
    let restarted = Running::of(at("@2016-11-03 17:16:44", dir.path(), &serve), dir.path(), "restarted");
    let client = restarted.client();
    let admin = client.signed_in("admin", "uptime");
    for (path, body) in [
        ("/cluster/join-tokens", json!({"role": "worker"})),
        ("/cluster/bootstrap", json!({})),
        ("/cluster/ca/rotate", json!({})),
    ] {
        let answer = admin.post(path, &body);
        assert!(
            answer.status == 503 && answer.text().contains("until the clock is right"),
            "{path}: {}",
            answer.text()
        );
    }
    let refused = node.heartbeat(&client, 45, &json!({}));
    assert_eq!(
        (refused.status, &refused.json()["reason"]),
        (401, &json!("clock_skew")),
        "it is told the time to sign with"
    );
    assert!(restarted.logged().contains("certificate.outside_dates"), "{}", restarted.logged());
}

#[test]
fn under_a_wrong_clock_a_cluster_of_2_0_0_gets_its_second_authority_with_the_dates_of_the_first() {
    let dir = Dir::new();
    let serve = ["serve", "--server-port", "0", "--server-host", "127.0.0.1"];
    let (mut first, _) = Running::serve(dir.path(), &serve[..3]);
    assert_eq!(first.terminate(), 0);
    let pki = dir.join("data/pki");
    for name in ["server-ca.key", "server-ca.crt"] {
        fs::remove_file(pki.join(name)).unwrap();
    }
    let restarted = Running::of(at("@2016-11-03 17:16:44", dir.path(), &serve), dir.path(), "restarted");
    restarted.client().signed_in("admin", "uptime");
    assert_eq!(dates(&pki.join("server-ca.crt")), dates(&pki.join("cluster-ca.crt")));
}

#[test]
fn a_node_whose_clock_is_ahead_or_behind_finds_its_way_in() {
    let served = Served::new();
    for (name, time) in
        [("ahead", "+3650d"), ("far-ahead", "+40y"), ("behind", "-3650d"), ("in-1970", "@1970-01-01 00:00:10")]
    {
        let dir = Dir::new();
        let made = served.admin().post("/cluster/join-tokens", &json!({"role": "worker"})).json();
        fs::write(dir.join("join"), made["join_string"].as_str().unwrap()).unwrap();
        let output = at(time, dir.path(), &["join", "--join-file", "join", "--node-id", name]).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let output = at(time, dir.path(), &["heartbeat", "--node-id", name]).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let agent =
            Running::of(at(time, dir.path(), &["agent", "--node-id", name, "--ttl", "10"]), dir.path(), "agent");
        until("its heartbeats are accepted", || {
            let node = served.admin().get(&format!("/nodes/{name}")).json();
            node["status"]["clock_offset_seconds"].as_i64().filter(|s| s.abs() > 86_400)
        });
        drop(agent);
        // Its certificate is judged by the control plane's clock, and its own clock is what is told.
        let output = at(time, dir.path(), &["doctor", "--json", "--node-id", name]).output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let level = |check: &str| {
            told["findings"].as_array().unwrap().iter().find(|f| f["check"] == check).unwrap()["level"].clone()
        };
        let levels = ["identity.certificate", "identity.authority", "identity.lease", "clock.control"].map(level);
        assert_eq!(levels, ["ok", "ok", "ok", "warn"], "{name}: {told}");
    }
    // A certificate of nobody's is believed at no time.
    let dir = Dir::new();
    let other = Served::new();
    let made = served.admin().post("/cluster/join-tokens", &json!({"role": "worker"})).json();
    let (port, wrong) = (served.anonymous().address.port(), other.anonymous().address.port());
    fs::write(
        dir.join("join"),
        made["join_string"].as_str().unwrap().replace(&format!(":{port}"), &format!(":{wrong}")),
    )
    .unwrap();
    let (status, said) = fails(dir.path(), &["join", "--join-file", "join", "--node-id", "n"]);
    assert!(status == 1 && said.contains("Could not verify that"), "{said}");
}
