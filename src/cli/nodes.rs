//! Commands about nodes.

use super::answers::{encoded, listed, other_name, remove, said, shown, warnings};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output::{self, Kind, Table, column, made};
use super::waiting::{self, State, TIMEOUT};
use super::watch::WATCH;
use crate::client::{Api, Called};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NODES: Table = Table {
    noun: "nodes",
    id: "id",
    columns: &[
        column("NODE", "id", Kind::Id),
        made("NAME", Kind::Text, other_name).sparse(),
        column("ROLE", "roles", Kind::Text),
        column("LEASE", "lease_state", Kind::State),
        made("STATE", Kind::State, state),
        column("REPLICAS", "replicas", Kind::Number),
        column("LOAD", "status.load_1m", Kind::Number).spare(),
        column("VERSION", "status.version", Kind::Text).spare(),
        column("HEARTBEAT", "heartbeat_at", Kind::Time),
        column("MESH IP", "mesh_ip", Kind::Text).wide().sparse(),
        column("API", "api_endpoint", Kind::Text).wide().sparse(),
        column("LABELS", "labels", Kind::Text).wide(),
        column("LEASE ENDS", "lease_expires_at", Kind::Time).wide(),
        column("IDENTITY ENDS", "identity_expires_at", Kind::Time).wide(),
        column("AGE", "created_at", Kind::Time).wide(),
    ],
    tabs: &[
        ("NODE", "id"),
        ("NAME", "name"),
        ("ROLES", "roles"),
        ("SCHEDULABLE", "status.schedulable"),
        ("DRAIN", "status.drain_state"),
        ("HEARTBEAT", "heartbeat_at"),
    ],
};

/// Options of `nodes`.
const LIST: &[Opt] = &[
    opt("role", "ROLE", "with this role only"),
    opt("lease-state", "STATE", "alive, stale, dead or unknown only"),
    opt("label", "KEY=VALUE...", "with this label only; may be given again"),
];

/// Options of `node delete`.
const DELETE: &[Opt] = &[opt("force", "", "even while replicas are placed there or router assignments name it")];

/// Options of `node create`.
const CREATE: &[Opt] = &[
    opt("name", "NAME", "the node's name (default: its id)"),
    opt("role", "ROLE", "a role of it; may be given again"),
    opt("label", "KEY=VALUE...", "labels; may be given again"),
    opt("mesh-ip", "ADDRESS", "its address inside the mesh"),
];

/// Options of `node label`.
const LABEL: &[Opt] = &[
    opt("set", "KEY=VALUE...", "labels to set; may be given again"),
    opt("remove", "KEY...", "labels to remove; may be given again"),
];

/// Options of `node drain`.
const DRAIN: &[Opt] = &[opt("no-wait", "", "do not wait until the drain is done"), TIMEOUT];

/// Options of `node room`.
const ROOM: &[Opt] = &[
    opt("reserve-cpu", "MILLIS|N%", "thousandths of cores, or a share, that replicas leave free"),
    opt("reserve-memory", "MB|N%", "mebibytes of memory, or a share, that replicas leave free"),
    opt("cpu", "MILLIS", "thousandths of cores that the node has, whatever it reports"),
    opt("memory", "MB", "mebibytes of memory that the node has, whatever it reports"),
];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("node list", "", "List nodes.", &[LIST, WATCH, SIGN_IN], list)
        .example("uptimemesh node list --role worker --lease-state alive"),
    command("node show", "NODE", "Print a node.", &[SIGN_IN], show),
    command("node create", "NODE", "Register a node before it joins.", &[CREATE, SIGN_IN], create)
        .example("uptimemesh node create n7 --role worker --label zone=b"),
    command("node label", "NODE", "Set or remove labels of a node.", &[LABEL, SIGN_IN], label)
        .example("uptimemesh node label n7 --set zone=b --remove rack"),
    command("node cordon", "NODE", "Keep new replicas off a node, and move those that run there.", &[SIGN_IN], cordon),
    command("node uncordon", "NODE", "Let replicas come to a node again; ends a drain.", &[SIGN_IN], uncordon),
    command("node drain", "NODE", "Move all replicas of a node elsewhere.", &[DRAIN, SIGN_IN], drain),
    command(
        "node room",
        "NODE",
        "Limit what replicas may use of a node; without options, remove the limits.",
        &[ROOM, SIGN_IN],
        room,
    )
    .example("uptimemesh node room n7 --reserve-cpu 20% --reserve-memory 512"),
    command("node reboot", "NODE", "Request a reboot of a node.", &[SIGN_IN], reboot),
    command("node rotate-keys", "NODE", "Request new WireGuard keys of a node.", &[SIGN_IN], rotate_keys),
    command("node runs", "NODE", "Print the machines that send heartbeats with one identity.", &[SIGN_IN], runs),
    command(
        "node work",
        "NODE",
        "Print what a node should run, and whether the node has that on its disk.",
        &[SIGN_IN],
        work,
    ),
    command("node keep-run", "NODE RUN", "Choose which of two machines with one identity stays.", &[SIGN_IN], keep_run),
    command("node delete", "NODE", "Remove a node and revoke its identity.", &[DELETE, SIGN_IN], delete),
];

fn list(args: &Args) -> Result<(), Failure> {
    let mut query: Vec<String> = Vec::new();
    query.extend(args.get("role").map(|role| format!("role={}", encoded(role))));
    query.extend(args.get("lease-state").map(|state| format!("lease_state={}", encoded(state))));
    query.extend(args.all("label").map(|label| format!("label={}", encoded(label))));
    let path = format!("/nodes?{}", query.join("&"));
    listed(args, &NODES, &|api, is_for_people| {
        let nodes = api.list(&path)?;
        if is_for_people { with_work(api, nodes) } else { Ok(nodes) }
    })
}

/// Adds `lease_state` and the number of `replicas` to nodes, in two calls for any number of them.
fn with_work(api: &Api, mut nodes: Vec<Value>) -> Called<Vec<Value>> {
    let leases = api.list("/cluster/leases")?;
    let leases: BTreeMap<&str, &Value> =
        leases.iter().filter_map(|l| Some((l["node_id"].as_str()?, &l["lease_state"]))).collect();
    let mut replicas: BTreeMap<String, u64> = BTreeMap::new();
    for replica in api.list("/replicas")? {
        *replicas.entry(said(&replica["node_id"])).or_default() += 1;
    }
    for node in &mut nodes {
        let id = said(&node["id"]);
        node["lease_state"] = leases.get(id.as_str()).map_or(Value::Null, |state| (*state).clone());
        node["replicas"] = json!(replicas.get(&id).unwrap_or(&0));
    }
    Ok(nodes)
}

/// State of a node for new work, as its connection, it and its operator say; nothing if none of them said anything.
/// What a node reported before it fell silent is not its state now.
fn state(node: &Value) -> Value {
    let status = &node["status"];
    let is_silent = node["lease_state"] == "stale" || node["lease_state"] == "dead";
    if !node["suspect_since"].is_null() {
        json!("suspect")
    } else if status["ready"] == false && !is_silent {
        json!("not ready")
    } else if status["draining"] == true {
        status["drain_state"].as_str().map_or(json!("draining"), |state| json!(state))
    } else if status["schedulable"] == false {
        json!("cordoned")
    } else if status["ready"] == true && !is_silent {
        json!("ready")
    } else {
        Value::Null
    }
}

fn show(args: &Args) -> Result<(), Failure> {
    let api = signed_in(args)?;
    let node = api.get(&path(args, ""))?;
    if !output::style(args).is_for_people() {
        shown(args, &node);
        return Ok(());
    }
    with_work(&api, vec![node])?.iter().for_each(|node| shown(args, node));
    Ok(())
}

/// Registers a node that has not joined yet.
fn create(args: &Args) -> Result<(), Failure> {
    let roles: Vec<&str> = args.all("role").collect();
    let body = json!({
        "id": args.word(0), "name": args.get("name").unwrap_or(args.word(0)),
        "roles": (!roles.is_empty()).then_some(roles), "labels": args.pairs("label"), "mesh_ip": args.get("mesh-ip"),
    });
    let node = signed_in(args)?.post("/nodes", &body)?;
    warnings(&node);
    shown(args, &node);
    Ok(())
}

/// Changes labels of a node; the others stay.
fn label(args: &Args) -> Result<(), Failure> {
    let set = args.pairs("set");
    let removed: Vec<&str> = args.all("remove").collect();
    if set.is_empty() && removed.is_empty() {
        args.fault("name labels by --set KEY=VALUE or --remove KEY".to_string());
    }
    let api = signed_in(args)?;
    let (node, tag) = api.get_tagged(&path(args, ""))?;
    let mut labels = node["labels"].as_object().cloned().unwrap_or_default();
    labels.retain(|key, _| !removed.contains(&key.as_str()));
    labels.extend(set);
    shown(args, &api.patch_if(&path(args, ""), &json!({ "labels": labels }), &tag)?);
    Ok(())
}

fn cordon(args: &Args) -> Result<(), Failure> {
    act(args, "/cordon", "Cordoned")
}

fn uncordon(args: &Args) -> Result<(), Failure> {
    act(args, "/uncordon", "Uncordoned")
}

fn reboot(args: &Args) -> Result<(), Failure> {
    act(args, "/reboot-marker", "Requested a reboot of")
}

fn rotate_keys(args: &Args) -> Result<(), Failure> {
    act(args, "/rotate-wg-keys", "Requested new WireGuard keys of")
}

fn runs(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&path(args, "/runs"))?);
    Ok(())
}

fn work(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&path(args, "/work"))?);
    Ok(())
}

fn keep_run(args: &Args) -> Result<(), Failure> {
    let api = signed_in(args)?;
    let node = api.post(&path(args, "/keep-run"), &json!({"run": args.word(1)}))?;
    output::done(args, &node, &format!("The run {} of {} stays.", args.word(1), args.word(0)));
    Ok(())
}

/// Says what replicas may take of a node; what is not said is left to the node.
fn room(args: &Args) -> Result<(), Failure> {
    let whole = |name: &str| args.get(name).map(|_| args.int(name, 0));
    let share = |name: &str| {
        args.get(name).filter(|text| text.ends_with('%')).map(|text| text.trim_end_matches('%').to_string())
    };
    let amount = |name: &str| if share(name).is_some() { None } else { whole(name) };
    let said = json!({
        "capacity": present(&[("cpu_millis", json!(whole("cpu"))), ("memory_mb", json!(whole("memory")))]),
        "reserved": present(&[
            ("cpu_millis", json!(amount("reserve-cpu"))),
            ("cpu_percent", json!(share("reserve-cpu"))),
            ("memory_mb", json!(amount("reserve-memory"))),
            ("memory_percent", json!(share("reserve-memory"))),
        ]),
    });
    let api = signed_in(args)?;
    let (_, tag) = api.get_tagged(&path(args, ""))?;
    let node = api.patch_if(&path(args, ""), &said, &tag)?;
    output::done(args, &node, &format!("Changed the room of {}.", args.word(0)));
    Ok(())
}

/// An object of what is there.
fn present(fields: &[(&str, Value)]) -> Value {
    fields.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.to_string(), value.clone())).collect()
}

fn act(args: &Args, action: &str, done: &str) -> Result<(), Failure> {
    let node = signed_in(args)?.post(&path(args, action), &json!({}))?;
    output::done(args, &node, &format!("{done} {}.", said(&node["id"])));
    Ok(())
}

/// Requests a drain and shows progress until it is done or blocked.
fn drain(args: &Args) -> Result<(), Failure> {
    let limit = waiting::limit(args);
    let mut api = signed_in(args)?;
    let node = api.post(&path(args, "/drain"), &json!({}))?;
    let id = said(&node["id"]);
    if args.has("no-wait") {
        output::done(args, &node, &format!("Requested a drain of {id}."));
        return Ok(());
    }
    let again = format!("uptimemesh node show {id}");
    let node = waiting::wait(args, &mut api, limit, &again, |api| progress_of(api, &id))?;
    if output::wants_json(args) {
        output::structured(args, &node);
    } else {
        output::outcome(args, &id, &format!("{} is drained.", output::ascii(&id)));
    }
    Ok(())
}

/// Progress of a drain: done once no replica is left.
fn progress_of(api: &Api, id: &str) -> Called<State<Value>> {
    let failed = |why: String| Ok(State::Failed(Failure::Failed(why)));
    let mode = said(&api.get("/scheduler/status")?["mode"]);
    if mode != "auto" {
        let how = if mode == "paused" {
            "set scheduler_mode to auto"
        } else {
            "run `uptimemesh scheduler reconcile` until it is drained"
        };
        return failed(format!("{id} is to be drained, but the scheduler is in mode {mode}: {how}"));
    }
    let left = api.list(&format!("/replicas?node_id={}", encoded(id)))?.len();
    let node = api.get(&format!("/nodes/{}", encoded(id)))?;
    match node["status"]["drain_state"].as_str() {
        Some("drained") => Ok(State::Done(node)),
        Some("blocked") => failed(format!("{id} cannot be drained: {}\n{}", left_over(left), blocked(api, id)?)),
        Some("draining") => Ok(State::Working(format!("{id}: {left} {} left", replicas(left)))),
        _ => failed(format!("{id} is not draining any more")),
    }
}

fn replicas(count: usize) -> &'static str {
    if count == 1 { "replica" } else { "replicas" }
}

fn left_over(left: usize) -> String {
    format!("{left} {} {} left", replicas(left), if left == 1 { "is" } else { "are" })
}

/// Reasons of a blocked drain, from its event.
fn blocked(api: &Api, id: &str) -> Called<String> {
    let events = api.get(&format!("/events?name=node.drain_blocked&node_id={}&limit=1", encoded(id)))?;
    let replicas = events[0]["fields"]["replicas"].as_array().cloned().unwrap_or_default();
    let line = |r: &Value| format!("  {}: {}", said(&r["replica_id"]), said(&r["reason"]));
    Ok(replicas.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn delete(args: &Args) -> Result<(), Failure> {
    remove(args, &path(args, if args.has("force") { "?force=true" } else { "" }))
}

fn path(args: &Args, rest: &str) -> String {
    format!("/nodes/{}{rest}", encoded(args.word(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_silent_node_last_reported_is_not_its_state() {
        let of = |lease: &str, status: Value| state(&json!({"lease_state": lease, "status": status}));
        assert_eq!(of("alive", json!({"ready": true})), "ready");
        assert_eq!(of("alive", json!({"ready": false})), "not ready");
        for silent in ["stale", "dead"] {
            assert_eq!(of(silent, json!({"ready": true})), Value::Null);
            assert_eq!(of(silent, json!({"ready": false})), Value::Null);
            assert_eq!(of(silent, json!({"ready": true, "schedulable": false})), "cordoned", "an operator said it");
        }
    }
}
