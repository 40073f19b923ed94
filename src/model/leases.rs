//! Leases: a node is alive while its heartbeats renew its lease.

use crate::clock::Timestamp;
use crate::model::ids::NodeId;
use crate::model::words::words;
use serde::Serialize;
use std::ops::RangeInclusive;

/// Default length of a lease in requests that name none, in seconds: that of the first version's clients.
pub const LEASE_TTL_S: i64 = 45;
/// Default length of an agent's lease, in seconds: with three heartbeats in it, a dead node is noticed soon.
pub const AGENT_LEASE_TTL_S: i64 = 15;
/// Range of lease lengths, in seconds, that a node may request.
pub const LEASE_TTL_RANGE_S: RangeInclusive<i64> = 10..=300;

words! {
    /// State of a node's lease.
    pub enum LeaseState {
        /// The lease is valid.
        Alive = "alive",
        /// The lease expired a short while ago (cluster setting `node_dead_after_seconds`).
        Stale = "stale",
        /// The lease expired longer ago.
        Dead = "dead",
        /// The node never had a lease.
        Unknown = "unknown",
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
    /// Time of its last accepted heartbeat.
    pub heartbeat_at: Option<Timestamp>,
    /// End of its lease.
    pub lease_expires_at: Option<Timestamp>,
    /// State of its lease.
    pub lease_state: LeaseState,
    /// Time since which its waiting call is lost, while it is suspect for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspect_since: Option<Timestamp>,
}
