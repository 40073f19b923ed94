//! Named threads, the flag that stops them, and work done at an interval: the only caller of thread spawning.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// A flag that many threads can wait on and one call raises. Clones share it.
#[derive(Clone, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Raises the flag and wakes every waiter.
    pub fn raise(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }

    /// Whether the flag is up.
    pub fn raised(&self) -> bool {
        *lock(&self.0.0)
    }

    /// Waits for the flag, at most this long; tells whether it is up.
    pub fn wait(&self, at_most: Duration) -> bool {
        let end = Instant::now() + at_most;
        let mut up = lock(&self.0.0);
        while !*up {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            up = self.0.1.wait_timeout(up, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Locks, whether or not a thread panicked with the lock held: every structure here is whole between statements.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a thread with a name (seen in `ps -L`) and, for the many small ones, a stack of its own size.
pub fn spawn<F: FnOnce() + Send + 'static>(name: &str, stack_bytes: Option<usize>, work: F) -> io::Result<JoinHandle<()>> {
    let builder = Builder::new().name(name.to_string());
    match stack_bytes {
        Some(bytes) => builder.stack_size(bytes),
        None => builder,
    }
    .spawn(work)
}

/// Starts a thread that does `work` at every interval until the flag is raised. A panic ends one turn, not the thread.
pub fn every<F: FnMut() + Send + 'static>(name: &'static str, interval: Duration, stop: Stop, mut work: F) -> io::Result<JoinHandle<()>> {
    spawn(name, None, move || {
        while !stop.wait(interval) {
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut work)).is_err() {
                log::error!(target: "system", event = "pass.panicked", pass = name; "A pass panicked; it runs again at its next turn");
            }
        }
    })
}
