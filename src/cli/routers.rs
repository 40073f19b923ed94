//! Commands about router assignments.

use super::answers::listed_at;
use super::args::{Args, Command, Failure, command};
use super::connect::SIGN_IN;
use super::output::{Kind, Table, column};
use super::watch::WATCH;

const ROUTERS: Table = Table {
    noun: "router assignments",
    id: "id",
    columns: &[
        column("ASSIGNMENT", "id", Kind::Id),
        column("NODE", "node_id", Kind::Id),
        column("PRIMARY", "primary_router_id", Kind::Id),
        column("SECONDARY", "secondary_router_id", Kind::Id),
        column("AGE", "created_at", Kind::Time),
    ],
    tabs: &[("ASSIGNMENT", "id"), ("NODE", "node_id"), ("PRIMARY", "primary_router_id"), ("SECONDARY", "secondary_router_id")],
};

/// Every command of this file.
pub const COMMANDS: &[Command] = &[command("routers", "", "List router assignments.", &[WATCH, SIGN_IN], list)];

fn list(args: &Args) -> Result<(), Failure> {
    listed_at(args, &ROUTERS, "/router-assignments")
}
