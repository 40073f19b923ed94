//! The pool of read-only connections, lent in the order of requests.

use super::{BUSY, QueryLog, Read, STATEMENTS_CACHED, bound_memory, check_regular, row};
use crate::error::{Error, Result};
use crate::thread::lock;
use rusqlite::{Connection, OpenFlags};
use std::collections::VecDeque;
use std::ops::Deref;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

/// Connections reserved for the first line.
const KEPT: usize = 1;

/// The queue that a read waits in.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Line {
    /// Short reads that authenticate a caller.
    First,
    /// All other reads.
    Usual,
}

/// The pool.
pub(super) struct Readers(Mutex<Pool>);

/// Free connections, and waiting reads. A read waits only while its queue has no connection.
#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    first: VecDeque<Sender<Connection>>,
    usual: VecDeque<Sender<Connection>>,
}

/// A connection lent by the pool; returned when dropped.
struct Reader<'p> {
    pool: &'p Readers,
    connection: Option<Connection>,
}

/// Ends the read transaction, however the read ends.
struct EndOfRead<'c>(&'c Connection);

impl Drop for EndOfRead<'_> {
    fn drop(&mut self) {
        if let Err(e) = self.0.execute_batch("ROLLBACK") {
            log::warn!(target: "store", event = "store.read_end", error:% = e; "A read transaction did not end \
                cleanly");
        }
    }
}

/// Opens a read-only connection.
pub(super) fn open(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = row::map_sqlite_error(Connection::open_with_flags(path, flags), "open a read connection")?;
    row::map_sqlite_error(connection.busy_timeout(BUSY), "open a read connection")?;
    bound_memory(&connection)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(connection)
}

impl Readers {
    /// Opens `count` connections and the reserved ones.
    pub(super) fn open(path: &Path, count: usize) -> Result<Readers> {
        check_regular(path)?;
        let idle = (0..count + KEPT).map(|_| open(path)).collect::<Result<_>>()?;
        Ok(Readers(Mutex::new(Pool { idle, ..Pool::default() })))
    }

    /// Runs `f` on a snapshot of the database.
    pub(super) fn read<T>(&self, line: Line, log: QueryLog, f: impl FnOnce(&Read) -> Result<T>) -> Result<T> {
        let reader = self.take(line)?;
        // A transaction, so that two statements of one read see the same snapshot.
        row::map_sqlite_error(reader.execute_batch("BEGIN"), "begin a read")?;
        let transaction = EndOfRead(&reader);
        f(&Read { connection: transaction.0, log })
    }

    fn take(&self, line: Line) -> Result<Reader<'_>> {
        let (sender, lent) = channel();
        {
            let mut pool = lock(&self.0);
            if line == Line::First {
                pool.first.push_back(sender)
            } else {
                pool.usual.push_back(sender)
            }
            pool.lend();
        }
        let connection = lent.recv().map_err(|_| Error::fault("wait for a read connection", "the pool is gone"))?;
        Ok(Reader { pool: self, connection: Some(connection) })
    }
}

impl Pool {
    /// Gives free connections to the reads that have waited longest, the first line before the other.
    fn lend(&mut self) {
        while let Some(connection) = self.idle.pop() {
            let next = match self.first.pop_front() {
                Some(next) => Some(next),
                None if self.idle.len() >= KEPT => self.usual.pop_front(),
                None => None,
            };
            let Some(next) = next else { return self.idle.push(connection) };
            if let Err(back) = next.send(connection) {
                self.idle.push(back.0);
            }
        }
    }
}

impl Deref for Reader<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("a reader has its connection until it is dropped")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let mut pool = lock(&self.pool.0);
            pool.idle.push(connection);
            pool.lend();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::spawn;
    use std::sync::Arc;
    use std::time::Duration;
    use std::time::Instant;

    #[test]
    fn readers_are_lent_in_order_and_one_is_kept_for_the_first_line() {
        let path = std::env::temp_dir().join(format!("uptimemesh-readers-{}.db", std::process::id()));
        Connection::open(&path).and_then(|c| c.execute_batch("PRAGMA journal_mode = WAL")).expect("a database");
        let readers = Arc::new(Readers::open(&path, 1).expect("a pool"));
        let held = readers.take(Line::Usual).expect("the only one for all");
        let (sender, order) = channel();
        let mut threads = Vec::new();
        for i in 0..20 {
            let (pool, sender) = (Arc::clone(&readers), sender.clone());
            let read =
                move || pool.read(Line::Usual, QueryLog::default(), |_| Ok(sender.send(i))).map(drop).expect("a read");
            threads.push(spawn("read", None, read).expect("a thread"));
            let end = Instant::now() + Duration::from_secs(30);
            while lock(&readers.0).usual.len() <= i {
                assert!(Instant::now() < end, "read {i} does not wait");
                std::thread::yield_now();
            }
        }
        // A read that authenticates a caller waits for none of them.
        readers.read(Line::First, QueryLog::default(), |_| Ok(())).expect("a read of the first line");
        assert!(order.try_recv().is_err(), "the one that is kept is lent to the first line only");
        drop(held);
        threads.into_iter().for_each(|thread| thread.join().expect("a read"));
        assert_eq!(
            order.try_iter().collect::<Vec<usize>>(),
            (0..20).collect::<Vec<_>>(),
            "in the order in which they asked"
        );
        assert_eq!(lock(&readers.0).idle.len(), 1 + KEPT);
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }
}
