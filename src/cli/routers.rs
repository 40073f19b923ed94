//! Commands about router assignments.

use super::answers::{encoded, listed_at, remove, shown};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output::{Kind, Table, column};
use super::watch::WATCH;
use serde_json::json;

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
    tabs: &[
        ("ASSIGNMENT", "id"),
        ("NODE", "node_id"),
        ("PRIMARY", "primary_router_id"),
        ("SECONDARY", "secondary_router_id"),
    ],
};

/// Options of `router create`.
const CREATE: &[Opt] = &[
    opt("node", "ID", "the node that the routers are for; required"),
    opt("primary", "ID", "the node that is its first router; required"),
    opt("secondary", "ID", "the node that is its second router; required"),
];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("router list", "", "List router assignments.", &[WATCH, SIGN_IN], list),
    command("router show", "ASSIGNMENT", "Print a router assignment.", &[SIGN_IN], show),
    command("router create", "ASSIGNMENT", "Assign two routers to a node.", &[CREATE, SIGN_IN], create)
        .example("uptimemesh router create n7-routers --node n7 --primary gw1 --secondary gw2"),
    command("router delete", "ASSIGNMENT", "Remove a router assignment.", &[SIGN_IN], delete),
];

fn list(args: &Args) -> Result<(), Failure> {
    listed_at(args, &ROUTERS, "/router-assignments")
}

fn show(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&path(args))?);
    Ok(())
}

fn create(args: &Args) -> Result<(), Failure> {
    let body = json!({
        "id": args.word(0), "node_id": args.required("node"),
        "primary_router_id": args.required("primary"), "secondary_router_id": args.required("secondary"),
    });
    shown(args, &signed_in(args)?.post("/router-assignments", &body)?);
    Ok(())
}

fn delete(args: &Args) -> Result<(), Failure> {
    remove(args, &path(args))
}

fn path(args: &Args) -> String {
    format!("/router-assignments/{}", encoded(args.word(0)))
}
