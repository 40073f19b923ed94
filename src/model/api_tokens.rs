//! API tokens: each lets a program act for a user, with one role, for a limited time.

use super::users::Role;
use crate::clock::Timestamp;
use crate::model::ids::{ApiTokenId, UserName};
use serde::Serialize;

/// An API token as admins see it later: without its secret, of which only a hash is kept.
#[derive(Debug, Clone, Serialize)]
pub struct ApiToken {
    /// `ut-...`.
    pub id: ApiTokenId,
    /// Its purpose; unique among the tokens of its owner.
    pub name: String,
    /// The user it acts for. It can do no more than its owner can today, and is deleted with its owner.
    pub owner: UserName,
    /// The most it may do.
    pub role: Role,
    /// End of its life.
    pub expires_at: Timestamp,
    /// Time of its last use.
    pub last_used_at: Option<Timestamp>,
    /// Address of its last use.
    pub last_used_address: Option<String>,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

/// A token in the only answer that ever carries its secret.
#[derive(Serialize)]
pub struct NewApiToken {
    /// The secret.
    pub token: String,
    /// The token.
    #[serde(flatten)]
    pub object: ApiToken,
}
