//! `up`: a control plane, this machine as its node, and its agent, in one process.

use super::agent::{agent_config_of_up, named, node};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::banner::{self, Places};
use super::console::Console;
use super::join::warning_of;
use super::output;
use super::server::{config, start};
use crate::agent::config::AgentConfig;
use crate::agent::identity::Identity;
use crate::agent::link::{ControlPlane, enrol};
use crate::agent::{Agent, start_runner};
use crate::client::{Api, Trust};
use crate::error::Chain;
use crate::model::ids::NodeId;
use crate::model::node_api::JoinRequest;
use crate::sys::notify;
use crate::thread::Stop;
use crate::{logger, serve};
use std::io::{self, IsTerminal, Write};
use std::path::Path;

/// Options of `up`.
const UP: &[Opt] = &[
    opt(
        "node-id",
        "ID",
        "this machine's node (default: the one that has an identity here, or its host name) [UPTIMEMESH_NODE_ID]",
    ),
    opt(
        "identity-dir",
        "DIR",
        "where identities are kept, each in <node-id>/ (default: identities, in the data directory)",
    ),
];

/// Every command of this file.
pub const COMMANDS: &[Command] =
    &[command("up", "", "Start a control plane, enrol this machine, run its agent.", &[UP], up).with_settings()];

fn up(args: &Args) -> Result<(), Failure> {
    // Its faults are reported together with those of the settings.
    named(args);
    let config = config(args)?;
    let (node_id, dir) = node(args, &config.data_dir, "local");
    let agent_config = agent_config_of_up(args, &config.data_dir);
    args.finish()?;
    let path = |path: &Path| path.display().to_string();
    let places =
        Places { data: path(&config.data_dir), pki: path(&config.pki_dir), log: config.log_file.as_deref().map(path) };
    let stop = Stop::default();
    let console = Console::open(places.log.is_some());
    let Some(server) = start(config, &stop)? else { return Ok(()) };
    let agent = local_agent(&server, &node_id, &dir, &agent_config)?;
    let banner = if io::stdout().is_terminal() {
        banner::for_terminal(&server, &node_id, &places, console.is_some())?
    } else {
        banner::plain(&server, &node_id, &places)?
    };
    output::prose(&banner);
    notify::ready();
    let following = console
        .map(|console| console.follow(&server, output::style(args).look().has_colour))
        .transpose()
        .map_err(|e| format!("cannot follow events: {e}"))?;
    let agent = agent.start()?;
    stop.wait_until_raised();
    notify::stopping();
    if following.is_some() {
        // A terminal that went away ends nothing.
        let _ = writeln!(io::stdout(), "Stopping ...");
    }
    if let Err(e) = agent.stop() {
        log::error!(target: "agent", event = "agent.panicked", error:% = Chain(&e); "The agent panicked");
    }
    server.shutdown();
    if let Some(following) = following {
        let _ = following.join();
    }
    logger::flush();
    Ok(())
}

/// The agent of the machine that the server runs on, its node enrolled now where it is not yet, or not any more.
fn local_agent(server: &serve::Server, node_id: &NodeId, dir: &Path, config: &AgentConfig) -> Result<Agent, Failure> {
    let control_plane = ControlPlane { urls: vec![server.agent_url()], authorities: None, follows: false };
    let runner = start_runner(config);
    let agent = || {
        let identity = Identity::load(dir, node_id)?;
        Ok::<_, Failure>(Agent::new(config, control_plane.clone(), identity, runner.clone())?)
    };
    if Identity::exists(dir) {
        let mut agent = agent()?;
        // A start within a second of the last heartbeat would look like a replay.
        server.signed_at(node_id).into_iter().for_each(|at| agent.sign_after(at));
        match agent.beat_once() {
            Ok(()) => return Ok(agent),
            Err(e) => {
                log::info!(target: "agent", event = "agent.rejoin", node_id, error:% = e; "This machine's identity is \
                    not accepted; joining again")
            }
        }
    }
    let token = server.bootstrap_local(node_id)?;
    let api = Api::with(&control_plane.urls, Some(Trust::Pinned(vec![server.authority()?])), None)?;
    let request = JoinRequest {
        token: token.token,
        node_id: node_id.clone(),
        name: node_id.to_string(),
        role: token.role,
        csr_pem: String::new(),
        mesh_ip: None,
        api_endpoint: None,
        labels: Default::default(),
        lease_ttl_seconds: config.lease_ttl_s,
    };
    let answer = enrol::join(&api, dir, &request)?;
    if let Some(replaced) = &answer.known.replaced {
        output::remark(&warning_of(replaced));
    }
    let mut agent = agent()?;
    agent.beat_once().map_err(|e| format!("this machine joined, but its heartbeat failed: {e}"))?;
    Ok(agent)
}
