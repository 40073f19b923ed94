//! The local time of day, from the system's `date`.

use super::run;
use crate::clock::{self, Timestamp};
use std::time::{Duration, Instant};

/// Time for which an offset is reused: clocks change at a full minute.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// Time limit of `date`; after that times are shown in UTC.
const TIME: Duration = Duration::from_secs(2);

/// The machine's time zone, read when needed.
#[derive(Default)]
pub struct LocalTime(Option<(Instant, Option<i64>)>);

impl LocalTime {
    /// A time as `20:13:05`; in UTC as `20:13:05Z` if there is no `date`.
    pub fn show(&mut self, at: Timestamp) -> String {
        match self.offset_s() {
            Some(offset_s) => time_of_day(at.plus_secs(offset_s)),
            None => time_of_day(at) + "Z",
        }
    }

    fn offset_s(&mut self) -> Option<i64> {
        if let Some((asked, offset_s)) = self.0
            && asked.elapsed() < FRESH_FOR
        {
            return offset_s;
        }
        let said = run::output("date", &["+%z"], TIME).ok();
        let offset_s = said.and_then(|text| parse_offset(text.trim()));
        self.0 = Some((clock::tick(), offset_s));
        offset_s
    }
}

fn time_of_day(at: Timestamp) -> String {
    let (_, _, _, hour, minute, second, _) = at.parts();
    format!("{hour:02}:{minute:02}:{second:02}")
}

/// Seconds of an offset such as `+0530`.
fn parse_offset(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = text.get(1..).filter(|digits| digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    let (hours, minutes) = (digits[..2].parse::<i64>().ok()?, digits[2..].parse::<i64>().ok()?);
    Some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_read_and_laid_over_the_time() {
        for (text, offset_s) in [("+0000", 0), ("+0530", 19_800), ("-0930", -34_200), ("+1400", 50_400)] {
            assert_eq!(parse_offset(text), Some(offset_s), "{text}");
        }
        for bad in ["", "+", "0530", "+053", "+05:30", "+05 0", "+\u{e9}\u{e9}", "CET"] {
            assert_eq!(parse_offset(bad), None, "{bad}");
        }
        let at = Timestamp::parse("2026-11-28T23:50:07Z").expect("a moment");
        let shown = |offset_s| LocalTime(Some((clock::tick(), offset_s))).show(at);
        assert_eq!([shown(Some(19_800)), shown(Some(-34_200)), shown(None)], ["05:20:07", "14:20:07", "23:50:07Z"]);
    }

    #[test]
    fn the_system_says_its_offset() {
        assert!(LocalTime::default().offset_s().is_some(), "date +%z answers here");
    }
}
