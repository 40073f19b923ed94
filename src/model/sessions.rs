//! Sessions: each is a user signed in from an address, for a limited time.

use crate::clock::Timestamp;
use crate::model::ids::{SessionId, UserName};
use serde::Serialize;

/// A session as its user and admins see it. Its token is returned once, at sign-in, and is not in here.
#[derive(Debug, Clone, Serialize)]
pub struct Session {
    /// `s-...`.
    pub id: SessionId,
    /// The user.
    pub user: UserName,
    /// Address of the sign-in.
    pub address: String,
    /// The client's `User-Agent`.
    pub user_agent: String,
    /// True for the session of this request.
    pub current: bool,
    /// Time of its last use.
    pub last_seen_at: Timestamp,
    /// End of its life, however often it is used.
    pub expires_at: Timestamp,
    /// Time of the sign-in.
    pub created_at: Timestamp,
    /// Time of its last use.
    pub updated_at: Timestamp,
}
