//! Commands about snapshots of etcd.

use super::answers::listed;
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output;
use serde_json::json;

/// Options of `snapshots`.
const SNAPSHOTS: &[Opt] = &[opt("request", "", "ask for a new one")];

/// Every command of this file.
pub const COMMANDS: &[Command] =
    &[command("snapshots", "", "List requests for etcd snapshots, newest first.", &[SNAPSHOTS, SIGN_IN], snapshots)];

fn snapshots(args: &Args) -> Result<(), Failure> {
    let path = "/etcd/snapshots";
    let api = signed_in(args)?;
    if args.has("request") {
        output::json(&api.post(path, &json!({}))?);
        return Ok(());
    }
    listed(
        args,
        api.list(path)?,
        &["ID", "STATUS", "LOCATION", "REQUESTED-BY", "CREATED"],
        &["id", "status", "location", "requested_by", "created_at"],
    );
    Ok(())
}
