//! Commands about snapshots of etcd.

use super::answers::{encoded, listed, remove, shown};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output;
use serde_json::json;

/// Options of `snapshot list`.
const LIST: &[Opt] = &[opt("request", "", "request a new one, as `snapshot request` does").hidden()];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("snapshot list", "", "List etcd snapshots, newest first.", &[LIST, SIGN_IN], list),
    command("snapshot show", "ID", "Print an etcd snapshot.", &[SIGN_IN], show),
    command("snapshot request", "", "Request an etcd snapshot.", &[SIGN_IN], request),
    command("snapshot delete", "ID", "Remove an etcd snapshot from the list.", &[SIGN_IN], delete),
];

const PATH: &str = "/etcd/snapshots";

fn list(args: &Args) -> Result<(), Failure> {
    if args.has("request") {
        return request(args);
    }
    let keys = ["id", "status", "location", "requested_by", "created_at"];
    listed(args, signed_in(args)?.list(PATH)?, &["ID", "STATUS", "LOCATION", "REQUESTED-BY", "CREATED"], &keys);
    Ok(())
}

fn request(args: &Args) -> Result<(), Failure> {
    output::json(&signed_in(args)?.post(PATH, &json!({}))?);
    Ok(())
}

fn show(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&format!("{PATH}/{}", encoded(args.word(0))))?);
    Ok(())
}

fn delete(args: &Args) -> Result<(), Failure> {
    remove(args, &format!("{PATH}/{}", encoded(args.word(0))))
}
