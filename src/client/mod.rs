//! Typed calls to the API, for the command line and the agent. Knows the wire only, nothing of the server's inside.

mod connect;
mod download;
mod error;
mod node;
mod node_api;
mod session;
mod socket;
mod trust;

pub use crate::crypto::tls::Trust;
pub use download::download;
pub use error::{CallError, Called};
pub use node::{Paused, Signer};
pub use node_api::Answered;
pub use session::Source;
pub use trust::{authorities_in, shown_authority};

use crate::crypto::pki::NodeKey;
use crate::crypto::tls;
use crate::json;
use crate::model::base_path;
use crate::model::ca::NEXT_AUTHORITY;
use crate::model::node_api::Refusal;
use connect::TlsConnector;
use error::refusal;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use socket::SocketConnector;
use std::fs;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use trust::{foreign, system_authorities};
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
/// Learns from each answer the authority that certifies the server after a rotation; `None` outside one.
type NoteAuthority = Arc<dyn Fn(Option<&str>) + Send + Sync>;

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
    note_authority: Option<NoteAuthority>,
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
            note_authority: None,
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
        let mut id = None;
        self.lines(path, &headers, |line| {
            if let Some(text) = line.strip_prefix("data: ")
                && let Ok(event) = json::kept(text)
            {
                *last = id.take().or(last.take());
                take(Some(&event))
            } else {
                id = line.strip_prefix("id: ").map(str::to_string).or(id.take());
                !line.starts_with(':') || take(None)
            }
        })
    }

    /// Reads the lines of an answer that grows, until it ends or `take` is false.
    pub fn lines(&self, path: &str, headers: &[(&str, &str)], mut take: impl FnMut(&str) -> bool) -> Called<()> {
        // A stream has no end; a silence longer than the server's comments is one.
        let request = self.request("GET", path, None, headers)?;
        let config = self.agent.configure_request(request).timeout_global(None).timeout_recv_body(None).build();
        let mut response = self.agent.run(config).map_err(|e| self.unreachable(&e))?;
        if response.status().as_u16() != 200 {
            return self.answer(&mut response).map(drop);
        }
        let mut lines = BufReader::new(response.body_mut().as_reader()).lines();
        while let Some(line) =
            lines.next().transpose().map_err(|e| CallError::Unreachable(format!("{} broke off: {e}", self.url())))?
        {
            if !take(&line) {
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
            match answer.body {
                Value::Array(page) if page.iter().all(Value::is_object) => all.extend(page),
                _ => return Err(self.not_ours()),
            }
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

    /// The server answered, but not as the control plane does.
    pub fn not_ours(&self) -> CallError {
        CallError::Unreachable(format!("{} answered with something that is not UptimeMesh's API", self.url()))
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
        let next_authority = header(NEXT_AUTHORITY).map(str::to_string);
        let retry_after = header("retry-after").and_then(|s| s.parse().ok()).map(Duration::from_secs);
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
            (None, Ok(body)) if is_success => {
                self.note_authority.iter().for_each(|note| note(next_authority.as_deref()));
                Ok(Answer { body, next, tag, retry_after })
            }
            (Some(refused), _) => Err(self.explained(refusal(status, refused, retry_after))),
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
    /// Pause that the server requests.
    retry_after: Option<Duration>,
}

/// The path in `<path>; rel="next"`.
fn next_of(link: &str) -> Option<String> {
    let (path, rest) = link.strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then(|| path.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

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
