//! Typed calls to the API, for the command line and the agent. Knows the wire only, nothing of the server's inside.

mod connect;
mod download;
mod node;
mod node_api;
mod socket;

pub use crate::crypto::tls::Trust;
pub use download::download;
pub use node::Signer;
pub use node_api::Answered;

use crate::clock::Timestamp;
use crate::crypto::pki::NodeKey;
use crate::crypto::tls;
use crate::json;
use crate::model::base_path;
use crate::model::node_api::{Reason, Refusal};
use crate::text;
use connect::TlsConnector;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use socket::SocketConnector;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::Connector;
use ureq::{Agent, http};

/// A connection that is not made by then, to whatever of the server's addresses: the server is away.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// A whole call.
const CALL_TIME: Duration = Duration::from_secs(30);
/// Bytes of an answer: a page of a thousand nodes, each with the largest status.
const ANSWER_BYTES_MAX: u64 = 128 << 20;
/// Life of an idle connection: longer than a heartbeat's interval, shorter than the server keeps it.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// A file is there by then, or the connection is too slow to wait for.
const DOWNLOAD_TIME: Duration = Duration::from_secs(900);
/// Bytes of a file: the largest support bundle is a fraction of it.
const DOWNLOAD_BYTES_MAX: u64 = 1 << 30;
/// Items of a page when a whole list is read.
const PAGE: usize = 1000;
/// Usual files with the certificates of public authorities; `SSL_CERT_FILE` names another.
const PUBLIC_CERTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Failure of a call.
#[derive(Debug)]
pub enum CallError {
    /// No answer: the server is away, or something between is broken.
    Unreachable(String),
    /// An answer that is an error.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The sentence, or all the faults.
        detail: String,
        /// Why a node was refused.
        reason: Option<Reason>,
        /// The server's time, if it was sent.
        server_time: Option<Timestamp>,
    },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Unreachable(why) => f.write_str(why),
            CallError::Refused { status, detail, reason: Some(reason), .. } => {
                write!(f, "{detail} ({reason}, HTTP {status})")
            }
            CallError::Refused { status, detail, .. } => write!(f, "{detail} (HTTP {status})"),
        }
    }
}

impl std::error::Error for CallError {}

impl CallError {
    /// True if the server answered and refused.
    pub fn is_refusal(&self) -> bool {
        matches!(self, CallError::Refused { .. })
    }
}

/// Result of a call.
pub type Called<T> = Result<T, CallError>;

/// A session that is not wanted any more is ended within this, or ends by itself later.
const SIGN_OUT_TIME: Duration = Duration::from_secs(2);

/// Origin of a token, for the sentences about its refusal.
#[derive(Clone)]
pub struct Source {
    /// Owner of the token, as in `context prod`.
    pub name: String,
    /// Meaning of a refusal, and advice.
    pub refused: String,
    /// Advice if the server proves to be another one.
    pub foreign: String,
}

/// One server, and perhaps a session there, which ends when this is dropped.
pub struct Api {
    /// Its URLs.
    urls: Vec<String>,
    /// The one of them that is tried next.
    at: AtomicUsize,
    agent: Agent,
    /// TLS configuration, if it uses TLS.
    tls: Option<Arc<ClientConfig>>,
    /// Limits of a call and of connecting, where they are others than usual.
    limits: Option<(Duration, Duration)>,
    /// The session's token, or an API token.
    session: Option<String>,
    /// User and password, to sign in again after the session has ended.
    credentials: Option<(String, String)>,
    /// Origin of the token, if it was not given with the command.
    source: Option<Source>,
}

impl Api {
    /// Calls to the server at this URL, `http://` or `https://`, believing the authorities of the system, or of
    /// `SSL_CERT_FILE`.
    pub fn new(url: &str) -> Result<Api, String> {
        let trust = if url.starts_with("https://") { Some(Trust::Authorities(system_authorities()?)) } else { None };
        Api::with(&[url.to_string()], trust, None)
    }

    /// Calls to a server that is reached at any of these URLs: who is believed to be it, and the certificate that is
    /// shown to it. Without a `trust` only `http://` is called.
    pub fn with(urls: &[String], trust: Option<Trust>, identity: Option<(&str, &NodeKey)>) -> Result<Api, String> {
        let urls: Vec<String> = urls.iter().map(|url| url.trim().trim_end_matches('/').to_string()).collect();
        if urls.is_empty() {
            return Err("the API URL is missing".to_string());
        }
        for url in &urls {
            let (plain, secure) = (url.starts_with("http://"), url.starts_with("https://"));
            if !plain && !secure {
                return Err(format!("the API URL must begin with http:// or https://, not {url:?}"));
            }
            if secure && trust.is_none() {
                return Err(format!(
                    "no authority is known for {url}: sign in (uptimemesh login {url}), or give --ca-file"
                ));
            }
            if url.split("://").nth(1).is_some_and(|rest| rest.split('/').next().unwrap_or_default().contains('@')) {
                return Err(format!("the API URL must not contain a user name: {url:?}"));
            }
        }
        let tls = trust.map(|trust| tls::client(trust, identity)).transpose()?;
        Ok(Api {
            urls,
            at: AtomicUsize::new(0),
            agent: agent(tls.clone()),
            tls,
            limits: None,
            session: None,
            credentials: None,
            source: None,
        })
    }

    /// The calls after this take at most this time, connecting included, and connecting alone at most the other.
    pub fn limit(&mut self, call: Duration, connect: Duration) {
        self.limits = Some((call, connect));
    }

    /// Lets go of connections that are kept, one of which did not answer: the next call makes one, to the same URL.
    pub fn connect_again(&mut self) {
        self.agent = agent(self.tls.clone());
        self.at.fetch_sub(1, Ordering::Relaxed);
    }

    /// The server's URL; where it has several, the one that is tried next.
    pub fn url(&self) -> &str {
        &self.urls[self.at.load(Ordering::Relaxed) % self.urls.len()]
    }

    /// The path of that URL, below which the server is; empty where it has the whole host.
    fn path(&self) -> &str {
        let url = self.url();
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        rest.find('/').map_or("", |at| &rest[at..])
    }

    /// Every URL of the server, the one that is tried next first.
    pub fn urls(&self) -> Vec<String> {
        let mut urls = self.urls.clone();
        urls.rotate_left(self.at.load(Ordering::Relaxed) % self.urls.len());
        urls
    }

    /// Finds a URL at which the server answers and proves its identity. Sends nothing else.
    pub fn reach(&self) -> Called<()> {
        let mut why = None;
        for _ in &self.urls {
            let tried = self.at.load(Ordering::Relaxed);
            match self.get("/health") {
                Ok(_) => return Ok(()),
                Err(e) => {
                    self.at.store(tried + 1, Ordering::Relaxed);
                    why = why.or(Some(e));
                }
            }
        }
        why.map_or(Ok(()), Err)
    }

    /// Signs in; the calls after this carry the session.
    pub fn sign_in(&mut self, username: &str, password: &str) -> Called<()> {
        self.greet()?;
        let answer = self.post("/auth/token", &json!({ "username": username, "password": password }))?;
        self.adopt(&answer);
        self.credentials = Some((username.to_string(), password.to_string()));
        Ok(())
    }

    /// The calls after this carry the session of this answer.
    pub fn adopt(&mut self, answer: &Value) {
        self.session = answer["session_token"].as_str().map(str::to_string);
    }

    /// The calls after this carry an API token.
    pub fn with_token(mut self, token: String) -> Called<Api> {
        self.greet()?;
        self.session = Some(token);
        Ok(self)
    }

    /// The token was given with the command: refusals name no source.
    pub fn by_caller(mut self) -> Api {
        self.source = None;
        self
    }

    /// Refusals name this as the source of the token.
    pub fn by(mut self, source: Source) -> Api {
        self.source = Some(source);
        self
    }

    /// Before a secret leaves this machine in the clear, checks that the server accepts plain HTTP.
    fn greet(&self) -> Called<()> {
        let host = self.url().strip_prefix("http://").and_then(|rest| rest.split(['/', '?', '#']).next());
        let host = host
            .map(|host| host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(host, _)| host));
        let near = |host: &str| {
            host == "localhost"
                || host
                    .trim_matches(['[', ']'])
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|ip| ip.to_canonical().is_loopback())
        };
        match host {
            Some(host) if !near(host) => match self.reach() {
                // It is busy, and would talk in the clear.
                Err(e) if e.is_refusal() => Ok(()),
                done => done,
            },
            _ => Ok(()),
        }
    }

    /// Signs in again with the password of before; false if there was none.
    pub fn sign_in_again(&mut self) -> Called<bool> {
        match self.credentials.clone() {
            Some((username, password)) => self.sign_in(&username, &password).map(|()| true),
            None => Ok(false),
        }
    }

    /// Reads something.
    pub fn get(&self, path: &str) -> Called<Value> {
        self.call("GET", path, None, &[]).map(|answer| answer.body)
    }

    /// Sends a body as JSON.
    pub fn post(&self, path: &str, body: &impl Serialize) -> Called<Value> {
        let body = serde_json::to_string(body).map_err(|e| CallError::Unreachable(e.to_string()))?;
        self.call("POST", path, Some(body), &[]).map(|answer| answer.body)
    }

    /// Reads something with the tag of its version.
    pub fn get_tagged(&self, path: &str) -> Called<(Value, String)> {
        let answer = self.call("GET", path, None, &[])?;
        Ok((answer.body, answer.tag.unwrap_or_default()))
    }

    /// Changes something, if it is still the version with this tag.
    pub fn patch_if(&self, path: &str, body: &Value, tag: &str) -> Called<Value> {
        self.call("PATCH", path, Some(body.to_string()), &[("If-Match", tag)]).map(|answer| answer.body)
    }

    /// Sets something.
    pub fn put(&self, path: &str, body: &Value) -> Called<Value> {
        self.call("PUT", path, Some(body.to_string()), &[]).map(|answer| answer.body)
    }

    /// Takes something away.
    pub fn delete(&self, path: &str) -> Called<()> {
        self.call("DELETE", path, None, &[]).map(drop)
    }

    /// The same server and session for another thread. Dropping it ends no session.
    pub fn companion(&self) -> Api {
        Api {
            urls: self.urls(),
            at: AtomicUsize::new(0),
            agent: self.agent.clone(),
            tls: self.tls.clone(),
            limits: self.limits,
            session: self.session.clone(),
            credentials: None,
            source: self.source.clone(),
        }
    }

    /// Reads server-sent events until the stream ends or `take` is false; `last` is the id of the last one, and where
    /// it continues.
    /// `take` gets `None` for a sign of life without an event; the first comes when the stream has begun.
    pub fn follow(
        &self,
        path: &str,
        last: &mut Option<String>,
        mut take: impl FnMut(Option<&Value>) -> bool,
    ) -> Called<()> {
        let mut headers = vec![("Accept", "text/event-stream")];
        let seen = last.clone();
        headers.extend(seen.as_deref().map(|id| ("Last-Event-ID", id)));
        // A stream has no end; a silence longer than the server's comments is one.
        let request = self.request("GET", path, None, &headers)?;
        let config = self.agent.configure_request(request).timeout_global(None).timeout_recv_body(None).build();
        let mut response = self.agent.run(config).map_err(|e| self.unreachable(&e))?;
        if response.status().as_u16() != 200 {
            return self.answer(&mut response).map(drop);
        }
        let mut lines = BufReader::new(response.body_mut().as_reader()).lines();
        let mut id = None;
        while let Some(line) =
            lines.next().transpose().map_err(|e| CallError::Unreachable(format!("{} broke off: {e}", self.url())))?
        {
            let is_wanted = if let Some(text) = line.strip_prefix("data: ")
                && let Ok(event) = json::kept(text)
            {
                *last = id.take().or(last.take());
                take(Some(&event))
            } else {
                id = line.strip_prefix("id: ").map(str::to_string).or(id);
                !line.starts_with(':') || take(None)
            };
            if !is_wanted {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Downloads this path into a file; returns the number of bytes. A truncated answer is an error.
    pub fn download(&self, path: &str, into: &mut fs::File) -> Called<u64> {
        let request = self.request("GET", path, None, &[])?;
        let request = self.agent.configure_request(request).timeout_global(Some(DOWNLOAD_TIME)).build();
        let mut response = self.agent.run(request).map_err(|e| self.unreachable(&e))?;
        if response.status().as_u16() != 200 {
            return Err(self
                .answer(&mut response)
                .err()
                .unwrap_or_else(|| CallError::Unreachable(format!("{} gave no file", self.url()))));
        }
        let mut body = response.body_mut().with_config().limit(DOWNLOAD_BYTES_MAX).reader();
        std::io::copy(&mut body, into)
            .map_err(|e| CallError::Unreachable(format!("the file from {} broke off: {e}", self.url())))
    }

    /// A whole list, page by page.
    pub fn list(&self, path: &str) -> Called<Vec<Value>> {
        let mut next = format!("{path}{}limit={PAGE}", if path.contains('?') { '&' } else { '?' });
        let mut all = Vec::new();
        loop {
            let answer = self.call("GET", &next, None, &[])?;
            all.extend(answer.body.as_array().cloned().unwrap_or_default());
            match answer.next {
                // The link is a path of the host; what is called is one below the URL.
                Some(link) => next = base_path::inside(&link, self.path()).to_string(),
                None => return Ok(all),
            }
        }
    }

    fn call(&self, method: &str, path: &str, body: Option<String>, headers: &[(&str, &str)]) -> Called<Answer> {
        let request = self.request(method, path, body, headers)?;
        let mut response = match self.limits {
            None => self.agent.run(request),
            Some((call, connect)) => {
                let limited = self
                    .agent
                    .configure_request(request)
                    .timeout_global(Some(call))
                    .timeout_connect(Some(connect.min(call)));
                self.agent.run(limited.build())
            }
        }
        .map_err(|e| self.unreachable(&e))?;
        self.answer(&mut response)
    }

    /// Explains why no answer came; the next call tries the next URL.
    fn unreachable(&self, e: &ureq::Error) -> CallError {
        let url = self.url();
        let why = match foreign(e) {
            Some(why) => {
                let to_do = self
                    .source
                    .as_ref()
                    .map(|source| format!("; {}: {}", source.name, source.foreign))
                    .unwrap_or_default();
                format!("Could not verify that {url} is this cluster's control plane ({why}); nothing was sent{to_do}")
            }
            None => format!("cannot reach {url}: {e}"),
        };
        self.at.fetch_add(1, Ordering::Relaxed);
        CallError::Unreachable(why)
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Called<http::Request<String>> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.url()));
        if let Some(session) = &self.session {
            request = request.header("Authorization", format!("Bearer {session}"));
        }
        if body.is_some() {
            request = request.header("Content-Type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.unwrap_or_default());
        request.map_err(|e| CallError::Unreachable(format!("{}{path} cannot be called: {e}", self.url())))
    }

    fn answer(&self, response: &mut http::Response<ureq::Body>) -> Called<Answer> {
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
        let (next, tag) = (header("link").and_then(next_of), header("etag").map(str::to_string));
        let text = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .map_err(|e| self.unreachable(&e))?;
        let parsed: Result<Value, _> = if text.is_empty() { Ok(Value::Null) } else { json::kept(&text) };
        let is_success = (200..300).contains(&status);
        let refused = || parsed.as_ref().ok().filter(|_| !is_success).and_then(|body| Refusal::deserialize(body).ok());
        match (refused(), parsed) {
            (None, Ok(body)) if is_success => Ok(Answer { body, next, tag }),
            (Some(refused), _) => Err(self.explained(refusal(status, refused))),
            _ if status == 308 => {
                let why = format!(
                    "{} answers over HTTPS only: use https:// and say whom to believe, by --ca-file or a join string",
                    self.url()
                );
                Err(CallError::Unreachable(why))
            }
            _ => Err(CallError::Unreachable(format!(
                "{} answered HTTP {status} with something that is not UptimeMesh's API",
                self.url()
            ))),
        }
    }
}

impl Api {
    /// A refusal of a token, with where that came from and what to do.
    fn explained(&self, mut refusal: CallError) -> CallError {
        // A session was begun with a password just now.
        let by_token = self.session.is_some() && self.credentials.is_none();
        if let (CallError::Refused { status, detail, .. }, Some(source)) =
            (&mut refusal, self.source.as_ref().filter(|_| by_token))
        {
            match status {
                401 => *detail = format!("{} is not accepted by {}: {}", source.name, self.url(), source.refused),
                403 => *detail = format!("{detail} ({})", source.name),
                _ => {}
            }
        }
        refusal
    }
}

impl Drop for Api {
    /// Ends the session that it made: commands of scripts must not leave one behind each time.
    fn drop(&mut self) {
        if self.session.is_none() || self.credentials.is_none() {
            return;
        }
        if let Ok(request) = self.request("GET", "/auth/logout", None, &[]) {
            let request = self.agent.configure_request(request).timeout_global(Some(SIGN_OUT_TIME)).build();
            // Where nobody answers, it ends when nobody has used it for long enough.
            let _ = self.agent.run(request);
        }
    }
}

/// Agent that makes and keeps connections.
fn agent(tls: Option<Arc<ClientConfig>>) -> Agent {
    // The proxy variables of a shell are for browsing; a control plane is called directly.
    let config = Agent::config_builder().proxy(None).http_status_as_error(false).max_redirects(0);
    let config =
        config.timeout_connect(Some(CONNECT_TIME)).timeout_global(Some(CALL_TIME)).max_idle_age(IDLE_TIME).build();
    match tls {
        None => Agent::with_parts(config, ().chain(SocketConnector), DefaultResolver::default()),
        Some(tls) => {
            Agent::with_parts(config, ().chain(SocketConnector).chain(TlsConnector(tls)), DefaultResolver::default())
        }
    }
}

/// An answer that is not an error.
struct Answer {
    body: Value,
    /// The path of the next page of a list.
    next: Option<String>,
    /// The tag of the object's version.
    tag: Option<String>,
}

fn refusal(status: u16, Refusal { detail, reason, server_time }: Refusal) -> CallError {
    let detail = detail.as_str().map_or_else(|| faults(&detail), str::to_string);
    CallError::Refused { status, detail, reason, server_time }
}

/// The faults of a 422, on one line.
fn faults(detail: &Value) -> String {
    let one = |fault: &Value| {
        let place: Vec<String> = fault["loc"]
            .as_array()
            .into_iter()
            .flatten()
            .skip(1)
            .map(|s| s.as_str().map_or(s.to_string(), str::to_string))
            .collect();
        format!("{}: {}", place.join("."), fault["msg"].as_str().unwrap_or("is wrong"))
    };
    detail.as_array().map_or_else(|| detail.to_string(), |all| all.iter().map(one).collect::<Vec<_>>().join("; "))
}

/// SHA-256 (hex) of the authority by which the control plane at this URL would prove itself. Nothing is sent to it.
pub fn shown_authority(url: &str) -> Called<String> {
    let seen = Arc::new(OnceLock::new());
    let api =
        Api::with(&[url.to_string()], Some(Trust::Unknown(Arc::clone(&seen))), None).map_err(CallError::Unreachable)?;
    let failed = api.get("/health").err();
    match (seen.get(), failed) {
        (Some(authority), _) => Ok(authority.clone()),
        (None, Some(e)) => Err(e),
        (None, None) => Err(CallError::Unreachable(format!("{url} shows no certificate"))),
    }
}

/// The path in `<path>; rel="next"`.
fn next_of(link: &str) -> Option<String> {
    let (path, rest) = link.strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then(|| path.to_string())
}

/// The certificates of the authorities that this system believes.
fn system_authorities() -> Result<String, String> {
    let path = std::env::var("SSL_CERT_FILE").unwrap_or(PUBLIC_CERTS.to_string());
    authorities_in(&path).map_err(|why| format!("{why} (SSL_CERT_FILE names another file)"))
}

/// The certificates of authorities in a file.
pub fn authorities_in(path: &str) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|e| format!("cannot read the trusted certificates in {path}: {e}"))?;
    if text::is_wide(&bytes) {
        return text::decode(bytes).map_err(|why| format!("the file of trusted certificates, {path}, {why}"));
    }
    // Comments in collections are in any encoding.
    Ok(String::from_utf8_lossy(text::without_mark(&bytes)).into_owned())
}

/// Why a server is not believed, if that is what went wrong.
fn foreign(e: &ureq::Error) -> Option<String> {
    let ureq::Error::Io(e) = e else { return None };
    match e.get_ref()?.downcast_ref::<rustls::Error>()? {
        e @ rustls::Error::InvalidCertificate(_) => Some(e.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_sentence_whatever_its_shape() {
        let said = |body: Value| refusal(422, serde_json::from_value(body).expect("a refusal")).to_string();
        assert_eq!(said(json!({"detail": "No."})), "No. (HTTP 422)");
        let faults = json!({"detail": [{"loc": ["body", "labels", 0], "msg": "is long"}, {"loc": ["body", "id"],
            "msg": "Field required"}]});
        assert_eq!(said(faults), "labels.0: is long; id: Field required (HTTP 422)");
    }

    #[test]
    fn a_page_leads_to_the_next() {
        assert_eq!(next_of("</nodes?limit=2&after=b>; rel=\"next\"").as_deref(), Some("/nodes?limit=2&after=b"));
        assert_eq!(next_of("</nodes>; rel=\"prev\""), None);
    }

    #[test]
    fn only_http_urls_are_called() {
        assert!(Api::new("ftp://x").is_err() && Api::new("127.0.0.1:8000").is_err());
        assert_eq!(Api::new("http://127.0.0.1:8000/").map(|a| a.url().to_string()), Ok("http://127.0.0.1:8000".into()));
    }
}
