//! Signals: which ask the program to end, which to open its files again, and which mean nothing to it.

use crate::error::{Doing, Result};
use crate::logger;
use crate::thread::{Stop, lock, spawn};
use rustix::process::Signal;
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ};
use signal_hook::iterator::Signals;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// They ask for an orderly end; the last one is how LXC asks a container for it.
const END: [i32; 4] = [SIGINT, SIGQUIT, SIGTERM, SIGPWR];
/// They would end the process where it stands, and nothing here sends them. A file that reaches its size limit is an error of that write.
const MEANINGLESS: [i32; 8] = [SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGXCPU, SIGXFSZ];
/// Two that Linux alone has.
const SIGSTKFLT: i32 = Signal::STKFLT.as_raw();
const SIGPWR: i32 = Signal::POWER.as_raw();
/// The same is true of the real-time signals; the C library keeps the first ones to itself.
const REAL_TIME: std::ops::RangeInclusive<i32> = 35..=64;
/// musl keeps this one too, glibc does not.
const REAL_TIME_FIRST: i32 = 34;
/// Patience with the log at an immediate end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What SIGHUP does after the log file was opened again.
#[derive(Clone, Default)]
pub struct Hangup(Arc<Mutex<Option<Work>>>);

type Work = Box<dyn Fn() + Send>;

impl Hangup {
    /// Sets it.
    pub fn does(&self, work: impl Fn() + Send + 'static) {
        *lock(&self.0) = Some(Box::new(work));
    }
}

/// Does `work` at Ctrl-C (SIGINT), on a thread of its own, instead of ending the process there and then: the work does that.
pub fn on_interrupt(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let mut signals = Signals::new([SIGINT]).doing("listen for signals")?;
    spawn("interrupt", None, move || {
        if signals.forever().next().is_some() {
            work();
        }
    })
    .doing("listen for signals")
    .map(drop)
}

/// Raises the flag when this process is asked to end; a second time ends it at once, in case something hangs. SIGHUP opens the log file again.
/// No other signal that can be caught ends the process.
pub fn listen(stop: &Stop) -> Result<Hangup> {
    let caught = END.into_iter().chain([SIGHUP]).chain(MEANINGLESS).chain([SIGSTKFLT]).chain(REAL_TIME);
    let mut signals = Signals::new(caught).doing("listen for signals")?;
    // Where the C library refuses, it is a signal that cannot be caught.
    let _ = signals.add_signal(REAL_TIME_FIRST);
    let (stop, hangup) = (stop.clone(), Hangup::default());
    let on_hangup = hangup.clone();
    spawn("signals", None, move || {
        for signal in signals.forever() {
            match signal {
                SIGHUP => {
                    logger::reopen();
                    log::info!(target: "system", event = "log.reopened"; "Reopened the log file on SIGHUP");
                    if let Some(work) = lock(&on_hangup.0).as_ref() {
                        work();
                    }
                }
                _ if !END.contains(&signal) => {}
                _ if stop.raised() => {
                    log::warn!(target: "system", event = "serve.stop", signal; "Stopped immediately on a second signal");
                    logger::flush_within(LAST_WORDS);
                    std::process::exit(128 + signal);
                }
                _ => stop.raise(),
            }
        }
    })
    .doing("listen for signals")?;
    Ok(hangup)
}
