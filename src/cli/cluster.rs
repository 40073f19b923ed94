//! Commands of operators: tokens, nodes, events, the password.

use super::args::{Args, Failure, Opt, opt};
use super::{output, signed_in};
use crate::percent::encode;
use serde_json::{Value, json};

/// Options of `bootstrap`.
pub const BOOTSTRAP: &[Opt] = &[
    opt("core-ttl", "SECONDS", "life of the core token, 60 to 86400 (default 1800)"),
    opt("worker-ttl", "SECONDS", "life of the worker token, 60 to 86400 (default 1800)"),
];

/// Options of `create-token`.
pub const CREATE_TOKEN: &[Opt] = &[
    opt("role", "ROLE", "core, worker or gateway; required"),
    opt("ttl", "SECONDS", "life of the token, 60 to 86400 (default 1800)"),
    opt("for-node", "ID", "admit this node only, even while it is alive: to replace it"),
];

/// Options of `delete-node`.
pub const DELETE_NODE: &[Opt] = &[opt("force", "", "even while replicas are placed there")];

/// Options of `events`.
pub const EVENTS: &[Opt] =
    &[opt("category", "NAME", "of this category only"), opt("limit", "COUNT", "at most so many, 1 to 1000 (default 50)")];

/// Options of `set-password`.
pub const SET_PASSWORD: &[Opt] = &[
    opt("new-password-file", "FILE", "file with the new password; - reads standard input"),
    opt("new-password", "TEXT", "the new password; others on this machine can see it [UPTIMEMESH_NEW_PASSWORD]"),
];

/// Seconds of a join token where nothing is said.
const TOKEN_TTL_S: i64 = 1800;
/// Events that are listed where nothing is said: a screen.
const EVENTS_SHOWN: i64 = 50;

pub fn bootstrap(args: &Args) -> Result<(), Failure> {
    let body = json!({
        "core_token_ttl_seconds": args.int("core-ttl", TOKEN_TTL_S),
        "worker_token_ttl_seconds": args.int("worker-ttl", TOKEN_TTL_S),
    });
    let api = signed_in(args)?;
    output::json(&api.post("/cluster/bootstrap", &body)?);
    Ok(())
}

pub fn create_token(args: &Args) -> Result<(), Failure> {
    let body = json!({"role": args.required("role"), "ttl_seconds": args.int("ttl", TOKEN_TTL_S), "node_id": args.get("for-node")});
    let api = signed_in(args)?;
    output::json(&api.post("/cluster/join-tokens", &body)?);
    Ok(())
}

pub fn join_tokens(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/cluster/join-tokens")?;
    listed(args, list, &["ID", "ROLE", "NODE", "EXPIRES", "USED"], &["id", "role", "node_id", "expires_at", "used_at"]);
    Ok(())
}

pub fn delete_token(args: &Args) -> Result<(), Failure> {
    let api = signed_in(args)?;
    api.delete(&format!("/cluster/join-tokens/{}", segment(args)))?;
    output::print(&format!("Took back {}.\n", output::ascii(&args.words[0])));
    Ok(())
}

pub fn nodes_status(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/cluster/leases")?;
    listed(
        args,
        list,
        &["NODE", "ROLE", "LEASE", "HEARTBEAT", "EXPIRES"],
        &["node_id", "roles", "lease_state", "heartbeat_at", "lease_expires_at"],
    );
    Ok(())
}

pub fn cordon(args: &Args) -> Result<(), Failure> {
    node_action(args, "cordon")
}

pub fn uncordon(args: &Args) -> Result<(), Failure> {
    node_action(args, "uncordon")
}

pub fn drain(args: &Args) -> Result<(), Failure> {
    node_action(args, "drain")
}

fn node_action(args: &Args, action: &str) -> Result<(), Failure> {
    let api = signed_in(args)?;
    output::json(&api.post(&format!("/nodes/{}/{action}", segment(args)), &json!({}))?);
    Ok(())
}

pub fn delete_node(args: &Args) -> Result<(), Failure> {
    let api = signed_in(args)?;
    let force = if args.has("force") { "?force=true" } else { "" };
    api.delete(&format!("/nodes/{}{force}", segment(args)))?;
    output::print(&format!("Removed {}.\n", output::ascii(&args.words[0])));
    Ok(())
}

pub fn events(args: &Args) -> Result<(), Failure> {
    let limit = args.int("limit", EVENTS_SHOWN);
    let category = args.get("category").map_or(String::new(), |c| format!("&category={}", encode(c)));
    let list = signed_in(args)?.get(&format!("/events?limit={limit}{category}"))?;
    listed(
        args,
        list.as_array().cloned().unwrap_or_default(),
        &["TIME", "LEVEL", "EVENT", "FIELDS"],
        &["created_at", "level", "name", "fields"],
    );
    Ok(())
}

pub fn set_password(args: &Args) -> Result<(), Failure> {
    let new = args.secret("new-password", "UPTIMEMESH_NEW_PASSWORD");
    let current = args.secret("password", "UPTIMEMESH_PASSWORD").unwrap_or(super::FIRST_PASSWORD.to_string());
    if new.is_none() {
        args.fault("the new password is missing: --new-password-file FILE".to_string());
    }
    let api = signed_in(args)?;
    api.post("/auth/password", &json!({"current_password": current, "new_password": new}))?;
    output::print("The password is changed; every session made before has ended.\n");
    Ok(())
}

fn listed(args: &Args, list: Vec<Value>, header: &[&str], keys: &[&str]) {
    if args.has("json") {
        output::json(&Value::Array(list));
    } else {
        let rows: Vec<Vec<String>> = list.iter().map(|object| keys.iter().map(|key| output::cell(object, key)).collect()).collect();
        output::table(header, &rows);
    }
}

/// The command's argument, as a segment of a path.
fn segment(args: &Args) -> String {
    args.words.first().map_or(String::new(), |word| encode(word))
}
