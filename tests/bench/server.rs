//! The real program as a child process, and what the kernel says of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Kernel ticks in a second: fixed in Linux's interface to programs (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// By then a silent connection is parked and its worker has ended.
pub const PARKED_AFTER: Duration = Duration::from_secs(8);

pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// From starting the program to its first answer.
    pub first_answer: Duration,
    /// A session of the administrator.
    session: String,
}

/// The program that is measured: this one, or another that BENCH_PROGRAM names, such as an older version.
fn program() -> PathBuf {
    std::env::var_os("BENCH_PROGRAM").map_or(env!("CARGO_BIN_EXE_uptimemesh").into(), PathBuf::from)
}

/// A fresh directory that this run removes at its next start.
pub fn temporary_dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("uptimemesh-bench-{name}"));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

impl Server {
    pub fn start(dir: &Path, args: &[&str]) -> Server {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Server::start_at(address, dir, args)
    }

    /// Kills the server with SIGKILL and starts it again at the same address.
    pub fn restart(&mut self, dir: &Path, args: &[&str]) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        *self = Server::start_at(self.address, dir, args);
    }

    fn start_at(address: SocketAddr, dir: &Path, args: &[&str]) -> Server {
        let began = Instant::now();
        let mut child = Command::new(program())
            .args([
                "serve",
                "--server-host",
                "127.0.0.1",
                "--server-port",
                &address.port().to_string(),
                "--http-connections-per-address-max",
                "1000",
            ])
            .args(["--http-requests-per-second-max", "1000000"])
            .args(["--heartbeat-signature-max-skew-seconds", "3600"])
            .args(if args.is_empty() { &["--log-level", "WARNING"][..] } else { args })
            .current_dir(dir)
            .env_clear()
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while health(address).is_none() {
            assert!(child.try_wait().unwrap().is_none(), "the server ended");
            std::thread::sleep(Duration::from_micros(500));
        }
        Server { child, address, first_answer: began.elapsed(), session: String::new() }
    }

    /// Signs in as the first account.
    pub fn sign_in(&self) -> String {
        let body = r#"{"username":"admin","password":"uptime"}"#;
        let answer = once(self.address, &post("/auth/token", "", body)).unwrap();
        answer.split("\"session_token\":\"").nth(1).unwrap().split('"').next().unwrap().to_string()
    }

    /// A request for this path.
    pub fn get(&self, path: &str) -> Vec<u8> {
        let session = if self.session.is_empty() { self.sign_in() } else { self.session.clone() };
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {session}\r\n\r\n").into_bytes()
    }

    /// The same in a session that is there already.
    pub fn get_with(&self, path: &str, session: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {session}\r\n\r\n").into_bytes()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn cpu_seconds(&self) -> f64 {
        cpu_seconds(&self.child.id().to_string())
    }

    pub fn resident_mib(&self) -> f64 {
        self.figure("status", "VmRSS:") / 1024.0
    }

    pub fn written_bytes(&self) -> u64 {
        self.figure("io", "write_bytes:") as u64
    }

    /// A figure among the server's metrics.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = once(self.address, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Waits for a condition, for a minute at most.
    pub fn until(&self, what: &str, met: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !met() {
            assert!(Instant::now() < end, "not within a minute: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn figure(&self, file: &str, name: &str) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

/// Context switches of a thread: each voluntary one is the end of some work, and a wake-up began it.
#[derive(Clone, Default)]
pub struct Switches {
    /// The thread's name.
    pub name: String,
    pub voluntary: u64,
    pub involuntary: u64,
}

impl Switches {
    /// The switches of all threads of a process over a time, also of threads that begin or end meanwhile.
    pub fn watch(pid: u32, time: Duration) -> Vec<Switches> {
        let end = Instant::now() + time;
        let first = Switches::by_thread(pid);
        let mut last = first.clone();
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
            last.extend(Switches::by_thread(pid));
        }
        let since = |(id, mut now): (String, Switches)| {
            let before = first.get(&id).cloned().unwrap_or_default();
            now.voluntary -= before.voluntary;
            now.involuntary -= before.involuntary;
            now
        };
        last.into_iter().map(since).collect()
    }

    fn by_thread(pid: u32) -> BTreeMap<String, Switches> {
        // A thread that ends meanwhile has no figures.
        let of = |task: &Path| {
            let status = fs::read_to_string(task.join("status")).ok()?;
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            Some(Switches {
                name: field("Name:")?.to_string(),
                voluntary: field("voluntary_ctxt_switches:")?.parse().unwrap(),
                involuntary: field("nonvoluntary_ctxt_switches:")?.parse().unwrap(),
            })
        };
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap());
        let alive = tasks.filter_map(|task| Some((task.file_name().into_string().unwrap(), of(&task.path())?)));
        alive.collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended has no id any more.
        if self.child.try_wait().unwrap().is_none() {
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
            self.child.wait().unwrap();
        }
    }
}

/// Processor seconds that a process has used.
pub fn cpu_seconds(pid: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS_PER_SECOND
}

/// A request with a body.
pub fn post(path: &str, session: &str, body: &str) -> Vec<u8> {
    let session = if session.is_empty() { String::new() } else { format!("Authorization: Bearer {session}\r\n") };
    format!("POST {path} HTTP/1.1\r\nHost: x\r\n{session}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn health(address: SocketAddr) -> Option<String> {
    once(address, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").filter(|a| a.contains("\"ok\""))
}

/// One request on a connection of its own, as text.
fn once(address: SocketAddr, request: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(request).ok()?;
    stream.shutdown(std::net::Shutdown::Write).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
