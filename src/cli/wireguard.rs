//! Commands about the tunnels between nodes.

use super::answers::listed_at;
use super::args::{Args, Command, Failure, command};
use super::connect::SIGN_IN;
use super::output::{Kind, Table, column};
use super::watch::WATCH;

const TUNNELS: Table = Table {
    noun: "nodes",
    id: "node_id",
    columns: &[
        column("NODE", "node_id", Kind::Id),
        column("PRIMARY", "primary_tunnel", Kind::Text),
        column("SECONDARY", "secondary_tunnel", Kind::Text),
        column("ROUTE", "active_route", Kind::Text),
        column("FAILOVER", "failover_state", Kind::Text),
    ],
    tabs: &[
        ("NODE", "node_id"),
        ("PRIMARY", "primary_tunnel"),
        ("SECONDARY", "secondary_tunnel"),
        ("ROUTE", "active_route"),
        ("FAILOVER", "failover_state"),
    ],
};

/// Every command of this file.
pub const COMMANDS: &[Command] = &[command(
    "node tunnels",
    "",
    "List nodes with their WireGuard tunnels and the route in use.",
    &[WATCH, SIGN_IN],
    list,
)];

fn list(args: &Args) -> Result<(), Failure> {
    listed_at(args, &TUNNELS, "/wireguard/status")
}
