//! Commands about join tokens.

use super::answers::{encoded, listed_at, remove, shown};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output::{self, Kind, Table, column, made};
use super::watch::WATCH;
use crate::clock::{self, Timestamp};
use serde_json::{Value, json};

const JOIN_TOKENS: Table = Table {
    noun: "join tokens",
    id: "id",
    columns: &[
        column("ID", "id", Kind::Id),
        column("ROLE", "role", Kind::Text),
        made("STATE", Kind::State, state),
        column("EXPIRES", "expires_at", Kind::Time),
        column("NODE", "node_id", Kind::Id).sparse(),
        column("USED", "used_at", Kind::Time).sparse(),
        column("USED BY", "used_by", Kind::Id).sparse().spare(),
        column("MESH IP", "mesh_ip", Kind::Text).sparse().wide(),
        column("AGE", "created_at", Kind::Time).wide(),
    ],
    tabs: &[("ID", "id"), ("ROLE", "role"), ("NODE", "node_id"), ("EXPIRES", "expires_at"), ("USED", "used_at")],
};

/// Options of `bootstrap`.
const BOOTSTRAP: &[Opt] = &[
    opt("core-ttl", "SECONDS", "life of the core token, 60 to 86400 (default 1800)"),
    opt("worker-ttl", "SECONDS", "life of the worker token, 60 to 86400 (default 1800)"),
];

/// Options of `token create`.
const CREATE: &[Opt] = &[
    opt("role", "ROLE", "core, worker or gateway; required"),
    opt("ttl", "SECONDS", "life of the token, 60 to 86400 (default 1800)"),
    opt("join-string", "", "print the join string only"),
    opt("for-node", "ID", "admit this node only, even while it is alive: to replace it"),
    opt(
        "mesh-ip",
        "ADDRESS",
        "address in the mesh that the node's certificate may have; one that only the node says is left out",
    ),
];

const PATH: &str = "/cluster/join-tokens";
/// Default life of a join token, in seconds.
const TOKEN_TTL_S: i64 = 1800;
/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("token create", "", "Create a join token for one machine.", &[CREATE, SIGN_IN], create)
        .formerly(&["create-token"])
        .example("uptimemesh token create --role worker --join-string > join"),
    command("token list", "", "List join tokens.", &[WATCH, SIGN_IN], list).formerly(&["join-tokens"]),
    command("token show", "ID", "Print a join token, without its secret.", &[SIGN_IN], show),
    command("token revoke", "ID", "Revoke a join token.", &[SIGN_IN], revoke).formerly(&["delete-token"]),
    command(
        "bootstrap",
        "",
        "Create the certificate authority, a core and a worker join token.",
        &[BOOTSTRAP, SIGN_IN],
        bootstrap,
    ),
];

fn bootstrap(args: &Args) -> Result<(), Failure> {
    let body = json!({
        "core_token_ttl_seconds": args.int("core-ttl", TOKEN_TTL_S),
        "worker_token_ttl_seconds": args.int("worker-ttl", TOKEN_TTL_S),
    });
    let api = signed_in(args)?;
    output::json(&api.post("/cluster/bootstrap", &body)?);
    Ok(())
}

fn create(args: &Args) -> Result<(), Failure> {
    let body = json!({
        "role": args.required("role"), "ttl_seconds": args.int("ttl", TOKEN_TTL_S),
        "node_id": args.get("for-node"), "mesh_ip": args.get("mesh-ip"),
    });
    let api = signed_in(args)?;
    let made = api.post(PATH, &body)?;
    match (made["join_string"].as_str(), args.has("join-string")) {
        (Some(join), true) => output::print(&format!("{join}\n")),
        (None, true) => {
            let why = "this server speaks no TLS itself (TLS is off), so it has no join string: use --api-url and \
                --token-file";
            return Err(Failure::Failed(why.to_string()));
        }
        (_, false) => output::secret(args, &made, "token"),
    }
    if made["join_string"].is_string() {
        output::note(
            args,
            "On the other machine, with the join string in a file: uptimemesh join --join-file FILE --run",
        );
    }
    Ok(())
}

fn list(args: &Args) -> Result<(), Failure> {
    listed_at(args, &JOIN_TOKENS, PATH)
}

/// Prints one of the list: the API has no route for one.
fn show(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list(PATH)?;
    match list.iter().find(|token| token["id"] == args.word(0)) {
        Some(token) => shown(args, token),
        None => {
            return Err(Failure::Failed(format!(
                "there is no join token {}: see `uptimemesh token list`",
                args.word(0)
            )));
        }
    }
    Ok(())
}

fn revoke(args: &Args) -> Result<(), Failure> {
    remove(args, &format!("{PATH}/{}", encoded(args.word(0))))
}

/// State of a token: `open` while it still admits a machine.
fn state(token: &Value) -> Value {
    let is_over = token["expires_at"].as_str().and_then(Timestamp::parse).is_some_and(|end| end < clock::now());
    json!(match token["used_at"] {
        Value::String(_) => "used",
        _ if is_over => "expired",
        _ => "open",
    })
}
