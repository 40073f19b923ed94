//! What a node does by itself.

pub mod doctor;
pub mod link;
pub mod updates;

pub use link::{Agent, ControlPlane, REPLAYS_MAX, status};
