//! What a node reads of itself: the answer to `GET /node/self`.

use super::addresses::Addresses;
use super::leases::LeaseState;
use super::updates::Request;
use crate::clock::Timestamp;
use crate::model::ids::NodeId;
use serde::{Deserialize, Serialize};

/// How a node has proven a call to be its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProvenBy {
    /// By the client certificate of the connection.
    Certificate,
    /// By a signature in headers.
    Signature,
}

/// What the control plane knows of the node that asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeSelf {
    /// The node.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// How this call was proven.
    pub proven_by: ProvenBy,
    /// Lower-case hex SHA-256 of its current certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_fingerprint: Option<String>,
    /// End of that certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_expires_at: Option<Timestamp>,
    /// Time of its last accepted heartbeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_at: Option<Timestamp>,
    /// End of its lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_expires_at: Option<Timestamp>,
    /// State of its lease.
    pub lease_state: LeaseState,
    /// Addresses of the control plane, as heartbeats get them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Addresses>,
    /// The update that the node should make, as heartbeats get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<Request>,
    /// The control plane's time.
    pub server_time: Timestamp,
}
