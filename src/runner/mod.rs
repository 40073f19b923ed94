//! Runs what is assigned to this machine.

pub mod run;
