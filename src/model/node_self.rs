//! A node's view of itself: the answer to `GET /node/self`.

use super::addresses::Addresses;
use super::leases::LeaseState;
use super::node_api::{Part, UpdateRequest};
use crate::clock::Timestamp;
use crate::model::ids::NodeId;
use serde::{Deserialize, Serialize};

/// Proof that a node made a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProvenBy {
    /// The client certificate of the connection.
    Certificate,
    /// A signature in headers.
    Signature,
}

/// The control plane's knowledge of the calling node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeSelf {
    /// The node.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// Proof of this call.
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
    pub update: Option<Part<UpdateRequest>>,
    /// The control plane's time.
    pub server_time: Timestamp,
}
