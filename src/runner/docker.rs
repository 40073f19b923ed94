//! Client of a container daemon: the HTTP API of Docker, which Podman speaks too, over its unix socket. Every call
//! has a connection of its own and a time-out, and every answer a bound.

mod answer;
#[cfg(test)]
mod tests;

use crate::clock;
use crate::error::Error;
use crate::thread::lock;
pub use answer::Answer;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde_json::Value;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Newest version of the API that this client was written for.
const API_NEWEST: Version = (1, 44);
/// Version of a daemon that names none.
const API_USUAL: Version = (1, 41);
/// Time for the answer to a call that the daemon answers from what it knows.
pub const QUICK: Duration = Duration::from_secs(10);

type Version = (u32, u32);

/// Reason why a call failed.
#[derive(Debug)]
pub enum Failure {
    /// No daemon is there, or the connection broke.
    Unreachable(io::Error),
    /// The daemon does not answer in time.
    Unresponsive,
    /// The daemon refused.
    Refused {
        /// Status of its answer; 200 if it refused within the stream of an answer.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The answer does not conform to the API.
    Unreadable(String),
}

/// Result of a call.
pub type Called<T> = Result<T, Failure>;

impl Failure {
    /// True if the daemon's answer names a thing that does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Failure::Refused { status: 404, .. })
    }

    /// The error of the program that it is.
    pub fn into_error(self) -> Error {
        Error::Unavailable(self.to_string())
    }

    fn of(e: io::Error) -> Failure {
        match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Failure::Unresponsive,
            io::ErrorKind::InvalidData => Failure::Unreadable(e.to_string()),
            _ => Failure::Unreachable(e),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Failure::Unreachable(e) => write!(f, "the container daemon cannot be reached ({e}); is it running?"),
            Failure::Unresponsive => f.write_str("the container daemon does not answer in time"),
            Failure::Refused { message, .. } => f.write_str(message),
            Failure::Unreadable(why) => write!(f, "the container daemon gave an unexpected answer: {why}"),
        }
    }
}

/// Time for which a call waits.
#[derive(Debug, Clone, Copy)]
pub enum Patience {
    /// For the whole answer.
    Whole(Duration),
    /// For the head, and then for each part of the body; `None` waits for parts without end.
    EachPart {
        /// For the head.
        head: Duration,
        /// For each part.
        part: Option<Duration>,
    },
}

/// A call.
pub struct Call<'c> {
    /// Method.
    pub method: &'static str,
    /// Path and query, without the version.
    pub path: &'c str,
    /// JSON body.
    pub body: Option<&'c Value>,
    /// Further headers.
    pub headers: &'c [(&'static str, &'c str)],
    /// Time for the answer.
    pub patience: Patience,
}

impl<'c> Call<'c> {
    /// A call without a body that is answered from what the daemon knows.
    pub fn quick(method: &'static str, path: &'c str) -> Call<'c> {
        Call { method, path, body: None, headers: &[], patience: Patience::Whole(QUICK) }
    }

    /// The same call with another time for the answer.
    pub fn within(self, at_most: Duration) -> Call<'c> {
        Call { patience: Patience::Whole(at_most), ..self }
    }
}

/// A daemon, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// True for Podman.
    pub is_podman: bool,
    /// Its own version.
    pub version: String,
    /// Version of the API in which the client speaks to it.
    api: Version,
}

impl Daemon {
    /// Its description in the answer to `GET /version`: the newest version of the API that both sides speak.
    fn of(answer: &Value) -> Daemon {
        let version = |key: &str| {
            let (major, minor) = answer[key].as_str()?.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        };
        let newest = version("ApiVersion").unwrap_or(API_USUAL);
        let oldest = version("MinAPIVersion").unwrap_or((0, 0));
        let mut components = answer["Components"].as_array().into_iter().flatten();
        Daemon {
            is_podman: components.any(|c| c["Name"].as_str().is_some_and(|name| name.contains("Podman"))),
            version: answer["Version"].as_str().unwrap_or("of an unknown version").to_string(),
            api: newest.min(API_NEWEST).max(oldest),
        }
    }
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", if self.is_podman { "podman" } else { "docker" }, self.version)
    }
}

/// Client of one daemon.
pub struct Docker {
    socket: PathBuf,
    /// The daemon that was there last.
    daemon: Mutex<Option<Daemon>>,
}

impl Docker {
    /// Client of the daemon with this socket, which need not be there yet.
    pub fn at(socket: &Path) -> Docker {
        Docker { socket: socket.to_path_buf(), daemon: Mutex::new(None) }
    }

    /// The daemon, which is asked once for each time that it comes into reach.
    pub fn daemon(&self) -> Called<Daemon> {
        if let Some(daemon) = lock(&self.daemon).clone() {
            return Ok(daemon);
        }
        let daemon = Daemon::of(&self.exchange(&Call::quick("GET", "/version"))?.json()?);
        *lock(&self.daemon) = Some(daemon.clone());
        Ok(daemon)
    }

    /// Calls the daemon.
    ///
    /// # Errors
    /// Every answer from 400 on is a refusal.
    pub fn call(&self, call: &Call) -> Called<Answer> {
        let (major, minor) = self.daemon()?.api;
        let path = format!("/v{major}.{minor}{}", call.path);
        let answer = self.exchange(&Call { path: &path, ..*call });
        if let Err(Failure::Unreachable(_)) = answer {
            // Another version may be there the next time.
            *lock(&self.daemon) = None;
        }
        let answer = answer?;
        if answer.status() >= 400 { Err(answer.refusal()) } else { Ok(answer) }
    }

    /// Calls the daemon, and reads the JSON of its answer; `null` for an empty one.
    pub fn json(&self, call: &Call) -> Called<Value> {
        self.call(call)?.json()
    }

    fn exchange(&self, call: &Call) -> Called<Answer> {
        let (head_time, part) = match call.patience {
            Patience::Whole(at_most) => (at_most, None),
            Patience::EachPart { head, part } => (head, Some(part)),
        };
        let end = clock::tick() + head_time;
        let mut stream = self.connect().map_err(Failure::of)?;
        stream.set_write_timeout(Some(head_time)).map_err(Failure::Unreachable)?;
        stream.write_all(&request(call)).map_err(Failure::of)?;
        let mut answer = Answer::read(Timed { stream, until: Until::End(end) }).map_err(Failure::of)?;
        if let Some(part) = part {
            answer.stream().until = Until::Each(part);
        }
        Ok(answer)
    }

    /// Connects without waiting: a daemon that stands still leaves its queue of connections full.
    fn connect(&self) -> io::Result<UnixStream> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        match connect(&socket, &SocketAddrUnix::new(&self.socket)?) {
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            connected => connected?,
        }
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false)?;
        Ok(stream)
    }
}

/// The bytes of a request.
fn request(call: &Call) -> Vec<u8> {
    let body = call.body.map(Value::to_string).unwrap_or_default();
    let mut text = format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", call.method, call.path);
    for (name, value) in call.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !call.headers.iter().any(|(name, _)| *name == "Connection") {
        text.push_str("Connection: close\r\n");
    }
    if call.body.is_some() {
        text.push_str("Content-Type: application/json\r\n");
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    text.into_bytes()
}

/// A stream whose reads end in time.
pub struct Timed {
    stream: UnixStream,
    until: Until,
}

enum Until {
    End(Instant),
    Each(Option<Duration>),
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = match self.until {
            Until::End(end) => Some(end.saturating_duration_since(clock::tick())),
            Until::Each(part) => part,
        };
        if left.is_some_and(|left| left.is_zero()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(left)?;
        self.stream.read(into)
    }
}
