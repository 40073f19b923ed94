//! Everything that is tested through real sockets, real SQLite and the real program: one binary, so that it links once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agent;
mod api;
mod bare;
mod browser;
mod browser_ui;
mod canary;
mod crash;
mod golden;
mod hostile;
mod log;
mod node;
mod openapi;
mod program;
mod readme;
mod release;
mod services;
mod sql;
mod stream;
mod support;
mod texts;
mod tidy;
mod tls;
mod trouble;
mod ui;
mod update;
mod webdriver;
