//! The words of a node in the status of a replica. While a node reports a replica, only the node writes them.

use super::Object;
use crate::clock::Timestamp;
use crate::model::node_status::{ReplicaStatus, RunWord};
use serde_json::{Value, json};

/// State, one of [`RunWord`], or [`PENDING`].
pub const STATE: &str = "state";
/// Server's time of the last change of the state; present exactly while a node reports the replica.
pub const STATE_SINCE: &str = "state_since";
/// Server's time since which the replica has not been available; absent while it is.
pub const UNAVAILABLE_SINCE: &str = "unavailable_since";
/// The last state that people should look into, until the replica is well again.
const TROUBLE: &str = "trouble";
/// State of a replica that no node has reported.
pub const PENDING: &str = "pending";
/// Every key that belongs to the node.
const KEYS: &[&str] = &[
    "applied_generation",
    "exit",
    "healthy",
    "message",
    "pid",
    "ports",
    "restarts",
    "started_at",
    STATE,
    STATE_SINCE,
    TROUBLE,
    UNAVAILABLE_SINCE,
];

/// A state that is worth an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notable {
    /// People should look into it.
    Trouble,
    /// Its work is done.
    Completed,
    /// Healthy after trouble.
    Recovered,
}

/// Change of a status by a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The event that it is worth, if any.
    pub notable: Option<Notable>,
    /// True if it matters for placement.
    pub places: bool,
}

/// True if a node has reported the replica.
pub fn is_reported(status: &Object) -> bool {
    status.contains_key(STATE_SINCE)
}

/// True if the status has the words of a node, or waits for them.
pub fn is_of_node(status: &Object) -> bool {
    is_reported(status) || status.contains_key(UNAVAILABLE_SINCE)
}

/// Writes a report into a status. Returns `None` if it changes nothing.
pub fn take(status: &mut Object, report: &ReplicaStatus, now: Timestamp) -> Option<Change> {
    let Ok(Value::Object(mut words)) = serde_json::to_value(report) else { return None };
    words.remove("usage");
    let is_same_state = status.get(STATE) == words.get(STATE);
    let since = status.get(STATE_SINCE).filter(|_| is_same_state).cloned();
    words.insert(STATE_SINCE.into(), since.unwrap_or_else(|| json!(now)));
    if !report.is_available() {
        let since = status.get(UNAVAILABLE_SINCE).cloned();
        words.insert(UNAVAILABLE_SINCE.into(), since.unwrap_or_else(|| json!(now)));
    }
    let trouble = status.get(TROUBLE).filter(|_| is_reported(status)).cloned();
    let (trouble, notable) = trouble_after(trouble, report.state, is_same_state);
    words.extend(trouble.map(|word| (TROUBLE.to_string(), word)));
    let differs = |key: &str| status.get(key) != words.get(key);
    let is_settled = settles(status, report.applied_generation);
    if !is_settled && !KEYS.iter().any(|key| differs(key)) {
        return None;
    }
    let places = is_settled || [STATE, STATE_SINCE, "healthy", "applied_generation"].iter().any(|key| differs(key));
    remove(status);
    status.extend(words);
    if is_settled {
        status.remove("update_state");
        status.remove("update_queued_at");
    }
    Some(Change { notable, places })
}

/// True if an update is queued and this generation is the one that it leads to.
fn settles(status: &Object, applied: Option<i64>) -> bool {
    status.contains_key("update_state")
        && applied.is_some()
        && status.get("desired_generation") == Some(&json!(applied))
}

/// The trouble after a report of this state, and the event that the state is worth.
fn trouble_after(trouble: Option<Value>, state: RunWord, is_same_state: bool) -> (Option<Value>, Option<Notable>) {
    match state {
        RunWord::Unhealthy | RunWord::Failed | RunWord::Refused | RunWord::Crashloop => {
            let word = json!(state);
            let notable = (trouble.as_ref() != Some(&word)).then_some(Notable::Trouble);
            (Some(word), notable)
        }
        RunWord::Healthy => (None, trouble.map(|_| Notable::Recovered)),
        RunWord::Completed => (None, (!is_same_state).then_some(Notable::Completed)),
        RunWord::Stopped => (None, None),
        RunWord::Waiting
        | RunWord::Pulling
        | RunWord::Starting
        | RunWord::Running
        | RunWord::Stopping
        | RunWord::BackingOff => (trouble, None),
    }
}

/// Removes the words of a node from a status.
pub fn remove(status: &mut Object) {
    status.retain(|key, _| !KEYS.contains(&key.as_str()));
}

/// Starts to wait for a node's report: until then nothing is known of the replica.
pub fn await_report(status: &mut Object, now: Timestamp) {
    remove(status);
    status.insert(STATE.into(), PENDING.into());
    status.insert(UNAVAILABLE_SINCE.into(), json!(now));
}

/// Keeps the words of a node in a status that a client replaces.
pub fn keep(old: &Object, new: &mut Object) {
    remove(new);
    new.extend(KEYS.iter().filter_map(|key| Some((key.to_string(), old.get(*key)?.clone()))));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(of: Value) -> Object {
        of.as_object().expect("an object").clone()
    }

    #[test]
    fn a_report_writes_the_nodes_words_and_no_others() {
        let report =
            ReplicaStatus { healthy: Some(true), applied_generation: Some(2), ..ReplicaStatus::of(RunWord::Healthy) };
        let mut now = status(json!({
            "managed_by": "scheduler", "state": "pending", "message": "of before",
            "desired_generation": 2, "update_state": "pending", "update_queued_at": "then",
        }));
        let change = take(&mut now, &report, Timestamp(0)).expect("a change");
        assert_eq!(change, Change { notable: None, places: true });
        let since = json!(Timestamp(0));
        let told = json!({
            "managed_by": "scheduler", "state": "healthy", "state_since": since, "healthy": true,
            "applied_generation": 2, "restarts": 0, "desired_generation": 2,
        });
        assert_eq!(Value::Object(now.clone()), told);
        assert_eq!(take(&mut now, &report, Timestamp(9)), None, "nothing new");
        let usage = Some(crate::model::node_status::Usage { cpu_millis: 1, memory_bytes: 1 });
        assert_eq!(take(&mut now, &ReplicaStatus { usage, ..report.clone() }, Timestamp(9)), None, "figures alone");
        let restarted = ReplicaStatus { restarts: 1, ..report };
        let change = take(&mut now, &restarted, Timestamp(9)).expect("a change");
        assert_eq!((change.places, &now["state_since"]), (false, &since), "the state is the same");
        let mut client = status(json!({"mine": 1, "healthy": false}));
        keep(&now, &mut client);
        assert_eq!((&client["mine"], &client["healthy"], &client["restarts"]), (&json!(1), &json!(true), &json!(1)));
        let starts = ReplicaStatus::of(RunWord::Starting);
        take(&mut now, &starts, Timestamp(7)).expect("a change");
        assert_eq!(now["unavailable_since"], json!(Timestamp(7)));
        take(&mut now, &ReplicaStatus::of(RunWord::Running), Timestamp(8)).expect("a change");
        assert_eq!((&now["unavailable_since"], &now["state_since"]), (&json!(Timestamp(7)), &json!(Timestamp(8))));
        await_report(&mut now, Timestamp(9));
        let left = json!({
            "managed_by": "scheduler", "state": "pending", "unavailable_since": Timestamp(9), "desired_generation": 2,
        });
        assert_eq!(Value::Object(now), left);
    }

    #[test]
    fn each_trouble_is_an_event_once_and_so_is_its_end() {
        let mut now = Object::new();
        let mut told = Vec::new();
        use RunWord::*;
        for word in [
            Starting, Running, Healthy, Unhealthy, BackingOff, Starting, Crashloop, Starting, Running, Crashloop,
            Running, Healthy, Healthy, Completed, Completed, Refused, Stopped, Healthy,
        ] {
            let change = take(&mut now, &ReplicaStatus::of(word), Timestamp(0));
            told.extend(change.and_then(|change| change.notable).map(|notable| (word.as_str(), notable)));
        }
        assert_eq!(
            told,
            [
                ("unhealthy", Notable::Trouble),
                ("crashloop", Notable::Trouble),
                ("healthy", Notable::Recovered),
                ("completed", Notable::Completed),
                ("refused", Notable::Trouble),
            ]
        );
    }
}
