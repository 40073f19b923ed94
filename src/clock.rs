//! The only reader of the wall clock, and of the monotonic time that leases are measured with.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment in UTC, in microseconds since 1970. Shown as RFC 3339 ending in `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// Bytes of `2026-11-23T20:12:26.900008Z`.
const TEXT_BYTES: usize = 27;
/// Microseconds in a second.
const MICROS: i64 = 1_000_000;
/// Range of times whose year has four digits: an offset could otherwise lead out of it.
const TELLABLE: std::ops::Range<i64> = -62_167_219_200 * MICROS..253_402_300_800 * MICROS;

impl Timestamp {
    /// From whole seconds since 1970.
    pub fn from_secs(s: i64) -> Timestamp {
        Timestamp(s.saturating_mul(MICROS))
    }

    /// Whole seconds since 1970, rounded down.
    pub fn secs(self) -> i64 {
        self.0.div_euclid(MICROS)
    }

    /// This time plus `s` seconds.
    pub fn plus_secs(self, s: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(s.saturating_mul(MICROS)))
    }

    /// Year, month, day, hour, minute, second, microsecond in UTC.
    pub fn parts(self) -> (i64, u32, u32, u32, u32, u32, u32) {
        let (days, of_day) = (self.0.div_euclid(86_400 * MICROS), self.0.rem_euclid(86_400 * MICROS));
        // Days to civil date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + i64::from(month <= 2);
        let s = of_day / MICROS;
        (
            year,
            month as u32,
            day as u32,
            (s / 3600) as u32,
            (s / 60 % 60) as u32,
            (s % 60) as u32,
            (of_day % MICROS) as u32,
        )
    }

    /// Writes RFC 3339 into a buffer, digit by digit: a list of a thousand nodes has five thousand of them.
    fn text(self, buffer: &mut [u8; TEXT_BYTES]) -> &str {
        let (year, month, day, hour, minute, second, micros) = self.parts();
        buffer.copy_from_slice(b"0000-00-00T00:00:00.000000Z");
        let mut put = |end: usize, digits: usize, mut value: u64| {
            for at in (end - digits..end).rev() {
                buffer[at] = b'0' + (value % 10) as u8;
                value /= 10;
            }
        };
        put(4, 4, year.unsigned_abs());
        for (end, value) in [(7, month), (10, day), (13, hour), (16, minute), (19, second)] {
            put(end, 2, value.into());
        }
        put(26, 6, micros.into());
        let bytes = if micros == 0 {
            buffer[19] = b'Z';
            20
        } else {
            TEXT_BYTES
        };
        std::str::from_utf8(&buffer[..bytes]).unwrap_or("")
    }

    /// Reads RFC 3339: `2026-11-23T20:12:26[.fraction](Z|±hh:mm)`. `None` for anything else.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let b = text.as_bytes();
        let num = |from: usize, len: usize| -> Option<i64> {
            let part = b.get(from..from + len)?;
            if !part.iter().all(u8::is_ascii_digit) {
                return None;
            }
            std::str::from_utf8(part).ok()?.parse().ok()
        };
        let at = |i: usize, any: &[u8]| b.get(i).is_some_and(|c| any.contains(c));
        if !(at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":")) {
            return None;
        }
        let (year, month, day) = (num(0, 4)?, num(5, 2)?, num(8, 2)?);
        let (hour, minute, second) = (num(11, 2)?, num(14, 2)?, num(17, 2)?);
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let days_in_month = match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        if day < 1 || day > days_in_month || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let mut i = 19;
        let mut micros = 0;
        if at(i, b".") {
            let digits = b[i + 1..].iter().take_while(|c| c.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            for k in 0..6 {
                micros = micros * 10 + if k < digits { i64::from(b[i + 1 + k] - b'0') } else { 0 };
            }
            i += 1 + digits;
        }
        let offset_s = match b.get(i)? {
            b'Z' | b'z' if b.len() == i + 1 => 0,
            sign @ (b'+' | b'-') if b.len() == i + 6 && at(i + 3, b":") => {
                let (h, m) = (num(i + 1, 2)?, num(i + 4, 2)?);
                if h > 23 || m > 59 {
                    return None;
                }
                let s = h * 3600 + m * 60;
                if *sign == b'-' { -s } else { s }
            }
            _ => return None,
        };
        // Civil date to days: the same source, days_from_civil.
        let y = if month <= 2 { year - 1 } else { year };
        let era = y.div_euclid(400);
        let yoe = y.rem_euclid(400);
        let mp = if month > 2 { month - 3 } else { month + 9 };
        let doe = yoe * 365 + yoe / 4 - yoe / 100 + (153 * mp + 2) / 5 + day - 1;
        let days = era * 146_097 + doe - 719_468;
        let moment = (days * 86_400 + hour * 3600 + minute * 60 + second - offset_s) * MICROS + micros;
        TELLABLE.contains(&moment).then_some(Timestamp(moment))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; TEXT_BYTES]))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.text(&mut [0; TEXT_BYTES]))
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        Timestamp::parse(&text).ok_or_else(|| serde::de::Error::custom("not a moment as RFC 3339"))
    }
}

/// Now, by the wall clock: for what people and other machines read.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A day before this program was released: an earlier time on a machine's clock is wrong. The day allows for builds
/// made in advance.
pub fn built_at() -> Timestamp {
    const RELEASE: &str = include_str!("../version.json");
    let day = RELEASE.split_once("\"date\": \"").and_then(|(_, rest)| rest.get(..10));
    day.and_then(|day| Timestamp::parse(&format!("{day}T00:00:00Z"))).map_or(Timestamp(0), |at| at.plus_secs(-86_400))
}

/// True if `now` is a plausible current time.
pub fn is_plausible(now: Timestamp) -> bool {
    now >= built_at()
}

/// Monotonic time for leases and limits, so that a step of the wall clock expires nothing.
pub fn tick() -> Instant {
    Instant::now()
}

/// Time since the machine's start, also that in which it slept: for what has to wait however the wall clock is set.
pub fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(now).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_knows_when_it_was_made() {
        assert!(built_at() > Timestamp::from_secs(1_767_225_600), "{}", built_at());
        assert!(is_plausible(now()) && is_plausible(built_at()) && !is_plausible(built_at().plus_secs(-1)));
    }

    #[test]
    fn timestamps_survive_being_written_and_read() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2026-11-23T20:12:26.900008Z",
            "2024-02-29T23:59:59Z",
            "1969-12-31T23:59:59.000001Z",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
        ] {
            assert_eq!(Timestamp::parse(text).map(|t| t.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Timestamp::parse("2026-11-23T21:12:26+01:00"), Timestamp::parse("2026-11-23T20:12:26Z"));
        for bad in [
            "",
            "2026",
            "2026-02-30T00:00:00Z",
            "2026-11-23T20:12:26",
            "2026-11-23T20:12:26.Z",
            "2026-11-23T20:12:26Zx",
            "2026-11-23T20:12:26\u{e9}",
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
        ] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }
}
