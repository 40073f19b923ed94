//! The fleet: nodes, their leases and reports, and updates of their programs.

pub mod leases;
pub mod load_history;
pub mod lookalikes;
pub mod losses;
pub mod node_runs;
pub mod node_self;
pub mod nodes;
pub mod relays;
pub mod reports;
mod signing_times;
mod unstored;
pub mod updates;
pub mod wireguard;
pub mod work;
pub mod work_documents;
