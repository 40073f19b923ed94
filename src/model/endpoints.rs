//! Endpoints: the addresses at which replicas are reached.

use crate::clock::Timestamp;
use crate::model::ids::{EndpointId, ReplicaId};
use serde::Serialize;

/// An endpoint, in the shape of the contract.
#[derive(Debug, Clone, Serialize)]
pub struct Endpoint {
    /// Unique id; never changes.
    pub id: EndpointId,
    /// Its replica.
    pub replica_id: ReplicaId,
    /// An address or a host name.
    pub address: String,
    /// A port, 1 to 65535.
    pub port: u16,
    /// Result of the last health check.
    pub healthy: bool,
    /// Time of the last health check.
    pub last_checked_at: Option<Timestamp>,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

/// An endpoint to create.
pub struct NewEndpoint {
    /// Its id.
    pub id: EndpointId,
    /// Its replica.
    pub replica_id: ReplicaId,
    /// An address or a host name.
    pub address: String,
    /// A port.
    pub port: u16,
    /// Result of the last health check.
    pub healthy: bool,
}
