//! Commands about replicas.

use super::answers::{encoded, listed, remove, shown};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output;
use serde_json::{Value, json};

/// Options of `replicas`.
const LIST: &[Opt] = &[opt("service", "ID", "of this service only"), opt("node", "ID", "on this node only")];

/// Options of `replica restore`.
const RESTORE: &[Opt] = &[opt("snapshot", "ID", "which snapshot (default: the newest)")];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("replica list", "", "List replicas, and why they are where they are.", &[LIST, SIGN_IN], list),
    command("replica show", "REPLICA", "Print a replica.", &[SIGN_IN], show),
    command("replica move", "REPLICA NODE", "Move a replica to another node.", &[SIGN_IN], place),
    command("replica restart", "REPLICA", "Request a restart of a replica.", &[SIGN_IN], restart),
    command("replica snapshot", "REPLICA", "Request a snapshot of a replica's data.", &[SIGN_IN], snapshot),
    command("replica restore", "REPLICA", "Request a restore of a replica's data.", &[RESTORE, SIGN_IN], restore),
    command("replica delete", "REPLICA", "Remove a replica and its endpoints.", &[SIGN_IN], delete),
];

fn list(args: &Args) -> Result<(), Failure> {
    let mut query: Vec<String> = Vec::new();
    query.extend(args.get("service").map(|id| format!("service_id={}", encoded(id))));
    query.extend(args.get("node").map(|id| format!("node_id={}", encoded(id))));
    let list = signed_in(args)?.list(&format!("/replicas?{}", query.join("&")))?;
    let header = ["REPLICA", "SERVICE", "NODE", "DESIRED", "HEALTHY", "GENERATION", "WHY"];
    let keys = ["id", "service_id", "node_id", "desired_state", "status.healthy", "status.applied_generation", "placement.reason"];
    listed(args, list, &header, &keys);
    Ok(())
}

fn show(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&path(args, ""))?);
    Ok(())
}

/// `replica move`.
fn place(args: &Args) -> Result<(), Failure> {
    act(args, "/move", &json!({"target_node_id": args.word(1)}))
}

fn restart(args: &Args) -> Result<(), Failure> {
    act(args, "/restart", &json!({}))
}

fn snapshot(args: &Args) -> Result<(), Failure> {
    act(args, "/snapshot", &json!({}))
}

fn restore(args: &Args) -> Result<(), Failure> {
    act(args, "/restore", &json!({"snapshot_id": args.get("snapshot")}))
}

fn act(args: &Args, action: &str, body: &Value) -> Result<(), Failure> {
    let api = signed_in(args)?;
    output::json(&api.post(&path(args, action), body)?);
    Ok(())
}

fn delete(args: &Args) -> Result<(), Failure> {
    remove(args, &path(args, ""))
}

fn path(args: &Args, rest: &str) -> String {
    format!("/replicas/{}{rest}", encoded(args.word(0)))
}
