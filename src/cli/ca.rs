//! Commands for the cluster's authority and its rotation.

use super::answers::{listed_at, shown};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output::{self, Kind, Table, column};
use super::waiting::{self, State, TIMEOUT};
use super::watch::WATCH;
use crate::client::{Api, Called};
use serde_json::Value;

const NODES: Table = Table {
    noun: "nodes",
    id: "node_id",
    columns: &[
        column("NODE", "node_id", Kind::Id),
        column("UP TO DATE", "up_to_date", Kind::Text),
        column("LEASE", "lease_state", Kind::State),
        column("NAME", "name", Kind::Text).wide(),
    ],
    tabs: &[("NODE", "node_id"), ("NAME", "name"), ("UP-TO-DATE", "up_to_date"), ("LEASE", "lease_state")],
};

/// Options of `ca rotate`.
const ROTATE: &[Opt] = &[opt("wait", "", "wait until every living node has the new authority"), TIMEOUT];

/// Options of `ca drop-previous`.
const DROP: &[Opt] = &[opt("force", "", "even if some nodes trust only the previous authority; they must join again")];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command(
        "ca show",
        "",
        "Print the authorities, the state of a rotation and the certificate to trust.",
        &[SIGN_IN],
        show,
    ),
    command("ca nodes", "", "List nodes, and if they trust the newest authority.", &[WATCH, SIGN_IN], nodes),
    command("ca rotate", "", "Create a new authority; the previous one stays trusted.", &[ROTATE, SIGN_IN], rotate),
    command("ca drop-previous", "", "Stop trusting the previous authority.", &[DROP, SIGN_IN], drop_previous),
];

fn show(args: &Args) -> Result<(), Failure> {
    let ca = signed_in(args)?.get("/cluster/ca")?;
    print(args, &ca);
    if !output::wants_json(args) {
        output::print(ca["server_ca_cert_pem"].as_str().unwrap_or_default());
    }
    Ok(())
}

/// Prints the authorities; their certificates only where a program reads them.
fn print(args: &Args, ca: &Value) {
    let mut ca = ca.clone();
    if let Some(fields) = ca.as_object_mut().filter(|_| !output::wants_json(args)) {
        fields.remove("ca_cert_pem");
        fields.remove("server_ca_cert_pem");
    }
    shown(args, &ca);
}

fn nodes(args: &Args) -> Result<(), Failure> {
    listed_at(args, &NODES, "/cluster/ca/nodes")
}

fn rotate(args: &Args) -> Result<(), Failure> {
    let limit = waiting::limit(args);
    let mut api = signed_in(args)?;
    let mut ca = api.post("/cluster/ca/rotate", &Value::Null)?;
    output::note(args, "A new authority issues from now on; nodes fetch it with their next heartbeat.");
    if args.has("wait") {
        ca = waiting::wait(args, &mut api, limit, "uptimemesh ca nodes", progress_of)?;
    }
    print(args, &ca);
    output::note(args, "Once every node is up to date: uptimemesh ca drop-previous");
    Ok(())
}

/// Progress of a rotation: done once every living node is up to date.
fn progress_of(api: &Api) -> Called<State<Value>> {
    let ca = api.get("/cluster/ca")?;
    let waiting: Vec<String> = api
        .list("/cluster/ca/nodes")?
        .iter()
        .filter(|n| n["up_to_date"] == false && n["lease_state"] == "alive")
        .filter_map(|n| n["node_id"].as_str().map(output::ascii))
        .collect();
    if waiting.is_empty() {
        return Ok(State::Done(ca));
    }
    let (done, all) = (&ca["nodes_up_to_date"], &ca["nodes"]);
    Ok(State::Working(format!("{done} of {all} nodes are up to date, not yet {}", waiting.join(", "))))
}

fn drop_previous(args: &Args) -> Result<(), Failure> {
    let api = signed_in(args)?;
    api.delete(if args.has("force") { "/cluster/ca/previous?force=true" } else { "/cluster/ca/previous" })?;
    print(args, &api.get("/cluster/ca")?);
    Ok(())
}
