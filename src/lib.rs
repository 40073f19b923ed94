//! UptimeMesh.

pub mod agent;
pub mod api;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod control;
pub mod crypto;
pub mod error;
pub mod gate;
pub mod html;
pub mod http;
pub mod logger;
pub mod model;
pub mod routes;
pub mod serve;
pub mod store;
pub mod sys;
pub mod thread;
pub mod ui;
