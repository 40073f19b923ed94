//! Rows of the tables of commands and options, and reading a command line by them.

use crate::config::SETTINGS;
use crate::text;
use lexopt::Arg::{Long, Short, Value};
use std::cell::RefCell;

/// A secret in a file is at most so long.
const SECRET_BYTES_MAX: usize = 4096;

/// An option of a command.
pub struct Opt {
    /// Name, without the dashes.
    pub name: &'static str,
    /// Letter of its short form, if it has one.
    pub letter: Option<char>,
    /// What stands for its value in the help; empty for an option without one.
    pub value: &'static str,
    /// What it does, with unit and default.
    pub help: &'static str,
}

/// A row of a table of options.
pub const fn opt(name: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt { name, letter: None, value, help }
}

impl Opt {
    /// Gives it a short form.
    pub const fn short(self, letter: char) -> Opt {
        Opt { letter: Some(letter), ..self }
    }
}

/// A subcommand.
pub struct Command {
    /// Name: one word, or a noun and a verb.
    pub name: &'static str,
    /// Arguments as the help shows them, optional ones in brackets; empty when it takes none.
    pub argument: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// Options, beside those of every command.
    pub options: &'static [&'static [Opt]],
    /// True if every setting of the server is an option too.
    pub settings: bool,
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
    Command { name, argument, about, options, settings: false, run }
}

impl Command {
    /// Takes every setting of the server as an option too.
    pub const fn with_settings(self) -> Command {
        Command { settings: true, ..self }
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug, PartialEq)]
pub enum Failure {
    /// The command line is wrong; every fault.
    Usage(Vec<String>),
    /// It was tried, and failed.
    Failed(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure::Failed(why)
    }
}

impl From<crate::error::Error> for Failure {
    fn from(e: crate::error::Error) -> Failure {
        Failure::Failed(crate::error::Chain(&e).to_string())
    }
}

impl From<crate::client::CallError> for Failure {
    fn from(e: crate::client::CallError) -> Failure {
        Failure::Failed(e.to_string())
    }
}

/// A command line that was read.
#[derive(Default)]
pub struct Args {
    /// The first word that is no option.
    pub command: Option<String>,
    /// The words after it.
    pub words: Vec<String>,
    values: Vec<(String, String)>,
    faults: RefCell<Vec<String>>,
}

/// Reads a command line. Options may stand before and after the subcommand; each `--name VALUE` or `--name=VALUE`.
pub fn read(line: impl IntoIterator<Item = std::ffi::OsString>, commands: &[&Command], global: &[Opt]) -> Args {
    let options = || commands.iter().flat_map(|c| c.options.iter().copied().flatten()).chain(global);
    let takes_many = |name: &str| options().any(|o| o.name == name && o.value.ends_with("..."));
    let takes_value = |name: &str| options().find(|o| o.name == name).map(|o| !o.value.is_empty()).or_else(|| setting(name).map(|_| true));
    let mut args = Args::default();
    let mut parser = lexopt::Parser::from_args(line);
    loop {
        let (written, name) = match parser.next() {
            Ok(None) => {
                args.join_names(commands);
                return args;
            }
            Ok(Some(Long(name))) => (format!("--{name}"), Some(name.to_string())),
            Ok(Some(Short(letter))) => (format!("-{letter}"), options().find(|o| o.letter == Some(letter)).map(|o| o.name.to_string())),
            Ok(Some(Value(word))) => {
                let word = word.to_string_lossy().into_owned();
                match args.values.last() {
                    _ if args.command.is_none() => args.command = Some(word),
                    Some((name, _)) if takes_many(name) => args.values.push((name.clone(), word)),
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
                args.fault(format!("unknown option {written}"));
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
    /// Makes one name of a command's two words.
    fn join_names(&mut self, commands: &[&Command]) {
        if let (Some(first), Some(second)) = (&self.command, self.words.first()) {
            let both = format!("{first} {second}");
            if commands.iter().any(|c| c.name == both) {
                self.command = Some(both);
                self.words.remove(0);
            }
        }
    }

    /// An argument of the command; empty where it was not given.
    pub fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    /// Finds what the command does not take.
    pub fn check(&self, command: &Command, global: &[Opt]) {
        let mut faults = self.faults.borrow_mut();
        for (name, _) in &self.values {
            let own = command.options.iter().copied().flatten().chain(global).any(|o| o.name == name);
            let of_server = command.settings && setting(name).is_some();
            if !own && !of_server {
                faults.push(format!("{} takes no option --{name}", command.name));
            }
        }
        let most = command.argument.split_whitespace().count();
        let least = command.argument.split_whitespace().filter(|name| !name.starts_with('[')).count();
        faults.extend(self.words.iter().skip(most).map(|word| format!("unexpected argument {word:?}")));
        if self.words.len() < least {
            faults.push(format!("{} needs {}", command.name, command.argument));
        }
    }

    /// The value of an option: the last one counts.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether an option was given.
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

    /// A secret: from the option itself, from a file (`-` is standard input), or from the environment, so that it need not
    /// stand in the list of processes. Line breaks at its end are not part of it, blanks are.
    pub fn secret(&self, name: &str, env: &str) -> Option<String> {
        let given = match self.get(&format!("{name}-file")) {
            Some(path) => text::file_or_stdin(path, SECRET_BYTES_MAX).map_err(|why| self.fault(format!("--{name}-file {why}"))).ok(),
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
