//! What tests need again and again: a directory of their own, a running server, a client that speaks plain sockets.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use uptimemesh::{Config, Server};

/// How long anything that is waited for may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The password of users that tests make.
pub const USER_PASSWORD: &str = "a password of a user";

/// A fresh directory that goes when the test ends.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Dir {
        crate::overdue::watch();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("uptimemesh-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes a program that can be run at once. Another process writes it: a child that another test starts in that moment
/// would hold a file of this process open too, and running it would fail ("text file busy").
pub fn write_program(path: &Path, content: &[u8]) {
    let mut writer = Command::new("sh");
    writer.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut writer = writer.spawn().unwrap();
    writer.stdin.take().unwrap().write_all(content).unwrap();
    assert!(writer.wait().unwrap().success(), "{} cannot be written", path.display());
}

/// An answer, as it came over the wire.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text()))
    }

    /// The detail of an error that is a sentence.
    pub fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap_or_default().to_string()
    }

    /// The faults of a 422, each as `type loc`.
    pub fn faults(&self) -> Vec<String> {
        assert_eq!(self.status, 422, "{}", self.text());
        let json = self.json();
        json["detail"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| format!("{} {}", f["type"].as_str().unwrap(), f["loc"]))
            .collect()
    }
}

/// Sends bytes and reads to the end of the connection.
pub fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may answer and close before everything is sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// A connection, with TLS or without.
pub enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    /// Connects, and speaks TLS where it is said how. The handshake happens with the first bytes.
    pub fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Wire> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let Some(config) = tls else { return Ok(Wire::Plain(stream)) };
        let session =
            ClientConnection::new(Arc::clone(config), ServerName::from(address.ip())).map_err(io::Error::other)?;
        Ok(Wire::Tls(Box::new(StreamOwned::new(session, stream))))
    }

    /// Says that nothing more comes.
    pub fn end(&mut self) {
        let _ = match self {
            Wire::Plain(stream) => stream.shutdown(Shutdown::Write),
            Wire::Tls(stream) => {
                stream.conn.send_close_notify();
                let _ = stream.flush();
                stream.sock.shutdown(Shutdown::Write)
            }
        };
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(into),
            Wire::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write(bytes),
            Wire::Tls(stream) => {
                let count = stream.write(bytes)?;
                // What is encrypted must leave, or a broken connection would never be noticed.
                stream.flush().map(|()| count)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client that believes the authority in this file, and shows a certificate (PEM) with its key (PKCS#8).
pub fn believing(ca: &Path, shown: Option<(&str, Vec<u8>)>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&fs::read(ca).unwrap()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    Arc::new(match shown {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivatePkcs8KeyDer::from(key).into()).unwrap()
        }
    })
}

/// Reads one answer out of bytes.
pub fn parse(bytes: &[u8]) -> Answer {
    let end = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|l| l.split_once(": ").map(|(n, v)| (n.to_string(), v.to_string())).unwrap()).collect();
    Answer { status, headers, body: bytes[end + 4..].to_vec() }
}

/// A client of one server.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub token: Option<String>,
    /// How it speaks TLS, where it does.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Client {
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method != "GET" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut wire = Wire::connect(self.address, self.tls.as_ref()).unwrap();
        // The server may answer and close before everything is sent.
        let _ = wire.write_all(&[head.as_bytes(), body].concat());
        let mut answer = Vec::new();
        let _ = wire.read_to_end(&mut answer);
        parse(&answer)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    /// Like `post`; `None` when the server went away in between.
    pub fn try_post(&self, path: &str, body: &Value) -> Option<Answer> {
        let body = body.to_string();
        let token = self.token.as_deref().unwrap_or_default();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: \
                {}\r\n\r\n",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        // The answer is whole, or it is none.
        answer.windows(4).any(|w| w == b"\r\n\r\n").then(|| parse(&answer))
    }

    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], b"")
    }

    /// The same client, signed in as somebody.
    pub fn signed_in(&self, username: &str, password: &str) -> Client {
        let answer = self.post("/auth/token", &serde_json::json!({"username": username, "password": password}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        Client { token: Some(answer.json()["session_token"].as_str().unwrap().to_string()), ..self.clone() }
    }

    /// Sends a request as if from elsewhere, through the proxy of [`Served::proxied`].
    pub fn from(&self, address: &str, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, path, &[("X-Forwarded-For", address)], body.as_bytes())
    }

    /// The names of the events of a category, newest first.
    pub fn events(&self, category: &str) -> Vec<Value> {
        self.get(&format!("/events?category={category}&limit=1000")).json().as_array().unwrap().clone()
    }
}

/// A server in this process, on a directory of its own.
pub struct Served {
    pub server: Option<Server>,
    pub config: Config,
    pub dir: Dir,
}

impl Served {
    pub fn new() -> Served {
        Served::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Served {
        let dir = Dir::new();
        let mut config = Config::for_dir(dir.path());
        change(&mut config);
        Served { server: Some(Server::start(config.clone()).unwrap()), config, dir }
    }

    /// A server behind a proxy on this machine: who says `X-Forwarded-For` comes from there.
    pub fn proxied(change: impl FnOnce(&mut Config)) -> Served {
        let flags = [("trusted-proxies".to_string(), "127.0.0.1".to_string())];
        let trusting = Config::load(&flags, [], None).unwrap_or_else(|faults| panic!("{faults:?}"));
        Served::with(|config| {
            config.trusted_proxies = trusting.trusted_proxies;
            change(config);
        })
    }

    pub fn restart(&mut self) {
        self.stopped(|| ());
    }

    /// Does something to the data while no server has it.
    pub fn stopped(&mut self, change: impl FnOnce()) {
        self.server.take().unwrap().shutdown();
        change();
        self.server = Some(Server::start(self.config.clone()).unwrap());
    }

    /// A client that nobody knows.
    pub fn anonymous(&self) -> Client {
        Client { address: self.server.as_ref().unwrap().addr(), token: None, tls: None }
    }

    /// A client signed in as a new user of this role, who need not change the password.
    pub fn user(&self, name: &str, role: &str) -> Client {
        let body =
            serde_json::json!({"name": name, "role": role, "password": USER_PASSWORD, "must_change_password": false});
        let made = self.admin().post("/users", &body);
        assert_eq!(made.status, 201, "{}", made.text());
        self.anonymous().signed_in(name, USER_PASSWORD)
    }

    /// A client with a new API token of this role.
    pub fn api_token(&self, role: &str) -> Client {
        let made = self.admin().post("/api-tokens", &serde_json::json!({"name": role, "role": role}));
        assert_eq!(made.status, 201, "{}", made.text());
        Client { token: Some(made.json()["token"].as_str().unwrap().to_string()), ..self.anonymous() }
    }

    /// A client signed in as the account that comes with the database.
    pub fn admin(&self) -> Client {
        self.anonymous().signed_in("admin", "uptime")
    }
}

/// Number of kills in a test: `by_default` in every run, more where `UPTIMEMESH_TEST_KILLS` says so.
pub fn kills(by_default: usize) -> usize {
    std::env::var("UPTIMEMESH_TEST_KILLS").ok().map_or(by_default, |n| n.parse().unwrap())
}

/// Waits until something holds, and says what it was if it never does.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(what, PATIENCE, look)
}

/// Waits so long at most.
pub fn until_within<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
