//! The writer thread: group commit.

use super::changes::{Changes, Frame, Tail};
use super::effects::Effects;
use super::{QueryLog, Read, Write, row, transaction_now};
use crate::caller::{self, Caller};
use crate::clock;
use crate::error::{Doing, Error, Result};
use crate::logger;
use crate::model::ids::NodeId;
use crate::thread::{aside, lock, spawn};
use rusqlite::Connection;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Writes that may be queued; more wait in their own threads, so none is lost.
const QUEUE: usize = 1024;
/// Maximum writes per commit: enough that the flush no longer dominates, few enough that the first is answered soon.
const GROUP: usize = 256;
/// Time after which a caller steps aside while it waits for its commit: a disk that stalls must not hold up readers.
const USUAL_TIME: Duration = Duration::from_millis(25);

/// A write on its way through the writer thread.
trait Job: Send {
    /// Runs the write inside its savepoint; returns true to keep it.
    fn run(&mut self, write: &Write) -> bool;
    /// Answers the caller; `failed` is why the whole transaction failed.
    fn answer(self: Box<Self>, failed: Option<&Error>);
}

/// The job of one call to [`Writer::write`].
struct Task<T, F> {
    work: Option<F>,
    /// Request id of the caller, for log lines and events of the writer thread.
    request_id: String,
    caller: Option<Caller>,
    result: Option<Result<T>>,
    /// The result for the caller. Beside the channel, not in it: a channel generates much code for each type.
    answer: Arc<Mutex<Option<Result<T>>>>,
    done: SyncSender<()>,
}

impl<T: Send, F: FnOnce(&Write) -> Result<T> + Send> Job for Task<T, F> {
    fn run(&mut self, write: &Write) -> bool {
        let Some(work) = self.work.take() else { return false };
        let _context = logger::Context::request(&self.request_id);
        let _scope = caller::enter(self.caller.take());
        let result = catch_unwind(AssertUnwindSafe(|| work(write)))
            .unwrap_or_else(|_| Err(Error::fault("write", "the transaction panicked")));
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn answer(self: Box<Self>, failed: Option<&Error>) {
        let answer = match (self.result, failed) {
            (Some(Err(own)), _) => Err(own),
            (Some(Ok(value)), None) => Ok(value),
            (_, Some(Error::Unavailable(sentence))) => Err(Error::Unavailable(sentence.clone())),
            (_, Some(other)) => Err(Error::fault("commit", crate::error::Chain(other).to_string())),
            (None, None) => Err(Error::fault("commit", "the write was not run")),
        };
        *lock(&self.answer) = Some(answer);
        // The caller may be gone.
        let _ = self.done.send(());
    }
}

/// A queued write.
struct Pending<T> {
    answer: Arc<Mutex<Option<Result<T>>>>,
    done: Receiver<()>,
}

impl<T> Pending<T> {
    fn wait(self) -> Result<T> {
        let done = match self.done.recv_timeout(USUAL_TIME) {
            Err(RecvTimeoutError::Timeout) => aside(|| self.done.recv()).ok(),
            done => done.ok(),
        };
        done.ok_or_else(closed)?;
        lock(&self.answer).take().ok_or_else(closed)?
    }
}

fn closed() -> Error {
    Error::Unavailable("The server is stopping.".to_string())
}

/// Statistics of the writer thread.
#[derive(Debug, Default, Clone, Copy)]
pub struct WriterStats {
    /// Writes that are queued or running.
    pub queued: u64,
    /// Commits.
    pub commits: u64,
    /// Writes in those commits.
    pub jobs: u64,
    /// Microseconds spent on commits, including the writes themselves.
    pub commit_micros: u64,
}

#[derive(Default)]
struct Stats {
    queued: AtomicU64,
    commits: AtomicU64,
    jobs: AtomicU64,
    commit_micros: AtomicU64,
}

/// The queue to the writer thread.
pub(super) struct Writer {
    queue: Mutex<Option<SyncSender<Box<dyn Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    stats: Arc<Stats>,
}

/// State of the writer thread.
struct Work {
    connection: Connection,
    log: QueryLog,
    changes: Arc<Changes>,
    tail: Arc<Tail>,
    stats: Arc<Stats>,
    commit: Commit,
}

/// Writes in one open transaction, and what to publish when it commits.
struct Group {
    /// Changes relevant to the scheduler.
    changes: u64,
    /// Nodes whose replicas changed.
    placed: Vec<NodeId>,
    /// Events for readers of the stream.
    news: Vec<Frame>,
}

/// A durable group: only this can be published.
struct Committed(Group);

/// Ways to make a group durable.
enum Commit {
    /// In the database of this machine.
    Local,
}

impl Commit {
    /// Makes a group durable. After an error the transaction has failed, and is still open unless SQLite has ended it.
    fn commit(&self, connection: &Connection, group: Group) -> Result<Committed> {
        match self {
            Commit::Local => row::map_sqlite_error(connection.execute_batch("COMMIT"), "commit")?,
        }
        Ok(Committed(group))
    }
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        log: QueryLog,
        changes: Arc<Changes>,
        tail: Arc<Tail>,
    ) -> Result<Writer> {
        let (queue, jobs) = sync_channel(QUEUE);
        let stats = Arc::new(Stats::default());
        let work = Work { connection, log, changes, tail, stats: Arc::clone(&stats), commit: Commit::Local };
        let thread = spawn("store-writer", None, move || work.all(&jobs)).doing("start the writer thread")?;
        Ok(Writer { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), stats })
    }

    pub(super) fn stats(&self) -> WriterStats {
        let s = &self.stats;
        WriterStats {
            queued: s.queued.load(Relaxed),
            commits: s.commits.load(Relaxed),
            jobs: s.jobs.load(Relaxed),
            commit_micros: s.commit_micros.load(Relaxed),
        }
    }

    pub(super) fn write<T: Send + 'static>(&self, f: impl FnOnce(&Write) -> Result<T> + Send + 'static) -> Result<T> {
        self.stats.queued.fetch_add(1, Relaxed);
        let answer = self.enqueue(f).and_then(Pending::wait);
        self.stats.queued.fetch_sub(1, Relaxed);
        answer
    }

    fn enqueue<T: Send + 'static>(&self, f: impl FnOnce(&Write) -> Result<T> + Send + 'static) -> Result<Pending<T>> {
        let (sender, done) = sync_channel(1);
        let queue = lock(&self.queue).clone().ok_or_else(closed)?;
        let answer = Arc::new(Mutex::new(None));
        let (request_id, caller) = (logger::request_id(), caller::current());
        let task = Task { work: Some(f), request_id, caller, result: None, answer: Arc::clone(&answer), done: sender };
        queue.send(Box::new(task)).map_err(|_| closed())?;
        Ok(Pending { answer, done })
    }

    /// Refuses further writes and waits for the queued ones.
    pub(super) fn close(&self) {
        lock(&self.queue).take();
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            log::error!(target: "store", event = "store.writer_panicked"; "The writer thread panicked");
        }
    }
}

impl Work {
    fn all(&self, jobs: &Receiver<Box<dyn Job>>) {
        while let Ok(first) = jobs.recv() {
            let began = clock::tick();
            let mut queued = Vec::with_capacity(GROUP);
            queued.push(first);
            let effects = Effects::default();
            let group = self.run_group(jobs, &mut queued, &effects);
            let failed = match group.and_then(|group| self.commit.commit(&self.connection, group)) {
                Ok(committed) => {
                    self.publish(committed, effects);
                    None
                }
                Err(e) => {
                    self.abandon(effects);
                    Some(e)
                }
            };
            let micros = clock::tick().duration_since(began).as_micros();
            self.stats.commits.fetch_add(1, Relaxed);
            self.stats.jobs.fetch_add(queued.len() as u64, Relaxed);
            self.stats.commit_micros.fetch_add(u64::try_from(micros).unwrap_or(u64::MAX), Relaxed);
            for job in queued {
                job.answer(failed.as_ref());
            }
        }
    }

    /// Begins a transaction and runs the first write and all writes queued by then, each in its own savepoint.
    fn run_group(
        &self,
        jobs: &Receiver<Box<dyn Job>>,
        queued: &mut Vec<Box<dyn Job>>,
        effects: &Effects,
    ) -> Result<Group> {
        let connection = &self.connection;
        if let Err(e) = row::map_sqlite_error(connection.execute_batch("BEGIN IMMEDIATE"), "begin a transaction") {
            // Writes queued meanwhile have waited too; one group after the other would make them wait too long.
            queued.extend(jobs.try_iter().take(QUEUE));
            return Err(e);
        }
        let write = Write {
            read: Read { connection, log: self.log },
            now: transaction_now(),
            changes_before: self.changes.count(),
            changes: Cell::new(0),
            placed: RefCell::default(),
            news: RefCell::default(),
            events: Cell::new(0),
            effects,
        };
        let mut done = 0;
        while done < queued.len() {
            self.run_job(&mut queued[done], &write)?;
            done += 1;
            if done == queued.len() && done < GROUP {
                queued.extend(jobs.try_recv());
            }
        }
        Ok(Group { changes: write.changes.get(), placed: write.placed.take(), news: write.news.take() })
    }

    /// Runs one write in its savepoint, and rolls back if it fails. An error ends the whole group.
    fn run_job(&self, job: &mut Box<dyn Job>, write: &Write) -> Result<()> {
        let connection = &self.connection;
        row::map_sqlite_error(connection.execute_batch("SAVEPOINT job"), "begin a savepoint")?;
        let changes = write.changes.get();
        let placed = write.placed.borrow().len();
        let news = write.news.borrow().len();
        let mark = write.effects.mark();
        let keep = job.run(write);
        // On some errors (disk full, I/O, interrupted) SQLite rolls back the whole transaction by itself: the group
        // fails together.
        if connection.is_autocommit() {
            let why =
                "The control plane's disk is full or failing, or its database was interrupted; nothing was written.";
            return Err(Error::Unavailable(why.to_string()));
        }
        let end = if keep { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
        row::map_sqlite_error(connection.execute_batch(end), "end a savepoint")?;
        if !keep {
            write.changes.set(changes);
            write.placed.borrow_mut().truncate(placed);
            write.news.borrow_mut().truncate(news);
            write.effects.roll_back_to(mark);
        }
        Ok(())
    }

    /// Publishes a durable group: memory first, so that a reader of its events finds their effects.
    fn publish(&self, Committed(group): Committed, effects: Effects) {
        self.changes.add(group.changes);
        effects.commit();
        self.changes.placed(group.placed);
        self.tail.publish(group.news);
    }

    /// Ends a failed transaction, and undoes its effects on memory.
    fn abandon(&self, effects: Effects) {
        if !self.connection.is_autocommit()
            && let Err(e) = self.connection.execute_batch("ROLLBACK")
        {
            log::error!(target: "store", event = "store.rollback", error:% = e; "Could not roll back a failed \
                transaction");
        }
        effects.roll_back();
    }
}

#[cfg(test)]
mod tests;
