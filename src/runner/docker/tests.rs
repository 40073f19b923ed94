//! The client against scripted answers on a real socket.

use super::*;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, channel};

const PATIENCE: Duration = Duration::from_secs(30);
/// Answer to `GET /version` of a daemon like Docker 20.10.
const VERSION: &str = "HTTP/1.1 200 OK\r\nContent-Length: 88\r\n\r\n\
    {\"ApiVersion\":\"1.41\",\"MinAPIVersion\":\"1.12\",\"Version\":\"20.10\",\"Components\":[],\"a\":12345}";

/// A daemon that gives one answer after another, each in these parts; it holds the connection open behind an empty one.
struct Daemon {
    dir: PathBuf,
    requests: Receiver<String>,
}

impl Daemon {
    fn new(answers: &[&[&str]]) -> Daemon {
        let dir = std::env::temp_dir().join(format!("um-{}", crate::crypto::random_hex(6)));
        std::fs::create_dir(&dir).expect("a directory");
        let listener = UnixListener::bind(dir.join("s")).expect("a socket");
        let answers: Vec<Vec<String>> =
            answers.iter().map(|parts| parts.iter().map(|part| part.to_string()).collect()).collect();
        let (note, requests) = channel();
        let serve = move || {
            let mut open = Vec::new();
            for parts in answers {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
                let head = lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty());
                let _ = note.send(head.collect::<Vec<_>>().join("\n"));
                let is_held = parts.last().is_some_and(String::is_empty);
                for part in &parts {
                    // The client may have had enough.
                    let _ = stream.write_all(part.as_bytes());
                }
                if is_held {
                    open.push(stream);
                }
            }
            // What hangs does so until the client ends.
            for mut stream in open {
                let _ = stream.read_to_end(&mut Vec::new());
            }
        };
        crate::thread::spawn("daemon", None, serve).expect("a thread");
        Daemon { dir, requests }
    }

    fn client(&self) -> Docker {
        Docker::at(&self.dir.join("s"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn get(client: &Docker, path: &str) -> Called<Value> {
    client.json(&Call::quick("GET", path))
}

#[test]
fn versions_are_negotiated() {
    let api = |newest: &str, oldest: &str| {
        super::Daemon::of(&serde_json::json!({"ApiVersion": newest, "MinAPIVersion": oldest})).api
    };
    for (newest, oldest, wanted) in
        [("1.41", "1.12", (1, 41)), ("1.52", "1.44", (1, 44)), ("1.60", "1.50", (1, 50)), ("", "", API_USUAL)]
    {
        assert_eq!(api(newest, oldest), wanted, "{newest} {oldest}");
    }
}

#[test]
fn an_answer_is_read_however_it_is_cut() {
    let json = "{\"a\":[1,2,3]}";
    let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{json}", json.len());
    let chunks = format!(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n\
         5;x=y\r\n{}\r\n8\r\n{}\r\n0\r\n\r\n",
        &json[..5],
        &json[5..]
    );
    let rest = format!("HTTP/1.1 200 OK\r\n\r\n{json}");
    for text in [&length, &chunks, &rest] {
        for cut in 1..text.len() {
            let daemon = Daemon::new(&[&[VERSION], &[&text[..cut], &text[cut..]]]);
            let answer = get(&daemon.client(), "/x").expect("an answer");
            assert_eq!(answer, serde_json::json!({"a": [1, 2, 3]}), "cut at {cut} of {text:?}");
        }
    }
    let daemon = Daemon::new(&[&[VERSION], &[&length]]);
    get(&daemon.client(), "/x?y=z").expect("an answer");
    let heads: Vec<String> = daemon.requests.iter().take(2).collect();
    assert!(heads[0].starts_with("GET /version HTTP/1.1\nHost: localhost\nConnection: close"), "{heads:?}");
    assert!(heads[1].starts_with("GET /v1.41/x?y=z HTTP/1.1\n"), "{heads:?}");
}

#[test]
fn what_breaks_off_is_never_an_answer() {
    let whole = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnull\r\n0\r\n\r\n";
    for cut in 1..whole.len() - "\r\n".len() {
        let daemon = Daemon::new(&[&[VERSION], &[&whole[..cut]]]);
        let failure = get(&daemon.client(), "/x").expect_err("half an answer");
        assert!(matches!(failure, Failure::Unreachable(_) | Failure::Unreadable(_)), "{cut}: {failure:?}");
    }
    let daemon = Daemon::new(&[&[VERSION], &["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnull"]]);
    assert!(matches!(get(&daemon.client(), "/x"), Err(Failure::Unreachable(_))));
}

#[test]
fn nonsense_is_unreadable() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(40 << 10));
    for text in [
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnul}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nnull",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnullxx0\r\n\r\n",
        &long,
    ] {
        let daemon = Daemon::new(&[&[VERSION], &[text]]);
        let failure = get(&daemon.client(), "/x").expect_err("nonsense");
        assert!(matches!(failure, Failure::Unreadable(_)), "{text:.60}: {failure:?}");
    }
}

#[test]
fn a_refusal_has_the_words_of_the_daemon() {
    let refusal = "HTTP/1.1 404 Not Found\r\nContent-Length: 31\r\n\r\n{\"message\":\"No such container\"}";
    let plain = "HTTP/1.1 500 Oops\r\n\r\nit broke\n";
    let daemon = Daemon::new(&[&[VERSION], &[refusal], &[plain], &["HTTP/1.1 304 Not Modified\r\n\r\n"]]);
    let client = daemon.client();
    let failure = get(&client, "/x").expect_err("a refusal");
    assert!(failure.is_not_found() && failure.to_string() == "No such container", "{failure:?}");
    let failure = get(&client, "/x").expect_err("a refusal");
    assert!(!failure.is_not_found() && failure.to_string() == "it broke", "{failure:?}");
    assert_eq!(get(&client, "/x").expect("nothing to say"), Value::Null);
}

#[test]
fn a_daemon_that_hangs_is_unresponsive_and_one_that_is_away_unreachable() {
    let soon = Duration::from_millis(50);
    // It hangs before the head, within it, and within the body.
    for begin in ["", "HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnull"] {
        let daemon = Daemon::new(&[&[VERSION], &[begin, ""]]);
        let client = daemon.client();
        client.daemon().expect("it answers at first");
        let answer = client.json(&Call::quick("GET", "/x").within(soon));
        assert!(matches!(answer, Err(Failure::Unresponsive)), "{begin:?}: {answer:?}");
    }
    // A stream may last, as long as its parts come.
    let lines = "HTTP/1.1 200 OK\r\n\r\n{\"a\":1}\r\n\r\n{\"a\":2}\n";
    let daemon = Daemon::new(&[&[VERSION], &[lines, ""]]);
    let patience = Patience::EachPart { head: PATIENCE, part: Some(soon) };
    let mut stream = daemon.client().call(&Call { patience, ..Call::quick("GET", "/x") }).expect("a stream");
    for n in [1, 2] {
        assert_eq!(stream.line().expect("a line").expect("not the end")["a"], n);
    }
    assert!(matches!(stream.line(), Err(Failure::Unresponsive)));
    let away = Docker::at(Path::new("/nonexistent/socket"));
    assert!(matches!(get(&away, "/x"), Err(Failure::Unreachable(_))));
}

#[test]
fn a_full_queue_of_connections_does_not_block() {
    let dir = std::env::temp_dir().join(format!("um-{}", crate::crypto::random_hex(6)));
    std::fs::create_dir(&dir).expect("a directory");
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("a socket");
    rustix::net::bind(&socket, &SocketAddrUnix::new(dir.join("s")).expect("a path")).expect("an address");
    rustix::net::listen(&socket, 0).expect("a queue");
    let client = Docker::at(&dir.join("s"));
    let open: Vec<io::Result<UnixStream>> = (0..4).map(|_| client.connect()).collect();
    assert!(open.first().is_some_and(Result::is_ok), "there is room for one");
    let last = open.into_iter().next_back().expect("four").map_err(Failure::of);
    assert!(matches!(last, Err(Failure::Unresponsive)), "{last:?}");
    std::fs::remove_dir_all(&dir).expect("the end");
}
