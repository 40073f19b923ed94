//! The conversation on one connection: a request in, its answer out, in order, until either side ends it or it falls
//! silent. Every wait has a deadline and every buffer a limit. `listen` decides who may connect and which thread runs
//! this.

mod body;

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use self::body::Share;
use crate::buckets::Buckets;
use crate::http::answers::{self, Answers};
use crate::http::head::{self, Head, Parsed, Refusal};
use crate::http::limits::Limits;
use crate::http::request::Request;
use crate::http::response::{Keep, Response, Sink};
use crate::http::slots::Standing;
use crate::http::transport::{Begun, TlsSource, Transport};
use crate::model::address;
use crate::thread::Stop;
use crate::{clock, crypto, logger};
use tiny_http::Method;

/// Bytes requested from the socket at once.
const READ_BYTES: usize = 8 << 10;

/// Maximum size of a body that is sent in one buffer and one write with its head; the rest of a longer one follows
/// without copying.
const ONE_WRITE_BYTES_MAX: usize = 64 << 10;

/// Time and amount for which a closing connection still reads: closing with unread bytes would make the kernel reset
/// the connection, and the client would lose the answer.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 4 << 20;

/// Seconds after which to retry when there was no memory for an answer.
const ANSWERS_RETRY_AFTER_S: u64 = 1;

/// Time within which a reader of a stream must accept what is sent, or it is dropped.
const STREAM_WRITE_TIME: Duration = Duration::from_secs(10);

/// Turns a request into an answer. A panic becomes a 500.
pub type Handler = Arc<dyn Fn(Request) -> Response + Send + Sync>;

impl Sink for Transport {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.until(STREAM_WRITE_TIME);
        self.write_all(bytes)
    }
}

/// State shared by all conversations.
pub(crate) struct Service {
    pub limits: Limits,
    pub handler: Handler,
    /// TLS configurations; `None` for plain HTTP only.
    pub tls: Option<TlsSource>,
    pub stop: Stop,
    /// Bytes of bodies in memory, over all connections.
    pub bodies_bytes: AtomicUsize,
    /// Memory of answers that wait to be sent.
    pub answers: Arc<Answers>,
    /// TLS handshakes, by address.
    pub handshakes: Buckets<IpAddr>,
    /// Lines about refused requests.
    pub lines: logger::Quota,
}

/// Next step of a connection when its conversation pauses.
#[derive(Debug, PartialEq)]
enum After {
    Close,
    /// Silent and between two requests: it can wait for the next one without a thread.
    Park,
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
}

impl Conn {
    pub fn new(transport: Transport, peer: SocketAddr) -> Conn {
        let (silent_since, standing) = (clock::tick(), Arc::default());
        Conn { transport, peer, silent_since, standing, pace: None, certificate: None, buffer: Vec::new(), start: 0 }
    }

    /// The client's address.
    pub fn address(&self) -> IpAddr {
        self.peer.ip()
    }

    /// Serves requests until the connection ends or falls silent; returns it if it can wait without a thread.
    pub fn converse(mut self, service: &Service) -> Option<Conn> {
        self.transport.until(service.limits.hold_time);
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
                return Some(self);
            }
            Begun::Ended(why) => {
                if let Some(why) = why.filter(|_| service.lines.admits(source)) {
                    log::info!(target: "api", event = "tls.refused", address:% = peer, error:% = why;
                        "A TLS handshake failed");
                }
                return None;
            }
        }
        if self.certificate.is_none() {
            self.certificate = self.transport.client_certificate();
        }
        (self.exchanges(service) == After::Park).then_some(self)
    }

    fn exchanges(&mut self, service: &Service) -> After {
        loop {
            if self.unread().is_empty() {
                if service.stop.is_raised() {
                    return After::Close;
                }
                self.transport.until(service.limits.hold_time);
                match self.fill() {
                    Ok(0) => return After::Close,
                    Ok(_) => {}
                    Err(e) if timed_out(&e) => {
                        // A parked connection is cheap because it has no buffer.
                        self.buffer = Vec::new();
                        let over = clock::tick() >= self.silent_since + service.limits.idle_time;
                        return if over { After::Close } else { After::Park };
                    }
                    Err(_) => return After::Close,
                }
            }
            match self.exchange(service) {
                Ok(true) => self.silent_since = clock::tick(),
                Ok(false) => {
                    self.linger();
                    return After::Close;
                }
                Err(_) => return After::Close,
            }
        }
    }

    /// Handles one request; returns true if another may follow.
    fn exchange(&mut self, service: &Service) -> io::Result<bool> {
        let limits = &service.limits;
        let began = clock::tick();
        self.transport.until(limits.head_time);
        let (mut head, keep_alive_said) = match self.head(limits) {
            Ok(head) => {
                let said =
                    head.request.header("connection").is_some_and(|v| v.to_ascii_lowercase().contains("keep-alive"));
                (head, said)
            }
            Err((Trouble::Gone, _)) => return Ok(false),
            Err((Trouble::Refused(refusal), id)) => {
                let id = id.unwrap_or_else(crypto::uuid);
                let head_only = self.unread().trim_ascii_start().starts_with(b"HEAD ");
                if service.lines.admits(address::client(self.peer.ip())) {
                    complete(&id, "-", "-", refusal.status, began);
                }
                return self.refuse(&refusal, &id, head_only, limits);
            }
        };
        let began = clock::tick();
        let head_only = head.request.method == Method::Head;
        let (id, method, path) =
            (head.request.request_id.clone(), head.request.method.clone(), head.request.path.clone());
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
            Err(Trouble::Gone) => return Ok(false),
            Err(Trouble::Refused(refusal)) => {
                if service.lines.admits(address::client(self.peer.ip())) {
                    complete(&id, method.as_str(), &path, refusal.status, began);
                }
                return self.refuse(&refusal, &id, head_only, limits);
            }
        }

        let Head { mut request, keep, .. } = *head;
        request.secure = self.transport.is_secure();
        request.certificate.clone_from(&self.certificate);
        let _context = logger::Context::request(&id);
        self.standing.set_busy(true);
        let response = catch_unwind(AssertUnwindSafe(|| (service.handler)(request))).unwrap_or_else(|_| {
            log::error!(target: "api", event = "request.panicked", request_id = id, method = method.as_str(),
                path = path; "A handler panicked");
            Response::error(500, "Internal error")
        });
        drop(share);
        let owed = !is_safe(&method) && response.status < 400;
        let (response, _share) = self.within_budget(service, response, owed);
        if let Some(holder) = &response.holder {
            self.standing.prove(holder);
        }
        self.standing.set_busy(false);

        let keep = match keep && !service.stop.is_raised() && response.stream.is_none() {
            false => Keep::No,
            true if keep_alive_said => Keep::Said,
            true => Keep::Silent,
        };
        let mut out = response.head(&id, keep, clock::now());
        let source = || response.source.unwrap_or_else(|| address::client(self.peer.ip()));
        if response.status < 400 && !response.turned_away || service.lines.admits(source()) {
            complete(&id, method.as_str(), &path, response.status, began);
        }
        self.transport.until(limits.write_time);
        if head_only || matches!(response.status, 204 | 304) {
            self.transport.write_all(&out)?;
        } else {
            let first = response.body.len().min(ONE_WRITE_BYTES_MAX);
            out.extend_from_slice(&response.body[..first]);
            // A client may read slowly: do not keep copied bytes twice.
            let rest = if first < response.body.len() { response.body } else { Vec::new() };
            self.transport.write_all(&out)?;
            drop(out);
            self.transport.write_all(rest.get(first..).unwrap_or_default())?;
            if let Some(stream) = response.stream {
                stream(&mut self.transport)?;
            }
        }
        Ok(keep != Keep::No)
    }

    /// The answer with its share of memory, or a refusal if there is not enough. An answer that reports a completed
    /// action is `owed`.
    fn within_budget(
        &self,
        service: &Service,
        mut response: Response,
        owed: bool,
    ) -> (Response, Option<answers::Share>) {
        let source = || response.source.unwrap_or_else(|| address::client(self.peer.ip())).to_string();
        let caller = response.holder.clone().unwrap_or_else(source);
        if let Some(share) = service.answers.admit(&caller, response.body.len(), owed) {
            response.body.shrink_to_fit();
            return (response, Some(share));
        }
        let sentence = "Too many answers are waiting to be read: read the pending ones, then try again.";
        let refusal = Response::error(503, sentence).with("Retry-After", ANSWERS_RETRY_AFTER_S.to_string());
        (Response { source: response.source, holder: response.holder, ..refusal }, None)
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

    /// Answers for the front itself; no request follows, because its start is uncertain.
    fn refuse(&mut self, refusal: &Refusal, id: &str, head_only: bool, limits: &Limits) -> io::Result<bool> {
        let response = Response::error(refusal.status, refusal.detail);
        let mut out = response.head(id, Keep::No, clock::now());
        if !head_only {
            out.extend_from_slice(&response.body);
        }
        self.transport.until(limits.write_time);
        self.transport.write_all(&out)?;
        Ok(false)
    }

    /// Closes the connection so that the client receives the last answer.
    fn linger(&mut self) {
        if self.transport.finish().is_err() {
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

/// True for a safe method (RFC 9110, 9.2.1).
fn is_safe(method: &Method) -> bool {
    matches!(method, Method::Get | Method::Head | Method::Options)
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

/// Writes the access log line, before the answer, so that it exists when the client has its answer.
fn complete(request_id: &str, method: &str, path: &str, status_code: u16, began: Instant) {
    let duration_ms = clock::tick().duration_since(began).as_secs_f64() * 1e3;
    log::info!(
        target: "api", event = "request.complete", request_id = request_id, method = method, path = path,
        status_code = status_code, duration_ms:% = format_args!("{duration_ms:.1}");
        "Completed"
    );
}
