//! An endpoint: where a replica is reached.

use crate::clock::Timestamp;
use crate::model::ids::{EndpointId, ReplicaId};
use serde::Serialize;

/// An endpoint, in the shape of the contract.
#[derive(Debug, Clone, Serialize)]
pub struct Endpoint {
    /// Its id, unique and final.
    pub id: EndpointId,
    /// Of which replica.
    pub replica_id: ReplicaId,
    /// An address or a host name.
    pub address: String,
    /// A port, 1 to 65535.
    pub port: u16,
    /// Whether the last check found it well.
    pub healthy: bool,
    /// When it was last checked.
    pub last_checked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// An endpoint that is about to be made.
pub struct NewEndpoint {
    /// Its id.
    pub id: EndpointId,
    /// Of which replica.
    pub replica_id: ReplicaId,
    /// An address or a host name.
    pub address: String,
    /// A port.
    pub port: u16,
    /// Whether it is well.
    pub healthy: bool,
}
