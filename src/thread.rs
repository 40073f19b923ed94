//! Named threads, a flag that stops them, values to wait for, waits aside, and work at intervals: the only place that
//! spawns threads.

use std::cell::RefCell;
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

    /// Waits for the flag.
    pub fn wait_until_raised(&self) {
        let mut up = lock(&self.0.0);
        while !*up {
            up = self.0.1.wait(up).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// True if the flag is raised.
    pub fn is_raised(&self) -> bool {
        *lock(&self.0.0)
    }

    /// Waits for the flag for up to `at_most`; returns whether it is raised.
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

/// A value that threads set and others wait on. Clones share it.
pub struct Watch<T>(Arc<(Mutex<Watched<T>>, Condvar)>);

struct Watched<T> {
    value: T,
    /// Number of times the value was set.
    version: u64,
    closed: bool,
}

impl<T> Clone for Watch<T> {
    fn clone(&self) -> Watch<T> {
        Watch(Arc::clone(&self.0))
    }
}

impl<T: Clone> Watch<T> {
    /// A value with version 0.
    pub fn new(value: T) -> Watch<T> {
        Watch(Arc::new((Mutex::new(Watched { value, version: 0, closed: false }), Condvar::new())))
    }

    /// Sets the value and wakes every waiter.
    pub fn set(&self, value: T) {
        let mut watched = lock(&self.0.0);
        watched.value = value;
        watched.version += 1;
        self.0.1.notify_all();
    }

    /// The current value.
    pub fn get(&self) -> T {
        lock(&self.0.0).value.clone()
    }

    /// Waits for up to `at_most` until the version differs from `seen`. Returns the value and its version, which is
    /// `seen` if it was not set meanwhile; `None` once closed and no newer version is left.
    pub fn wait(&self, seen: u64, at_most: Duration) -> Option<(T, u64)> {
        let end = Instant::now() + at_most;
        let mut watched = lock(&self.0.0);
        while !watched.closed && watched.version == seen {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            watched = self.0.1.wait_timeout(watched, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let is_over = watched.closed && watched.version == seen;
        (!is_over).then(|| (watched.value.clone(), watched.version))
    }

    /// True once closed.
    pub fn is_closed(&self) -> bool {
        lock(&self.0.0).closed
    }

    /// Ends every wait for a newer version, now and in future.
    pub fn close(&self) {
        lock(&self.0.0).closed = true;
        self.0.1.notify_all();
    }
}

/// Locks even if a thread panicked while holding the lock: every structure here is consistent between statements.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a thread with a name (visible in `ps -L`) and, for small threads, its own stack size.
pub fn spawn<F: FnOnce() + Send + 'static>(
    name: &str,
    stack_bytes: Option<usize>,
    work: F,
) -> io::Result<JoinHandle<()>> {
    let builder = Builder::new().name(name.to_string());
    match stack_bytes {
        Some(bytes) => builder.stack_size(bytes),
        None => builder,
    }
    .spawn(work)
}

thread_local! {
    static ON_ASIDE: RefCell<Option<OnAside>> = const { RefCell::new(None) };
}

type OnAside = Box<dyn Fn(bool)>;

/// Sets what the current thread calls, with true, before each wait aside, and with false after it.
pub fn on_aside(call: impl Fn(bool) + 'static) {
    ON_ASIDE.set(Some(Box::new(call)));
}

/// Runs a wait for something that needs no processor. If the current thread is one of a bounded number, another may run
/// in its place meanwhile.
pub fn aside<T>(wait: impl FnOnce() -> T) -> T {
    let _aside = Aside(ON_ASIDE.take().inspect(|call| call(true)));
    wait()
}

/// A wait aside; ends when dropped. Without a call inside another one, or in a thread of its own.
struct Aside(Option<OnAside>);

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call(false);
            ON_ASIDE.set(Some(call));
        }
    }
}

/// Starts a thread that runs `work` at every interval until the flag is raised. A panic ends one turn, not the thread.
pub fn every<F: FnMut() + Send + 'static>(
    name: &'static str,
    interval: Duration,
    stop: Stop,
    mut work: F,
) -> io::Result<JoinHandle<()>> {
    spawn(name, None, move || {
        while !stop.wait(interval) {
            catch_panic(name, &mut work);
        }
    })
}

/// Starts a thread that runs `work` now, and after the time that its last turn returned, until the flag is raised.
/// After a panic it waits for `retry`.
pub fn paced<F: FnMut() -> Duration + Send + 'static>(
    name: &'static str,
    stop: Stop,
    retry: Duration,
    mut work: F,
) -> io::Result<JoinHandle<()>> {
    spawn(name, None, move || while !stop.wait(catch_panic(name, &mut work).unwrap_or(retry)) {})
}

/// Starts a thread that runs `work` now, after every set of `news`, and after the time that its last turn returned,
/// until `news` is closed. After a panic it waits for `retry`.
pub fn on_news<F: FnMut() -> Duration + Send + 'static>(
    name: &'static str,
    news: Watch<()>,
    retry: Duration,
    mut work: F,
) -> io::Result<JoinHandle<()>> {
    spawn(name, None, move || {
        let mut seen = 0;
        loop {
            let wait = catch_panic(name, &mut work).unwrap_or(retry);
            match news.wait(seen, wait) {
                // The work may be its own news: then it would not end by itself.
                Some((_, version)) if !news.is_closed() => seen = version,
                _ => return,
            }
        }
    })
}

/// Runs one turn of a thread's work. `None` after a panic, which is logged and ends the turn, not the thread.
pub fn catch_panic<T>(name: &str, work: impl FnOnce() -> T) -> Option<T> {
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    if done.is_err() {
        log::error!(target: "system", event = "pass.panicked", pass = name; "A background pass panicked; it runs again \
            at its next turn");
    }
    done.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_watch_wakes_its_waiters_and_misses_nothing() {
        let watch = Watch::new(0);
        assert_eq!(watch.wait(0, Duration::ZERO), Some((0, 0)), "nothing new");
        let (theirs, back) = (watch.clone(), Watch::new(0));
        let answers = back.clone();
        let waiter = spawn("waiter", None, move || {
            let mut seen = 0;
            while let Some((value, version)) = theirs.wait(seen, PATIENCE) {
                seen = version;
                answers.set(value);
            }
        });
        for round in 1..=100 {
            watch.set(round);
            let mut seen = 0;
            while let Some((value, version)) = back.wait(seen, PATIENCE)
                && value != round
            {
                assert_ne!(version, seen, "it is woken");
                seen = version;
            }
        }
        assert_eq!(
            (watch.get(), watch.wait(99, PATIENCE)),
            (100, Some((100, 100))),
            "what was set before is there at once"
        );
        watch.close();
        waiter.expect("a thread").join().expect("it ends");
        assert_eq!(watch.wait(0, PATIENCE), Some((100, 100)), "what was set before it was closed is not lost");
        assert_eq!(watch.wait(100, PATIENCE), None, "closed");
    }

    #[test]
    fn work_that_is_its_own_news_ends_when_they_are_closed() {
        let news = Watch::new(());
        let own = news.clone();
        let work = move || {
            own.set(());
            PATIENCE
        };
        let pass = on_news("own news", news.clone(), PATIENCE, work).expect("a thread");
        let end = Instant::now() + PATIENCE;
        news.wait(3, PATIENCE).expect("a third turn");
        news.close();
        while !pass.is_finished() {
            assert!(Instant::now() < end, "it goes on for ever");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_panic_ends_one_turn() {
        assert_eq!(catch_panic("turn", || 7), Some(7));
        assert_eq!(catch_panic("turn", || -> i32 { panic!("a test") }), None);
    }
}
