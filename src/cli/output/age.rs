//! Moments as people read them: how long ago, or in how long.

use crate::clock::Timestamp;

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 60 * MINUTE_S;
const DAY_S: u64 = 24 * HOUR_S;
const YEAR_S: u64 = 365 * DAY_S;
/// From this many units on a unit is used: `90m` says more than `1h`.
const UNITS_SHOWN: u64 = 2;

/// Age of a moment: `12s`, `3m`, `5d`; of one to come `in 3h`.
pub fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.secs() - at.secs();
    let long = length(seconds.unsigned_abs());
    if seconds < 0 { format!("in {long}") } else { long }
}

/// The same in a sentence: `3m ago`, `in 3h`.
pub fn phrase(at: Timestamp, now: Timestamp) -> String {
    if at > now { age(at, now) } else { format!("{} ago", age(at, now)) }
}

/// A length of time in its largest unit that fits twice.
pub fn length(seconds: u64) -> String {
    let units = [(YEAR_S, "y"), (DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "m")];
    let (unit, letter) = units.into_iter().find(|(unit, _)| seconds >= unit * UNITS_SHOWN).unwrap_or((1, "s"));
    format!("{}{letter}", seconds / unit)
}

/// A moment without its fraction of a second.
pub fn exact(at: Timestamp) -> String {
    Timestamp::from_secs(at.secs()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_in_the_largest_unit_that_fits_twice() {
        let now = Timestamp::from_secs(2_000_000_000);
        for (seconds, wanted) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7199, "119m"),
            (7200, "2h"),
            (2 * 86_400 - 1, "47h"),
            (2 * 86_400, "2d"),
            (3 * 365 * 86_400, "3y"),
        ] {
            assert_eq!(age(now.plus_secs(-seconds), now), wanted);
            assert_eq!(
                age(now.plus_secs(seconds), now),
                if seconds == 0 { "0s".to_string() } else { format!("in {wanted}") }
            );
        }
        assert_eq!(exact(Timestamp(2_000_000_123_456)), Timestamp::from_secs(2_000_000).to_string());
    }
}
