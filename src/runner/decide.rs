//! Actions for one replica, and its status: pure. `decide` gets what is wanted, the runs on disk, the
//! verdict on health, the time, and what it remembers itself. A start needs that no run of the replica is alive, so
//! there are never two; everything that the decision needs after a restart of the runner is in the runs on disk.

mod memory;
#[cfg(test)]
mod tests;

use super::health::Verdict;
use super::run::{Exit, RunId, RunState, SeenRun, StopSpec};
use crate::clock::Timestamp;
use crate::model::node_status::{ReplicaStatus, RunWord};
use crate::model::workload::{RestartPolicy, Workload};
pub use memory::{Memory, StopCause};
use std::time::Duration;

/// Time after the grace at which the request of an end is repeated.
const STOP_AGAIN: Duration = Duration::from_secs(10);

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time since the machine's start, which steps of the clock do not change.
    pub boot: Duration,
    /// Wall clock.
    pub wall: Timestamp,
}

/// A replica as the node should run it.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Its workload.
    pub workload: Workload,
    /// Generation of the service.
    pub generation: i64,
    /// Digest of all that a run depends on: a run with an equal one stays.
    pub digest: String,
    /// False if it should be stopped and kept.
    pub runs: bool,
    /// Reason why this node does not run it.
    pub refused: Option<String>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a run.
    Start {
        /// Its place among the runs of the replica.
        sequence: u64,
        /// Number of starts of this digest before it.
        restarts: u64,
        /// Failures in a row before it.
        streak: u32,
    },
    /// Request the end of a run.
    Stop(RunId, StopSpec),
    /// Kill what a run without a shim has left.
    EndLost(RunId),
    /// Remove the directory of a run that is over.
    Remove(RunId),
}

/// Actions, a status, and the time of the next decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Actions, in their order.
    pub actions: Vec<Action>,
    /// Status of the replica; `None` if it is not wanted.
    pub status: Option<ReplicaStatus>,
    /// Time since the machine's start at which a new decision is due.
    pub wake_at: Option<Duration>,
}

impl Decision {
    fn nothing() -> Decision {
        Decision { actions: Vec::new(), status: None, wake_at: None }
    }

    fn wake(&mut self, at: Duration) {
        self.wake_at = Some(self.wake_at.map_or(at, |other| other.min(at)));
    }
}

/// Decides for one replica.
pub fn decide(wanted: Option<&Wanted>, runs: &[SeenRun], verdict: &Verdict, memory: &mut Memory, now: Now) -> Decision {
    memory.follow(wanted, runs, now);
    let mut decision = Decision::nothing();
    let kept = kept(wanted, runs);
    clean(wanted, runs, memory, &mut decision);
    for run in runs.iter().filter(|run| is_alive(run) && Some(&run.spec.id) != kept.map(|k| &k.spec.id)) {
        stop(run, wanted, StopCause::Unwanted, memory, now, &mut decision);
    }
    let Some(wanted) = wanted else { return decision };
    let is_free = runs.iter().all(|run| is_over(run, memory));
    let status = match kept {
        Some(run) => keep(run, wanted, verdict, memory, now, &mut decision),
        None if !is_free => over(wanted, RunWord::Stopping, memory),
        None => rest(wanted, runs, memory, now, &mut decision),
    };
    decision.status = Some(status);
    decision
}

/// The live run that stays: one with what is wanted.
fn kept<'r>(wanted: Option<&Wanted>, runs: &'r [SeenRun]) -> Option<&'r SeenRun> {
    let wanted = wanted.filter(|wanted| wanted.runs && wanted.refused.is_none())?;
    let mut fit = runs.iter().filter(|run| is_alive(run) && run.spec.digest == wanted.digest);
    let first = fit.next()?;
    // One that runs rather than one that starts.
    let running = std::iter::once(first).chain(fit).find(|run| matches!(run.state, RunState::Running { .. }));
    Some(running.unwrap_or(first))
}

fn is_alive(run: &SeenRun) -> bool {
    matches!(run.state, RunState::Starting | RunState::Running { .. })
}

/// True if nothing of a run is alive.
fn is_over(run: &SeenRun, memory: &Memory) -> bool {
    match run.state {
        RunState::Ended(_) => true,
        RunState::Lost => memory.is_ended(&run.spec.id),
        RunState::Starting | RunState::Running { .. } => false,
    }
}

/// Ends what lost runs have left, and removes what is over. The newest run that is over stays as the memory of its end,
/// while the replica is wanted.
fn clean(wanted: Option<&Wanted>, runs: &[SeenRun], memory: &Memory, decision: &mut Decision) {
    let newest = newest_over(runs).filter(|_| wanted.is_some());
    for run in runs.iter().filter(|run| !is_alive(run)) {
        let id = run.spec.id.clone();
        if !is_over(run, memory) {
            decision.actions.push(Action::EndLost(id));
        } else if newest.is_none_or(|newest| newest.spec.id != id) {
            decision.actions.push(Action::Remove(id));
        }
    }
}

/// The last run that is not alive.
fn newest_over(runs: &[SeenRun]) -> Option<&SeenRun> {
    runs.iter().filter(|run| !is_alive(run)).max_by_key(|run| run.spec.sequence)
}

/// Requests the end of a run, once, and again where it does not come.
fn stop(
    run: &SeenRun,
    wanted: Option<&Wanted>,
    cause: StopCause,
    memory: &mut Memory,
    now: Now,
    decision: &mut Decision,
) {
    // Settings of the stop do not change a run: those that are wanted now count.
    let of = |w: &Workload| StopSpec { signal: w.stop_signal.clone(), grace_s: w.stop_grace_s };
    let mut how = wanted.map_or_else(|| run.spec.stop.clone(), |wanted| of(&wanted.workload));
    let wait = Duration::from_secs(how.grace_s) + STOP_AGAIN;
    match memory.stop_requested(&run.spec.id) {
        Some(again_at) if again_at > now.boot => {}
        requested => {
            if requested.is_some() {
                how.grace_s = 0;
            }
            memory.request_stop(run.spec.id.clone(), cause, now.boot + wait);
            decision.actions.push(Action::Stop(run.spec.id.clone(), how));
        }
    }
    if let Some(again_at) = memory.stop_requested(&run.spec.id) {
        decision.wake(again_at);
    }
}

/// The status of a live run that is the wanted one. An unhealthy one is stopped, to be started again.
fn keep(
    run: &SeenRun,
    wanted: &Wanted,
    verdict: &Verdict,
    memory: &mut Memory,
    now: Now,
    decision: &mut Decision,
) -> ReplicaStatus {
    let mut status = over(wanted, RunWord::Starting, memory);
    let RunState::Running { pid, started_at } = run.state else { return status };
    status.pid = Some(pid);
    status.started_at = Some(started_at);
    status.applied_generation = Some(wanted.generation);
    if memory.stop_requested(&run.spec.id).is_some() {
        stop(run, Some(wanted), StopCause::Unhealthy, memory, now, decision);
        status.state = RunWord::Stopping;
        return status;
    }
    let since = memory.follow_live(&run.spec.id, started_at, now);
    let min_healthy = since + Duration::from_secs(wanted.workload.min_healthy_s);
    let (state, healthy) = match (&wanted.workload.health, verdict) {
        (None, _) if now.boot >= min_healthy => (RunWord::Healthy, Some(true)),
        (None, _) => {
            decision.wake(min_healthy);
            (RunWord::Running, None)
        }
        (Some(_), Verdict::Unknown) => (RunWord::Running, None),
        (Some(_), Verdict::Healthy) => (RunWord::Healthy, Some(true)),
        (Some(_), Verdict::Unhealthy { why, .. }) => {
            status.message = Some(why.clone());
            (RunWord::Unhealthy, Some(false))
        }
    };
    memory.note_health(healthy == Some(true), now);
    status.state = state;
    status.healthy = healthy;
    let restarts = wanted.workload.restart.policy != RestartPolicy::Never;
    if restarts && wanted.workload.health.is_some() && matches!(verdict, Verdict::Unhealthy { is_lasting: true, .. }) {
        stop(run, Some(wanted), StopCause::Unhealthy, memory, now, decision);
    }
    status
}

/// Decision while nothing of a wanted replica is alive.
fn rest(wanted: &Wanted, runs: &[SeenRun], memory: &mut Memory, now: Now, decision: &mut Decision) -> ReplicaStatus {
    if let Some(reason) = &wanted.refused {
        let message = Some(reason.clone());
        return ReplicaStatus { healthy: Some(false), message, ..over(wanted, RunWord::Refused, memory) };
    }
    if !wanted.runs {
        return over(wanted, RunWord::Stopped, memory);
    }
    let last = newest_over(runs).filter(|run| run.spec.digest == wanted.digest);
    match last.and_then(|run| finished(&run.state, wanted.workload.restart.policy)) {
        Some(RunWord::Completed) => return over(wanted, RunWord::Completed, memory),
        Some(word) => return ReplicaStatus { healthy: Some(false), ..over(wanted, word, memory) },
        None => {}
    }
    if let Some((at, delay)) = memory.retry().filter(|(at, _)| *at > now.boot) {
        decision.wake(at);
        let word = if memory.is_crashloop() { RunWord::Crashloop } else { RunWord::BackingOff };
        let mut status = over(wanted, word, memory);
        // One failure is no reason to move it to another node: the next start may be all it needs.
        status.healthy = Some(false).filter(|_| word == RunWord::Crashloop);
        let why = memory.failure().map(|why| format!("{why}; ")).unwrap_or_default();
        status.message = Some(format!("{why}started again {} s after its end", delay.as_secs()));
        return status;
    }
    let sequence = runs.iter().map(|run| run.spec.sequence + 1).max().unwrap_or(0);
    let (restarts, streak) = memory.begin();
    decision.actions.push(Action::Start { sequence, restarts, streak });
    over(wanted, RunWord::Starting, memory)
}

/// The last word on a replica that has ended, unless it is started again.
fn finished(state: &RunState, policy: RestartPolicy) -> Option<RunWord> {
    let is_success = |exit: &Exit| exit.code == Some(0) && exit.failure.is_none();
    match (state, policy) {
        (RunState::Ended(Exit { asked: Some(_), .. }), _) | (_, RestartPolicy::Always) => None,
        (RunState::Ended(exit), _) if is_success(exit) => Some(RunWord::Completed),
        (RunState::Ended(_) | RunState::Lost, RestartPolicy::Never) => Some(RunWord::Failed),
        (_, RestartPolicy::OnFailure | RestartPolicy::Never) => None,
    }
}

/// A status with what is remembered.
fn over(wanted: &Wanted, state: RunWord, memory: &Memory) -> ReplicaStatus {
    let mut status = ReplicaStatus { restarts: memory.restarts(), ..ReplicaStatus::of(state) };
    status.exit = memory.last_exit().cloned();
    // A stopped, refused or finished replica has no run that could be of an older generation.
    let is_settled = matches!(state, RunWord::Stopped | RunWord::Completed);
    status.applied_generation = Some(wanted.generation).filter(|_| is_settled);
    status
}
