//! Threads on demand: a queue of work, and threads that take from it and end after a time without any.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::thread::{lock, spawn};

/// Time that a thread waits for work before it ends.
const WAIT: Duration = Duration::from_secs(5);

/// Work, and the threads that do it.
pub(super) struct Pool<T> {
    /// Name of its threads.
    name: &'static str,
    stack_bytes: usize,
    threads_max: usize,
    state: Mutex<State<T>>,
    /// Signalled when there is work for a waiting thread.
    more: Condvar,
}

struct State<T> {
    queue: VecDeque<T>,
    threads: usize,
    /// Threads without work, including those that are just starting.
    waiting: usize,
    closed: bool,
}

impl<T: Send + 'static> Pool<T> {
    pub fn new(name: &'static str, stack_bytes: usize, threads_max: usize) -> Arc<Pool<T>> {
        let state = State { queue: VecDeque::new(), threads: 0, waiting: 0, closed: false };
        Arc::new(Pool { name, stack_bytes, threads_max, state: Mutex::new(state), more: Condvar::new() })
    }

    /// Gives work to a waiting thread, to a new one, or, if there are as many as there may be, to the next that is
    /// free. If no thread can be started for it, it is dropped, and that is the error.
    pub fn give(self: &Arc<Self>, item: T, work: impl Fn(T) + Send + 'static) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.queue.push_back(item);
        if state.queue.len() <= state.waiting {
            drop(state);
            self.more.notify_one();
            return Ok(());
        }
        if state.threads >= self.threads_max {
            return Ok(());
        }
        state.threads += 1;
        state.waiting += 1;
        drop(state);
        let pool = Arc::clone(self);
        let started = spawn(self.name, Some(self.stack_bytes), move || pool.run(&work));
        if let Err(error) = started {
            let mut state = lock(&self.state);
            state.threads -= 1;
            state.waiting -= 1;
            let surplus =
                if state.threads == 0 || self.threads_max == usize::MAX { state.queue.pop_back() } else { None };
            drop((state, surplus));
            return Err(error);
        }
        Ok(())
    }

    /// Loop of a thread.
    fn run(&self, work: &impl Fn(T)) {
        while let Some(item) = self.next() {
            // Handlers catch their own panics. This one catches the front's: they cost one connection.
            if catch_unwind(AssertUnwindSafe(|| work(item))).is_err() {
                log::error!(target: "api", event = "connection.panicked"; "A connection handler panicked");
            }
            lock(&self.state).waiting += 1;
        }
    }

    /// The next work for a waiting thread; `None` after a time without any, or when stopping.
    fn next(&self) -> Option<T> {
        let end = clock::tick() + WAIT;
        let mut state = lock(&self.state);
        loop {
            let next = state.queue.pop_front();
            let left = end.saturating_duration_since(clock::tick());
            if next.is_some() || state.closed || left.is_zero() {
                state.waiting -= 1;
                state.threads -= usize::from(next.is_none());
                return next;
            }
            state = self.more.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Threads now.
    #[cfg(test)]
    pub fn threads(&self) -> usize {
        lock(&self.state).threads
    }

    /// Ends the threads as soon as nothing is left to do.
    pub fn close(&self) {
        lock(&self.state).closed = true;
        self.more.notify_all();
    }
}
