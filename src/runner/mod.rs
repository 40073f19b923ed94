//! Runs what is assigned to this machine.

pub mod decide;
pub mod exit;
pub mod health;
pub mod log_reader;
pub mod relay_requests;
pub mod run;
