//! The caller: a session that ends with its [`Api`], or an API token and its origin.

use super::{Api, CallError, Called};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

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

impl Api {
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

    /// Every good answer says which authority is next.
    pub fn noting_authority(mut self, note: impl Fn(Option<&str>) + Send + Sync + 'static) -> Api {
        self.note_authority = Some(Arc::new(note));
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

    /// Signs in again with the last password; false if no password was used.
    pub fn sign_in_again(&mut self) -> Called<bool> {
        match self.credentials.clone() {
            Some((username, password)) => self.sign_in(&username, &password).map(|()| true),
            None => Ok(false),
        }
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
            note_authority: self.note_authority.clone(),
        }
    }

    /// A refusal of a token, with where that came from and what to do.
    pub(super) fn explained(&self, mut refusal: CallError) -> CallError {
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
            // If the server does not answer, the session expires unused.
            let _ = self.agent.run(request);
        }
    }
}
