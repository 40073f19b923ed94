//! The call that waits for the node's work, open beside the heartbeats: on a thread and a connection of its own, which
//! also writes the work down. Each call names the state that is on disk, and so acknowledges it.

use super::{AgentError, BACKOFF_CEILING, BACKOFF_FIRST, ControlPlane, Linked, beat, doubled, jittered};
use crate::agent::identity::Identity;
use crate::client::{Api, CallError, Paused, Signer};
use crate::clock;
use crate::model::node_runs::AgentRun;
use crate::model::node_work::NodeWork;
use crate::runner::held::{Held, NotTaken, Refusal};
use crate::thread::{Watch, catch_panic};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// Seconds that the control plane may let a call wait: below the time after which proxies give up.
const WAIT_S: u64 = 50;
/// Time limit of a call: connecting, the wait and the answer.
const CALL_TIME: Duration = Duration::from_secs(WAIT_S + 10);
/// A call that lasted this long shows that calls can wait: what ended it is a first failure.
const LONG: Duration = Duration::from_secs(10);
/// Time until a control plane that does not know the call, or not this node, is called again.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(600);
/// Longest pause that the control plane can request.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

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

/// Keeps the call open, and the node's work on disk.
pub struct WorkCall {
    contact: Watch<Option<Contact>>,
    held: Held,
    /// The refusal of the last answer; each is logged once.
    refused: Option<Refusal>,
    /// The connection, and the contact that it was made for.
    connection: Option<(Api, Contact)>,
    failures: u32,
}

/// Pause before the next call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pause {
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

impl WorkCall {
    /// A call that follows the contacts which the link publishes.
    pub fn new(contact: Watch<Option<Contact>>, held: Held) -> WorkCall {
        WorkCall { contact, held, refused: None, connection: None, failures: 0 }
    }

    /// Works until the contact is closed. A call that waits at that moment ends with its answer, or with the process.
    pub fn run(&mut self) {
        let mut used = (None, 0);
        let mut pause = Pause::UntilBeat(UNKNOWN_PAUSE);
        while let Some((contact, version)) = rest(&self.contact, &used, pause) {
            pause = match &contact {
                Some(contact) => {
                    catch_panic("agent-work", || self.call(contact)).unwrap_or(Pause::For(BACKOFF_CEILING))
                }
                None => Pause::UntilBeat(UNKNOWN_PAUSE),
            };
            used = (contact, version);
        }
    }

    /// One call. Returns the pause after it.
    fn call(&mut self, contact: &Contact) -> Pause {
        let began = clock::tick();
        let answer = self.answer(contact);
        let lasted = clock::tick().saturating_duration_since(began);
        let answer = answer.and_then(|paused| {
            let is_news = paused.answer.map_or(Ok(false), |work| self.take(contact, &work))?;
            Ok((is_news, paused.retry_after))
        });
        self.note(contact, answer.as_ref().err(), lasted);
        match answer {
            Ok((_, Some(wait))) => Pause::For(jittered(wait.min(RETRY_AFTER_MAX))),
            // Ended early without news: another call of this node has taken its place.
            Ok((false, None)) if lasted < BACKOFF_FIRST => Pause::For(jittered(BACKOFF_FIRST)),
            Ok(_) => Pause::For(Duration::ZERO),
            Err(e) => pause_after(&e, self.failures),
        }
    }

    /// Writes newer work down. Returns false if the node holds it already.
    fn take(&mut self, contact: &Contact, work: &NodeWork) -> Linked<bool> {
        let Identity { node_id, ca_pem, .. } = &contact.identity;
        let taken = self.held.take(work, ca_pem, node_id);
        let refusal = if let Err(NotTaken::Refused(why)) = taken { Some(why) } else { None };
        if let Some(why) = refusal.filter(|_| refusal != self.refused) {
            log::warn!(
                target: "agent", event = "agent.work_refused", node_id, work:% = work.version, why:%; "Refused the \
                    node's work; what the node holds stays"
            );
        }
        self.refused = refusal;
        let is_new = taken.map_err(|e| match e {
            NotTaken::Refused(why) => AgentError::Call(CallError::Unreachable(format!("refused the work: {why}"))),
            NotTaken::Unwritten(e) => AgentError::Local(e),
        })?;
        if let Some(document) = self.held.document().filter(|_| is_new) {
            log::info!(
                target: "agent", event = "agent.work", node_id, work:% = document.version,
                replicas = document.replicas.len(); "Took the node's work"
            );
        }
        Ok(is_new)
    }

    fn answer(&mut self, contact: &Contact) -> Linked<Paused<Option<NodeWork>>> {
        let kept = self.connection.take().filter(|(_, of)| of.shares_connection(contact));
        let api = match kept {
            Some((api, _)) => api,
            None => {
                let mut api = contact.control_plane.api(&contact.identity)?;
                api.limit(CALL_TIME, beat::CONNECT_TIME);
                api
            }
        };
        let (api, _) = self.connection.insert((api, contact.clone()));
        let held = self.held.version(&contact.identity.ca_pem);
        let after = held.map(|version| format!("&after={version}")).unwrap_or_default();
        let path = format!("/node/work?wait={WAIT_S}{after}");
        let Contact { identity, run, offset_s, .. } = contact;
        let signer = Signer {
            node_id: &identity.node_id,
            lease_token: &identity.lease_token,
            key: &identity.key,
            run: Some(run),
        };
        let paused = api.send_pausing(signer.sign("GET", &path, None, clock::now().plus_secs(*offset_s))?)?;
        if paused.answer.is_null() {
            return Ok(Paused { answer: None, retry_after: paused.retry_after });
        }
        let unknown = |_| format!("{}/node/work answered in a form that this version does not know", api.url());
        let work = NodeWork::deserialize(&paused.answer).map_err(|e| CallError::Unreachable(unknown(e)))?;
        Ok(Paused { answer: Some(work), retry_after: paused.retry_after })
    }

    /// Logs how a call went, each change once.
    fn note(&mut self, contact: &Contact, error: Option<&AgentError>, lasted: Duration) {
        let node_id = &contact.identity.node_id;
        match error {
            None if self.failures > 0 => {
                self.failures = 0;
                log::info!(target: "agent", event = "agent.work_back", node_id; "The call that waits for work is open \
                    again");
            }
            None => {}
            Some(e) => {
                let is_first = self.failures == 0;
                self.failures = if lasted >= LONG { 1 } else { self.failures.saturating_add(1) };
                if is_first {
                    log::warn!(target: "agent", event = "agent.work_failed", node_id, error:% = e; "The call that \
                        waits for work failed; it is tried again, and heartbeats do not depend on it");
                }
            }
        }
    }
}

/// Waits for the end of a pause after a call with the contact that was `used`. Returns the current one with its
/// version; `None` once the agent stops.
fn rest(
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
fn pause_after(e: &AgentError, failures: u32) -> Pause {
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
