//! Names of commands: which command the first words of a line mean, and what a mistyped word may mean.

use super::args::Command;
use super::commands;
use crate::text::nearest;

/// Verbs that remove; `rm` and `delete` mean the one that a noun has.
const REMOVING: &[&str] = &["delete", "revoke"];

/// Meaning of the first words of a command line.
pub enum Named {
    /// A command, and how many words its name has.
    Command(&'static Command, usize),
    /// A noun whose verb is missing.
    Noun(&'static str),
    /// No word stands there.
    Nothing,
    /// None of these, with a sentence for the user.
    Unknown(String),
}

/// Finds what these words name.
pub fn find(words: &[String]) -> Named {
    let Some(first) = words.first() else { return Named::Nothing };
    let second = words.get(1);
    if let Some(command) = second.and_then(|second| by_name(&format!("{first} {second}"))) {
        return Named::Command(command, 2);
    }
    let noun = noun_of(first);
    if let (Some(noun), Some(second)) = (noun, second)
        && let Some(command) = by_verb(noun, second)
    {
        return Named::Command(command, 2);
    }
    let plural = |noun: &&str| first.strip_suffix('s') == Some(noun);
    let single = by_name(first).or_else(|| noun.filter(plural).and_then(|noun| by_verb(noun, "list")));
    match (single, noun, second) {
        // What follows a noun that is a command too, and takes no argument, can only be a verb.
        (Some(command), Some(noun), Some(second))
            if command.argument.is_empty() && (noun == first || plural(&noun)) =>
        {
            unknown_verb(noun, second)
        }
        (Some(command), _, _) => Named::Command(command, 1),
        (None, Some(noun), Some(second)) => unknown_verb(noun, second),
        (None, Some(noun), None) => Named::Noun(noun),
        (None, None, _) => {
            let meant = nearest(first, first_words().into_iter())
                .map_or(String::new(), |word| format!("; did you mean {word:?}?"));
            Named::Unknown(format!("unknown command {first:?}{meant}"))
        }
    }
}

/// The command of this name, or of this name in an earlier version.
fn by_name(name: &str) -> Option<&'static Command> {
    let all = commands();
    all.iter().find(|c| c.name == name).or_else(|| all.iter().find(|c| c.old_names.contains(&name))).copied()
}

/// A noun's command of this verb.
fn by_verb(noun: &str, verb: &str) -> Option<&'static Command> {
    let named = |verb: &str| commands().into_iter().find(|c| c.name.split_once(' ') == Some((noun, verb)));
    match verb {
        "ls" => named("list"),
        "rm" | "delete" => REMOVING.iter().find_map(|verb| named(verb)),
        _ => named(verb),
    }
}

/// Nouns, in the order of the help.
pub fn nouns() -> Vec<&'static str> {
    let mut found: Vec<&str> = Vec::new();
    for noun in commands().iter().filter_map(|c| Some(c.name.split_once(' ')?.0)) {
        if !found.contains(&noun) {
            found.push(noun);
        }
    }
    found
}

/// The noun that a word is, in singular or plural, or was in an earlier version.
fn noun_of(word: &str) -> Option<&'static str> {
    let singular = word.strip_suffix('s').unwrap_or(word);
    let known = nouns().into_iter().find(|noun| *noun == word || *noun == singular);
    known.or_else(|| {
        let was =
            |c: &&Command| c.old_names.iter().any(|old| old.split_once(' ').is_some_and(|(noun, _)| noun == word));
        Some(commands().into_iter().find(was)?.name.split_once(' ')?.0)
    })
}

/// Commands of a noun.
pub fn of_noun(noun: &str) -> Vec<&'static Command> {
    commands().into_iter().filter(|c| c.name.split_once(' ').is_some_and(|(of, _)| of == noun)).collect()
}

/// The command that follows objects of a noun as they change.
pub fn follower(noun: &str) -> Option<&'static str> {
    let follows = |command: &&Command| command.listed_options().any(|o| o.name == "watch");
    of_noun(noun).into_iter().find(follows).map(|command| command.name)
}

/// Verbs of a noun.
pub fn verbs(noun: &str) -> Vec<&'static str> {
    of_noun(noun).iter().filter_map(|c| Some(c.name.split_once(' ')?.1)).collect()
}

/// Words that a command line may begin with.
fn first_words() -> Vec<&'static str> {
    commands().iter().map(|c| c.name.split(' ').next().unwrap_or(c.name)).collect()
}

fn unknown_verb(noun: &str, verb: &str) -> Named {
    let verbs = verbs(noun);
    let meant = match nearest(verb, verbs.iter().copied()) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("it has {}", verbs.join(", ")),
    };
    Named::Unknown(format!("{noun} has no verb {verb:?}; {meant}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name of version 2.0.0, those of version 1 among them.
    const OLD: &[&str] = &[
        "admin reset-password",
        "agent",
        "api-token create",
        "api-token delete",
        "api-tokens",
        "backup create",
        "backup list",
        "backup restore",
        "backup undo-upgrade",
        "backup verify",
        "bootstrap",
        "ca drop-previous",
        "ca nodes",
        "ca rotate",
        "ca show",
        "completions",
        "config check",
        "config get",
        "config show",
        "create-token",
        "delete-token",
        "doctor",
        "endpoints",
        "events",
        "explain",
        "fleet-update cancel",
        "fleet-update list",
        "fleet-update pause",
        "fleet-update resume",
        "fleet-update show",
        "fleet-update start",
        "heartbeat",
        "help",
        "join",
        "join-tokens",
        "man",
        "migrate",
        "node cordon",
        "node delete",
        "node drain",
        "node keep-run",
        "node reboot",
        "node room",
        "node rotate-keys",
        "node runs",
        "node show",
        "node uncordon",
        "nodes",
        "nodes-status",
        "plan",
        "rebalance",
        "reconcile",
        "release fetch",
        "release keygen",
        "release sign",
        "release verify",
        "replica delete",
        "replica move",
        "replica restart",
        "replica restore",
        "replica show",
        "replica snapshot",
        "replicas",
        "routers",
        "serve",
        "service apply",
        "service delete",
        "service history",
        "service rollback",
        "service rollout",
        "service show",
        "services",
        "session revoke",
        "sessions",
        "set-password",
        "setting set",
        "settings",
        "snapshots",
        "support-bundle create",
        "support-bundle download",
        "support-bundle list",
        "unit",
        "up",
        "update",
        "update status",
        "user add",
        "user delete",
        "user role",
        "user set-password",
        "users",
        "version",
        "whoami",
    ];

    #[test]
    fn every_name_of_an_earlier_version_is_a_command() {
        for name in OLD {
            let words: Vec<String> = name.split(' ').map(str::to_string).collect();
            assert!(matches!(find(&words), Named::Command(_, taken) if taken == words.len()), "{name}");
        }
        for old in commands().iter().flat_map(|c| c.old_names) {
            assert!(OLD.contains(old), "{old} is not a name of an earlier version");
        }
    }
}
