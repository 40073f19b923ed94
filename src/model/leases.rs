//! The lease of a node: as long as it is renewed by heartbeats, the node lives.

use crate::clock::Timestamp;
use crate::model::ids::NodeId;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Seconds that a node whose lease ran out is `stale`, before it is `dead`.
pub const STALE_S: u64 = 60;

/// Length of a lease, in seconds, where a node does not ask for another.
pub const LEASE_TTL_S: i64 = 45;
/// Lengths of a lease, in seconds, that a node may ask for.
pub const LEASE_TTL_RANGE_S: RangeInclusive<i64> = 10..=300;

/// What a lease says of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// Its lease runs.
    Alive,
    /// Its lease ran out less than a minute ago.
    Stale,
    /// Its lease ran out longer ago.
    Dead,
    /// It never had one.
    Unknown,
}

impl LeaseState {
    /// The words that clients see.
    pub const WORDS: &[&str] = &["alive", "stale", "dead", "unknown"];

    /// The state of a word.
    pub fn parse(word: &str) -> Option<LeaseState> {
        [LeaseState::Alive, LeaseState::Stale, LeaseState::Dead, LeaseState::Unknown].into_iter().find(|s| s.as_str() == word)
    }

    /// The word that clients see.
    pub fn as_str(self) -> &'static str {
        match self {
            LeaseState::Alive => "alive",
            LeaseState::Stale => "stale",
            LeaseState::Dead => "dead",
            LeaseState::Unknown => "unknown",
        }
    }
}

/// A line of `GET /cluster/leases`.
#[derive(Debug, Clone, Serialize)]
pub struct LeaseView {
    /// The node.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// When its last heartbeat was accepted.
    pub heartbeat_at: Option<Timestamp>,
    /// Until when its lease runs.
    pub lease_expires_at: Option<Timestamp>,
    /// What follows from that.
    pub lease_state: LeaseState,
}
