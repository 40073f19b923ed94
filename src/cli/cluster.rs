//! Commands of operators: tokens, leases, the password.

use super::args::{Args, Failure, Opt, opt};
use super::{encoded, listed, output, signed_in};
use serde_json::json;

/// Options of `bootstrap`.
pub const BOOTSTRAP: &[Opt] = &[
    opt("core-ttl", "SECONDS", "life of the core token, 60 to 86400 (default 1800)"),
    opt("worker-ttl", "SECONDS", "life of the worker token, 60 to 86400 (default 1800)"),
];

/// Options of `create-token`.
pub const CREATE_TOKEN: &[Opt] = &[
    opt("role", "ROLE", "core, worker or gateway; required"),
    opt("ttl", "SECONDS", "life of the token, 60 to 86400 (default 1800)"),
    opt("join-string", "", "print the join string only"),
    opt("for-node", "ID", "admit this node only, even while it is alive: to replace it"),
    opt("mesh-ip", "ADDRESS", "address in the mesh that the node's certificate may have; one that only the node says is left out"),
];

/// Options of `set-password`, beside the new password.
pub const SET_PASSWORD: &[Opt] =
    &[opt("setup-code", "CODE", "where it is the first password and the server is another machine: what its start printed")];

/// Seconds of a join token where nothing is said.
const TOKEN_TTL_S: i64 = 1800;
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

pub fn join_tokens(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/cluster/join-tokens")?;
    listed(args, list, &["ID", "ROLE", "NODE", "EXPIRES", "USED"], &["id", "role", "node_id", "expires_at", "used_at"]);
    Ok(())
}

pub fn delete_token(args: &Args) -> Result<(), Failure> {
    let api = signed_in(args)?;
    api.delete(&format!("/cluster/join-tokens/{}", encoded(args.word(0))))?;
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

pub fn set_password(args: &Args) -> Result<(), Failure> {
    let new = args.secret("new-password", "UPTIMEMESH_NEW_PASSWORD");
    let current = args.secret("password", "UPTIMEMESH_PASSWORD").unwrap_or(super::FIRST_PASSWORD.to_string());
    if new.is_none() {
        args.fault("the new password is missing: --new-password-file FILE".to_string());
    }
    let mut api = signed_in(args)?;
    let answer =
        api.post("/auth/password", &json!({"current_password": current, "new_password": new, "setup_code": args.get("setup-code")}))?;
    api.adopt(&answer);
    output::print("The password is changed; every session made before has ended.\n");
    Ok(())
}
