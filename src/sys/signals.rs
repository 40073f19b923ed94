//! Signals: which ones end the program, which one reopens its files, and which ones are ignored.

use crate::error::{Doing, Result};
use crate::interrupt;
use crate::logger;
use crate::sys::terminal;
use crate::thread::{Stop, lock, spawn};
use rustix::process::Signal;
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use signal_hook::iterator::Signals;
use std::io::{IsTerminal, stdout};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

/// Signals that end the program in order; LXC stops a container with the last one.
const END: [i32; 4] = [SIGINT, SIGQUIT, SIGTERM, SIGPWR];
/// Signals that would end the process immediately, and that are never sent here. Reaching a file size limit is then an
/// error of that write.
const MEANINGLESS: [i32; 8] = [SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGXCPU, SIGXFSZ];
/// Two signals of Linux only.
const SIGSTKFLT: i32 = Signal::STKFLT.as_raw();
const SIGPWR: i32 = Signal::POWER.as_raw();
/// Real-time signals are ignored too; the C library reserves the first ones.
const REAL_TIME: std::ops::RangeInclusive<i32> = 35..=64;
/// musl reserves this one too, glibc does not.
const REAL_TIME_FIRST: i32 = 34;
/// Time to flush the log at an immediate end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Work at SIGHUP, after the log file was reopened.
#[derive(Clone, Default)]
pub struct Hangup(Arc<Mutex<Option<Work>>>);

type Work = Box<dyn Fn() + Send>;

impl Hangup {
    /// Sets the work.
    pub fn set(&self, work: impl Fn() + Send + 'static) {
        *lock(&self.0) = Some(Box::new(work));
    }
}

/// From the first call on, Ctrl-C (SIGINT) and SIGTERM do the work of [`interrupt`] and end the process, with 128 and
/// the signal's number as shells have it.
pub fn end_on_interrupt() -> Result<()> {
    static STARTED: Once = Once::new();
    let mut started = Ok(());
    STARTED.call_once(|| {
        started = Signals::new([SIGINT, SIGTERM]).and_then(|mut signals| {
            spawn("interrupt", None, move || {
                for signal in signals.forever() {
                    interrupt::run(|| std::process::exit(128 + signal));
                }
            })
            .map(drop)
        });
    });
    started.doing("listen for signals")
}

/// Raises the flag at the first signal to end; a second signal ends it immediately, in case something hangs.
/// SIGHUP reopens the log file, but ends a process whose terminal is gone. No other signal that can be caught ends it.
pub fn listen(stop: &Stop) -> Result<Hangup> {
    let caught = END.into_iter().chain([SIGHUP]).chain(MEANINGLESS).chain([SIGSTKFLT]).chain(REAL_TIME);
    let mut signals = Signals::new(caught).doing("listen for signals")?;
    // The C library refuses a signal that cannot be caught.
    let _ = signals.add_signal(REAL_TIME_FIRST);
    let (stop, hangup) = (stop.clone(), Hangup::default());
    let is_on_terminal = stdout().is_terminal() && terminal::is_attached();
    let on_hangup = hangup.clone();
    spawn("signals", None, move || {
        for signal in signals.forever() {
            match signal {
                SIGHUP if is_on_terminal && !terminal::is_attached() => stop.raise(),
                SIGHUP => {
                    logger::reopen();
                    log::info!(target: "system", event = "log.reopened"; "Reopened the log file on SIGHUP");
                    if let Some(work) = lock(&on_hangup.0).as_ref() {
                        work();
                    }
                }
                _ if !END.contains(&signal) => {}
                _ if stop.is_raised() => {
                    log::warn!(target: "system", event = "serve.stop", signal; "Stopped immediately on a second \
                        signal");
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
