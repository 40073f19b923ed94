//! Router assignments: the two nodes through which another node reaches the mesh.

use crate::clock::Timestamp;
use crate::model::ids::{AssignmentId, NodeId};
use serde::Serialize;

/// A router assignment, in the shape of the contract.
#[derive(Debug, Clone, Serialize)]
pub struct RouterAssignment {
    /// Unique id; never changes.
    pub id: AssignmentId,
    /// The routed node.
    pub node_id: NodeId,
    /// The node it normally goes through.
    pub primary_router_id: NodeId,
    /// The node it goes through while the primary router is down.
    pub secondary_router_id: NodeId,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

/// A router assignment to create.
pub struct NewRouterAssignment {
    /// Its id.
    pub id: AssignmentId,
    /// The routed node.
    pub node_id: NodeId,
    /// The primary router.
    pub primary_router_id: NodeId,
    /// The secondary router.
    pub secondary_router_id: NodeId,
}
