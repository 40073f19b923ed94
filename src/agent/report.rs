//! A node's report with its heartbeats: the latest state of its parts. Composing it waits for nothing; the machine's
//! facts, which may take a slow disk's time, are gathered on a thread of their own.

use crate::model::Object;
use crate::model::node_runs::{AgentRun, RUN_KEY};
use crate::model::status_keys::{CLOCK_OFFSET_SECONDS, DISK_TOTAL_BYTES, READY, RUNNER, UPDATE, VERSION};
use crate::model::updates::State;
use crate::sys::host;
use crate::thread::{Watch, catch_panic};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Interval of looking at the machine. In between the facts stay the same, which costs the control plane no write.
const FACTS_EVERY: Duration = Duration::from_secs(300);
/// Time for the disk's figures: one that has to spin up is reported late, and one that does not answer not at all.
const DISK_TIME: Duration = Duration::from_secs(30);

/// The latest reports of an agent's parts.
pub struct Report {
    run: AgentRun,
    facts: Watch<Object>,
    updater: Watch<Option<State>>,
    /// Abilities of the runner; `None` if the node runs nothing.
    runner: Watch<Option<Value>>,
}

impl Report {
    /// A report of this run and its runner's abilities, with the facts and the updater's state as they come.
    pub fn new(
        run_id: &str,
        facts: Watch<Object>,
        updater: Watch<Option<State>>,
        runner: Watch<Option<Value>>,
    ) -> Report {
        Report { run: AgentRun { id: run_id.to_string(), boot: host::boot() }, facts, updater, runner }
    }

    /// The run.
    pub fn run(&self) -> &AgentRun {
        &self.run
    }

    /// Waits for facts newer than `seen`, at most this long. Gives the version that is there; `None` once the agent
    /// stops.
    pub fn wait(&self, seen: u64, at_most: Duration) -> Option<u64> {
        self.facts.wait(seen, at_most).map(|(_, version)| version)
    }

    /// The status patch of a heartbeat, as JSON.
    pub fn patch(&self, clock_offset_s: i64) -> String {
        let mut status = healthy(self.facts.get());
        status.insert(CLOCK_OFFSET_SECONDS.into(), clock_offset_s.into());
        // Null where an earlier agent of this node ran replicas, and this one does not.
        status.insert(RUNNER.into(), json!(self.runner.get()));
        // Signed with the status, and not part of it.
        status.insert(RUN_KEY.into(), json!(self.run));
        status.extend(self.updater.get().map(|state| (UPDATE.to_string(), update(&state))));
        Value::Object(status).to_string()
    }
}

fn update(state: &State) -> Value {
    json!({
        "id": state.update_id, "state": state.state, "from": state.from, "to": state.to, "reason": state.reason,
    })
}

/// The status of a healthy node with these facts.
pub fn healthy(mut facts: Object) -> Object {
    facts.insert(READY.into(), json!(true));
    facts.insert(VERSION.into(), json!(env!("CARGO_PKG_VERSION")));
    facts
}

/// Collects facts about the machine, and those of the file system of `dir` if it answers in time.
pub fn look(dir: &Path, disk_time: Duration, facts: &Watch<Object>) {
    facts.set(host::facts(dir, disk_time));
}

/// Collects facts at intervals, until the watch is closed. The first look does not wait long for the disk, so that the
/// first heartbeats report the machine's size; if the disk did not answer, the next look follows at once.
pub fn keep_looking(dir: &Path, facts: &Watch<Object>) {
    let (mut seen, mut wait) = (0, Duration::ZERO);
    let mut disk_time = host::DISK_TIME;
    while let Some((found, version)) = facts.wait(seen, wait) {
        if version == seen {
            catch_panic("agent-facts", || look(dir, disk_time, facts));
            wait = FACTS_EVERY;
        } else {
            let is_late = disk_time < DISK_TIME && !found.contains_key(DISK_TOTAL_BYTES);
            wait = if is_late { Duration::ZERO } else { FACTS_EVERY };
            disk_time = DISK_TIME;
        }
        seen = version;
    }
}
