//! `up`: a control plane, this machine as its node, and its agent, in one process.

use super::agent::{UPDATE, UPDATE_STATE, named, node};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::banner::{self, Places};
use super::console::Console;
use super::join::replaced;
use super::output;
use super::server::{FOREVER, config, start};
use crate::agent::beat::{self, Joining};
use crate::agent::identity::Identity;
use crate::agent::updates::Updates;
use crate::agent::{Agent, Way};
use crate::client::{Api, Trust};
use crate::error::Chain;
use crate::model::leases::LEASE_TTL_S;
use crate::sys::notify;
use crate::thread::{Stop, spawn};
use crate::{logger, serve};
use serde_json::Value;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

/// Options of `up`.
const UP: &[Opt] = &[
    opt("node-id", "ID", "this machine's node (default: the one that has an identity here, or its host name) [UPTIMEMESH_NODE_ID]"),
    opt("identity-dir", "DIR", "where identities are kept, each in <node-id>/ (default: identities, in the data directory)"),
];

/// Every command of this file.
pub const COMMANDS: &[Command] =
    &[command("up", "", "Start a control plane, enrol this machine and run its agent.", &[UP], up).with_settings()];

fn up(args: &Args) -> Result<(), Failure> {
    // What is wrong with it is told together with what is wrong with the settings.
    named(args);
    let config = config(args)?;
    let (node_id, dir) = node(args, &config.data_dir, "local");
    args.finish()?;
    let update_dir = config.data_dir.join(UPDATE);
    let path = |path: &Path| path.display().to_string();
    let places = Places { data: path(&config.data_dir), pki: path(&config.pki_dir), log: config.log_file.as_deref().map(path) };
    let stop = Stop::default();
    let console = Console::open(places.log.is_some());
    let Some(server) = start(config, &stop)? else { return Ok(()) };
    let mut agent = local_agent(&server, &node_id, &dir, &update_dir)?;
    let banner = if io::stdout().is_terminal() {
        banner::for_terminal(&server, &node_id, &places, console.is_some())?
    } else {
        banner::plain(&server, &node_id, &places)?
    };
    output::print(&banner);
    notify::ready();
    let following = console.map(|console| console.follow(&server)).transpose().map_err(|e| format!("cannot follow events: {e}"))?;
    let watched = stop.clone();
    let beating = spawn("agent", None, move || agent.run(&watched)).map_err(|e| format!("cannot start the agent: {e}"))?;
    while !stop.wait(FOREVER) {}
    notify::stopping();
    if following.is_some() {
        // A terminal that went away ends nothing.
        let _ = writeln!(io::stdout(), "Stopping ...");
    }
    if beating.join().is_err() {
        log::error!(target: "agent", event = "agent.panicked"; "The agent had panicked");
    }
    server.shutdown();
    if let Some(following) = following {
        let _ = following.join();
    }
    logger::flush();
    Ok(())
}

/// The agent of the machine that the server runs on, its node enrolled now where it is not yet, or not any more.
fn local_agent(server: &serve::Server, node_id: &str, dir: &Path, update_dir: &Path) -> Result<Agent, Failure> {
    let way = Way { urls: vec![server.agent_url()], authorities: None, follows: false };
    let agent = || {
        let updates = Updates::new(update_dir.join("request.json"), UPDATE_STATE.into());
        Ok::<_, Failure>(Agent::new(way.clone(), Identity::load(dir, node_id)?, LEASE_TTL_S, updates)?)
    };
    if Identity::exists(dir) {
        let mut agent = agent()?;
        match agent.turn() {
            Ok(()) => return Ok(agent),
            Err(e) => {
                log::info!(target: "agent", event = "agent.rejoin", node_id, error:% = e; "This machine's identity is not accepted; it joins anew")
            }
        }
    }
    let token = server.bootstrap_local(node_id)?;
    let api = Api::with(&way.urls, Some(Trust::Pinned(server.authority()?)), None)?;
    let ask = Joining {
        token: &token.token,
        node_id,
        name: node_id,
        role: token.role.as_str(),
        mesh_ip: None,
        api_endpoint: None,
        labels: Value::Null,
        lease_ttl_s: LEASE_TTL_S,
    };
    let answer = beat::join(&api, dir, &ask)?;
    if let Some(warning) = replaced(&answer) {
        eprintln!("{warning}");
    }
    let mut agent = agent()?;
    agent.turn().map_err(|e| format!("this machine joined, but its heartbeat failed: {}", Chain(&e)))?;
    Ok(agent)
}
