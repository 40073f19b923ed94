//! Verdict on the health of a run, from the results of its checks: pure. `probe` carries the checks out.

use crate::model::workload::Health;
use std::time::Duration;

/// The health of a run with a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Not known yet.
    #[default]
    Unknown,
    /// The last checks succeeded.
    Healthy,
    /// As many checks in a row failed as make it unhealthy.
    Unhealthy {
        /// The last failure.
        why: String,
        /// True if twice as many failed: it does not recover by itself.
        is_lasting: bool,
    },
}

/// The results of a run's checks.
#[derive(Debug, Clone)]
pub struct Judge {
    /// Time of the run's start.
    since: Duration,
    succeeded: bool,
    failed_in_a_row: u64,
    verdict: Verdict,
}

impl Judge {
    /// A judge of a run that started at this time.
    pub fn new(since: Duration) -> Judge {
        Judge { since, succeeded: false, failed_in_a_row: 0, verdict: Verdict::Unknown }
    }

    /// The verdict.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Takes note of a check that ended at `now`. Failures before the first success do not count within the start
    /// period.
    pub fn note(&mut self, result: Result<(), String>, health: &Health, now: Duration) {
        match result {
            Ok(()) => {
                self.succeeded = true;
                self.failed_in_a_row = 0;
                self.verdict = Verdict::Healthy;
            }
            Err(_) if self.is_starting(health, now) => {}
            Err(why) => {
                self.failed_in_a_row += 1;
                if self.failed_in_a_row >= health.retries {
                    self.verdict = Verdict::Unhealthy { why, is_lasting: self.failed_in_a_row >= 2 * health.retries };
                }
            }
        }
    }

    /// Time from one check to the next.
    pub fn interval(&self, health: &Health, now: Duration) -> Duration {
        let usual = Duration::from_secs(health.interval_s);
        match self.is_starting(health, now) {
            true => usual.min(Duration::from_secs(health.start_interval_s)),
            false => usual,
        }
    }

    fn is_starting(&self, health: &Health, now: Duration) -> bool {
        !self.succeeded && now < self.since + Duration::from_secs(health.start_period_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::workload::Check;

    const HEALTH: Health = Health {
        check: Check::Tcp { port: 1 },
        interval_s: 10,
        timeout_s: 3,
        retries: 3,
        start_period_s: 30,
        start_interval_s: 1,
    };

    /// The verdicts after checks at these seconds: `Ok` or `Err`.
    fn verdicts(checks: &[(u64, bool)]) -> Vec<char> {
        let mut judge = Judge::new(Duration::from_secs(100));
        let one = |(at, is_well): &(u64, bool)| {
            let result = if *is_well { Ok(()) } else { Err(format!("at {at}")) };
            judge.note(result, &HEALTH, Duration::from_secs(100 + at));
            match judge.verdict() {
                Verdict::Unknown => '?',
                Verdict::Healthy => '+',
                Verdict::Unhealthy { is_lasting: false, .. } => '-',
                Verdict::Unhealthy { is_lasting: true, .. } => '!',
            }
        };
        checks.iter().map(one).collect()
    }

    #[test]
    fn failures_count_in_a_row_and_not_while_it_starts() {
        let all = |text: &str| text.chars().collect::<Vec<char>>();
        assert_eq!(verdicts(&[(1, false), (29, false), (30, false), (40, false), (50, false)]), all("????-"));
        assert_eq!(verdicts(&[(1, true), (2, false), (3, false), (4, true), (5, false)]), all("+++++"));
        let failing: Vec<(u64, bool)> = (0..7_u64).map(|n| (40 + n, false)).collect();
        assert_eq!(verdicts(&failing), all("??---!!"));
        assert_eq!(verdicts(&[&failing[..], &[(60, true)]].concat()).last(), Some(&'+'));
    }

    #[test]
    fn checks_come_faster_until_the_first_success() {
        let (start, at) = (Duration::from_secs(100), |s: u64| Duration::from_secs(100 + s));
        let mut judge = Judge::new(start);
        assert_eq!(judge.interval(&HEALTH, at(0)), Duration::from_secs(1));
        assert_eq!(judge.interval(&HEALTH, at(30)), Duration::from_secs(10));
        judge.note(Ok(()), &HEALTH, at(1));
        assert_eq!(judge.interval(&HEALTH, at(2)), Duration::from_secs(10));
    }
}
