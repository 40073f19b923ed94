//! Commands about endpoints.

use super::answers::listed_at;
use super::args::{Args, Command, Failure, command};
use super::connect::SIGN_IN;
use super::output::{Kind, Table, column, made};
use super::watch::WATCH;
use serde_json::{Value, json};

const ENDPOINTS: Table = Table {
    noun: "endpoints",
    id: "id",
    columns: &[
        column("ENDPOINT", "id", Kind::Id),
        column("REPLICA", "replica_id", Kind::Id),
        column("ADDRESS", "address", Kind::Text),
        column("PORT", "port", Kind::Number),
        made("STATE", Kind::State, state),
        column("CHECKED", "last_checked_at", Kind::Time),
        column("AGE", "created_at", Kind::Time).wide(),
    ],
    tabs: &[
        ("ENDPOINT", "id"),
        ("REPLICA", "replica_id"),
        ("ADDRESS", "address"),
        ("PORT", "port"),
        ("HEALTHY", "healthy"),
        ("CHECKED", "last_checked_at"),
    ],
};

/// Every command of this file.
pub const COMMANDS: &[Command] = &[command("endpoints", "", "List where replicas are reached.", &[WATCH, SIGN_IN], list)];

fn list(args: &Args) -> Result<(), Failure> {
    listed_at(args, &ENDPOINTS, "/endpoints")
}

/// What its last check found.
fn state(endpoint: &Value) -> Value {
    json!(if endpoint["healthy"] == true { "healthy" } else { "unhealthy" })
}
