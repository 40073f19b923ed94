//! The command line: subcommands over the server, the agent and the API. Errors go to stderr as `error: ...` with exit
//! status 1; a wrong command line names every fault and exits with 2.

mod args;
mod cluster;
mod node;
mod output;
mod server;

use crate::client::{Api, CallError};
use args::{Args, Command, Failure, Opt, opt};
use std::process::ExitCode;

/// Where the API is, unless something else is said.
const API_URL: &str = "http://127.0.0.1:8000";
/// The password of the account that comes with a new database: the default, so that first steps work as they are written.
const FIRST_PASSWORD: &str = "uptime";

const GLOBAL: &[Opt] =
    &[opt("api-url", "URL", "the control plane (default http://127.0.0.1:8000) [UPTIMEMESH_API_URL]"), opt("help", "", "print this help")];

/// How commands that need somebody to be signed in find out who.
const SIGN_IN: &[Opt] = &[
    opt("username", "NAME", "who signs in (default admin) [UPTIMEMESH_USERNAME]"),
    opt("password-file", "FILE", "file with the password; - reads standard input"),
    opt("password", "TEXT", "the password; others on this machine can see it [UPTIMEMESH_PASSWORD]"),
];

const JSON: &[Opt] = &[opt("json", "", "print JSON")];

/// Every subcommand.
const COMMANDS: &[Command] = &[
    Command {
        name: "up",
        argument: "",
        about: "Start a control plane, enrol this machine and run its agent.",
        options: &[server::UP],
        settings: true,
        run: server::up,
    },
    Command { name: "serve", argument: "", about: "Start a control plane only.", options: &[], settings: true, run: server::serve },
    Command {
        name: "migrate",
        argument: "",
        about: "Bring the database up to date, and stop.",
        options: &[],
        settings: true,
        run: server::migrate,
    },
    Command {
        name: "bootstrap",
        argument: "",
        about: "Make the certificate authority and a core and a worker join token.",
        options: &[cluster::BOOTSTRAP, SIGN_IN],
        settings: false,
        run: cluster::bootstrap,
    },
    Command {
        name: "create-token",
        argument: "",
        about: "Make a join token for one machine.",
        options: &[cluster::CREATE_TOKEN, SIGN_IN],
        settings: false,
        run: cluster::create_token,
    },
    Command {
        name: "join-tokens",
        argument: "",
        about: "List join tokens.",
        options: &[JSON, SIGN_IN],
        settings: false,
        run: cluster::join_tokens,
    },
    Command {
        name: "delete-token",
        argument: "ID",
        about: "Take a join token back.",
        options: &[SIGN_IN],
        settings: false,
        run: cluster::delete_token,
    },
    Command {
        name: "join",
        argument: "",
        about: "Enrol this machine as a node, with a join token.",
        options: &[node::JOIN, node::IDENTITY],
        settings: false,
        run: node::join,
    },
    Command {
        name: "agent",
        argument: "",
        about: "Keep this node's lease alive, until it is stopped.",
        options: &[node::AGENT, node::IDENTITY],
        settings: false,
        run: node::agent,
    },
    Command {
        name: "heartbeat",
        argument: "",
        about: "Send one heartbeat.",
        options: &[node::HEARTBEAT, node::IDENTITY],
        settings: false,
        run: node::heartbeat,
    },
    Command {
        name: "nodes-status",
        argument: "",
        about: "List nodes with their leases.",
        options: &[JSON, SIGN_IN],
        settings: false,
        run: cluster::nodes_status,
    },
    Command {
        name: "cordon",
        argument: "NODE",
        about: "Keep new work away from a node.",
        options: &[SIGN_IN],
        settings: false,
        run: cluster::cordon,
    },
    Command {
        name: "uncordon",
        argument: "NODE",
        about: "Let work come to a node again.",
        options: &[SIGN_IN],
        settings: false,
        run: cluster::uncordon,
    },
    Command {
        name: "drain",
        argument: "NODE",
        about: "Ask for all work of a node to be moved elsewhere.",
        options: &[SIGN_IN],
        settings: false,
        run: cluster::drain,
    },
    Command {
        name: "delete-node",
        argument: "NODE",
        about: "Remove a node and revoke its identity.",
        options: &[cluster::DELETE_NODE, SIGN_IN],
        settings: false,
        run: cluster::delete_node,
    },
    Command {
        name: "events",
        argument: "",
        about: "List what happened, newest first.",
        options: &[cluster::EVENTS, JSON, SIGN_IN],
        settings: false,
        run: cluster::events,
    },
    Command {
        name: "set-password",
        argument: "",
        about: "Change the password; ends every session.",
        options: &[cluster::SET_PASSWORD, SIGN_IN],
        settings: false,
        run: cluster::set_password,
    },
    Command { name: "version", argument: "", about: "Print the version.", options: &[], settings: false, run: version },
    Command {
        name: "help",
        argument: "[COMMAND]",
        about: "Print this, or the help of a command.",
        options: &[],
        settings: false,
        run: help,
    },
];

/// Runs the program with these arguments, the program's own name left out.
pub fn run(line: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode {
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
    let args = args::read(line, COMMANDS, GLOBAL);
    let command = args.command.as_deref().map(|name| (name, COMMANDS.iter().find(|c| c.name == name)));
    match command {
        Some((_, Some(command))) if command.name == "help" => help(&args),
        Some((_, Some(command))) if args.has("help") => {
            output::print(&args::help(command, GLOBAL));
            Ok(())
        }
        Some((_, Some(command))) => {
            args.check(command, GLOBAL);
            (command.run)(&args)
        }
        None if args.has("help") => help(&args),
        Some((name, None)) => {
            args.fault(format!("unknown command {name:?}"));
            args.finish()
        }
        None => {
            args.fault("a command is missing".to_string());
            args.finish()
        }
    }
}

fn help(args: &Args) -> Result<(), Failure> {
    match args.words.first() {
        None => output::print(&args::overview(COMMANDS, GLOBAL)),
        Some(name) => match COMMANDS.iter().find(|c| c.name == name) {
            Some(command) => output::print(&args::help(command, GLOBAL)),
            None => args.fault(format!("unknown command {name:?}")),
        },
    }
    args.finish()
}

fn version(args: &Args) -> Result<(), Failure> {
    args.finish()?;
    output::print(&format!("uptimemesh {}\n", env!("CARGO_PKG_VERSION")));
    Ok(())
}

/// The API that the command line names.
fn api(args: &Args) -> Result<Api, Failure> {
    let env = std::env::var("UPTIMEMESH_API_URL").ok().filter(|v| !v.is_empty());
    let url = args.get("api-url").map(str::to_string).or(env).unwrap_or(API_URL.to_string());
    Api::new(&url).map_err(|why| Failure::Usage(vec![why]))
}

/// The same, signed in.
fn signed_in(args: &Args) -> Result<Api, Failure> {
    let env = std::env::var("UPTIMEMESH_USERNAME").ok().filter(|v| !v.is_empty());
    let username = args.get("username").map(str::to_string).or(env).unwrap_or("admin".to_string());
    let given = args.secret("password", "UPTIMEMESH_PASSWORD");
    args.finish()?;
    let mut api = api(args)?;
    let password = given.as_deref().unwrap_or(FIRST_PASSWORD);
    match api.sign_in(&username, password) {
        Ok(()) => Ok(api),
        Err(e @ CallError::Refused { status: 401, .. }) if given.is_none() => {
            Err(Failure::Failed(format!("{e}; give the password by --password-file or UPTIMEMESH_PASSWORD")))
        }
        Err(e) => Err(e.into()),
    }
}
