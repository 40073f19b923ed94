//! Commands about snapshots of etcd.

use super::answers::{encoded, listed_at, remove, said, shown};
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
    tabs: &[
        ("ID", "id"),
        ("STATUS", "status"),
        ("LOCATION", "location"),
        ("REQUESTED-BY", "requested_by"),
        ("CREATED", "created_at"),
    ],
};

/// Options of `snapshot list`.
const LIST: &[Opt] = &[opt("request", "", "request a new one, as `snapshot request` does").hidden()];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("snapshot list", "", "List etcd snapshots, newest first.", &[LIST, WATCH, SIGN_IN], list),
    command("snapshot show", "ID", "Print an etcd snapshot.", &[SIGN_IN], show),
    command("snapshot request", "", "Request an etcd snapshot.", &[SIGN_IN], request),
    command("snapshot delete", "ID", "Remove an etcd snapshot from the list.", &[SIGN_IN], delete),
];

const PATH: &str = "/etcd/snapshots";

fn list(args: &Args) -> Result<(), Failure> {
    if args.has("request") {
        return request(args);
    }
    listed_at(args, &SNAPSHOT_RUNS, PATH)
}

fn request(args: &Args) -> Result<(), Failure> {
    let run = signed_in(args)?.post(PATH, &json!({}))?;
    output::done(args, &run, &format!("Requested the snapshot {}.", said(&run["id"])));
    Ok(())
}

fn show(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&format!("{PATH}/{}", encoded(args.word(0))))?);
    Ok(())
}

fn delete(args: &Args) -> Result<(), Failure> {
    remove(args, &format!("{PATH}/{}", encoded(args.word(0))))
}
