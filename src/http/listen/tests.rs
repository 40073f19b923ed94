//! The front as clients see it, with a handler that echoes.

mod waiting;

use std::io::{Read, Write};

use super::*;
use crate::http::exchange;
use crate::http::{Request, Response};

/// No test waits as long as this unless it fails.
const PATIENCE: Duration = Duration::from_secs(10);

fn answer(request: Request) -> Response {
    match request.path.as_str() {
        "/panic" => panic!("on purpose"),
        "/large" => Response::bytes(200, "text/plain", vec![b'x'; 300 << 10]),
        "/endless" => Response::bytes(200, "text/plain", vec![b'x'; 64 << 20]),
        "/proven" => Response {
            holder: Some("user:alice".to_string()),
            ..Response::bytes(200, "text/plain", b"GET /proven ".to_vec())
        },
        "/beat" => Response {
            holder: Some("node:n1".to_string()),
            is_resident: true,
            ..Response::bytes(200, "text/plain", b"GET /beat ".to_vec())
        },
        _ => {
            let text = format!("{} {} {}", request.method, request.path, String::from_utf8_lossy(&request.body));
            Response::bytes(200, "text/plain", text.into_bytes())
        }
    }
}

fn front(limits: Limits) -> (Front, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    (Front::start(vec![listener], limits, None, Arc::new(answer)).expect("a front"), address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    socket
}

/// Reads everything until the connection ends.
fn ask(address: SocketAddr, text: &str) -> String {
    let mut socket = connect(address);
    socket.write_all(text.as_bytes()).expect("a written request");
    read_to_end(&mut socket)
}

fn read_to_end(socket: &mut TcpStream) -> String {
    let mut all = Vec::new();
    socket.read_to_end(&mut all).expect("an answer and the end of the connection");
    String::from_utf8(all).expect("text")
}

/// Reads one answer from a connection that stays open.
fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    while !all.ends_with(end.as_bytes()) {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("more of the answer");
        all.extend_from_slice(&byte);
    }
    String::from_utf8(all).expect("text")
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

const CLOSE: &str = "Host: x\r\nConnection: close\r\n\r\n";

#[test]
fn bodies_come_whole_however_they_are_framed() {
    let (_front, address) = front(Limits::default());
    for framed in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n",
    ] {
        let text = ask(address, &format!("POST /e HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{framed}"));
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nPOST /e hello"), "{framed}: {text}");
    }
}

#[test]
fn malformed_chunks_are_refused() {
    let (_front, address) = front(Limits::default());
    for (status, chunks) in [
        (400, "zz\r\nhello\r\n0\r\n\r\n"),
        (400, "-5\r\nhello\r\n0\r\n\r\n"),
        (400, "+5\r\nhello\r\n0\r\n\r\n"),
        (400, "\r\nhello\r\n0\r\n\r\n"),
        (400, "ffffffffffffffff\r\nhello"),
        (413, "fffffff\r\nhello"),
        (400, "5\r\nhelloXX0\r\n\r\n"),
        (400, &format!("{}\r\n", "0".repeat(100))),
        (431, &format!("0\r\n{}", "X: y\r\n".repeat(20))),
    ] {
        let text = ask(address, &format!("POST /e HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{chunks}: {text}");
        assert!(text.contains("\r\nX-Request-ID: ") && text.contains("{\"detail\":\""), "{text}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let (_front, address) = front(Limits::default());
    let requests: String =
        (0..200).map(|i| format!("POST /{i} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{i:04}")).collect();
    let text = ask(address, &format!("{requests}GET /last HTTP/1.1\r\n{CLOSE}"));
    let mut rest = text.as_str();
    for i in 0..200 {
        let body = format!("POST /{i} {i:04}");
        rest = rest.split_once(&body).unwrap_or_else(|| panic!("answer {i} is missing or out of order")).1;
    }
    assert!(rest.ends_with("GET /last "), "{rest}");
}

#[test]
fn head_gets_the_head_of_the_answer_only() {
    let (_front, address) = front(Limits::default());
    let text = ask(address, &format!("HEAD /large HTTP/1.1\r\n{CLOSE}"));
    assert!(text.contains("\r\nContent-Length: 307200\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    let text = ask(address, "HEAD / HTTP/1.1\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 400 ") && text.ends_with("\r\n\r\n"), "{text}");
    // However the bytes arrive.
    let text = ask(address, &format!("\r\nHEAD /large HTTP/1.1\r\n{CLOSE}"));
    assert!(text.ends_with("\r\n\r\n"), "{}", text.len());
    let mut socket = connect(address);
    socket.write_all(b"HE").expect("a written part");
    std::thread::sleep(Duration::from_millis(50));
    socket.write_all(format!("AD /large HTTP/1.1\r\n{CLOSE}").as_bytes()).expect("the rest");
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("an answer");
    assert!(text.ends_with("\r\n\r\n"), "{}", text.len());
    assert!(ask(address, &format!("GET /large HTTP/1.1\r\n{CLOSE}")).ends_with(&"x".repeat(300 << 10)));
}

#[test]
fn http_1_0_closes_unless_it_asks_not_to() {
    let (_front, address) = front(Limits::default());
    assert!(ask(address, "GET /a HTTP/1.0\r\n\r\n").contains("\r\nConnection: close\r\n"));
    let mut socket = connect(address);
    socket.write_all(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").expect("a written request");
    assert!(read_until(&mut socket, "GET /a ").contains("\r\nConnection: keep-alive\r\n"));
    socket.write_all(b"GET /b HTTP/1.0\r\n\r\n").expect("a written request");
    assert!(read_to_end(&mut socket).ends_with("GET /b "));
}

#[test]
fn a_client_that_expects_it_is_told_to_continue() {
    let (_front, address) = front(Limits::default());
    let mut socket = connect(address);
    socket
        .write_all(b"POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .expect("a written head");
    assert_eq!(read_until(&mut socket, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(b"hello").expect("a written body");
    read_until(&mut socket, "POST /e hello");
    let text = ask(address, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\nExpect: 100-continue\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
}

#[test]
fn a_panic_is_a_500_and_the_connection_lives_on() {
    let (_front, address) = front(Limits::default());
    let text = ask(
        address,
        &format!("GET /panic HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\n\r\nGET /next HTTP/1.1\r\n{CLOSE}"),
    );
    assert!(text.starts_with("HTTP/1.1 500 ") && text.contains("X-Request-ID: mine\r\n"), "{text}");
    assert!(
        text.contains("{\"detail\":\"Internal error\"}HTTP/1.1 200 OK\r\n") && text.ends_with("GET /next "),
        "{text}"
    );
}

#[test]
fn heads_and_bodies_that_drip_are_cut_off_in_all() {
    let limits =
        Limits { head_time: Duration::from_millis(200), body_time: Duration::from_millis(200), ..Limits::default() };
    let (_front, address) = front(limits);
    for start in ["GET / HTTP/1.1\r\nHost: x\r\nX-", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n"] {
        let mut socket = connect(address);
        let mut dripping = socket.try_clone().expect("a second handle");
        dripping.write_all(start.as_bytes()).expect("a written start");
        // A time-out per read would restart with each byte.
        let drip = std::thread::spawn(move || {
            let end = Instant::now() + PATIENCE;
            while Instant::now() < end && dripping.write_all(b"a").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
            Instant::now() < end
        });
        assert!(read_until(&mut socket, "\"}").starts_with("HTTP/1.1 408 "), "{start}");
        drop(socket);
        assert!(drip.join().expect("the dripping thread"), "the connection never closed: {start}");
    }
}

#[test]
fn bodies_in_flight_are_bounded_and_given_back() {
    let (front, address) = front(Limits { body_bytes_free: 0, bodies_in_flight_bytes_max: 1000, ..Limits::default() });
    let mut holder = connect(address);
    holder
        .write_all(
            format!("POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 901\r\n\r\n{}", "h".repeat(900)).as_bytes(),
        )
        .expect("most of a body");
    wait_for("the held body is counted", || {
        front.shared.service.bodies_bytes.load(std::sync::atomic::Ordering::Relaxed) == 900
    });
    let request =
        format!("POST /e HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 200\r\n\r\n{}", "b".repeat(200));
    assert!(ask(address, &request).starts_with("HTTP/1.1 503 "));
    holder.write_all(b"h").expect("the rest of the body");
    read_until(&mut holder, "hh");
    wait_for("the held body is given back", || {
        front.shared.service.bodies_bytes.load(std::sync::atomic::Ordering::Relaxed) == 0
    });
    assert!(ask(address, &request).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_parked_connection_wakes_when_it_speaks_and_closes_when_it_does_not() {
    let limits =
        Limits { hold_time: Duration::from_millis(10), idle_time: Duration::from_millis(500), ..Limits::default() };
    let (front, address) = front(limits);
    let mut socket = connect(address);
    let parked = || front.shared.parking.count().0 == 1;
    for _ in 0..2 {
        wait_for("it is parked", parked);
        socket.write_all(b"GET /again HTTP/1.1\r\nHost: x\r\n\r\n").expect("a written request");
        read_until(&mut socket, "GET /again ");
    }
    assert_eq!(read_to_end(&mut socket), "");
    wait_for("its slot is given back", || front.connections() == 0);
}

#[test]
fn in_a_crowd_no_silence_keeps_a_thread() {
    let count = 4 * exchange::HOLDING_MAX;
    let limits = Limits { hold_time: 6 * PATIENCE, connections_per_address_max: 2 * count, ..Limits::default() };
    let (front, address) = front(limits);
    let ask = || {
        let mut socket = connect(address);
        socket.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").expect("a written request");
        read_until(&mut socket, "GET /a ");
        socket
    };
    let all: Vec<TcpStream> = (0..count).map(|_| ask()).collect();
    wait_for("most are parked", || front.shared.parking.count().0 >= all.len() - exchange::HOLDING_MAX);
}

#[test]
fn slow_clients_do_not_take_the_place_of_others() {
    let count = 2 * WORKING_MAX;
    let (front, address) = front(Limits { connections_per_address_max: 4 * count, ..Limits::default() });
    let slow: Vec<TcpStream> = (0..count)
        .map(|i| {
            let mut socket = connect(address);
            let half_body = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf";
            let start = if i % 2 == 0 { "GET / HTTP/1.1\r\nX: " } else { half_body };
            socket.write_all(start.as_bytes()).expect("a written start");
            socket
        })
        .collect();
    wait_for("each has a thread", || front.shared.workers.threads() >= count);
    assert!(ask(address, &format!("GET /a HTTP/1.1\r\n{CLOSE}")).ends_with("GET /a "));
    drop(slow);
}

#[test]
fn a_node_keeps_no_thread_between_its_calls() {
    let (front, address) = front(Limits { hold_time: 6 * PATIENCE, ..Limits::default() });
    let mut socket = connect(address);
    for _ in 0..2 {
        socket.write_all(b"GET /beat HTTP/1.1\r\nHost: x\r\n\r\n").expect("a written request");
        read_until(&mut socket, "GET /beat ");
        wait_for("it is parked", || front.shared.parking.count().0 == 1);
    }
}

#[test]
fn over_a_cap_the_oldest_that_has_proven_nothing_makes_room_whatever_it_does() {
    let (front, address) =
        front(Limits { connections_per_address_max: 4, hold_time: Duration::from_millis(10), ..Limits::default() });
    let mut proven = connect(address);
    proven.write_all(b"GET /proven HTTP/1.1\r\nHost: x\r\n\r\n").expect("a written request");
    read_until(&mut proven, "GET /proven ");
    let mut old = Vec::new();
    // Half a head, half a body, and an answer that is not read.
    for start in [
        "GET / HTTP/1.1\r\nX: ",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
        "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut socket = connect(address);
        socket.write_all(start.as_bytes()).expect("a written start");
        old.push(socket);
        wait_for("it is taken in", || front.connections() == 1 + old.len());
    }
    // A new connection is answered at once, and each time the oldest one is closed.
    for i in 0..3 {
        let mut socket = connect(address);
        socket.write_all(format!("GET /{i} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("a written request");
        read_until(&mut socket, &format!("GET /{i} "));
        let mut gone = old.remove(0);
        while matches!(gone.read(&mut [0; 65536]), Ok(1..)) {}
        old.push(socket);
    }
    proven.write_all(format!("GET /proven HTTP/1.1\r\n{CLOSE}").as_bytes()).expect("a written request");
    assert!(read_to_end(&mut proven).ends_with("GET /proven "), "who has proven something stays");
    drop(old);
    wait_for("nothing stays behind", || front.connections() == 0);
}

#[test]
fn answers_that_wait_to_be_taken_are_bounded_and_given_back() {
    let (front, address) = front(Limits::default());
    let held = || front.shared.service.answers.held_bytes();
    let mut unread = connect(address);
    unread.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").expect("a written request");
    wait_for("an answer is held that is more than a share", || held() == 64 << 20);
    let text = ask(address, &format!("GET /large HTTP/1.1\r\n{CLOSE}"));
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("\r\nRetry-After: 1\r\n"), "{}", &text[..100]);
    assert!(
        ask(address, &format!("GET /small HTTP/1.1\r\n{CLOSE}")).starts_with("HTTP/1.1 200 "),
        "what is small is free"
    );
    let text = ask(address, &format!("POST /large HTTP/1.1\r\nContent-Length: 0\r\n{CLOSE}"));
    assert!(text.starts_with("HTTP/1.1 200 "), "a completed action is reported: {}", &text[..100]);
    drop(unread);
    wait_for("it is given back", || held() == 0);
    assert!(ask(address, &format!("GET /large HTTP/1.1\r\n{CLOSE}")).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_body_that_comes_too_slowly_is_cut_off_early() {
    let limits = Limits { body_grace: Duration::from_millis(100), body_bytes_per_s_min: 100, ..Limits::default() };
    let (_front, address) = front(limits);
    let began = Instant::now();
    let mut socket = connect(address);
    socket
        .write_all(b"POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n0123456789")
        .expect("the start of a body");
    assert!(read_until(&mut socket, "\"}").starts_with("HTTP/1.1 408 "));
    assert!(began.elapsed() < Limits::default().body_time / 2, "{:?}", began.elapsed());
    // Every byte allows time for the next.
    let mut socket = connect(address);
    socket
        .write_all(b"POST /e HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1001\r\n\r\n")
        .expect("a head");
    socket.write_all(&[b'x'; 1000]).expect("most of a body");
    std::thread::sleep(Duration::from_millis(300));
    socket.write_all(b"y").expect("the rest of a body");
    assert!(read_to_end(&mut socket).ends_with("xy"));
}

#[test]
fn stopping_answers_what_is_in_progress_and_closes_the_rest() {
    let (front, address) =
        front(Limits { body_bytes_free: 0, hold_time: Duration::from_millis(10), ..Limits::default() });
    let mut idle = connect(address);
    wait_for("it is parked", || front.shared.parking.count().0 == 1);
    let mut active = connect(address);
    active.write_all(b"POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell").expect("most of a request");
    wait_for("its body is being read", || {
        front.shared.service.bodies_bytes.load(std::sync::atomic::Ordering::Relaxed) == 4
    });
    assert!(!front.stop(Duration::from_millis(50)), "a request is still in progress");
    assert_eq!(read_to_end(&mut idle), "");
    assert!(TcpStream::connect(address).is_err(), "the listener is closed");
    active.write_all(b"o").expect("the rest of a request");
    let text = read_to_end(&mut active);
    assert!(text.contains("\r\nConnection: close\r\n") && text.ends_with("POST /e hello"), "{text}");
    assert!(front.stop(PATIENCE), "all are answered");
}
