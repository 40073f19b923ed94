//! What TLS costs: new connections, kept ones, heartbeats, memory.

use crate::fleet::{Conn, Fleet};
use crate::server::{self, Server, temporary_dir};
use crate::{SPAN, line, rate};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Idle connections whose memory is measured.
const IDLE: usize = 500;
/// Nodes whose heartbeats are sent.
const NODES: usize = 200;
/// Heartbeats signed beforehand for each node.
const ROUNDS: usize = 60;

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A client that believes the cluster's authority.
fn client(dir: &Path, resumes: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let pem = fs::read(dir.join("data/pki/cluster-ca.crt")).unwrap();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

fn plainly(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Stream {
    let socket = plainly(address);
    let name = ServerName::try_from("127.0.0.1").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), socket)
}

/// Sends a request and reads its answer; the status.
fn ask(stream: &mut (impl Read + Write), request: &[u8]) -> u16 {
    stream.write_all(request).unwrap();
    let (mut buffer, mut chunk) = (Vec::new(), [0; 16 << 10]);
    loop {
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "the connection was closed");
        buffer.extend_from_slice(&chunk[..count]);
        let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let length: usize =
            head.split("content-length: ").nth(1).map_or(0, |l| l.split("\r\n").next().unwrap().parse().unwrap());
        if buffer.len() >= end + 4 + length {
            return head.split(' ').nth(1).unwrap().parse().unwrap();
        }
    }
}

pub fn tls() {
    let dir = temporary_dir("tls");
    let server = Server::start(&dir, &[]);
    let (full, resuming) = (client(&dir, false), client(&dir, true));

    let cpu = |work: &mut dyn FnMut() -> f64| {
        let before = server.cpu_seconds();
        let began = Instant::now();
        let rate = work();
        (rate, (server.cpu_seconds() - before) / (rate * began.elapsed().as_secs_f64()) * 1e6)
    };
    let (plain, plain_us) = cpu(&mut || rate(|| assert_eq!(ask(&mut plainly(server.address), HEALTH), 200)));
    let (first, first_us) = cpu(&mut || rate(|| assert_eq!(ask(&mut connect(server.address, &full), HEALTH), 200)));
    let (again, again_us) = cpu(&mut || rate(|| assert_eq!(ask(&mut connect(server.address, &resuming), HEALTH), 200)));
    let reference = format!("{plain:.0}/s plain");
    line(
        "new TLS connections, each one request",
        format!("{first:.0}/s"),
        reference.clone(),
        "at least 0.05 of it",
        first / plain >= 0.05,
    );
    line("the same, resumed", format!("{again:.0}/s"), reference, "at least 0.05 of it", again / plain >= 0.05);
    println!(
        "    ratios {:.2} and {:.2}, one client; server CPU a connection: {plain_us:.0} us plain, {first_us:.0} us \
            full, {again_us:.0} us resumed",
        first / plain,
        again / plain
    );

    let mut kept = plainly(server.address);
    let plain = rate(|| assert_eq!(ask(&mut kept, HEALTH), 200));
    let mut kept = connect(server.address, &full);
    let secure = rate(|| assert_eq!(ask(&mut kept, HEALTH), 200));
    line(
        "requests over a kept TLS connection",
        format!("{secure:.0}/s"),
        format!("{plain:.0}/s plain"),
        "at least 0.6 of it",
        secure / plain >= 0.6,
    );
    println!("    ratio {:.2}", secure / plain);

    let mut fleet = Fleet::prepare(&server, NODES);
    fleet.join(&server, 1);
    let batches = fleet.sign(ROUNDS, 1);
    let (over_plain, over_tls) = batches[0].split_at(batches[0].len() / 2);
    let mut conn = Conn::open(server.address);
    let sent = |work: &mut dyn FnMut(&[u8]) -> u16, batch: &[Vec<u8>]| {
        let began = Instant::now();
        let count = batch.iter().take_while(|request| work(request) == 200 && began.elapsed() < SPAN).count();
        count as f64 / began.elapsed().as_secs_f64()
    };
    let plain = sent(&mut |request| conn.raw(request).0, over_plain);
    let secure = sent(&mut |request| ask(&mut kept, request), over_tls);
    line(
        "heartbeats over a kept TLS connection",
        format!("{secure:.0}/s"),
        format!("{plain:.0}/s plain"),
        "at least 0.7 of it",
        secure / plain >= 0.7,
    );
    println!("    ratio {:.2}; the signature of the heartbeat costs more than the record around it", secure / plain);
    drop((conn, kept));

    let before = server.resident_mib();
    let idle: Vec<Stream> = (0..IDLE)
        .map(|_| {
            let mut stream = connect(server.address, &full);
            assert_eq!(ask(&mut stream, HEALTH), 200);
            stream
        })
        .collect();
    // What is parked has given its thread and its buffer back.
    std::thread::sleep(server::PARKED_AFTER);
    let kib = (server.resident_mib() - before) * 1024.0 / idle.len() as f64;
    line(
        "memory of an idle TLS connection",
        format!("{kib:.1} KiB"),
        format!("{IDLE} of them"),
        "below 32 KiB",
        kib < 32.0,
    );
}
