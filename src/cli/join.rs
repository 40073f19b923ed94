//! `join`: enrols this machine as a node.

use super::agent::{IDENTITY, node_as_owner};
use super::answers::warnings;
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{api_url, authorities};
use super::output;
use crate::agent::beat::{self, Joining};
use crate::client::{Api, Trust};
use crate::model::join_string::JoinString;
use crate::model::leases::LEASE_TTL_S;
use serde_json::Value;

/// Options of `join`.
const JOIN: &[Opt] = &[
    opt("join-file", "FILE", "file with the join string; - reads standard input; as an argument others can see it [UPTIMEMESH_JOIN]"),
    opt("token-file", "FILE", "file with the join token; - reads standard input"),
    opt("token", "TEXT", "the join token; others on this machine can see it [UPTIMEMESH_TOKEN]"),
    opt("role", "ROLE", "core, worker or gateway, as the token says; a join string says it itself"),
    opt("name", "NAME", "the node's name (default: its id)"),
    opt("mesh-ip", "ADDRESS", "its address inside the mesh"),
    opt("api-endpoint", "URL", "where its own API is reached"),
    opt("lease-ttl", "SECONDS", "life of the first lease, 10 to 300 (default 45)"),
    opt("label", "KEY=VALUE...", "labels; may be given again"),
];

/// Whom a machine is to join, and with what.
struct Invitation {
    urls: Vec<String>,
    trust: Option<Trust>,
    token: String,
    role: String,
}

/// Every command of this file.
pub const COMMANDS: &[Command] =
    &[command("join", "[JOIN-STRING]", "Enrol this machine as a node.", &[JOIN, IDENTITY], join)
        .example("uptimemesh join --join-file join")];

/// The join string on the command line, in a file, on standard input or in the environment; `None` where V1's options are used.
fn invitation(args: &Args) -> Option<Invitation> {
    let text = args.words.first().cloned().or_else(|| args.token("join", "UPTIMEMESH_JOIN"))?;
    if args.get("token").is_some() || args.get("token-file").is_some() || args.get("api-url").is_some() {
        args.fault("a join string says where and with which token to join: leave --api-url, --token and --token-file out".to_string());
    }
    match JoinString::parse(&text) {
        Ok(join) => {
            if args.get("role").is_some_and(|role| role != join.role) {
                args.fault(format!("--role must be {}, as the join string says, or be left out", join.role));
            }
            Some(Invitation { urls: join.urls(), trust: Some(Trust::Pinned(join.authority)), token: join.token, role: join.role })
        }
        Err(why) => {
            args.fault(why.to_string());
            Some(Invitation { urls: Vec::new(), trust: None, token: String::new(), role: String::new() })
        }
    }
}

/// V1's way: a URL and a token.
fn v1_invitation(args: &Args) -> Invitation {
    let token = args.token("token", "UPTIMEMESH_TOKEN").unwrap_or_else(|| {
        args.fault("the join string is missing: uptimemesh join STRING, --join-file FILE, or UPTIMEMESH_JOIN".to_string());
        String::new()
    });
    Invitation { urls: vec![api_url(args)], trust: authorities(args), token, role: args.required("role").to_string() }
}

fn join(args: &Args) -> Result<(), Failure> {
    // What the command line names is read first: it may be root's alone.
    let pinned = invitation(args);
    let is_pinned = pinned.is_some();
    let invitation = match pinned {
        Some(invitation) => invitation,
        None => v1_invitation(args),
    };
    let (node_id, dir) = node_as_owner(args)?;
    let ask = Joining {
        token: &invitation.token,
        node_id: &node_id,
        name: args.get("name").unwrap_or(&node_id),
        role: &invitation.role,
        mesh_ip: args.get("mesh-ip"),
        api_endpoint: args.get("api-endpoint"),
        labels: labels(args),
        lease_ttl_s: args.int("lease-ttl", LEASE_TTL_S),
    };
    args.finish()?;
    let secure = invitation.urls.iter().all(|url| url.starts_with("https://"));
    let api = match invitation.trust {
        Some(trust) => Api::with(&invitation.urls, Some(trust), None),
        None => Api::new(&invitation.urls[0]),
    };
    let api = api.map_err(|why| Failure::Usage(vec![why]))?;
    eprintln!("Joining {} as {node_id} ...", invitation.urls.join(" or "));
    let answer = beat::join(&api, &dir, &ask)?;
    output::json(&answer);
    if let Some(warning) = replaced(&answer) {
        eprintln!("{warning}");
    }
    warnings(&answer);
    eprintln!("Joined {} as {node_id}; the identity is in {}.", api.url(), dir.display());
    if !is_pinned {
        let how = if secure { "checked by public authorities or --ca-file" } else { "not encrypted" };
        eprintln!(
            "The token went to {} {how}. A join string (join_string in the answer of create-token) pins the cluster's own authority.",
            api.url()
        );
    }
    eprintln!("Now keep its lease alive: uptimemesh agent --node-id {node_id}");
    Ok(())
}

/// Whose place a join has taken, as a warning.
pub(super) fn replaced(answer: &Value) -> Option<String> {
    let node = answer["replaced"].as_object()?;
    let text = |key: &str| node.get(key).and_then(Value::as_str).unwrap_or("never");
    let who =
        if node["same_key"] == true { "has the same key: it was this machine, or one that it is a copy of" } else { "has another key" };
    Some(output::ascii(&format!(
        "warning: this takes the place of the node {} (named {}, last seen {}), which {who}. Its identity is void now; if it still runs, give it another id.",
        text("node_id"),
        text("name"),
        text("last_seen_at"),
    )))
}

fn labels(args: &Args) -> Value {
    let labels = args.pairs("label");
    if labels.is_empty() { Value::Null } else { Value::Object(labels) }
}
