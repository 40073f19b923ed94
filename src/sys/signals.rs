//! The signals that ask a program to end.

use crate::error::{Doing, Result};
use crate::thread::{Stop, spawn};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Raises the flag when this process is asked to end. A second time ends it at once, in case something hangs.
pub fn raise_on_end(stop: &Stop) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).doing("listen for signals")?;
    let stop = stop.clone();
    spawn("signals", Some(64 << 10), move || {
        for signal in signals.forever() {
            if stop.raised() {
                std::process::exit(128 + signal);
            }
            stop.raise();
        }
    })
    .doing("listen for signals")?;
    Ok(())
}
