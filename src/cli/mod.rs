//! The command line: nouns with verbs over the server, the agent and the API. Each file has the table of its commands;
//! errors go to stderr as `error: ...`, with the exit codes of `failure.rs`.

mod agent;
mod answers;
mod api_tokens;
mod args;
mod backups;
mod banner;
mod bundles;
mod ca;
mod config;
mod connect;
mod console;
mod contexts;
mod docs;
mod doctor;
mod endpoints;
mod events;
mod failure;
mod help;
mod join;
mod join_tokens;
mod leases;
mod local;
mod login;
mod logs;
mod names;
mod nodes;
mod output;
mod progress;
mod release;
mod replicas;
mod routers;
mod runner;
mod scheduler;
mod sentences;
mod server;
mod services;
mod sessions;
mod settings;
mod shells;
mod snapshots;
mod status;
mod units;
mod up;
mod updater;
mod updates;
mod users;
mod version;
mod waiting;
mod watch;
mod wireguard;

use args::{Args, Command, Failure, Opt, opt};
use names::Named;
use std::ffi::OsString;
use std::process::ExitCode;

/// Options of every command.
const GLOBAL: &[Opt] = &[
    opt("api-url", "URL", "the control plane (default http://127.0.0.1:8000) [UPTIMEMESH_API_URL]"),
    opt("ca-file", "FILE", "authorities (PEM) to believe over https, instead of the system's [UPTIMEMESH_CA_FILE]"),
    opt(
        "context",
        "NAME",
        "the control plane that you signed in to under this name, instead of the current one [UPTIMEMESH_CONTEXT]",
    ),
    opt(
        config::SETTINGS_FILE,
        "FILE",
        "take what this file says as the environment, over what is there; the units of services use it",
    ),
    opt("help", "", "print this help").short('h'),
];

/// Tables of commands under a title of the help.
struct Group {
    title: &'static str,
    tables: &'static [&'static [Command]],
}

/// Every table of commands, in the order of the help.
const GROUPS: &[Group] = &[
    Group {
        title: "nodes",
        tables: &[nodes::COMMANDS, leases::COMMANDS, wireguard::COMMANDS, join_tokens::COMMANDS, ca::COMMANDS],
    },
    Group {
        title: "services",
        tables: &[
            services::COMMANDS,
            replicas::COMMANDS,
            logs::COMMANDS,
            endpoints::COMMANDS,
            routers::COMMANDS,
            scheduler::COMMANDS,
            snapshots::COMMANDS,
        ],
    },
    Group {
        title: "access",
        tables: &[login::COMMANDS, contexts::COMMANDS, users::COMMANDS, sessions::COMMANDS, api_tokens::COMMANDS],
    },
    Group {
        title: "operation",
        tables: &[
            status::COMMANDS,
            events::COMMANDS,
            settings::COMMANDS,
            bundles::COMMANDS,
            backups::COMMANDS,
            updater::COMMANDS,
            updates::COMMANDS,
            config::COMMANDS,
            release::COMMANDS,
            runner::COMMANDS,
        ],
    },
    Group {
        title: "this machine",
        tables: &[
            up::COMMANDS,
            server::COMMANDS,
            join::COMMANDS,
            agent::COMMANDS,
            doctor::COMMANDS,
            shells::COMMANDS,
            units::COMMANDS,
            version::COMMANDS,
            docs::COMMANDS,
            help::COMMANDS,
        ],
    },
];

/// Every command.
fn commands() -> Vec<&'static Command> {
    GROUPS.iter().flat_map(|group| group.tables.iter().copied().flatten()).collect()
}

/// Runs the program with these arguments, the program's own name left out.
pub fn run(line: impl IntoIterator<Item = OsString>) -> ExitCode {
    crate::files::private_by_default();
    let mut line: Vec<OsString> = line.into_iter().collect();
    if let Some(code) = crate::runner::internal_mode(&line) {
        return code;
    }
    if let Some(first) = line.first_mut().filter(|first| *first == "--version" || *first == "-V") {
        *first = "version".into();
    }
    let mut args = args::read(line.iter().cloned(), &commands(), GLOBAL);
    let Err(failure) = dispatch(&mut args, line) else { return ExitCode::SUCCESS };
    crate::logger::flush();
    for fault in failure.lines() {
        output::remark(&format!("error: {fault}"));
    }
    if failure.lines().is_empty() {
        eprint!("{}", help::overview());
    } else if let Failure::Usage(_) = failure {
        eprintln!("Try: uptimemesh help");
    }
    ExitCode::from(failure.exit_code(&args.called))
}

fn dispatch(args: &mut Args, line: Vec<OsString>) -> Result<(), Failure> {
    let fault = match names::find(&args.words) {
        Named::Command(command, words) => {
            args.take_name(words);
            return run_command(command, args, line);
        }
        Named::Noun(noun) if args.has("help") => {
            output::prose(&help::of_noun(noun));
            return Ok(());
        }
        Named::Nothing if args.has("help") => return help::help(args),
        Named::Noun(noun) => format!("{noun:?} is followed by one of: {}", names::verbs(noun).join(", ")),
        // The help says it better than an error.
        Named::Nothing if line.is_empty() => return Err(Failure::Usage(Vec::new())),
        Named::Nothing => "a command is missing".to_string(),
        Named::Unknown(why) => why,
    };
    args.name_unknown(&GLOBAL.iter().map(|o| o.name).collect::<Vec<_>>());
    args.fault(fault);
    args.finish()
}

fn run_command(command: &Command, args: &Args, line: Vec<OsString>) -> Result<(), Failure> {
    if command.name == "help" {
        return help::help(args);
    }
    if args.has("help") {
        output::prose(&help::of_command(command));
        return Ok(());
    }
    if args.has(config::SETTINGS_FILE) {
        return Err(config::exec_with_env(line));
    }
    let unreadable = config::unreadable_variables();
    // The settings' own reader reports them together with its other faults.
    if !unreadable.is_empty() && !command.settings {
        return Err(Failure::Failed(unreadable.join("\n")));
    }
    args.check(command, GLOBAL, command.noun().and_then(names::follower));
    output::check(args);
    (command.run)(args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_option_takes_values_in_one_way_in_every_command() {
        let mut kinds: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
        for command in commands() {
            for o in command.options.iter().copied().flatten() {
                let kind = (o.value.is_empty(), o.value.ends_with("..."));
                assert_eq!(*kinds.entry(o.name).or_insert(kind), kind, "--{} of {}", o.name, command.name);
            }
        }
        let line = ["user", "add", "--role", "viewer", "bob"].map(OsString::from);
        assert_eq!(args::read(line, &commands(), GLOBAL).words, ["user", "add", "bob"], "a value is one word");
    }
}
