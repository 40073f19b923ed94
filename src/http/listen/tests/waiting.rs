//! Answers that wait, as clients see them: given late, rung early, given up, piped behind, and many at once.

use super::*;
use crate::bell::Bell;
use crate::http::later::{Feed, Later, Piece};
use crate::http::parked::SILENT_LOOK_EVERY;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Longest wait of an answer in these tests, unless they say otherwise.
const LONG: Duration = Duration::from_secs(60);

/// A front whose `/later` waits for a bell, and whose `/grow` is a stream of what is sent to it; all else is echoed.
struct Waiting {
    front: Front,
    address: SocketAddr,
    /// In the order of the requests.
    bells: Receiver<Bell>,
    streams: Receiver<(Bell, Sender<Vec<u8>>)>,
}

/// A stream of pieces that a test sends.
struct Pieces {
    bell: Bell,
    from: Receiver<Vec<u8>>,
}

impl Feed for Pieces {
    fn bell(&self) -> &Bell {
        &self.bell
    }

    fn next(&mut self) -> Piece {
        match self.from.try_recv() {
            Ok(bytes) => Piece::Bytes(bytes),
            Err(std::sync::mpsc::TryRecvError::Empty) => Piece::Silence(clock::tick() + LONG),
            Err(std::sync::mpsc::TryRecvError::Disconnected) => Piece::End,
        }
    }
}

/// A stream whose bell rings after it has looked for news in vain, as soon as a wait has ended by its time.
#[derive(Default)]
struct Unlucky {
    bell: Bell,
    looks: usize,
}

impl Feed for Unlucky {
    fn bell(&self) -> &Bell {
        &self.bell
    }

    fn next(&mut self) -> Piece {
        self.looks += 1;
        match self.looks {
            1 => Piece::Silence(clock::tick()),
            2 => {
                self.bell.ring();
                Piece::Silence(clock::tick() + LONG)
            }
            _ => Piece::End,
        }
    }
}

impl Waiting {
    fn new(limits: Limits, wait: Duration, is_rung: bool) -> Waiting {
        let ((bells_in, bells), (streams_in, streams)) = (channel(), channel());
        let handler = move |request: Request| match request.path.as_str() {
            "/later" => {
                let bell = Bell::default();
                if is_rung {
                    bell.ring();
                }
                let _ = bells_in.send(bell.clone());
                let answer = Box::new(|| Response::bytes(200, "text/plain", b"at last".to_vec()));
                Response::later(Later { bell, until: clock::tick() + wait, answer })
            }
            "/broken" => {
                let answer = Box::new(|| panic!("on purpose"));
                Response::later(Later { bell: Bell::default(), until: clock::tick(), answer })
            }
            "/grow" => {
                let (to, from) = channel();
                let bell = Bell::default();
                let _ = streams_in.send((bell.clone(), to));
                Response::growing("text/plain", Box::new(Pieces { bell, from }))
            }
            "/unlucky" => Response::growing("text/plain", Box::new(Unlucky::default())),
            _ => answer(request),
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let front = Front::start(vec![listener], limits, None, Arc::new(handler)).expect("a front");
        Waiting { front, address, bells, streams }
    }

    fn waiting(&self) -> usize {
        self.front.shared.parking.count().1
    }

    fn bell(&self) -> Bell {
        self.bells.recv_timeout(PATIENCE).expect("a request that waits")
    }

    /// A connection whose request waits.
    fn ask(&self) -> TcpStream {
        let mut socket = connect(self.address);
        socket.write_all(LATER).expect("a written request");
        socket
    }
}

const LATER: &[u8] = b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n";
const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn a_later_answer_comes_when_its_bell_rings_and_the_connection_goes_on() {
    let w = Waiting::new(Limits::default(), LONG, false);
    let mut socket = connect(w.address);
    for _ in 0..3 {
        socket.write_all(LATER).expect("a written request");
        wait_for("it waits", || w.waiting() == 1);
        let bell = w.bell();
        bell.ring();
        bell.ring();
        let text = read_until(&mut socket, "at last");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("\r\nContent-Length: 7\r\n"), "{text}");
    }
    socket.write_all(NEXT).expect("a written request");
    read_until(&mut socket, "GET /next ");
    socket.write_all(b"HEAD /later HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("a written request");
    w.bell().ring();
    let text = read_to_end(&mut socket);
    assert!(text.contains("\r\nContent-Length: 7\r\n") && text.ends_with("\r\nConnection: close\r\n\r\n"), "{text}");
    let text = ask(w.address, &format!("GET /broken HTTP/1.1\r\n{CLOSE}"));
    assert!(text.starts_with("HTTP/1.1 500 ") && text.ends_with("{\"detail\":\"Internal error\"}"), "{text}");
    wait_for("nothing stays behind", || w.front.connections() <= 1);
}

#[test]
fn a_bell_that_rang_before_the_wait_is_not_lost() {
    let w = Waiting::new(Limits::default(), LONG, true);
    let mut socket = connect(w.address);
    for _ in 0..50 {
        socket.write_all(LATER).expect("a written request");
        read_until(&mut socket, "at last");
    }
}

#[test]
fn a_bell_that_rings_between_two_waits_of_a_stream_is_not_lost() {
    let w = Waiting::new(Limits::default(), LONG, false);
    let text = ask(w.address, "GET /unlucky HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn a_wait_has_an_end_and_a_client_that_leaves_is_forgotten() {
    let w = Waiting::new(Limits::default(), LONG, false);
    let leaver = w.ask();
    wait_for("it waits", || w.waiting() == 1);
    drop(leaver);
    wait_for("it is forgotten", || w.front.connections() == 0);
    // Nothing waits for it any more.
    w.bell().ring();
    // One that has sent more before it leaves.
    let mut leaver = w.ask();
    wait_for("it waits", || w.waiting() == 1);
    leaver.write_all(NEXT).expect("another request");
    drop(leaver);
    wait_for("it is forgotten, too", || w.front.connections() == 0);
    let w = Waiting::new(Limits::default(), Duration::from_millis(50), false);
    read_until(&mut w.ask(), "at last");
}

#[test]
fn what_is_sent_during_a_wait_is_answered_after_it() {
    let w = Waiting::new(Limits::default(), LONG, false);
    // Behind the request in one packet, and after it.
    let mut early = connect(w.address);
    early.write_all(&[LATER, NEXT].concat()).expect("two requests");
    let bell = w.bell();
    wait_for("it waits", || w.waiting() == 1);
    let mut late = w.ask();
    wait_for("both wait", || w.waiting() == 2);
    late.write_all(NEXT).expect("another request");
    bell.ring();
    assert!(read_until(&mut early, "GET /next ").contains("at last"));
    assert_eq!(w.waiting(), 1, "the other one still waits");
    w.bell().ring();
    assert!(read_until(&mut late, "GET /next ").contains("at last"));
}

#[test]
fn a_ring_for_many_needs_few_threads_and_a_stop_answers_all() {
    // Both ends of each are in this process, which other tests share.
    let many = Limits::default().connections_max.min(20_000) / 8;
    let limits = Limits { connections_per_address_max: many, strangers_max: many + 1, ..Limits::default() };
    let w = Waiting::new(limits, LONG, false);
    let mut sockets: Vec<TcpStream> = (0..many).map(|_| w.ask()).collect();
    wait_for("all wait", || w.waiting() == many);
    w.bells.try_iter().for_each(|bell| bell.ring());
    for socket in &mut sockets {
        read_until(socket, "at last");
        assert!(w.front.shared.resuming.threads() <= RESUMING_MAX);
    }
    sockets.iter_mut().for_each(|socket| socket.write_all(LATER).expect("a written request"));
    wait_for("all wait again", || w.waiting() == many);
    assert!(w.front.stop(PATIENCE), "all are answered");
    for socket in &mut sockets {
        let text = read_to_end(socket);
        assert!(text.contains("\r\nConnection: close\r\n") && text.ends_with("at last"), "{text}");
    }
    assert_eq!(w.front.connections(), 0);
}

#[test]
fn a_stream_grows_without_a_thread_and_ends_with_its_source_or_its_reader() {
    let w = Waiting::new(Limits::default(), LONG, false);
    let mut reader = connect(w.address);
    reader.write_all(b"GET /grow HTTP/1.1\r\nHost: x\r\n\r\n").expect("a written request");
    let (bell, pieces) = w.streams.recv_timeout(PATIENCE).expect("a stream");
    let head = read_until(&mut reader, "\r\n\r\n");
    assert!(head.contains("\r\nConnection: close\r\n") && !head.contains("Content-Length"), "{head}");
    wait_for("it waits", || w.waiting() == 1);
    for text in ["one", "two"] {
        pieces.send(text.as_bytes().to_vec()).expect("a reader");
        bell.ring();
        read_until(&mut reader, text);
        wait_for("it waits again", || w.waiting() == 1);
    }
    // More than the buffers of both sockets: it waits for room, in its order.
    let pattern: Vec<u8> = (0..4_u8).flat_map(|i| vec![b'a' + i; 4 << 20]).collect();
    for part in pattern.chunks(64 << 10) {
        pieces.send(part.to_vec()).expect("a reader");
    }
    bell.ring();
    wait_for("it waits for room", || w.front.shared.parking.count() == (1, 0));
    drop(pieces);
    assert!(read_to_end(&mut reader).as_bytes() == pattern, "every byte, in its order");
    drop(reader);
    wait_for("it is over", || w.front.connections() == 0);
    let mut leaver = connect(w.address);
    leaver.write_all(b"GET /grow HTTP/1.1\r\nHost: x\r\n\r\n").expect("a written request");
    let (_, pieces) = w.streams.recv_timeout(PATIENCE).expect("a stream");
    wait_for("it waits", || w.waiting() == 1);
    drop(leaver);
    wait_for("the reader's end is noticed", || pieces.send(Vec::new()).is_err());
}

#[test]
fn readers_that_never_read_hold_up_nobody_and_are_dropped_at_a_stop() {
    let w = Waiting::new(Limits::default(), LONG, false);
    // More of them than there are threads for answers.
    let unread: Vec<(TcpStream, Sender<Vec<u8>>)> = (0..2 * RESUMING_MAX)
        .map(|_| {
            let mut reader = connect(w.address);
            reader.write_all(b"GET /grow HTTP/1.1\r\nHost: x\r\n\r\n").expect("a written request");
            let (bell, pieces) = w.streams.recv_timeout(PATIENCE).expect("a stream");
            (0..128).for_each(|_| pieces.send(vec![b'x'; 64 << 10]).expect("a reader"));
            bell.ring();
            (reader, pieces)
        })
        .collect();
    wait_for("all wait for room", || w.front.shared.parking.count() == (unread.len(), 0));
    let mut socket = connect(w.address);
    for _ in 0..20 {
        socket.write_all(LATER).expect("a written request");
        w.bell().ring();
        read_until(&mut socket, "at last");
    }
    drop(socket);
    assert!(!w.front.stop(Duration::from_millis(50)), "answers that are not read");
    wait_for("they are dropped", || w.front.connections() == 0);
}

#[test]
fn waits_that_end_one_after_the_other_are_answered_one_after_the_other() {
    let w = Waiting::new(Limits::default(), Duration::from_millis(20), false);
    let mut socket = connect(w.address);
    let began = Instant::now();
    for _ in 0..10 {
        socket.write_all(LATER).expect("a written request");
        read_until(&mut socket, "at last");
    }
    assert!(began.elapsed() < 5 * SILENT_LOOK_EVERY, "{:?}", began.elapsed());
}
