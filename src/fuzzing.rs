//! Fuzzing targets: every parser of untrusted input, as a function of bytes that panics if an invariant is violated.
//!
//! `tests/fuzz` runs them with cargo-fuzz. The test below runs the inputs kept in `tests/fuzz/corpus`.

use crate::buckets::Buckets;
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::control::access::sessions::Place;
use crate::control::events::Reader;
use crate::control::{Control, events};
use crate::crypto::lease::{self, LeaseClaims};
use crate::crypto::pki::{self, Ca, Csr, NodeKey, PublicKey};
use crate::crypto::{signature, token};
use crate::error::{Error, FieldFault, Loc};
use crate::http::answers::Answers;
use crate::http::exchange::{Conn, Handler, Service};
use crate::http::fields::Fields;
use crate::http::head::{Framing, Head, Parsed, parse};
use crate::http::transport::Transport;
use crate::http::{Limits, Request, Response, cookie, form};
use crate::inputs;
use crate::json;
use crate::logger::Quota;
use crate::model::address::{self, Network};
use crate::model::events::catalogue::{Kind, Level, NODE_CORDON};
use crate::model::events::{Event, EventFilter};
use crate::model::release::{Manifest, Version};
use crate::model::{Paging, ids, join_string::JoinString};
use crate::percent;
use crate::store::{QueryLog, Store, events as rows};
use crate::thread::{Stop, lock};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock};
use tiny_http::Method;

/// A target's name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("head", head),
    ("body", body),
    ("fields", fields),
    ("tokens", tokens),
    ("certificates", certificates),
    ("canonical", canonical),
    ("headers", headers),
    ("resume", resume),
    ("manifest", manifest),
];

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

fn peer() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

/// A directory for this process alone.
fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("uptimemesh-fuzz-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

/// Text form of a head; a generated request id is left out, because it is always different.
fn told(head: &Head, bytes: &[u8]) -> String {
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
            assert_eq!((told(a, bytes), used_a), (told(b, bytes), used_b))
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

/// Checks that faults are few, short, and valid JSON.
fn told_faults(faults: &[FieldFault], length: usize) {
    assert!(faults.len() <= 101, "{} faults", faults.len());
    for fault in faults {
        let json = serde_json::to_string(fault).expect("a fault can be written as JSON");
        // A key chosen by a client may be part of the location.
        assert!(json.len() <= 4096 + 6 * length, "a fault is longer than what is wrong");
        assert!(!fault.loc.is_empty() && !fault.kind.is_empty() && !fault.msg.is_empty());
        if fault.kind == "json_invalid" {
            assert!(matches!(fault.loc[..], [_, Loc::Index(at)] if at <= length), "{:?}", fault.loc);
        }
    }
}

fn read_all(f: &mut Fields) {
    assert!(f.text("text", 1..=8).optional().is_none_or(|t| (1..=8).contains(&t.chars().count())));
    let name = f.name("name").required();
    assert!(name.chars().count() <= 128 && !name.chars().any(char::is_control));
    let id: String = f.id("id").required();
    assert!(id.is_empty() || ids::is_id(&id));
    assert!(f.int("int", -5..=86_400).optional().is_none_or(|n| (-5..=86_400).contains(&n)));
    f.int("any", i64::MIN..=i64::MAX).optional();
    f.flag("flag").or(false);
    f.word("word", &["a", "b"], |w| ["a", "b"].contains(&w).then_some(())).optional();
    f.object("object").optional();
    if let Some(moment) = f.moment("since").optional() {
        assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment), "a moment reads as it is written");
    }
    assert!(f.labels("labels").optional().is_none_or(|l| l.len() <= 64));
    let words = f.words("words").optional().unwrap_or_default();
    assert!(words.len() <= 32 && words.iter().all(|w| (1..=64).contains(&w.chars().count())));
    assert!(f.lenient_count("count", 1000).is_none_or(|n| (0..=1000).contains(&n)));
    let list = f.list("list", 4, |f, item| f.int("int", 0..=9).or(item.is_object().into())).optional();
    assert!(list.is_none_or(|l| l.len() <= 4 && l.iter().all(|n| (0..=9).contains(n))));
    inputs::specs::spec(f);
}

/// Fields of JSON bodies and of queries.
pub fn fields(bytes: &[u8]) {
    let plain: Option<Value> = serde_json::from_slice(crate::text::without_mark(bytes)).ok();
    match Fields::of_body(bytes) {
        Ok(mut f) => {
            let read: Option<Value> =
                serde_json::to_string(f.whole()).ok().and_then(|text| serde_json::from_str(&text).ok());
            assert_eq!(read, plain, "it is read as others read it");
            for (name, value) in f.whole() {
                let raw = f.raw(name).and_then(|raw| json::kept(raw).ok());
                assert_eq!(raw.as_ref(), Some(value), "the text of a field is that of its value");
            }
            let kept = serde_json::to_string(f.whole()).expect("what was read can be written");
            let answer = format!("[{{\"a\":[{{\"a\":[{kept}]}}]}}]");
            assert!(serde_json::from_str::<Value>(&answer).is_ok(), "what is kept can be read in an answer");
            read_all(&mut f);
            if let Err(e) = f.finish() {
                let Error::Invalid(faults) = e else { panic!("{e:?}") };
                told_faults(&faults, bytes.len());
            }
        }
        Err(Error::Invalid(faults)) => told_faults(&faults, bytes.len()),
        Err(e) => panic!("{e:?}"),
    }
    let mut f = Fields::of_query(form::parse(bytes));
    read_all(&mut f);
    if let Err(Error::Invalid(faults)) = f.finish() {
        told_faults(&faults, bytes.len());
    }
}

/// Lease tokens, session tokens and join strings.
pub fn tokens(bytes: &[u8]) {
    const KEY: &[u8] = b"a key that only the fuzzer knows.";
    let text = String::from_utf8_lossy(bytes);
    let (as_lease, as_session) = (lease::open(KEY, &text), token::open(KEY, &text));
    assert!(as_lease.is_none() || as_session.is_none(), "one token is of one kind");
    if let Some(claims) = as_lease {
        assert_eq!(lease::mint(KEY, &claims), text, "a token has one form");
    }
    if let Some(claims) = as_session {
        assert_eq!(token::mint(KEY, &claims.session, claims.exp), text, "a token has one form");
    }
    if let Some((numbers, rest)) = bytes.split_first_chunk::<9>() {
        let (exp, at) =
            (i64::from_le_bytes(*numbers.first_chunk().expect("nine are more than eight")), usize::from(numbers[8]));
        let rest = String::from_utf8_lossy(rest);
        let (n, fp) = rest.split_at(rest.ceil_char_boundary(at.min(rest.len())));
        let claims = LeaseClaims { exp, fp: fp.into(), iat: !exp, n: n.into() };
        let (leased, session) = (lease::mint(KEY, &claims), token::mint(KEY, n, exp));
        if leased.len() <= 2048 && session.len() <= 2048 {
            assert_eq!(lease::open(KEY, &leased).as_ref(), Some(&claims));
            assert!(token::open(KEY, &session).is_some_and(|c| c.session == n && c.exp == exp));
        }
        assert!(
            lease::open(KEY, &session).is_none()
                && token::open(KEY, &leased).is_none()
                && lease::open(b"other", &leased).is_none()
        );
        let mut altered = leased.into_bytes();
        let at = at % altered.len();
        altered[at] ^= 1 + (numbers[0] & 0x3f);
        assert!(lease::open(KEY, &String::from_utf8_lossy(&altered)).is_none(), "an altered token opens");
    }
    if let Ok(join) = JoinString::parse(&text) {
        assert_eq!(join.text(), text.trim(), "a join string has one form");
        assert!(JoinString::parse(&join.text()).is_ok_and(|again| again == join));
        assert!((1..=16).contains(&join.addresses.len()) && join.authority.len() == 64);
        assert!(join.urls().iter().all(|url| url.matches('/').count() == 2));
    }
}

/// DER: a tag, the length, the content.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).expect("inputs are short").to_be_bytes();
    [&[tag, 0x82, length[0], length[1]], &content[..]].concat()
}

/// A signing request with this subject and these attributes, whose signature holds: further in than a mutation gets.
fn signed_request(key: &NodeKey, subject: &[u8], attributes: &[u8]) -> String {
    const ECDSA_WITH_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    static SPKI: OnceLock<Vec<u8>> = OnceLock::new();
    let spki = SPKI.get_or_init(|| {
        let csr = key.csr_pem("n", &[]).expect("a request");
        Csr::parse(&csr).expect("a sound request").public_key().spki_der().to_vec()
    });
    let info = tlv(0x30, &[b"\x02\x01\x00", &tlv(0x30, &[subject]), spki, &tlv(0xa0, &[attributes])]);
    let signature = key.sign(&info).expect("a signature");
    pem("CERTIFICATE REQUEST", &tlv(0x30, &[&info, ECDSA_WITH_SHA256, &tlv(0x03, &[&[0], &signature])]))
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Certificates and signing requests: PEM (first byte `p`), DER (`d`), or the parts of a request that is then signed
/// (`s`, the length of its subject, subject, attributes).
pub fn certificates(bytes: &[u8]) {
    static AUTHORITY: OnceLock<(Ca, NodeKey)> = OnceLock::new();
    let (ca, key) = AUTHORITY.get_or_init(|| {
        let dir = scratch("ca");
        let ca = Ca::create(&dir, &pki::CLUSTER).expect("a new authority");
        std::fs::remove_dir_all(dir).expect("the directory is ours");
        (ca, NodeKey::generate().expect("a key"))
    });
    let request = |pem: &str| {
        let Ok(csr) = Csr::parse(pem) else { return };
        csr.common_name();
        csr.public_key().verify(b"message", b"signature");
        let own = ["node-a", "node-a.mesh.internal", "10.42.0.7", "fd00::7"].map(String::from);
        let issued = ca.issue(&csr, "node-a", &own, 30, clock::now()).expect("a sound request gets its certificate");
        assert!(
            pki::names(&issued.cert_pem).iter().all(|name| own.contains(name)),
            "a node got a name that is not its own"
        );
        assert!(pki::validity(&issued.cert_pem).is_some_and(|(_, end)| end == issued.not_after));
    };
    match bytes.split_first() {
        Some((b'p', rest)) => {
            let text = String::from_utf8_lossy(rest);
            request(&text);
            pki::names(&text);
            pki::validity(&text);
            pki::subject_der(&text);
            pki::fingerprint_hex(&text);
        }
        Some((b'd', der)) => {
            request(&pem("CERTIFICATE REQUEST", der));
            pki::names(&pem("CERTIFICATE", der));
            for moment in pki::validity_der(der).into_iter().flat_map(|(from, until)| [from, until]) {
                assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment), "a moment reads as it is written");
            }
            for spki in pki::spki_of(der).into_iter().chain([der]) {
                if let Some(key) = PublicKey::from_spki(spki) {
                    assert_eq!(key.spki_der(), spki);
                    assert!(!key.verify(b"message", der), "what is no signature verifies");
                }
            }
        }
        Some((b's', [length, rest @ ..])) if rest.len() < 8192 => {
            let (subject, attributes) = rest.split_at(usize::from(*length).min(rest.len()));
            request(&signed_request(key, subject, attributes));
        }
        _ => {}
    }
}

/// Canonical JSON with a zero for every number: numbers keep their text, which plain readers do not.
fn without_numbers(json: &str) -> String {
    let mut out = String::new();
    let (mut in_text, mut escaped, mut in_number) = (false, false, false);
    for c in json.chars() {
        let number = !in_text && (c.is_ascii_digit() || (in_number && "+-.eE".contains(c)) || c == '-');
        if number && !in_number {
            out.push('0');
        }
        if !number {
            out.push(c);
        }
        in_number = number;
        if c == '"' && !escaped {
            in_text = !in_text;
        }
        escaped = in_text && c == '\\' && !escaped;
    }
    out
}

/// The canonical form of JSON under a heartbeat's signature.
pub fn canonical(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let plain: Option<Value> = serde_json::from_str(text).ok();
    let form = signature::canonical(text);
    let strict = Fields::of_body(bytes);
    assert!(strict.is_err() || form.is_ok(), "a body that is taken has a canonical form");
    let Ok(form) = form else { return };
    assert!(form.is_ascii() && !form.bytes().any(|b| b < b' '), "it is one line of ASCII");
    assert_eq!(signature::canonical(&form).as_ref(), Ok(&form), "the canonical form is its own");
    if let Some(bare) = signature::with_bare_del(&form) {
        assert_eq!(signature::canonical(&bare).as_ref(), Ok(&form), "DEL as it is says the same");
    }
    // Plain readers take what stands under such a key for something else, which is why no body may have one.
    let Some(plain) = plain.filter(|_| !form.contains("\"$serde_json::private::")) else { return };
    assert_eq!(serde_json::from_str::<Value>(&form).ok().as_ref(), Some(&plain), "it says the same");
    let pretty = serde_json::to_string_pretty(&plain).expect("what was read can be written");
    let again = signature::canonical(&pretty).expect("and has a canonical form");
    assert_eq!(without_numbers(&form), without_numbers(&again), "however it was spaced, ordered and escaped");
    let small = bytes.iter().filter(|b| b",[{".contains(b)).count() < 100;
    assert!(!plain.is_object() || !small || strict.is_ok(), "both refuse the same keys");
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
        "whoever is not named is nobody in particular"
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

/// A control plane with some events, half of them from before its start, and these events in order.
fn history() -> &'static (Control, Vec<Event>) {
    static HISTORY: OnceLock<(Control, Vec<Event>)> = OnceLock::new();
    HISTORY.get_or_init(|| {
        let dir = scratch("store");
        std::fs::create_dir_all(&dir).expect("a directory");
        let mut config = Config::for_dir(&dir);
        config.tls = false;
        let path = config.database_path.clone();
        let open =
            || Store::open(&path, 1, QueryLog { queries: false, params: false, sql_chars_max: 0 }).expect("a store");
        let mut all = Vec::new();
        let mut record = |store: &Store, numbers: std::ops::Range<usize>| {
            for i in numbers {
                let node = [json!({ "node_id": "node-a" }), json!({ "node_id": 5 }), json!({})][i % 3].clone();
                let level = [Level::Info, Level::Error][i % 2];
                let name = [NODE_CORDON.name, "x"][i / 2 % 2];
                let new =
                    Kind { name, level, fields: &["node_id?"], ..NODE_CORDON }.with(node).with_id(format!("e{i}"));
                all.push(store.write(move |w| rows::record(w, new)).expect("an event"));
            }
        };
        let before = open();
        record(&before, 0..12);
        before.close();
        let store = open();
        record(&store, 12..24);
        let control = Control::new(config, store, peer()).expect("a control plane");
        // Everything is open by now, so nothing is left behind when the process ends.
        let _ = std::fs::remove_dir_all(dir);
        (control, all)
    })
}

/// Resumption of an event stream: the first line is `Last-Event-ID`, the second the query.
pub fn resume(bytes: &[u8]) {
    let Some(at) = bytes.iter().position(|b| *b == b'\n') else { return };
    let (last_seen, query) = (String::from_utf8_lossy(&bytes[..at]), &bytes[at + 1..]);
    let last_seen = Some(&*last_seen).filter(|id| !id.is_empty());
    let mut f = Fields::of_query(form::parse(query));
    let filter = EventFilter {
        category: f.text("category", 0..=64).optional(),
        name: f.text("name", 0..=128).optional(),
        level: f.text("level", 0..=32).optional(),
        node_id: f.id("node_id").optional(),
        since: f.moment("since").optional(),
    };
    let after = f.id("after").optional();
    let Ok(()) = f.finish() else { return };
    let (control, all) = history();

    let here = Place { address: peer().ip(), is_local: true, direct: Some(peer().ip()) };
    let mut reader = Reader::begin(control, (String::new(), here), last_seen, filter.clone())
        .expect("whatever is asked, there is a place to go on");
    let mut got = Vec::new();
    let mut rounds = 0;
    loop {
        let frames = reader.next().expect("events can be read").expect("the server goes on");
        got.extend(frames.iter().map(|frame| frame.event.id.clone()));
        rounds += 1;
        // Events that do not match the filter are skipped: an empty round is not the end.
        if rounds > 2 && frames.is_empty() {
            break;
        }
    }
    let place = |id: &str| all.iter().position(|event| event.id == id);
    let known = last_seen.and_then(place);
    let moved = EventFilter { since: filter.since.filter(|_| known.is_none()), ..filter.clone() };
    let from = match (known, last_seen, filter.since) {
        (Some(at), ..) => at + 1,
        (None, None, None) => all.len(),
        _ => 0,
    };
    let want: Vec<&str> = all[from..].iter().filter(|event| moved.admits(event)).map(|event| &*event.id).collect();
    assert_eq!(got, want, "each event once, in its order, from the right place on");

    let page = events::list(control, &Paging { limit: 5, bytes_max: usize::MAX, after: after.clone() }, &filter)
        .expect("a page");
    let until = after.as_deref().map_or(all.len(), |id| place(id).unwrap_or(0));
    let want: Vec<&str> =
        all[..until].iter().rev().filter(|event| filter.admits(event)).map(|event| &*event.id).take(5).collect();
    assert_eq!(page.items.iter().map(|event| &*event.id).collect::<Vec<_>>(), want, "the newest first");
}

/// A release's manifest, and versions.
pub fn manifest(bytes: &[u8]) {
    match Manifest::parse(bytes) {
        Ok(manifest) => {
            assert!(
                !manifest.channels.is_empty()
                    && Version::parse(&manifest.version.to_string()).as_ref() == Some(&manifest.version)
            );
            for channel in manifest.channels.values() {
                let sums = [&channel.bootstrap.sha256, &channel.updater.sha256]
                    .into_iter()
                    .chain(channel.artifacts.values().map(|a| &a.sha256));
                assert!(sums.into_iter().all(|sum| sum.len() == 64));
                let places = [&channel.bootstrap.path, &channel.updater.path]
                    .into_iter()
                    .chain(channel.artifacts.values().map(|a| &a.url));
                for place in places {
                    let is_url = place.starts_with("https://") || place.starts_with("http://");
                    assert!(place.bytes().all(|b| b.is_ascii_graphic()), "{place}");
                    assert!(
                        is_url || !(place.starts_with('/') || place.split('/').any(|n| n == "..")),
                        "it leads out of its directory: {place}"
                    );
                }
            }
        }
        Err(faults) => assert!(!faults.is_empty() && faults.iter().all(|f| !f.is_empty())),
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let versions: Vec<Version> = text.lines().take(3).filter_map(Version::parse).collect();
    if let [a, b, c] = &versions[..] {
        assert!(a.cmp(b) == b.cmp(a).reverse() && (a > b || b > c || a <= c), "the order of versions is none");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::Path;

    fn crate_dir() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
    }

    #[test]
    fn what_fuzzing_found_worth_keeping_passes() {
        for (name, target) in TARGETS {
            let dir = crate_dir().join("corpus").join(name);
            let mut inputs: Vec<PathBuf> =
                fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            inputs.sort();
            assert!(!inputs.is_empty(), "{} has no input", dir.display());
            for input in inputs {
                let bytes = fs::read(&input).expect("an input can be read");
                assert!(catch_unwind(|| target(&bytes)).is_ok(), "{}", input.display());
            }
        }
    }

    #[test]
    fn every_target_can_be_run() {
        let manifest = fs::read_to_string(crate_dir().join("Cargo.toml")).expect("the manifest of the targets");
        for (name, _) in TARGETS {
            let file = fs::read_to_string(crate_dir().join(format!("fuzz_targets/{name}.rs"))).unwrap_or_default();
            assert!(file.contains(&format!("fuzzing::{name}(bytes)")), "{name}");
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        }
        assert_eq!(fs::read_dir(crate_dir().join("fuzz_targets")).into_iter().flatten().count(), TARGETS.len());
    }
}
