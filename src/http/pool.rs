//! Threads on demand: a queue of work, and threads that take from it and end after a time without any.
//!
//! Few run at once. A thread that steps aside (`crate::thread::aside`), such as for bytes of a slow client, does not
//! count as running: another takes its place.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::thread::{lock, on_aside, spawn};

/// Time that a thread waits for work before it ends.
const WAIT: Duration = Duration::from_secs(5);

/// Work, and the threads that do it.
pub(super) struct Pool<T> {
    /// Name of its threads.
    name: &'static str,
    stack_bytes: usize,
    running_max: usize,
    state: Mutex<State<T>>,
}

struct State<T> {
    queue: VecDeque<T>,
    /// Work in the queue for which a thread has been called.
    called: usize,
    /// Threads without work, the last one first: those that are not needed end.
    idle: Vec<Arc<Condvar>>,
    threads: usize,
    /// Threads that are called or work, but for those that have stepped aside.
    running: usize,
    closed: bool,
}

impl<T> State<T> {
    /// True if there is work for which no thread has been called.
    fn has_more(&self) -> bool {
        self.queue.len() > self.called
    }
}

impl<T: Send + 'static> Pool<T> {
    pub fn new(name: &'static str, stack_bytes: usize, running_max: usize) -> Arc<Pool<T>> {
        let (queue, idle) = (VecDeque::new(), Vec::new());
        let state = Mutex::new(State { queue, called: 0, idle, threads: 0, running: 0, closed: false });
        Arc::new(Pool { name, stack_bytes, running_max, state })
    }

    /// Gives work to an idle thread, to a new one, or, if as many run as may, to the next that is free. If no thread
    /// can be started and there is no other, it is dropped, and that is the error.
    pub fn give(self: &Arc<Self>, item: T, work: impl Fn(T) + Clone + Send + 'static) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.queue.push_back(item);
        self.call(state, work)
    }

    /// Calls a thread for the next work, if one more may run.
    fn call(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State<T>>,
        work: impl Fn(T) + Clone + Send + 'static,
    ) -> io::Result<()> {
        if !state.has_more() || state.running >= self.running_max {
            return Ok(());
        }
        state.running += 1;
        state.called += 1;
        if let Some(seat) = state.idle.pop() {
            drop(state);
            seat.notify_one();
            return Ok(());
        }
        state.threads += 1;
        drop(state);
        let pool = Arc::clone(self);
        let started = spawn(self.name, Some(self.stack_bytes), move || pool.run(work));
        if let Err(error) = started {
            let mut state = lock(&self.state);
            state.threads -= 1;
            state.running -= 1;
            state.called -= 1;
            let surplus = if state.threads == 0 { state.queue.pop_back() } else { None };
            drop((state, surplus));
            return Err(error);
        }
        Ok(())
    }

    /// Loop of a thread.
    fn run(self: Arc<Self>, work: impl Fn(T) + Clone + Send + 'static) {
        let (pool, for_others) = (Arc::clone(&self), work.clone());
        on_aside(move |begins| {
            let mut state = lock(&pool.state);
            if !begins {
                state.running += 1;
                return;
            }
            state.running -= 1;
            // On an error the work waits for the next thread that is free.
            let _ = pool.call(state, for_others.clone());
        });
        let seat = Arc::new(Condvar::new());
        let mut next = self.claim(lock(&self.state));
        while let Some(item) = next {
            // Handlers catch their own panics. This one catches the front's: they cost one connection.
            if catch_unwind(AssertUnwindSafe(|| work(item))).is_err() {
                log::error!(target: "api", event = "connection.panicked"; "A connection handler panicked");
            }
            next = self.next(&seat);
        }
    }

    /// The work for which a thread has been called.
    fn claim(&self, mut state: MutexGuard<'_, State<T>>) -> Option<T> {
        state.called -= 1;
        state.queue.pop_front()
    }

    /// The next work for a thread that has done its own; `None` after a time without any, or when stopping.
    fn next(&self, seat: &Arc<Condvar>) -> Option<T> {
        let mut state = lock(&self.state);
        // After a step aside one too many may run.
        if state.has_more() && state.running <= self.running_max {
            return state.queue.pop_front();
        }
        state.running -= 1;
        state.idle.push(Arc::clone(seat));
        let end = clock::tick() + WAIT;
        loop {
            let Some(at) = state.idle.iter().position(|other| Arc::ptr_eq(other, seat)) else {
                return self.claim(state);
            };
            let left = end.saturating_duration_since(clock::tick());
            if state.closed || left.is_zero() {
                state.idle.remove(at);
                state.threads -= 1;
                return None;
            }
            state = seat.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Threads now.
    #[cfg(test)]
    pub fn threads(&self) -> usize {
        lock(&self.state).threads
    }

    /// Ends the threads as soon as nothing is left to do.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.idle.iter().for_each(|seat| seat.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::aside;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::{ThreadId, current};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Work that reports its start, and ends when the test says so.
    struct Item {
        started: Sender<ThreadId>,
        end: Receiver<()>,
        steps_aside: bool,
    }

    fn give(pool: &Arc<Pool<Item>>, started: &Sender<ThreadId>, steps_aside: bool) -> Sender<()> {
        let (ends, end) = channel();
        let item = Item { started: started.clone(), end, steps_aside };
        let work = |item: Item| {
            let _ = item.started.send(current().id());
            let wait = || item.end.recv_timeout(PATIENCE);
            let _ = if item.steps_aside { aside(wait) } else { wait() };
        };
        pool.give(item, work).expect("a thread");
        ends
    }

    #[test]
    fn few_run_at_once_and_one_that_steps_aside_does_not_count() {
        let pool = Pool::new("test-pool", 256 << 10, 2);
        let (sender, started) = channel();
        let next = || started.recv_timeout(PATIENCE).expect("one more starts");
        let aside: Vec<Sender<()>> = (0..5).map(|_| give(&pool, &sender, true)).collect();
        (0..5).for_each(|_| _ = next());
        let mut run: Vec<Sender<()>> = (0..4).map(|_| give(&pool, &sender, false)).collect();
        (0..2).for_each(|_| _ = next());
        assert_eq!((pool.threads(), started.try_recv().is_err()), (7, true), "two wait in the queue");
        run.remove(0).send(()).expect("it runs");
        next();
        drop(run);
        next();
        // Those that come back run on, however many they are.
        drop(aside);
        let end = clock::tick() + PATIENCE;
        while lock(&pool.state).running > 0 {
            assert!(clock::tick() < end, "all are idle");
            std::thread::yield_now();
        }
        // The last one that became idle is the first to work.
        let mut threads = Vec::new();
        for _ in 0..5 {
            drop(give(&pool, &sender, false));
            threads.push(next());
            while lock(&pool.state).running > 0 {
                assert!(clock::tick() < end, "it is idle");
                std::thread::yield_now();
            }
        }
        assert!(threads.iter().all(|thread| *thread == threads[0]), "one thread does what follows one after the other");
        pool.close();
        while pool.threads() > 0 {
            assert!(clock::tick() < end, "all threads end");
            std::thread::yield_now();
        }
    }
}
