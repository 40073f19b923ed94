//! Access: users, their sessions and tokens, and protection against callers without rights.

pub mod api_tokens;
mod attempts;
pub mod auth;
mod holders;
pub mod hosts;
pub mod local;
pub mod node_proofs;
pub mod readers;
pub mod secrets;
pub mod sessions;
pub mod setup;
pub mod throttle;
pub mod unnamed;
pub mod users;
pub mod visitor;
