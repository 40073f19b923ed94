//! Simulated agents: thousands of nodes on two threads, each with a TLS connection under its own certificate. An agent
//! waits for its work, acknowledges a change by a heartbeat that changes its status, renews its lease, and connects
//! again after a reset.
//!
//! A real agent has a connection each for heartbeats and for the waiting call. These take turns on one: the wait ends
//! when the next heartbeat is due.

use crate::fleet::{Fleet, Node, epoch_seconds};
use crate::parked;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use serde_json::Value;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Threads of all agents.
const THREADS: usize = 2;
/// Shortest and longest pause before an agent connects again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(1600));
/// Pause between looks at what is due.
const TICK: Duration = Duration::from_millis(10);
/// What a node reports until it has acknowledged a change.
const READY: &str = r#"{"ready":true,"version":"2.0.0"}"#;

/// A node has noticed a change of its work, and the control plane has accepted its word for it. Microseconds of the
/// wall clock.
#[derive(Clone)]
pub struct Noticed {
    pub node: String,
    pub learned: u64,
    pub acknowledged: u64,
}

/// What agents and the benchmark share.
#[derive(Default)]
pub struct Shared {
    /// Lease that heartbeats request, in seconds.
    pub ttl_s: AtomicI64,
    pub resets: AtomicU64,
    pub refusals: AtomicU64,
    noticed: Mutex<Vec<Noticed>>,
    stop: AtomicBool,
}

impl Shared {
    /// What was noticed since the last call.
    pub fn noticed(&self) -> Vec<Noticed> {
        std::mem::take(&mut self.noticed.lock().unwrap())
    }
}

/// All agents; they stop with this.
pub struct Agents {
    pub shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Agents {
    pub fn start(fleet: Fleet, dir: &Path, address: SocketAddr, ttl_s: i64) -> Agents {
        let shared = Arc::new(Shared { ttl_s: ttl_s.into(), ..Shared::default() });
        let configs = fleet.tls(dir);
        let part = fleet.nodes.len().div_ceil(THREADS);
        let both = fleet.nodes.into_iter().zip(configs).enumerate();
        let mut all = both.map(|(number, (node, config))| Agent::new(number, node, config));
        let threads = (0..THREADS).map(|_| {
            let agents: Vec<Agent> = all.by_ref().take(part).collect();
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || run(agents, address, &shared))
        });
        let threads = threads.collect();
        Agents { shared, threads }
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the agents panicked");
        }
    }
}

/// What the agents of a thread act with.
struct Around<'a> {
    poll: OwnedFd,
    address: SocketAddr,
    shared: &'a Shared,
}

fn run(mut agents: Vec<Agent>, address: SocketAddr, shared: &Shared) {
    let around = Around { poll: epoll::create(CreateFlags::CLOEXEC).unwrap(), address, shared };
    let mut events = Vec::with_capacity(256);
    let mut looked = Instant::now();
    while !shared.stop.load(Relaxed) {
        let timeout = TICK.try_into().unwrap();
        match epoll::wait(&around.poll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            // A stopped and continued machine interrupts the wait: nothing is ready.
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => panic!("epoll: {e}"),
        }
        for event in events.drain(..) {
            let at = event.data.u64() as usize;
            agents[at].act(&around, at, Agent::read);
        }
        if looked.elapsed() >= TICK {
            looked = Instant::now();
            for (at, agent) in agents.iter_mut().enumerate() {
                if agent.due.take_if(|due| *due <= looked).is_some() {
                    agent.act(&around, at, Agent::resume);
                }
            }
        }
    }
}

/// The call whose answer an agent waits for.
#[derive(Clone, Copy)]
enum Call {
    None,
    Beat,
    Work,
}

struct Agent {
    number: usize,
    node: Node,
    config: Arc<ClientConfig>,
    link: Option<Link>,
    call: Call,
    /// The work's version as `EPOCH.VERSION`, empty before the first answer.
    version: String,
    /// What the heartbeats report.
    patch: String,
    /// When the change was learned that the next heartbeat acknowledges.
    learned: Option<u64>,
    signed_at: i64,
    /// How long a call waits for work.
    wait_s: i64,
    /// The server wants no call for work before.
    not_before: Instant,
    /// Pause before the next attempt to connect.
    pause: Duration,
    /// When to act, unless an answer is awaited.
    due: Option<Instant>,
}

impl Agent {
    fn new(number: usize, node: Node, config: Arc<ClientConfig>) -> Agent {
        let now = Instant::now();
        Agent {
            number,
            node,
            config,
            link: None,
            call: Call::None,
            version: String::new(),
            patch: READY.to_string(),
            learned: None,
            signed_at: 0,
            wait_s: 1,
            not_before: now,
            pause: BACK_OFF.0,
            due: Some(now),
        }
    }

    /// Takes a step and sends what it wrote; a connection that fails is opened again later.
    fn act(&mut self, around: &Around, at: usize, step: fn(&mut Agent, &Around, usize) -> io::Result<()>) {
        let done = step(self, around, at).and_then(|()| match &mut self.link {
            Some(link) => link.write(around, at),
            None => Ok(()),
        });
        if done.is_err() {
            around.shared.resets.fetch_add(1, Relaxed);
            (self.link, self.call) = (None, Call::None);
            // Different for each, so that not all come at once.
            let jitter = self.pause.mul_f64((self.number * 37 % 100) as f64 / 100.0);
            self.due = Some(Instant::now() + self.pause / 2 + jitter);
            self.pause = (self.pause * 2).min(BACK_OFF.1);
        }
    }

    /// It is time to connect, or to make the call that was put off.
    fn resume(&mut self, around: &Around, at: usize) -> io::Result<()> {
        if self.link.is_none() {
            self.link = Some(Link::open(around, at, self.number, &self.config)?);
            return self.beat(around);
        }
        self.work()
    }

    fn read(&mut self, around: &Around, _: usize) -> io::Result<()> {
        let Some(link) = &mut self.link else { return Ok(()) };
        link.read()?;
        let Some(answer) = Answer::take(&mut link.buffer) else { return Ok(()) };
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match (std::mem::replace(&mut self.call, Call::None), answer.status) {
            (Call::Beat, 200) => self.renewed(around, &body),
            (Call::Work, 200) => self.has_work(around, &body, answer.retry_after_s),
            (Call::Work, 204) => self.beat(around),
            // Such as a heartbeat of the very second in which the server started.
            _ => {
                around.shared.refusals.fetch_add(1, Relaxed);
                Err(ErrorKind::PermissionDenied.into())
            }
        }
    }

    fn renewed(&mut self, around: &Around, answer: &Value) -> io::Result<()> {
        self.pause = BACK_OFF.0;
        if let Some(token) = answer["lease_token"].as_str() {
            self.node.lease_token = token.to_string();
        }
        let usual_s = around.shared.ttl_s.load(Relaxed) / 3;
        let interval_s = answer["next_heartbeat_seconds"].as_i64().unwrap_or(usual_s);
        // Up to a third less, different for each.
        self.wait_s = (interval_s - self.number as i64 % (interval_s / 3 + 1)).clamp(1, 60);
        if let Some(learned) = self.learned.take() {
            let noticed = Noticed { node: self.node.id.clone(), learned, acknowledged: micros() };
            around.shared.noticed.lock().unwrap().push(noticed);
        }
        if self.not_before > Instant::now() {
            self.due = Some(self.not_before);
            return Ok(());
        }
        self.work()
    }

    fn has_work(&mut self, around: &Around, answer: &Value, retry_after_s: Option<u64>) -> io::Result<()> {
        let epoch = format!("{}.", answer["epoch"]);
        let is_change = self.version.starts_with(&epoch);
        self.version = format!("{epoch}{}", answer["version"]);
        self.not_before = Instant::now() + Duration::from_secs(retry_after_s.unwrap_or(0));
        if is_change {
            self.learned = Some(micros());
            self.patch = format!(r#"{{"ready":true,"version":"2.0.0","work":"{}"}}"#, self.version);
            return self.beat(around);
        }
        self.work()
    }

    fn beat(&mut self, around: &Around) -> io::Result<()> {
        self.signed_at = epoch_seconds().max(self.signed_at + 1);
        let request = self.node.heartbeat(self.signed_at, around.shared.ttl_s.load(Relaxed), &self.patch);
        self.send(Call::Beat, &request)
    }

    /// Waits for work, or requests it where no version is known.
    fn work(&mut self) -> io::Result<()> {
        let query = match self.version.as_str() {
            "" => String::new(),
            version => format!("?after={version}&wait={}", self.wait_s),
        };
        self.send(Call::Work, format!("GET /node/work{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes())
    }

    fn send(&mut self, call: Call, request: &[u8]) -> io::Result<()> {
        self.call = call;
        let link = self.link.as_mut().ok_or(ErrorKind::NotConnected)?;
        link.tls.writer().write_all(request)
    }
}

/// A connection that never blocks.
struct Link {
    socket: TcpStream,
    tls: ClientConnection,
    /// What has been read of the next answer.
    buffer: Vec<u8>,
    /// What the poller watches for.
    watched: EventFlags,
}

impl Link {
    fn open(around: &Around, at: usize, number: usize, config: &Arc<ClientConfig>) -> io::Result<Link> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrV4::new(parked::source(number), 0))?;
        match rustix::net::connect(&socket, &around.address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        let watched = EventFlags::IN | EventFlags::OUT;
        epoll::add(&around.poll, &socket, EventData::new_u64(at as u64), watched)?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let tls = ClientConnection::new(Arc::clone(config), name).unwrap();
        Ok(Link { socket, tls, buffer: Vec::new(), watched })
    }

    /// Reads all that is there.
    fn read(&mut self) -> io::Result<()> {
        loop {
            match self.tls.read_tls(&mut self.socket) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if is_for_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
            let state = self.tls.process_new_packets().map_err(io::Error::other)?;
            let had = self.buffer.len();
            self.buffer.resize(had + state.plaintext_bytes_to_read(), 0);
            self.tls.reader().read_exact(&mut self.buffer[had..])?;
        }
    }

    /// Writes what the socket takes; the poller says when it takes more.
    fn write(&mut self, around: &Around, at: usize) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if is_for_later(&error) => break,
                Err(error) => return Err(error),
            }
        }
        let room = if self.tls.wants_write() { EventFlags::OUT } else { EventFlags::empty() };
        let watched = EventFlags::IN | room;
        if watched != self.watched {
            epoll::modify(&around.poll, &self.socket, EventData::new_u64(at as u64), watched)?;
            self.watched = watched;
        }
        Ok(())
    }
}

/// True if the socket has nothing to read, has no room, or is not connected yet.
fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

struct Answer {
    status: u16,
    retry_after_s: Option<u64>,
    body: Vec<u8>,
}

impl Answer {
    /// Takes an answer out of the buffer, once it is whole.
    fn take(buffer: &mut Vec<u8>) -> Option<Answer> {
        let end = buffer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let number = |name: &str| head.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<usize>().ok());
        let whole = end + number("content-length:").unwrap_or(0);
        if buffer.len() < whole {
            return None;
        }
        let retry_after_s = number("retry-after:").map(|s| s as u64);
        let status = head.split(' ').nth(1)?.parse().unwrap();
        let body = buffer.drain(..whole).skip(end).collect();
        Some(Answer { status, retry_after_s, body })
    }
}

/// Microseconds of the wall clock.
pub fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}
