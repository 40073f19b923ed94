//! The wire contract, row by row, through real HTTP, with its bad inputs.

mod audit;
mod auth;
mod cluster;
mod conventions;
mod events;
mod forwarded;
mod local;
mod node_calls;
mod nodes;
mod replicas;
mod room;
mod scheduler;
mod services;
mod settings;
mod specs;
mod throttle;
mod tokens;
mod updates;
mod users;
