//! Connections and the threads that serve them: accepting, limits, workers, parked connections, stopping.
//!
//! A connection has a thread only while it is active. After a short silence, or while its answer waits for something,
//! it is parked. Few workers run at once, whatever the number of clients that speak; one that waits for its client
//! gives its place to another. Answers whose wait is over share a few threads, too. `exchange` handles the
//! conversation.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::buckets::Buckets;
use crate::clock;
use crate::error::{Doing, Result};
use crate::http::answers::Answers;
use crate::http::exchange::{After, Conn, Handler, Service};
use crate::http::limits::Limits;
use crate::http::parked::{Live, Parking, Woken};
use crate::http::pool::Pool;
use crate::http::slots::{Slot, Slots};
pub use crate::http::transport::TlsSource;
use crate::http::transport::Transport;
use crate::logger::Quota;
use crate::thread::{Stop, lock, spawn};

/// Requests that are worked on at once; those that wait, such as for bytes of their clients, do not count.
const WORKING_MAX: usize = 32;

/// Threads that continue answers whose wait is over: a change for all must not start a thread for each.
const RESUMING_MAX: usize = 8;

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
        let stack_bytes = limits.stack_bytes;
        let answers = Answers::new(limits.answers_in_flight_bytes_max);
        let service = Service {
            limits,
            answers,
            handler,
            tls,
            stop: Stop::default(),
            holding: AtomicUsize::new(0),
            bodies_bytes: AtomicUsize::new(0),
            handshakes,
            lines,
        };
        let shared = Arc::new(Shared {
            service,
            slots: Arc::default(),
            workers: Pool::new("http-worker", stack_bytes, WORKING_MAX),
            resuming: Pool::new("http-resume", stack_bytes, RESUMING_MAX),
            parking: Parking::new().doing("watch connections")?,
            complained: Mutex::new(None),
        });
        // Created first: if a thread below does not start, dropping this ends the others.
        let front = Front { shared: shared.clone(), acceptors: Mutex::default() };
        let looker = shared.clone();
        spawn("http-parked", Some(SMALL_STACK_BYTES), move || looker.watch_parked())
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

    /// Stops accepting, closes silent connections, answers those that wait for news, and waits up to `grace` for
    /// in-flight requests. Returns true if all were answered.
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
        for woken in shared.parking.stop() {
            shared.wake(woken);
        }
        let all_answered = shared.slots.wait_empty(end);
        shared.parking.close();
        shared.workers.close();
        shared.resuming.close();
        all_answered
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

/// State shared by a front's threads. No two locks are held at once.
struct Shared {
    service: Service,
    slots: Arc<Slots>,
    /// Threads for requests.
    workers: Arc<Pool<Live>>,
    /// Threads for answers whose wait is over.
    resuming: Arc<Pool<Live>>,
    parking: Parking,
    /// Time of the last log line about accepting.
    complained: Mutex<Option<Instant>>,
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
                    self.slots.make_room();
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

    /// Gives a connection to a worker.
    fn give(self: &Arc<Shared>, live: Live) -> io::Result<()> {
        let shared = Arc::clone(self);
        self.workers.give(live, move |Live { conn, slot }| {
            let after = conn.converse(&shared.service);
            shared.settle(after, slot);
        })
    }

    /// Gives a connection to one of the threads that continue answers.
    fn resume(self: &Arc<Shared>, live: Live) -> io::Result<()> {
        let shared = Arc::clone(self);
        self.resuming.give(live, move |Live { conn, slot }| {
            let after = conn.resume(&shared.service);
            shared.settle(after, slot);
        })
    }

    /// Does with a connection what its conversation says.
    fn settle(self: &Arc<Shared>, after: After, slot: Slot) {
        let done = match after {
            After::Close => Ok(()),
            After::Park(conn) => return self.park(Live { conn, slot }),
            After::Turn(conn) => self.resume(Live { conn, slot }),
            After::Work(conn) => self.give(Live { conn, slot }),
        };
        if let Err(error) = done {
            self.log_accept_error(&error);
        }
    }

    fn park(self: &Arc<Shared>, live: Live) {
        let wake = |token| {
            let shared = Arc::downgrade(self);
            let wake = move || {
                if let Some(shared) = shared.upgrade()
                    && let Some(live) = shared.parking.take(token)
                {
                    shared.wake(Woken::Due(live));
                }
            };
            Box::new(wake) as Box<dyn FnOnce() + Send>
        };
        if let Some(woken) = self.parking.park(live, self.service.limits.idle_time, wake) {
            self.wake(woken);
        }
    }

    /// Gives a connection that was parked its next thread, or closes it.
    fn wake(self: &Arc<Shared>, woken: Woken) {
        let done = match woken {
            Woken::Speaks(live) => self.give(live),
            Woken::Due(live) => self.resume(live),
            Woken::Over(live) => {
                drop(live);
                Ok(())
            }
        };
        if let Err(error) = done {
            self.log_accept_error(&error);
        }
    }

    /// Waits for parked connections until the front stops.
    fn watch_parked(self: Arc<Shared>) {
        while let Some(all) = self.parking.wait() {
            for woken in all {
                self.wake(woken);
            }
        }
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

#[cfg(test)]
mod tests;
