//! Runs what is assigned to this machine.

pub mod decide;
pub mod exit;
pub mod health;
pub mod held;
pub mod kept;
pub mod ledger;
pub mod run;
#[cfg(test)]
mod test_cluster;
