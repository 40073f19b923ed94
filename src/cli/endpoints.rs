//! Commands about endpoints.

use super::answers::{encoded, listed, remove, shown};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use serde_json::json;

/// Options of `endpoint create`.
const CREATE: &[Opt] = &[
    opt("replica", "ID", "the replica that answers there; required"),
    opt("address", "ADDRESS", "address or host name; required"),
    opt("port", "PORT", "port, 1 to 65535; required"),
    opt("unhealthy", "", "create it as unhealthy"),
];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("endpoint list", "", "List replica endpoints.", &[SIGN_IN], list),
    command("endpoint show", "ENDPOINT", "Print an endpoint.", &[SIGN_IN], show),
    command("endpoint create", "ENDPOINT", "Create an endpoint of a replica.", &[CREATE, SIGN_IN], create)
        .example("uptimemesh endpoint create web-1 --replica web-replica-1 --address 10.0.0.7 --port 8080"),
    command("endpoint mark", "ENDPOINT HEALTH", "Mark an endpoint as healthy or unhealthy.", &[SIGN_IN], mark),
    command("endpoint delete", "ENDPOINT", "Remove an endpoint.", &[SIGN_IN], delete),
];

fn list(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/endpoints")?;
    let keys = ["id", "replica_id", "address", "port", "healthy", "last_checked_at"];
    listed(args, list, &["ENDPOINT", "REPLICA", "ADDRESS", "PORT", "HEALTHY", "CHECKED"], &keys);
    Ok(())
}

fn show(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&path(args))?);
    Ok(())
}

fn create(args: &Args) -> Result<(), Failure> {
    let (replica, address) = (args.required("replica"), args.required("address"));
    args.required("port");
    let body = json!({
        "id": args.word(0), "replica_id": replica, "address": address, "port": args.int("port", 0), "healthy": !args.has("unhealthy"),
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
