//! The writer thread: group commit.

use super::changes::{Changes, Tail};
use super::{QueryLog, Read, Undo, Write, row, transaction_now};
use crate::caller::{self, Caller};
use crate::clock;
use crate::error::{Doing, Error, Result};
use crate::logger;
use crate::thread::{lock, spawn};
use rusqlite::Connection;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Writes that may wait at once; more wait in their own threads, so nothing is lost.
const QUEUE: usize = 1024;
/// Jobs that share one commit: enough that the flush is no longer what costs, few enough that the first is answered soon.
const GROUP: usize = 256;

/// A write on its way through the writer thread.
trait Job: Send {
    /// Does the writing, inside its savepoint; tells whether to keep it.
    fn run(&mut self, write: &Write) -> bool;
    /// Tells the caller; `failed` is why the transaction as a whole did not stand.
    fn answer(self: Box<Self>, failed: Option<&Error>);
}

/// The job of one call to [`Writer::write`].
struct Task<T, F> {
    work: Option<F>,
    /// The request that the caller works for: what is logged in the writer thread is of it too, and so is what is recorded.
    request_id: String,
    caller: Option<Caller>,
    result: Option<Result<T>>,
    /// Where the caller looks once it is told. Beside the channel and not in it: a channel is a lot of code for each type that goes through.
    answer: Arc<Mutex<Option<Result<T>>>>,
    tell: SyncSender<()>,
}

impl<T: Send, F: FnOnce(&Write) -> Result<T> + Send> Job for Task<T, F> {
    fn run(&mut self, write: &Write) -> bool {
        let Some(work) = self.work.take() else { return false };
        let _context = logger::Context::request(&self.request_id);
        let _scope = caller::begin(self.caller.take());
        let result =
            catch_unwind(AssertUnwindSafe(|| work(write))).unwrap_or_else(|_| Err(Error::fault("write", "the transaction panicked")));
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
        // A caller that is gone does not want the answer.
        let _ = self.tell.send(());
    }
}

/// What the writer thread has done so far.
#[derive(Debug, Default, Clone, Copy)]
pub struct WriterStats {
    /// Jobs that wait or are being done.
    pub queued: u64,
    /// Commits.
    pub commits: u64,
    /// Jobs in them.
    pub jobs: u64,
    /// Microseconds that commits took, the jobs' own work included.
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

/// What the writer thread works with.
struct Work {
    connection: Connection,
    log: QueryLog,
    changes: Arc<Changes>,
    tail: Arc<Tail>,
    stats: Arc<Stats>,
}

impl Writer {
    pub(super) fn start(connection: Connection, log: QueryLog, changes: Arc<Changes>, tail: Arc<Tail>) -> Result<Writer> {
        let (queue, jobs) = sync_channel(QUEUE);
        let stats = Arc::new(Stats::default());
        let work = Work { connection, log, changes, tail, stats: Arc::clone(&stats) };
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
        let closed = || Error::Unavailable("The server is stopping.".to_string());
        let (tell, told) = sync_channel(1);
        let queue = lock(&self.queue).clone().ok_or_else(closed)?;
        self.stats.queued.fetch_add(1, Relaxed);
        let answer = Arc::new(Mutex::new(None));
        let (request_id, caller) = (logger::request_id(), caller::current());
        let task = Task { work: Some(f), request_id, caller, result: None, answer: Arc::clone(&answer), tell };
        let sent = queue.send(Box::new(task));
        let told = sent.map_err(|_| closed()).and_then(|()| told.recv().map_err(|_| closed()));
        self.stats.queued.fetch_sub(1, Relaxed);
        told?;
        lock(&answer).take().ok_or_else(closed)?
    }

    /// Refuses further writes, and waits until those that are queued are done.
    pub(super) fn close(&self) {
        lock(&self.queue).take();
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            log::error!(target: "store", event = "store.writer_panicked"; "The writer thread had panicked");
        }
    }
}

impl Work {
    fn all(&self, jobs: &Receiver<Box<dyn Job>>) {
        let mut group = Vec::with_capacity(GROUP);
        while let Ok(first) = jobs.recv() {
            group.push(first);
            let began = clock::tick();
            let undo = RefCell::default();
            let committed = self.commit(jobs, &mut group, &undo);
            if committed.is_err()
                && !self.connection.is_autocommit()
                && let Err(e) = self.connection.execute_batch("ROLLBACK")
            {
                log::error!(target: "store", event = "store.rollback", error:% = e; "A failed transaction could not be rolled back");
            }
            if committed.is_err() {
                take_back(&undo, 0);
            }
            let micros = clock::tick().duration_since(began).as_micros();
            self.stats.commits.fetch_add(1, Relaxed);
            self.stats.jobs.fetch_add(group.len() as u64, Relaxed);
            self.stats.commit_micros.fetch_add(u64::try_from(micros).unwrap_or(u64::MAX), Relaxed);
            for job in group.drain(..) {
                job.answer(committed.as_ref().err());
            }
        }
    }

    /// One transaction: the first job and whatever else is queued by then, each in its own savepoint.
    fn commit(&self, jobs: &Receiver<Box<dyn Job>>, group: &mut Vec<Box<dyn Job>>, undo: &RefCell<Vec<Undo>>) -> Result<()> {
        let connection = &self.connection;
        if let Err(e) = row::told(connection.execute_batch("BEGIN IMMEDIATE"), "begin a transaction") {
            // Whoever queued meanwhile has waited too: one after the other they would wait for ever.
            group.extend(jobs.try_iter().take(QUEUE));
            return Err(e);
        }
        let write = Write {
            read: Read { connection, log: self.log },
            now: transaction_now(),
            changes_before: self.changes.count(),
            changes: Cell::new(0),
            news: RefCell::default(),
            events: Cell::new(0),
            undo,
        };
        let mut done = 0;
        while done < group.len() {
            row::told(connection.execute_batch("SAVEPOINT job"), "begin a savepoint")?;
            let (changes, news, before) = (write.changes.get(), write.news.borrow().len(), undo.borrow().len());
            let keep = group[done].run(&write);
            done += 1;
            // On some errors (disk full, I/O, interrupted) SQLite rolls the whole transaction back by itself: the group fails together.
            if connection.is_autocommit() {
                let why = "The disk of the control plane is full or fails, or its database was interrupted; nothing was written.";
                return Err(Error::Unavailable(why.to_string()));
            }
            let end = if keep { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
            row::told(connection.execute_batch(end), "end a savepoint")?;
            if !keep {
                write.changes.set(changes);
                write.news.borrow_mut().truncate(news);
                take_back(undo, before);
            }
            if done == group.len() && done < GROUP {
                group.extend(jobs.try_recv());
            }
        }
        row::told(connection.execute_batch("COMMIT"), "commit")?;
        self.changes.add(write.changes.get());
        self.tail.publish(write.news.take());
        Ok(())
    }
}

/// Takes back changes in memory, the last one first, down to this many.
fn take_back(undo: &RefCell<Vec<Undo>>, left: usize) {
    let all = undo.borrow_mut().split_off(left);
    all.into_iter().rev().for_each(|undo| undo());
}
