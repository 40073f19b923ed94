//! The writer thread: group commit.

use super::{QueryLog, Read, Write, row, transaction_now};
use crate::error::{Doing, Error, Result};
use crate::logger;
use crate::thread::{lock, spawn};
use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
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
    /// The request that the caller works for: what is logged in the writer thread is of it too.
    request_id: String,
    result: Option<Result<T>>,
    tell: SyncSender<Result<T>>,
}

impl<T: Send, F: FnOnce(&Write) -> Result<T> + Send> Job for Task<T, F> {
    fn run(&mut self, write: &Write) -> bool {
        let Some(work) = self.work.take() else { return false };
        let _context = logger::Context::request(&self.request_id);
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
        // A caller that is gone does not want the answer.
        let _ = self.tell.send(answer);
    }
}

/// The queue to the writer thread.
pub(super) struct Writer {
    queue: Mutex<Option<SyncSender<Box<dyn Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, log: QueryLog) -> Result<Writer> {
        let (queue, jobs) = sync_channel(QUEUE);
        let thread = spawn("store-writer", None, move || work(&connection, log, &jobs)).doing("start the writer thread")?;
        Ok(Writer { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn write<T: Send + 'static>(&self, f: impl FnOnce(&Write) -> Result<T> + Send + 'static) -> Result<T> {
        let closed = || Error::Unavailable("The server is stopping.".to_string());
        let (tell, told) = sync_channel(1);
        let queue = lock(&self.queue).clone().ok_or_else(closed)?;
        queue.send(Box::new(Task { work: Some(f), request_id: logger::request_id(), result: None, tell })).map_err(|_| closed())?;
        told.recv().map_err(|_| closed())?
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

fn work(connection: &Connection, log: QueryLog, jobs: &Receiver<Box<dyn Job>>) {
    let mut group = Vec::with_capacity(GROUP);
    while let Ok(first) = jobs.recv() {
        group.push(first);
        let committed = commit(connection, log, jobs, &mut group);
        if committed.is_err()
            && !connection.is_autocommit()
            && let Err(e) = connection.execute_batch("ROLLBACK")
        {
            log::error!(target: "store", event = "store.rollback", error:% = e; "A failed transaction could not be rolled back");
        }
        for job in group.drain(..) {
            job.answer(committed.as_ref().err());
        }
    }
}

/// One transaction: the first job and whatever else is queued by then, each in its own savepoint.
fn commit(connection: &Connection, log: QueryLog, jobs: &Receiver<Box<dyn Job>>, group: &mut Vec<Box<dyn Job>>) -> Result<()> {
    row::told(connection.execute_batch("BEGIN IMMEDIATE"), "begin a transaction")?;
    let write = Write { read: Read { connection, log }, now: transaction_now() };
    let mut done = 0;
    while done < group.len() {
        row::told(connection.execute_batch("SAVEPOINT job"), "begin a savepoint")?;
        let keep = group[done].run(&write);
        done += 1;
        // On some errors (disk full, I/O) SQLite rolls the whole transaction back by itself: the group fails together.
        if connection.is_autocommit() {
            return Err(Error::Unavailable("The disk of the control plane is full or fails; nothing was written.".to_string()));
        }
        let end = if keep { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
        row::told(connection.execute_batch(end), "end a savepoint")?;
        if done == group.len() && done < GROUP {
            group.extend(jobs.try_recv());
        }
    }
    row::told(connection.execute_batch("COMMIT"), "commit")
}
