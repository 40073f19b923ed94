//! Relays to readers at the control plane. A request comes with the node's work and is proven; then a thread with a
//! connection of its own posts until all is sent or the reader has left.

use super::contact::{Contact, Line, Pause, rest};
use super::{AgentError, Linked};
use crate::client::CallError;
use crate::clock;
use crate::error::{Chain, Result};
use crate::model::ids::ReplicaId;
use crate::model::node_work::NodeWork;
use crate::model::relay::{LogPart, POST_BYTES_MAX, RelayRequest, RelayState, SignedRequest, Wants};
use crate::runner::log_reader::LogReader;
use crate::runner::relay_requests::Followed;
use crate::thread::{Watch, spawn};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of relays at once.
const RELAYS_MAX: usize = 4;
/// Time limit of a post: connecting, the wait for a reader that is behind, and the answer.
const POST_TIME: Duration = Duration::from_secs(40);
/// Time between two looks for new lines.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Time between posts without anything new, by which a node learns that the reader has left.
const POST_EVERY: Duration = Duration::from_secs(5);
/// Time for which a failing post is repeated: after that the reader has given up.
const RETRY_TIME: Duration = Duration::from_secs(30);
/// Pause before a failed post is repeated.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The relays of this node.
pub struct Relays {
    contact: Watch<Option<Contact>>,
    /// Directory of the logs; `None` if this agent runs no replicas.
    logs_dir: Option<PathBuf>,
    followed: Followed,
    /// One for each relay, and this one.
    working: Arc<()>,
}

impl Relays {
    /// Relays that follow the contacts which the link publishes, of logs in this directory.
    pub fn new(contact: Watch<Option<Contact>>, logs_dir: Option<PathBuf>) -> Relays {
        Relays { contact, logs_dir, followed: Followed::default(), working: Arc::default() }
    }

    /// Begins what is requested with this work. Requests that must not be followed are logged.
    pub fn begin(&mut self, contact: &Contact, work: &NodeWork, requests: &[SignedRequest]) {
        let identity = &contact.identity;
        for signed in requests {
            let now = clock::now().plus_secs(contact.offset_s);
            let proven = self.followed.prove(signed, work, &identity.ca_pem, &identity.node_id, now);
            match proven.map_err(|why| why.to_string()).and_then(|request| self.start(request)) {
                Ok(()) => {}
                Err(why) => log::warn!(
                    target: "agent", event = "agent.relay_refused", node_id = identity.node_id, why:%;
                    "Refused to send what a reader requested"
                ),
            }
        }
    }

    fn start(&self, request: RelayRequest) -> std::result::Result<(), String> {
        if Arc::strong_count(&self.working) > RELAYS_MAX {
            return Err("as many readers as possible are served already".to_string());
        }
        let working = Arc::clone(&self.working);
        let mut relay = Relay {
            path: format!("/node/relay/{}", request.relay_id),
            contact: self.contact.clone(),
            line: Line::new(POST_TIME),
            next: 0,
            posted: None,
        };
        let logs_dir = self.logs_dir.clone();
        let work = move || {
            let Wants::Logs { replicas, part } = request.wants;
            relay.logs(logs_dir.as_deref(), &replicas, part);
            drop(working);
        };
        spawn("agent-relay", None, work).map(drop).map_err(|e| format!("cannot start a thread: {e}"))
    }
}

/// A relay that is sent.
struct Relay {
    path: String,
    contact: Watch<Option<Contact>>,
    line: Line,
    /// Number of the next post.
    next: u64,
    /// The state that was posted last, and when.
    posted: Option<(RelayState, Instant)>,
}

impl Relay {
    /// Sends the logs of replicas until all is sent, the reader has left, or the agent stops.
    fn logs(&mut self, logs_dir: Option<&Path>, replicas: &[ReplicaId], part: LogPart) {
        let sent = match logs_dir {
            Some(logs_dir) => self.send_logs(logs_dir, replicas, part).map_err(|e| Chain(&e).to_string()),
            None => Err("the agent of its node runs no replicas".to_string()),
        };
        if let Err(why) = sent {
            self.post(RelayState::Failed, "", &why);
        }
    }

    fn send_logs(&mut self, logs_dir: &Path, replicas: &[ReplicaId], part: LogPart) -> Result<()> {
        let mut reader = LogReader::open(logs_dir, replicas, part)?;
        loop {
            let mut text = String::new();
            let state = match (reader.fill(&mut text, POST_BYTES_MAX)?, part.follow) {
                (false, _) => RelayState::More,
                (true, true) => RelayState::Live,
                (true, false) => RelayState::End,
            };
            let is_known = self.posted.is_some_and(|(said, at)| said == state && at.elapsed() < POST_EVERY);
            let is_open = text.is_empty() && is_known || self.post(state, &text, "");
            if !is_open || state == RelayState::End || state == RelayState::Live && !self.rest(LOOK_EVERY) {
                return Ok(());
            }
        }
    }

    /// Posts until the control plane has taken it. Returns false if it is of no use any more.
    fn post(&mut self, state: RelayState, text: &str, reason: &str) -> bool {
        let body = json!({ "seq": self.next, "state": state, "text": text, "reason": reason }).to_string();
        let began = clock::tick();
        loop {
            let pause = match self.try_post(&body) {
                Ok(()) => {
                    self.next += 1;
                    self.posted = Some((state, clock::tick()));
                    return true;
                }
                // The reader is behind: the post is not taken, and this is no failure.
                Err(AgentError::Call(CallError::Refused { status: 503, .. })) if !self.contact.is_closed() => continue,
                Err(AgentError::Call(CallError::Refused { status: 429, retry_after, .. })) => {
                    retry_after.unwrap_or(RETRY_PAUSE)
                }
                // Another call of this node was signed in the same millisecond, or its proof has just been replaced.
                Err(AgentError::Call(CallError::Refused { status: 401, reason: Some(_), .. })) => RETRY_PAUSE,
                Err(AgentError::Call(CallError::Refused { .. }) | AgentError::Local(_)) => return false,
                Err(AgentError::Call(CallError::Unreachable(_))) => RETRY_PAUSE,
            };
            if began.elapsed() > RETRY_TIME || !self.rest(pause) {
                return false;
            }
        }
    }

    fn try_post(&mut self, body: &str) -> Linked<()> {
        let Some(contact) = self.contact.get() else {
            return Err(AgentError::Call(CallError::Unreachable("no contact yet".to_string())));
        };
        self.line.call(&contact, "POST", &self.path, Some(body.to_string())).map(drop)
    }

    /// Waits. Returns false once the agent stops.
    fn rest(&self, time: Duration) -> bool {
        rest(&self.contact, &(None, 0), Pause::For(time)).is_some()
    }
}
