//! Thousands of connections that wait without a thread: their memory, the server's wake-ups at rest, and the time of a
//! change that concerns many.

use crate::fleet::{Conn, Fleet};
use crate::line;
use crate::server::{Server, Switches, post, temporary_dir};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections that wait.
const PARKED: usize = 12_000;
/// Nodes whose calls wait for a change.
const NODES: usize = 3_000;
/// Loopback addresses that the connections come from.
const ADDRESSES: usize = 100;
/// Clients that connect at once.
const CLIENTS: usize = 4;
/// Time at rest that is watched.
const REST: Duration = Duration::from_secs(20);

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// The address that a numbered client comes from.
pub fn source(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, (number % ADDRESSES) as u8 + 1)
}

fn connect(number: usize, address: SocketAddr, config: &Arc<ClientConfig>) -> Stream {
    let source = source(number);
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(source, 0)).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), socket)
}

/// Reads one answer; its status and body.
fn read(stream: &mut Stream) -> (u16, String) {
    let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "the connection was closed");
        all.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&all);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.split("Content-Length: ").nth(1).map_or(0, |l| l.split("\r\n").next().unwrap().parse().unwrap());
        if body.len() >= length {
            return (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_string());
        }
    }
}

fn ask(stream: &mut Stream, target: &str) {
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).unwrap();
}

fn put(session: &str, path: &str, body: &str) -> Vec<u8> {
    String::from_utf8(post(path, session, body)).unwrap().replacen("POST", "PUT", 1).into_bytes()
}

pub fn parked() {
    let dir = temporary_dir("parked");
    let args = ["--log-level", "WARNING", "--http-connections-max", "14000", "--http-idle-seconds", "3600"];
    let server = Server::start(&dir, &args);
    let mut fleet = Fleet::prepare(&server, NODES);
    fleet.join(&server, CLIENTS);
    // Ready for replicas.
    let beats = fleet.sign(1, 1);
    let mut conn = Conn::open(server.address);
    beats[0].iter().for_each(|beat| assert_eq!(conn.raw(beat).0, 200));
    drop(conn);
    let configs = fleet.tls(&dir);
    let address = server.address;
    let before = server.resident_mib();
    let part = PARKED.div_ceil(CLIENTS);
    let began = Instant::now();
    // Each connection is a node's, by its certificate; of each node one will wait for work, and the
    // others for a request.
    let mut all: Vec<Stream> = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let configs = &configs;
                scope.spawn(move || {
                    let numbers = (client * part)..PARKED.min((client + 1) * part);
                    let open = |number: usize| {
                        let mut stream = connect(number, address, &configs[number % NODES]);
                        ask(&mut stream, "/node/work");
                        let (status, body) = read(&mut stream);
                        assert_eq!(status, 200, "{body}");
                        stream
                    };
                    numbers.map(open).collect::<Vec<Stream>>()
                })
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    println!("    {PARKED} connections in {:.1} s", began.elapsed().as_secs_f64());
    // A change for all of them at once: the scheduler gives each a replica, in one transaction.
    let session = server.sign_in();
    let mut conn = Conn::open(server.address);
    let service = format!(r#"{{"id":"all","name":"all","spec":{{"scheduling":{{"desired_replicas":{NODES}}}}}}}"#);
    assert_eq!(conn.raw(&put(&session, "/cluster-settings/scheduler_mode", r#"{"value":"manual"}"#)).0, 200);
    assert_eq!(conn.raw(&post("/services", &session, &service)).0, 201);
    let mut waiting: Vec<&mut Stream> = all.iter_mut().take(NODES).collect();
    for stream in &mut waiting {
        ask(stream, "/node/work");
        let work: serde_json::Value = serde_json::from_str(&read(stream).1).unwrap();
        ask(stream, &format!("/node/work?after={}.{}&wait=60", work["epoch"], work["version"]));
    }
    while !server.metric("uptimemesh_waiting_nodes").is_some_and(|count| count == NODES as f64) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let began = Instant::now();
    let (first, last) = std::thread::scope(|scope| {
        let placed = scope.spawn(|| {
            assert_eq!(conn.raw(&post("/scheduler/reconcile/all", &session, "")).0, 200);
            began.elapsed().as_secs_f64()
        });
        let (first, last) = answered(waiting, began);
        println!("    placed {NODES} replicas in {:.0} ms", placed.join().unwrap() * 1e3);
        (first, last)
    });
    line(
        "a change for 3,000 waiting nodes",
        format!("{:.0} ms", (last - first) * 1e3),
        format!("first answer after {:.0} ms", first * 1e3),
        "(no goal)",
        true,
    );
    std::thread::sleep(Duration::from_secs(8));
    let kib = (server.resident_mib() - before) * 1024.0 / PARKED as f64;
    let switches = Switches::watch(server.pid(), REST);
    let threads = switches.len();
    let per_s = switches.iter().map(|thread| thread.voluntary).sum::<u64>() as f64 / REST.as_secs_f64();
    line(
        "memory of a parked TLS connection",
        format!("{kib:.1} KiB"),
        format!("{PARKED} of them"),
        "below 16 KiB",
        kib < 16.0,
    );
    line("wake-ups a second at rest", format!("{per_s:.1}"), format!("{threads} threads"), "at most 3", per_s <= 3.0);
    drop(all);
}

/// Reads the answers of all; when the first and the last came, in seconds.
fn answered(mut waiting: Vec<&mut Stream>, began: Instant) -> (f64, f64) {
    let part = waiting.len().div_ceil(2);
    let times: Vec<f64> = std::thread::scope(|scope| {
        let parts: Vec<_> = waiting
            .chunks_mut(part)
            .map(|part| {
                scope.spawn(move || {
                    let taken = |stream: &mut &mut Stream| {
                        assert_eq!(read(stream).0, 200);
                        began.elapsed().as_secs_f64()
                    };
                    part.iter_mut().map(taken).collect::<Vec<f64>>()
                })
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    (times.iter().copied().fold(f64::MAX, f64::min), times.iter().copied().fold(0.0, f64::max))
}
