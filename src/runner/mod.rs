//! Runs what is assigned to this machine.

pub mod container;
pub mod decide;
mod docker;
pub mod exit;
pub mod health;
pub mod run;
