//! Crowds that prove nothing, ask for much or read nothing, against the real program: nodes and people are answered all
//! the while.

use crate::node::Node;
use crate::program::Running;
use crate::support::{Client, Dir, PATIENCE, until};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde_json::json;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Addresses that a crowd comes from.
const ADDRESSES: usize = 100;
/// Places of the server in the small test; it has its own default in the full one.
const PLACES: &str = "200";
/// Within this everybody else is answered, where the machine does nothing else.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Connections of the crowd: a few hundred, or what `UPTIMEMESH_TEST_HOSTILE_CONNECTIONS` says.
fn crowd_size() -> Option<usize> {
    std::env::var("UPTIMEMESH_TEST_HOSTILE_CONNECTIONS").ok().map(|count| count.parse().unwrap())
}

/// A connection that comes from this address.
fn connect_from(source: Ipv4Addr, target: SocketAddr) -> io::Result<TcpStream> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(source, 0))?;
    rustix::net::connect(&socket, &target)?;
    Ok(TcpStream::from(socket))
}

/// What the connections of a crowd do: nothing, half a hello, half a head, half a body, or ask and read nothing.
fn starts() -> [Vec<u8>; 5] {
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 100]].concat();
    let body = b"POST /auth/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16000\r\n\r\n{\"username\":".to_vec();
    let unread = b"GET /static/style.css HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    [Vec::new(), hello, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: ".to_vec(), body, unread]
}

/// Holds so many connections open, and opens again what the server closed, until it is told to stop.
fn crowd(target: SocketAddr, count: usize, first: usize, pause: Duration, stop: &AtomicBool, opened: &AtomicUsize) {
    let starts = starts();
    let mut held: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
    while !stop.load(Ordering::Relaxed) {
        for (i, place) in held.iter_mut().enumerate() {
            let is_open = place.as_mut().is_some_and(|stream| {
                matches!(stream.peek(&mut [0]), Ok(1..))
                    || stream.peek(&mut [0]).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
            });
            if is_open {
                continue;
            }
            let number = first + i;
            let source = Ipv4Addr::new(127, 0, 1, (number % ADDRESSES) as u8 + 1);
            if let Ok(mut stream) = connect_from(source, target) {
                stream.set_nonblocking(true).unwrap();
                // It may be cut off at once, which is the server's right.
                let _ = stream.write(&starts[number / ADDRESSES % starts.len()]);
                opened.fetch_add(1, Ordering::Relaxed);
                *place = Some(stream);
            }
        }
        std::thread::sleep(pause);
    }
}

#[test]
fn nodes_and_people_are_answered_while_a_crowd_holds_connections() {
    let dir = Dir::new();
    let size = crowd_size();
    let places: &[&str] = if size.is_none() { &["--http-connections-max", PLACES] } else { &[] };
    let (_server, client) =
        Running::serve(dir.path(), &[&["serve", "--server-port", "0", "--log-file", ""], places].concat());
    let admin = client.signed_in("admin", "uptime");
    assert_eq!(admin.post("/cluster/bootstrap", &json!({})).status / 100, 2);
    let mut node = Node::joined(&admin, "node-a");
    let count = size.unwrap_or(500);
    // A busy machine takes its time to read what somebody says who has just come.
    let pause = Duration::from_millis(if size.is_none() { 500 } else { 20 });
    let (stop, opened, threads) = (AtomicBool::new(false), AtomicUsize::new(0), 4);
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        for i in 0..threads {
            let (stop, opened) = (&stop, &opened);
            scope.spawn(move || crowd(client.address, count / threads, i * count / threads, pause, stop, opened));
        }
        let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("the crowd is there", || (opened.load(Ordering::Relaxed) >= count / threads * threads).then_some(()));
            for i in 0..10 {
                let began = Instant::now();
                assert_eq!(node.heartbeat(&admin, 60, &json!({"round": i})).status, 200);
                slowest = slowest.max(began.elapsed());
                let began = Instant::now();
                assert_eq!(admin.get("/nodes").status, 200);
                slowest = slowest.max(began.elapsed());
            }
        }));
        stop.store(true, Ordering::Relaxed);
        answered.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    eprintln!("{count} connections, {} opened in all, slowest answer {slowest:?}", opened.load(Ordering::Relaxed));
    assert!(slowest < if size.is_some() { AT_ONCE } else { PATIENCE }, "{slowest:?}");
}

fn resident_kib(pid: u32, line: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with(line)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn ask(client: &Client, path: &str) -> TcpStream {
    let token = client.token.as_ref().unwrap();
    let mut stream = TcpStream::connect(client.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n").as_bytes(),
        )
        .unwrap();
    stream
}

#[test]
fn answers_that_nobody_reads_cost_little_and_others_get_theirs() {
    const MOST_KIB: usize = 64 << 10;
    let dir = Dir::new();
    let (server, client) = Running::serve(
        dir.path(),
        &[
            "serve",
            "--server-port",
            "0",
            "--log-file",
            "",
            "--http-connections-per-address-max",
            "1000",
            "--http-connections-max",
            "1000",
        ],
    );
    let admin = client.signed_in("admin", "uptime");
    let fields = json!({"text": "x".repeat(16_000)});
    for _ in 0..150 {
        let event = json!({"category": "tests", "name": "large", "level": "info", "fields": fields});
        assert_eq!(admin.post("/events", &event).status, 201);
    }
    let viewer =
        json!({"name": "viewer", "role": "viewer", "password": "a password of a user", "must_change_password": false});
    assert_eq!(admin.post("/users", &viewer).status, 201);
    let viewer = client.signed_in("viewer", "a password of a user");
    let before = resident_kib(server.pid(), "VmRSS");
    let mut unread: Vec<TcpStream> = (0..200).map(|_| ask(&viewer, "/events?limit=1000")).collect();
    // Every one of them is answered, the last too; of their answers nobody takes more than the first byte.
    for stream in &mut unread {
        stream.read_exact(&mut [0]).unwrap();
        assert_eq!(admin.get("/events?limit=2").status, 200);
    }
    let most = resident_kib(server.pid(), "VmHWM").saturating_sub(before);
    assert!(most <= MOST_KIB, "{most} KiB");
    assert_eq!(admin.get("/events?limit=1000").status, 200, "others have a share of their own");
    drop(unread);
    until("the viewer is answered again", || (viewer.get("/events?limit=1000").status == 200).then_some(()));
}

#[test]
fn five_hundred_readers_of_events_hold_no_threads_and_leave_nothing_behind() {
    const READERS: usize = 500;
    let dir = Dir::new();
    let more = ["--http-connections-per-address-max", "1000"];
    let (server, client) =
        Running::serve(dir.path(), &[&["serve", "--server-port", "0", "--log-file", ""], &more[..]].concat());
    let admin = client.signed_in("admin", "uptime");
    let threads = || fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().count();
    let readers = || {
        let text = admin.get("/metrics").text();
        text.lines().find_map(|line| line.strip_prefix("uptimemesh_stream_readers ")?.parse::<usize>().ok()).unwrap()
    };
    let before = threads();
    let mut streams: Vec<TcpStream> = (0..READERS).map(|_| ask(&admin, "/events/stream?category=tests")).collect();
    until("all are there", || (readers() == READERS).then_some(()));
    until("their threads have ended", || (threads() <= before + 4).then_some(()));
    let event = json!({"category": "tests", "name": "for-all", "level": "info"});
    assert_eq!(admin.post("/events", &event).status, 201);
    for stream in &mut streams {
        let mut text = String::new();
        while !text.contains("for-all") {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).unwrap();
            assert!(count > 0, "the stream ended: {text}");
            text.push_str(&String::from_utf8_lossy(&part[..count]));
        }
    }
    drop(streams);
    until("the server has noticed", || (readers() == 0).then_some(()));
}
