//! Commands about snapshots of etcd.

use super::answers::{listed_at, said};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output::{self, Kind, Table, column};
use super::watch::WATCH;
use serde_json::json;

const SNAPSHOT_RUNS: Table = Table {
    noun: "snapshots",
    id: "id",
    columns: &[
        column("ID", "id", Kind::Id),
        column("STATUS", "status", Kind::State),
        column("LOCATION", "location", Kind::Text).sparse(),
        column("REQUESTED BY", "requested_by", Kind::Text).sparse(),
        column("AGE", "created_at", Kind::Time),
        column("ERROR", "error", Kind::Text).sparse(),
    ],
    tabs: &[("ID", "id"), ("STATUS", "status"), ("LOCATION", "location"), ("REQUESTED-BY", "requested_by"), ("CREATED", "created_at")],
};

/// Options of `snapshots`.
const SNAPSHOTS: &[Opt] = &[opt("request", "", "ask for a new one")];

/// Every command of this file.
pub const COMMANDS: &[Command] =
    &[command("snapshots", "", "List requests for etcd snapshots, newest first.", &[SNAPSHOTS, WATCH, SIGN_IN], snapshots)];

fn snapshots(args: &Args) -> Result<(), Failure> {
    let path = "/etcd/snapshots";
    if args.has("request") {
        let run = signed_in(args)?.post(path, &json!({}))?;
        output::done(args, &run, &format!("Requested the snapshot {}.", said(&run["id"])));
        return Ok(());
    }
    listed_at(args, &SNAPSHOT_RUNS, path)
}
