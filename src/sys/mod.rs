//! The host: the only place that runs programs, reads the kernel's figures and waits for signals.

pub mod accounts;
pub mod addresses;
pub mod doctor;
pub mod host;
pub mod local_socket;
pub mod local_time;
pub mod notify;
pub mod owner;
pub mod prompt;
pub mod run;
pub mod signals;
pub mod terminal;
