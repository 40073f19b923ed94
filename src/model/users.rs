//! People: who they are and what they may do.

use serde::Serialize;

/// What somebody may do; each role includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Works with nodes, services and replicas.
    Operator,
    /// Manages people, tokens and settings.
    Admin,
}

impl Role {
    /// The role of a word.
    pub fn parse(word: &str) -> Option<Role> {
        match word {
            "viewer" => Some(Role::Viewer),
            "operator" => Some(Role::Operator),
            "admin" => Some(Role::Admin),
            _ => None,
        }
    }
}

/// Somebody who signed in.
#[derive(Debug, Clone)]
pub struct User {
    /// The name, in lower case.
    pub name: String,
    /// What this user may do.
    pub role: Role,
}

/// What the store knows of a user. Holds a hash, so it has no Debug.
pub struct Account {
    /// The user.
    pub user: User,
    /// Argon2id, PHC string format.
    pub password_hash: String,
    /// Raised with every change of the password.
    pub password_version: i64,
}
