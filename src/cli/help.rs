//! `help`, and what `--help` prints.

use super::args::{Args, Command, Failure, Opt, command, flag_of};
use super::{GLOBAL, commands, find, output};
use crate::config::SETTINGS;
use std::fmt::Write;

/// Every command of this file.
pub const COMMANDS: &[Command] = &[command("help", "[COMMAND]", "Print this, or the help of a command.", &[], help)];

pub(super) fn help(args: &Args) -> Result<(), Failure> {
    match args.words.join(" ").as_str() {
        "" => output::print(&overview(&commands(), GLOBAL)),
        name => match find(name) {
            Some(command) => output::print(&of_command(command, GLOBAL)),
            None => args.fault(format!("unknown command {name:?}")),
        },
    }
    args.finish()
}

/// What `uptimemesh help` says.
pub(super) fn overview(commands: &[&Command], global: &[Opt]) -> String {
    let mut out = "UptimeMesh keeps a small fleet of machines running: control plane, node agent and command line in one program.\n\n\
                   usage: uptimemesh [--api-url URL] COMMAND [options]\n\ncommands:\n"
        .to_string();
    for command in commands {
        let name = format!("{} {}", command.name, command.argument);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name:<27} {}", command.about);
    }
    out.push_str("\noptions of every command:\n");
    options(global, &mut out);
    out.push_str("\n`uptimemesh COMMAND --help` tells the options of a command.\n");
    out
}

/// What `uptimemesh COMMAND --help` says.
pub(super) fn of_command(command: &Command, global: &[Opt]) -> String {
    let argument = if command.argument.is_empty() { String::new() } else { format!(" {}", command.argument) };
    let mut out = format!("{}\n\nusage: uptimemesh {}{argument} [options]\n\noptions:\n", command.about, command.name);
    for group in command.options {
        options(group, &mut out);
    }
    options(global, &mut out);
    if command.settings {
        out.push_str("\nsettings, each also from the environment or .env under the name in brackets:\n");
        for setting in SETTINGS {
            let default = if setting.default.is_empty() { String::new() } else { format!(" (default {})", setting.default) };
            // Others on the machine can see the arguments of a process.
            let flag = if setting.is_secret() { String::new() } else { format!("--{} VALUE", flag_of(setting.name)) };
            let _ = writeln!(out, "  {flag:<40} {} [{}]{default}", setting.help, setting.name);
        }
    }
    out
}

fn options(list: &[Opt], out: &mut String) {
    for o in list {
        let short = o.letter.map_or(String::new(), |letter| format!("-{letter}, "));
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {:<26} {}", format!("{short}--{} {}", o.name, o.value), o.help);
    }
}
