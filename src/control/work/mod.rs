//! Work: what operators want to run, and requests that others carry out.

pub mod endpoints;
pub mod replicas;
pub mod routers;
pub mod running;
pub mod runs;
pub mod services;
