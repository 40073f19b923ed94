//! Signing times of a node's calls: bounded protection against replays.

use std::collections::BTreeSet;

/// Number of remembered signing times of a node: calls may overtake each other by this many.
const TIMES_MAX: usize = 64;

/// Signing times of accepted calls. The newest are remembered one by one, and all times before them count as used.
#[derive(Clone, Default)]
pub(in crate::control) struct SigningTimes {
    /// Epoch milliseconds up to which every time counts as used.
    used_until: i64,
    used: BTreeSet<i64>,
}

impl SigningTimes {
    /// Uses up a time; false if it is used already. Remembered times beyond `horizon_ms` (now, plus the allowed skew)
    /// mean that the wall clock was set back since: they are ignored, or the node would be locked out until the clock
    /// had caught up.
    pub(in crate::control) fn use_up(&mut self, at_ms: i64, horizon_ms: i64) -> bool {
        self.used.retain(|used| *used <= horizon_ms);
        if self.used_until > horizon_ms {
            self.used_until = 0;
        }
        if at_ms <= self.used_until || !self.used.insert(at_ms) {
            return false;
        }
        if self.used.len() > TIMES_MAX {
            self.used_until = self.used.pop_first().unwrap_or(self.used_until);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signing_time_is_used_once_and_calls_may_overtake_each_other() {
        let mut times = SigningTimes::default();
        assert!([5, 3, 9, 7].iter().all(|at| times.use_up(*at, 100)));
        assert!([3, 5, 7, 9].iter().all(|at| !times.use_up(*at, 100)));
        for at in 1000..1000 + TIMES_MAX as i64 {
            assert!(times.use_up(at, 5000));
        }
        assert!(times.used.len() <= TIMES_MAX);
        assert!(!times.use_up(4, 5000) && !times.use_up(9, 5000), "what is forgotten counts as used");
        assert!(times.use_up(999, 5000), "one that was overtaken does not");
    }

    #[test]
    fn a_clock_that_is_set_back_locks_no_node_out() {
        let mut times = SigningTimes::default();
        for at in 9000..9000 + 2 * TIMES_MAX as i64 {
            assert!(times.use_up(at, 10_000));
        }
        assert!(times.use_up(500, 1000));
        assert!(!times.use_up(500, 1000));
    }
}
