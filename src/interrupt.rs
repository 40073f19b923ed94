//! Work that an interrupted program does before it ends: temporary files are removed, and the operator learns how to
//! look again. `sys::signals::end_on_interrupt` runs it; a server stops in order instead.

use crate::thread::lock;
use std::sync::Mutex;

type Work = Box<dyn Fn() + Send>;

struct Pending {
    next: u64,
    work: Vec<(u64, Work)>,
    is_decided: bool,
}

static PENDING: Mutex<Pending> = Mutex::new(Pending { next: 0, work: Vec::new(), is_decided: false });

/// Work that an interrupt does, until this is dropped.
pub struct AtInterrupt(u64);

/// Has an interrupt do this work; what was given last is done first.
pub fn at_interrupt(work: impl Fn() + Send + 'static) -> AtInterrupt {
    let mut pending = lock(&PENDING);
    let id = pending.next;
    pending.next += 1;
    pending.work.push((id, Box::new(work)));
    AtInterrupt(id)
}

impl Drop for AtInterrupt {
    fn drop(&mut self) {
        // While an interrupt is at work this waits for the end of the process.
        lock(&PENDING).work.retain(|(id, _)| *id != self.0);
    }
}

/// Takes a step that must not follow the work of an interrupt, such as creating a directory that it has removed: while
/// one is at work, this waits for the end of the process.
pub fn before_interrupt<T>(step: impl FnOnce() -> T) -> T {
    let _pending = lock(&PENDING);
    step()
}

/// From here on an interrupt ends nothing: the result is about to be put into its place, which takes a moment.
pub fn decide() {
    lock(&PENDING).is_decided = true;
}

/// Does the work and then ends the process with `end`, unless it is too late for that.
pub fn run(end: impl FnOnce()) {
    let pending = lock(&PENDING);
    if pending.is_decided {
        return;
    }
    pending.work.iter().rev().for_each(|(_, work)| work());
    // Still locked: nothing new is begun, and nothing is decided.
    end();
}
