//! The end of a run in words, and as it is reported.

use super::run::{Asked, Exit};
use crate::clock::Timestamp;
use crate::model::node_status::ExitReport;

/// Names of the signals that end programs.
const SIGNALS: &[(i32, &str)] = &[
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (24, "SIGXCPU"),
    (25, "SIGXFSZ"),
    (31, "SIGSYS"),
];

/// The end of a run in words; `None` is a run whose shim is gone.
pub fn words(exit: Option<&Exit>) -> String {
    let Some(exit) = exit else { return "lost with the process that watched it".to_string() };
    if let Some(failure) = &exit.failure {
        return failure.clone();
    }
    let name = |signal| SIGNALS.iter().find(|(number, _)| *number == signal).map(|(_, name)| name.to_string());
    let mut words = match (exit.signal, exit.code) {
        (Some(signal), _) => format!("killed by {}", name(signal).unwrap_or_else(|| format!("signal {signal}"))),
        (None, Some(code)) => format!("ended with status {code}"),
        (None, None) => "ended".to_string(),
    };
    if exit.oom {
        words.push_str(", out of memory");
    }
    match exit.asked {
        Some(Asked::Stop) => words.push_str(", as requested"),
        Some(Asked::Kill) => words.push_str(", as it did not stop in time"),
        None => {}
    }
    words
}

/// The end of a run as it is reported; `now` is the time of an end that left no word.
pub fn report(exit: Option<&Exit>, now: Timestamp) -> ExitReport {
    ExitReport {
        code: exit.and_then(|exit| exit.code),
        signal: exit.and_then(|exit| exit.signal),
        oom: exit.is_some_and(|exit| exit.oom),
        at: exit.map_or(now, |exit| exit.ended_at),
        words: words(exit),
    }
}
