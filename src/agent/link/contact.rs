//! The contact of the node with its control plane, which the link publishes, and calls beside the heartbeats: each kind
//! on a thread and a connection of its own.

use super::{AgentError, BACKOFF_CEILING, ControlPlane, Linked, beat, doubled, jittered};
use crate::agent::identity::Identity;
use crate::client::{Api, CallError, Paused, Signer};
use crate::clock;
use crate::model::node_runs::AgentRun;
use crate::thread::Watch;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Time until a control plane that does not know the call, or not this node, is called again.
pub const UNKNOWN_PAUSE: Duration = Duration::from_secs(600);
/// Longest pause that the control plane can request.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// The control plane and this node's proof of identity, as of the last accepted heartbeat.
#[derive(Clone)]
pub struct Contact {
    /// The control plane.
    pub control_plane: ControlPlane,
    /// The node.
    pub identity: Identity,
    /// The run of its agent.
    pub run: AgentRun,
    /// Error of the local clock in seconds; positive if it is behind.
    pub offset_s: i64,
}

/// Pause before the next call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pause {
    /// This long.
    For(Duration),
    /// Until a heartbeat is accepted, at most this long.
    UntilBeat(Duration),
    /// Until the node has another proof of identity, at most this long.
    UntilProof(Duration),
}

impl Contact {
    fn proof(&self) -> (&str, &str) {
        (&self.identity.lease_token, &self.identity.cert_pem)
    }

    /// True if a connection for the other is one for this.
    fn shares_connection(&self, other: &Contact) -> bool {
        let (ours, theirs) = (&self.identity, &other.identity);
        self.control_plane.urls == other.control_plane.urls
            && (&ours.cert_pem, &ours.ca_pem) == (&theirs.cert_pem, &theirs.ca_pem)
    }
}

/// The connection for one kind of call, kept as long as it serves.
pub struct Line {
    /// Time limit of a call: connecting, the wait and the answer.
    at_most: Duration,
    /// The connection, and the contact that it was made for.
    connection: Option<(Api, Contact)>,
}

impl Line {
    /// No connection yet.
    pub fn new(at_most: Duration) -> Line {
        Line { at_most, connection: None }
    }

    /// Calls the control plane. Returns its answer, which is null without a body, and the URL of the call.
    pub fn call(
        &mut self,
        contact: &Contact,
        method: &str,
        path: &str,
        body: Option<String>,
    ) -> Linked<(Paused<Value>, String)> {
        let kept = self.connection.take().filter(|(_, of)| of.shares_connection(contact));
        let api = match kept {
            Some((api, _)) => api,
            None => {
                let mut api = contact.control_plane.api(&contact.identity)?;
                api.limit(self.at_most, beat::CONNECT_TIME);
                api
            }
        };
        let (api, _) = self.connection.insert((api, contact.clone()));
        let Contact { identity, run, offset_s, .. } = contact;
        let signer = Signer {
            node_id: &identity.node_id,
            lease_token: &identity.lease_token,
            key: &identity.key,
            run: Some(run),
        };
        let signed = signer.sign(method, path, body, clock::now().plus_secs(*offset_s))?;
        Ok((api.send_pausing(signed)?, format!("{}{path}", api.url())))
    }
}

/// Waits for the end of a pause after a call with the contact that was `used`. Returns the current one with its
/// version; `None` once the agent stops.
pub fn rest(
    contacts: &Watch<Option<Contact>>,
    used: &(Option<Contact>, u64),
    pause: Pause,
) -> Option<(Option<Contact>, u64)> {
    let (contact, used_version) = used;
    let (Pause::For(at_most) | Pause::UntilBeat(at_most) | Pause::UntilProof(at_most)) = pause;
    let end: Instant = clock::tick() + at_most;
    let mut seen = *used_version;
    loop {
        let left = end.saturating_duration_since(clock::tick());
        let (current, version) = contacts.wait(seen, left)?;
        let is_over = match pause {
            Pause::For(_) => false,
            Pause::UntilBeat(_) => version != *used_version,
            Pause::UntilProof(_) => current.as_ref().map(Contact::proof) != contact.as_ref().map(Contact::proof),
        };
        if is_over || clock::tick() >= end {
            return Some((current, version));
        }
        seen = version;
    }
}

/// The pause after this number of failures, the last of which was `e`.
pub fn pause_after(e: &AgentError, failures: u32) -> Pause {
    let backoff = jittered(doubled(failures, BACKOFF_CEILING));
    match e {
        // The lease token is older than the control plane's start, or an operator has to decide.
        AgentError::Call(CallError::Refused { status: 401, reason: Some(_), .. }) => Pause::UntilBeat(UNKNOWN_PAUSE),
        // A control plane without this call says 401, because it knows the caller by a session only.
        AgentError::Call(CallError::Refused { status: 401 | 404, .. }) => Pause::UntilProof(UNKNOWN_PAUSE),
        AgentError::Call(CallError::Refused { retry_after: Some(wait), .. }) => {
            Pause::For(jittered((*wait).min(RETRY_AFTER_MAX)).max(backoff))
        }
        AgentError::Call(CallError::Refused { retry_after: None, .. }) | AgentError::Local(_) => Pause::For(backoff),
        // An accepted heartbeat shows that the control plane is back.
        AgentError::Call(CallError::Unreachable(_)) => Pause::UntilBeat(backoff),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::node_api::Reason;

    fn refused(status: u16, reason: Option<Reason>, retry_after_s: Option<u64>) -> AgentError {
        let retry_after = retry_after_s.map(Duration::from_secs);
        AgentError::Call(CallError::Refused { status, detail: String::new(), reason, server_time: None, retry_after })
    }

    #[test]
    fn a_pause_fits_the_failure() {
        let unreachable = AgentError::Call(CallError::Unreachable(String::new()));
        for (failures, from_ms, to_ms) in [(1, 800, 1000), (3, 3200, 4000), (100, 24_000, 30_000)] {
            let range = Duration::from_millis(from_ms)..=Duration::from_millis(to_ms);
            for e in [&unreachable, &refused(503, None, None)] {
                let (Pause::For(wait) | Pause::UntilBeat(wait)) = pause_after(e, failures) else { panic!("{e}") };
                assert!(range.contains(&wait), "{failures}: {wait:?}");
            }
        }
        assert_eq!(pause_after(&refused(401, Some(Reason::Replayed), None), 1), Pause::UntilBeat(UNKNOWN_PAUSE));
        for status in [401, 404] {
            assert_eq!(pause_after(&refused(status, None, None), 1), Pause::UntilProof(UNKNOWN_PAUSE));
        }
        let Pause::For(wait) = pause_after(&refused(429, None, Some(10)), 1) else { panic!("a time") };
        assert!((Duration::from_secs(8)..=Duration::from_secs(10)).contains(&wait), "{wait:?}");
        let Pause::For(wait) = pause_after(&refused(429, None, Some(1_000_000)), 1) else { panic!("a time") };
        assert!(wait <= RETRY_AFTER_MAX, "{wait:?}");
    }

    #[test]
    fn a_rest_ends_with_the_next_heartbeat_and_with_the_agent() {
        let contacts = Watch::new(None);
        let used = (None, 0);
        contacts.set(None);
        let long = Duration::from_secs(600);
        let version = |pause| rest(&contacts, &used, pause).map(|(_, version)| version);
        assert_eq!(version(Pause::UntilBeat(long)), Some(1), "one was accepted meanwhile");
        assert_eq!(version(Pause::For(Duration::ZERO)), Some(1));
        assert_eq!(version(Pause::UntilProof(Duration::ZERO)), Some(1), "the time is over");
        contacts.close();
        for pause in [Pause::For(long), Pause::UntilProof(long)] {
            assert_eq!(version(pause), None, "the agent stops");
        }
    }
}
