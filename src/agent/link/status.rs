//! Reports of the node's replicas: what has changed, at most once a second, and all of them after each start and to
//! each new run of the control plane. On a thread and a connection of its own.

use super::contact::{Contact, Line, Pause, RETRY_AFTER_MAX, UNKNOWN_PAUSE, pause_after, rest};
use super::{AgentError, BACKOFF_CEILING, Linked, jittered};
use crate::client::CallError;
use crate::model::ids::ReplicaId;
use crate::model::node_status::{CHANGES_MAX, NodeStatus, ReplicaReport, StatusAnswer};
use crate::runner::Reports;
use crate::thread::{Watch, catch_panic};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Least time between two reports.
const PACE: Duration = Duration::from_secs(1);
/// Time limit of a call.
const CALL_TIME: Duration = Duration::from_secs(15);
/// Longest sentence, in characters: 1,000 replicas fit into a report.
const WORDS_CHARS: usize = 200;
/// Longest sleep without news.
const SLEEP: Duration = Duration::from_secs(600);

/// Reports what the runner publishes.
pub struct StatusCall {
    contact: Watch<Option<Contact>>,
    reports: Watch<Arc<Reports>>,
    line: Line,
    /// Numbers of the reports that were taken.
    taken: BTreeMap<ReplicaId, u64>,
    /// Start of the runner that was reported last.
    run: String,
    /// Epoch of the work that was reported last.
    epoch: Option<u64>,
    wants_full: bool,
    failures: u32,
}

impl StatusCall {
    /// Reports that follow the contacts which the link publishes.
    pub fn new(contact: Watch<Option<Contact>>, reports: Watch<Arc<Reports>>) -> StatusCall {
        let line = Line::new(CALL_TIME);
        StatusCall {
            contact,
            reports,
            line,
            taken: BTreeMap::new(),
            run: String::new(),
            epoch: None,
            wants_full: true,
            failures: 0,
        }
    }

    /// Works until the contact or the reports are closed.
    pub fn run(&mut self) {
        let (mut seen, mut used) = (0, (None, 0));
        while let Some((_, version)) = self.reports.wait(seen, SLEEP) {
            while version != seen || self.wants_full {
                seen = version;
                let reports = self.reports.get();
                let pause = match &used.0 {
                    _ if reports.held.is_none() && reports.refused.is_none() => break,
                    Some(contact) => catch_panic("agent-status", || self.call(contact, &reports)),
                    None => Some(Pause::UntilBeat(UNKNOWN_PAUSE)),
                };
                match rest(&self.contact, &used, pause.unwrap_or(Pause::For(BACKOFF_CEILING))) {
                    Some(rested) => used = rested,
                    None => return,
                }
            }
        }
    }

    /// One report. Returns the pause after it.
    fn call(&mut self, contact: &Contact, reports: &Reports) -> Pause {
        match self.report(contact, reports) {
            Ok(retry_after) => {
                if self.failures > 0 {
                    self.failures = 0;
                    log::info!(target: "agent", event = "agent.status_back", node_id = contact.identity.node_id;
                        "Reports of replicas are accepted again");
                }
                Pause::For(retry_after.map_or(PACE, |wait| jittered(wait.min(RETRY_AFTER_MAX)).max(PACE)))
            }
            Err(e) => {
                if self.failures == 0 {
                    log::warn!(target: "agent", event = "agent.status_failed", node_id = contact.identity.node_id,
                        error:% = e; "A report of replicas failed; it is tried again, and the replicas go on");
                }
                self.failures = self.failures.saturating_add(1);
                // Something of it may have been taken: the next one has it all.
                self.wants_full = true;
                pause_after(&e, self.failures)
            }
        }
    }

    /// Sends what was not taken yet. Returns the pause that the control plane requests.
    fn report(&mut self, contact: &Contact, reports: &Reports) -> Linked<Option<Duration>> {
        let epoch = reports.held.map(|held| held.epoch);
        let is_full = self.wants_full || self.epoch != epoch || self.run != reports.run;
        self.taken.retain(|id, _| reports.replicas.contains_key(id));
        let is_new = |report: &&ReplicaReport| is_full || self.taken.get(&report.replica_id) != Some(&report.seq);
        let changes: Vec<ReplicaReport> = reports.replicas.values().filter(is_new).cloned().collect();
        let is_whole = is_full && changes.len() <= CHANGES_MAX;
        let mut retry_after = None;
        let mut parts: Vec<&[ReplicaReport]> = changes.chunks(CHANGES_MAX).collect();
        if parts.is_empty() {
            // It still names the state of the work that is held.
            parts.push(&[]);
        }
        for part in parts {
            let refused = reports.refused.clone();
            let changes = part.iter().map(|report| by_server(report, contact.offset_s)).collect();
            let status = NodeStatus { run: reports.run.clone(), full: is_whole, held: reports.held, changes, refused };
            let body = serde_json::to_string(&status).map_err(|e| unknown("the report", e))?;
            let (paused, url) = self.line.call(contact, "POST", "/node/status", Some(body))?;
            let answer = StatusAnswer::deserialize(&paused.answer).map_err(|e| unknown(&url, e))?;
            self.taken.extend(part.iter().map(|report| (report.replica_id.clone(), report.seq)));
            self.wants_full = answer.wants_full && !is_full;
            retry_after = paused.retry_after;
        }
        self.epoch = epoch;
        self.run.clone_from(&reports.run);
        Ok(retry_after)
    }
}

fn unknown(what: &str, e: serde_json::Error) -> AgentError {
    AgentError::Call(CallError::Unreachable(format!("{what} is in a form that this version does not know: {e}")))
}

/// A report with times by the server's clock, and sentences of a length that it takes.
fn by_server(report: &ReplicaReport, offset_s: i64) -> ReplicaReport {
    let mut report = report.clone();
    let status = &mut report.status;
    status.started_at = status.started_at.map(|at| at.plus_secs(offset_s));
    status.message = status.message.as_deref().map(shortened);
    if let Some(exit) = &mut status.exit {
        exit.at = exit.at.plus_secs(offset_s);
        exit.words = shortened(&exit.words);
    }
    report
}

/// A sentence on one line, cut where a full report would become too large.
fn shortened(words: &str) -> String {
    let is_long = words.chars().count() > WORDS_CHARS;
    let end = if is_long { "..." } else { "" };
    words.chars().take(WORDS_CHARS).map(|c| if c.is_control() { ' ' } else { c }).chain(end.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::model::node_status::{ExitReport, ReplicaStatus, RunWord, WORDS_CHARS_MAX};

    #[test]
    fn a_report_has_the_servers_time_and_short_sentences() {
        let at = Timestamp::from_secs(1_790_000_000);
        let words = format!("a\nb{}", "\u{e9}".repeat(5000));
        let exit = ExitReport { code: Some(1), signal: None, oom: false, at, words };
        let status = ReplicaStatus { started_at: Some(at), exit: Some(exit), ..ReplicaStatus::of(RunWord::Running) };
        let report = ReplicaReport { replica_id: "r".parse().expect("an id"), seq: 1, status };
        let ReplicaStatus { started_at, exit, .. } = by_server(&report, -30).status;
        let exit = exit.expect("an exit");
        assert_eq!((started_at, exit.at), (Some(at.plus_secs(-30)), at.plus_secs(-30)));
        assert!(exit.words.starts_with("a b") && exit.words.ends_with("..."), "{}", exit.words);
        assert!(exit.words.chars().count() <= WORDS_CHARS_MAX);
    }
}
