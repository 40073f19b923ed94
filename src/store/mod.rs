//! The database: SQLite in WAL mode, rows in, model out. The only home of rusqlite.
//!
//! Reads run in the caller's thread on a small pool of read-only connections. Writes go to ONE writer thread with
//! group commit: it takes what is queued, runs each job in a savepoint of its own, commits once, durably, and only
//! then answers them all. A job that fails rolls back alone. [`Read`] and [`Write`] are different types, so a write
//! inside a read does not build. What a node, a lease or a token may become is decided in `control`.

pub mod api_tokens;
pub mod backups;
pub mod brakes;
pub mod changes;
mod effects;
pub mod endpoints;
pub mod events;
pub mod health;
pub mod join_tokens;
pub mod leases;
mod migrate;
pub mod node_runs;
pub mod nodes;
pub mod once;
mod query;
mod query_log;
mod readers;
pub mod replicas;
pub mod routers;
mod row;
pub mod runs;
pub mod services;
pub mod sessions;
pub mod settings;
pub mod updates;
pub mod users;
mod writer;

pub use migrate::{Migrated, migrate};
pub use query_log::QueryLog;
pub use writer::WriterStats;

use crate::clock::{self, Timestamp};
use crate::error::{Error, Result};
use crate::files;
use crate::model::Paging;
use changes::{Changes, Frame, Tail};
use effects::Effects;
use readers::{Line, Readers};
use rusqlite::{Connection, ToSql};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// After a checkpoint the WAL file is cut back to this.
const WAL_BYTES_KEPT: i64 = 16 << 20;
/// A WAL larger than this means that some reader never ends: worth a warning.
pub const WAL_BYTES_WARN: u64 = 256 << 20;
/// Statements each connection keeps prepared: more than there are queries.
const STATEMENTS_CACHED: usize = 128;
/// A read or write waits at most this long for another process that holds the database.
const BUSY: Duration = Duration::from_secs(5);
/// A start waits at most this long for it.
const HELD_MAX: Duration = Duration::from_secs(30);
/// It looks this often whether it is free.
const HELD_LOOK: Duration = Duration::from_millis(100);
/// Page cache of the writer and of each reader, in KiB: small machines have little memory, and the kernel caches the file too.
const CACHE_KIB: i64 = 1024;

/// An open database.
pub struct Store {
    path: PathBuf,
    readers: Readers,
    writer: writer::Writer,
    log: QueryLog,
    /// Counts committed changes that the scheduler cares for.
    pub changes: Arc<Changes>,
    /// The newest events.
    pub tail: Arc<Tail>,
}

/// A read transaction: one moment of the database.
pub struct Read<'c> {
    connection: &'c Connection,
    log: QueryLog,
}

/// A write transaction. Everything that can be read can be read in it too.
pub struct Write<'c> {
    read: Read<'c>,
    /// The moment of this transaction: every row it writes carries the same.
    pub now: Timestamp,
    /// Committed changes when this transaction began.
    changes_before: u64,
    /// Changes of this transaction.
    changes: Cell<u64>,
    /// Events of this transaction, told to readers once it is committed.
    news: RefCell<Vec<Frame>>,
    /// Events of this transaction so far: each gets a moment of its own, so that a moment can stand for a place among them.
    events: Cell<i64>,
    /// Changes in memory that follow from how this transaction ends.
    effects: &'c Effects,
}

impl Write<'_> {
    /// Registers the undoing of a change in memory, for the case that this job or its transaction fails. The writer
    /// thread undoes before it runs a later job, newest first: on the caller's thread, after the answer, it could undo
    /// what a later transaction has done. It must neither write to the store nor wait.
    pub fn on_rollback(&self, undo: impl FnOnce() + 'static) {
        self.effects.on_rollback(undo);
    }

    /// Registers a change in memory that follows once this transaction is durable. The writer thread makes it before
    /// any job of the group is answered, in the jobs' order, and not at all if the job or the transaction fails. It
    /// must neither write to the store nor wait.
    pub fn on_commit(&self, effect: impl FnOnce() + 'static) {
        self.effects.on_commit(effect);
    }

    /// Lets the commit of this transaction fail, as a full disk does.
    #[cfg(test)]
    pub(crate) fn spoil(&self) {
        let orphan = "PRAGMA defer_foreign_keys = ON; INSERT INTO leases (node_seq, heartbeat_at_s, signed_at_s, ttl_s, state) VALUES (-1, 0, 0, 0, 0)";
        self.connection.execute_batch(orphan).expect("an orphan");
    }
}

impl<'c> Deref for Write<'c> {
    type Target = Read<'c>;

    fn deref(&self) -> &Read<'c> {
        &self.read
    }
}

/// A query of `sql/queries`, found at compile time.
pub(crate) type Sql = &'static str;
/// The named parameters of a query.
pub(crate) type Params<'p> = &'p [(&'p str, &'p dyn ToSql)];

/// The version of SQLite in the program.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

impl Store {
    /// Opens the database, brings it up to date, and starts the writer. `readers`: how many reads may run at once, beside one of
    /// [`Store::read_first`].
    pub fn open(path: &Path, readers: usize, log: QueryLog) -> Result<Store> {
        let writer = open_writer(path)?;
        let migrated = migrate::run(&writer)?;
        if migrated.applied > 0 {
            log::info!(target: "store", event = "store.migrated", applied = migrated.applied, version = migrated.version; "Migrated the database");
        }
        let newest = events::newest_seq(&Read { connection: &writer, log })?;
        let readers = Readers::open(path, readers)?;
        let (changes, tail) = (Arc::new(Changes::default()), Arc::new(Tail::new(newest)));
        let writer = writer::Writer::start(writer, log, Arc::clone(&changes), Arc::clone(&tail))?;
        Ok(Store { path: path.to_path_buf(), readers, writer, log, changes, tail })
    }

    /// What the writer thread has done so far.
    pub fn writer_stats(&self) -> WriterStats {
        self.writer.stats()
    }

    /// Bytes of the database file.
    pub fn database_bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |m| m.len())
    }

    /// Runs `f` on one moment of the database.
    pub fn read<T>(&self, f: impl FnOnce(&Read) -> Result<T>) -> Result<T> {
        self.readers.read(Line::Usual, self.log, f)
    }

    /// The same for a short read that decides who is calling: one connection is kept for these, so that they wait for no list and no plan.
    pub fn read_first<T>(&self, f: impl FnOnce(&Read) -> Result<T>) -> Result<T> {
        self.readers.read(Line::First, self.log, f)
    }

    /// Runs `f` in a write transaction; when this returns `Ok`, what it wrote survives a power cut.
    pub fn write<T: Send + 'static>(&self, f: impl FnOnce(&Write) -> Result<T> + Send + 'static) -> Result<T> {
        self.writer.write(f)
    }

    /// Bytes of the write-ahead log.
    pub fn wal_bytes(&self) -> u64 {
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        std::fs::metadata(wal).map_or(0, |m| m.len())
    }

    /// Warns when the write-ahead log grows past reason.
    pub fn watch_wal(&self) {
        let bytes = self.wal_bytes();
        if bytes > WAL_BYTES_WARN {
            log::warn!(target: "store", event = "store.wal_large", bytes; "Could not checkpoint the write-ahead log; a reader may be stuck");
        }
    }

    /// Ends the writer after what is queued; later writes are refused.
    pub fn close(&self) {
        self.writer.close();
    }
}

/// Waits until no other process holds a database, and says so; fails when that takes too long. One that is not there is held by nobody.
pub fn wait_for(path: &Path) -> Result<()> {
    if !path.exists() { Ok(()) } else { wait_within(&row::told(Connection::open(path), "open the database")?, HELD_MAX) }
}

fn wait_within(connection: &Connection, at_most: Duration) -> Result<()> {
    let what = "open the database";
    let (end, mut said) = (clock::tick() + at_most, false);
    row::told(connection.busy_timeout(Duration::ZERO), what)?;
    loop {
        let free = connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
        if !row::is_held(&free) || clock::tick() >= end {
            return row::told(free, what);
        }
        if !said {
            let at_most_s = at_most.as_secs();
            log::warn!(target: "store", event = "store.wait", at_most_s; "Another process holds the database; waiting for it");
        }
        said = true;
        std::thread::sleep(HELD_LOOK);
    }
}

/// Opens the one connection that writes.
fn open_writer(path: &Path) -> Result<Connection> {
    let what = "open the database";
    ordinary(path)?;
    // A new one is its owner's alone, and so is what SQLite keeps beside it. Why it cannot be made, SQLite says too.
    let _ = File::options().write(true).create_new(true).mode(files::PRIVATE).open(path);
    let connection = row::told(Connection::open(path), what)?;
    // The first statement reads the file: a file that is no database, or a damaged one, is named here.
    wait_within(&connection, HELD_MAX)?;
    row::told(connection.busy_timeout(BUSY), what)?;
    let mode: String = row::told(connection.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0)), what)?;
    if mode != "wal" {
        return Err(Error::fault(what, format!("write-ahead logging is not possible in {}: is the directory writable?", path.display())));
    }
    let pragmas = format!("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = {WAL_BYTES_KEPT};");
    row::told(connection.execute_batch(&pragmas), what)?;
    bound_memory(&connection)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(connection)
}

/// Refuses what is no ordinary file: SQLite would wait for the other end of a pipe.
fn ordinary(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(Error::fault("open the database", format!("{} is no ordinary file", path.display()))),
        _ => Ok(()),
    }
}

/// Says how much a connection keeps in memory: so much of the database, and all that it puts aside for a while (sorts, and the pages of a job
/// that may be taken back, which are at most some megabytes). There may be no other directory, or a full one, to put that into.
fn bound_memory(connection: &Connection) -> Result<()> {
    let pragmas = format!("PRAGMA cache_size = -{CACHE_KIB}; PRAGMA temp_store = MEMORY;");
    row::told(connection.execute_batch(&pragmas), "open the database")
}

impl Read<'_> {
    /// Every row of a query.
    pub(crate) fn rows<T>(&self, sql: Sql, params: Params, map: impl FnMut(&rusqlite::Row) -> rusqlite::Result<T>) -> Result<Vec<T>> {
        let mut statement = self.statement(sql, params)?;
        let rows = row::told(statement.query_map(params, map), "read rows")?;
        row::told(rows.collect(), "read rows")
    }

    /// The rows of a page, read with one more than belong to it, and how many belong to it: fewer than it may have where they are large.
    pub(crate) fn page_rows<T>(
        &self,
        sql: Sql,
        params: Params,
        paging: &Paging,
        mut map: impl FnMut(&rusqlite::Row) -> rusqlite::Result<T>,
    ) -> Result<(Vec<T>, usize)> {
        let mut statement = self.statement(sql, params)?;
        let columns = statement.column_count();
        let mut rows = row::told(statement.query(params), "read rows")?;
        let (mut items, mut bytes) = (Vec::new(), 0);
        while let Some(row) = row::told(rows.next(), "read rows")? {
            bytes += row::told(row::bytes(row, columns), "read rows")?;
            if items.len() == paging.limit || !items.is_empty() && bytes > paging.bytes_max {
                let cut_at = items.len();
                items.push(row::told(map(row), "read rows")?);
                return Ok((items, cut_at));
            }
            items.push(row::told(map(row), "read rows")?);
        }
        Ok((items, paging.limit))
    }

    /// The only row of a query, where there is one.
    pub(crate) fn row<T>(&self, sql: Sql, params: Params, map: impl FnMut(&rusqlite::Row) -> rusqlite::Result<T>) -> Result<Option<T>> {
        let mut statement = self.statement(sql, params)?;
        let mut rows = row::told(statement.query_map(params, map), "read a row")?;
        row::told(rows.next().transpose(), "read a row")
    }

    /// The number that a counting query gives.
    pub(crate) fn count(&self, sql: Sql, params: Params) -> Result<u64> {
        let n: Option<i64> = self.row(sql, params, |r| r.get(0))?;
        Ok(n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
    }

    /// Prepares, and insists that every parameter is given: SQLite would store NULL for a forgotten one, silently.
    fn statement(&self, sql: Sql, params: Params) -> Result<rusqlite::CachedStatement<'_>> {
        let statement = row::told(self.connection.prepare_cached(sql), "prepare a query")?;
        if statement.parameter_count() != params.len() {
            return Err(Error::fault("bind a query", format!("{} parameters given for: {sql}", params.len())));
        }
        self.log.tell(sql, params);
        Ok(statement)
    }
}

impl Write<'_> {
    /// Notes that something changed which the scheduler cares for.
    pub(crate) fn changed(&self) {
        self.changes.set(self.changes.get() + 1);
    }

    /// The count of changes, those of this transaction included: as long as it stays, a view of the cluster is true.
    pub fn changes(&self) -> u64 {
        self.changes_before + self.changes.get()
    }

    /// The moment of an event that is about to be recorded.
    fn event_moment(&self) -> Timestamp {
        let count = self.events.get();
        self.events.set(count + 1);
        Timestamp(self.now.0 + count)
    }

    /// Runs a statement that writes; tells how many rows it changed. A broken constraint is an error of the caller's request.
    pub(crate) fn run(&self, sql: Sql, params: Params) -> Result<usize> {
        let mut statement = self.statement(sql, params)?;
        row::constrained(statement.execute(params))
    }
}

/// Now, for a write transaction that begins.
fn transaction_now() -> Timestamp {
    clock::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_stays_held_is_told_of_in_the_end() {
        let path = std::env::temp_dir().join(format!("uptimemesh-held-{}.db", std::process::id()));
        let holder = Connection::open(&path).expect("a database");
        holder.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a); BEGIN EXCLUSIVE").expect("a lock");
        let other = Connection::open(&path).expect("a database");
        let why = wait_within(&other, Duration::ZERO).expect_err("it is held");
        assert!(matches!(&why, Error::Unavailable(text) if text.contains("Another process holds")), "{why}");
        holder.execute_batch("ROLLBACK").expect("the lock is given up");
        wait_within(&other, Duration::ZERO).expect("it is free");
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }
}
