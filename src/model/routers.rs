//! A router assignment: through which two nodes another one reaches the mesh.

use crate::clock::Timestamp;
use crate::model::ids::{AssignmentId, NodeId};
use serde::Serialize;

/// A router assignment, in the shape of the contract.
#[derive(Debug, Clone, Serialize)]
pub struct RouterAssignment {
    /// Its id, unique and final.
    pub id: AssignmentId,
    /// The node that is routed.
    pub node_id: NodeId,
    /// The node it goes through.
    pub primary_router_id: NodeId,
    /// The node it goes through when the first is away.
    pub secondary_router_id: NodeId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A router assignment that is about to be made.
pub struct NewRouterAssignment {
    /// Its id.
    pub id: AssignmentId,
    /// The node that is routed.
    pub node_id: NodeId,
    /// The first router.
    pub primary_router_id: NodeId,
    /// The second router.
    pub secondary_router_id: NodeId,
}
