//! Commands that start the control plane: up, serve, migrate.

use super::agent::{UPDATE, UPDATE_STATE, named, node};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::config::{DOTENV, unreadable_variables};
use super::{join, output};
use crate::agent::beat::{self, Joining};
use crate::agent::identity::Identity;
use crate::agent::updates::Updates;
use crate::agent::{Agent, Way};
use crate::client::{Api, Trust};
use crate::config::{Config, Dotenv};
use crate::error::Chain;
use crate::model::leases::LEASE_TTL_S;
use crate::sys::owner::Owner;
use crate::sys::{notify, signals};
use crate::thread::{Stop, spawn};
use crate::{files, logger, offline, serve};
use serde_json::Value;
use std::fs::File;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Options of `up`.
const UP: &[Opt] = &[
    opt("node-id", "ID", "this machine's node (default: the one that has an identity here, or its host name) [UPTIMEMESH_NODE_ID]"),
    opt("identity-dir", "DIR", "where identities are kept, each in <node-id>/ (default: identities, in the data directory)"),
];

/// The command waits so long at a time for the signal to end.
const FOREVER: Duration = Duration::from_secs(3600);

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("up", "", "Start a control plane, enrol this machine, run its agent.", &[UP], up).with_settings(),
    command("serve", "", "Start a control plane without an agent.", &[], serve).with_settings(),
    command("migrate", "", "Bring the database up to date, then exit.", &[], migrate).with_settings(),
];

/// The configuration. As root, this process is the owner of the data directory from here on.
pub(super) fn config(args: &Args) -> Result<Config, Failure> {
    let mut config = given(args)?;
    work_as_owner(&mut config)?;
    Ok(config)
}

/// The same, with this file, which root may read where the owner of the data may not; `None` where nobody else is to open it.
pub(super) fn config_opening(args: &Args, file: &Path) -> Result<(Config, Option<File>), Failure> {
    let mut config = given(args)?;
    let opened = Owner::of(&config.data_dir)?.and_then(|_| files::open_guarded(file).ok());
    work_as_owner(&mut config)?;
    Ok((config, opened))
}

fn work_as_owner(config: &mut Config) -> Result<(), Failure> {
    let Some(owner) = Owner::of(&config.data_dir)? else { return Ok(()) };
    owner_has_all(&config.data_dir, owner)?;
    // It may be root's alone. Where root cannot read it safely, the owner reads it when it is needed.
    if let Some(Ok(text)) = config.backup_passphrase_file.as_deref().map(files::read_named) {
        config.keep_backup_passphrase(&text);
    }
    Ok(owner.assume()?)
}

/// Refuses a directory of another user in which root has made what is needed, as version 2.0.0 did where root started it: as its owner, this
/// process could not use that.
fn owner_has_all(data_dir: &Path, owner: Owner) -> Result<(), Failure> {
    const NEEDED: &[&str] = &[offline::LOCK_FILE, "app.db", "keys", "pki"];
    let is_roots = |name: &&str| data_dir.join(name).symlink_metadata().is_ok_and(|found| found.uid() == 0 && !found.is_symlink());
    let roots: Vec<&str> = NEEDED.iter().copied().filter(is_roots).collect();
    if roots.is_empty() {
        return Ok(());
    }
    let (dir, Owner { uid, gid }) = (data_dir.display(), owner);
    Err(Failure::Failed(format!(
        "{dir} belongs to the user {uid}, as whom root works there, and in it {} to root: give all of it to one user, as by: chown -R {uid}:{gid} {dir}",
        roots.join(", ")
    )))
}

/// The configuration from flags, environment and `.env`. What is wrong with it is told together with what is wrong with
/// the command line.
fn given(args: &Args) -> Result<Config, Failure> {
    let flags = args.settings();
    let faults = match load(args)? {
        Ok(config) => return args.finish().map(|()| config),
        Err(faults) => faults,
    };
    let of_flag = |fault: &String| flags.iter().any(|(flag, _)| fault.starts_with(&flag.to_ascii_uppercase().replace('-', "_")));
    let by_flag = faults.iter().any(of_flag);
    match args.finish() {
        Err(Failure::Usage(of_line)) => Err(Failure::Usage([of_line, faults].concat())),
        _ if by_flag => Err(Failure::Usage(faults)),
        _ => Err(Failure::Failed(faults.join("\n"))),
    }
}

/// The same, with the faults of the configuration alone.
pub(super) fn load(args: &Args) -> Result<Result<Config, Vec<String>>, Failure> {
    load_with(&args.settings())
}

/// The configuration with these flags.
pub(super) fn load_with(flags: &[(String, String)]) -> Result<Result<Config, Vec<String>>, Failure> {
    let dotenv = dotenv()?;
    let unreadable = unreadable_variables();
    let env = std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
    Ok(match Config::load(flags, env, dotenv.as_ref()) {
        Ok(config) if unreadable.is_empty() => Ok(config),
        read => Err(unreadable.into_iter().chain(read.err().unwrap_or_default()).collect()),
    })
}

/// The settings in `.env` in the current directory. What another user wrote there, or can have put there, root reads, and acts upon, as that
/// user.
fn dotenv() -> Result<Option<Dotenv>, Failure> {
    let path = Path::new(DOTENV);
    let theirs = || Ok::<_, Failure>(Owner::of(path)?.or(Owner::of(Path::new("."))?));
    if path.symlink_metadata().is_ok()
        && let Some(owner) = theirs()?
    {
        eprintln!("warning: .env is in the hands of the user {}: this goes on as that user", owner.uid);
        owner.assume()?;
    }
    let read = Dotenv::read(path)?;
    // Its settings are meant, and without them the server would be another one.
    if read.is_none() && path.is_symlink() {
        return Err(Failure::Failed(".env is a link to a file that is not there: put the file back, or remove the link".into()));
    }
    match read.is_some() && theirs()?.is_some() {
        true => Err(Failure::Failed(".env was put there by another user just now; look at it, and try again".into())),
        false => Ok(read),
    }
}

fn serve(args: &Args) -> Result<(), Failure> {
    let config = config(args)?;
    let stop = Stop::default();
    let Some(server) = start(config, &stop)? else { return Ok(()) };
    notify::ready();
    while !stop.wait(FOREVER) {}
    notify::stopping();
    server.shutdown();
    logger::flush();
    Ok(())
}

/// A server that signals are for from before its start; `None` where the signal to end came while it waited for the clock.
fn start(config: Config, stop: &Stop) -> Result<Option<Arc<serve::Server>>, Failure> {
    let hangup = signals::listen(stop)?;
    if !serve::wait_for_clock(&config, stop)? {
        return Ok(None);
    }
    let server = Arc::new(serve::Server::start(config)?);
    // Weak, so that the server still ends with the function that started it.
    let reading = Arc::downgrade(&server);
    hangup.does(move || reading.upgrade().iter().for_each(|server| server.reread_certificate()));
    Ok(Some(server))
}

fn migrate(args: &Args) -> Result<(), Failure> {
    let config = config(args)?;
    let migrated = offline::migrate(&config)?;
    let path = config.database_path.display();
    output::print(&format!("{path} is at version {}; {} migrations were applied now.\n", migrated.version, migrated.applied));
    Ok(())
}

fn up(args: &Args) -> Result<(), Failure> {
    // What is wrong with it is told together with what is wrong with the settings.
    named(args);
    let config = config(args)?;
    let (node_id, dir) = node(args, &config.data_dir, "local");
    args.finish()?;
    let update_dir = config.data_dir.join(UPDATE);
    let (data_dir, pki_dir) = (config.data_dir.display().to_string(), config.pki_dir.display().to_string());
    let stop = Stop::default();
    let Some(server) = start(config, &stop)? else { return Ok(()) };
    let mut agent = local_agent(&server, &node_id, &dir, &update_dir)?;

    let mut said = format!("UptimeMesh {} is up.\n  UI       {}/ui\n", env!("CARGO_PKG_VERSION"), server.url());
    if let Some(url) = server.urls_elsewhere().first() {
        said.push_str(&format!("           {url}/ui from other machines; the certificate of its authority is {pki_dir}/server-ca.crt\n"));
    }
    said.push_str(&format!("  data     {data_dir}\n  node     {node_id} (this machine)\n"));
    if server.first_sign_in()? {
        said.push_str("  sign in  admin / uptime - change this password now: Settings in the UI, or uptimemesh set-password\n");
    }
    if let Some(code) = server.setup_code() {
        // What is no terminal keeps what it gets: a journal, a file, the log of a container.
        let code = match std::io::stdout().is_terminal() {
            true => format!("this setup code: {code}"),
            false => format!("a setup code, which is in {data_dir}/keys/setup-code"),
        };
        said.push_str(&format!("           from another machine that asks for {code}\n"));
    }
    said.push_str("  add a node: uptimemesh create-token --role worker, then on it uptimemesh join\n");
    output::print(&said);
    notify::ready();

    let watched = stop.clone();
    let beating = spawn("agent", None, move || agent.run(&watched)).map_err(|e| format!("cannot start the agent: {e}"))?;
    while !stop.wait(FOREVER) {}
    notify::stopping();
    if beating.join().is_err() {
        log::error!(target: "agent", event = "agent.panicked"; "The agent had panicked");
    }
    server.shutdown();
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
    if let Some(warning) = join::replaced(&answer) {
        eprintln!("{warning}");
    }
    let mut agent = agent()?;
    agent.turn().map_err(|e| format!("this machine joined, but its heartbeat failed: {}", Chain(&e)))?;
    Ok(agent)
}
