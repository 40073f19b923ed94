//! Commands about router assignments.

use super::answers::listed;
use super::args::{Args, Command, Failure, command};
use super::connect::{SIGN_IN, signed_in};

/// Every command of this file.
pub const COMMANDS: &[Command] = &[command("routers", "", "List router assignments.", &[SIGN_IN], list)];

fn list(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/router-assignments")?;
    listed(args, list, &["ASSIGNMENT", "NODE", "PRIMARY", "SECONDARY"], &["id", "node_id", "primary_router_id", "secondary_router_id"]);
    Ok(())
}
