//! Runs what is assigned to this machine.

pub mod decide;
pub mod exit;
pub mod health;
pub mod run;
