//! Commands about replicas, and lists of what hangs on them and on nodes.

use super::args::{Args, Failure, Opt, opt};
use super::{encoded, listed, output, remove, shown, signed_in};
use serde_json::{Value, json};

/// Options of `replicas`.
pub const LIST: &[Opt] = &[opt("service", "ID", "of this service only"), opt("node", "ID", "on this node only")];

/// Options of `replica restore`.
pub const RESTORE: &[Opt] = &[opt("snapshot", "ID", "which snapshot (default: the newest)")];

/// Options of `snapshots` and `bundles`.
pub const RUNS: &[Opt] = &[opt("request", "", "ask for a new one")];

pub fn list(args: &Args) -> Result<(), Failure> {
    let mut query: Vec<String> = Vec::new();
    query.extend(args.get("service").map(|id| format!("service_id={}", encoded(id))));
    query.extend(args.get("node").map(|id| format!("node_id={}", encoded(id))));
    let list = signed_in(args)?.list(&format!("/replicas?{}", query.join("&")))?;
    let header = ["REPLICA", "SERVICE", "NODE", "DESIRED", "HEALTHY", "GENERATION", "WHY"];
    let keys = ["id", "service_id", "node_id", "desired_state", "status.healthy", "status.applied_generation", "placement.reason"];
    listed(args, list, &header, &keys);
    Ok(())
}

pub fn show(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&path(args, ""))?);
    Ok(())
}

/// `replica move`.
pub fn place(args: &Args) -> Result<(), Failure> {
    act(args, "/move", &json!({"target_node_id": args.word(1)}))
}

pub fn restart(args: &Args) -> Result<(), Failure> {
    act(args, "/restart", &json!({}))
}

pub fn snapshot(args: &Args) -> Result<(), Failure> {
    act(args, "/snapshot", &json!({}))
}

pub fn restore(args: &Args) -> Result<(), Failure> {
    act(args, "/restore", &json!({"snapshot_id": args.get("snapshot")}))
}

fn act(args: &Args, action: &str, body: &Value) -> Result<(), Failure> {
    let api = signed_in(args)?;
    output::json(&api.post(&path(args, action), body)?);
    Ok(())
}

pub fn delete(args: &Args) -> Result<(), Failure> {
    remove(args, &path(args, ""))
}

fn path(args: &Args, rest: &str) -> String {
    format!("/replicas/{}{rest}", encoded(args.word(0)))
}

pub fn endpoints(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/endpoints")?;
    let keys = ["id", "replica_id", "address", "port", "healthy", "last_checked_at"];
    listed(args, list, &["ENDPOINT", "REPLICA", "ADDRESS", "PORT", "HEALTHY", "CHECKED"], &keys);
    Ok(())
}

pub fn routers(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/router-assignments")?;
    listed(args, list, &["ASSIGNMENT", "NODE", "PRIMARY", "SECONDARY"], &["id", "node_id", "primary_router_id", "secondary_router_id"]);
    Ok(())
}

pub fn snapshots(args: &Args) -> Result<(), Failure> {
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
