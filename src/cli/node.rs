//! Commands that run on a node: join, agent, heartbeat.

use super::args::{Args, Failure, Opt, opt};
use super::server::FOREVER;
use super::{api_url, authorities, output, said_api_url};
use crate::agent::config::{AGENT_SETTINGS, AgentConfig, lease_ttl};
use crate::agent::identity::{self, Identity};
use crate::agent::link::recover::REPLAYS_MAX;
use crate::agent::link::server_clock::ServerClock;
use crate::agent::link::{AgentError, ControlPlane, beat, enrol};
use crate::agent::{Agent, report};
use crate::client::{Answered, Api, CallError, Trust};
use crate::error::Chain;
use crate::logger;
use crate::model::ids::is_id;
use crate::model::join_string::JoinString;
use crate::model::join_tokens::JoinRole;
use crate::model::leases::LEASE_TTL_S;
use crate::model::node_api::{JoinRequest, Reason, Replaced};
use crate::sys::{host, notify, owner, signals};
use crate::thread::Stop;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a machine's data are, unless something else is said.
const DATA_DIR: &str = "data";

/// Which node, and where its identity is.
pub const IDENTITY: &[Opt] = &[
    opt("node-id", "ID", "the node (default: the one that has an identity here, or this machine's host name) [UPTIMEMESH_NODE_ID]"),
    opt(
        "identity-dir",
        "DIR",
        "where identities are kept, each in <node-id>/ (default DATA_DIR/identities, DATA_DIR from the environment or data)",
    ),
];

/// Options of `join`.
pub const JOIN: &[Opt] = &[
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

/// Options of `agent`.
pub const AGENT: &[Opt] = &{
    let mut options = [opt("", "", ""); AGENT_SETTINGS.len()];
    let mut at = 0;
    while at < options.len() {
        options[at] = opt(AGENT_SETTINGS[at].option, AGENT_SETTINGS[at].value, AGENT_SETTINGS[at].help);
        at += 1;
    }
    options
};

/// Options of `heartbeat`.
pub const HEARTBEAT: &[Opt] = &[
    opt("lease-token", "TEXT", "a lease token other than the identity's [UPTIMEMESH_LEASE_TOKEN]"),
    opt("ttl", "SECONDS", "life of the lease, 10 to 300 (default 45)"),
    opt("status-json", "JSON", "an object to report (default: this machine's facts)"),
];

/// An option's value, or the environment's.
fn said(args: &Args, name: &str, env: &str) -> Option<String> {
    args.get(name).map(str::to_string).or_else(|| std::env::var(env).ok().filter(|v| !v.is_empty()))
}

/// The node that is meant, and the directory of its identity: the one that the command line or the environment names, or else the one that has
/// an identity here, whatever this machine is called by now; where there is none, this machine's name, or what stands for one without.
pub(super) fn node(args: &Args, data_dir: &Path, nameless: &str) -> (String, PathBuf) {
    let all = args.get("identity-dir").map_or_else(|| data_dir.join("identities"), PathBuf::from);
    let named = named(args);
    let mut here = if named.is_some() { Vec::new() } else { identity::all_in(&all) };
    if here.len() > 1
        && let Some(at) = of_several(&here, !nameless.is_empty())
    {
        let only = here.swap_remove(at);
        eprintln!("note: several nodes have an identity in {}; this goes on as {} (--node-id says another)", all.display(), only.0);
        return only;
    }
    if here.len() > 1 {
        let ids: Vec<&str> = here.iter().map(|(id, _)| id.as_str()).collect();
        args.fault(format!("several nodes have an identity in {}: say which one is meant by --node-id: {}", all.display(), ids.join(", ")));
    }
    if let Some(only) = here.pop() {
        return only;
    }
    let id = named.or_else(host::name).unwrap_or(nameless.to_string());
    if id.is_empty() {
        args.fault("this machine has no name that can be a node's id: give one by --node-id".to_string());
    }
    let dir = identity::place(&all, &id);
    (id, dir)
}

/// Which of several identities is meant: the one of this machine's name, as version 2.0.0 chose. A control plane must start in any case: each
/// container that 2.0.0 ran on a volume has left an identity there, and the one that was used last is the machine's.
fn of_several(here: &[(String, PathBuf)], any: bool) -> Option<usize> {
    let name = host::name();
    let named = here.iter().position(|(id, _)| Some(id) == name.as_ref());
    named.or_else(|| (0..here.len()).filter(|_| any).max_by_key(|at| identity::used_at(&here[*at].1)))
}

/// The node that the command line or the environment names.
pub(super) fn named(args: &Args) -> Option<String> {
    let id = said(args, "node-id", "UPTIMEMESH_NODE_ID")?;
    if !is_id(&id) {
        args.fault("--node-id must be 1 to 64 characters of A-Z a-z 0-9 . _ : -, the first a letter or digit".to_string());
    }
    Some(id)
}

/// The node that is meant, looked for by the owner of the directory that identities are in: as root, this process is that owner from here on,
/// because whoever may rename there could lead root anywhere.
fn node_as_owner(args: &Args) -> Result<(String, PathBuf), Failure> {
    let data_dir = data_dir();
    owner::become_owner_of(args.get("identity-dir").map_or(&data_dir, Path::new))?;
    let (node_id, dir) = node(args, &data_dir, "");
    owner::become_owner_of(&dir)?;
    Ok((node_id, dir))
}

/// The data directory, by the environment.
fn data_dir() -> PathBuf {
    PathBuf::from(std::env::var("DATA_DIR").ok().filter(|v| !v.is_empty()).unwrap_or(DATA_DIR.to_string()))
}

/// Whom a machine is to join, and with what.
struct Invitation {
    urls: Vec<String>,
    trust: Option<Trust>,
    token: String,
    role: String,
}

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

pub fn join(args: &Args) -> Result<(), Failure> {
    // What the command line names is read first: it may be root's alone.
    let pinned = invitation(args);
    let is_pinned = pinned.is_some();
    let invitation = match pinned {
        Some(invitation) => invitation,
        None => v1_invitation(args),
    };
    let (node_id, dir) = node_as_owner(args)?;
    let request = JoinRequest {
        token: invitation.token,
        name: args.get("name").unwrap_or(&node_id).to_string(),
        role: role(args, &invitation.role),
        csr_pem: String::new(),
        mesh_ip: args.get("mesh-ip").map(str::to_string),
        api_endpoint: args.get("api-endpoint").map(str::to_string),
        labels: labels(args),
        lease_ttl_seconds: args.int("lease-ttl", LEASE_TTL_S),
        node_id: node_id.clone(),
    };
    args.finish()?;
    let secure = invitation.urls.iter().all(|url| url.starts_with("https://"));
    let api = match invitation.trust {
        Some(trust) => Api::with(&invitation.urls, Some(trust), None),
        None => Api::new(&invitation.urls[0]),
    };
    let api = api.map_err(|why| Failure::Usage(vec![why]))?;
    eprintln!("JoinRequest {} as {node_id} ...", invitation.urls.join(" or "));
    let answer = enrol::join(&api, &dir, request)?;
    output::json(&answer.whole);
    if let Some(replaced) = &answer.known.replaced {
        eprintln!("{}", warning_of(replaced));
    }
    super::warnings(&answer.whole);
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
    let who = if node.same_key { "has the same key: it was this machine, or one that it is a copy of" } else { "has another key" };
    output::ascii(&format!(
        "warning: this takes the place of the node {} (named {}, last seen {}), which {who}. Its identity is void now; if it still runs, give it another id.",
        node.node_id,
        node.name,
        node.last_seen_at.map_or("never".to_string(), |at| at.to_string()),
    ))
}

/// How this node reaches its control plane: as the command line or the environment says, or as it was when it joined.
pub(super) fn control_plane(args: &Args, dir: &Path) -> Result<ControlPlane, Failure> {
    let kept = Identity::urls(dir)?;
    let is_said = said_api_url(args).is_some() || kept.is_empty();
    let urls = if is_said { vec![api_url(args)] } else { kept };
    let authorities = match authorities(args) {
        Some(Trust::Authorities(pem)) => Some(pem),
        _ => None,
    };
    args.finish()?;
    Ok(ControlPlane { follows: !is_said && authorities.is_none(), urls, authorities })
}

fn labels(args: &Args) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for label in args.all("label") {
        match label.split_once('=') {
            Some((key, value)) if !key.is_empty() => drop(labels.insert(key.to_string(), value.to_string())),
            _ => args.fault(format!("--label must be KEY=VALUE, not {label:?}")),
        }
    }
    labels
}

pub fn agent(args: &Args) -> Result<(), Failure> {
    let (node_id, dir) = node_as_owner(args)?;
    // Identities are in `identities` of the data directory.
    let data_dir = dir.ancestors().nth(2).unwrap_or(Path::new(""));
    let (config, faults) = AgentConfig::read(data_dir, |setting| said(args, setting.option, setting.variable));
    faults.into_iter().for_each(|fault| args.fault(fault));
    let control_plane = control_plane(args, &dir)?;
    logger::init(config.log_level, config.log_file.clone())?;
    let identity = Identity::load(&dir, &node_id)?;
    let stop = Stop::default();
    signals::listen(&stop)?;
    let agent = Agent::new(&config, control_plane, identity)?.start()?;
    // Whether the control plane can be reached now is not what a machine's start should wait for.
    notify::ready();
    while !stop.wait(FOREVER) {}
    notify::stopping();
    agent.stop()?;
    logger::flush();
    Ok(())
}

pub fn heartbeat(args: &Args) -> Result<(), Failure> {
    let (node_id, dir) = node_as_owner(args)?;
    let ttl_s = args.get("ttl").map_or(Ok(LEASE_TTL_S), lease_ttl);
    let ttl_s = ttl_s.unwrap_or_else(|why| {
        args.fault(why);
        LEASE_TTL_S
    });
    let status = args.get("status-json").map_or_else(
        || Value::Object(report::healthy(host::facts(&dir, host::DISK_TIME))).to_string(),
        |json| json.trim().trim_start_matches('\u{feff}').to_string(),
    );
    if !serde_json::from_str::<Value>(&status).is_ok_and(|v| v.is_object()) {
        args.fault("--status-json must be a JSON object".to_string());
    }
    let control_plane = control_plane(args, &dir)?;
    let mut identity = Identity::load(&dir, &node_id)?;
    let mut api = control_plane.api(&identity)?;
    if let Some(token) = args.token("lease-token", "UPTIMEMESH_LEASE_TOKEN") {
        identity.lease_token = token;
    }
    let mut clock = ServerClock::default();
    let mut beat = || beat::deliver(&mut api, &mut identity, &mut clock, ttl_s, &status, false);
    let mut answer = beat();
    for _ in 1..REPLAYS_MAX {
        match &answer {
            // The agent, or this command, has signed in the same second.
            Err(e) if e.reason() == Some(&Reason::Replayed) => answer = beat(),
            _ => break,
        }
    }
    if let Err(AgentError::Call(CallError::Refused { reason: Some(Reason::ClockSkew), server_time, .. })) = &answer
        && clock.learn(*server_time)
    {
        eprintln!("warning: this machine's clock is {} s off; the heartbeat is signed with the server's time", clock.offset_s().abs());
        clock.forget_signed();
        answer = beat::deliver(&mut api, &mut identity, &mut clock, ttl_s, &status, false);
    }
    let Answered { known, whole: mut answer } = answer?;
    let unwritten = |e| eprintln!("warning: the heartbeat was accepted, and what came with it cannot be written down: {}", Chain(&e));
    identity.write_down().unwrap_or_else(unwritten);
    if known.status_stored == Some(false) {
        eprintln!("warning: the lease is renewed, and the control plane cannot write the status yet: send it again later");
    }
    if known.renew_identity {
        // The heartbeat was accepted, whatever becomes of this; the next one asks again.
        match enrol::renew(&api, &mut identity, clock.sign_at()) {
            Ok(()) => {
                identity.write_down().unwrap_or_else(unwritten);
                eprintln!("The cluster has another authority to trust; this node has renewed its identity.");
            }
            Err(e) => eprintln!("warning: the cluster has another authority to trust, and this node could not fetch it yet: {e}"),
        }
    }
    // The token is in its file by now, or that was told, and is nobody's business on a screen.
    if let Some(fields) = answer.as_object_mut()
        && fields.contains_key("lease_token")
    {
        fields.insert("lease_token".into(), json!("(renewed)"));
    }
    output::json(&answer);
    Ok(())
}
