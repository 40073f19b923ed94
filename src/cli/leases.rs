//! Commands about leases.

use super::answers::listed;
use super::args::{Args, Command, Failure, command};
use super::connect::{SIGN_IN, signed_in};

/// Every command of this file.
pub const COMMANDS: &[Command] =
    &[command("node leases", "", "List nodes with the state and the end of their leases.", &[SIGN_IN], list).formerly(&["nodes-status"])];

fn list(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/cluster/leases")?;
    listed(
        args,
        list,
        &["NODE", "ROLE", "LEASE", "HEARTBEAT", "EXPIRES"],
        &["node_id", "roles", "lease_state", "heartbeat_at", "lease_expires_at"],
    );
    Ok(())
}
