//! Carries out health checks, on the node itself.

use crate::clock;
use crate::model::workload::{Check, Health};
use crate::sys::run;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 4096;

/// A check with what its program needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// The check.
    pub health: Health,
    /// Surroundings of a program that checks: those of the replica.
    pub like: run::Like,
}

impl Probe {
    /// Carries it out. The error says what failed.
    pub fn run(&self) -> Result<(), String> {
        let at_most = Duration::from_secs(self.health.timeout_s);
        let end = clock::tick() + at_most;
        match &self.health.check {
            Check::Tcp { port } => connect(*port, end).map(drop),
            Check::Http { port, path, status } => {
                let found = http(*port, path, end)?;
                match status.map_or((200..400).contains(&found), |status| status == found) {
                    true => Ok(()),
                    false => Err(format!("http://127.0.0.1:{port}{path} answered with status {found}")),
                }
            }
            Check::Exec(command) => run::check(command, &self.like, at_most),
        }
    }
}

fn left(end: Instant) -> Result<Duration, String> {
    let left = end.saturating_duration_since(clock::tick());
    if left.is_zero() { Err("no answer in time".to_string()) } else { Ok(left) }
}

fn connect(port: u16, end: Instant) -> Result<TcpStream, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, left(end)?).map_err(|e| format!("{address}: {e}"))
}

/// The status of a web server's answer. Its body is not read.
fn http(port: u16, path: &str, end: Instant) -> Result<u16, String> {
    let named = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            format!("http://127.0.0.1:{port}{path}: no answer in time")
        }
        _ => format!("http://127.0.0.1:{port}{path}: {e}"),
    };
    let mut stream = connect(port, end)?;
    stream.set_write_timeout(Some(left(end)?)).map_err(named)?;
    let agent = concat!("uptimemesh/", env!("CARGO_PKG_VERSION"));
    let host = format!("127.0.0.1:{port}");
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).map_err(named)?;
    let mut answer = Vec::new();
    let mut part = [0; 512];
    while !answer.contains(&b'\n') && answer.len() < ANSWER_BYTES_MAX {
        stream.set_read_timeout(Some(left(end)?)).map_err(named)?;
        match stream.read(&mut part).map_err(named)? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
    }
    status(&answer).ok_or_else(|| format!("http://127.0.0.1:{port}{path}: the answer is not HTTP"))
}

/// The status of an answer's first line: `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|b| *b == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    words.next().filter(|word| word.len() == 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::spawn;
    use std::net::TcpListener;

    fn probe(check: Check) -> Result<(), String> {
        let health = Health { check, interval_s: 1, timeout_s: 1, retries: 1, start_period_s: 0, start_interval_s: 1 };
        Probe { health, like: run::Like::default() }.run()
    }

    /// A server that answers each connection with this text, and its port.
    fn server(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let serve = move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = [0; 1024];
                let read = stream.read(&mut head).unwrap_or(0);
                assert!(head[..read].starts_with(b"GET /up HTTP/1.1\r\nHost: 127.0.0.1:"), "{head:?}");
                let _ = stream.write_all(answer.as_bytes());
            }
        };
        spawn("server", None, serve).expect("a thread");
        port
    }

    #[test]
    fn a_web_server_is_judged_by_its_status() {
        let http = |answer, status| probe(Check::Http { port: server(answer), path: "/up".to_string(), status });
        assert_eq!(http("HTTP/1.1 204 No Content\r\n\r\n", None), Ok(()));
        assert_eq!(http("HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n", None), Ok(()));
        assert_eq!(http("HTTP/1.1 404 Not Found\r\n\r\n", Some(404)), Ok(()));
        for (answer, status, why) in [
            ("HTTP/1.1 503 Unavailable\r\n\r\n", None, "status 503"),
            ("HTTP/1.1 200 OK\r\n\r\n", Some(204), "status 200"),
            ("SSH-2.0-x\r\n", None, "not HTTP"),
            ("", None, "not HTTP"),
        ] {
            let found = http(answer, status).expect_err(why);
            assert!(found.contains(why), "{found}");
        }
    }

    #[test]
    fn a_check_ends_in_time() {
        // Connections are accepted by the kernel, and never answered.
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = silent.local_addr().expect("bound").port();
        let found = probe(Check::Http { port, path: "/".to_string(), status: None }).expect_err("it is silent");
        assert!(found.contains("no answer in time"), "{found}");
        assert_eq!(probe(Check::Tcp { port }), Ok(()));
        drop(silent);
        assert!(probe(Check::Tcp { port }).expect_err("closed").contains("refused"));
    }

    #[test]
    fn a_program_is_judged_by_its_end() {
        let exec = |script: &str| {
            let command = ["/bin/sh", "-c", script].map(str::to_string);
            probe(Check::Exec(command.to_vec()))
        };
        assert_eq!(exec("exit 0"), Ok(()));
        assert!(exec("echo broken >&2; exit 3").expect_err("it fails").contains('3'));
        assert!(exec("exec sleep 60").expect_err("it hangs").contains("longer"));
    }
}
