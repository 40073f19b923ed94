//! Commands about replicas.

use super::answers::{encoded, listed_at, remove, said, shown};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output::{self, Kind, Table, column, made};
use super::watch::WATCH;
use crate::model::replicas::Facts;
use serde::Deserialize;
use serde_json::{Value, json};

const REPLICAS: Table = Table {
    noun: "replicas",
    id: "id",
    columns: &[
        column("REPLICA", "id", Kind::Id),
        column("SERVICE", "service_id", Kind::Id),
        column("NODE", "node_id", Kind::Id),
        made("STATE", Kind::State, state),
        column("SINCE", "status.state_since", Kind::Time).sparse(),
        column("RESTARTS", "status.restarts", Kind::Number).sparse(),
        column("GEN", "status.applied_generation", Kind::Number),
        column("AGE", "created_at", Kind::Time),
        column("WHY", "placement.reason", Kind::Text).sparse().spare(),
        column("DESIRED", "desired_state", Kind::Text).wide(),
        column("PLACED", "placement.at", Kind::Time).wide(),
        column("FROM", "placement.from_node_id", Kind::Id).wide().sparse(),
        column("EXIT", "status.exit.words", Kind::Text).wide().sparse(),
        column("RESTARTED", "status.last_restart_at", Kind::Time).wide().sparse(),
    ],
    tabs: &[
        ("REPLICA", "id"),
        ("SERVICE", "service_id"),
        ("NODE", "node_id"),
        ("DESIRED", "desired_state"),
        ("HEALTHY", "status.healthy"),
        ("GENERATION", "status.applied_generation"),
        ("WHY", "placement.reason"),
    ],
};

/// Options of `replicas`.
const LIST: &[Opt] = &[opt("service", "ID", "of this service only"), opt("node", "ID", "on this node only")];

/// Options of `replica restore`.
const RESTORE: &[Opt] = &[opt("snapshot", "ID", "which snapshot (default: the newest)")];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("replica list", "", "List replicas, and why they are where they are.", &[LIST, WATCH, SIGN_IN], list),
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
    listed_at(args, &REPLICAS, &format!("/replicas?{}", query.join("&")))
}

fn show(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&path(args, ""))?);
    Ok(())
}

/// `replica move`.
fn place(args: &Args) -> Result<(), Failure> {
    act(args, "/move", &json!({"target_node_id": args.word(1)}), "Placed")
}

fn restart(args: &Args) -> Result<(), Failure> {
    act(args, "/restart", &json!({}), "Requested a restart of")
}

fn snapshot(args: &Args) -> Result<(), Failure> {
    act(args, "/snapshot", &json!({}), "Requested a snapshot of")
}

fn restore(args: &Args) -> Result<(), Failure> {
    act(args, "/restore", &json!({"snapshot_id": args.get("snapshot")}), "Requested a restore of")
}

fn act(args: &Args, action: &str, body: &Value, done: &str) -> Result<(), Failure> {
    let replica = signed_in(args)?.post(&path(args, action), body)?;
    output::done(args, &replica, &format!("{done} {} on {}.", said(&replica["id"]), said(&replica["node_id"])));
    Ok(())
}

fn delete(args: &Args) -> Result<(), Failure> {
    remove(args, &path(args, ""))
}

fn path(args: &Args, rest: &str) -> String {
    format!("/replicas/{}{rest}", encoded(args.word(0)))
}

/// State of a replica: `unhealthy` wins over the word that it reports; `-` if it reports nothing.
fn state(replica: &Value) -> Value {
    let status = &replica["status"];
    match (&status["healthy"], &status["state"]) {
        (Value::Bool(false), _) => json!("unhealthy"),
        (_, Value::String(state)) => json!(state),
        _ if status["update_state"] == "pending" => json!("updating"),
        (Value::Bool(true), _) => json!("healthy"),
        _ => Value::Null,
    }
}

/// True if a replica is reported, and available as far as its node runs it.
pub(super) fn is_reported_well(replica: &Value) -> bool {
    let status = &replica["status"];
    !status["applied_generation"].is_null() && status["unavailable_since"].is_null()
}

/// True if a replica reports what the scheduler moves it for.
pub(super) fn is_sick(replica: &Value) -> bool {
    Facts::deserialize(&replica["status"]).is_ok_and(|facts| facts.sickness().is_some())
}
