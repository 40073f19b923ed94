//! Everything that is tested through real sockets, real SQLite and the real program: one binary, so that it links once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agent;
mod api;
mod backups;
mod bare;
mod browser;
mod browser_ui;
mod bundles;
mod canary;
mod crash;
mod crowd;
mod doctor;
mod golden;
mod hostile;
mod install;
mod log;
mod machine;
mod monitoring;
mod node;
mod openapi;
mod program;
mod proxies;
mod readme;
mod release;
mod services;
mod ship;
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
