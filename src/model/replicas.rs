//! Replicas: instances of a service on a node, and the reasons for their placement.

use super::Object;
use crate::clock::Timestamp;
use crate::model::ids::{NodeId, ReplicaId, ServiceId};
use crate::model::replica_words;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// A replica in lists: its JSON columns are passed on as stored.
pub type ListedReplica = Replica<Box<RawValue>, Box<RawValue>>;

/// A replica, in the shape of the contract.
#[derive(Debug, Clone, Serialize)]
pub struct Replica<Status = Object, Why = Placement> {
    /// Unique id; never changes.
    pub id: ReplicaId,
    /// Its service.
    pub service_id: ServiceId,
    /// Its node.
    pub node_id: NodeId,
    /// Desired state.
    pub desired_state: String,
    /// Reported status.
    pub status: Status,
    /// Reason for its placement; `None` if a client placed it.
    pub placement: Option<Why>,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

/// Cause of a placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacedBy {
    /// The scheduler created it there.
    ScaleUp,
    /// The scheduler moved it away from a problem.
    MoveUnhealthy,
    /// The scheduler moved it to the node that it is pinned to.
    MovePinned,
    /// The scheduler balanced the load.
    Rebalance,
    /// A client moved it.
    Move,
    /// A word of another version, kept unchanged.
    #[serde(untagged)]
    Other(String),
}

impl PlacedBy {
    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            PlacedBy::ScaleUp => "scale_up",
            PlacedBy::MoveUnhealthy => "move_unhealthy",
            PlacedBy::MovePinned => "move_pinned",
            PlacedBy::Rebalance => "rebalance",
            PlacedBy::Move => "move",
            PlacedBy::Other(word) => word,
        }
    }
}

/// Reason for a placement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// Its cause.
    pub action: PlacedBy,
    /// The reason, as a sentence.
    pub reason: String,
    /// Time of the placement.
    pub at: Timestamp,
    /// The previous node.
    #[serde(default, deserialize_with = "node_of_row", skip_serializing_if = "Option::is_none")]
    pub from_node_id: Option<NodeId>,
    /// Consecutive moves because of bad health; each doubles the time until the next one.
    #[serde(default)]
    pub failures: u32,
    /// Nodes on which it failed; other nodes are preferred.
    #[serde(default, deserialize_with = "nodes_of_row", skip_serializing_if = "Vec::is_empty")]
    pub failed_on: Vec<NodeId>,
}

/// An id in the JSON of a row, unchecked like that of a column.
fn node_of_row<'de, D: Deserializer<'de>>(row: D) -> Result<Option<NodeId>, D::Error> {
    Ok(Option::<String>::deserialize(row)?.map(NodeId::of_row))
}

/// Ids in the JSON of a row, unchecked like those of a column.
fn nodes_of_row<'de, D: Deserializer<'de>>(row: D) -> Result<Vec<NodeId>, D::Error> {
    Ok(Vec::<String>::deserialize(row)?.into_iter().map(NodeId::of_row).collect())
}

/// A replica to create.
pub struct NewReplica {
    /// Its id.
    pub id: ReplicaId,
    /// Its service.
    pub service_id: ServiceId,
    /// Its node.
    pub node_id: NodeId,
    /// Desired state.
    pub desired_state: String,
    /// Initial status.
    pub status: Object,
}

/// The parts of a replica's status that decide about placement; of any type, because clients write them.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Facts {
    /// `false`: it is unhealthy.
    pub healthy: Option<Value>,
    /// `failed`, `crashloop` and `degraded` mean unhealthy too.
    pub state: Option<Value>,
    /// Time of the last change of the state; present exactly while a node reports it.
    pub state_since: Option<Value>,
    /// Time since which it has not been available, while its node runs it.
    pub unavailable_since: Option<Value>,
    /// Sentence of its node about the state.
    pub message: Option<Value>,
    /// The generation that it runs.
    pub applied_generation: Option<Value>,
    /// The generation that it should run.
    pub desired_generation: Option<Value>,
    /// `pending` while an update is queued.
    pub update_state: Option<Value>,
    /// Time at which the update was queued.
    pub update_queued_at: Option<Value>,
}

impl Facts {
    /// Why the replica is unhealthy; `None` if nothing says so.
    pub fn sickness(&self) -> Option<String> {
        if self.healthy == Some(Value::Bool(false)) {
            return Some("it reports that it is not healthy".to_string());
        }
        let state = self.state.as_ref()?.as_str()?.to_lowercase();
        is_sick_state(&state).then(|| format!("its state is {state}"))
    }
}

fn is_sick_state(state: &str) -> bool {
    ["failed", "crashloop", "degraded"].iter().any(|sick| state.eq_ignore_ascii_case(sick))
}

/// Changes the status of a replica for its next node, which has reported nothing yet: one that `is_run` there waits for
/// a report, and any other starts healthy. The generation stays.
pub fn moved(status: &mut Object, is_run: bool, now: Timestamp) {
    let applied = status.get("applied_generation").cloned();
    if is_run {
        if !status.contains_key("desired_generation") {
            status.extend(applied.map(|generation| ("desired_generation".to_string(), generation)));
        }
        return replica_words::await_report(status, now);
    }
    if replica_words::is_of_node(status) {
        replica_words::remove(status);
        status.extend(applied.map(|generation| ("applied_generation".to_string(), generation)));
    }
    if status.get("state").and_then(Value::as_str).is_some_and(is_sick_state) {
        status.remove("state");
    }
    status.insert("healthy".into(), true.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_every_version_are_read_and_written_as_they_were() {
        for word in ["scale_up", "move_unhealthy", "move_pinned", "rebalance", "move", "carried_by_hand"] {
            let row = format!(r#"{{"action":"{word}","reason":"r","at":"2026-01-02T03:04:05.000006Z","failures":0}}"#);
            let placement: Placement = serde_json::from_str(&row).expect("a placement");
            assert_eq!(placement.action.as_str(), word);
            assert_eq!(matches!(placement.action, PlacedBy::Other(_)), word == "carried_by_hand");
            assert_eq!(serde_json::to_string(&placement).expect("JSON"), row);
        }
    }
}
