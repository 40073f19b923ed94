//! `/events/stream`: nothing lost, nothing twice, and nobody hurt by a slow reader.

use crate::support::{Client, PATIENCE, Served, until};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A reader of the stream.
pub struct Reader {
    lines: BufReader<TcpStream>,
    /// The id of the last event that it got.
    last: String,
}

impl Reader {
    pub fn open(client: &Client, query: &str, last: Option<&str>) -> Reader {
        let mut stream = TcpStream::connect(client.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let last_line = last.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let token = client.token.as_deref().unwrap();
        let head = format!(
            "GET /events/stream{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{last_line}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = Reader { lines: BufReader::new(stream), last: String::new() };
        let status = reader.line();
        assert!(status.starts_with("HTTP/1.1 200 "), "{status}");
        let mut head = String::new();
        loop {
            let line = reader.line();
            if line.is_empty() {
                break;
            }
            head.push_str(&line);
        }
        for part in
            ["Content-Type: text/event-stream", "Connection: close", "Cache-Control: no-store", "X-Accel-Buffering: no"]
        {
            assert!(head.contains(part), "{part}: {head}");
        }
        assert!(!head.contains("Content-Length"));
        reader
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the stream ended");
        line.trim_end().to_string()
    }

    /// The next event.
    fn next(&mut self) -> Value {
        let event: Value = serde_json::from_str(&self.next_text()).unwrap();
        assert_eq!(event["id"], self.last);
        event
    }

    /// The next event as the text that came.
    pub fn next_text(&mut self) -> String {
        loop {
            let line = self.line();
            if let Some(id) = line.strip_prefix("id: ") {
                self.last = id.to_string();
                assert_eq!(self.line(), "event: event");
                return self.line().strip_prefix("data: ").unwrap().to_string();
            }
        }
    }
}

fn post(admin: &Client, category: &str, name: &str) -> Value {
    let made = admin
        .post("/events", &json!({"category": category, "name": name, "level": "info", "fields": {"node_id": "n1"}}));
    assert_eq!(made.status, 201);
    made.json()
}

#[test]
fn events_come_as_they_happen_and_after_what_was_seen() {
    let mut served = Served::new();
    let admin = served.admin();
    let old = post(&admin, "c", "old");
    let mut reader = Reader::open(&admin, "", None);
    let first = post(&admin, "c", "first");
    assert_eq!(reader.next(), first, "only what is new");
    let second = post(&admin, "c", "second");
    assert_eq!(reader.next(), second);
    let third = post(&admin, "d", "third");
    let mut again = Reader::open(&admin, "", Some(first["id"].as_str().unwrap()));
    assert_eq!([again.next(), again.next()], [second.clone(), third.clone()]);
    let since = old["created_at"].as_str().unwrap();
    let mut since = Reader::open(&admin, &format!("?since={since}&category=c"), None);
    assert_eq!(
        [since.next(), since.next()],
        [first.clone(), second.clone()],
        "after that moment, and of that category"
    );
    let moment = second["created_at"].as_str().unwrap();
    let mut forgotten = Reader::open(&admin, &format!("?since={moment}"), Some("gone"));
    assert_eq!(forgotten.next(), third, "an event that is not there says less than the moment");
    let fourth = post(&admin, "c", "fourth");
    assert_eq!(since.next(), fourth, "the other category is left out");
    let mut named = Reader::open(&admin, "?name=wanted&level=Info&node_id=n1", None);
    post(&admin, "c", "unwanted");
    let wanted = post(&admin, "c", "wanted");
    assert_eq!(named.next(), wanted);
    // A restart ends the stream, and forgets nothing.
    served.restart();
    let admin = served.admin();
    let mut after = Reader::open(&admin, "", Some(third["id"].as_str().unwrap()));
    assert_eq!(after.next(), fourth);
    assert_eq!(admin.get("/events/stream?since=yesterday").faults(), [r#"string_pattern_mismatch ["query","since"]"#]);
}

#[test]
fn a_stream_ends_with_its_session_even_while_events_keep_coming() {
    let served = Served::new();
    let admin = served.admin();
    let mut reader = Reader::open(&admin, "", None);
    let first = post(&admin, "c", "first");
    assert_eq!(reader.next(), first);
    let new = json!({"current_password": "uptime", "new_password": "another password"});
    let mut again = admin.clone();
    again.token = Some(admin.post("/auth/password", &new).json()["session_token"].as_str().unwrap().to_string());
    let reading = std::thread::spawn(move || reader.lines.lines().map_while(Result::ok).count());
    until("it has ended", || {
        post(&again, "c", "more");
        reading.is_finished().then_some(())
    });
}

#[test]
fn a_silent_stream_ends_with_a_session_that_another_process_ends() {
    let served = Served::new();
    let reader = Reader::open(&served.admin(), "", None);
    let database = rusqlite::Connection::open(&served.config.database_path).unwrap();
    let began = Instant::now();
    assert_ne!(database.execute("DELETE FROM sessions", []).unwrap(), 0);
    reader.lines.lines().map_while(Result::ok).for_each(drop);
    assert!(began.elapsed() < Duration::from_secs(14), "it ends before its first comment, after 15 s");
}

#[test]
fn under_many_writers_no_event_is_lost_or_told_twice() {
    const WRITERS: usize = 8;
    const EACH: usize = 250;
    let served = Served::new();
    let admin = served.admin();
    let begin = post(&admin, "c", "begin")["id"].as_str().unwrap().to_string();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Readers that break off and go on where they were, all the time.
        let readers: Vec<_> = (0..4)
            .map(|r| {
                let (admin, begin) = (admin.clone(), begin.clone());
                scope.spawn(move || {
                    let (mut last, mut seen) = (begin, Vec::new());
                    while seen.len() < WRITERS * EACH {
                        let mut reader = Reader::open(&admin, "?category=c", Some(&last));
                        for _ in 0..(37 + 61 * r).min(WRITERS * EACH - seen.len()) {
                            seen.push(reader.next()["id"].as_str().unwrap().to_string());
                        }
                        last = reader.last;
                    }
                    seen
                })
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|w| {
                let admin = admin.clone();
                scope.spawn(move || (0..EACH).for_each(|i| drop(post(&admin, "c", &format!("{w}-{i}")))))
            })
            .collect();
        writers.into_iter().for_each(|w| w.join().unwrap());
        done.store(true, Ordering::Relaxed);
        let mut written: Vec<String> = Vec::new();
        let mut path = "/events?category=c&limit=1000".to_string();
        loop {
            let page = admin.get(&path);
            written.extend(page.json().as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_string()));
            let Some(link) = page.header("Link") else { break };
            path = link[1..link.find('>').unwrap()].to_string();
        }
        written.reverse();
        for reader in readers {
            let seen = reader.join().unwrap();
            assert_eq!(seen.len(), seen.iter().collect::<BTreeSet<_>>().len());
            assert_eq!(seen, written[1..], "in the order in which they were written");
        }
    });
    // Every event has a moment of its own, so a moment stands for a place among them.
    let moments: Vec<String> = admin
        .get("/events?limit=1000")
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["created_at"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(moments.len(), moments.iter().collect::<BTreeSet<_>>().len());
}

#[test]
fn a_reader_that_never_reads_hurts_nobody_and_is_dropped() {
    let served = Served::new();
    let admin = served.admin();
    let mut idle = TcpStream::connect(admin.address).unwrap();
    let head = format!(
        "GET /events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        admin.token.as_deref().unwrap()
    );
    // So that few events fill the sockets' buffers.
    set_socket_recv_buffer_size(&idle, 4096).unwrap();
    idle.write_all(head.as_bytes()).unwrap();
    let mut reader = Reader::open(&admin, "?category=fat", None);
    let readers =
        |n: usize| admin.get("/metrics").text().contains(&format!("uptimemesh_stream_readers {n}\n")).then_some(());
    until("both are counted", || readers(2));
    let fat = "x".repeat(16_000);
    until("it is dropped", || {
        for _ in 0..20 {
            let body = json!({"category": "fat", "name": "n", "level": "info", "fields": {"fat": fat}});
            assert_eq!(admin.post("/events", &body).status, 201);
            assert_eq!(reader.next()["category"], "fat");
        }
        readers(1)
    });
}

#[test]
fn nobody_reads_so_often_that_others_find_no_connection() {
    let served = Served::with(|config| config.connections_per_address_max = 24);
    let (admin, viewer) = (served.admin(), served.user("eve", "viewer"));
    let mut readers: Vec<Reader> = (0..18).map(|_| Reader::open(&viewer, "", None)).collect();
    let refused = viewer.get("/events/stream");
    assert_eq!((refused.status, refused.header("Retry-After")), (429, Some("5")), "{}", refused.text());
    assert_eq!(admin.get("/nodes").status, 200, "some connections are left for others");
    readers.pop();
    // The server learns of it when it next writes.
    admin.post("/events", &json!({"category": "x", "name": "x", "level": "info"}));
    until("one that has ended makes room", || {
        admin.post("/events", &json!({"category": "x", "name": "x", "level": "info"}));
        (viewer.send("HEAD", "/events/stream", &[], b"").status == 200).then_some(())
    });
}
