//! The daemon's list of this node's runs, requested when its events or the driver give a reason, and from
//! time to time. Events are a hint; the list is the truth.

use super::{Shared, State, create};
use crate::clock::{self, Timestamp};
use crate::error::{Doing, Result};
use crate::percent;
use crate::runner::docker::{Call, Called, Patience, QUICK};
use crate::runner::run::{Asked, Exit, RunId, RunSpec, RunState, SeenRun};
use crate::thread::{self, lock};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

/// Interval of the list while events come.
const INTERVAL: Duration = Duration::from_secs(10);
/// Interval of the list, and of attempts to reach the daemon, without them.
const RETRY: Duration = Duration::from_secs(1);
/// States of a container that was created and not started.
const CREATED: &[&str] = &["created", "configured", "initialized"];
/// States of a container that has ended.
const ENDED: &[&str] = &["exited", "stopped", "dead"];
/// Exit status from which on it is a signal's.
const SIGNALLED: i32 = 128;
/// Number of the last signal.
const SIGNAL_MAX: i32 = 64;
const SIGKILL: i32 = 9;

/// A run that the daemon has.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// The run.
    pub seen: SeenRun,
    /// Id of its container.
    pub container: String,
    /// State of the container in the list.
    listed_as: String,
    /// True if its end was requested.
    is_stopping: bool,
}

/// Starts the threads that request the list and read the events.
pub fn follow(shared: &Arc<Shared>) -> Result<()> {
    let asking = Arc::clone(shared);
    thread::on_news("containers", shared.ask.clone(), RETRY, move || look(&asking)).doing("start a thread")?;
    let reading = Arc::clone(shared);
    let events = move || {
        if let Err(failure) = read_events(&reading) {
            log::debug!(target: "agent", error:% = failure; "The events of the container daemon ended");
        }
        lock(&reading.state).has_events = false;
        reading.ask.set(());
        RETRY
    };
    thread::paced("container-events", shared.stop.clone(), RETRY, events).map(drop).doing("start a thread")
}

/// Ends the connection of the events.
pub fn hang_up(shared: &Shared) {
    if let Some(events) = lock(&shared.events).take() {
        // The daemon may have ended it.
        let _ = events.shutdown(Shutdown::Both);
    }
}

fn filter(shared: &Shared) -> String {
    let filter = json!({"label": [format!("{}={}", create::NODE, shared.config.node)]});
    percent::encode(&filter.to_string())
}

fn read_events(shared: &Shared) -> Called<()> {
    let path = format!("/events?filters={}", filter(shared));
    let patience = Patience::EachPart { head: QUICK, part: None };
    let mut answer = shared.docker.call(&Call { patience, ..Call::quick("GET", &path) })?;
    *lock(&shared.events) = Some(answer.handle()?);
    if shared.stop.is_raised() {
        return Ok(());
    }
    lock(&shared.state).has_events = true;
    shared.ask.set(());
    while let Some(event) = answer.line()? {
        let is_exec = event["Action"].as_str().is_some_and(|action| action.starts_with("exec_"));
        if let (false, Some(container)) = (is_exec, event["Actor"]["ID"].as_str()) {
            lock(&shared.state).touched.insert(container.to_string());
            shared.ask.set(());
        }
    }
    Ok(())
}

/// Requests the list once. Returns the time until the next one.
fn look(shared: &Shared) -> Duration {
    let (settled, touched) = {
        let mut state = lock(&shared.state);
        (state.settled(), std::mem::take(&mut state.touched))
    };
    let observed = observe(shared, &touched);
    let mut state = lock(&shared.state);
    let has_changed = match observed {
        Ok(listed) => {
            let has_changed = state.trouble.take().is_some() || !settled.is_empty() || listed != state.listed;
            state.listed = listed;
            state.begun.retain(|id, _| !settled.contains(id));
            state.removing.retain(|id, _| !settled.contains(id));
            has_changed
        }
        Err(failure) => {
            state.touched.extend(touched);
            let trouble = Some(failure.to_string());
            let has_changed = state.trouble != trouble;
            if has_changed {
                log::warn!(target: "agent", event = "runner.containers_unknown", error:% = failure;
                    "The containers of this node are not known; what runs goes on");
            }
            state.trouble = trouble;
            has_changed
        }
    };
    let interval = if state.has_events && state.trouble.is_none() { INTERVAL } else { RETRY };
    drop(state);
    if has_changed {
        shared.changes.set(());
    }
    interval
}

impl State {
    /// Runs whose start or removal the next list shows.
    fn settled(&self) -> BTreeSet<RunId> {
        let begun = self.begun.iter().filter(|(_, begun)| begun.is_settled()).map(|(id, _)| id.clone());
        let removed = self.removing.iter().filter(|(_, is_done)| **is_done).map(|(id, _)| id.clone());
        begun.chain(removed).collect()
    }
}

/// The runs that the daemon has. Containers that nothing starts are removed.
fn observe(shared: &Shared, touched: &BTreeSet<String>) -> Called<Vec<Held>> {
    let path = format!("/containers/json?all=true&filters={}", filter(shared));
    let list = shared.docker.json(&Call::quick("GET", &path))?;
    let mut found = Vec::new();
    for item in list.as_array().into_iter().flatten() {
        let Some(listed) = Listed::read(item) else { continue };
        let known = {
            let state = lock(&shared.state);
            if state.begun.get(&listed.spec.id).is_some_and(super::start::Begun::is_starting) {
                continue;
            }
            state.listed.iter().find(|held| held.container == listed.container).cloned()
        };
        if CREATED.contains(&listed.state) {
            // Its runner ended between creation and start.
            if let Err(failure) = shared.delete(listed.container) {
                shared.warn("remove", &listed.spec.id, &failure);
            }
            continue;
        }
        match known {
            Some(held) if held.is_as(&listed) && !touched.contains(listed.container) => found.push(held),
            _ => found.extend(inspect(shared, listed)?),
        }
    }
    Ok(found)
}

/// A container in the list.
struct Listed<'l> {
    container: &'l str,
    state: &'l str,
    is_stopping: bool,
    spec: RunSpec,
}

impl Listed<'_> {
    /// Reads an item of the list. `None` for a container that cannot be ours, or is about to be gone.
    fn read(item: &Value) -> Option<Listed<'_>> {
        let (container, state) = (item["Id"].as_str()?, item["State"].as_str()?);
        let names = item["Names"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let is_stopping = names.into_iter().any(create::is_stopping);
        let spec = serde_json::from_str(item["Labels"][create::SPEC].as_str()?).ok()?;
        (state != "removing").then_some(Listed { container, state, is_stopping, spec })
    }
}

impl Held {
    fn is_as(&self, listed: &Listed) -> bool {
        self.listed_as == listed.state && self.is_stopping == listed.is_stopping
    }
}

/// The run of a container; `None` if it is gone.
fn inspect(shared: &Shared, listed: Listed) -> Called<Option<Held>> {
    let path = create::path_of(listed.container, "/json");
    let found = match shared.docker.json(&Call::quick("GET", &path)) {
        Err(failure) if failure.is_not_found() => return Ok(None),
        found => found?,
    };
    let state = run_state(&found["State"], &listed);
    Ok(Some(Held {
        seen: SeenRun { spec: listed.spec, state },
        container: listed.container.to_string(),
        listed_as: listed.state.to_string(),
        is_stopping: listed.is_stopping,
    }))
}

/// State of a run, from the state of its container. What is not known to have ended is alive.
fn run_state(state: &Value, listed: &Listed) -> RunState {
    let time = |key: &str| state[key].as_str().and_then(Timestamp::parse).unwrap_or_else(clock::now);
    let number = |key: &str| state[key].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or_default();
    let started_at = time("StartedAt");
    let has_ended = state["Status"].as_str().is_some_and(|status| ENDED.contains(&status));
    if !has_ended || state["Running"] == true {
        return RunState::Running { pid: number("Pid").unsigned_abs(), started_at };
    }
    let (code, signal) = split(number("ExitCode"));
    let is_killed = signal == Some(SIGKILL) && listed.spec.stop.signal != "SIGKILL";
    RunState::Ended(Exit {
        code,
        signal,
        oom: state["OOMKilled"] == true,
        asked: listed.is_stopping.then_some(if is_killed { Asked::Kill } else { Asked::Stop }),
        started_at,
        // Docker may note a short life's end before its start.
        ended_at: time("FinishedAt").max(started_at),
        lines_lost: 0,
        failure: None,
    })
}

/// Exit status and signal of a container. Daemons give a signal as 128 and its number; a program that ends with such a
/// status by itself looks the same.
fn split(status: i32) -> (Option<i32>, Option<i32>) {
    match status - SIGNALLED {
        signal @ 1..=SIGNAL_MAX => (None, Some(signal)),
        _ => (Some(status), None),
    }
}
