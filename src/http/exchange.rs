//! The conversation on one connection: a request in, its answer out, in order, until either side ends it or it has to
//! wait. Every wait has a deadline and every buffer a limit. `listen` decides who may connect and which thread runs
//! this; `answer` sends.

mod answer;
mod body;

pub(crate) use self::answer::Wants;

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use self::answer::{Asked, Pending, Wait};
use self::body::Share;
use crate::buckets::Buckets;
use crate::http::answers::Answers;
use crate::http::head::{self, Head, Parsed, Refusal};
use crate::http::limits::Limits;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::slots::Standing;
use crate::http::transport::{Begun, TlsSource, Transport};
use crate::model::address;
use crate::thread::Stop;
use crate::{clock, crypto, logger};

/// Bytes requested from the socket at once.
const READ_BYTES: usize = 8 << 10;

/// Connections that keep their thread in a silence, for those that speak again at once. Thousands share few threads.
pub(super) const HOLDING_MAX: usize = 16;

/// Time and amount for which a closing connection still reads: closing with unread bytes would make the kernel reset
/// the connection, and the client would lose the answer.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 4 << 20;

/// Turns a request into an answer. A panic becomes a 500.
pub type Handler = Arc<dyn Fn(Request) -> Response + Send + Sync>;

/// State shared by all conversations.
pub(crate) struct Service {
    pub limits: Limits,
    pub handler: Handler,
    /// TLS configurations; `None` for plain HTTP only.
    pub tls: Option<TlsSource>,
    pub stop: Stop,
    /// Connections that keep their thread in a silence.
    pub holding: AtomicUsize,
    /// Bytes of bodies in memory, over all connections.
    pub bodies_bytes: AtomicUsize,
    /// Memory of answers that wait to be sent.
    pub answers: Arc<Answers>,
    /// TLS handshakes, by address.
    pub handshakes: Buckets<IpAddr>,
    /// Lines about refused requests.
    pub lines: logger::Quota,
}

/// The right to keep a thread in a silence; counted until this is dropped.
struct Hold<'s>(&'s AtomicUsize);

impl Hold<'_> {
    /// `None` if enough have it.
    fn take(count: &AtomicUsize) -> Option<Hold<'_>> {
        let one_more = |held: usize| (held < HOLDING_MAX).then_some(held + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok().then(|| Hold(count))
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Next step of a connection when its conversation pauses.
pub(crate) enum After {
    Close,
    /// It can wait without a thread, for the next request or for its answer.
    Park(Conn),
    /// More of its answer follows, after that of others.
    Turn(Conn),
    /// A worker must read what the client has sent.
    Work(Conn),
}

/// Result of a step of the conversation.
#[derive(Debug, PartialEq)]
enum Done {
    /// The answer is sent, and another request may follow.
    More,
    /// The answer is sent, and it was the last.
    Last,
    /// It waits: [`Conn::wants`] says for what.
    Waits,
    /// More of the answer is there, but it is somebody else's turn.
    Turn,
}

/// Reasons for a missing request.
enum Trouble {
    /// The client disconnected; there is no one to answer.
    Gone,
    Refused(Refusal),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Trouble {
        Trouble::Refused(refusal)
    }
}

/// A connection and the bytes read from it that no request has used yet.
pub(crate) struct Conn {
    pub transport: Transport,
    peer: SocketAddr,
    /// Start of the current silence. Bytes that do not form a request do not end it.
    pub silent_since: Instant,
    /// Priority in the table of connections.
    pub standing: Arc<Standing>,
    /// Pace of the body that is being read.
    pace: Option<Pace>,
    /// The client's certificate in DER.
    certificate: Option<Arc<[u8]>>,
    buffer: Vec<u8>,
    /// Start of the unused bytes in the buffer.
    start: usize,
    /// Its wait without a thread.
    wait: Wait,
    /// True if nothing more will be sent.
    is_finished: bool,
    /// True if the kernel's list of parked connections has it.
    pub is_watched: bool,
}

impl Conn {
    pub fn new(transport: Transport, peer: SocketAddr) -> Conn {
        Conn {
            transport,
            peer,
            silent_since: clock::tick(),
            standing: Arc::default(),
            pace: None,
            certificate: None,
            buffer: Vec::new(),
            start: 0,
            wait: Wait::Request,
            is_finished: false,
            is_watched: false,
        }
    }

    /// The client's address.
    pub fn address(&self) -> IpAddr {
        self.peer.ip()
    }

    /// Serves requests until the connection ends or must wait.
    pub fn converse(mut self, service: &Service) -> After {
        if self.is_finished {
            self.linger();
            return After::Close;
        }
        let hold = Hold::take(&service.holding);
        self.transport.until(if hold.is_some() { service.limits.hold_time } else { Duration::ZERO });
        let (peer, source) = (self.peer, address::client(self.peer.ip()));
        let may = || {
            let free =
                peer.ip().is_loopback() || service.limits.proxies.iter().any(|network| network.contains(peer.ip()));
            let may = free || service.handshakes.take(source).is_ok();
            if !may && service.lines.admits(source) {
                log::info!(target: "api", event = "tls.too_many", address:% = peer; "Refused a TLS handshake: too many \
                    from this address");
            }
            may
        };
        match self.transport.begin(service.tls.as_ref(), service.limits.head_time, may) {
            Begun::Speaks(transport) => self.transport = transport,
            Begun::Silent(transport) => {
                self.transport = transport;
                return After::Park(self);
            }
            Begun::Ended(why) => {
                if let Some(why) = why.filter(|_| service.lines.admits(source)) {
                    log::info!(target: "api", event = "tls.refused", address:% = peer, error:% = why;
                        "A TLS handshake failed");
                }
                return After::Close;
            }
        }
        drop(hold);
        if self.certificate.is_none() {
            self.certificate = self.transport.client_certificate();
        }
        match self.exchanges(service) {
            Done::More | Done::Waits => After::Park(self),
            Done::Turn => After::Turn(self),
            Done::Last => After::Close,
        }
    }

    /// Serves requests; `More` if the client has fallen silent after one.
    fn exchanges(&mut self, service: &Service) -> Done {
        loop {
            if self.unread().is_empty() {
                if service.stop.is_raised() {
                    return Done::Last;
                }
                self.transport.until(service.limits.hold_time);
                let hold = if self.standing.is_resident() { None } else { Hold::take(&service.holding) };
                let may_wait = hold.is_some() || self.transport.has_bytes();
                match if may_wait { self.fill() } else { Err(io::ErrorKind::WouldBlock.into()) } {
                    Ok(0) => return Done::Last,
                    Ok(_) => {}
                    Err(e) if timed_out(&e) => {
                        self.shrink();
                        let over = clock::tick() >= self.silent_since + service.limits.idle_time;
                        return if over { Done::Last } else { Done::More };
                    }
                    Err(_) => return Done::Last,
                }
            }
            match self.exchange(service) {
                Ok(Done::More) => self.silent_since = clock::tick(),
                Ok(Done::Last) => {
                    self.linger();
                    return Done::Last;
                }
                Ok(done @ (Done::Waits | Done::Turn)) => return done,
                Err(_) => return Done::Last,
            }
        }
    }

    /// Gives back the buffer if nothing is in it: a parked connection is cheap.
    fn shrink(&mut self) {
        if self.unread().is_empty() {
            self.buffer = Vec::new();
            self.start = 0;
        }
    }

    /// Handles one request.
    fn exchange(&mut self, service: &Service) -> io::Result<Done> {
        let Some((request, asked, share)) = self.request(service)? else { return Ok(Done::Last) };
        let _context = logger::Context::request(&asked.id);
        self.standing.set_busy(true);
        let handled = catch_unwind(AssertUnwindSafe(|| (service.handler)(request)));
        let mut response = handled.unwrap_or_else(|_| asked.panicked());
        drop(share);
        if let Some(later) = response.later.take() {
            self.standing.accept(&response);
            self.wait = Wait::Answer(Box::new(Pending { asked, later, source: response.source }));
            self.shrink();
            return Ok(Done::Waits);
        }
        self.send(service, &asked, response)
    }

    /// Reads the next request, with the memory that its body holds; `None` after a refusal, or if the client is gone.
    fn request<'s>(&mut self, service: &'s Service) -> io::Result<Option<(Request, Asked, Share<'s>)>> {
        let limits = &service.limits;
        let began = clock::tick();
        self.transport.until(limits.head_time);
        let mut head = match self.head(limits) {
            Ok(head) => head,
            Err((Trouble::Gone, _)) => return Ok(None),
            Err((Trouble::Refused(refusal), id)) => {
                let head_only = self.unread().trim_ascii_start().starts_with(b"HEAD ");
                let id = id.unwrap_or_else(crypto::uuid);
                let asked = Asked::unknown(id, head_only, began);
                return self.refuse(&refusal, &asked, service).map(|()| None);
            }
        };
        let asked = Asked::of(&head, clock::tick());
        let mut share = Share {
            free: limits.body_bytes_free,
            taken: 0,
            max: limits.bodies_in_flight_bytes_max,
            all: &service.bodies_bytes,
        };
        let mut pace = Pace::begin(limits);
        self.transport.until(pace.left(self.unread().len()));
        self.pace = Some(pace);
        let body = self.body(&head, limits.body_bytes_max, &mut share);
        self.pace = None;
        match body {
            Ok(body) => head.request.body = body,
            Err(Trouble::Gone) => return Ok(None),
            Err(Trouble::Refused(refusal)) => return self.refuse(&refusal, &asked, service).map(|()| None),
        }
        let Head { mut request, .. } = *head;
        request.secure = self.transport.is_secure();
        request.certificate.clone_from(&self.certificate);
        Ok(Some((request, asked, share)))
    }

    /// Reads the next head; a refusal includes the client's request id if it could be read.
    fn head(&mut self, limits: &Limits) -> Result<Box<Head>, (Trouble, Option<String>)> {
        let mut fresh = self.unread().len();
        loop {
            match head::parse(self.unread(), fresh, limits, self.peer) {
                Parsed::Whole(head, used) => {
                    self.start += used;
                    return Ok(head);
                }
                Parsed::Refused(refusal, id) => return Err((Trouble::Refused(refusal), id)),
                Parsed::Partial => fresh = self.need().map_err(|trouble| (trouble, None))?,
            }
        }
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads once from the socket; returns the number of bytes, zero at its end.
    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let mut fresh = [0u8; READ_BYTES];
        let count = self.transport.read(&mut fresh)?;
        self.buffer.extend_from_slice(&fresh[..count]);
        if let Some(pace) = &mut self.pace {
            self.transport.until(pace.left(count));
        }
        Ok(count)
    }

    /// Reads once in the middle of a request.
    fn need(&mut self) -> Result<usize, Trouble> {
        match self.fill() {
            Ok(0) => Err(Trouble::Gone),
            Ok(count) => Ok(count),
            Err(e) if timed_out(&e) => Err(Refusal { status: 408, detail: "Request took too long" }.into()),
            Err(_) => Err(Trouble::Gone),
        }
    }

    /// Closes the connection so that the client receives the last answer.
    fn linger(&mut self) {
        if !self.is_finished && self.transport.finish().is_err() {
            return;
        }
        self.transport.until(LINGER_TIME);
        let mut unwanted = [0u8; READ_BYTES];
        let mut left = LINGER_BYTES_MAX;
        while let Ok(count @ 1..) = self.transport.discard(&mut unwanted) {
            left = left.saturating_sub(count);
            if left == 0 {
                return;
            }
        }
    }
}

/// Remaining time for a body: the more has arrived, the longer, up to a maximum.
struct Pace {
    began: Instant,
    bytes: usize,
    grace: Duration,
    bytes_per_s_min: usize,
    at_most: Duration,
}

impl Pace {
    /// Starts with a body.
    fn begin(limits: &Limits) -> Pace {
        let (grace, bytes_per_s_min) = (limits.body_grace, limits.body_bytes_per_s_min);
        Pace { began: clock::tick(), bytes: 0, grace, bytes_per_s_min, at_most: limits.body_time }
    }

    /// Remaining time after `bytes` more bytes.
    fn left(&mut self, bytes: usize) -> Duration {
        self.bytes += bytes;
        let earned = self.grace + Duration::from_secs_f64(self.bytes as f64 / self.bytes_per_s_min.max(1) as f64);
        earned.min(self.at_most).saturating_sub(clock::tick().duration_since(self.began))
    }
}

/// True if a deadline passed; Linux reports a socket's time-out like a non-blocking read.
fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
