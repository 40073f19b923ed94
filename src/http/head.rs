//! Parses the head of a request and refuses what must be refused.
//!
//! Request smuggling starts in the head, so everything that two servers could interpret differently is refused here.
//! `exchange` waits for bytes and reads the body.

use crate::crypto;
use crate::http::limits::Limits;
use crate::http::request::Request;
use std::borrow::Cow;
use std::net::SocketAddr;
use tiny_http::Method;

/// Maximum length of a client's `X-Request-ID` that is used.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Absolute maximum of headers, whatever the limits: the parser's table is on the stack.
const HEADERS_CEILING: usize = 128;

/// Maximum digits of a `Content-Length` that is parsed: beyond any limit, below any overflow.
const LENGTH_DIGITS_MAX: usize = 15;

/// Headers that say where a request ends and who it is for: non-ASCII bytes in them are refused. Other headers may
/// contain any bytes.
const FRAMING: [&str; 5] = ["content-length", "transfer-encoding", "host", "connection", "expect"];

/// Answers of the front itself, before it closes the connection.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal {
    pub status: u16,
    pub detail: &'static str,
}

impl Refusal {
    pub const HEAD_TOO_LARGE: Refusal = Refusal { status: 431, detail: "Request head too large" };
    pub const BODY_TOO_LARGE: Refusal = Refusal { status: 413, detail: "Request body too large" };

    pub fn bad(detail: &'static str) -> Refusal {
        Refusal { status: 400, detail }
    }
}

/// Framing of the body.
#[derive(Debug, PartialEq)]
pub(crate) enum Framing {
    /// Length in bytes; zero without a body.
    Length(usize),
    Chunked,
}

/// A head, and its meaning for the exchange.
pub(crate) struct Head {
    /// The request without its body.
    pub request: Request,
    pub framing: Framing,
    /// True if the client keeps the connection open.
    pub keep: bool,
    /// True if the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// Result of parsing.
pub(crate) enum Parsed {
    /// More bytes are needed.
    Partial,
    /// A head and its length in bytes.
    Whole(Box<Head>, usize),
    /// A refusal, with the client's request id if it could be read.
    Refused(Refusal, Option<String>),
}

/// Parses a head from the front of `bytes`, of which the last `fresh` are new.
pub(crate) fn parse(bytes: &[u8], fresh: usize, limits: &Limits, peer: SocketAddr) -> Parsed {
    let partial = || {
        if bytes.len() >= limits.head_bytes_max {
            Parsed::Refused(Refusal::HEAD_TOO_LARGE, None)
        } else {
            Parsed::Partial
        }
    };
    // A head that arrives slowly is parsed once per line, not once per byte.
    if !bytes[bytes.len() - fresh..].contains(&b'\n') {
        return partial();
    }
    let mut table = [httparse::EMPTY_HEADER; HEADERS_CEILING];
    let mut raw = httparse::Request::new(&mut table[..limits.headers_max.min(HEADERS_CEILING)]);
    let refuse = |refusal| Parsed::Refused(refusal, None);
    let used = match raw.parse(bytes) {
        Ok(httparse::Status::Complete(used)) if used > limits.head_bytes_max => return refuse(Refusal::HEAD_TOO_LARGE),
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return partial(),
        Err(httparse::Error::TooManyHeaders) => return refuse(Refusal::HEAD_TOO_LARGE),
        Err(httparse::Error::Version) => return refuse(Refusal { status: 505, detail: "HTTP version not supported" }),
        Err(_) => return refuse(Refusal::bad("Malformed request head")),
    };
    let own_id =
        raw.headers.iter().find(|h| h.name.eq_ignore_ascii_case("x-request-id")).and_then(|h| acceptable_id(h.value));
    let lines_end_in_crlf =
        bytes[..used].iter().enumerate().all(|(i, &b)| b != b'\n' || (i > 0 && bytes[i - 1] == b'\r'));
    if !lines_end_in_crlf {
        return Parsed::Refused(Refusal::bad("Malformed request head"), own_id);
    }
    match judge(&raw, own_id.clone(), limits, peer) {
        Ok(head) => Parsed::Whole(Box::new(head), used),
        Err(refusal) => Parsed::Refused(refusal, own_id),
    }
}

/// Turns a syntactically valid head into a request, unless its parts contradict each other.
fn judge(raw: &httparse::Request, own_id: Option<String>, limits: &Limits, peer: SocketAddr) -> Result<Head, Refusal> {
    let (Some(method), Some(target), Some(minor)) = (raw.method, raw.path, raw.version) else {
        return Err(Refusal::bad("Malformed request head"));
    };
    let Target { authority, path, query } =
        target_of(method, target).ok_or(Refusal::bad("Malformed request target"))?;
    let method: Method = method.parse().map_err(|()| Refusal::bad("Malformed request method"))?;
    let mut said = Said::begin(minor);
    let mut headers = Vec::with_capacity(raw.headers.len());
    for header in raw.headers.iter() {
        if header.name.eq_ignore_ascii_case("x-request-id") && own_id.is_none() {
            // An unusable id is replaced by a new one.
            continue;
        }
        let name = header.name.to_ascii_lowercase();
        if !header.value.is_ascii() && FRAMING.contains(&name.as_str()) {
            return Err(Refusal::bad("Host and the headers that frame a request must be ASCII"));
        }
        let value = text_of(header.value);
        let value = value.trim_matches([' ', '\t']);
        said.hear(&name, value)?;
        headers.push((header.name.to_string(), value.to_string()));
    }
    let framing = said.framing(limits)?;
    let host = || {
        let named = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        named.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let request = Request {
        query: query.to_string(),
        host: authority.map_or_else(host, str::to_string),
        headers,
        peer,
        client: peer.ip(),
        request_id: own_id.unwrap_or_else(crypto::uuid),
        ..Request::empty(method, path)
    };
    Ok(Head { request, framing, keep: said.keep, expects_continue: said.expects_continue })
}

/// The headers of a head that frame it, as far as they were read.
struct Said {
    /// Minor version of HTTP/1.
    minor: u8,
    length: Option<u64>,
    chunked: bool,
    hosts: usize,
    keep: bool,
    expects_continue: bool,
}

impl Said {
    fn begin(minor: u8) -> Said {
        Said { minor, length: None, chunked: false, hosts: 0, keep: minor == 1, expects_continue: false }
    }

    /// Reads one header; `name` is in lower case.
    fn hear(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        match name {
            "content-length" => {
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                if self.length.is_some() || !digits {
                    return Err(Refusal::bad("Malformed Content-Length"));
                }
                // A number too long to parse exceeds any limit.
                let is_short = value.len() <= LENGTH_DIGITS_MAX;
                self.length = Some(if is_short { value.parse().unwrap_or(u64::MAX) } else { u64::MAX });
            }
            "transfer-encoding" => {
                if self.chunked || self.minor == 0 {
                    return Err(Refusal::bad("Malformed Transfer-Encoding"));
                }
                if !value.eq_ignore_ascii_case("chunked") {
                    return Err(Refusal { status: 501, detail: "Transfer-Encoding not supported" });
                }
                self.chunked = true;
            }
            "host" => self.hosts += 1,
            "connection" => {
                for token in value.split(',').map(str::trim) {
                    if token.eq_ignore_ascii_case("close") {
                        self.keep = false;
                    } else if token.eq_ignore_ascii_case("keep-alive") && self.minor == 0 {
                        self.keep = true;
                    }
                }
            }
            "expect" => {
                if !value.eq_ignore_ascii_case("100-continue") {
                    return Err(Refusal { status: 417, detail: "Expectation not supported" });
                }
                self.expects_continue = self.minor == 1;
            }
            _ => {}
        }
        Ok(())
    }

    /// The framing of the body, once all headers were read.
    fn framing(&self, limits: &Limits) -> Result<Framing, Refusal> {
        if self.chunked && self.length.is_some() {
            return Err(Refusal::bad("Content-Length and Transfer-Encoding contradict each other"));
        }
        if self.hosts > 1 || (self.hosts == 0 && self.minor == 1) {
            return Err(Refusal::bad("One Host header is required"));
        }
        match self.length {
            None if self.chunked => Ok(Framing::Chunked),
            None => Ok(Framing::Length(0)),
            Some(n) => match usize::try_from(n) {
                Ok(n) if n <= limits.body_bytes_max => Ok(Framing::Length(n)),
                _ => Err(Refusal::BODY_TOO_LARGE),
            },
        }
    }
}

/// The parts of a request target.
struct Target<'t> {
    /// The authority of the target, which overrides `Host` (RFC 9112, 3.2.2).
    authority: Option<&'t str>,
    path: &'t str,
    query: &'t str,
}

/// Splits a target: a path, a whole URL, or `*` for the server itself.
fn target_of<'t>(method: &str, target: &'t str) -> Option<Target<'t>> {
    if !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return None;
    }
    let scheme = |name: &str| target.get(..name.len()).filter(|begin| begin.eq_ignore_ascii_case(name)).map(str::len);
    let (authority, rest) = match scheme("http://").or_else(|| scheme("https://")) {
        Some(begin) => {
            let rest = &target[begin..];
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let sound = authority.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
            (Some(authority).filter(|authority| sound && !authority.is_empty())?.into(), rest)
        }
        None => (None, target),
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = match (path, authority) {
        ("", Some(_)) if method == "OPTIONS" && rest.is_empty() => "*",
        ("", Some(_)) => "/",
        ("*", None) if method == "OPTIONS" => "*",
        (path, _) if path.starts_with('/') => path,
        _ => return None,
    };
    Some(Target { authority, path, query })
}

/// The text of a header's value, whatever its bytes; ASCII is unchanged.
fn text_of(value: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(value).map_or_else(|_| value.iter().copied().map(char::from).collect(), Cow::Borrowed)
}

/// A client's request id, if it is safe in a header and a log line.
fn acceptable_id(value: &[u8]) -> Option<String> {
    let fits = (1..=REQUEST_ID_BYTES_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    if fits { String::from_utf8(value.to_vec()).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Parsed {
        parse(text.as_bytes(), text.len(), &Limits::default(), SocketAddr::from(([127, 0, 0, 1], 9)))
    }

    fn whole(text: &str) -> Head {
        match read(text) {
            Parsed::Whole(head, used) => {
                assert_eq!(used, text.len());
                *head
            }
            Parsed::Partial => panic!("partial: {text:?}"),
            Parsed::Refused(refusal, _) => panic!("{refusal:?}: {text:?}"),
        }
    }

    #[test]
    fn a_head_is_read_in_all_its_parts() {
        let head = whole(
            "POST /a%2Fb?c=%41+d&c HTTP/1.1\r\nHost: x\r\ncontent-length:  5 \r\nCookie: a=1\r\ncookie: \
                b=2\r\nX-Request-Id: own\r\n\r\n",
        );
        let request = &head.request;
        assert_eq!((request.path.as_str(), request.query.as_str()), ("/a%2Fb", "c=%41+d&c"));
        assert_eq!(request.query_pairs(), [("c".to_string(), "A d".to_string()), ("c".to_string(), String::new())]);
        assert_eq!((request.cookie("a"), request.cookie("b"), request.cookie("c")), (Some("1"), Some("2"), None));
        assert_eq!((request.request_id.as_str(), request.header("CONTENT-LENGTH")), ("own", Some("5")));
        assert_eq!((head.framing, head.keep, head.expects_continue), (Framing::Length(5), true, false));
    }

    #[test]
    fn keeping_the_connection_depends_on_version_and_header() {
        for (lines, keep) in [
            ("1.1\r\nHost: x", true),
            ("1.1\r\nHost: x\r\nConnection: Upgrade, Close", false),
            ("1.0", false),
            ("1.0\r\nConnection: keep-alive", true),
        ] {
            assert_eq!(whole(&format!("GET / HTTP/{lines}\r\n\r\n")).keep, keep, "{lines}");
        }
    }

    #[test]
    fn whatever_two_servers_could_read_in_two_ways_is_refused() {
        let get = |rest: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{rest}\r\n\r\n");
        for (status, text) in [
            (400, get("Content-Length: 0\r\nContent-Length: 5")),
            (400, get("Content-Length: 5\r\nTransfer-Encoding: chunked")),
            (400, get("Content-Length: +5")),
            (400, get("Content-Length: -1")),
            (400, get("Content-Length: 0x10")),
            (400, get("Content-Length: 5, 5")),
            (400, get("Content-Length:")),
            (413, get("Content-Length: 100000000000")),
            (413, get("Content-Length: 99999999999999999999")),
            (400, get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")),
            (501, get("Transfer-Encoding: identity")),
            (501, get("Transfer-Encoding: gzip, chunked")),
            (501, get("Transfer-Encoding: xchunked")),
            (417, get("Expect: something")),
            (400, get("Host: y")),
            (400, get("X-A: b\r\n Content-Length: 5")),
            (400, get("Content-Length : 5")),
            (400, get("X: a\rContent-Length: 5")),
            (400, get("X: a\0b")),
            (400, get("Content-Length: 5\u{e9}")),
            (400, get("Transfer-Encoding: chunked\u{a0}")),
            (400, get("Connection: \u{e9}")),
            (400, get("Expect: \u{e9}")),
            (400, "GET / HTTP/1.1\r\nHost: \u{e9}\r\n\r\n".to_string()),
            (400, get(": v")),
            (400, "GET / HTTP/1.1\r\n\r\n".to_string()),
            (400, "GET / HTTP/1.1\nHost: x\n\n".to_string()),
            (400, "GET /\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n".to_string()),
            (400, "GET /#x HTTP/1.1\r\nHost: x\r\n\r\n".to_string()),
            (400, "GET http://a@x/ HTTP/1.1\r\nHost: x\r\n\r\n".to_string()),
            (400, "GET http://x/#y HTTP/1.1\r\nHost: x\r\n\r\n".to_string()),
            (400, "GET http:/// HTTP/1.1\r\nHost: x\r\n\r\n".to_string()),
            (400, "GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n".to_string()),
            (400, "GET http://x/ HTTP/1.1\r\n\r\n".to_string()),
            (400, "GET  / HTTP/1.1\r\nHost: x\r\n\r\n".to_string()),
            (400, "GET * HTTP/1.1\r\nHost: x\r\n\r\n".to_string()),
            (400, "GET /\r\n\r\n".to_string()),
            (400, "G@T / HTTP/1.1\r\nHost: x\r\n\r\n".to_string()),
            (400, "GET / HTTP/1.1 foo\r\nHost: x\r\n\r\n".to_string()),
            (400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_string()),
            (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_string()),
            (505, "GET / HTTP/1.2\r\nHost: x\r\n\r\n".to_string()),
            (431, get(&"a: b\r\n".repeat(65))),
            (431, get(&format!("a: {}", "b".repeat(16 << 10)))),
        ] {
            match read(&text) {
                Parsed::Refused(refusal, _) => assert_eq!(refusal.status, status, "{text:?}"),
                Parsed::Whole(..) => panic!("accepted: {text:?}"),
                Parsed::Partial => panic!("waits for more: {text:?}"),
            }
        }
    }

    #[test]
    fn a_head_may_come_in_any_number_of_pieces() {
        let text = "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n";
        for cut in 0..text.len() {
            assert!(matches!(read(&text[..cut]), Parsed::Partial), "{cut}");
        }
        assert_eq!(whole(text).request.path, "*");
    }

    #[test]
    fn only_a_printable_request_id_is_taken_over_even_by_a_refusal() {
        let id = |value: &str| {
            whole(&format!("GET / HTTP/1.1\r\nHost: x\r\nX-Request-ID: {value}\r\n\r\n")).request.request_id
        };
        assert_eq!(id(&"a".repeat(128)), "a".repeat(128));
        for bad in [String::new(), "a b".to_string(), "a".repeat(129), "\u{e9}".to_string()] {
            let fresh = id(&bad);
            assert_eq!((fresh.len(), fresh.as_bytes()[14]), (36, b'4'), "{fresh}");
            assert_ne!(fresh, id(&bad));
        }
        let refused = read("GET / HTTP/1.1\r\nX-Request-ID: mine\r\n\r\n");
        assert!(matches!(refused, Parsed::Refused(_, Some(id)) if id == "mine"));
    }
}
