//! Who may connect and which thread serves them: accepting, caps, a pool of workers, parked connections, stopping.
//!
//! A connection has a thread only while something happens on it. After a short silence it is parked: one thread looks
//! at all parked sockets a few times a second, wakes those that have bytes and closes those that are over their time.
//! What is said on a connection is left to `exchange`.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock;
use crate::error::{Doing, Result};
use crate::http::exchange::{After, Conn, Service};
use crate::http::transport::Transport;
use crate::http::{Request, Response};
use crate::model::address;
use crate::thread::{Stop, lock, spawn};

/// Turns a request into its answer. It may panic: that is a 500.
pub type Handler = Arc<dyn Fn(Request) -> Response + Send + Sync>;

/// How long a worker without work waits for another connection before it ends.
const WORKER_WAIT: Duration = Duration::from_secs(5);

/// Pause between two looks at the parked connections, and what each of them adds: at most 40,000 looks a second.
const LOOK_PAUSE: Duration = Duration::from_millis(25);
const LOOK_PAUSE_EACH: Duration = Duration::from_micros(25);

/// Pause after an error in accepting. Most of them say that something has run out, and it will not be back at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Errors in accepting are logged at most this often.
const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Time for one attempt at waking a thread that waits in `accept`.
const WAKE_TIME: Duration = Duration::from_millis(100);

/// `EMFILE` and `ENFILE`: no file descriptor is left in this process, or on this machine.
const OUT_OF_DESCRIPTORS: [i32; 2] = [24, 23];

/// Descriptors left to everything that is no client: the database, logs, programs that are run.
const DESCRIPTORS_RESERVED: usize = 256;

/// Stack of the threads that only accept and look.
const SMALL_STACK_BYTES: usize = 128 << 10;

/// What clients may use up.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in all.
    pub connections_max: usize,
    /// Connections of one address; of one /64 network with IPv6, where a client has that many addresses.
    pub connections_per_address_max: usize,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// Headers of a request.
    pub headers_max: usize,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// Bytes of all bodies in memory at once.
    pub bodies_in_flight_bytes_max: usize,
    /// From a head's first byte to its last.
    pub head_time: Duration,
    /// From the end of a head to the end of its body.
    pub body_time: Duration,
    /// For an answer to be taken.
    pub write_time: Duration,
    /// A silent connection keeps its thread so long.
    pub hold_time: Duration,
    /// A parked connection stays open so long.
    pub idle_time: Duration,
    /// Stack of a worker. It is address space, not memory, until it is used.
    pub stack_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: descriptors_max().saturating_sub(DESCRIPTORS_RESERVED).clamp(64, 1024),
            connections_per_address_max: 64,
            head_bytes_max: 16 << 10,
            headers_max: 64,
            body_bytes_max: 1 << 20,
            bodies_in_flight_bytes_max: 64 << 20,
            head_time: Duration::from_secs(5),
            body_time: Duration::from_secs(30),
            write_time: Duration::from_secs(30),
            hold_time: Duration::from_millis(250),
            idle_time: Duration::from_secs(75),
            // A stack that overflows ends the program, and unoptimised code needs several times as much.
            stack_bytes: if cfg!(debug_assertions) { 2 << 20 } else { 512 << 10 },
        }
    }
}

/// How many descriptors this process may open, as the kernel tells; its usual default if it does not.
fn descriptors_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(1024)
}

/// A running HTTP front. Dropping it stops it at once.
pub struct Front {
    shared: Arc<Shared>,
    acceptors: Mutex<Vec<Acceptor>>,
}

/// A thread that accepts, and the address at which it can be woken.
struct Acceptor {
    address: SocketAddr,
    thread: JoinHandle<()>,
}

impl Front {
    /// Serves all these listeners until [`Front::stop`].
    pub fn start(listeners: Vec<TcpListener>, limits: Limits, handler: Handler) -> Result<Front> {
        let service = Service { limits, handler, stop: Stop::default(), bodies_bytes: AtomicUsize::new(0) };
        let shared = Arc::new(Shared {
            service,
            slots: Mutex::default(),
            emptied: Condvar::new(),
            pool: Mutex::default(),
            work: Condvar::new(),
            parked: Mutex::default(),
            parked_any: Condvar::new(),
            complained: Mutex::new(None),
        });
        // Made first: should one thread below not start, dropping this ends the others.
        let front = Front { shared: shared.clone(), acceptors: Mutex::default() };
        let looker = shared.clone();
        spawn("http-parked", Some(SMALL_STACK_BYTES), move || looker.look_after_parked())
            .doing("start the thread of parked connections")?;
        for listener in listeners {
            let address = listener.local_addr().doing("ask for the address of a listener")?;
            let shared = shared.clone();
            let thread =
                spawn("http-accept", Some(SMALL_STACK_BYTES), move || shared.accept(&listener)).doing("start an accepting thread")?;
            lock(&front.acceptors).push(Acceptor { address, thread });
        }
        Ok(front)
    }

    /// Connections that are open now, parked ones too.
    #[cfg(test)]
    pub fn connections(&self) -> usize {
        lock(&self.shared.slots).total
    }

    /// Stops accepting, closes what is parked and waits so long for requests in progress to be answered. Tells
    /// whether all were.
    pub fn stop(&self, grace: Duration) -> bool {
        let end = clock::tick() + grace;
        let shared = &self.shared;
        shared.service.stop.raise();
        for acceptor in lock(&self.acceptors).drain(..) {
            // The thread waits in accept(), which nothing ends but a connection. If none can be made because
            // descriptors ran out, accepting fails too and the thread sees the flag by itself.
            while !acceptor.thread.is_finished() {
                let _ = TcpStream::connect_timeout(&reachable(acceptor.address), WAKE_TIME);
                if clock::tick() > end + WAKE_TIME {
                    break;
                }
                std::thread::yield_now();
            }
        }
        let parked = {
            let mut parked = lock(&shared.parked);
            parked.closed = true;
            std::mem::take(&mut parked.waiting)
        };
        drop(parked);
        shared.parked_any.notify_all();
        lock(&shared.pool).closed = true;
        shared.work.notify_all();

        let mut slots = lock(&shared.slots);
        while slots.total > 0 {
            let left = end.saturating_duration_since(clock::tick());
            if left.is_zero() {
                return false;
            }
            slots = shared.emptied.wait_timeout(slots, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// An address to connect to for a listener that listens at all of them.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}

/// What the threads of a front share. No two of its locks are held at once, but `parked` before `slots`.
struct Shared {
    service: Service,
    slots: Mutex<Slots>,
    /// Signalled when the last connection ends.
    emptied: Condvar,
    pool: Mutex<Pool>,
    /// Signalled when a connection is in the pool's queue.
    work: Condvar,
    parked: Mutex<Parked>,
    /// Signalled when there is a parked connection to look at.
    parked_any: Condvar,
    /// When accepting last complained in the log.
    complained: Mutex<Option<Instant>>,
}

/// How many connections there are. The address table holds open connections only, so it is bounded by their cap.
#[derive(Default)]
struct Slots {
    total: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// The right to one connection; given back when dropped.
struct Slot {
    shared: Arc<Shared>,
    client: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut slots = lock(&self.shared.slots);
        slots.total -= 1;
        if let Some(count) = slots.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                slots.by_client.remove(&self.client);
            }
        }
        if slots.total == 0 {
            self.shared.emptied.notify_all();
        }
    }
}

/// Which cap is reached.
enum Full {
    InAll,
    ForClient,
}

/// A connection with the right to be.
struct Live {
    conn: Conn,
    slot: Slot,
}

/// Workers, and connections that have been given to one that waits. The queue is never longer than there are waiting
/// workers, and there are never more workers than connections.
#[derive(Default)]
struct Pool {
    queue: VecDeque<Live>,
    waiting: usize,
    closed: bool,
}

/// Connections without a thread, the longest parked first.
#[derive(Default)]
struct Parked {
    waiting: VecDeque<(Live, Instant)>,
    closed: bool,
}

/// What a look at a parked connection finds.
enum Look {
    Silent,
    Speaks,
    Over,
}

impl Shared {
    /// Accepts until the front stops; no error ends it.
    fn accept(self: Arc<Shared>, listener: &TcpListener) {
        loop {
            let accepted = listener.accept();
            if self.service.stop.raised() {
                return;
            }
            let outcome = accepted.and_then(|(socket, peer)| self.welcome(socket, peer));
            if let Err(error) = outcome {
                self.complain(&error);
                if error.raw_os_error().is_some_and(|code| OUT_OF_DESCRIPTORS.contains(&code)) {
                    self.evict(None);
                }
                self.service.stop.wait(ACCEPT_PAUSE);
            }
        }
    }

    /// Gives a new connection its slot and its thread. Over a cap it is closed at once, which is no error.
    fn welcome(self: &Arc<Shared>, socket: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        match self.admit(address::client(peer.ip())) {
            Some(slot) => self.give(Live { conn: Conn::new(Transport::plain(socket)?, peer), slot }),
            None => Ok(()),
        }
    }

    /// A slot for this client, if need be that of a parked connection.
    fn admit(self: &Arc<Shared>, client: IpAddr) -> Option<Slot> {
        let evicted = match self.take_slot(client) {
            Ok(slot) => return Some(slot),
            Err(Full::InAll) => self.evict(None),
            Err(Full::ForClient) => self.evict(Some(client)),
        };
        if evicted { self.take_slot(client).ok() } else { None }
    }

    fn take_slot(self: &Arc<Shared>, client: IpAddr) -> std::result::Result<Slot, Full> {
        let limits = &self.service.limits;
        let mut slots = lock(&self.slots);
        if slots.by_client.get(&client).is_some_and(|&count| count >= limits.connections_per_address_max) {
            return Err(Full::ForClient);
        }
        if slots.total >= limits.connections_max {
            return Err(Full::InAll);
        }
        slots.total += 1;
        *slots.by_client.entry(client).or_default() += 1;
        drop(slots);
        Ok(Slot { shared: self.clone(), client })
    }

    /// Closes the longest parked connection, of this client or of anyone; tells whether there was one.
    fn evict(&self, client: Option<IpAddr>) -> bool {
        let mut parked = lock(&self.parked);
        let index = parked.waiting.iter().position(|(live, _)| client.is_none_or(|c| live.slot.client == c));
        let evicted = index.and_then(|index| parked.waiting.remove(index));
        drop(parked);
        evicted.is_some()
    }

    /// Hands a connection to a waiting worker, or to a new one.
    fn give(self: &Arc<Shared>, live: Live) -> io::Result<()> {
        let mut pool = lock(&self.pool);
        if pool.queue.len() < pool.waiting {
            pool.queue.push_back(live);
            drop(pool);
            self.work.notify_one();
            return Ok(());
        }
        drop(pool);
        let shared = self.clone();
        let stack_bytes = self.service.limits.stack_bytes;
        spawn("http-worker", Some(stack_bytes), move || shared.work(live)).map(drop)
    }

    /// A worker's life: one connection after another.
    fn work(self: Arc<Shared>, first: Live) {
        let mut next = Some(first);
        while let Some(live) = next {
            // Handlers have a net of their own. This one is for faults of the front: they cost one connection.
            if catch_unwind(AssertUnwindSafe(|| self.serve(live))).is_err() {
                log::error!(target: "api", event = "connection.panicked"; "Serving a connection panicked");
            }
            next = self.next();
        }
    }

    /// Serves a connection until it ends or is parked.
    fn serve(&self, mut live: Live) {
        if live.conn.converse(&self.service) == After::Park && live.conn.transport.socket().set_nonblocking(true).is_ok() {
            let until = clock::tick() + self.service.limits.idle_time;
            let mut parked = lock(&self.parked);
            if !parked.closed {
                parked.waiting.push_back((live, until));
                drop(parked);
                self.parked_any.notify_one();
            }
        }
    }

    /// Another connection for this worker; `None` if there is none for a while, or ever.
    fn next(&self) -> Option<Live> {
        let end = clock::tick() + WORKER_WAIT;
        let mut pool = lock(&self.pool);
        pool.waiting += 1;
        loop {
            let next = pool.queue.pop_front();
            let left = end.saturating_duration_since(clock::tick());
            if next.is_some() || pool.closed || left.is_zero() {
                pool.waiting -= 1;
                return next;
            }
            pool = self.work.wait_timeout(pool, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Wakes parked connections that have bytes and closes those that are gone or over their time.
    fn look_after_parked(self: Arc<Shared>) {
        loop {
            let count = {
                let mut parked = lock(&self.parked);
                while parked.waiting.is_empty() && !parked.closed {
                    parked = self.parked_any.wait(parked).unwrap_or_else(PoisonError::into_inner);
                }
                if parked.closed {
                    return;
                }
                u32::try_from(parked.waiting.len()).unwrap_or(u32::MAX)
            };
            if self.service.stop.wait(LOOK_PAUSE + LOOK_PAUSE_EACH.saturating_mul(count)) {
                return;
            }
            for live in self.speaking() {
                let given = live.conn.transport.socket().set_nonblocking(false).and_then(|()| self.give(live));
                if let Err(error) = given {
                    self.complain(&error);
                }
            }
        }
    }

    /// Takes out of the parked connections those that have bytes to read.
    fn speaking(&self) -> Vec<Live> {
        let now = clock::tick();
        let mut speaking = Vec::new();
        let mut parked = lock(&self.parked);
        for _ in 0..parked.waiting.len() {
            let Some((live, until)) = parked.waiting.pop_front() else { break };
            match look(&live, until, now) {
                Look::Silent => parked.waiting.push_back((live, until)),
                Look::Speaks => speaking.push(live),
                Look::Over => drop(live),
            }
        }
        speaking
    }

    /// Logs that a connection could not be taken, seldom.
    fn complain(&self, error: &io::Error) {
        let now = clock::tick();
        let mut complained = lock(&self.complained);
        if complained.is_none_or(|last| now.duration_since(last) >= ACCEPT_LOG_INTERVAL) {
            *complained = Some(now);
            drop(complained);
            log::warn!(target: "system", event = "http.accept", error:% = error; "Could not take a connection");
        }
    }
}

fn look(live: &Live, until: Instant, now: Instant) -> Look {
    match live.conn.transport.socket().peek(&mut [0]) {
        Ok(1..) => Look::Speaks,
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) && now < until => Look::Silent,
        _ => Look::Over,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// No test waits as long as this unless it fails.
    const PATIENCE: Duration = Duration::from_secs(10);

    fn answer(request: Request) -> Response {
        match request.path.as_str() {
            "/panic" => panic!("on purpose"),
            "/large" => Response::bytes(200, "text/plain", vec![b'x'; 300 << 10]),
            _ => {
                let text = format!("{} {} {}", request.method, request.path, String::from_utf8_lossy(&request.body));
                Response::bytes(200, "text/plain", text.into_bytes())
            }
        }
    }

    fn front(limits: Limits) -> (Front, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        (Front::start(vec![listener], limits, Arc::new(answer)).expect("a front"), address)
    }

    fn connect(address: SocketAddr) -> TcpStream {
        let socket = TcpStream::connect(address).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        socket
    }

    /// Everything up to the connection's end.
    fn ask(address: SocketAddr, text: &str) -> String {
        let mut socket = connect(address);
        socket.write_all(text.as_bytes()).expect("a written request");
        read_to_end(&mut socket)
    }

    fn read_to_end(socket: &mut TcpStream) -> String {
        let mut all = Vec::new();
        socket.read_to_end(&mut all).expect("an answer and the end of the connection");
        String::from_utf8(all).expect("text")
    }

    /// One answer of a connection that stays open.
    fn read_until(socket: &mut TcpStream, end: &str) -> String {
        let mut all = Vec::new();
        while !all.ends_with(end.as_bytes()) {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("more of the answer");
            all.extend_from_slice(&byte);
        }
        String::from_utf8(all).expect("text")
    }

    fn wait_for(what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < end, "{what}");
            std::thread::yield_now();
        }
    }

    const CLOSE: &str = "Host: x\r\nConnection: close\r\n\r\n";

    #[test]
    fn bodies_come_whole_however_they_are_framed() {
        let (_front, address) = front(Limits::default());
        for framed in [
            "Content-Length: 5\r\n\r\nhello",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n",
        ] {
            let text = ask(address, &format!("POST /e HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{framed}"));
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nPOST /e hello"), "{framed}: {text}");
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let (_front, address) = front(Limits::default());
        for (status, chunks) in [
            (400, "zz\r\nhello\r\n0\r\n\r\n"),
            (400, "-5\r\nhello\r\n0\r\n\r\n"),
            (400, "+5\r\nhello\r\n0\r\n\r\n"),
            (400, "\r\nhello\r\n0\r\n\r\n"),
            (400, "ffffffffffffffff\r\nhello"),
            (413, "fffffff\r\nhello"),
            (400, "5\r\nhelloXX0\r\n\r\n"),
            (400, &format!("{}\r\n", "0".repeat(100))),
            (431, &format!("0\r\n{}", "X: y\r\n".repeat(20))),
        ] {
            let text = ask(address, &format!("POST /e HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{chunks}: {text}");
            assert!(text.contains("\r\nX-Request-ID: ") && text.contains("{\"detail\":\""), "{text}");
        }
    }

    #[test]
    fn pipelined_requests_are_answered_in_their_order() {
        let (_front, address) = front(Limits::default());
        let requests: String = (0..200).map(|i| format!("POST /{i} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{i:04}")).collect();
        let text = ask(address, &format!("{requests}GET /last HTTP/1.1\r\n{CLOSE}"));
        let mut rest = text.as_str();
        for i in 0..200 {
            let body = format!("POST /{i} {i:04}");
            rest = rest.split_once(&body).unwrap_or_else(|| panic!("answer {i} is missing or out of order")).1;
        }
        assert!(rest.ends_with("GET /last "), "{rest}");
    }

    #[test]
    fn head_gets_the_head_of_the_answer_only() {
        let (_front, address) = front(Limits::default());
        let text = ask(address, &format!("HEAD /large HTTP/1.1\r\n{CLOSE}"));
        assert!(text.contains("\r\nContent-Length: 307200\r\n") && text.ends_with("\r\n\r\n"), "{text}");
        let text = ask(address, "HEAD / HTTP/1.1\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 400 ") && text.ends_with("\r\n\r\n"), "{text}");
        assert!(ask(address, &format!("GET /large HTTP/1.1\r\n{CLOSE}")).ends_with(&"x".repeat(300 << 10)));
    }

    #[test]
    fn http_1_0_closes_unless_it_asks_not_to() {
        let (_front, address) = front(Limits::default());
        assert!(ask(address, "GET /a HTTP/1.0\r\n\r\n").contains("\r\nConnection: close\r\n"));
        let mut socket = connect(address);
        socket.write_all(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").expect("a written request");
        assert!(read_until(&mut socket, "GET /a ").contains("\r\nConnection: keep-alive\r\n"));
        socket.write_all(b"GET /b HTTP/1.0\r\n\r\n").expect("a written request");
        assert!(read_to_end(&mut socket).ends_with("GET /b "));
    }

    #[test]
    fn a_client_that_expects_it_is_told_to_continue() {
        let (_front, address) = front(Limits::default());
        let mut socket = connect(address);
        socket.write_all(b"POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").expect("a written head");
        assert_eq!(read_until(&mut socket, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
        socket.write_all(b"hello").expect("a written body");
        read_until(&mut socket, "POST /e hello");
        let text = ask(address, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\nExpect: 100-continue\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    }

    #[test]
    fn a_panic_is_a_500_and_the_connection_lives_on() {
        let (_front, address) = front(Limits::default());
        let text = ask(address, &format!("GET /panic HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\n\r\nGET /next HTTP/1.1\r\n{CLOSE}"));
        assert!(text.starts_with("HTTP/1.1 500 ") && text.contains("X-Request-ID: mine\r\n"), "{text}");
        assert!(text.contains("{\"detail\":\"Internal error\"}HTTP/1.1 200 OK\r\n") && text.ends_with("GET /next "), "{text}");
    }

    #[test]
    fn heads_and_bodies_that_drip_are_cut_off_in_all() {
        let limits = Limits { head_time: Duration::from_millis(200), body_time: Duration::from_millis(200), ..Limits::default() };
        let (_front, address) = front(limits);
        for start in ["GET / HTTP/1.1\r\nHost: x\r\nX-", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n"] {
            let mut socket = connect(address);
            let mut dripping = socket.try_clone().expect("a second handle");
            dripping.write_all(start.as_bytes()).expect("a written start");
            // Each byte would begin a time-out anew that is counted by reads.
            let drip = std::thread::spawn(move || {
                let end = Instant::now() + PATIENCE;
                while Instant::now() < end && dripping.write_all(b"a").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Instant::now() < end
            });
            assert!(read_until(&mut socket, "\"}").starts_with("HTTP/1.1 408 "), "{start}");
            drop(socket);
            assert!(drip.join().expect("the dripping thread"), "the connection never closed: {start}");
        }
    }

    #[test]
    fn bodies_in_flight_are_bounded_and_given_back() {
        let (front, address) = front(Limits { bodies_in_flight_bytes_max: 1000, ..Limits::default() });
        let mut holder = connect(address);
        holder
            .write_all(format!("POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 901\r\n\r\n{}", "h".repeat(900)).as_bytes())
            .expect("most of a body");
        wait_for("the held body is counted", || front.shared.service.bodies_bytes.load(std::sync::atomic::Ordering::Relaxed) == 900);
        let request = format!("POST /e HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 200\r\n\r\n{}", "b".repeat(200));
        assert!(ask(address, &request).starts_with("HTTP/1.1 503 "));
        holder.write_all(b"h").expect("the rest of the body");
        read_until(&mut holder, "hh");
        wait_for("the held body is given back", || front.shared.service.bodies_bytes.load(std::sync::atomic::Ordering::Relaxed) == 0);
        assert!(ask(address, &request).starts_with("HTTP/1.1 200 "));
    }

    #[test]
    fn a_parked_connection_wakes_when_it_speaks_and_closes_when_it_does_not() {
        let limits = Limits { hold_time: Duration::from_millis(10), idle_time: Duration::from_millis(500), ..Limits::default() };
        let (front, address) = front(limits);
        let mut socket = connect(address);
        let parked = || lock(&front.shared.parked).waiting.len() == 1;
        for _ in 0..2 {
            wait_for("it is parked", parked);
            socket.write_all(b"GET /again HTTP/1.1\r\nHost: x\r\n\r\n").expect("a written request");
            read_until(&mut socket, "GET /again ");
        }
        assert_eq!(read_to_end(&mut socket), "");
        wait_for("its slot is given back", || front.connections() == 0);
    }

    #[test]
    fn over_a_cap_the_longest_parked_makes_room_and_an_active_one_does_not() {
        let limits = Limits { connections_per_address_max: 2, hold_time: Duration::from_millis(10), ..Limits::default() };
        let (front, address) = front(limits);
        let mut oldest = connect(address);
        wait_for("the first is parked", || lock(&front.shared.parked).waiting.len() == 1);
        let mut active = connect(address);
        active.write_all(b"GET /slow HTTP/1.1\r\n").expect("half a head");
        wait_for("both are open", || front.connections() == 2);
        let mut third = connect(address);
        third.write_all(b"GET /third HTTP/1.1\r\n").expect("half a head");
        assert_eq!(read_to_end(&mut oldest), "");
        // Nobody is parked any more, so a fourth is closed without an answer; that it may be reset is all the same.
        let mut fourth = connect(address);
        let _ = fourth.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(matches!(fourth.read(&mut [0]), Ok(0) | Err(_)));
        for (mut socket, path) in [(active, "/slow"), (third, "/third")] {
            socket.write_all(CLOSE.as_bytes()).expect("the rest of a head");
            assert!(read_to_end(&mut socket).ends_with(&format!("GET {path} ")), "{path}");
        }
    }

    #[test]
    fn stopping_answers_what_is_in_progress_and_closes_the_rest() {
        let (front, address) = front(Limits { hold_time: Duration::from_millis(10), ..Limits::default() });
        let mut idle = connect(address);
        wait_for("it is parked", || lock(&front.shared.parked).waiting.len() == 1);
        let mut active = connect(address);
        active.write_all(b"POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell").expect("most of a request");
        wait_for("its body is being read", || front.shared.service.bodies_bytes.load(std::sync::atomic::Ordering::Relaxed) == 4);
        assert!(!front.stop(Duration::from_millis(50)), "a request is still in progress");
        assert_eq!(read_to_end(&mut idle), "");
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
        active.write_all(b"o").expect("the rest of a request");
        let text = read_to_end(&mut active);
        assert!(text.contains("\r\nConnection: close\r\n") && text.ends_with("POST /e hello"), "{text}");
        assert!(front.stop(PATIENCE), "all are answered");
    }

    #[test]
    fn the_defaults_fit_into_the_descriptors_of_this_process() {
        let limits = Limits::default();
        assert!((64..=1024).contains(&limits.connections_max) && limits.connections_max < descriptors_max());
    }
}
