//! Access: who may call. Users and their sessions and tokens, and what holds back callers who may not.

pub mod api_tokens;
mod attempts;
pub mod auth;
pub mod hosts;
pub mod local;
pub mod node_proofs;
pub mod sessions;
pub mod setup;
pub mod throttle;
pub mod unnamed;
pub mod users;
