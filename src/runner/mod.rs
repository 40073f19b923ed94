//! Runs what is assigned to this machine.

pub mod held;
pub mod kept;
pub mod ledger;
pub mod run;
#[cfg(test)]
mod test_cluster;
