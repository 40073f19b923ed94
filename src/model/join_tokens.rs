//! A join token: admits one machine, once, in one role, for a while.

use crate::clock::Timestamp;
use crate::model::ids::NodeId;
use serde::{Deserialize, Serialize};

/// The role of a joining node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JoinRole {
    /// Carries the control plane's parts.
    Core,
    /// Carries workloads.
    Worker,
    /// Carries traffic in and out.
    Gateway,
}

impl JoinRole {
    /// Every role's word.
    pub const WORDS: &'static [&'static str] = &["core", "worker", "gateway"];

    /// The role of a word.
    pub fn parse(word: &str) -> Option<JoinRole> {
        match word {
            "core" => Some(JoinRole::Core),
            "worker" => Some(JoinRole::Worker),
            "gateway" => Some(JoinRole::Gateway),
            _ => None,
        }
    }

    /// The word of a role.
    pub fn as_str(self) -> &'static str {
        match self {
            JoinRole::Core => "core",
            JoinRole::Worker => "worker",
            JoinRole::Gateway => "gateway",
        }
    }
}

/// Whom a token is to admit.
#[derive(Debug, Clone)]
pub struct Admits {
    /// The only role.
    pub role: JoinRole,
    /// The only node, where it is for one; and that even while it is alive.
    pub node_id: Option<NodeId>,
    /// The mesh address that the node's certificate may have.
    pub mesh_ip: Option<String>,
}

impl From<JoinRole> for Admits {
    fn from(role: JoinRole) -> Admits {
        Admits { role, node_id: None, mesh_ip: None }
    }
}

/// A token as operators see it later: without its secret, of which only a hash is kept.
#[derive(Debug, Clone, Serialize)]
pub struct JoinToken {
    /// `jt-...`.
    pub id: String,
    /// The only role it admits.
    pub role: JoinRole,
    /// The only node it admits, where it was minted for one.
    pub node_id: Option<NodeId>,
    /// The mesh address that the node's certificate may have.
    pub mesh_ip: Option<String>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was used up.
    pub used_at: Option<Timestamp>,
    /// By which node.
    pub used_by: Option<NodeId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A token in the only answer that ever carries its secret.
#[derive(Debug, Serialize)]
pub struct NewJoinToken {
    /// `jt-...`.
    pub id: String,
    /// The only role it admits.
    pub role: JoinRole,
    /// The secret.
    pub token: String,
    /// The secret in one line with where the server is and how it proves itself; none where the server speaks no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_string: Option<String>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The only node it admits, where it was minted for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_id: Option<NodeId>,
    /// The mesh address that the node's certificate may have, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_ip: Option<String>,
}
