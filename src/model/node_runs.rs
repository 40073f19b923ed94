//! Runs of agents: if two have one identity, only one is accepted.

use super::Object;
use crate::clock::Timestamp;
use serde::{Deserialize, Serialize};

/// The key in a heartbeat's status patch under which an agent reports its run. It is signed with the patch, but is not
/// part of the status.
pub const RUN_KEY: &str = "uptimemesh_run";
/// Characters of the id of a run, and of a boot.
const CHARS_MAX: usize = 64;

/// One run of an agent, from its start to its end, as the agent reports it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentRun {
    /// Unique name of the run.
    pub id: String,
    /// Id of the machine's boot; empty if the agent does not know it.
    pub boot: String,
}

impl AgentRun {
    /// Takes the run out of a status patch; `None` if the patch has no valid run, as with V1's clients.
    pub fn take(patch: &mut Object) -> Option<AgentRun> {
        let run: AgentRun = serde_json::from_value(patch.get(RUN_KEY)?.clone()).ok()?;
        run.is_sound().then(|| patch.remove(RUN_KEY))?;
        Some(run)
    }

    /// True if its names have the form that agents use.
    pub fn is_sound(&self) -> bool {
        let is_name = |text: &str| text.len() <= CHARS_MAX && text.bytes().all(|b| b.is_ascii_alphanumeric());
        !self.id.is_empty() && is_name(&self.id) && is_name(&self.boot)
    }
}

/// A run that the control plane knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// The run.
    #[serde(flatten)]
    pub run: AgentRun,
    /// Address of its first call.
    pub address: String,
    /// Time of its first call.
    pub since: Timestamp,
}

/// Two holders of one identity, and the decision about them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conflict {
    /// The run whose heartbeats are accepted.
    pub kept: Holder,
    /// Runs whose heartbeats are refused.
    pub refused: Vec<Holder>,
    /// Time at which the conflict was found.
    pub found_at: Timestamp,
    /// Time at which an operator decided it.
    pub decided_at: Option<Timestamp>,
}

impl Conflict {
    /// Accepts the heartbeats of this holder from now on, and refuses the other's; returns false if it is not a holder.
    pub fn keep(&mut self, run_id: &str) -> bool {
        if let Some(at) = self.refused.iter().position(|other| other.run.id == run_id) {
            std::mem::swap(&mut self.kept, &mut self.refused[at]);
        }
        self.kept.run.id == run_id
    }

    /// True if a run is refused by name, or comes from a boot whose runs are refused.
    pub fn refuses(&self, run: &AgentRun) -> bool {
        let same_boot =
            |other: &AgentRun| !run.boot.is_empty() && run.boot == other.boot && run.boot != self.kept.run.boot;
        run.id != self.kept.run.id && self.refused.iter().any(|other| other.run.id == run.id || same_boot(&other.run))
    }

    /// True if a run can only be the kept one's machine after a restart.
    pub fn is_kept_again(&self, run: &AgentRun) -> bool {
        !run.boot.is_empty()
            && run.boot == self.kept.run.boot
            && self.refused.iter().all(|other| other.run.boot != run.boot)
    }
}
