//! The call that waits for the node's work, open beside the heartbeats: on a thread and a connection of its own, which
//! also writes the work down, hands it to the runner, and begins the relays that come with it. Each call names the
//! state that is on disk, and so acknowledges it.

use super::contact::{Contact, Line, Pause, RETRY_AFTER_MAX, UNKNOWN_PAUSE, pause_after, rest};
use super::relays::Relays;
use super::{AgentError, BACKOFF_CEILING, BACKOFF_FIRST, Linked, jittered};
use crate::agent::hands::Hands;
use crate::agent::identity::Identity;
use crate::client::{CallError, Paused};
use crate::clock;
use crate::model::node_status::WorkRefusal;
use crate::model::node_work::NodeWork;
use crate::model::relay::{Requests, SignedRequest};
use crate::runner::held::{Held, NotTaken, Refusal};
use crate::thread::{Watch, catch_panic};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// Seconds that the control plane may let a call wait: below the time after which proxies give up.
const WAIT_S: u64 = 50;
/// Time limit of a call: connecting, the wait and the answer.
const CALL_TIME: Duration = Duration::from_secs(WAIT_S + 10);
/// A call that lasted this long shows that calls can wait: what ended it is a first failure.
const LONG: Duration = Duration::from_secs(10);

/// Keeps the call open, and the node's work on disk.
pub struct WorkCall {
    contact: Watch<Option<Contact>>,
    held: Held,
    /// The refusal of the last answer; each is logged once.
    refused: Option<Refusal>,
    line: Line,
    /// Runner of the work; `None` if this node only keeps it.
    runner: Option<Arc<Hands>>,
    relays: Relays,
    failures: u32,
}

/// An answer: the work, and the relays that are requested with it.
struct Given {
    work: NodeWork,
    requests: Vec<SignedRequest>,
}

impl WorkCall {
    /// A call that follows the contacts which the link publishes.
    pub fn new(contact: Watch<Option<Contact>>, held: Held, runner: Option<Arc<Hands>>, relays: Relays) -> WorkCall {
        WorkCall { contact, held, refused: None, line: Line::new(CALL_TIME), runner, relays, failures: 0 }
    }

    /// Hands the work on disk to the runner: it needs no control plane.
    pub fn resume(&self) {
        if let Some(runner) = &self.runner {
            runner.take(&self.held);
        }
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
            let Some(Given { work, requests }) = paused.answer else { return Ok((false, paused.retry_after)) };
            let is_news = self.take(contact, &work)?;
            self.relays.begin(contact, &work, &requests);
            // A call that is answered for the sake of relays has not lost its place to another one.
            Ok((is_news || !requests.is_empty(), paused.retry_after))
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
        if let Some(runner) = &self.runner {
            let refused = |why: Refusal| WorkRefusal { version: Some(work.version), reason: why.to_string() };
            runner.note_refusal(refusal.map(refused));
        }
        let is_new = taken.map_err(|e| match e {
            NotTaken::Refused(why) => AgentError::Call(CallError::Unreachable(format!("refused the work: {why}"))),
            NotTaken::Unwritten(e) => AgentError::Local(e),
        })?;
        if let Some(document) = self.held.document().filter(|_| is_new) {
            log::info!(
                target: "agent", event = "agent.work", node_id, work:% = document.version,
                replicas = document.replicas.len(); "Took the node's work"
            );
            self.resume();
        }
        Ok(is_new)
    }

    fn answer(&mut self, contact: &Contact) -> Linked<Paused<Option<Given>>> {
        let held = self.held.version(&contact.identity.ca_pem);
        let after = held.map(|version| format!("&after={version}")).unwrap_or_default();
        let path = format!("/node/work?wait={WAIT_S}{after}");
        let (paused, url) = self.line.call(contact, "GET", &path, None)?;
        if paused.answer.is_null() {
            return Ok(Paused { answer: None, retry_after: paused.retry_after });
        }
        let unknown = |_| format!("{url} answered in a form that this version does not know");
        let work = NodeWork::deserialize(&paused.answer).map_err(|e| CallError::Unreachable(unknown(e)))?;
        let requests = Requests::deserialize(&paused.answer).unwrap_or_default().relay_requests;
        Ok(Paused { answer: Some(Given { work, requests }), retry_after: paused.retry_after })
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
