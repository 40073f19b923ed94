//! Commands that run on a node: agent, heartbeat.

use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{API_URL, authorities, said_api_url, variable};
use super::console::Console;
use super::output;
use crate::agent::config::{AGENT_SETTINGS, AgentConfig, AgentSetting, lease_ttl};
use crate::agent::identity::{self, Identity};
use crate::agent::link::recover::REPLAYS_MAX;
use crate::agent::link::server_clock::ServerClock;
use crate::agent::link::{AgentError, ControlPlane, beat, enrol};
use crate::agent::{Agent, report, start_runner};
use crate::client::{Answered, CallError, Trust};
use crate::error::Chain;
use crate::logger;
use crate::model::ids::NodeId;
use crate::model::leases::LEASE_TTL_S;
use crate::model::node_api::Reason;
use crate::sys::{host, notify, owner, signals};
use crate::thread::Stop;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Default data directory of a machine.
const DATA_DIR: &str = "data";

/// Options that select a node and its identity.
pub const IDENTITY: &[Opt] = &[
    opt(
        "node-id",
        "ID",
        "the node (default: the one that has an identity here, or this machine's host name) [UPTIMEMESH_NODE_ID]",
    ),
    opt(
        "identity-dir",
        "DIR",
        "where identities are kept, each in <node-id>/ (default DATA_DIR/identities, DATA_DIR from the environment or \
            data)",
    ),
];

/// Options of `agent`.
const AGENT: &[Opt] = &{
    let mut options = [opt("", "", ""); AGENT_SETTINGS.len()];
    let mut at = 0;
    while at < options.len() {
        options[at] = opt(AGENT_SETTINGS[at].option, AGENT_SETTINGS[at].value, AGENT_SETTINGS[at].help);
        at += 1;
    }
    options
};

/// Options of `heartbeat`.
const HEARTBEAT: &[Opt] = &[
    opt("lease-token", "TEXT", "a lease token other than the identity's [UPTIMEMESH_LEASE_TOKEN]"),
    opt("ttl", "SECONDS", "life of the lease, 10 to 300 (default 45)"),
    opt("status-json", "JSON", "an object to report (default: this machine's facts)"),
];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("agent", "", "Keep this node's lease alive, until it is stopped.", &[AGENT, IDENTITY], agent),
    command("heartbeat", "", "Send one heartbeat.", &[HEARTBEAT, IDENTITY], heartbeat),
];

/// An option's value, or the environment's.
pub(super) fn said(args: &Args, name: &str, env: &str) -> Option<String> {
    args.get(name).map(str::to_string).or_else(|| std::env::var(env).ok().filter(|v| !v.is_empty()))
}

/// The node that is meant, and the directory of its identity: the one that the command line or the environment names,
/// or else the one that has an identity here, whatever this machine is called by now; where there is none, this
/// machine's name, or what stands for one without.
pub(super) fn node(args: &Args, data_dir: &Path, nameless: &str) -> (NodeId, PathBuf) {
    let all = args.get("identity-dir").map_or_else(|| data_dir.join("identities"), PathBuf::from);
    let named = named(args);
    let mut here = if named.is_some() { Vec::new() } else { identity::all_in(&all) };
    if here.len() > 1
        && let Some(at) = of_several(&here, !nameless.is_empty())
    {
        let only = here.swap_remove(at);
        eprintln!(
            "note: several nodes have an identity in {}; continuing as {} (--node-id chooses another)",
            all.display(),
            only.0
        );
        return only;
    }
    if here.len() > 1 {
        let ids: Vec<&str> = here.iter().map(|(id, _)| id.as_str()).collect();
        args.fault(format!(
            "several nodes have an identity in {}: say which one is meant by --node-id: {}",
            all.display(),
            ids.join(", ")
        ));
    }
    if let Some(only) = here.pop() {
        return only;
    }
    let id = named.or_else(host::name).or_else(|| nameless.parse().ok()).unwrap_or_else(|| {
        args.fault("this machine has no name that can be a node's id: give one by --node-id".to_string());
        NodeId::default()
    });
    let dir = identity::place(&all, &id);
    (id, dir)
}

/// Chooses among several identities the one of this machine's name, as version 2.0.0 did. A control plane must start in
/// any case: each container that 2.0.0 ran on a volume has left an identity there, and the one that was used last is
/// the machine's.
fn of_several(here: &[(NodeId, PathBuf)], any: bool) -> Option<usize> {
    let name = host::name();
    let named = here.iter().position(|(id, _)| Some(id) == name.as_ref());
    named.or_else(|| (0..here.len()).filter(|_| any).max_by_key(|at| identity::used_at(&here[*at].1)))
}

/// The node that the command line or the environment names.
pub(super) fn named(args: &Args) -> Option<NodeId> {
    let id = said(args, "node-id", "UPTIMEMESH_NODE_ID")?;
    Some(id.parse().unwrap_or_else(|_| {
        args.fault(
            "--node-id must be 1 to 64 characters of A-Z a-z 0-9 . _ : -, the first a letter or digit".to_string(),
        );
        NodeId::default()
    }))
}

/// The node that is meant, looked for by the owner of the directory that identities are in: as root, this process is
/// that owner from here on, because a user who may rename there could lead root anywhere.
pub(super) fn node_as_owner(args: &Args) -> Result<(NodeId, PathBuf), Failure> {
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

/// Addresses and trust for this node's control plane: the URL that the command line or the environment names, else
/// those that the identity keeps.
pub(super) fn control_plane(args: &Args, url: Option<String>, dir: &Path) -> Result<ControlPlane, Failure> {
    let kept = Identity::urls(dir)?;
    let is_said = url.is_some() || kept.is_empty();
    let urls = if is_said { vec![url.unwrap_or(API_URL.to_string())] } else { kept };
    let authorities = match authorities(args) {
        Some(Trust::Authorities(pem)) => Some(pem),
        _ => None,
    };
    args.finish()?;
    Ok(ControlPlane { follows: !is_said && authorities.is_none(), urls, authorities })
}

/// The configuration of the agent whose identity is in this directory.
pub(super) fn agent_config(args: &Args, dir: &Path) -> AgentConfig {
    // Identities are in `identities` of the data directory.
    let data_dir = dir.ancestors().nth(2).unwrap_or(Path::new(""));
    let (config, faults) = AgentConfig::read(data_dir, |setting| said(args, setting.option, setting.variable));
    faults.into_iter().for_each(|fault| args.fault(fault));
    config
}

/// The configuration of the agent of `up`: the environment says where the runner is, and the server has the rest.
pub(super) fn agent_config_of_up(args: &Args, data_dir: &Path) -> AgentConfig {
    let of_runner = |setting: &AgentSetting| setting.option.starts_with("runner");
    let given = |setting: &AgentSetting| variable(setting.variable).filter(|_| of_runner(setting));
    let (config, faults) = AgentConfig::read(data_dir, given);
    faults.into_iter().for_each(|fault| args.fault(fault));
    config
}

fn agent(args: &Args) -> Result<(), Failure> {
    let (node_id, dir) = node_as_owner(args)?;
    let config = agent_config(args, &dir);
    work(args, said_api_url(args), &node_id, &dir, &config)
}

/// Runs the agent of this node until a signal ends the process.
pub(super) fn work(
    args: &Args,
    url: Option<String>,
    node_id: &NodeId,
    dir: &Path,
    config: &AgentConfig,
) -> Result<(), Failure> {
    let control_plane = control_plane(args, url, dir)?;
    let console = Console::open_for_agent(config.log_level, config.log_file.is_some());
    logger::init(config.log_level, config.log_file.clone())?;
    let identity = Identity::load(dir, node_id)?;
    let stop = Stop::default();
    signals::listen(&stop)?;
    let agent = Agent::new(config, control_plane, identity, start_runner(config))?.start()?;
    // Whether the control plane can be reached now is not what a machine's start should wait for.
    notify::ready();
    if let Some(console) = console {
        output::prose(&format!(
            "The agent of {node_id} runs here until it is stopped. Here: only warnings, errors, and their end.\n"
        ));
        let has_colour = output::style(args).look().has_colour;
        console.follow_log(has_colour).map_err(|e| format!("cannot show the log: {e}"))?;
    }
    stop.wait_until_raised();
    notify::stopping();
    agent.stop()?;
    logger::flush();
    Ok(())
}

/// The status that `heartbeat` reports: the one given, or this machine's facts.
fn status_to_report(args: &Args, dir: &Path) -> String {
    let status = args.get("status-json").map_or_else(
        || Value::Object(report::healthy(host::facts(dir, host::DISK_TIME))).to_string(),
        |json| json.trim().trim_start_matches('\u{feff}').to_string(),
    );
    if !serde_json::from_str::<Value>(&status).is_ok_and(|v| v.is_object()) {
        args.fault("--status-json must be a JSON object".to_string());
    }
    status
}

fn heartbeat(args: &Args) -> Result<(), Failure> {
    let (node_id, dir) = node_as_owner(args)?;
    let ttl_s = args.get("ttl").map_or(Ok(LEASE_TTL_S), lease_ttl);
    let ttl_s = ttl_s.unwrap_or_else(|why| {
        args.fault(why);
        LEASE_TTL_S
    });
    let status = status_to_report(args, &dir);
    let control_plane = control_plane(args, said_api_url(args), &dir)?;
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
        eprintln!(
            "warning: this machine's clock is {} s off; the heartbeat is signed with the server's time",
            clock.offset_s().abs()
        );
        clock.forget_signed();
        answer = beat::deliver(&mut api, &mut identity, &mut clock, ttl_s, &status, false);
    }
    let Answered { known, whole: mut answer } = answer?;
    let unwritten = |e| {
        eprintln!("warning: the heartbeat was accepted, and what came with it cannot be written down: {}", Chain(&e))
    };
    identity.write_down().unwrap_or_else(unwritten);
    if known.status_stored == Some(false) {
        eprintln!(
            "warning: the lease is renewed, and the control plane cannot write the status yet: send it again later"
        );
    }
    if known.renew_identity {
        // The heartbeat was accepted, whatever becomes of this; the next one asks again.
        match enrol::renew(&api, &mut identity, clock.sign_at()) {
            Ok(()) => {
                identity.write_down().unwrap_or_else(unwritten);
                eprintln!("The cluster has another authority to trust; this node has renewed its identity.");
            }
            Err(e) => eprintln!(
                "warning: the cluster has another authority to trust, and this node could not fetch it yet: {e}"
            ),
        }
    }
    // The token is in its file by now, or its failure was reported, and it must not stand on a screen.
    if let Some(fields) = answer.as_object_mut()
        && fields.contains_key("lease_token")
    {
        fields.insert("lease_token".into(), json!("(renewed)"));
    }
    output::json(&answer);
    Ok(())
}
