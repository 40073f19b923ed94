//! Commands about the tunnels between nodes.

use super::answers::listed;
use super::args::{Args, Command, Failure, command};
use super::connect::{SIGN_IN, signed_in};

/// Every command of this file.
pub const COMMANDS: &[Command] =
    &[command("node tunnels", "", "List nodes with their WireGuard tunnels and the route in use.", &[SIGN_IN], list)];

fn list(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/wireguard/status")?;
    let keys = ["node_id", "primary_tunnel", "secondary_tunnel", "active_route", "failover_state"];
    listed(args, list, &["NODE", "PRIMARY", "SECONDARY", "ROUTE", "FAILOVER"], &keys);
    Ok(())
}
