//! A bell that wakes what waits without a thread: a request for news about one thing, or a reader of a stream.

use crate::thread::lock;
use std::sync::{Arc, Mutex};

/// Rung by the thread that changes a thing, for the one that waits for it. A ring while nobody waits is kept, once.
/// Clones share it.
#[derive(Clone, Default)]
pub struct Bell(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    has_rung: bool,
    wake: Option<Box<dyn FnOnce() + Send>>,
}

impl Bell {
    /// Wakes what waits.
    pub fn ring(&self) {
        let wake = {
            let mut state = lock(&self.0);
            state.has_rung = state.wake.is_none();
            state.wake.take()
        };
        // Outside the lock: the one that is woken may wait again.
        if let Some(wake) = wake {
            wake();
        }
    }

    /// Runs `wake` at the next ring. Returns false if it has rung since the last time: then `wake` is not needed.
    pub fn on_ring(&self, wake: Box<dyn FnOnce() + Send>) -> bool {
        let mut state = lock(&self.0);
        let has_rung = std::mem::take(&mut state.has_rung);
        state.wake = if has_rung { None } else { Some(wake) };
        !has_rung
    }

    /// Ends the wait for a ring: the next one is kept.
    pub fn leave(&self) {
        let unneeded = lock(&self.0).wake.take();
        drop(unneeded);
    }

    /// True for a clone of the other bell.
    pub fn is(&self, other: &Bell) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_ring_wakes_once_and_is_kept_while_nobody_waits() {
        let (bell, woken) = (Bell::default(), Arc::new(AtomicUsize::new(0)));
        let wait = || {
            let woken = Arc::clone(&woken);
            bell.on_ring(Box::new(move || {
                woken.fetch_add(1, Ordering::SeqCst);
            }))
        };
        assert!(wait());
        assert_eq!(woken.load(Ordering::SeqCst), 0);
        bell.clone().ring();
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        bell.ring();
        bell.ring();
        assert!(!wait(), "rung before the wait");
        assert!(wait(), "two early rings are one");
        bell.ring();
        assert_eq!(woken.load(Ordering::SeqCst), 2);
        assert!(wait());
        bell.leave();
        bell.ring();
        assert_eq!(woken.load(Ordering::SeqCst), 2, "nothing waits any more");
        assert!(!wait(), "rung after the end of the wait");
        assert!(bell.is(&bell.clone()) && !bell.is(&Bell::default()));
    }
}
