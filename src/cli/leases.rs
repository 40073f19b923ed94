//! Commands about leases.

use super::answers::listed_at;
use super::args::{Args, Command, Failure, command};
use super::connect::SIGN_IN;
use super::output::{Kind, Table, column};
use super::watch::WATCH;

const LEASES: Table = Table {
    noun: "nodes",
    id: "node_id",
    columns: &[
        column("NODE", "node_id", Kind::Id),
        column("ROLE", "roles", Kind::Text),
        column("LEASE", "lease_state", Kind::State),
        column("HEARTBEAT", "heartbeat_at", Kind::Time),
        column("EXPIRES", "lease_expires_at", Kind::Time),
        column("NAME", "name", Kind::Text).wide(),
    ],
    tabs: &[
        ("NODE", "node_id"),
        ("ROLE", "roles"),
        ("LEASE", "lease_state"),
        ("HEARTBEAT", "heartbeat_at"),
        ("EXPIRES", "lease_expires_at"),
    ],
};

/// Every command of this file.
pub const COMMANDS: &[Command] =
    &[command("node leases", "", "List nodes with the state and the end of their leases.", &[WATCH, SIGN_IN], list)
        .formerly(&["nodes-status"])];

fn list(args: &Args) -> Result<(), Failure> {
    listed_at(args, &LEASES, "/cluster/leases")
}
