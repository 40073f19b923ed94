//! Benchmarks: `cargo bench`, or `cargo bench -- WORD` for those whose name has the word. Each figure stands beside a
//! reference that was measured in the same run; absolute figures are this machine's. Needs nginx for one of them.
//!
//! Scripts in `peers` measure beside others: `path.sh` the path of a new user, `decide.sh` decisions and lost nodes
//! (Docker Swarm, serf), `writes.sh` durable writes (etcd).

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

mod agents;
mod chart;
mod curve;
mod decision;
mod fleet;
mod pages;
mod parked;
mod runs;
mod scheduler;
mod server;
mod signed_in;
mod stream;
mod tls;
mod wakeups;
mod writes;

use fleet::{Conn, Fleet};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use server::{Server, temporary_dir};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Nodes of the fleet.
const NODES: usize = 3000;
/// Heartbeats that are signed beforehand for each node.
const ROUNDS: usize = 30;
/// Connections of the load generator.
const CLIENTS: usize = 4;
/// The server writes renewals so often.
const FLUSH: Duration = Duration::from_secs(15);
/// How long a rate is measured.
const SPAN: Duration = Duration::from_secs(3);

fn main() {
    // `cargo bench` adds a flag of its own.
    let word = std::env::args().skip(1).find(|a| !a.starts_with("--")).unwrap_or_default();
    let wanted = |name: &str| name.contains(&word);
    println!("{:<44} {:>16} {:>34}  goal", "what", "figure", "reference in the same run");
    if wanted("memory") {
        memory_empty();
    }
    if wanted("log") {
        log();
    }
    if wanted("scheduler") {
        scheduler::scheduler();
    }
    if wanted("placements") {
        scheduler::placements();
    }
    if wanted("stream") {
        stream::stream();
    }
    if wanted("pages") {
        pages::pages();
    }
    if wanted("parked") {
        parked::parked();
    }
    if wanted("fleet") {
        curve::fleet();
    }
    if wanted("runs") {
        runs::runs();
    }
    if wanted("wakeups") {
        wakeups::wakeups();
    }
    if wanted("signed-in") {
        signed_in::signed_in();
    }
    if wanted("decision") {
        decision::decision();
    }
    if wanted("tls") {
        tls::tls();
    }
    if wanted("writes") {
        writes::writes();
    }
    let others = ["joins", "heartbeats", "disk", "list", "memory", "start"];
    if others.iter().any(|name| wanted(name)) {
        with_fleet(&wanted);
    }
}

/// A line of the table.
fn line(what: &str, figure: String, reference: String, goal: &str, met: bool) {
    println!("{what:<44} {figure:>16} {reference:>34}  {goal:<22} {}", if met { "met" } else { "MISSED" });
}

fn memory_empty() {
    let dir = temporary_dir("empty");
    let server = Server::start(&dir, &[]);
    let mib = server.resident_mib();
    line("memory at rest, no nodes", format!("{mib:.1} MiB"), String::new(), "below 12 MiB", mib < 12.0);
}

/// What is measured with three thousand enrolled nodes.
fn with_fleet(wanted: &dyn Fn(&str) -> bool) {
    let dir = temporary_dir("fleet");
    let server = Server::start(&dir, &[]);
    let began = Instant::now();
    let mut fleet = Fleet::prepare(&server, NODES);
    eprintln!("(made keys, requests and tokens for {NODES} nodes in {:.1} s)", began.elapsed().as_secs_f64());
    let began = Instant::now();
    fleet.join(&server, CLIENTS);
    let rate = NODES as f64 / began.elapsed().as_secs_f64();
    line("joins", format!("{rate:.0}/s"), String::new(), "(no goal)", true);
    if wanted("heartbeats") {
        heartbeats(&server, &mut fleet);
    }
    if wanted("disk") {
        disk(&server, &mut fleet);
    }
    if wanted("list") {
        list(&server, &mut fleet, &dir);
    }
    drop(server);
    if wanted("memory") {
        let server = Server::start(&dir, &[]);
        let mib = server.resident_mib();
        line("memory at rest, 3,000 nodes", format!("{mib:.1} MiB"), String::new(), "below 40 MiB", mib < 40.0);
    }
    if wanted("start") {
        let mut times: Vec<f64> = (0..7).map(|_| Server::start(&dir, &[]).first_answer.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        line(
            "start to first answer, 3,000 nodes",
            format!("{:.1} ms", times[3]),
            "median of 7".into(),
            "below 50 ms",
            times[3] < 50.0,
        );
    }
}

/// Signatures that one core verifies in a second.
fn verifications_per_core() -> f64 {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let message = [b'x'; 300];
    let signature = key.sign(&random, &message).unwrap();
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.public_key().as_ref().to_vec());
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < Duration::from_secs(1) {
        for _ in 0..100 {
            public.verify(&message, signature.as_ref()).unwrap();
        }
        count += 100;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

fn heartbeats(server: &Server, fleet: &mut Fleet) {
    let raw = verifications_per_core();
    let batches = fleet.sign(ROUNDS, CLIENTS);
    let (mine, theirs, began) = (server::cpu_seconds("self"), server.cpu_seconds(), Instant::now());
    let done: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = batches
            .iter()
            .map(|batch| {
                scope.spawn(move || {
                    let mut conn = Conn::open(server.address);
                    let end = Instant::now() + SPAN;
                    let sent = batch.iter().take_while(|request| {
                        let (status, body) = conn.raw(request);
                        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
                        Instant::now() < end
                    });
                    sent.count()
                })
            })
            .collect();
        clients.into_iter().map(|c| c.join().unwrap()).sum()
    });
    let wall = began.elapsed().as_secs_f64();
    let (mine, theirs) = (server::cpu_seconds("self") - mine, server.cpu_seconds() - theirs);
    let cores = std::thread::available_parallelism().unwrap().get() as f64;
    // What the server could verify in the time that the load generator left it.
    let left = (wall * cores - mine) * raw;
    let rate = done as f64 / wall;
    line(
        "heartbeats accepted over HTTP, 3,000 nodes",
        format!("{rate:.0}/s"),
        format!("{:.0}/s raw in what is left", left / wall),
        "at least 0.5 of it",
        done as f64 / left >= 0.5,
    );
    println!(
        "    ratio {:.2}; raw {raw:.0} verifications/s a core; CPU a heartbeat: server {:.0} us, of it {:.0} us the \
            signature; load generator {:.0} us",
        done as f64 / left,
        theirs / done as f64 * 1e6,
        1e6 / raw,
        mine / done as f64 * 1e6
    );
}

/// Bytes on their way to the disk, at the pace of a real fleet: a heartbeat every 15 s each.
fn disk(server: &Server, fleet: &mut Fleet) {
    let batches = fleet.sign(3, 1);
    let pace = Duration::from_secs(15) / NODES as u32;
    let mut conn = Conn::open(server.address);
    // The first of each node may change its status, and what that and the joins wrote is to be on the disk.
    let (first, unchanged) = batches[0].split_at(NODES);
    first.iter().for_each(|request| assert_eq!(conn.raw(request).0, 200));
    std::thread::sleep(FLUSH + Duration::from_secs(1));
    let before = server.written_bytes();
    let began = Instant::now();
    let mut done = 0;
    while began.elapsed() < 2 * FLUSH {
        let (status, _) = conn.raw(&unchanged[done]);
        assert_eq!(status, 200);
        done += 1;
        let next = pace * done as u32;
        std::thread::sleep(next.saturating_sub(began.elapsed()));
    }
    let kib = (server.written_bytes() - before) as f64 / 1024.0 / done as f64 * 1000.0;
    line(
        "disk, 1,000 unchanged heartbeats at 200/s",
        format!("{kib:.1} KiB"),
        format!("{done} heartbeats, two flushes"),
        "below 64 KiB",
        kib < 64.0,
    );
}

fn list(server: &Server, fleet: &mut Fleet, dir: &Path) {
    let batches = fleet.sign(2, 1);
    let mut conn = Conn::open(server.address);
    let request = server.get("/nodes?limit=1000");
    let (_, body) = conn.raw(&request);
    let stop = AtomicBool::new(false);
    let beats = AtomicUsize::new(0);
    let rate = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut conn = Conn::open(server.address);
            for request in &batches[0] {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                conn.raw(request);
                beats.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let rate = rate(|| assert_eq!(conn.raw(&request).0, 200));
        stop.store(true, Ordering::Relaxed);
        rate
    });
    let Some(reference) = nginx(dir, &body) else {
        println!("{:<44} {rate:>14.0}/s {:>34}", "GET /nodes, 1,000 nodes", "nginx is missing, not compared");
        return;
    };
    let bytes = body.len() / 1024;
    line(
        "GET /nodes, 1,000 nodes, leases changing",
        format!("{rate:.0}/s"),
        format!("{reference:.0}/s nginx, {bytes} KiB"),
        "at least 0.1 of it",
        rate / reference >= 0.1,
    );
    println!("    ratio {:.2}; {} heartbeats meanwhile", rate / reference, beats.load(Ordering::Relaxed));
}

/// The same bytes as a static file, from nginx with one worker.
fn nginx(dir: &Path, body: &[u8]) -> Option<f64> {
    let home = dir.join("nginx");
    std::fs::create_dir_all(home.join("logs")).unwrap();
    // The worker gives up root, and must still read the file.
    for path in [dir, &home] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    std::fs::write(home.join("nodes.json"), body).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "daemon off; worker_processes 1; error_log stderr crit; pid {0}/pid; events {{}} http {{ access_log off; \
            keepalive_requests 1000000; \
         client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s; \
         server {{ listen 127.0.0.1:{port}; root {0}; }} }}",
        home.display()
    );
    std::fs::write(home.join("nginx.conf"), config).unwrap();
    let mut child =
        Command::new("nginx").arg("-p").arg(&home).args(["-c", "nginx.conf"]).stderr(Stdio::null()).spawn().ok()?;
    let address = ([127, 0, 0, 1], port).into();
    while TcpStream::connect(address).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut conn = Conn::open(address);
    let rate = rate(|| assert_eq!(conn.raw(b"GET /nodes.json HTTP/1.1\r\nHost: x\r\n\r\n").0, 200));
    drop(conn);
    // Its master ends its worker when it is asked to end.
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    child.wait().unwrap();
    Some(rate)
}

/// What the log costs a request.
fn log() {
    let (loud, quiet) = (temporary_dir("loud"), temporary_dir("quiet"));
    let with = Server::start(&loud, &["--log-level", "INFO"]);
    let without = Server::start(&quiet, &["--log-level", "ERROR", "--log-file", ""]);
    let measure = |server: &Server| {
        let mut conn = Conn::open(server.address);
        rate(|| assert_eq!(conn.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").0, 200))
    };
    let mut ratios = Vec::new();
    let (mut on, mut off) = (0.0, 0.0);
    for _ in 0..3 {
        (on, off) = (measure(&with), measure(&without));
        ratios.push(on / off);
    }
    ratios.sort_by(f64::total_cmp);
    line(
        "requests with the log on",
        format!("{on:.0}/s"),
        format!("{off:.0}/s with it off"),
        "at least 0.8 of it",
        ratios[1] >= 0.8,
    );
    println!("    ratio {:.2}, median of 3", ratios[1]);
}

/// How often something can be done in a second.
fn rate(mut work: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < SPAN {
        work();
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

/// Reads one answer with a Content-Length; the status and the body.
fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> (u16, Vec<u8>) {
    let mut chunk = [0; 64 << 10];
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let length: usize =
                head.split("content-length: ").nth(1).map_or(0, |l| l.split("\r\n").next().unwrap().parse().unwrap());
            while buffer.len() < end + 4 + length {
                let count = stream.read(&mut chunk).unwrap();
                buffer.extend_from_slice(&chunk[..count]);
            }
            let body = buffer[end + 4..end + 4 + length].to_vec();
            buffer.drain(..end + 4 + length);
            return (status, body);
        }
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "the connection was closed");
        buffer.extend_from_slice(&chunk[..count]);
    }
}

impl Conn {
    /// Sends a whole request and reads its answer.
    fn raw(&mut self, request: &[u8]) -> (u16, Vec<u8>) {
        self.stream.write_all(request).unwrap();
        read_answer(&mut self.stream, &mut self.buffer)
    }
}
