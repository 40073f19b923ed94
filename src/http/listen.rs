//! Connections and the threads that serve them: accepting, limits, a pool of workers, parked connections, stopping.
//!
//! A connection has a thread only while it is active. After a short silence it is parked: one thread polls all parked
//! sockets a few times a second, wakes those with bytes and closes expired ones. `exchange` handles the conversation.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::buckets::Buckets;
use crate::clock;
use crate::error::{Doing, Result};
use crate::http::answers::Answers;
use crate::http::exchange::{Conn, Handler, Service};
use crate::http::limits::Limits;
use crate::http::slots::{Slot, Slots};
pub use crate::http::transport::TlsSource;
use crate::http::transport::Transport;
use crate::logger::Quota;
use crate::thread::{Stop, lock, spawn};

/// Time that an idle worker waits for a connection before it ends.
const WORKER_WAIT: Duration = Duration::from_secs(5);

/// Pause between two polls of the parked connections, and what each of them adds: at most 40,000 checks a second.
const LOOK_PAUSE: Duration = Duration::from_millis(25);
const LOOK_PAUSE_EACH: Duration = Duration::from_micros(25);

/// Pause after an error in accepting. Most of them mean that a resource is exhausted, which lasts for a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Minimum interval between log lines about errors in accepting.
const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Time for one attempt to wake a thread that waits in `accept`.
const WAKE_TIME: Duration = Duration::from_millis(100);

/// Burst of handshakes per address, as a multiple of the rate per second: a fleet behind one address reconnects at
/// once.
const HANDSHAKES_BURST: f64 = 20.0;

/// `EMFILE` and `ENFILE`: no file descriptor is left in this process or on this machine.
const OUT_OF_DESCRIPTORS: [i32; 2] = [24, 23];

/// Stack of the threads that only accept and poll.
const SMALL_STACK_BYTES: usize = 128 << 10;

/// A running HTTP front. Dropping it stops it at once.
pub struct Front {
    shared: Arc<Shared>,
    acceptors: Mutex<Vec<Acceptor>>,
}

/// A thread that accepts, and the address that wakes it.
struct Acceptor {
    address: SocketAddr,
    thread: JoinHandle<()>,
}

impl Front {
    /// Serves all listeners until [`Front::stop`].
    pub fn start(
        listeners: Vec<TcpListener>,
        limits: Limits,
        tls: Option<TlsSource>,
        handler: Handler,
    ) -> Result<Front> {
        let per_s = f64::from(limits.handshakes_per_s_max);
        let (handshakes, lines) = (Buckets::new(per_s, per_s * HANDSHAKES_BURST), Quota::default());
        let answers = Answers::new(limits.answers_in_flight_bytes_max);
        let service = Service {
            limits,
            answers,
            handler,
            tls,
            stop: Stop::default(),
            bodies_bytes: AtomicUsize::new(0),
            handshakes,
            lines,
        };
        let shared = Arc::new(Shared {
            service,
            slots: Arc::default(),
            pool: Mutex::default(),
            work: Condvar::new(),
            parked: Mutex::default(),
            parked_any: Condvar::new(),
            complained: Mutex::new(None),
        });
        // Created first: if a thread below does not start, dropping this ends the others.
        let front = Front { shared: shared.clone(), acceptors: Mutex::default() };
        let looker = shared.clone();
        spawn("http-parked", Some(SMALL_STACK_BYTES), move || looker.poll_parked())
            .doing("start the thread of parked connections")?;
        for listener in listeners {
            let address = listener.local_addr().doing("read the address of a listener")?;
            let shared = shared.clone();
            let thread = spawn("http-accept", Some(SMALL_STACK_BYTES), move || shared.accept(&listener))
                .doing("start an accepting thread")?;
            lock(&front.acceptors).push(Acceptor { address, thread });
        }
        Ok(front)
    }

    /// Open connections, including parked ones.
    #[cfg(test)]
    pub fn connections(&self) -> usize {
        self.shared.slots.count()
    }

    /// Stops accepting, closes parked connections and waits up to `grace` for in-flight requests. Returns true if all
    /// were answered.
    pub fn stop(&self, grace: Duration) -> bool {
        let end = clock::tick() + grace;
        let shared = &self.shared;
        shared.service.stop.raise();
        for acceptor in lock(&self.acceptors).drain(..) {
            // The thread waits in accept(), which only a connection ends. If none can be made because descriptors ran
            // out, accepting fails too and the thread sees the flag by itself.
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

        shared.slots.wait_empty(end)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// An address that reaches a listener, also one of all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}

/// State shared by a front's threads. No two locks are held at once, except `parked` before `slots`.
struct Shared {
    service: Service,
    slots: Arc<Slots>,
    pool: Mutex<Pool>,
    /// Signalled when a connection is in the queue.
    work: Condvar,
    parked: Mutex<Parked>,
    /// Signalled when there is a parked connection to poll.
    parked_any: Condvar,
    /// Time of the last log line about accepting.
    complained: Mutex<Option<Instant>>,
}

/// A connection and its slot.
struct Live {
    conn: Conn,
    slot: Slot,
}

/// Workers, and connections given to a waiting one. The queue is never longer than the number of waiting workers, and
/// there are never more workers than connections.
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

/// Result of polling a parked connection.
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
            if self.service.stop.is_raised() {
                return;
            }
            let outcome = accepted.and_then(|(socket, peer)| self.admit(socket, peer));
            if let Some(closed) = self.slots.news() {
                log::warn!(target: "system", event = "http.crowded", closed; "Closed connections to make room for new \
                    ones, unauthenticated ones first");
            }
            if let Err(error) = outcome {
                self.log_accept_error(&error);
                if error.raw_os_error().is_some_and(|code| OUT_OF_DESCRIPTORS.contains(&code)) {
                    self.slots.make_room(&self.service.limits);
                }
                self.service.stop.wait(ACCEPT_PAUSE);
            }
        }
    }

    /// Gives a new connection its slot and its thread. Beyond a limit it is closed at once, which is not an error.
    fn admit(self: &Arc<Shared>, socket: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let conn = Conn::new(Transport::new(socket)?, peer);
        let (standing, socket) = (Arc::clone(&conn.standing), Arc::clone(conn.transport.socket()));
        match self.slots.admit(&self.service.limits, conn.address(), standing, socket) {
            Some(slot) => self.give(Live { conn, slot }),
            None => Ok(()),
        }
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

    /// Loop of a worker: one connection after another.
    fn work(self: Arc<Shared>, first: Live) {
        let mut next = Some(first);
        while let Some(live) = next {
            // Handlers catch their own panics. This one catches the front's: they cost one connection.
            if catch_unwind(AssertUnwindSafe(|| self.serve(live))).is_err() {
                log::error!(target: "api", event = "connection.panicked"; "A connection handler panicked");
            }
            next = self.next();
        }
    }

    /// Serves a connection until it ends or is parked.
    fn serve(&self, live: Live) {
        let Live { conn, slot } = live;
        let silent = conn.converse(&self.service);
        if let Some(conn) = silent.filter(|conn| conn.transport.socket().set_nonblocking(true).is_ok()) {
            let until = conn.silent_since + self.service.limits.idle_time;
            let mut parked = lock(&self.parked);
            if !parked.closed {
                conn.standing.set_parked(true);
                parked.waiting.push_back((Live { conn, slot }, until));
                drop(parked);
                self.parked_any.notify_one();
            }
        }
    }

    /// The next connection for this worker; `None` after a time without one, or when stopping.
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

    /// Wakes parked connections with bytes and closes disconnected or expired ones.
    fn poll_parked(self: Arc<Shared>) {
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
            for live in self.take_readable() {
                let given = live.conn.transport.socket().set_nonblocking(false).and_then(|()| self.give(live));
                if let Err(error) = given {
                    self.log_accept_error(&error);
                }
            }
        }
    }

    /// Removes parked connections that have bytes to read.
    fn take_readable(&self) -> Vec<Live> {
        let now = clock::tick();
        let mut speaking = Vec::new();
        let mut parked = lock(&self.parked);
        for _ in 0..parked.waiting.len() {
            let Some((live, until)) = parked.waiting.pop_front() else { break };
            match look(&live, until, now) {
                Look::Silent => parked.waiting.push_back((live, until)),
                Look::Speaks => {
                    live.conn.standing.set_parked(false);
                    speaking.push(live);
                }
                Look::Over => drop(live),
            }
        }
        speaking
    }

    /// Logs, at a limited rate, that a connection could not be accepted.
    fn log_accept_error(&self, error: &io::Error) {
        let now = clock::tick();
        let mut complained = lock(&self.complained);
        if complained.is_none_or(|last| now.duration_since(last) >= ACCEPT_LOG_INTERVAL) {
            *complained = Some(now);
            drop(complained);
            log::warn!(target: "system", event = "http.accept", error:% = error; "Could not accept a connection");
        }
    }
}

fn look(live: &Live, until: Instant, now: Instant) -> Look {
    match live.conn.transport.socket().peek(&mut [0]) {
        Ok(1..) => Look::Speaks,
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) && now < until => {
            Look::Silent
        }
        _ => Look::Over,
    }
}

#[cfg(test)]
mod tests;
