//! The command line: subcommands over the server, the agent and the API. Errors go to stderr as `error: ...` with exit
//! status 1; a wrong command line names every fault and exits with 2.

mod args;
mod backups;
mod banner;
mod bundles;
mod ca;
mod cluster;
mod config;
mod console;
mod doctor;
mod events;
mod fleet_update;
mod node;
mod nodes;
mod output;
mod people;
mod progress;
mod release;
mod replicas;
mod scheduler;
mod server;
mod services;
mod settings;
mod shells;
mod units;
mod up;
mod update;
mod version;

use crate::client::{self, Api, CallError, Trust};
use args::{Args, Command, Failure, Opt, opt};
use serde_json::Value;
use std::process::ExitCode;

/// Where the API is, unless something else is said.
const API_URL: &str = "http://127.0.0.1:8000";
/// The password of the account that comes with a new database: the default, so that first steps work as they are written.
const FIRST_PASSWORD: &str = "uptime";

const GLOBAL: &[Opt] = &[
    opt("api-url", "URL", "the control plane (default http://127.0.0.1:8000) [UPTIMEMESH_API_URL]"),
    opt("ca-file", "FILE", "authorities (PEM) to believe over https, instead of the system's [UPTIMEMESH_CA_FILE]"),
    opt(config::SETTINGS_FILE, "FILE", "take what this file says as the environment, over what is there; the units of services use it"),
    opt("help", "", "print this help"),
];

/// How commands that call the API find out who signs in, and whether a program reads what they print.
const SIGN_IN: &[Opt] = &[
    opt("username", "NAME", "who signs in (default admin) [UPTIMEMESH_USERNAME]"),
    opt("password-file", "FILE", "file with the password; - reads standard input"),
    opt("password", "TEXT", "the password; others on this machine can see it [UPTIMEMESH_PASSWORD]"),
    opt("api-token-file", "FILE", "file with an API token, instead of name and password [UPTIMEMESH_API_TOKEN]"),
    opt("json", "", "print JSON"),
];

/// Every subcommand.
const COMMANDS: &[Command] = &[
    Command {
        name: "up",
        argument: "",
        about: "Start a control plane, enrol this machine and run its agent.",
        options: &[up::UP],
        settings: true,
        run: up::up,
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
        name: "config get",
        argument: "NAME",
        about: "Print what a settings file says of one name; for scripts.",
        options: &[config::GET],
        settings: false,
        run: config::get,
    },
    Command {
        name: "config check",
        argument: "FILE",
        about: "Check a settings file, line by line and value by value.",
        options: &[],
        settings: false,
        run: config::check,
    },
    Command {
        name: "config show",
        argument: "",
        about: "Print every setting that is in force; of secrets whether they are set.",
        options: &[],
        settings: true,
        run: config::show,
    },
    Command {
        name: "doctor",
        argument: "",
        about: "Examine this machine and what of UptimeMesh is on it.",
        options: &[doctor::DOCTOR, node::IDENTITY],
        settings: true,
        run: doctor::doctor,
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
        options: &[SIGN_IN],
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
        name: "ca show",
        argument: "",
        about: "Print the authorities, how far a rotation is, and the certificate that browsers and commands are to trust.",
        options: &[SIGN_IN],
        settings: false,
        run: ca::show,
    },
    Command {
        name: "ca nodes",
        argument: "",
        about: "List which nodes have what they are to trust.",
        options: &[SIGN_IN],
        settings: false,
        run: ca::nodes,
    },
    Command {
        name: "ca rotate",
        argument: "",
        about: "Make a new authority; the one before stays trusted.",
        options: &[ca::ROTATE, SIGN_IN],
        settings: false,
        run: ca::rotate,
    },
    Command {
        name: "ca drop-previous",
        argument: "",
        about: "Stop trusting the authority before.",
        options: &[ca::DROP, SIGN_IN],
        settings: false,
        run: ca::drop_previous,
    },
    Command {
        name: "join",
        argument: "[JOIN-STRING]",
        about: "Enrol this machine as a node, with a join string.",
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
        options: &[SIGN_IN],
        settings: false,
        run: cluster::nodes_status,
    },
    Command { name: "nodes", argument: "", about: "List nodes.", options: &[nodes::LIST, SIGN_IN], settings: false, run: nodes::list },
    Command { name: "node show", argument: "NODE", about: "Print a node.", options: &[SIGN_IN], settings: false, run: nodes::show },
    Command {
        name: "node cordon",
        argument: "NODE",
        about: "Keep new work away from a node, and move what runs there.",
        options: &[SIGN_IN],
        settings: false,
        run: nodes::cordon,
    },
    Command {
        name: "node uncordon",
        argument: "NODE",
        about: "Let work come to a node again; ends a drain.",
        options: &[SIGN_IN],
        settings: false,
        run: nodes::uncordon,
    },
    Command {
        name: "node drain",
        argument: "NODE",
        about: "Move all work of a node elsewhere.",
        options: &[nodes::DRAIN, SIGN_IN],
        settings: false,
        run: nodes::drain,
    },
    Command {
        name: "node room",
        argument: "NODE",
        about: "Say what replicas may take of a node; without options, leave it to the node.",
        options: &[nodes::ROOM, SIGN_IN],
        settings: false,
        run: nodes::room,
    },
    Command {
        name: "node reboot",
        argument: "NODE",
        about: "Ask a node to reboot.",
        options: &[SIGN_IN],
        settings: false,
        run: nodes::reboot,
    },
    Command {
        name: "node rotate-keys",
        argument: "NODE",
        about: "Ask a node for new WireGuard keys.",
        options: &[SIGN_IN],
        settings: false,
        run: nodes::rotate_keys,
    },
    Command {
        name: "node runs",
        argument: "NODE",
        about: "Print which machines beat as a node whose identity was copied.",
        options: &[SIGN_IN],
        settings: false,
        run: nodes::runs,
    },
    Command {
        name: "node keep-run",
        argument: "NODE RUN",
        about: "Choose which of two machines with one identity stays.",
        options: &[SIGN_IN],
        settings: false,
        run: nodes::keep_run,
    },
    Command {
        name: "node delete",
        argument: "NODE",
        about: "Remove a node and revoke its identity.",
        options: &[nodes::DELETE, SIGN_IN],
        settings: false,
        run: nodes::delete,
    },
    Command { name: "services", argument: "", about: "List services.", options: &[SIGN_IN], settings: false, run: services::list },
    Command {
        name: "service apply",
        argument: "",
        about: "Make a service, or change it to what a file says.",
        options: &[services::APPLY, SIGN_IN],
        settings: false,
        run: services::apply,
    },
    Command {
        name: "service show",
        argument: "SERVICE",
        about: "Print a service.",
        options: &[SIGN_IN],
        settings: false,
        run: services::show,
    },
    Command {
        name: "service history",
        argument: "SERVICE",
        about: "List the specs that a service had, newest first.",
        options: &[SIGN_IN],
        settings: false,
        run: services::history,
    },
    Command {
        name: "service rollout",
        argument: "SERVICE",
        about: "Start every replica anew.",
        options: &[SIGN_IN],
        settings: false,
        run: services::rollout,
    },
    Command {
        name: "service rollback",
        argument: "SERVICE",
        about: "Put an earlier spec back, as a new generation.",
        options: &[services::ROLLBACK, SIGN_IN],
        settings: false,
        run: services::rollback,
    },
    Command {
        name: "service delete",
        argument: "SERVICE",
        about: "Remove a service.",
        options: &[services::DELETE, SIGN_IN],
        settings: false,
        run: services::delete,
    },
    Command {
        name: "replicas",
        argument: "",
        about: "List replicas, and why they are where they are.",
        options: &[replicas::LIST, SIGN_IN],
        settings: false,
        run: replicas::list,
    },
    Command {
        name: "replica show",
        argument: "REPLICA",
        about: "Print a replica.",
        options: &[SIGN_IN],
        settings: false,
        run: replicas::show,
    },
    Command {
        name: "replica move",
        argument: "REPLICA NODE",
        about: "Put a replica on another node.",
        options: &[SIGN_IN],
        settings: false,
        run: replicas::place,
    },
    Command {
        name: "replica restart",
        argument: "REPLICA",
        about: "Ask for a restart.",
        options: &[SIGN_IN],
        settings: false,
        run: replicas::restart,
    },
    Command {
        name: "replica snapshot",
        argument: "REPLICA",
        about: "Ask for a snapshot of its data.",
        options: &[SIGN_IN],
        settings: false,
        run: replicas::snapshot,
    },
    Command {
        name: "replica restore",
        argument: "REPLICA",
        about: "Ask for its data to be put back.",
        options: &[replicas::RESTORE, SIGN_IN],
        settings: false,
        run: replicas::restore,
    },
    Command {
        name: "replica delete",
        argument: "REPLICA",
        about: "Remove a replica and its endpoints.",
        options: &[SIGN_IN],
        settings: false,
        run: replicas::delete,
    },
    Command {
        name: "endpoints",
        argument: "",
        about: "List where replicas are reached.",
        options: &[SIGN_IN],
        settings: false,
        run: replicas::endpoints,
    },
    Command {
        name: "routers",
        argument: "",
        about: "List router assignments.",
        options: &[SIGN_IN],
        settings: false,
        run: replicas::routers,
    },
    Command {
        name: "plan",
        argument: "[SERVICE]",
        about: "Print what the scheduler would do.",
        options: &[SIGN_IN],
        settings: false,
        run: scheduler::plan,
    },
    Command {
        name: "reconcile",
        argument: "[SERVICE]",
        about: "Do what the plan says.",
        options: &[SIGN_IN],
        settings: false,
        run: scheduler::reconcile,
    },
    Command {
        name: "explain",
        argument: "SERVICE",
        about: "Say for each node what speaks for and against it.",
        options: &[SIGN_IN],
        settings: false,
        run: scheduler::explain,
    },
    Command {
        name: "rebalance",
        argument: "",
        about: "Even out how many replicas nodes have.",
        options: &[scheduler::REBALANCE, SIGN_IN],
        settings: false,
        run: scheduler::rebalance,
    },
    Command {
        name: "snapshots",
        argument: "",
        about: "List requests for etcd snapshots, newest first.",
        options: &[replicas::RUNS, SIGN_IN],
        settings: false,
        run: replicas::snapshots,
    },
    Command {
        name: "support-bundle create",
        argument: "",
        about: "Have the control plane make a support bundle, without secrets.",
        options: &[bundles::CREATE, SIGN_IN],
        settings: false,
        run: bundles::create,
    },
    Command {
        name: "support-bundle list",
        argument: "",
        about: "List support bundles, newest first.",
        options: &[SIGN_IN],
        settings: false,
        run: bundles::list,
    },
    Command {
        name: "support-bundle download",
        argument: "ID",
        about: "Fetch a support bundle.",
        options: &[bundles::DOWNLOAD, SIGN_IN],
        settings: false,
        run: bundles::download,
    },
    Command {
        name: "events",
        argument: "",
        about: "List what happened, newest first, or follow what happens.",
        options: &[events::EVENTS, SIGN_IN],
        settings: false,
        run: events::events,
    },
    Command {
        name: "settings",
        argument: "",
        about: "List cluster settings.",
        options: &[SIGN_IN],
        settings: false,
        run: settings::settings,
    },
    Command {
        name: "setting set",
        argument: "KEY VALUE",
        about: "Set a cluster setting.",
        options: &[SIGN_IN],
        settings: false,
        run: settings::set,
    },
    Command {
        name: "set-password",
        argument: "",
        about: "Change the password; ends every session.",
        options: &[people::NEW_PASSWORD, cluster::SET_PASSWORD, SIGN_IN],
        settings: false,
        run: cluster::set_password,
    },
    Command { name: "users", argument: "", about: "List users.", options: &[SIGN_IN], settings: false, run: people::users },
    Command {
        name: "user add",
        argument: "NAME",
        about: "Make a user.",
        options: &[people::ADD, people::NEW_PASSWORD, SIGN_IN],
        settings: false,
        run: people::add,
    },
    Command {
        name: "user role",
        argument: "NAME ROLE",
        about: "Give a user another role; ends that user's sessions.",
        options: &[SIGN_IN],
        settings: false,
        run: people::role,
    },
    Command {
        name: "user delete",
        argument: "NAME",
        about: "Remove a user, with all sessions and API tokens.",
        options: &[SIGN_IN],
        settings: false,
        run: people::delete,
    },
    Command {
        name: "user set-password",
        argument: "NAME",
        about: "Give somebody else a new password.",
        options: &[people::NEW_PASSWORD, SIGN_IN],
        settings: false,
        run: people::set_password,
    },
    Command {
        name: "sessions",
        argument: "",
        about: "List who is signed in.",
        options: &[SIGN_IN],
        settings: false,
        run: people::sessions,
    },
    Command { name: "session revoke", argument: "ID", about: "End a session.", options: &[SIGN_IN], settings: false, run: people::revoke },
    Command { name: "api-tokens", argument: "", about: "List API tokens.", options: &[SIGN_IN], settings: false, run: people::api_tokens },
    Command {
        name: "api-token create",
        argument: "NAME",
        about: "Make an API token for a program.",
        options: &[people::TOKEN, SIGN_IN],
        settings: false,
        run: people::create_api_token,
    },
    Command {
        name: "api-token delete",
        argument: "ID",
        about: "Take an API token back.",
        options: &[SIGN_IN],
        settings: false,
        run: people::delete_api_token,
    },
    Command { name: "whoami", argument: "", about: "Print who signs in.", options: &[SIGN_IN], settings: false, run: people::whoami },
    Command {
        name: "admin reset-password",
        argument: "",
        about: "Set a password in the server's own data, on its machine.",
        options: &[people::RESET],
        settings: true,
        run: people::reset_password,
    },
    Command {
        name: "backup create",
        argument: "",
        about: "Make a backup of the server's data, on its machine.",
        options: &[backups::CREATE, backups::JSON],
        settings: true,
        run: backups::create,
    },
    Command {
        name: "backup list",
        argument: "",
        about: "List the backups on this machine, newest first.",
        options: &[backups::JSON],
        settings: true,
        run: backups::list,
    },
    Command {
        name: "backup verify",
        argument: "FILE",
        about: "Read a backup whole, as a restore would.",
        options: &[backups::JSON],
        settings: true,
        run: backups::verify,
    },
    Command {
        name: "backup restore",
        argument: "FILE",
        about: "Make the server's data of a backup.",
        options: &[backups::RESTORE, backups::JSON],
        settings: true,
        run: backups::restore,
    },
    Command {
        name: "backup undo-upgrade",
        argument: "",
        about: "Put back the backup made before an upgrade, if the database is newer than this program.",
        options: &[backups::UNDO, backups::JSON],
        settings: true,
        run: backups::undo_upgrade,
    },
    Command {
        name: "release keygen",
        argument: "",
        about: "Make a key that releases are signed with.",
        options: &[release::KEYGEN],
        settings: false,
        run: release::keygen,
    },
    Command {
        name: "release sign",
        argument: "MANIFEST",
        about: "Sign a release's version.json, into version.json.sig.",
        options: &[release::SIGN],
        settings: false,
        run: release::sign,
    },
    Command {
        name: "release verify",
        argument: "MANIFEST",
        about: "Check a version.json and its version.json.sig.",
        options: &[release::VERIFY],
        settings: false,
        run: release::verify,
    },
    Command { name: "man", argument: "", about: "Print the manual page.", options: &[], settings: false, run: shells::man },
    Command {
        name: "completions",
        argument: "SHELL",
        about: "Print the completion of bash, zsh or fish.",
        options: &[],
        settings: false,
        run: shells::completions,
    },
    Command {
        name: "unit",
        argument: "[NAME]",
        about: "Print a file that an installation needs, or the names of all.",
        options: &[],
        settings: false,
        run: units::unit,
    },
    Command {
        name: "release fetch",
        argument: "URL",
        about: "Fetch a file of a release, where there is neither curl nor wget.",
        options: &[release::FETCH],
        settings: false,
        run: release::fetch,
    },
    Command {
        name: "fleet-update start",
        argument: "VERSION",
        about: "Put the fleet to a version, ring after ring.",
        options: &[fleet_update::START, SIGN_IN],
        settings: false,
        run: fleet_update::start,
    },
    Command {
        name: "fleet-update list",
        argument: "",
        about: "List updates of the fleet, newest first.",
        options: &[SIGN_IN],
        settings: false,
        run: fleet_update::list,
    },
    Command {
        name: "fleet-update show",
        argument: "UPDATE",
        about: "Print an update of the fleet.",
        options: &[SIGN_IN],
        settings: false,
        run: fleet_update::show,
    },
    Command {
        name: "fleet-update pause",
        argument: "UPDATE",
        about: "Tell nodes nothing more, until it is resumed.",
        options: &[SIGN_IN],
        settings: false,
        run: fleet_update::pause,
    },
    Command {
        name: "fleet-update resume",
        argument: "UPDATE",
        about: "Go on; nodes that failed try again.",
        options: &[SIGN_IN],
        settings: false,
        run: fleet_update::resume,
    },
    Command {
        name: "fleet-update cancel",
        argument: "UPDATE",
        about: "End an update; what was updated stays so.",
        options: &[SIGN_IN],
        settings: false,
        run: fleet_update::cancel,
    },
    Command {
        name: "update",
        argument: "",
        about: "Put the newest version in this program's place; go back if it is not well.",
        options: &[update::UPDATE, update::HANDED_ON, update::STATE],
        settings: false,
        run: update::update,
    },
    Command {
        name: "update status",
        argument: "",
        about: "Tell how the last update of this machine went.",
        options: &[update::STATE, &[opt("json", "", "print JSON")]],
        settings: false,
        run: update::status,
    },
    Command {
        name: "version",
        argument: "",
        about: "Print the version.",
        options: &[version::VERSION],
        settings: false,
        run: version::version,
    },
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
    let args = args::read(line.iter().cloned(), COMMANDS, GLOBAL);
    let command = args.command.as_deref().map(|name| (name, COMMANDS.iter().find(|c| c.name == name)));
    match command {
        Some((_, Some(command))) if command.name == "help" => help(&args),
        Some((_, Some(command))) if args.has("help") => {
            output::print(&args::help(command, GLOBAL));
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
        None if args.has("help") => help(&args),
        Some((name, None)) => {
            let first = name.split(' ').next().unwrap_or(name);
            let under: Vec<&str> = COMMANDS.iter().filter_map(|c| c.name.strip_prefix(first)?.strip_prefix(' ')).collect();
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

fn help(args: &Args) -> Result<(), Failure> {
    match args.words.join(" ").as_str() {
        "" => output::print(&args::overview(COMMANDS, GLOBAL)),
        name => match COMMANDS.iter().find(|c| c.name == name) {
            Some(command) => output::print(&args::help(command, GLOBAL)),
            None => args.fault(format!("unknown command {name:?}")),
        },
    }
    args.finish()
}

/// Prints a list as a table, or as JSON where that is asked for.
fn listed(args: &Args, list: Vec<Value>, header: &[&str], keys: &[&str]) {
    if args.has("json") {
        output::json(&Value::Array(list));
    } else {
        output::header(header);
        output::rows(&list, keys);
    }
}

/// Prints an object as a line for each field, or as JSON where that is asked for.
fn shown(args: &Args, object: &Value) {
    if args.has("json") { output::json(object) } else { output::fields(object) }
}

/// Takes away what the command's argument names.
fn remove(args: &Args, path: &str) -> Result<(), Failure> {
    signed_in(args)?.delete(path)?;
    match args.has("json") {
        true => output::json(&serde_json::json!({"removed": args.word(0)})),
        false => output::print(&format!("Removed {}.\n", output::ascii(args.word(0)))),
    }
    Ok(())
}

/// A value as text, without quotes; nothing for null.
fn said(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_string)
}

/// A text as a part of a URL.
fn encoded(text: &str) -> String {
    crate::percent::encode(text)
}

/// The URL of the API, where the command line or the environment says one.
fn said_api_url(args: &Args) -> Option<String> {
    let env = std::env::var("UPTIMEMESH_API_URL").ok().filter(|v| !v.is_empty());
    args.get("api-url").map(str::to_string).or(env)
}

/// Says what the server warns of beside its answer.
fn warnings(answer: &Value) {
    for warning in answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        eprintln!("warning: {}", output::ascii(warning));
    }
}

/// The URL of the API.
fn api_url(args: &Args) -> String {
    said_api_url(args).unwrap_or(API_URL.to_string())
}

/// Whom to believe, where the command line or the environment says it.
fn authorities(args: &Args) -> Option<Trust> {
    let env = std::env::var("UPTIMEMESH_CA_FILE").ok().filter(|v| !v.is_empty());
    let path = args.get("ca-file").map(str::to_string).or(env)?;
    client::authorities_in(&path).map(Trust::Authorities).map_err(|why| args.fault(why)).ok()
}

/// The API that the command line names.
fn api(args: &Args) -> Result<Api, Failure> {
    let url = api_url(args);
    let api = match authorities(args) {
        Some(trust) => Api::with(&[url], Some(trust), None),
        None => Api::new(&url),
    };
    args.finish()?;
    api.map_err(|why| Failure::Usage(vec![why]))
}

/// The same, signed in, or with an API token.
fn signed_in(args: &Args) -> Result<Api, Failure> {
    let asked = |name: &str| args.has(name) || args.has(&format!("{name}-file"));
    // Who says on the command line who signs in means it, whatever the environment says.
    let by_name = args.has("username") || asked("password");
    if (!by_name || asked("api-token"))
        && let Some(token) = args.token("api-token", "UPTIMEMESH_API_TOKEN")
    {
        args.finish()?;
        return Ok(api(args)?.with_token(token)?);
    }
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
