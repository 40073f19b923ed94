//! Findings of an examination of a machine or a control plane: severity, observation, remedy.

use crate::clock::Timestamp;
use crate::model::words::words;
use serde::Serialize;

words! {
    /// Severity of a finding.
    pub enum Level {
        /// As it should be.
        Ok = "ok",
        /// Not examined, because it does not apply or cannot be seen from here.
        Skipped = "skipped",
        /// Works now, but may soon fail.
        Warn = "warn",
        /// Something does not work, or is not safe.
        Fail = "fail",
    }
}

/// Result of one check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Name of the check, `disk.fsync`.
    pub check: &'static str,
    /// Severity.
    pub level: Level,
    /// The observation; for a skipped check, the reason.
    pub seen: String,
    /// The remedy, with the command.
    #[serde(rename = "do")]
    pub to_do: Option<String>,
}

impl Finding {
    /// A passed check.
    pub fn ok(check: &'static str, seen: impl Into<String>) -> Finding {
        Finding { check, level: Level::Ok, seen: seen.into(), to_do: None }
    }

    /// A skipped check, with the reason.
    pub fn skipped(check: &'static str, why: impl Into<String>) -> Finding {
        Finding { check, level: Level::Skipped, seen: why.into(), to_do: None }
    }

    /// A check of something that may soon fail.
    pub fn warn(check: &'static str, seen: impl Into<String>, to_do: impl Into<String>) -> Finding {
        Finding { check, level: Level::Warn, seen: seen.into(), to_do: Some(to_do.into()) }
    }

    /// Finding about a certificate's validity now; less than `days_low` days left is a warning.
    pub fn validity(
        check: &'static str,
        what: &str,
        valid: Option<(Timestamp, Timestamp)>,
        now: Timestamp,
        days_low: i64,
        to_do: &str,
    ) -> Finding {
        let Some((begins, ends)) = valid else {
            return Finding::fail(check, format!("{what} is not a certificate"), to_do);
        };
        if begins > now {
            let seen = format!("{what} is valid from {begins}, and it is {now} by this machine's clock");
            return Finding::fail(check, seen, "set the clock right: timedatectl set-ntp true");
        }
        match (ends.secs() - now.secs()).div_euclid(86_400) {
            days if days < 0 => Finding::fail(check, format!("{what} ended at {ends}"), to_do),
            days if days < days_low => Finding::warn(check, format!("{what} ends in {days} days, at {ends}"), to_do),
            days => Finding::ok(check, format!("{what} is valid for {days} days more")),
        }
    }

    /// A failed check.
    pub fn fail(check: &'static str, seen: impl Into<String>, to_do: impl Into<String>) -> Finding {
        Finding { check, level: Level::Fail, seen: seen.into(), to_do: Some(to_do.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_judged_by_its_time() {
        const DAY: i64 = 86_400;
        let valid = Some((Timestamp::from_secs(0), Timestamp::from_secs(100 * DAY)));
        let at = |s| Finding::validity("c", "it", valid, Timestamp::from_secs(s), 10, "renew").level;
        let levels = [at(-1), at(0), at(89 * DAY), at(90 * DAY + 1), at(100 * DAY), at(100 * DAY + 1)];
        assert_eq!(levels, [Level::Fail, Level::Ok, Level::Ok, Level::Warn, Level::Warn, Level::Fail]);
        assert_eq!(Finding::validity("c", "it", None, Timestamp::from_secs(0), 10, "renew").level, Level::Fail);
    }
}
