//! An answer as handlers create it, and its head on the wire, with the headers that every answer has.

use std::io::{self, Write};
use std::net::IpAddr;

use serde::Serialize;
use tiny_http::StatusCode;

use crate::clock::Timestamp;
use crate::http::later::{Feed, Later};

/// Default headers, unless the handler sets them: no sniffing, framing, leaking or caching.
const DEFAULT_HEADERS: [(&str, &str); 7] = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; form-action \
            'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
];

/// Headers that only the front writes: a handler's could make the end of an answer ambiguous.
const FRONT_HEADERS: [&str; 5] = ["Connection", "Content-Length", "Date", "Transfer-Encoding", "X-Request-ID"];

/// Destination of a streamed answer.
pub trait Sink {
    /// Sends bytes within the time that an active reader needs; an error means that the reader is gone.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Writes an answer piece by piece, until it ends or the reader is gone.
pub type Stream = Box<dyn FnOnce(&mut dyn Sink) -> io::Result<()> + Send>;

/// An answer.
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers in order; add them with [`Response::with`], which strips control characters.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Writes what follows the body, until the connection closes.
    pub stream: Option<Stream>,
    /// Stands in for this answer, which is not known yet.
    pub later: Option<Box<Later<Response>>>,
    /// Continues after the body, until the connection closes, without a thread while there is nothing new.
    pub feed: Option<Box<dyn Feed>>,
    /// Length of the stream in bytes, if known: a reader can then detect a truncated answer.
    pub stream_bytes: Option<u64>,
    /// The source that log lines about refusals are counted for; `None` for the peer.
    pub source: Option<IpAddr>,
    /// The authenticated caller, for shares of resources.
    pub holder: Option<String>,
    /// True for a caller whose connection is kept before all others: a node that has shown its certificate.
    pub is_resident: bool,
    /// True for an anonymous caller that was redirected: like a refusal it costs its sender nothing, and must not fill
    /// the disk.
    pub turned_away: bool,
}

impl Response {
    /// A value as JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Response {
        match serde_json::to_vec(value) {
            Ok(body) => Response::raw_json(status, body),
            Err(error) => {
                log::error!(target: "api", event = "response.unserializable", error:% = error; "Could not serialize a \
                    response");
                Response::error(500, "Internal error")
            }
        }
    }

    /// JSON that is already text.
    pub fn raw_json(status: u16, body: Vec<u8>) -> Response {
        Response::bytes(status, "application/json", body)
    }

    /// A page.
    pub fn html(status: u16, page: String) -> Response {
        Response::bytes(status, "text/html; charset=utf-8", page.into_bytes())
    }

    /// Bytes of any media type.
    pub fn bytes(status: u16, content_type: &'static str, body: Vec<u8>) -> Response {
        Response { body, ..Response::empty(status) }.with("Content-Type", content_type.to_string())
    }

    /// `{"detail": "..."}`.
    pub fn error(status: u16, detail: &str) -> Response {
        Response::raw_json(status, serde_json::json!({ "detail": detail }).to_string().into_bytes())
    }

    /// Redirects the client to an encoded URL. Characters that are not allowed in a header are encoded and never
    /// dropped, because the path would change.
    pub fn redirect(status: u16, to: &str) -> Response {
        let mut encoded = String::with_capacity(to.len());
        for byte in to.bytes() {
            match byte {
                b if b.is_ascii_graphic() => encoded.push(char::from(b)),
                b => encoded.push_str(&format!("%{b:02X}")),
            }
        }
        Response::empty(status).with("Location", encoded)
    }

    /// No body.
    pub fn empty(status: u16) -> Response {
        Response {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            stream: None,
            later: None,
            feed: None,
            stream_bytes: None,
            source: None,
            holder: None,
            is_resident: false,
            turned_away: false,
        }
    }

    /// Marks the answer as one to an anonymous caller.
    pub fn turned_away(mut self) -> Response {
        self.turned_away = true;
        self
    }

    /// An answer that is written piece by piece.
    pub fn streamed(content_type: &'static str, stream: Stream) -> Response {
        let mut response = Response::bytes(200, content_type, Vec::new());
        response.stream = Some(stream);
        response
    }

    /// The same, with a known length.
    pub fn sized(content_type: &'static str, bytes: u64, stream: Stream) -> Response {
        let mut response = Response::streamed(content_type, stream);
        response.stream_bytes = Some(bytes);
        response
    }

    /// An answer that is given later.
    pub fn later(later: Later<Response>) -> Response {
        Response { later: Some(Box::new(later)), ..Response::empty(202) }
    }

    /// An answer that grows for as long as its reader stays.
    pub fn growing(content_type: &'static str, feed: Box<dyn Feed>) -> Response {
        Response { feed: Some(feed), ..Response::bytes(200, content_type, Vec::new()) }
    }

    /// Adds a header. Drops control characters and everything except ASCII from the value, so that no value can end its
    /// line and begin another.
    pub fn with(mut self, name: &'static str, mut value: String) -> Response {
        value.retain(|c| c == ' ' || c.is_ascii_graphic());
        self.headers.push((name, value));
        self
    }

    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The head as bytes, including the empty line.
    pub(super) fn head(&self, request_id: &str, keep: Keep, now: Timestamp) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        // Writing to a Vec cannot fail.
        let _ = self.write_head(&mut out, request_id, keep, now);
        out
    }

    fn write_head(&self, out: &mut Vec<u8>, request_id: &str, keep: Keep, now: Timestamp) -> io::Result<()> {
        write!(out, "HTTP/1.1 {} {}\r\n", self.status, StatusCode(self.status).default_reason_phrase())?;
        write!(out, "Date: {}\r\nX-Request-ID: {request_id}\r\n", http_date(now))?;
        for (name, value) in &self.headers {
            if !FRONT_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
                write!(out, "{name}: {value}\r\n")?;
            }
        }
        for (name, value) in DEFAULT_HEADERS {
            if self.header(name).is_none() {
                write!(out, "{name}: {value}\r\n")?;
            }
        }
        // These two have no body by definition, not one of length zero.
        let is_open = self.stream.is_some() || self.feed.is_some();
        let bytes = if is_open { self.stream_bytes } else { Some(self.body.len() as u64) };
        if let Some(bytes) = bytes.filter(|_| !matches!(self.status, 204 | 304)) {
            write!(out, "Content-Length: {bytes}\r\n")?;
        }
        match keep {
            Keep::Silent => {}
            Keep::Said => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            Keep::No => out.extend_from_slice(b"Connection: close\r\n"),
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// Fate of the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Keep {
    /// It stays open, which is the default.
    Silent,
    /// It stays open, and a client of HTTP/1.0 must be informed.
    Said,
    /// It closes.
    No,
}

/// A time in the form of the `Date` header, `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(at: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day, hour, minute, second, _) = at.parts();
    // The first day of 1970 was a Thursday.
    let weekday = DAYS[at.secs().div_euclid(86_400).rem_euclid(7) as usize];
    let month = MONTHS[month as usize - 1];
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(response: &Response, keep: Keep) -> String {
        String::from_utf8(response.head("id-1", keep, Timestamp::from_secs(784_111_777))).expect("a head is ASCII")
    }

    #[test]
    fn every_answer_carries_its_id_its_date_and_the_security_headers() {
        let text = head(&Response::json(201, &[1, 2]), Keep::Silent);
        assert!(
            text.starts_with("HTTP/1.1 201 Created\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Request-ID: id-1\r\n"),
            "{text}"
        );
        for (name, value) in DEFAULT_HEADERS {
            assert!(text.contains(&format!("\r\n{name}: {value}\r\n")), "{text}");
        }
        assert!(
            text.contains("\r\nContent-Type: application/json\r\n") && text.ends_with("\r\nContent-Length: 5\r\n\r\n"),
            "{text}"
        );
    }

    #[test]
    fn a_handlers_header_replaces_the_default_and_never_the_framing() {
        let response = Response::empty(200)
            .with("cache-control", "max-age=60".to_string())
            .with("content-length", "9".to_string());
        let text = head(&response, Keep::No);
        assert!(text.contains("\r\ncache-control: max-age=60\r\n") && !text.contains("no-store"), "{text}");
        assert!(
            text.ends_with("\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") && !text.contains("content-length: 9"),
            "{text}"
        );
    }

    #[test]
    fn no_value_can_begin_a_line_of_its_own() {
        let text = head(&Response::redirect(303, "/a\r\nSet-Cookie: x=1\0\u{e9}"), Keep::Said);
        assert!(text.contains("\r\nLocation: /a%0D%0ASet-Cookie:%20x=1%00%C3%A9\r\n"), "{text}");
        let text = head(&Response::empty(200).with("X-A", "a\r\nSet-Cookie: x=1\0\u{e9}".to_string()), Keep::Said);
        assert!(text.contains("\r\nX-A: aSet-Cookie: x=1\r\n"), "{text}");
    }

    #[test]
    fn an_answer_without_a_body_has_no_length() {
        assert!(!head(&Response::empty(204), Keep::Silent).contains("Content-Length"));
    }
}
