#![doc = include_str!("ARCHITECTURE.md")]

mod agent;
mod api;
mod bell;
mod buckets;
mod caller;
pub mod cli;
mod client;
mod clock;
mod config;
mod control;
mod crypto;
mod docs;
mod error;
mod files;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod html;
mod http;
mod inputs;
mod interrupt;
mod json;
mod lanes;
mod logger;
mod model;
mod offline;
mod openapi;
mod percent;
mod routes;
#[doc(hidden)]
pub mod runner;
mod scheduler;
mod serve;
mod store;
mod sys;
mod text;
mod thread;
mod ui;
mod upkeep;

pub use config::{Config, SETTINGS, Secret, Setting};
pub use error::{Chain, Error};
pub use serve::Server;

/// Every route, as method, path pattern, who may call it and how calls are counted.
pub fn routes() -> Vec<(String, &'static str, &'static str, &'static str)> {
    routes::list()
}

/// The keys of a node's status that the program writes or reads, as a Markdown table.
pub fn status_keys_markdown() -> String {
    model::status_keys::markdown()
}

/// The events that the server records, as a Markdown table.
pub fn events_markdown() -> String {
    model::events::catalogue::markdown()
}
