//! The fleet: nodes, their leases and what they report, and the update of their programs.

pub mod leases;
pub mod load_history;
pub mod lookalikes;
pub mod node_runs;
pub mod nodes;
mod unstored;
pub mod updates;
pub mod wireguard;
