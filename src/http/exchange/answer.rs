//! Sends answers: at once, later, or piece by piece for as long as the reader stays. An answer that waits has no
//! thread, and a slow reader holds none that others need.

use super::{Conn, Done, LINGER_TIME, Service};
use crate::bell::Bell;
use crate::http::answers;
use crate::http::exchange::After;
use crate::http::head::{Head, Refusal};
use crate::http::later::{Feed, Later, Piece};
use crate::http::response::{Keep, Response, Sink};
use crate::http::socket::has_bytes;
use crate::http::transport::Transport;
use crate::model::address;
use crate::{clock, logger};
use std::io::{self, Write};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use tiny_http::Method;

/// Maximum size of a body that is sent in one buffer and one write with its head; the rest of a longer one follows
/// without copying.
const ONE_WRITE_BYTES_MAX: usize = 64 << 10;

/// Seconds after which to retry when there was no memory for an answer.
const ANSWERS_RETRY_AFTER_S: u64 = 1;

/// Time within which a reader of a stream must accept what is sent, or it is dropped.
const STREAM_WRITE_TIME: Duration = Duration::from_secs(10);

impl Sink for Transport {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.until(STREAM_WRITE_TIME);
        self.write_all(bytes)
    }
}

/// Kind of a wait without a thread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wants {
    /// The client's next request.
    Request,
    /// News that its answer is about, or more of them.
    News,
    /// Room in the socket for the rest of its answer.
    Room,
}

/// The same, with all that is needed to go on.
#[derive(Default)]
pub(super) enum Wait {
    #[default]
    Request,
    Answer(Box<Pending>),
    Feed(Box<dyn Feed>, Instant),
    Room(Box<Sending>),
}

/// Facts of a request that its answer needs.
pub(super) struct Asked {
    pub id: String,
    pub method: String,
    pub path: String,
    pub head_only: bool,
    /// True for a safe method (RFC 9110, 9.2.1).
    is_safe: bool,
    /// True if the client keeps the connection open, and if a client of HTTP/1.0 says so.
    keep: bool,
    says_keep: bool,
    began: Instant,
}

/// A request whose answer is given later.
pub(super) struct Pending {
    pub asked: Asked,
    pub later: Box<Later<Response>>,
    /// The source that log lines are counted for.
    pub source: Option<IpAddr>,
}

/// The rest of an answer, or of a piece of one.
pub(super) struct Sending {
    bytes: Vec<u8>,
    sent: usize,
    until: Instant,
    next: Next,
    _share: Option<answers::Share>,
}

/// Continuation after the bytes.
enum Next {
    Request,
    Close,
    Feed(Box<dyn Feed>),
}

impl Asked {
    /// A request whose head could not be read.
    pub fn unknown(id: String, head_only: bool, began: Instant) -> Asked {
        let (method, path) = ("-".to_string(), "-".to_string());
        Asked { id, method, path, head_only, is_safe: true, keep: false, says_keep: false, began }
    }

    /// A request with this head.
    pub fn of(head: &Head, began: Instant) -> Asked {
        let request = &head.request;
        let says_keep = request.header("connection").is_some_and(|v| v.to_ascii_lowercase().contains("keep-alive"));
        Asked {
            id: request.request_id.clone(),
            method: request.method.as_str().to_string(),
            path: request.path.clone(),
            head_only: request.method == Method::Head,
            is_safe: matches!(request.method, Method::Get | Method::Head | Method::Options),
            keep: head.keep,
            says_keep,
            began,
        }
    }

    /// The answer after a panic of the handler.
    pub fn panicked(&self) -> Response {
        log::error!(target: "api", event = "request.panicked", request_id = self.id, method = self.method,
            path = self.path; "A handler panicked");
        Response::error(500, "Internal error")
    }

    /// True if an answer of this status has no body.
    fn is_bare(&self, status: u16) -> bool {
        self.head_only || matches!(status, 204 | 304)
    }

    /// Writes the access log line, before the answer, so that it exists when the client has its answer.
    fn complete(&self, status_code: u16) {
        let duration_ms = clock::tick().duration_since(self.began).as_secs_f64() * 1e3;
        log::info!(
            target: "api", event = "request.complete", request_id = self.id, method = self.method, path = self.path,
            status_code = status_code, duration_ms:% = format_args!("{duration_ms:.1}");
            "Completed"
        );
    }
}

impl Conn {
    /// Kind of its wait.
    pub fn wants(&self) -> Wants {
        match self.wait {
            Wait::Request => Wants::Request,
            Wait::Answer(_) | Wait::Feed(..) => Wants::News,
            Wait::Room(_) => Wants::Room,
        }
    }

    /// The end of its wait; `idle_time` is that of a silent connection.
    pub fn until(&self, idle_time: Duration) -> Instant {
        match &self.wait {
            Wait::Request => self.transport.handshake_end().unwrap_or(self.silent_since + idle_time),
            Wait::Answer(pending) => pending.later.until,
            Wait::Feed(_, until) => *until,
            Wait::Room(sending) => sending.until,
        }
    }

    /// The bell that ends its wait.
    pub fn bell(&self) -> Option<Bell> {
        match &self.wait {
            Wait::Answer(pending) => Some(pending.later.bell.clone()),
            Wait::Feed(feed, _) => Some(feed.bell().clone()),
            Wait::Request | Wait::Room(_) => None,
        }
    }

    /// Continues an answer that waited. Never waits itself: the thread is shared.
    pub fn resume(mut self, service: &Service) -> After {
        match self.proceed(service) {
            Ok(Done::Waits) => After::Park(self),
            Ok(Done::Turn) => After::Turn(self),
            Ok(Done::More) => {
                self.silent_since = clock::tick();
                self.shrink();
                let has_more = !self.unread().is_empty() || self.transport.has_read_ahead();
                if has_more { After::Work(self) } else { After::Park(self) }
            }
            Ok(Done::Last) => {
                self.transport.until(LINGER_TIME);
                // Where nothing is unread, closing loses no answer.
                self.is_finished = self.transport.finish().is_ok();
                if self.is_finished && has_bytes(self.transport.socket()) { After::Work(self) } else { After::Close }
            }
            Err(_) => After::Close,
        }
    }

    /// Sends what there is now.
    pub(super) fn proceed(&mut self, service: &Service) -> io::Result<Done> {
        loop {
            match std::mem::take(&mut self.wait) {
                Wait::Request => return Ok(Done::More),
                Wait::Answer(pending) => self.conclude(service, *pending),
                Wait::Room(mut sending) => {
                    sending.sent += self.transport.send_now(&sending.bytes[sending.sent..])?;
                    if sending.sent < sending.bytes.len() || !self.transport.is_sent() {
                        self.wait = Wait::Room(sending);
                        return Ok(Done::Waits);
                    }
                    match sending.next {
                        Next::Request => return Ok(Done::More),
                        Next::Close => return Ok(Done::Last),
                        Next::Feed(feed) => {
                            // One piece at a time: a reader far behind must not keep the others from theirs.
                            self.wait = Wait::Feed(feed, clock::tick());
                            return Ok(Done::Turn);
                        }
                    }
                }
                Wait::Feed(mut feed, _) => match feed.next() {
                    Piece::Bytes(bytes) => {
                        let until = clock::tick() + STREAM_WRITE_TIME;
                        let next = Next::Feed(feed);
                        self.wait = Wait::Room(Box::new(Sending { bytes, sent: 0, until, next, _share: None }));
                    }
                    Piece::Silence(until) if !service.stop.is_raised() => {
                        self.wait = Wait::Feed(feed, until);
                        return Ok(Done::Waits);
                    }
                    Piece::Silence(_) | Piece::End => return Ok(Done::Last),
                },
            }
        }
    }

    /// Creates the answer that was waited for, ready to be sent.
    fn conclude(&mut self, service: &Service, pending: Pending) {
        let Pending { asked, later, source } = pending;
        let _context = logger::Context::request(&asked.id);
        let response = catch_unwind(AssertUnwindSafe(later.answer)).unwrap_or_else(|_| asked.panicked());
        let response = Response { source: response.source.or(source), ..response };
        let (response, share, keep) = self.prepare(service, &asked, response);
        let mut bytes = response.head(&asked.id, keep, clock::now());
        if !asked.is_bare(response.status) {
            bytes.extend_from_slice(&response.body);
        }
        let until = clock::tick() + service.limits.write_time;
        let next = if keep == Keep::No { Next::Close } else { Next::Request };
        self.wait = Wait::Room(Box::new(Sending { bytes, sent: 0, until, next, _share: share }));
    }

    /// Sends an answer at once, in the thread of its request.
    pub(super) fn send(&mut self, service: &Service, asked: &Asked, response: Response) -> io::Result<Done> {
        let (mut response, _share, keep) = self.prepare(service, asked, response);
        let mut out = response.head(&asked.id, keep, clock::now());
        self.transport.until(service.limits.write_time);
        if asked.is_bare(response.status) {
            self.transport.write_all(&out)?;
            return Ok(if keep == Keep::No { Done::Last } else { Done::More });
        }
        let first = response.body.len().min(ONE_WRITE_BYTES_MAX);
        out.extend_from_slice(&response.body[..first]);
        // A client may read slowly: do not keep copied bytes twice.
        let rest = if first < response.body.len() { response.body } else { Vec::new() };
        self.transport.write_all(&out)?;
        drop(out);
        self.transport.write_all(rest.get(first..).unwrap_or_default())?;
        if let Some(feed) = response.feed.take() {
            self.shrink();
            self.wait = Wait::Feed(feed, clock::tick());
            return self.proceed(service);
        }
        if let Some(stream) = response.stream {
            stream(&mut self.transport)?;
        }
        Ok(if keep == Keep::No { Done::Last } else { Done::More })
    }

    /// The answer with its share of memory, and the fate of the connection; logged, because it is about to be sent.
    fn prepare(
        &self,
        service: &Service,
        asked: &Asked,
        response: Response,
    ) -> (Response, Option<answers::Share>, Keep) {
        let owed = !asked.is_safe && response.status < 400;
        let (response, share) = self.within_budget(service, response, owed);
        self.standing.accept(&response);
        let is_open = response.stream.is_some() || response.feed.is_some();
        let keep = match (asked.keep && !service.stop.is_raised() && !is_open, asked.says_keep) {
            (false, _) => Keep::No,
            (true, true) => Keep::Said,
            (true, false) => Keep::Silent,
        };
        let source = || response.source.unwrap_or_else(|| address::client(self.peer.ip()));
        if response.status < 400 && !response.turned_away || service.lines.admits(source()) {
            asked.complete(response.status);
        }
        (response, share, keep)
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

    /// Answers for the front itself; no request follows, because its start is uncertain.
    pub(super) fn refuse(&mut self, refusal: &Refusal, asked: &Asked, service: &Service) -> io::Result<()> {
        if service.lines.admits(address::client(self.peer.ip())) {
            asked.complete(refusal.status);
        }
        let response = Response::error(refusal.status, refusal.detail);
        let mut out = response.head(&asked.id, Keep::No, clock::now());
        if !asked.head_only {
            out.extend_from_slice(&response.body);
        }
        self.transport.until(service.limits.write_time);
        self.transport.write_all(&out)
    }
}
