//! A replica: one instance of a service on one node, and why it is there.

use super::Object;
use crate::clock::Timestamp;
use crate::model::ids::{NodeId, ReplicaId, ServiceId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// A replica as lists show it: its JSON columns are passed on as they are stored.
pub type ListedReplica = Replica<Box<RawValue>, Box<RawValue>>;

/// A replica, in the shape of the contract.
#[derive(Debug, Clone, Serialize)]
pub struct Replica<Status = Object, Why = Placement> {
    /// Its id, unique and final.
    pub id: ReplicaId,
    /// Of which service.
    pub service_id: ServiceId,
    /// Where it is.
    pub node_id: NodeId,
    /// What it should do.
    pub desired_state: String,
    /// What is known of it.
    pub status: Status,
    /// Why it is where it is; `None` where a client placed it.
    pub placement: Option<Why>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What put a replica where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacedBy {
    /// The scheduler created it there.
    ScaleUp,
    /// The scheduler moved it, because something was wrong.
    MoveUnhealthy,
    /// The scheduler moved it to the node that it is pinned to.
    MovePinned,
    /// The scheduler evened out the load.
    Rebalance,
    /// A client moved it.
    Move,
    /// A word of another version, kept as it is.
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

/// Why a replica is where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// What put it there.
    pub action: PlacedBy,
    /// Why, as a sentence.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// Where it was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_node_id: Option<NodeId>,
    /// Moves in a row because it was not well; the time until the next one doubles with each.
    #[serde(default)]
    pub failures: u32,
    /// Nodes on which it failed: others come first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_on: Vec<NodeId>,
}

/// A replica that is about to be made.
pub struct NewReplica {
    /// Its id.
    pub id: ReplicaId,
    /// Of which service.
    pub service_id: ServiceId,
    /// Where.
    pub node_id: NodeId,
    /// What it should do.
    pub desired_state: String,
    /// What is known of it.
    pub status: Object,
}

/// What of a replica's status decides where it is; of any type, because clients write it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Facts {
    /// `false` says that it is not well.
    pub healthy: Option<Value>,
    /// `failed`, `crashloop` and `degraded` say so too.
    pub state: Option<Value>,
    /// The generation that it runs.
    pub applied_generation: Option<Value>,
    /// The generation that it is to run.
    pub desired_generation: Option<Value>,
    /// `pending` while an update is queued.
    pub update_state: Option<Value>,
    /// When it was queued.
    pub update_queued_at: Option<Value>,
}

impl Facts {
    /// Why its replica is not well; `None` where nothing says so.
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

/// Takes the marks of sickness away: a replica that is placed anew begins well.
pub fn clear_sickness(status: &mut Object) {
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
