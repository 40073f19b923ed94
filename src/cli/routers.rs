//! Commands about router assignments.

use super::answers::{encoded, listed, remove, shown};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use serde_json::json;

/// Options of `router create`.
const CREATE: &[Opt] = &[
    opt("node", "ID", "the node that the routers are for; required"),
    opt("primary", "ID", "the node that is its first router; required"),
    opt("secondary", "ID", "the node that is its second router; required"),
];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("router list", "", "List router assignments.", &[SIGN_IN], list),
    command("router show", "ASSIGNMENT", "Print a router assignment.", &[SIGN_IN], show),
    command("router create", "ASSIGNMENT", "Assign two routers to a node.", &[CREATE, SIGN_IN], create)
        .example("uptimemesh router create n7-routers --node n7 --primary gw1 --secondary gw2"),
    command("router delete", "ASSIGNMENT", "Remove a router assignment.", &[SIGN_IN], delete),
];

fn list(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/router-assignments")?;
    listed(args, list, &["ASSIGNMENT", "NODE", "PRIMARY", "SECONDARY"], &["id", "node_id", "primary_router_id", "secondary_router_id"]);
    Ok(())
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
