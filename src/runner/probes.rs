//! Carries out the health checks of all runs at their intervals, on a few threads.

use super::health::{Judge, Verdict};
use super::probe::Probe;
use super::run::RunId;
use crate::clock;
use crate::error::{Doing, Result};
use crate::thread::{Watch, catch_panic, lock, spawn};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Most threads: checks of more runs that hang at a time are late.
const THREADS_MAX: usize = 16;
/// Longest sleep of a thread without a due check.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// The checks of all runs.
pub struct Probes {
    table: Arc<(Mutex<Table>, Condvar)>,
    news: Watch<()>,
}

#[derive(Default)]
struct Table {
    checked: BTreeMap<RunId, Checked>,
    threads: usize,
    is_over: bool,
}

/// A run that is checked.
struct Checked {
    probe: Probe,
    judge: Judge,
    /// Time of the next check, since the machine's start.
    due: Duration,
    is_busy: bool,
}

impl Probes {
    /// No checks; `news` is set when a verdict changes.
    pub fn new(news: Watch<()>) -> Probes {
        Probes { table: Arc::default(), news }
    }

    /// The verdict on a run.
    pub fn verdict(&self, id: &RunId) -> Verdict {
        lock(&self.table.0).checked.get(id).map_or(Verdict::Unknown, |checked| checked.judge.verdict().clone())
    }

    /// Checks exactly these runs from now on, each with the time of its start. Those that are checked already keep
    /// their verdicts.
    pub fn follow(&self, runs: Vec<(RunId, Probe, Duration)>) -> Result<()> {
        let mut table = lock(&self.table.0);
        let mut before = std::mem::take(&mut table.checked);
        for (id, probe, since) in runs {
            let due = clock::since_boot();
            let known = before.remove(&id);
            let checked = known.map(|known| Checked { probe: probe.clone(), ..known });
            let new = || Checked { probe, judge: Judge::new(since), due, is_busy: false };
            table.checked.insert(id, checked.unwrap_or_else(new));
        }
        let wanted = table.checked.len().min(THREADS_MAX);
        while table.threads < wanted {
            let (shared, news) = (Arc::clone(&self.table), self.news.clone());
            spawn("runner-health", None, move || work(&shared, &news)).doing("start the health checks")?;
            table.threads += 1;
        }
        self.table.1.notify_all();
        Ok(())
    }
}

/// Ends the threads, those in a check after it.
impl Drop for Probes {
    fn drop(&mut self) {
        lock(&self.table.0).is_over = true;
        self.table.1.notify_all();
    }
}

fn work(shared: &(Mutex<Table>, Condvar), news: &Watch<()>) {
    let (mutex, changed) = shared;
    let mut table = lock(mutex);
    while !table.is_over {
        let now = clock::since_boot();
        let next = table.checked.iter().filter(|(_, checked)| !checked.is_busy).min_by_key(|(_, checked)| checked.due);
        let next = next.map(|(id, checked)| (id.clone(), checked.due.saturating_sub(now), checked.probe.clone()));
        match next {
            Some((id, Duration::ZERO, probe)) => {
                table.checked.entry(id.clone()).and_modify(|checked| checked.is_busy = true);
                drop(table);
                let failed = || Err("the check itself failed".to_string());
                let result = catch_panic("runner-health", || probe.run()).unwrap_or_else(failed);
                table = lock(mutex);
                if table.note(&id, result) {
                    news.set(());
                }
            }
            Some((_, wait, _)) => table = sleep(changed, table, wait),
            None => table = sleep(changed, table, SLEEP_MAX),
        }
    }
}

fn sleep<'t>(
    changed: &Condvar,
    table: std::sync::MutexGuard<'t, Table>,
    at_most: Duration,
) -> std::sync::MutexGuard<'t, Table> {
    changed.wait_timeout(table, at_most.min(SLEEP_MAX)).unwrap_or_else(PoisonError::into_inner).0
}

impl Table {
    /// Takes note of a check. True if the verdict changed.
    fn note(&mut self, id: &RunId, result: std::result::Result<(), String>) -> bool {
        let Some(checked) = self.checked.get_mut(id) else { return false };
        let now = clock::since_boot();
        let before = checked.judge.verdict().clone();
        checked.judge.note(result, &checked.probe.health, now);
        checked.due = now + checked.judge.interval(&checked.probe.health, now);
        checked.is_busy = false;
        *checked.judge.verdict() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::workload::{Check, Health};
    use crate::sys::run::Like;
    use std::net::TcpListener;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn verdicts_follow_what_is_checked() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let check = Check::Tcp { port: listener.local_addr().expect("bound").port() };
        let health = Health { check, interval_s: 1, timeout_s: 1, retries: 1, start_period_s: 0, start_interval_s: 1 };
        let (id, probe) = (RunId::random(), Probe { health, like: Like::default() });
        let news = Watch::new(());
        let probes = Probes::new(news.clone());
        assert_eq!(probes.verdict(&id), Verdict::Unknown);
        probes.follow(vec![(id.clone(), probe.clone(), clock::since_boot())]).expect("threads");
        let (_, seen) = news.wait(0, PATIENCE).expect("news");
        assert_eq!(probes.verdict(&id), Verdict::Healthy);
        drop(listener);
        let (_, seen) = news.wait(seen, PATIENCE).expect("news");
        assert!(matches!(probes.verdict(&id), Verdict::Unhealthy { is_lasting: false, .. }));
        news.wait(seen, PATIENCE).expect("news");
        assert!(matches!(probes.verdict(&id), Verdict::Unhealthy { is_lasting: true, .. }));
        probes.follow(vec![(id.clone(), probe, clock::since_boot())]).expect("threads");
        assert_ne!(probes.verdict(&id), Verdict::Unknown, "it is the same run");
        probes.follow(Vec::new()).expect("threads");
        assert_eq!(probes.verdict(&id), Verdict::Unknown);
    }
}
