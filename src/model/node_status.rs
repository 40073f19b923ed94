//! Report of a node on its replicas: the body of `POST /node/status`, and the answer.

use crate::clock::Timestamp;
use crate::model::ids::ReplicaId;
use crate::model::node_work::WorkVersion;
use crate::model::words::words;
use serde::{Deserialize, Serialize};

/// Most replicas of a report.
pub const CHANGES_MAX: usize = 1000;
/// Longest name of a runner's start.
pub const RUN_CHARS_MAX: usize = 64;
/// Longest sentence of a node, in characters.
pub const WORDS_CHARS_MAX: usize = 1024;
/// Most ports of a replica.
pub const PORTS_MAX: usize = 64;
/// Longest name of a port.
pub const PORT_NAME_CHARS_MAX: usize = 64;

/// A report of a node's runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// This start of the runner, any text that no other start has. The numbers of reports grow within it.
    pub run: String,
    /// True if `changes` has all replicas of the node, and not only those that have changed.
    #[serde(default)]
    pub full: bool,
    /// The state of the work that the runner acts on; `None` before it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<WorkVersion>,
    /// The replicas, each at most once.
    #[serde(default)]
    pub changes: Vec<ReplicaReport>,
    /// The work that the node got last and does not act on; `None` if it acts on all it got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<WorkRefusal>,
}

/// A state of the work that a node refuses as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkRefusal {
    /// The state; `None` if it was unreadable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<WorkVersion>,
    /// The reason, as a sentence.
    pub reason: String,
}

/// A report of a replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// The replica.
    pub replica_id: ReplicaId,
    /// Number of the report: a later one of the same start and replica has a greater one.
    pub seq: u64,
    /// Its status.
    pub status: ReplicaStatus,
}

words! {
    /// State of a replica, as the node that runs it reports it.
    pub enum RunWord {
        /// The node has the replica and has not begun to start it.
        Waiting = "waiting",
        /// The node fetches its image.
        Pulling = "pulling",
        /// The node starts its process.
        Starting = "starting",
        /// It runs, and its health is not known yet.
        Running = "running",
        /// It runs and is healthy.
        Healthy = "healthy",
        /// It runs, and its health check fails.
        Unhealthy = "unhealthy",
        /// The node stops its process.
        Stopping = "stopping",
        /// It was stopped as wanted.
        Stopped = "stopped",
        /// It has ended with success, and will not be started again.
        Completed = "completed",
        /// It has ended with an error, and will not be started again.
        Failed = "failed",
        /// The node's own policy forbids it, or the node cannot run it.
        Refused = "refused",
        /// It has ended, and the node waits before it starts it again.
        BackingOff = "backing_off",
        /// It ends again and again; the node keeps trying, slowly.
        Crashloop = "crashloop",
    }
}

/// Status of a replica on its node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// State.
    pub state: RunWord,
    /// Health, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
    /// Generation of the service that runs; `None` while none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_generation: Option<i64>,
    /// Number of starts after the first one of this generation.
    #[serde(default)]
    pub restarts: u64,
    /// Last end of its process, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitReport>,
    /// Start of the process that runs, by the server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// A sentence about the state, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Ports on which it can be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ReportedPort>,
    /// Use of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Id of its main process on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

impl ReplicaStatus {
    /// True if the replica does what it should: it is healthy, or has come to its end as wanted.
    pub fn is_available(&self) -> bool {
        matches!(self.state, RunWord::Healthy | RunWord::Completed | RunWord::Stopped)
    }

    /// A status of which only the state is known.
    pub fn of(state: RunWord) -> ReplicaStatus {
        ReplicaStatus {
            state,
            healthy: None,
            applied_generation: None,
            restarts: 0,
            exit: None,
            started_at: None,
            message: None,
            ports: Vec::new(),
            usage: None,
            pid: None,
        }
    }
}

/// End of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitReport {
    /// Exit code, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// Number of the signal that killed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// True if the machine killed it for memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom: bool,
    /// Time of the end, by the server's clock.
    pub at: Timestamp,
    /// The end in words, such as "killed by SIGKILL, out of memory".
    pub words: String,
}

/// A port of a replica on its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedPort {
    /// Name in the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Port on the node.
    pub port: u16,
}

/// Use of a machine by a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time of the last seconds, in thousandths of a core.
    pub cpu_millis: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

/// Answer to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// Number of replicas whose report was taken, whether it changed anything or not.
    pub taken: u64,
    /// Number of reports that came after a later one of the same replica.
    pub late: u64,
    /// Replicas that are not this node's: nothing was written of them.
    pub foreign: Vec<ReplicaId>,
    /// True if the next report should have all replicas: this run of the control plane has had no full one yet.
    pub wants_full: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let exit = ExitReport { code: None, signal: Some(9), oom: true, at: Timestamp(0), words: "killed".into() };
        let status = ReplicaStatus {
            healthy: Some(true),
            exit: Some(exit),
            ports: vec![ReportedPort { name: Some("http".into()), port: 8080 }],
            usage: Some(Usage { cpu_millis: 3, memory_bytes: 4096 }),
            ..ReplicaStatus::of(RunWord::BackingOff)
        };
        let report = NodeStatus {
            run: "r1".into(),
            full: true,
            held: Some(WorkVersion { epoch: 7, version: 3 }),
            changes: vec![ReplicaReport { replica_id: "a".parse().expect("an id"), seq: 1, status }],
            refused: Some(WorkRefusal { version: None, reason: "No.".into() }),
        };
        let text = serde_json::to_string(&report).expect("JSON");
        assert!(text.contains(r#""state":"backing_off""#) && !text.contains("message"), "{text}");
        assert_eq!(serde_json::from_str::<NodeStatus>(&text).expect("a report"), report);
        let least: NodeStatus = serde_json::from_str(r#"{"run":"r1"}"#).expect("a report");
        assert_eq!((least.changes.len(), least.full, least.held), (0, false, None));
    }
}
