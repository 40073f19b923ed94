//! `join`: enrols this machine as a node.

use super::agent::{IDENTITY, agent_config, named, node_as_owner, work};
use super::answers::warnings;
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{api_url, authorities, said_api_url};
use super::{output, units};
use crate::agent::identity::Identity;
use crate::agent::link::{AgentError, enrol};
use crate::client::{Answered, Api, CallError, Trust};
use crate::model::ids::NodeId;
use crate::model::join_string::JoinString;
use crate::model::join_tokens::JoinRole;
use crate::model::leases::LEASE_TTL_S;
use crate::model::node_api::{Enrolment, JoinRequest, Replaced};
use crate::sys::run;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::Path;

/// Shell that runs the installer.
const SHELL: &str = "/bin/sh";

/// Options of `join`.
const JOIN: &[Opt] = &[
    opt(
        "join-file",
        "FILE",
        "file with the join string; - reads standard input; others can see one that is an argument, so it is for one \
            machine and soon ends [UPTIMEMESH_JOIN]",
    ),
    opt("run", "", "then keep this node's lease alive, as the command agent, until it is stopped"),
    opt("install", "", "join as a service that starts with the machine; needs root"),
    opt("token-file", "FILE", "file with the join token; - reads standard input"),
    opt("token", "TEXT", "the join token; others on this machine can see it [UPTIMEMESH_TOKEN]"),
    opt("role", "ROLE", "core, worker or gateway, as the token says; a join string says it itself"),
    opt("name", "NAME", "the node's name (default: its id)"),
    opt("mesh-ip", "ADDRESS", "its address inside the mesh"),
    opt("api-endpoint", "URL", "where its own API is reached"),
    opt("lease-ttl", "SECONDS", "life of the first lease, 10 to 300 (default 45)"),
    opt("label", "KEY=VALUE...", "labels; may be given again"),
];

/// Destination of a join, and its credentials.
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

/// The join string on the command line, in a file, on standard input or in the environment; `None` where V1's options
/// are used.
fn join_string(args: &Args) -> Option<String> {
    args.words.first().cloned().or_else(|| args.token("join", "UPTIMEMESH_JOIN"))
}

/// Reads a join string.
fn invitation(args: &Args, text: &str) -> Invitation {
    if args.get("token").is_some() || args.get("token-file").is_some() || args.get("api-url").is_some() {
        args.fault(
            "a join string says where and with which token to join: leave --api-url, --token and --token-file out"
                .to_string(),
        );
    }
    match JoinString::parse(text) {
        Ok(join) => {
            if args.get("role").is_some_and(|role| role != join.role) {
                args.fault(format!("--role must be {}, as the join string says, or be left out", join.role));
            }
            Invitation {
                urls: join.urls(),
                trust: Some(Trust::Pinned(vec![join.authority])),
                token: join.token,
                role: join.role,
            }
        }
        Err(why) => {
            args.fault(why.to_string());
            Invitation { urls: Vec::new(), trust: None, token: String::new(), role: String::new() }
        }
    }
}

/// V1's way: a URL and a token.
fn v1_invitation(args: &Args) -> Invitation {
    let token = args.token("token", "UPTIMEMESH_TOKEN").unwrap_or_else(|| {
        args.fault(
            "the join string is missing: uptimemesh join STRING, --join-file FILE, or UPTIMEMESH_JOIN".to_string(),
        );
        String::new()
    });
    Invitation { urls: vec![api_url(args)], trust: authorities(args), token, role: args.required("role").to_string() }
}

fn join(args: &Args) -> Result<(), Failure> {
    // What the command line names is read first: it may be root's alone.
    let text = join_string(args);
    let invitation = text.as_deref().map_or_else(|| v1_invitation(args), |text| invitation(args, text));
    if args.has("install") {
        return install(args, text.as_deref());
    }
    let (node_id, dir) = node_as_owner(args)?;
    let config = args.has("run").then(|| agent_config(args, &dir));
    let request = JoinRequest {
        token: invitation.token,
        node_id: node_id.clone(),
        name: args.get("name").unwrap_or(node_id.as_str()).to_string(),
        role: role(args, &invitation.role),
        csr_pem: String::new(),
        mesh_ip: args.get("mesh-ip").map(|text| text.to_string().into()),
        api_endpoint: args.get("api-endpoint").map(str::to_string),
        labels: labels(args),
        lease_ttl_seconds: args.int("lease-ttl", LEASE_TTL_S),
    };
    args.finish()?;
    let secure = invitation.urls.iter().all(|url| url.starts_with("https://"));
    let api = match invitation.trust {
        Some(trust) => Api::with(&invitation.urls, Some(trust), None),
        None => Api::new(&invitation.urls[0]),
    };
    let api = api.map_err(|why| Failure::Usage(vec![why]))?;
    output::remark(&format!("Joining {} as {node_id} ...", invitation.urls.join(" or ")));
    let was_node = Identity::exists(&dir);
    let answer = enrol::join(&api, &dir, &request).map_err(|e| refusal(e, &node_id, was_node))?;
    report(&answer, &request, api.url(), &dir, config.is_some());
    if text.is_none() {
        let how = if secure { "verified by public authorities or --ca-file" } else { "unencrypted" };
        output::remark(&format!(
            "The connection to {} was {how}. A join string verifies the cluster's own authority: uptimemesh token \
                create --join-string.",
            api.url()
        ));
    }
    let Some(config) = config else { return Ok(()) };
    // A join string names the control plane, whatever the environment says.
    let url = if text.is_some() { None } else { said_api_url(args) };
    work(args, url, &node_id, &dir, &config)
}

/// Says what a join did: on a terminal in three lines, elsewhere by the server's answer.
fn report(answer: &Answered<Enrolment>, request: &JoinRequest, url: &str, dir: &Path, runs: bool) {
    let node_id = &request.node_id;
    let dir = dir.display();
    let is_terminal = io::stdout().is_terminal();
    if is_terminal {
        // With --run the agent says that it runs.
        let next = if runs { String::new() } else { format!("Next: uptimemesh agent --node-id {node_id}\n") };
        output::prose(&format!(
            "This machine is now the node {node_id} ({}) of the control plane at {url}.\n\
             Its identity is in {dir}; anyone who has that directory is this node.\n{next}",
            request.role.as_str()
        ));
    } else {
        output::json(&answer.whole);
    }
    if let Some(replaced) = &answer.known.replaced {
        output::remark(&warning_of(replaced));
    }
    warnings(&answer.whole);
    if !is_terminal {
        eprintln!("Joined {url} as {node_id}; the identity is in {dir}.");
    }
    if !is_terminal && !runs {
        eprintln!("Now keep its lease alive: uptimemesh agent --node-id {node_id}");
    }
}

/// A join that failed, with what to do next where the server refused it.
fn refusal(e: AgentError, node_id: &NodeId, was_node: bool) -> Failure {
    let AgentError::Call(CallError::Refused { status, .. }) = &e else { return e.into() };
    let next = match status {
        401 | 409 if was_node => {
            format!(
                "This machine is the node {node_id} already; its agent needs no other token: uptimemesh agent \
                    --node-id {node_id}"
            )
        }
        401 => "Create another join string: uptimemesh token create --role worker --join-string".to_string(),
        409 => format!("If this is another machine than the node {node_id}, give it an id of its own: --node-id ID"),
        _ => return e.into(),
    };
    Failure::Failed(format!("{e}\n{next}"))
}

/// Becomes the installer, which joins as the services' user and starts the agent as a service. The join string goes by
/// standard input.
fn install(args: &Args, join: Option<&str>) -> Result<(), Failure> {
    let not_handed_on =
        JOIN.iter().chain(IDENTITY).map(|o| o.name).filter(|name| !["join-file", "install", "node-id"].contains(name));
    not_handed_on.filter(|name| args.has(name)).for_each(|name| args.fault(format!("--install takes no --{name}")));
    let named = named(args);
    let Some(join) = join else {
        args.fault("--install needs a join string".to_string());
        return args.finish();
    };
    args.finish()?;
    let own = std::env::current_exe().map_err(|e| format!("this program's own file cannot be found: {e}"))?;
    let mut line: Vec<String> =
        ["-c", units::INSTALLER, "install.sh", "join", "--join-file", "-"].map(str::to_string).to_vec();
    line.push(format!("--bin={}", own.display()));
    line.extend(named.map(|id| format!("--node-id={id}")));
    Err(run::exec_with_input(SHELL, &line, join.as_bytes()).into())
}

/// The role of a new node.
fn role(args: &Args, word: &str) -> JoinRole {
    JoinRole::parse(word).unwrap_or_else(|| {
        if !word.is_empty() {
            args.fault(format!("--role must be one of {}, not {word:?}", JoinRole::WORDS.join(", ")));
        }
        JoinRole::Worker
    })
}

/// A warning that a join has taken the place of this node.
pub(super) fn warning_of(node: &Replaced) -> String {
    let who = if node.same_key {
        "has the same key: it was this machine, or one that it is a copy of"
    } else {
        "has another key"
    };
    output::ascii(&format!(
        "warning: this takes the place of the node {} (named {}, last seen {}), which {who}. \
         Its identity is void now; if it still runs, give it another id.",
        node.node_id,
        node.name,
        node.last_seen_at.map_or("never".to_string(), |at| output::moment(&at.to_string())),
    ))
}

fn labels(args: &Args) -> BTreeMap<String, String> {
    let pairs = args.pairs("label").into_iter();
    pairs.filter_map(|(key, value)| Some((key, value.as_str()?.to_string()))).collect()
}
