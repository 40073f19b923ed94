//! Join tokens: each admits one machine, once, in one role, for a limited time.

use crate::clock::Timestamp;
use crate::model::ids::{JoinTokenId, NodeId};
use crate::model::mesh_address::MeshAddress;
use crate::model::words::words;
use serde::Serialize;

words! {
    /// The role of a joining node.
    pub enum JoinRole {
        /// Runs the control plane's parts.
        Core = "core",
        /// Runs workloads.
        Worker = "worker",
        /// Carries traffic in and out.
        Gateway = "gateway",
    }
}

/// Nodes that a token admits.
#[derive(Debug, Clone)]
pub struct Admits {
    /// The only role.
    pub role: JoinRole,
    /// The only node, if the token is for one; it may then replace that node even while it is alive.
    pub node_id: Option<NodeId>,
    /// The mesh address that the node's certificate may contain.
    pub mesh_ip: Option<MeshAddress>,
}

impl From<JoinRole> for Admits {
    fn from(role: JoinRole) -> Admits {
        Admits { role, node_id: None, mesh_ip: None }
    }
}

/// A join token as operators see it later: without its secret, of which only a hash is kept.
#[derive(Debug, Clone, Serialize)]
pub struct JoinToken {
    /// `jt-...`.
    pub id: JoinTokenId,
    /// The only role it admits.
    pub role: JoinRole,
    /// The only node it admits, if it was created for one.
    pub node_id: Option<NodeId>,
    /// The mesh address that the node's certificate may contain.
    pub mesh_ip: Option<MeshAddress>,
    /// End of its life.
    pub expires_at: Timestamp,
    /// Time of its use.
    pub used_at: Option<Timestamp>,
    /// The node that used it.
    pub used_by: Option<NodeId>,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

/// A token in the only answer that ever carries its secret.
#[derive(Debug, Serialize)]
pub struct NewJoinToken {
    /// `jt-...`.
    pub id: JoinTokenId,
    /// The only role it admits.
    pub role: JoinRole,
    /// The secret.
    pub token: String,
    /// The secret with the server's addresses and fingerprint, in one line; `None` if the server does not speak TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_string: Option<String>,
    /// End of its life.
    pub expires_at: Timestamp,
    /// The only node it admits, if it was created for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_id: Option<NodeId>,
    /// The mesh address that the node's certificate may contain, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_ip: Option<MeshAddress>,
}
