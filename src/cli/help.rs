//! `help`, and what `--help` prints. All of it follows from the tables of commands.

use super::args::{Args, Command, Failure, Opt, command, flag_of};
use super::connect::ORDER;
use super::failure::EXIT_CODES;
use super::names::{self, Named};
use super::{GLOBAL, GROUPS, output};
use crate::config::SETTINGS;
use std::fmt::Write;

/// Every command of this file.
pub const COMMANDS: &[Command] =
    &[command("help", "[NOUN] [VERB]", "Print an overview, or the help of a noun or a command.", &[], help)];

/// Commands that matter first, in the order in which a newcomer needs them.
const FIRST: &[&str] =
    &["up", "login", "status", "token create", "join", "node list", "service apply", "logs", "node drain"];
/// Columns of a screen.
const COLUMNS: usize = 80;
/// Width of the names in a list, and of those in the overview, which has less room.
const NAME_COLUMNS: usize = 28;
const FIRST_COLUMNS: usize = 19;
/// Width of titles and of nouns in the overview.
const NOUN_COLUMNS: usize = 10;

/// Prints the overview, or the help of what its words name.
pub fn help(args: &Args) -> Result<(), Failure> {
    args.name_unknown(&GLOBAL.iter().map(|o| o.name).collect::<Vec<_>>());
    match names::find(&args.words) {
        Named::Nothing => output::print(&overview()),
        Named::Noun(noun) => output::prose(&of_noun(noun)),
        Named::Command(command, words) if words == args.words.len() => output::prose(&of_command(command)),
        Named::Command(..) => args.fault(format!("unknown command {:?}", args.words.join(" "))),
        Named::Unknown(why) => args.fault(why),
    }
    args.finish()
}

/// The screen of `uptimemesh help`.
pub fn overview() -> String {
    let mut out = "UptimeMesh: control plane, node agent and command line in one program.\n\
                   usage: uptimemesh COMMAND [options]\n\nfirst steps:\n"
        .to_string();
    let all = super::commands();
    for command in FIRST.iter().filter_map(|name| all.iter().find(|c| c.name == *name)) {
        // Writing to a String cannot fail.
        let _ =
            writeln!(out, "  {:<FIRST_COLUMNS$} {}", format!("{} {}", command.name, command.argument), command.about);
    }
    out.push('\n');
    for group in GROUPS {
        let is_in = |noun: &&str| group.tables.iter().copied().flatten().any(|c| c.noun() == Some(*noun));
        for (at, noun) in names::nouns().into_iter().filter(is_in).enumerate() {
            wrapped(&mut out, if at == 0 { group.title } else { "" }, noun, names::verbs(noun));
        }
    }
    let is_listed = |c: &&Command| c.noun().is_some() || FIRST.contains(&c.name) || names::nouns().contains(&c.name);
    wrapped(&mut out, "other", "", all.iter().filter(|c| !is_listed(c)).map(|c| c.name));
    let options: Vec<String> = GLOBAL.iter().filter(|o| !o.hidden).map(usage).collect();
    wrapped(&mut out, "options", "", options.iter().map(String::as_str));
    wrapped(&mut out, "signs in", "", ORDER.split(' '));
    let codes: Vec<String> = EXIT_CODES.iter().map(|(code, meaning, _)| format!("{code} {meaning}")).collect();
    wrapped(&mut out, "exit code", "", codes.join(", ").split(' '));
    let _ = writeln!(out, "more       uptimemesh help NOUN, uptimemesh help NOUN VERB, uptimemesh man");
    out
}

/// Writes words behind a title and a noun, broken into lines of a screen.
fn wrapped<'w>(out: &mut String, title: &str, noun: &str, words: impl IntoIterator<Item = &'w str>) {
    let noun = if noun.is_empty() { String::new() } else { format!(" {noun:<NOUN_COLUMNS$}") };
    let mut line = format!("{title:<NOUN_COLUMNS$}{noun}");
    let indent = line.len();
    for word in words {
        if line.len() + 1 + word.len() > COLUMNS {
            out.push_str(&line);
            out.push('\n');
            line = " ".repeat(indent);
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

/// Writes a name and what it is, on one line.
fn line(out: &mut String, name: &str, about: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "  {name:<NAME_COLUMNS$} {about}");
}

/// Output of `uptimemesh help NOUN`.
pub fn of_noun(noun: &str) -> String {
    let mut out = format!("usage: uptimemesh {noun} VERB [options]\n\nverbs:\n");
    verbs(&mut out, noun);
    let short =
        if names::verbs(noun).contains(&"list") { format!(" `{noun} ls` is `{noun} list`.") } else { String::new() };
    let _ = writeln!(out, "\n`uptimemesh help {noun} VERB` prints the options of a verb.{short}");
    out
}

fn verbs(out: &mut String, noun: &str) {
    for command in names::of_noun(noun) {
        let verb = command.name.split_once(' ').map_or("", |(_, verb)| verb);
        line(out, &format!("{verb} {}", command.argument), command.about);
    }
}

/// Output of `uptimemesh COMMAND --help`.
pub fn of_command(command: &Command) -> String {
    let argument = if command.argument.is_empty() { String::new() } else { format!(" {}", command.argument) };
    let mut out = format!("{}\n\nusage: uptimemesh {}{argument} [options]\n", command.about, command.name);
    if !command.example.is_empty() {
        out.push_str("\nexample:\n");
        command.example.lines().for_each(|line| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "  {line}");
        });
    }
    if !names::of_noun(command.name).is_empty() {
        out.push_str("\nverbs:\n");
        verbs(&mut out, command.name);
    }
    if command.listed_options().next().is_some() {
        out.push_str("\noptions:\n");
        options(command.listed_options(), &mut out);
    }
    out.push_str("\noptions of every command:\n");
    options(GLOBAL.iter().filter(|o| !o.hidden), &mut out);
    if command.settings {
        settings(&mut out);
    }
    out
}

fn settings(out: &mut String) {
    out.push_str("\nsettings, each also from the environment or .env under the name in brackets:\n");
    for setting in SETTINGS {
        let default =
            if setting.default.is_empty() { String::new() } else { format!(" (default {})", setting.default) };
        // Others on the machine can see the arguments of a process.
        let flag = if setting.is_secret() { String::new() } else { format!("--{} VALUE", flag_of(setting.name)) };
        let _ = writeln!(out, "  {flag:<40} {} [{}]{default}", setting.help(), setting.name);
    }
}

/// An option as it is typed, with its value.
fn usage(o: &Opt) -> String {
    let short = o.letter.map_or(String::new(), |letter| format!("-{letter}, "));
    let value = if o.value.is_empty() { String::new() } else { format!(" {}", o.value) };
    format!("{short}--{}{value}", o.name)
}

fn options<'o>(list: impl Iterator<Item = &'o Opt>, out: &mut String) {
    list.for_each(|o| line(out, &usage(o), o.help));
}
