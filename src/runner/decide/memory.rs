//! The memory of one replica's past, as far as decisions need it. After a restart of the runner it begins with what the
//! runs on disk say.

use super::{Now, Wanted, is_alive, is_over, newest_over};
use crate::clock::Timestamp;
use crate::model::node_status::ExitReport;
use crate::model::workload::Restart;
use crate::runner::exit;
use crate::runner::run::{Exit, RunId, RunState, SeenRun};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Failures within [`CRASHES_IN`] that make a crash loop.
const CRASHES: usize = 5;
/// Time in which the failures of a crash loop are counted.
const CRASHES_IN: Duration = Duration::from_secs(300);
/// Least wait between the starts of a crash loop.
const CRASH_DELAY: Duration = Duration::from_secs(60);

/// Reason of a requested end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// The run is not the wanted one.
    Unwanted,
    /// Its health check fails: its end counts as a failure.
    Unhealthy,
}

/// A run that is alive.
#[derive(Debug, Clone)]
struct Live {
    id: RunId,
    since: Duration,
    healthy_since: Option<Duration>,
}

/// The memory of a replica.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Digest that the figures are of; `None` before the first decision.
    digest: Option<String>,
    /// Starts of this digest, the first one included.
    starts: u64,
    /// Failures in a row, without a long time of health between them.
    streak: u32,
    failures: VecDeque<Duration>,
    /// Time of the next start, and the delay that led to it.
    retry: Option<(Duration, Duration)>,
    /// The failure before it.
    failure: Option<String>,
    counted: Option<RunId>,
    last_exit: Option<ExitReport>,
    live: Option<Live>,
    /// Runs whose end was requested, with the time of the next request.
    stopping: BTreeMap<RunId, (StopCause, Duration)>,
    /// Lost runs that have left nothing.
    ended: BTreeSet<RunId>,
}

impl Memory {
    /// Takes note of what is wanted now and of runs that have ended.
    pub(super) fn follow(&mut self, wanted: Option<&Wanted>, runs: &[SeenRun], now: Now) {
        let is_there = |id: &RunId| runs.iter().any(|run| run.spec.id == *id);
        self.stopping.retain(|id, _| is_there(id));
        self.ended.retain(|id| is_there(id));
        if let Some(wanted) = wanted.filter(|wanted| self.digest.as_ref() != Some(&wanted.digest)) {
            self.begin_with(wanted, runs);
        }
        let over = newest_over(runs).filter(|run| is_over(run, self) && self.counted.as_ref() != Some(&run.spec.id));
        let Some(run) = over else { return };
        if runs.iter().any(is_alive) {
            // A live run is newer: the runs on disk are all that is known of the time before.
            self.counted = Some(run.spec.id.clone());
            self.last_exit = Some(exit::report(ended(run), now.wall));
        } else {
            self.count_end(run, wanted.map(|wanted| &wanted.workload.restart), now);
        }
    }

    /// Begins with another digest: its runs on disk know how it went before.
    fn begin_with(&mut self, wanted: &Wanted, runs: &[SeenRun]) {
        self.digest = Some(wanted.digest.clone());
        self.retry = None;
        let same = |run: &&SeenRun| run.spec.digest == wanted.digest;
        let last = runs.iter().filter(same).max_by_key(|run| run.spec.restarts);
        self.starts = last.map_or(0, |run| run.spec.restarts + 1);
        self.streak = last.map_or(0, |run| run.spec.streak);
        self.failures.clear();
    }

    fn count_end(&mut self, run: &SeenRun, restart: Option<&Restart>, now: Now) {
        let cause = self.stopping.get(&run.spec.id).map(|(cause, _)| *cause);
        let exit = ended(run);
        self.counted = Some(run.spec.id.clone());
        self.last_exit = Some(exit::report(exit, now.wall));
        let is_requested = exit.is_some_and(|exit| exit.asked.is_some()) && cause != Some(StopCause::Unhealthy);
        let was_healthy = self.live.take().and_then(|live| live.healthy_since);
        let is_same = self.digest.as_ref() == Some(&run.spec.digest);
        match restart {
            Some(restart) if is_same && !is_requested => {
                let words = exit::words(exit);
                let why = if cause.is_some() { format!("unhealthy, then {words}") } else { words };
                let healthy_for = was_healthy.map(|since| now.boot.saturating_sub(since));
                if healthy_for.is_some_and(|time| time >= Duration::from_secs(restart.reset_after_s)) {
                    self.streak = 0;
                    self.failures.clear();
                }
                self.fail(why, restart, age(exit, now), now);
            }
            // Another digest begins without a wait, and so does a run that was stopped as wanted.
            Some(_) | None => self.retry = None,
        }
    }

    /// Counts a failure that happened `ago`, and sets the time of the next start.
    fn fail(&mut self, why: String, restart: &Restart, ago: Duration, now: Now) {
        // Earlier failures that only the runs on disk remember.
        while self.failures.len() < (self.streak as usize).min(CRASHES) {
            self.failures.push_back(now.boot);
        }
        self.streak = self.streak.saturating_add(1);
        self.failures.push_back(now.boot);
        self.failures.retain(|at| now.boot.saturating_sub(*at) <= CRASHES_IN);
        while self.failures.len() > CRASHES {
            self.failures.pop_front();
        }
        let doubled = restart.delay_s.saturating_mul(1 << (self.streak - 1).min(20)).min(restart.delay_max_s);
        let least = if self.is_crashloop() { CRASH_DELAY } else { Duration::ZERO };
        let delay = Duration::from_secs(doubled).max(least);
        self.retry = Some((now.boot + delay.saturating_sub(ago), delay));
        self.failure = Some(why);
    }

    /// Counts a start that failed before there was a run.
    pub fn start_failed(&mut self, why: String, restart: &Restart, now: Now) {
        self.fail(why, restart, Duration::ZERO, now);
    }

    /// Notes that a lost run has left nothing.
    pub fn lost_ended(&mut self, id: &RunId) {
        self.ended.insert(id.clone());
    }

    pub(super) fn is_ended(&self, id: &RunId) -> bool {
        self.ended.contains(id)
    }

    /// Takes note of a start. Returns the number of starts and of failures in a row before it.
    pub(super) fn begin(&mut self) -> (u64, u32) {
        let before = self.starts;
        self.starts += 1;
        self.retry = None;
        (before, self.streak)
    }

    pub(super) fn restarts(&self) -> u64 {
        self.starts.saturating_sub(1)
    }

    pub(super) fn last_exit(&self) -> Option<&ExitReport> {
        self.last_exit.as_ref()
    }

    pub(super) fn retry(&self) -> Option<(Duration, Duration)> {
        self.retry
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    pub(super) fn is_crashloop(&self) -> bool {
        self.failures.len() >= CRASHES
    }

    /// The time of the next request of a run's end; `None` if it was not requested.
    pub(super) fn stop_requested(&self, id: &RunId) -> Option<Duration> {
        self.stopping.get(id).map(|(_, again_at)| *again_at)
    }

    pub(super) fn request_stop(&mut self, id: RunId, cause: StopCause, again_at: Duration) {
        self.stopping.insert(id, (cause, again_at));
    }

    /// The start of a live run, as time since the machine's start. The wall clock counts only for a run that was there
    /// before the runner.
    pub fn since(&self, id: &RunId, started_at: Timestamp, now: Now) -> Duration {
        let known = self.live.as_ref().filter(|live| live.id == *id);
        known.map_or_else(|| now.boot.saturating_sub(between(started_at, now.wall)), |live| live.since)
    }

    /// Takes note of a live run. Returns its start.
    pub(super) fn follow_live(&mut self, id: &RunId, started_at: Timestamp, now: Now) -> Duration {
        let since = self.since(id, started_at, now);
        if self.live.as_ref().is_none_or(|live| live.id != *id) {
            self.live = Some(Live { id: id.clone(), since, healthy_since: None });
        }
        since
    }

    /// Takes note of the health of the live run.
    pub(super) fn note_health(&mut self, is_healthy: bool, now: Now) {
        if let Some(live) = &mut self.live {
            live.healthy_since = is_healthy.then(|| live.healthy_since.unwrap_or(now.boot));
        }
    }
}

/// The end of a run that left word of it.
fn ended(run: &SeenRun) -> Option<&Exit> {
    if let RunState::Ended(exit) = &run.state { Some(exit) } else { None }
}

/// Time since a run's end.
fn age(exit: Option<&Exit>, now: Now) -> Duration {
    exit.map_or(Duration::ZERO, |exit| between(exit.ended_at, now.wall))
}

/// Time from one moment to another; none if the clock was set back.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0))
}
