//! Commands about join tokens.

use super::answers::{encoded, listed};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output;
use serde_json::json;

/// Options of `bootstrap`.
const BOOTSTRAP: &[Opt] = &[
    opt("core-ttl", "SECONDS", "life of the core token, 60 to 86400 (default 1800)"),
    opt("worker-ttl", "SECONDS", "life of the worker token, 60 to 86400 (default 1800)"),
];

/// Options of `create-token`.
const CREATE: &[Opt] = &[
    opt("role", "ROLE", "core, worker or gateway; required"),
    opt("ttl", "SECONDS", "life of the token, 60 to 86400 (default 1800)"),
    opt("join-string", "", "print the join string only"),
    opt("for-node", "ID", "admit this node only, even while it is alive: to replace it"),
    opt("mesh-ip", "ADDRESS", "address in the mesh that the node's certificate may have; one that only the node says is left out"),
];

/// Seconds of a join token where nothing is said.
const TOKEN_TTL_S: i64 = 1800;
/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("bootstrap", "", "Make the certificate authority and a core and a worker join token.", &[BOOTSTRAP, SIGN_IN], bootstrap),
    command("create-token", "", "Make a join token for one machine.", &[CREATE, SIGN_IN], create),
    command("join-tokens", "", "List join tokens.", &[SIGN_IN], list),
    command("delete-token", "ID", "Take a join token back.", &[SIGN_IN], delete),
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
    let body = json!({"role": args.required("role"), "ttl_seconds": args.int("ttl", TOKEN_TTL_S), "node_id": args.get("for-node"), "mesh_ip": args.get("mesh-ip")});
    let api = signed_in(args)?;
    let made = api.post("/cluster/join-tokens", &body)?;
    match (made["join_string"].as_str(), args.has("join-string")) {
        (Some(join), true) => output::print(&format!("{join}\n")),
        (None, true) => {
            let why = "this server speaks no TLS itself (TLS is off), so it has no join string: use --api-url and --token-file";
            return Err(Failure::Failed(why.to_string()));
        }
        (_, false) => output::json(&made),
    }
    if made["join_string"].is_string() {
        eprintln!("On the other machine, with the join string in a file: uptimemesh join --join-file FILE");
    }
    Ok(())
}

fn list(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/cluster/join-tokens")?;
    listed(args, list, &["ID", "ROLE", "NODE", "EXPIRES", "USED"], &["id", "role", "node_id", "expires_at", "used_at"]);
    Ok(())
}

fn delete(args: &Args) -> Result<(), Failure> {
    let api = signed_in(args)?;
    api.delete(&format!("/cluster/join-tokens/{}", encoded(args.word(0))))?;
    output::print(&format!("Took back {}.\n", output::ascii(&args.words[0])));
    Ok(())
}
