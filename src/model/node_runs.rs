//! Runs of agents: of two that have one identity, one stays.

use super::Object;
use crate::clock::Timestamp;
use serde::{Deserialize, Serialize};

/// The key in a heartbeat's status patch under which an agent tells its run. It is signed with the patch, and is no part of the status.
pub const RUN_KEY: &str = "uptimemesh_run";
/// Characters of the id of a run, and of a boot.
const CHARS_MAX: usize = 64;

/// From the start of an agent to its end, as the agent tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentRun {
    /// A name that no other run has.
    pub id: String,
    /// What tells the machine's boot from every other; empty where the agent does not know.
    pub boot: String,
}

impl AgentRun {
    /// Takes the run out of a status patch; `None` where nothing there is one, as with V1's clients.
    pub fn take(patch: &mut Object) -> Option<AgentRun> {
        let run: AgentRun = serde_json::from_value(patch.get(RUN_KEY)?.clone()).ok()?;
        run.is_sound().then(|| patch.remove(RUN_KEY))?;
        Some(run)
    }

    /// True if its names have the form of those that agents give.
    pub fn is_sound(&self) -> bool {
        let is_name = |text: &str| text.len() <= CHARS_MAX && text.bytes().all(|b| b.is_ascii_alphanumeric());
        !self.id.is_empty() && is_name(&self.id) && is_name(&self.boot)
    }
}

/// A run that the control plane has heard of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// The run.
    #[serde(flatten)]
    pub run: AgentRun,
    /// From which address it first called.
    pub address: String,
    /// When it first called.
    pub since: Timestamp,
}

/// Two holders of one identity, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conflict {
    /// The run whose heartbeats are accepted.
    pub kept: Holder,
    /// Those whose heartbeats are not.
    pub refused: Vec<Holder>,
    /// When it was found.
    pub found_at: Timestamp,
    /// When an operator decided which one stays.
    pub decided_at: Option<Timestamp>,
}

impl Conflict {
    /// Whether a run is refused by name, or comes from a boot whose runs are.
    pub fn refuses(&self, run: &AgentRun) -> bool {
        let same_boot = |other: &AgentRun| !run.boot.is_empty() && run.boot == other.boot && run.boot != self.kept.run.boot;
        run.id != self.kept.run.id && self.refused.iter().any(|other| other.run.id == run.id || same_boot(&other.run))
    }

    /// Whether a run can only be the kept one's machine, started again.
    pub fn is_kept_again(&self, run: &AgentRun) -> bool {
        !run.boot.is_empty() && run.boot == self.kept.run.boot && self.refused.iter().all(|other| other.run.boot != run.boot)
    }
}
