//! Timing of the loop: soon after a quiet time, then as a burst of changes settles; at once after its own
//! actions, until nothing is left to do. Pure: time is given.

use crate::model::ids::ReplicaId;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Time without a run after which a change is handled soon. Within it, changes settle first.
const BURST: Duration = Duration::from_secs(1);
/// Delay of the first change after a quiet time: a client that plans or reconciles what it created, as those of the
/// first version do, is faster.
const LEAD: Duration = Duration::from_millis(50);
/// Quiet time that ends a burst: the changes of one request, or of one client that sends several, are handled together.
const SETTLE: Duration = Duration::from_millis(100);
/// Quiet time as a multiple of the last run's duration: planning a large cluster takes a quarter of a core at most.
const SETTLE_RUNS: u32 = 4;
/// Maximum delay after the first change of a burst.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// Times of the last run and of the changes since.
#[derive(Default)]
pub(super) struct Rhythm {
    /// Change count of the last run.
    seen: u64,
    /// Change count at the last look.
    count: u64,
    /// Times of the first and the last change since the last run.
    unseen: Option<(Instant, Instant)>,
    /// End of the last run, and its duration.
    last: Option<(Instant, Duration)>,
    /// Time of the next run without changes.
    due: Option<Instant>,
    /// True if the last run acted: the next step may be possible now.
    again: bool,
    /// True if the last run acted on a replica again. The changes since are its own, at least in part: they wait until
    /// the next run is due.
    repeats: bool,
    /// Replicas of the actions since the last run that had nothing to do. Acting on one of them again may be a plan
    /// that goes to and fro, which must not spin.
    acted: HashSet<ReplicaId>,
}

impl Rhythm {
    /// Time of the next run, which may be past.
    pub fn next(&mut self, count: u64, now: Instant) -> Instant {
        if count != self.count {
            self.count = count;
            let first = self.unseen.map_or(now, |(first, _)| first);
            self.unseen = (count > self.seen).then_some((first, now));
        }
        let due = self.due.unwrap_or(now);
        if self.again {
            return now;
        }
        let Some((first, latest)) = self.unseen.filter(|_| !self.repeats) else { return due };
        let settled = match self.last {
            Some((ended, took)) if now < ended + BURST => {
                let settle = (took * SETTLE_RUNS).clamp(SETTLE, SETTLE_MAX);
                (latest + settle).min(first + SETTLE_MAX).min(ended + BURST)
            }
            _ => first + LEAD,
        };
        settled.min(due)
    }

    /// Notes a run from `began` to `ended` that included the first `seen` changes and acted on `replicas`; without
    /// changes the next one is due in `due_in`.
    pub fn ran<'r>(
        &mut self,
        seen: u64,
        (began, ended): (Instant, Instant),
        due_in: Duration,
        replicas: impl Iterator<Item = &'r ReplicaId>,
    ) {
        self.seen = seen;
        self.count = seen;
        self.unseen = None;
        self.last = Some((ended, ended - began));
        self.due = Some(ended + due_in);
        let (mut acts, mut repeats) = (false, false);
        for replica in replicas {
            acts = true;
            repeats |= !self.acted.insert(replica.clone());
        }
        self.again = acts && !repeats;
        self.repeats = repeats;
        if !self.again {
            self.acted.clear();
        }
        if repeats {
            self.due = Some(ended + due_in.min(SETTLE_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::tests::Random;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A loop with a clock of its own.
    struct Bench {
        rhythm: Rhythm,
        now: Instant,
        count: u64,
        runs: Vec<(Instant, u64)>,
    }

    impl Bench {
        fn new() -> Bench {
            let mut bench = Bench { rhythm: Rhythm::default(), now: Instant::now(), count: 0, runs: Vec::new() };
            bench.run(Duration::ZERO, &[]);
            bench
        }

        fn run(&mut self, took: Duration, replicas: &[ReplicaId]) {
            let began = self.now;
            self.runs.push((began, self.count));
            self.now += took;
            self.rhythm.ran(self.count, (began, self.now), MINUTE, replicas.iter());
        }

        /// Lets time pass until the next run is due, at most `gap`. True if one is due.
        fn pass(&mut self, gap: Duration) -> bool {
            let due = self.rhythm.next(self.count, self.now).max(self.now);
            let is_due = due <= self.now + gap;
            self.now = if is_due { due } else { self.now + gap };
            is_due
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_change_after_a_quiet_time_is_handled_soon() {
        let mut bench = Bench::new();
        assert!(!bench.pass(ms(5_000)));
        bench.count += 1;
        assert!(!bench.pass(ms(49)) && bench.pass(ms(1)));
    }

    #[test]
    fn a_change_shortly_after_a_run_waits_until_the_burst_settles() {
        let mut bench = Bench::new();
        for _ in 0..5 {
            bench.count += 1;
            assert!(!bench.pass(ms(99)), "{:?}", bench.rhythm.unseen);
        }
        assert!(bench.pass(ms(1)), "after 100 ms without a change");
    }

    #[test]
    fn ten_thousand_changes_cost_few_plans_and_none_waits_long() {
        for seed in 1..=20 {
            let mut random = Random(seed);
            let mut bench = Bench::new();
            let (begin, mut changed_at) = (bench.now, vec![bench.now]);
            for _ in 0..10_000 {
                let mut gap = if random.below(500) == 0 { ms(random.below(3_000)) } else { ms(random.below(12)) };
                loop {
                    let before = bench.now;
                    if !bench.pass(gap) {
                        break;
                    }
                    gap = gap.saturating_sub(bench.now - before);
                    bench.run(ms(random.below(40)), &[]);
                }
                bench.count += 1;
                changed_at.push(bench.now);
            }
            let seconds = (bench.now - begin).as_secs() + 1;
            assert!(bench.pass(SETTLE_MAX), "the last changes are handled too");
            bench.run(Duration::ZERO, &[]);
            let runs = bench.runs.len() as u64;
            assert!(runs <= 4 * seconds, "seed {seed}: {runs} plans in {seconds} s");
            // Every change is part of a run that begins at most a second, and the run before, after it.
            for (number, at) in (1..).zip(&changed_at[1..]) {
                let run = bench.runs.iter().find(|(_, seen)| *seen >= number).expect("a run that saw it");
                assert!(run.0.saturating_duration_since(*at) <= SETTLE_MAX + ms(40), "seed {seed}: change {number}");
            }
        }
    }

    #[test]
    fn its_own_actions_are_followed_up_at_once_but_not_to_and_fro() {
        let ids: Vec<ReplicaId> = (0..100).map(|i| format!("r{i}").parse().expect("an id")).collect();
        let mut bench = Bench::new();
        for id in &ids {
            bench.count += 1;
            bench.run(ms(1), std::slice::from_ref(id));
            assert!(bench.pass(Duration::ZERO), "after {id:?}");
        }
        bench.count += 1;
        bench.run(ms(1), &ids[..1]);
        // The store counts what that run changed.
        bench.count += 1;
        assert!(!bench.pass(ms(999)), "acted on again");
        assert!(bench.pass(ms(1)));
        bench.run(ms(1), &[]);
        assert!(!bench.pass(ms(59_999)), "nothing left to do");
    }
}
