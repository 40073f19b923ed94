//! An API token: lets a program do in somebody's name what one role may do, for a while.

use super::users::Role;
use crate::clock::Timestamp;
use serde::Serialize;

/// A token as admins see it later: without its secret, of which only a hash is kept.
#[derive(Debug, Clone, Serialize)]
pub struct ApiToken {
    /// `ut-...`.
    pub id: String,
    /// What it is for; unique among those of its owner.
    pub name: String,
    /// In whose name it acts. It can do no more than its owner can today, and goes when the owner goes.
    pub owner: String,
    /// What it may do at most.
    pub role: Role,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was last used; up to a minute old.
    pub last_used_at: Option<Timestamp>,
    /// From where.
    pub last_used_address: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
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
