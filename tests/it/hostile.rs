//! Clients that mean harm, against the real program: it answers normally while they are there or at once after them,
//! and nothing of them stays behind.

use crate::program::{Running, command};
use crate::support::{Client, Dir, Wire, believing, parse, raw, until};
use rustls::ClientConfig;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

/// Connections of a flood: two thousand, more than the server's default cap, where this process may open as many beside
/// what the other tests need.
fn flood_size() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|l| l.strip_prefix("Max open files")).unwrap();
    let descriptors: usize = line.split_whitespace().next().unwrap().parse().unwrap_or(usize::MAX);
    (descriptors / 8).min(2000)
}

struct Target {
    server: Running,
    client: Client,
    /// How the attack speaks TLS, where it does.
    tls: Option<Arc<ClientConfig>>,
    threads: usize,
    descriptors: usize,
    _dir: Dir,
}

impl Target {
    fn new(tls: bool, args: &[&str]) -> Target {
        let dir = Dir::new();
        let program = command(
            dir.path(),
            &[&["serve", "--server-host", "127.0.0.1", "--server-port", "0", "--log-file", ""], args].concat(),
        );
        Target::of(tls, program, dir)
    }

    fn of(tls: bool, program: Command, dir: Dir) -> Target {
        let server = Running::of(program, dir.path(), "serve");
        let client = server.client();
        assert_eq!(client.get("/health").status, 200);
        let tls = tls.then(|| believing(&dir.join("data/pki/cluster-ca.crt"), None));
        let mut target = Target { server, client, tls, threads: 0, descriptors: 0, _dir: dir };
        target.threads = target.count("task");
        target.descriptors = target.count("fd");
        target
    }

    fn address(&self) -> SocketAddr {
        self.client.address
    }

    fn count(&self, what: &str) -> usize {
        fs::read_dir(format!("/proc/{}/{what}", self.server.pid())).unwrap().count()
    }

    fn resident_mib(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
    }

    /// It answers as on the first day, and what the attack took is given back.
    fn is_well(&self) {
        until("it answers normally", || (self.try_health() == Some(200)).then_some(()));
        let admin = self.client.signed_in("admin", "uptime");
        assert_eq!(admin.get("/nodes").status, 200);
        until("threads and descriptors are given back", || {
            (self.count("task") <= self.threads + 4 && self.count("fd") <= self.descriptors + 8).then_some(())
        });
        assert!(self.resident_mib() < 200, "{} MiB at the most", self.resident_mib());
        assert!(!self.server.logged().contains("panicked"), "{}", self.server.logged());
    }

    /// The status of `/health`; `None` when there was no answer.
    fn try_health(&self) -> Option<u16> {
        let mut stream = self.try_connect()?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        (!answer.is_empty()).then(|| parse(&answer).status)
    }

    fn try_connect(&self) -> Option<Wire> {
        Wire::connect(self.address(), self.tls.as_ref()).ok()
    }

    fn connect(&self) -> Wire {
        self.try_connect().unwrap()
    }

    /// Sends bytes and reads to the end of the connection.
    fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // The server may answer and close before everything is sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// So many connections at once, each with these bytes; as far as the server lets them. One that says nothing has at
    /// least shaken hands.
    fn flood(&self, count: usize, bytes: &[u8]) -> Vec<Wire> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            if let Some(mut stream) = self.try_connect() {
                // It may be closed at once, which is the server's right.
                let _ = stream.write_all(bytes);
                if let (Wire::Tls(stream), true) = (&mut stream, bytes.is_empty()) {
                    let _ = stream.conn.complete_io(&mut stream.sock);
                }
                all.push(stream);
            }
        }
        all
    }
}

/// Each of these attacks, over plain HTTP and over TLS.
macro_rules! over_both {
    ($($attack:ident),* $(,)?) => {
        mod plain {
            $(#[test]
            fn $attack() {
                super::$attack(false);
            })*
        }
        mod tls {
            $(#[test]
            fn $attack() {
                super::$attack(true);
            })*
        }
    };
}

over_both!(
    running_out_of_descriptors_is_survived,
    two_thousand_idle_connections_do_not_keep_others_out,
    two_thousand_dripping_connections_end_at_their_deadline,
    endless_heads_are_cut_off,
    nothing_can_be_smuggled_behind_a_refused_request,
    pipelined_requests_are_answered_in_order,
    garbage_is_refused_or_dropped,
    half_sent_bodies_do_not_keep_others_out,
    a_reader_that_never_reads_holds_up_nobody,
);

/// The statuses of all answers in these bytes.
fn statuses(answers: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answers);
    text.match_indices("HTTP/1.1 ")
        .map(|(at, head)| text[at + head.len()..].get(..3).and_then(|s| s.parse().ok()).unwrap_or(0))
        .collect()
}

fn running_out_of_descriptors_is_survived(tls: bool) {
    let dir = Dir::new();
    let inner = command(dir.path(), &["serve", "--server-host", "127.0.0.1", "--server-port", "0", "--log-file", ""]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 60; exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(dir.path());
    let target = Target::of(tls, limited, dir);
    // Half heads, so that no connection is idle and may be evicted: accepting fails for want of descriptors.
    let flood = target.flood(200, b"GET / HTTP/1.1\r\n");
    until("accepting fails", || target.server.logged().contains("http.accept").then_some(()));
    drop(flood);
    target.is_well();
}

fn two_thousand_idle_connections_do_not_keep_others_out(tls: bool) {
    let target = Target::new(tls, &["--http-connections-per-address-max", "4000"]);
    let flood = target.flood(flood_size(), b"");
    until("the longest parked makes room", || (target.try_health() == Some(200)).then_some(()));
    drop(flood);
    target.is_well();
    // One address alone gets no further than its own cap.
    let target = Target::new(tls, &[]);
    let flood = target.flood(flood_size(), b"");
    until("the rest is closed", || (target.count("fd") <= target.descriptors + 70).then_some(()));
    until("even this address is answered", || (target.try_health() == Some(200)).then_some(()));
    drop(flood);
    target.is_well();
}

fn two_thousand_dripping_connections_end_at_their_deadline(tls: bool) {
    let target = Target::new(tls, &["--http-connections-per-address-max", "4000"]);
    let flood = target.flood(flood_size(), b"GET /health HTTP/1.1\r\nHost: x\r\nX-Drip: ");
    let mut dripping = flood;
    until("all are cut off, however they drip", || {
        dripping.retain_mut(|stream| stream.write_all(b"a").is_ok());
        dripping.is_empty().then_some(())
    });
    target.is_well();
}

fn endless_heads_are_cut_off(tls: bool) {
    let target = Target::new(tls, &[]);
    for endless in [&b"a"[..], b"X-Header: value\r\n", b"\r\n", b"GET "] {
        let mut stream = target.connect();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Begin: ");
        let mut sent = 0;
        // The kernel alone takes some ten megabytes on a busy machine, before the server has closed.
        while sent < 32 << 20 && stream.write_all(&endless.repeat(1000)).is_ok() {
            sent += endless.len() * 1000;
        }
        assert!(sent < 32 << 20, "{endless:?} is read without end");
    }
    let head = [b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ".as_slice(), &b"a".repeat(17 << 10), b"\r\n\r\n"].concat();
    assert_eq!(statuses(&target.raw(&head)), [431]);
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(100));
    assert_eq!(statuses(&target.raw(many.as_bytes())), [431]);
    target.is_well();
}

/// What two servers could read in two ways, and what is plainly wrong: one refusal, and nothing that follows is
/// answered.
fn nothing_can_be_smuggled_behind_a_refused_request(tls: bool) {
    let target = Target::new(tls, &[]);
    let post = |rest: &str| format!("POST /auth/token HTTP/1.1\r\nHost: x\r\n{rest}");
    for (request, status) in [
        (post("Content-Length: 100000000000\r\n\r\n"), 413),
        (post("Content-Length: 99999999999999999999\r\n\r\n"), 413),
        (post("Content-Length: -1\r\n\r\n"), 400),
        (post("Content-Length: +5\r\n\r\nhello"), 400),
        (post("Content-Length: 5 5\r\n\r\nhello"), 400),
        (post("Content-Length: 0x5\r\n\r\nhello"), 400),
        (post("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), 400),
        (post("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), 400),
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        (post("Transfer-Encoding: identity\r\n\r\n"), 501),
        (post("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501),
        (post("Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\n\r\nfffffff\r\n"), 413),
        (post("Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"), 400),
        (post("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 400),
        (post("X: a\r\n Content-Length: 5\r\n\r\nhello"), 400),
        (post("X: a\0b\r\n\r\n"), 400),
        (post("X: a\rb\r\n\r\n"), 400),
        (post("Host: y\r\n\r\n"), 400),
        (post("Expect: nonsense\r\n\r\n"), 417),
        ("GET /health HTTP/1.1\r\n\r\n".into(), 400),
        ("GET /health HTTP/1.1\nHost: x\n\n".into(), 400),
        ("GET http://a@elsewhere/health HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("GET /he\talth HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("GET /health HTTP/2.0\r\nHost: x\r\n\r\n".into(), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        ("GET /health\r\n\r\n".into(), 400),
    ] {
        let smuggled = format!("{request}GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = target.raw(smuggled.as_bytes());
        assert_eq!(statuses(&answer), [status], "{request:?}: {}", String::from_utf8_lossy(&answer));
        let answer = parse(&answer);
        assert!(!answer.detail().is_empty() && answer.header("X-Request-ID").is_some(), "{request:?}");
        assert_eq!(answer.header("Connection"), Some("close"), "{request:?}");
    }
    target.is_well();
}

fn pipelined_requests_are_answered_in_order(tls: bool) {
    let target = Target::new(tls, &[]);
    let requests: String =
        (0..100).map(|i| format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Request-ID: id-{i}\r\n\r\n")).collect();
    let answers =
        target.raw(format!("{requests}GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
    assert_eq!(statuses(&answers), [200; 101]);
    let text = String::from_utf8(answers).unwrap();
    let ids: Vec<&str> = text.split("X-Request-ID: ").skip(1).map(|rest| rest.split("\r\n").next().unwrap()).collect();
    assert!((0..100).all(|i| ids[i] == format!("id-{i}")), "{ids:?}");
    target.is_well();
}

fn garbage_is_refused_or_dropped(tls: bool) {
    let target = Target::new(tls, &["--http-connections-per-address-max", "1000"]);
    // A fixed seed, so that a failure can be repeated.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as u8
    };
    for round in 0..2000 {
        let mut bytes: Vec<u8> = (0..byte()).map(|_| byte()).collect();
        if round % 2 == 0 {
            bytes = [b"POST /nodes HTTP/1.1\r\nHost: x\r\n".as_slice(), &bytes, b"\r\n\r\n"].concat();
        }
        let mut stream = target.connect();
        let _ = stream.write_all(&bytes);
        stream.end();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(
            statuses(&answer).iter().all(|s| (400..500).contains(s) || *s == 501 || *s == 505),
            "{bytes:?}: {:?}",
            statuses(&answer)
        );
    }
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 500]].concat();
    assert!(statuses(&raw(target.address(), &hello)).iter().all(|s| [400, 408, 505].contains(s)));
    target.is_well();
}

fn half_sent_bodies_do_not_keep_others_out(tls: bool) {
    let target = Target::new(tls, &["--http-connections-per-address-max", "1000"]);
    let flood =
        target.flood(300, b"POST /auth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"username\":");
    for _ in 0..10 {
        assert_eq!(target.try_health(), Some(200));
    }
    drop(flood);
    target.is_well();
}

fn a_reader_that_never_reads_holds_up_nobody(tls: bool) {
    let target = Target::new(tls, &["--http-connections-per-address-max", "1000"]);
    let admin = target.client.signed_in("admin", "uptime");
    for i in 0..10 {
        let node =
            serde_json::json!({"id": format!("n{i}"), "name": format!("n{i}"), "status": {"blob": "x".repeat(60_000)}});
        assert_eq!(admin.post("/nodes", &node).status, 201);
    }
    let request =
        format!("GET /nodes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", admin.token.as_ref().unwrap());
    let unread = target.flood(50, request.as_bytes());
    for _ in 0..10 {
        assert_eq!(target.try_health(), Some(200));
    }
    assert_eq!(admin.post("/nodes/n1/cordon", &serde_json::json!({})).status, 200);
    drop(unread);
    target.is_well();
}

#[test]
fn head_expect_and_the_headers_of_every_answer() {
    let target = Target::new(false, &[]);
    let head = target.client.send("HEAD", "/version", &[], b"");
    let get = target.client.get("/version");
    assert_eq!((head.status, head.body.len(), head.header("Content-Length")), (200, 0, get.header("Content-Length")));
    let mut stream = target.connect();
    stream
        .write_all(
            b"POST /auth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\nExpect: \
            100-continue\r\n\r\n",
        )
        .unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(parse(&rest).status, 422);
    for path in ["/health", "/nodes", "/ui", "/auth/login", "/static/style.css"] {
        let answer = target.client.get(path);
        for (name, part) in [
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "same-origin"),
            ("Content-Security-Policy", "default-src 'none'"),
        ] {
            assert!(answer.header(name).is_some_and(|v| v.contains(part)), "{path} {name}");
        }
    }
    let own = "!".repeat(128);
    assert_eq!(
        target.client.send("GET", "/health", &[("X-Request-ID", &own)], b"").header("X-Request-ID"),
        Some(own.as_str())
    );
    for bad in ["!".repeat(129), "a b".into(), "\u{e9}".into()] {
        let answer = target.client.send("GET", "/health", &[("X-Request-ID", &bad)], b"");
        assert_eq!((answer.status, answer.header("X-Request-ID").unwrap().len()), (200, 36), "{bad}");
    }
    target.is_well();
}

#[test]
fn a_stop_lets_what_is_being_asked_be_answered() {
    let mut target = Target::new(false, &[]);
    let mut idle = target.connect();
    let mut active = target.connect();
    active
        .write_all(b"POST /auth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 39\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    let mut interim = [0; 25];
    active.read_exact(&mut interim).unwrap();
    assert!(Command::new("kill").arg(target.server.pid().to_string()).status().unwrap().success());
    let mut end = Vec::new();
    idle.read_to_end(&mut end).unwrap();
    assert!(end.is_empty(), "an idle connection is closed");
    active.write_all(br#"{"username":"admin","password":"wrong"}"#).unwrap();
    let mut answer = Vec::new();
    active.read_to_end(&mut answer).unwrap();
    assert_eq!(parse(&answer).status, 401);
    assert_eq!(target.server.exit_status(), 0);
    until("the port is free", || std::net::TcpListener::bind(target.address()).ok());
}
