//! A run: one life of a replica on this machine, from its start to its end. Plain types; their JSON is what the files
//! of a run hold, and what another version of the program reads.

use crate::clock::Timestamp;
use crate::crypto;
use crate::model::ids::{ReplicaId, ServiceId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Version of the files of a run. A keeper is as old as its run: files of the previous version stay readable.
pub const VERSION: u32 = 1;

/// Random name of a run, 12 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct RunId(String);

impl RunId {
    /// A name that no other run has.
    pub fn random() -> RunId {
        RunId(crypto::random_hex(6))
    }

    /// Parses the name of a run.
    pub fn parse(text: &str) -> Option<RunId> {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 12 && text.bytes().all(is_digit)).then(|| RunId(text.to_string()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RunId {
    type Error = String;

    fn try_from(text: String) -> Result<RunId, String> {
        RunId::parse(&text).ok_or_else(|| format!("{text:?} is not the name of a run: 12 hexadecimal digits"))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A run as it is to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// [`VERSION`] of the program that started the run.
    pub v: u32,
    /// Its name.
    pub id: RunId,
    /// The replica that lives in it.
    pub replica_id: ReplicaId,
    /// The replica's service.
    pub service_id: ServiceId,
    /// Generation of the service.
    pub generation: i64,
    /// Digest of all that the run depends on, as the caller computed it.
    pub digest: String,
    /// The program, an absolute path, and its arguments.
    pub command: Vec<String>,
    /// Environment beside `PATH`, `HOME` and the names that begin with `UPTIMEMESH_`.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Working directory; `/` if not given.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// Name or number of the user; if not given, the user of the runner.
    #[serde(default)]
    pub user: Option<String>,
    /// Limits, which are enforced where the machine can.
    #[serde(default)]
    pub limits: Limits,
    /// Bounds of the logs.
    #[serde(default)]
    pub logs: LogBounds,
    /// Way of stopping it, once its service is gone.
    #[serde(default)]
    pub stop: StopSpec,
    /// Place among the runs of the replica: later ones have greater numbers.
    #[serde(default)]
    pub sequence: u64,
    /// Starts of the replica before it, with the same digest.
    #[serde(default)]
    pub restarts: u64,
    /// Failures in a row before it.
    #[serde(default)]
    pub streak: u32,
}

/// The end of a run on request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopSpec {
    /// Name of the signal that requests it.
    pub signal: String,
    /// Seconds until SIGKILL.
    pub grace_s: u64,
}

impl Default for StopSpec {
    fn default() -> StopSpec {
        StopSpec { signal: "SIGTERM".to_string(), grace_s: 10 }
    }
}

/// Limits of a run and of all that it starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Processor time, in thousandths of a processor.
    pub cpu_millis: Option<u64>,
    /// Memory in MiB.
    pub memory_mb: Option<u64>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
}

/// Bounds of a run's logs on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogBounds {
    /// Size of each file in MiB.
    pub max_mb: u64,
    /// Number of files.
    pub files: u32,
}

impl Default for LogBounds {
    fn default() -> LogBounds {
        LogBounds { max_mb: 10, files: 3 }
    }
}

/// Way in which the end of a run was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// By its stop signal.
    Stop,
    /// By SIGKILL, because its grace was over.
    Kill,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status, unless a signal ended it.
    pub code: Option<i32>,
    /// Number of the signal that ended it.
    pub signal: Option<i32>,
    /// True if the kernel killed it, or a process that it started, for want of memory within its limit.
    pub oom: bool,
    /// Request that led to the end, if one did.
    pub asked: Option<Asked>,
    /// Time of the start.
    pub started_at: Timestamp,
    /// Time of the end.
    pub ended_at: Timestamp,
    /// Number of log lines that the disk did not take.
    pub lines_lost: u64,
    /// Why it did not start, as a sentence: `cannot start: ..`.
    pub failure: Option<String>,
}

/// State of a run on this machine.
#[derive(Debug, Clone, PartialEq)]
pub enum RunState {
    /// Its keeper lives; its program is not there yet.
    Starting,
    /// Its program runs.
    Running {
        /// The program's process.
        pid: u32,
        /// Time of the start.
        started_at: Timestamp,
    },
    /// Its program has ended, with all that it started.
    Ended(Exit),
    /// Its keeper is gone and left no exit.
    Lost,
}

/// A run that was found on this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenRun {
    /// The run as it was started.
    pub spec: RunSpec,
    /// Its state.
    pub state: RunState,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_runs_are_random_and_checked() {
        let id = RunId::random();
        assert_eq!(RunId::parse(id.as_str()), Some(id.clone()));
        assert_ne!(RunId::random(), id);
        for bad in ["", "0123456789a", "0123456789abc", "0123456789aB", "../456789abc", "0123456789a\u{e9}"] {
            assert_eq!(RunId::parse(bad), None, "{bad}");
            assert!(serde_json::from_value::<RunId>(bad.into()).is_err(), "{bad}");
        }
    }
}
