//! The command line: subcommands over the server, the agent and the API. Errors go to stderr as `error: ...` with exit
//! status 1; a wrong command line names every fault and exits with 2.

mod agent;
mod answers;
mod api_tokens;
mod args;
mod backups;
mod bundles;
mod ca;
mod config;
mod connect;
mod contexts;
mod doctor;
mod endpoints;
mod events;
mod help;
mod join;
mod join_tokens;
mod leases;
mod local;
mod login;
mod nodes;
mod output;
mod release;
mod replicas;
mod routers;
mod scheduler;
mod server;
mod services;
mod sessions;
mod settings;
mod shells;
mod snapshots;
mod units;
mod updater;
mod updates;
mod users;
mod version;

use args::{Command, Failure, Opt, opt};
use std::process::ExitCode;

/// Options of every command.
const GLOBAL: &[Opt] = &[
    opt("api-url", "URL", "the control plane (default http://127.0.0.1:8000) [UPTIMEMESH_API_URL]"),
    opt("ca-file", "FILE", "authorities (PEM) to believe over https, instead of the system's [UPTIMEMESH_CA_FILE]"),
    opt("context", "NAME", "the control plane that you signed in to under this name, instead of the current one [UPTIMEMESH_CONTEXT]"),
    opt(config::SETTINGS_FILE, "FILE", "take what this file says as the environment, over what is there; the units of services use it"),
    opt("help", "", "print this help").short('h'),
];

/// The tables of commands, in the order of the help.
const TABLES: &[&[Command]] = &[
    server::COMMANDS,
    login::COMMANDS,
    contexts::COMMANDS,
    config::COMMANDS,
    doctor::COMMANDS,
    join_tokens::COMMANDS,
    ca::COMMANDS,
    join::COMMANDS,
    agent::COMMANDS,
    leases::COMMANDS,
    nodes::COMMANDS,
    services::COMMANDS,
    replicas::COMMANDS,
    endpoints::COMMANDS,
    routers::COMMANDS,
    scheduler::COMMANDS,
    snapshots::COMMANDS,
    bundles::COMMANDS,
    events::COMMANDS,
    settings::COMMANDS,
    users::COMMANDS,
    sessions::COMMANDS,
    api_tokens::COMMANDS,
    backups::COMMANDS,
    release::COMMANDS,
    shells::COMMANDS,
    units::COMMANDS,
    updates::COMMANDS,
    updater::COMMANDS,
    version::COMMANDS,
    help::COMMANDS,
];

/// Every command.
fn commands() -> Vec<&'static Command> {
    TABLES.iter().copied().flatten().collect()
}

/// The command of this name.
fn find(name: &str) -> Option<&'static Command> {
    commands().into_iter().find(|c| c.name == name)
}

/// Runs the program with these arguments, the program's own name left out.
pub fn run(line: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode {
    crate::files::private_by_default();
    match dispatch(line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(why)) => {
            crate::logger::flush();
            why.lines().for_each(|line| eprintln!("error: {}", output::ascii(line)));
            ExitCode::from(1)
        }
        Err(Failure::Usage(faults)) => {
            for fault in faults {
                eprintln!("error: {}", output::ascii(&fault));
            }
            eprintln!("Try: uptimemesh help");
            ExitCode::from(2)
        }
    }
}

fn dispatch(line: impl IntoIterator<Item = std::ffi::OsString>) -> Result<(), Failure> {
    let line: Vec<std::ffi::OsString> = line.into_iter().collect();
    let args = args::read(line.iter().cloned(), &commands(), GLOBAL);
    let command = args.command.as_deref().map(|name| (name, find(name)));
    match command {
        Some((_, Some(command))) if command.name == "help" => help::help(&args),
        Some((_, Some(command))) if args.has("help") => {
            output::print(&help::of_command(command, GLOBAL));
            Ok(())
        }
        Some((_, Some(command))) => {
            if args.has(config::SETTINGS_FILE) {
                return Err(config::begin_again(line));
            }
            let unreadable = config::unreadable_variables();
            // The settings' own reader tells them together with its other faults.
            if !unreadable.is_empty() && !command.settings {
                return Err(Failure::Failed(unreadable.join("\n")));
            }
            args.check(command, GLOBAL);
            (command.run)(&args)
        }
        None if args.has("help") => help::help(&args),
        Some((name, None)) => {
            let first = name.split(' ').next().unwrap_or(name);
            let under: Vec<&str> = commands().iter().filter_map(|c| c.name.strip_prefix(first)?.strip_prefix(' ')).collect();
            match under.is_empty() {
                true => args.fault(format!("unknown command {name:?}")),
                false => args.fault(format!("{first:?} is followed by one of: {}", under.join(", "))),
            }
            args.finish()
        }
        None => {
            args.fault("a command is missing".to_string());
            args.finish()
        }
    }
}
