//! `docs`: the documentation on a terminal.

use super::args::{Args, Command, Failure, command};
use super::output;
use crate::docs::{TOPICS, topic};

/// Every command of this file.
pub const COMMANDS: &[Command] =
    &[command("docs", "[TOPIC]", "Print a topic of the documentation, or list all topics.", &[], docs)];

/// Prints a topic, or the names and titles of all.
fn docs(args: &Args) -> Result<(), Failure> {
    let (name, topic) = (args.word(0), topic(args.word(0)));
    if topic.is_none() && !name.is_empty() {
        let names: Vec<&str> = TOPICS.iter().map(|t| t.name).collect();
        args.fault(format!("TOPIC must be one of {}, not {name:?}", names.join(", ")));
    }
    args.finish()?;
    match topic {
        Some(topic) => output::print(topic.text),
        None => output::print(&TOPICS.iter().map(|t| format!("{:<16} {}\n", t.name, t.title())).collect::<String>()),
    }
    Ok(())
}
