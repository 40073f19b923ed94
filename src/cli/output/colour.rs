//! Colours of words that say how something is.

use std::fmt;

/// Meaning of a word's colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be: green.
    Good,
    /// In progress, or soon in need of attention: yellow.
    Busy,
    /// Wrong: red.
    Bad,
    /// Of no interest any more, or not known: dim.
    Quiet,
    /// Everything else.
    Plain,
}

/// Words of states, of every list.
const WORDS: &[(Tone, &[&str])] = &[
    (Tone::Good, &["alive", "healthy", "ready", "running", "completed", "done", "ok", "auto", "active", "open"]),
    (
        Tone::Busy,
        &[
            "stale",
            "suspect",
            "pending",
            "rolling out",
            "draining",
            "drained",
            "cordoned",
            "paused",
            "manual",
            "starting",
            "pulling",
            "stopping",
            "backing_off",
            "updating",
            "warn",
            "warning",
            "waiting",
            "must change",
        ],
    ),
    (
        Tone::Bad,
        &[
            "dead",
            "failed",
            "failing",
            "degraded",
            "crashloop",
            "refused",
            "unhealthy",
            "not ready",
            "blocked",
            "halted",
            "error",
            "critical",
            "fail",
            "expired",
        ],
    ),
    (Tone::Quiet, &["unknown", "-", "used", "cancelled", "stopped", "debug", "skipped", "none"]),
];

/// Tone of a state's word, in any case.
pub fn tone(word: &str) -> Tone {
    let found = WORDS.iter().find(|(_, words)| words.iter().any(|w| w.eq_ignore_ascii_case(word)));
    found.map_or(Tone::Plain, |(tone, _)| *tone)
}

/// Text between the codes of its colour; as it is if colours are off.
pub fn painted(text: impl fmt::Display, tone: Tone, is_on: bool) -> String {
    let code = match tone {
        _ if !is_on => return text.to_string(),
        Tone::Good => 32,
        Tone::Busy => 33,
        Tone::Bad => 31,
        Tone::Quiet => 2,
        Tone::Plain => return text.to_string(),
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_a_colour_and_any_other_word_none() {
        assert_eq!(painted("alive", tone("alive"), true), "\x1b[32malive\x1b[0m");
        assert_eq!(painted("WARNING", tone("WARNING"), true), "\x1b[33mWARNING\x1b[0m");
        assert_eq!(painted("dead", tone("dead"), true), "\x1b[31mdead\x1b[0m");
        assert_eq!(painted("-", tone("-"), true), "\x1b[2m-\x1b[0m");
        assert_eq!(painted("web", tone("web"), true), "web");
        assert_eq!(painted("dead", tone("dead"), false), "dead");
    }

    #[test]
    fn no_word_has_two_colours() {
        let all: Vec<&str> = WORDS.iter().flat_map(|(_, words)| words.iter().copied()).collect();
        for word in &all {
            assert_eq!(all.iter().filter(|w| *w == word).count(), 1, "{word}");
        }
    }
}
