//! Rows of the tables of commands and options, and reading a command line by them.

pub use super::failure::Failure;

use crate::config::SETTINGS;
use crate::text::{self, nearest};
use lexopt::Arg::{Long, Short, Value};
use std::cell::RefCell;

/// Largest secret in a file, in bytes.
const SECRET_BYTES_MAX: usize = 4096;

/// An option of a command.
#[derive(Clone, Copy)]
pub struct Opt {
    /// Name, without the dashes.
    pub name: &'static str,
    /// Letter of its short form, if it has one.
    pub letter: Option<char>,
    /// Placeholder of its value in the help; empty for a flag.
    pub value: &'static str,
    /// Description, with unit and default.
    pub help: &'static str,
    /// True if it is understood, for old scripts, and not listed.
    pub hidden: bool,
}

/// A row of a table of options.
pub const fn opt(name: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt { name, letter: None, value, help, hidden: false }
}

impl Opt {
    /// Gives it a short form.
    pub const fn short(self, letter: char) -> Opt {
        Opt { letter: Some(letter), ..self }
    }

    /// Keeps it out of help, manual and completions.
    pub const fn hidden(self) -> Opt {
        Opt { hidden: true, ..self }
    }
}

/// A subcommand.
pub struct Command {
    /// Name: one word, or a noun and a verb.
    pub name: &'static str,
    /// Arguments as the help shows them, optional ones in brackets; empty when it takes none.
    pub argument: &'static str,
    /// Description, a sentence.
    pub about: &'static str,
    /// Options, beside those of every command.
    pub options: &'static [&'static [Opt]],
    /// True if every setting of the server is an option too.
    pub settings: bool,
    /// Names of earlier versions, understood and not listed.
    pub old_names: &'static [&'static str],
    /// Lines of a shell that show its use; empty where the usage says enough.
    pub example: &'static str,
    /// Runs it.
    pub run: fn(&Args) -> Result<(), Failure>,
}

/// A row of a table of commands.
pub const fn command(
    name: &'static str,
    argument: &'static str,
    about: &'static str,
    options: &'static [&'static [Opt]],
    run: fn(&Args) -> Result<(), Failure>,
) -> Command {
    Command { name, argument, about, options, settings: false, old_names: &[], example: "", run }
}

impl Command {
    /// Its noun, if its name is a noun and a verb.
    pub fn noun(&self) -> Option<&'static str> {
        self.name.split_once(' ').map(|(noun, _)| noun)
    }

    /// Takes every setting of the server as an option too.
    pub const fn with_settings(self) -> Command {
        Command { settings: true, ..self }
    }

    /// Gives it names of earlier versions.
    pub const fn formerly(self, old_names: &'static [&'static str]) -> Command {
        Command { old_names, ..self }
    }

    /// Gives its help an example.
    pub const fn example(self, example: &'static str) -> Command {
        Command { example, ..self }
    }

    /// The options that are listed.
    pub fn listed_options(&self) -> impl Iterator<Item = &'static Opt> + use<> {
        self.options.iter().copied().flatten().filter(|o| !o.hidden)
    }
}

/// A command line that was read.
#[derive(Default)]
pub struct Args {
    /// The name of the command as it was typed.
    pub called: String,
    /// The words that are not options: first all of them, after `name_taken` those behind the command's name.
    pub words: Vec<String>,
    values: Vec<(String, String)>,
    /// Options that no command has, as they were typed.
    unknown: Vec<String>,
    faults: RefCell<Vec<String>>,
}

/// Reads a command line. Options may stand before and after the subcommand; each `--name VALUE` or `--name=VALUE`.
pub fn read(line: impl IntoIterator<Item = std::ffi::OsString>, commands: &[&Command], global: &[Opt]) -> Args {
    let options = || commands.iter().flat_map(|c| c.options.iter().copied().flatten()).chain(global);
    // Commands may use one letter for different options.
    let short = |letter: char, words: &[String]| {
        let said = words.join(" ") + " ";
        let is_named = |c: &&&Command| said.strip_prefix(c.name).is_some_and(|rest| rest.starts_with(' '));
        let own = commands.iter().filter(is_named).flat_map(|c| c.options.iter().copied().flatten());
        own.chain(options()).find(|o| o.letter == Some(letter)).map(|o| o.name.to_string())
    };
    let takes_many = |name: &str| options().any(|o| o.name == name && o.value.ends_with("..."));
    let takes_value = |name: &str| {
        options().find(|o| o.name == name).map(|o| !o.value.is_empty()).or_else(|| setting(name).map(|_| true))
    };
    let mut args = Args::default();
    let mut parser = lexopt::Parser::from_args(line);
    loop {
        let (written, name) = match parser.next() {
            Ok(None) => return args,
            Ok(Some(Long(name))) => (format!("--{name}"), Some(name.to_string())),
            Ok(Some(Short(letter))) => (format!("-{letter}"), short(letter, &args.words)),
            Ok(Some(Value(word))) => {
                let word = word.to_string_lossy().into_owned();
                match args.values.last() {
                    Some((name, _)) if takes_many(name) && !args.words.is_empty() => {
                        args.values.push((name.clone(), word))
                    }
                    _ => args.words.push(word),
                }
                continue;
            }
            Err(e) => {
                args.fault(e.to_string());
                continue;
            }
        };
        let known = name.and_then(|name| takes_value(&name).map(|takes| (name, takes)));
        match known {
            Some((name, true)) => match parser.value().map(|value| value.into_string()) {
                Ok(Ok(value)) => args.values.push((name, value)),
                // Another directory than the one that was meant would be taken.
                Ok(Err(_)) => args.fault(format!("{written} has a value that is not UTF-8")),
                Err(_) => args.fault(format!("{written} needs a value")),
            },
            Some((name, false)) => args.values.push((name, String::new())),
            None => {
                // What stands after `=` belongs to it.
                let _ = parser.optional_value();
                args.unknown.push(written);
            }
        }
    }
}

fn setting(flag: &str) -> Option<&'static str> {
    SETTINGS.iter().filter(|s| !s.is_secret()).map(|s| s.name).find(|name| flag_of(name) == flag)
}

/// The flag of a setting: `SERVER_PORT` is `--server-port`.
pub(super) fn flag_of(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

impl Args {
    /// Takes this many words as the command's name.
    pub fn take_name(&mut self, words: usize) {
        self.called = self.words.drain(..words).collect::<Vec<_>>().join(" ");
    }

    /// An argument of the command; empty where it was not given.
    pub fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    /// Finds what the command does not take; `follower` is the command to use for `--watch`, if there is one.
    pub fn check(&self, command: &Command, global: &'static [Opt], follower: Option<&str>) {
        let mut known: Vec<String> = command.listed_options().chain(global).map(|o| o.name.to_string()).collect();
        if command.settings {
            known.extend(SETTINGS.iter().filter(|s| !s.is_secret()).map(|s| flag_of(s.name)));
        }
        self.name_unknown(&known);
        for (name, _) in &self.values {
            let own = command.options.iter().copied().flatten().chain(global).any(|o| o.name == name);
            let of_server = command.settings && setting(name).is_some();
            if !own && !of_server {
                let instead = follower
                    .filter(|_| name == "watch")
                    .map(|name| format!("; to follow a list: uptimemesh {name} --watch"));
                self.fault(format!("{} takes no option --{name}{}", command.name, instead.unwrap_or_default()));
            }
        }
        let most = command.argument.split_whitespace().count();
        let least = command.argument.split_whitespace().filter(|name| !name.starts_with('[')).count();
        self.words.iter().skip(most).for_each(|word| self.fault(format!("unexpected argument {word:?}")));
        if self.words.len() < least {
            self.fault(format!("{} needs {}", command.name, command.argument));
        }
    }

    /// Reports options that no command has, each with the nearest of these names.
    pub fn name_unknown(&self, known: &[impl AsRef<str>]) {
        for written in &self.unknown {
            let meant = written.strip_prefix("--").and_then(|name| nearest(name, known.iter().map(AsRef::as_ref)));
            let meant = meant.map_or(String::new(), |name| format!("; did you mean --{name}?"));
            self.fault(format!("unknown option {written}{meant}"));
        }
    }

    /// The value of an option: the last one counts.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// True if an option was given.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Every value of an option that may be given again and again.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// An option that must be given.
    pub fn required(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| {
            self.fault(format!("--{name} is required"));
            ""
        })
    }

    /// A whole number.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.get(name) {
            None => default,
            Some(text) => text.parse().unwrap_or_else(|_| {
                self.fault(format!("--{name} must be a whole number, not {text:?}"));
                default
            }),
        }
    }

    /// Pairs of an option whose values are `KEY=VALUE`.
    pub fn pairs(&self, name: &str) -> serde_json::Map<String, serde_json::Value> {
        let mut pairs = serde_json::Map::new();
        for pair in self.all(name) {
            match pair.split_once('=') {
                Some((key, value)) if !key.is_empty() => drop(pairs.insert(key.to_string(), value.into())),
                _ => self.fault(format!("--{name} must be KEY=VALUE, not {pair:?}")),
            }
        }
        pairs
    }

    /// A secret: from the option itself, from a file (`-` is standard input), or from the environment, so that it need
    /// not stand in the list of processes. Line breaks at its end are not part of it, blanks are.
    pub fn secret(&self, name: &str, env: &str) -> Option<String> {
        let given = match self.get(&format!("{name}-file")) {
            Some(path) => text::file_or_stdin(path, SECRET_BYTES_MAX)
                .map_err(|why| self.fault(format!("--{name}-file {why}")))
                .ok(),
            None => self.get(name).map(str::to_string).or_else(|| std::env::var(env).ok().filter(|v| !v.is_empty())),
        };
        given.map(|given| text::secret(&given).to_string())
    }

    /// A secret that has no blanks: a token, a join string. Those around it are not part of it.
    pub fn token(&self, name: &str, env: &str) -> Option<String> {
        self.secret(name, env).map(|token| token.trim().to_string())
    }

    /// The options that are settings of the server.
    pub fn settings(&self) -> Vec<(String, String)> {
        self.values.iter().filter(|(name, _)| setting(name).is_some()).cloned().collect()
    }

    /// Notes a fault of the command line.
    pub fn fault(&self, why: String) {
        self.faults.borrow_mut().push(why);
    }

    /// Fails with every fault that was found.
    pub fn finish(&self) -> Result<(), Failure> {
        let faults = self.faults.take();
        if faults.is_empty() { Ok(()) } else { Err(Failure::Usage(faults)) }
    }
}
