//! Commands about endpoints.

use super::answers::{encoded, listed_at, remove, shown};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output::{Kind, Table, column, made};
use super::watch::WATCH;
use serde_json::{Value, json};

const ENDPOINTS: Table = Table {
    noun: "endpoints",
    id: "id",
    columns: &[
        column("ENDPOINT", "id", Kind::Id),
        column("REPLICA", "replica_id", Kind::Id),
        column("ADDRESS", "address", Kind::Id),
        column("PORT", "port", Kind::Number),
        made("STATE", Kind::State, state),
        column("CHECKED", "last_checked_at", Kind::Time),
        column("AGE", "created_at", Kind::Time).wide(),
    ],
    tabs: &[
        ("ENDPOINT", "id"),
        ("REPLICA", "replica_id"),
        ("ADDRESS", "address"),
        ("PORT", "port"),
        ("HEALTHY", "healthy"),
        ("CHECKED", "last_checked_at"),
    ],
};

/// Options of `endpoint create`.
const CREATE: &[Opt] = &[
    opt("replica", "ID", "the replica that answers there; required"),
    opt("address", "ADDRESS", "address or host name; required"),
    opt("port", "PORT", "port, 1 to 65535; required"),
    opt("unhealthy", "", "create it as unhealthy"),
];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("endpoint list", "", "List replica endpoints.", &[WATCH, SIGN_IN], list),
    command("endpoint show", "ENDPOINT", "Print an endpoint.", &[SIGN_IN], show),
    command("endpoint create", "ENDPOINT", "Create an endpoint of a replica.", &[CREATE, SIGN_IN], create)
        .example("uptimemesh endpoint create web-1 --replica web-replica-1 --address 10.0.0.7 --port 8080"),
    command("endpoint mark", "ENDPOINT HEALTH", "Mark an endpoint as healthy or unhealthy.", &[SIGN_IN], mark),
    command("endpoint delete", "ENDPOINT", "Remove an endpoint.", &[SIGN_IN], delete),
];

fn list(args: &Args) -> Result<(), Failure> {
    listed_at(args, &ENDPOINTS, "/endpoints")
}

/// Result of its last check.
fn state(endpoint: &Value) -> Value {
    json!(if endpoint["healthy"] == true { "healthy" } else { "unhealthy" })
}

fn show(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&path(args))?);
    Ok(())
}

fn create(args: &Args) -> Result<(), Failure> {
    let (replica, address) = (args.required("replica"), args.required("address"));
    args.required("port");
    let body = json!({
        "id": args.word(0), "replica_id": replica, "address": address, "port": args.int("port", 0),
        "healthy": !args.has("unhealthy"),
    });
    shown(args, &signed_in(args)?.post("/endpoints", &body)?);
    Ok(())
}

fn mark(args: &Args) -> Result<(), Failure> {
    let healthy = args.word(1) == "healthy";
    if !healthy && args.word(1) != "unhealthy" {
        args.fault(format!("HEALTH must be healthy or unhealthy, not {:?}", args.word(1)));
    }
    let api = signed_in(args)?;
    let (_, tag) = api.get_tagged(&path(args))?;
    shown(args, &api.patch_if(&path(args), &json!({ "healthy": healthy }), &tag)?);
    Ok(())
}

fn delete(args: &Args) -> Result<(), Failure> {
    remove(args, &path(args))
}

fn path(args: &Args) -> String {
    format!("/endpoints/{}", encoded(args.word(0)))
}
