//! Waits for work of the control plane: they survive its restart and end at a limit.

use super::args::{Args, Failure, Opt, opt};
use super::connect::sign_in_again;
use super::progress::Progress;
use crate::client::{Api, CallError, Called};
use crate::clock;
use std::time::{Duration, Instant};

/// Interval between readings at first, when most work ends, and later.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(500));
/// Time after which a wait is a long one.
const LONG: Duration = Duration::from_secs(5);
/// Statuses of a server that has too much to do.
const BUSY: &[u16] = &[429, 503];
/// Time within which a server that was started again knows its new credentials.
const REFUSED_MAX: Duration = Duration::from_secs(10);
/// Longest limit, in seconds: a day.
const LIMIT_MAX_S: i64 = 86_400;
/// Usual limit, in seconds.
const LIMIT_S: i64 = 300;

/// Option of commands that wait.
pub const TIMEOUT: Opt = opt("timeout", "SECONDS", "longest wait (default 300)");

/// State of work at the control plane.
pub enum State<T> {
    /// It continues; what is waited for.
    Working(String),
    /// It is done.
    Done(T),
    /// It will not be done.
    Failed(Failure),
}

/// Option of commands whose work takes hours.
pub const LONG_TIMEOUT: Opt = opt("timeout", "SECONDS", "longest wait (default 86400)");

/// Longest wait, by `--timeout`. Faults are noted.
pub fn limit(args: &Args) -> Duration {
    limit_or(args, LIMIT_S)
}

/// The same for work that takes hours.
pub fn long_limit(args: &Args) -> Duration {
    limit_or(args, LIMIT_MAX_S)
}

fn limit_or(args: &Args, default_s: i64) -> Duration {
    let seconds = args.int("timeout", default_s);
    if !(0..=LIMIT_MAX_S).contains(&seconds) {
        args.fault(format!("--timeout must be 0 to {LIMIT_MAX_S} seconds, not {seconds}"));
    }
    Duration::from_secs(seconds.unsigned_abs())
}

/// Reads the state of work until that ends, or the limit is reached. `again` is the command that shows the work. A
/// control plane that does not answer is tried again.
pub fn wait<T>(
    args: &Args,
    api: &mut Api,
    limit: Duration,
    again: &str,
    mut look: impl FnMut(&Api) -> Called<State<T>>,
) -> Result<T, Failure> {
    let began = clock::tick();
    let end = began + limit;
    let progress = Progress::begin(args, again)?;
    let mut refused_at: Option<Instant> = None;
    loop {
        let late = match look(api) {
            Ok(State::Done(done)) => return Ok(done),
            Ok(State::Failed(failure)) => return Err(failure),
            Ok(State::Working(text)) => {
                progress.say(&text);
                refused_at = None;
                Failure::TimedOut(format!("{text}: the time for waiting is over; to see the work: {again}"))
            }
            Err(e @ CallError::Refused { status: 401, .. }) => {
                if refused_at.get_or_insert_with(clock::tick).elapsed() > REFUSED_MAX {
                    return Err(e.into());
                }
                // Where this fails, the next reading finds out why.
                let _ = sign_in_again(args, api);
                e.into()
            }
            Err(CallError::Refused { status, detail, .. }) if BUSY.contains(&status) => {
                progress.say(&format!("the control plane is busy; retrying ({detail})"));
                Failure::TimedOut(format!("{detail}; to see the work: {again}"))
            }
            Err(e) if e.is_refusal() => return Err(e.into()),
            Err(e) => {
                progress.say(&format!("the control plane does not answer; retrying ({e})"));
                Failure::Unreachable(format!("{e}; to see the work: {again}"))
            }
        };
        if clock::tick() >= end {
            return Err(late);
        }
        std::thread::sleep(if began.elapsed() < LONG { LOOK_EVERY.0 } else { LOOK_EVERY.1 });
    }
}
