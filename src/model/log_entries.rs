//! Entries of `GET /services/{service_id}/logs` and `GET /replicas/{replica_id}/logs`, a line of JSON each.

use crate::clock::Timestamp;
use crate::model::ids::{NodeId, ReplicaId};
use crate::model::relay::LogStream;
use serde::Serialize;

/// An entry.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LogEntry<'e> {
    /// A line of output.
    Line {
        /// The replica.
        replica_id: &'e ReplicaId,
        /// Its node.
        node_id: &'e NodeId,
        /// Time of the line, by the clock of the node.
        at: Timestamp,
        /// The output.
        stream: LogStream,
        /// True for a part of a long line that is not the last part.
        partial: bool,
        /// The text.
        text: &'e str,
    },
    /// A replica whose output cannot be read, or not any further.
    Missing {
        /// The replica.
        replica_id: &'e ReplicaId,
        /// Its node.
        node_id: &'e NodeId,
        /// A sentence.
        reason: &'e str,
    },
    /// The end: an answer without it broke off.
    End,
}

impl LogEntry<'_> {
    /// Appends the entry as text for people: `TIME REPLICA TEXT`. The end is nothing.
    pub fn write_text(&self, to: &mut String) {
        match self {
            LogEntry::Line { replica_id, at, text, .. } => {
                for part in [&at.to_string(), " ", replica_id.as_str(), " ", text, "\n"] {
                    to.push_str(part);
                }
            }
            LogEntry::Missing { replica_id, node_id, reason } => {
                to.push_str(&format!("# {replica_id} on {node_id} cannot be read: {reason}\n"));
            }
            LogEntry::End => {}
        }
    }
}
