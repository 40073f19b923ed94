//! A session: somebody signed in, from somewhere, for a while.

use crate::clock::Timestamp;
use serde::Serialize;

/// A session as its user and admins see it. The token that stands for it is told once and is not here.
#[derive(Debug, Clone, Serialize)]
pub struct Session {
    /// `s-...`.
    pub id: String,
    /// Who signed in.
    pub user: String,
    /// From where.
    pub address: String,
    /// With what, as it says of itself.
    pub user_agent: String,
    /// Whether it is the one that asks.
    pub current: bool,
    /// When it was last used.
    pub last_seen_at: Timestamp,
    /// When it ends, however much it is used.
    pub expires_at: Timestamp,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used.
    pub updated_at: Timestamp,
}
