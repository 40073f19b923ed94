//! Failures of commands, and their exit codes.

use crate::agent::link::AgentError;
use crate::client::CallError;
use crate::error::{Chain, Error};

/// Exit codes: in a word, and in a sentence of the manual.
pub const EXIT_CODES: &[(u8, &str, &str)] = &[
    (0, "done", "The command did its work."),
    (1, "failed", "The control plane refused it, or it failed."),
    (2, "usage", "The command line is wrong; every fault is named."),
    (3, "unreachable", "The control plane does not answer, or cannot be verified."),
    (4, "timed out", "The time for waiting is over; the work may still go on."),
    (5, "conflict", "It conflicts with the current state: HTTP 409 or 412."),
];

/// Commands of version 1. Its scripts know two codes, so that every failure of these but a wrong command line is 1.
pub const VERSION_1: &[&str] = &["bootstrap", "create-token", "join", "heartbeat", "nodes-status"];

/// Why a command did not do its work.
#[derive(Debug, PartialEq)]
pub enum Failure {
    /// The command line is wrong; every fault.
    Usage(Vec<String>),
    /// It was tried and refused, or it failed.
    Failed(String),
    /// The control plane does not answer, or cannot be verified.
    Unreachable(String),
    /// The time for waiting is over; the work may still go on.
    TimedOut(String),
    /// The control plane refused it because of the present state: HTTP 409 or 412.
    Conflict(String),
}

impl Failure {
    /// The exit code, for a command that was called by this name.
    pub fn exit_code(&self, called: &str) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            _ if VERSION_1.contains(&called) => 1,
            Failure::Failed(_) => 1,
            Failure::Unreachable(_) => 3,
            Failure::TimedOut(_) => 4,
            Failure::Conflict(_) => 5,
        }
    }

    /// Lines to print, one for each fault.
    pub fn lines(&self) -> Vec<&str> {
        match self {
            Failure::Usage(faults) => faults.iter().map(String::as_str).collect(),
            Failure::Failed(why) | Failure::Unreachable(why) | Failure::TimedOut(why) | Failure::Conflict(why) => {
                why.lines().collect()
            }
        }
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure::Failed(why)
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        Failure::Failed(Chain(&e).to_string())
    }
}

impl From<AgentError> for Failure {
    fn from(e: AgentError) -> Failure {
        match e {
            AgentError::Call(e) => e.into(),
            AgentError::Local(e) => e.into(),
        }
    }
}

impl From<CallError> for Failure {
    fn from(e: CallError) -> Failure {
        match e {
            CallError::Unreachable(why) => Failure::Unreachable(why),
            CallError::Refused { status: 409 | 412, .. } => Failure::Conflict(e.to_string()),
            CallError::Refused { .. } => Failure::Failed(e.to_string()),
        }
    }
}
