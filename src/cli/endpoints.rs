//! Commands about endpoints.

use super::answers::listed;
use super::args::{Args, Command, Failure, command};
use super::connect::{SIGN_IN, signed_in};

/// Every command of this file.
pub const COMMANDS: &[Command] = &[command("endpoints", "", "List where replicas are reached.", &[SIGN_IN], list)];

fn list(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/endpoints")?;
    let keys = ["id", "replica_id", "address", "port", "healthy", "last_checked_at"];
    listed(args, list, &["ENDPOINT", "REPLICA", "ADDRESS", "PORT", "HEALTHY", "CHECKED"], &keys);
    Ok(())
}
