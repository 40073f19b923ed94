//! Requests: heads, bodies, and headers that proxies write.

use super::peer;
use crate::buckets::Buckets;
use crate::http::answers::Answers;
use crate::http::exchange::{Conn, Handler, Service};
use crate::http::head::{Framing, Head, Parsed, parse};
use crate::http::transport::Transport;
use crate::http::{Limits, Request, Response, cookie, form};
use crate::logger::Quota;
use crate::model::address::{self, Network};
use crate::percent;
use crate::thread::{Stop, lock};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use tiny_http::Method;

/// Limits small enough for short inputs to reach.
fn limits() -> Limits {
    Limits {
        head_bytes_max: 1024,
        headers_max: 12,
        body_bytes_max: 1024,
        body_bytes_free: 128,
        bodies_in_flight_bytes_max: 640,
        ..Limits::default()
    }
}

/// Text form of a head; a generated request id is left out, because it is always different.
fn described(head: &Head, bytes: &[u8]) -> String {
    let r = &head.request;
    let given = r.headers.iter().any(|(n, v)| n.eq_ignore_ascii_case("x-request-id") && *v == r.request_id);
    assert!(
        given || !bytes.windows(r.request_id.len()).any(|w| w == r.request_id.as_bytes()),
        "a made-up id was in the request"
    );
    let id = if given { r.request_id.as_str() } else { "" };
    let (method, keep, expects) = (r.method.as_str(), head.keep, head.expects_continue);
    format!("{method} {} {} {:?} {} {id} {keep} {expects} {:?}", r.path, r.query, r.headers, r.host, head.framing)
}

/// A request's head, at once and in pieces whose length is the first byte.
pub fn head(bytes: &[u8]) {
    let Some((&step, bytes)) = bytes.split_first() else { return };
    let limits = limits();
    let at_once = parse(bytes, bytes.len(), &limits, peer());
    let mut seen = 0;
    let in_pieces = loop {
        let fresh = usize::from(step.max(1)).min(bytes.len() - seen);
        seen += fresh;
        match parse(&bytes[..seen], fresh, &limits, peer()) {
            Parsed::Partial if seen < bytes.len() => {}
            other => break other,
        }
    };
    if let Parsed::Whole(head, used) = &at_once {
        assert!(
            *used <= bytes.len() && *used <= limits.head_bytes_max,
            "a head is longer than what was given, or than it may be"
        );
        assert!(bytes[..*used].ends_with(b"\r\n\r\n"), "a head ends with an empty line");
        let r = &head.request;
        assert!(
            r.path.starts_with('/') || (r.path == "*" && r.method == Method::Options),
            "a path begins with a slash"
        );
        let graphic = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        assert!(
            graphic(&r.path)
                && graphic(&r.query)
                && graphic(&r.request_id)
                && !r.request_id.is_empty()
                && r.request_id.len() <= 128
        );
        assert!(
            r.headers.len() <= limits.headers_max
                && r.headers.iter().all(|(n, v)| graphic(n) && v.trim_matches([' ', '\t']) == v)
        );
        assert!(r.host.is_ascii(), "whom a request is for is ASCII");
        assert!(r.headers.iter().all(|(_, v)| !v.bytes().any(|b| b"\r\n\0".contains(&b))), "a value is one line");
        let named = |name: &str| r.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count();
        assert!(
            named("host") <= 1 && named("content-length") + named("transfer-encoding") <= 1,
            "there is one way to read it"
        );
        match head.framing {
            Framing::Length(n) => {
                assert!(n <= limits.body_bytes_max && r.header("content-length").is_none_or(|v| v.parse() == Ok(n)))
            }
            Framing::Chunked => assert!(named("transfer-encoding") == 1),
        }
    }
    match (&at_once, &in_pieces) {
        (Parsed::Whole(a, used_a), Parsed::Whole(b, used_b)) => {
            assert_eq!((described(a, bytes), used_a), (described(b, bytes), used_b))
        }
        (Parsed::Partial, Parsed::Partial) => {}
        // If a head has two faults, pieces may reveal the other one first.
        (Parsed::Refused(a, _), Parsed::Refused(b, _)) => {
            assert!(a == b || a.status == 431 || b.status == 431, "{a:?} {b:?}")
        }
        // A head that arrives in pieces is parsed once per line, so a fault in its last line may not be seen yet.
        (Parsed::Refused(..), Parsed::Partial) => {
            let line = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            assert!(
                matches!(parse(&bytes[..line], line, &limits, peer()), Parsed::Partial),
                "a fault is missed in pieces"
            );
        }
        _ => panic!("pieces change what a head is"),
    }
}

/// A request that a conversation has passed to its handler.
#[derive(Debug, PartialEq)]
struct Heard {
    method: String,
    path: String,
    body: Vec<u8>,
}

/// The same limits, with memory for several bodies or for less than one.
fn roomy(roomy: bool) -> Limits {
    let limits = limits();
    Limits {
        bodies_in_flight_bytes_max: if roomy { 4 * limits.body_bytes_max } else { limits.bodies_in_flight_bytes_max },
        ..limits
    }
}

/// Runs a conversation over a pair of sockets that preserve the boundaries of the pieces. Returns the requests passed
/// on, and the statuses of the answers without `100 Continue`.
fn converse(limits: Limits, pieces: &[&[u8]]) -> (Vec<Heard>, Vec<u16>) {
    let (client, server) = UnixDatagram::pair().expect("a pair of sockets");
    client.set_nonblocking(true).expect("a socket that does not wait");
    // An empty piece is read as the end, once for the conversation and once for what is thrown away after it.
    for piece in pieces.iter().filter(|piece| !piece.is_empty()).chain([&&b""[..], &&b""[..]]) {
        client.send(piece).expect("the pieces are few and short");
    }
    let heard = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    // Takes answers as they arrive: there is room for few.
    let take = move |statuses: &mut Vec<u16>| {
        let mut answer = [0; 2048];
        while let Ok(count @ 1..) = client.recv(&mut answer) {
            let status = answer[..count]
                .strip_prefix(b"HTTP/1.1 ")
                .and_then(|rest| std::str::from_utf8(&rest[..3]).ok()?.parse().ok());
            statuses.extend(status.filter(|status: &u16| *status != 100));
        }
    };
    let take = Arc::new(take);
    let (noting, taking) = (Arc::clone(&heard), Arc::clone(&take));
    let handler: Handler = Arc::new(move |request: Request| {
        let mut heard = lock(&noting);
        taking(&mut heard.1);
        heard.0.push(Heard { method: request.method.as_str().to_string(), path: request.path, body: request.body });
        Response::empty(204)
    });
    let service = Service {
        limits,
        handler,
        tls: None,
        stop: Stop::default(),
        holding: AtomicUsize::new(0),
        bodies_bytes: AtomicUsize::new(0),
        answers: Answers::new(1 << 20),
        handshakes: Buckets::new(1.0, 1.0),
        lines: Quota::default(),
    };
    let transport = Transport::over(TcpStream::from(OwnedFd::from(server)));
    let conn = Conn::new(transport, peer()).converse(&service);
    assert_eq!(service.bodies_bytes.into_inner(), 0, "memory for bodies was not given back");
    drop(conn);
    let mut heard = lock(&heard);
    take(&mut heard.1);
    std::mem::take(&mut *heard)
}

/// Bodies, as a conversation reads them: the first seven bytes are the lengths of pieces; the rest is the last piece.
/// An odd seventh byte selects a small memory budget.
pub fn body(bytes: &[u8]) {
    let Some((cuts, bytes)) = bytes.split_first_chunk::<7>() else { return };
    // A piece that is longer than one read would lose its end.
    let bytes = &bytes[..bytes.len().min(4096)];
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for cut in cuts {
        let (piece, left) = rest.split_at(usize::from(*cut).min(rest.len()));
        pieces.push(piece);
        rest = left;
    }
    pieces.push(rest);
    let limits = || roomy(cuts[6] % 2 == 1);
    let (at_once, statuses) = converse(limits(), &[bytes]);
    let (in_pieces, statuses_in_pieces) = converse(limits(), &pieces);
    assert_eq!(at_once, in_pieces, "pieces change what is read");
    // Pieces may change which fault is seen first, and whether a truncated head's is seen; `head` checks exactly.
    let served = |statuses: &[u16]| statuses.iter().filter(|status| **status < 400).count();
    assert_eq!((served(&statuses), statuses.len() <= at_once.len() + 1), (at_once.len(), true), "{statuses:?}");
    assert!(
        statuses_in_pieces == statuses
            || statuses_in_pieces == statuses[..at_once.len()]
            || statuses.last().zip(statuses_in_pieces.last()).is_some_and(|(a, b)| *a >= 400 && *b >= 400),
        "{statuses:?} {statuses_in_pieces:?}"
    );
    assert!(at_once.iter().map(|r| r.body.len()).sum::<usize>() <= bytes.len(), "bodies are longer than what was sent");
    assert!(at_once.iter().all(|r| r.body.len() <= limits().body_bytes_max));

    // What is sent in chunks arrives as it was, and what follows it is the next request.
    let sent = &bytes[..bytes.len().min(limits().body_bytes_free)];
    let mut wire = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let mut rest = sent;
    for cut in cuts.iter().map(|cut| usize::from(*cut)).chain([usize::MAX]) {
        let (chunk, left) = rest.split_at(cut.min(rest.len()));
        rest = left;
        if !chunk.is_empty() {
            wire.extend_from_slice(format!("{:x};ext=\"a\"\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
    }
    wire.extend_from_slice(b"0\r\nTrailer: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: ");
    wire.extend_from_slice(format!("{}\r\n\r\n", sent.len()).as_bytes());
    wire.extend_from_slice(sent);
    let want = ["/a", "/b"].map(|path| Heard { method: "POST".into(), path: path.into(), body: sent.to_vec() });
    let (first, second) = wire.split_at(usize::from(cuts[0]).min(wire.len()));
    assert_eq!(converse(limits(), &[first, second]), (want.into(), vec![204, 204]));
}

/// Cookies, forms, percent-encoding, and what proxies say. The first byte chooses the peer.
pub fn headers(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let text = &*String::from_utf8_lossy(bytes);

    if let Some(value) = cookie::find(text, "sid") {
        assert!(text.contains(value) && !value.contains(';') && value.trim() == value);
    }
    let line: String = text.chars().filter(|c| *c != ';').collect();
    assert_eq!(cookie::find(&cookie::set("sid", &line, "", 60, true), "sid"), Some(line.trim()));

    let pairs = form::parse(bytes);
    assert!(pairs.len() <= form::PAIRS_MAX);
    let written: Vec<String> =
        pairs.iter().map(|(n, v)| format!("{}={}", percent::encode(n), percent::encode(v))).collect();
    assert_eq!(form::parse(written.join("&").as_bytes()), pairs, "a form reads as it was written");

    let encoded = percent::encode(text);
    assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
    assert_eq!((percent::decode(&encoded).as_deref(), &*percent::decode_form(encoded.as_bytes())), (Some(text), text));
    if let Some(decoded) = percent::decode(text) {
        assert!(decoded.len() <= text.len() && percent::decode(&percent::encode(&decoded)) == Some(decoded));
    }

    let peer: IpAddr = [[127, 0, 0, 1], [10, 0, 0, 3], [192, 0, 2, 1]]
        .get(usize::from(choice % 4))
        .map_or("fd00::1".parse(), |v4| Ok((*v4).into()))
        .expect("an address");
    believed(text, peer);
}

/// Reads these header lines from this peer, and checks which client is believed.
fn believed(lines: &str, peer: IpAddr) {
    let trusted = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"].map(|n| Network::parse(n).expect("a network"));
    let trusts = |address: &IpAddr| trusted.iter().any(|network| network.contains(*address));
    let mut request = Request::empty(Method::Get, "/");
    (request.peer, request.client) = (SocketAddr::new(peer, 9), peer);
    request.host = "inner".to_string();
    request.headers = lines
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(n, v)| (n.to_string(), v.trim().to_string()))
        .collect();
    request.believe(&trusted);
    if !trusts(&peer) {
        assert_eq!(
            (request.client, request.secure, request.host.as_str()),
            (peer, false, "inner"),
            "a stranger was believed"
        );
        return;
    }
    assert_eq!(
        request.unnamed.is_some(),
        request.client == address::UNNAMED,
        "a client without a name is the unnamed one"
    );
    let named = |name: &str| -> Vec<String> {
        let of_name = request.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        of_name.flat_map(|(_, v)| v.split(',').map(|part| part.trim().to_string())).collect()
    };
    let (nodes, schemes, hosts) = (named("x-forwarded-for"), named("x-forwarded-proto"), named("x-forwarded-host"));
    if nodes.is_empty() && schemes.is_empty() && hosts.is_empty() {
        return;
    }
    // From the nearest: the leading trusted proxies, and the first address that is not one.
    let plain: Option<Vec<IpAddr>> = nodes.iter().map(|text| text.parse().ok()).collect();
    if let Some(plain) = plain.filter(|all| all.iter().all(|address| !address.to_canonical().is_unspecified())) {
        let plain: Vec<IpAddr> = plain.iter().rev().map(IpAddr::to_canonical).collect();
        let client = plain.iter().find(|address| !trusts(address)).or(plain.last());
        assert_eq!(&request.client, client.unwrap_or(&address::UNNAMED));
    }
    assert_eq!(request.secure, schemes.last().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")));
    let host = hosts.last().filter(|host| !host.is_empty());
    assert_eq!(&request.host, host.unwrap_or(&"inner".to_string()));
}
