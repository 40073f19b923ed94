//! The database: SQLite in WAL mode, rows in, model out. The only home of rusqlite.
//!
//! Reads run in the caller's thread on a small pool of read-only connections. All writes go to ONE writer thread with
//! group commit: it takes the queued ones, runs each in its own savepoint, commits once, durably, and only then answers
//! them all. A failed write rolls back alone. [`Read`] and [`Write`] are different types, so a write inside a read does
//! not compile. `control` decides what may happen to nodes, leases and tokens.

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
mod pages;
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
mod version;
mod writer;

pub use migrate::{Migrated, migrate};
pub use query_log::QueryLog;
pub use writer::WriterStats;

use crate::clock::{self, Timestamp};
use crate::error::{Error, Result};
use crate::files;
use crate::model::Paging;
use crate::model::ids::NodeId;
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

/// Size in bytes to which a checkpoint truncates the WAL file.
const WAL_BYTES_KEPT: i64 = 16 << 20;
/// Pages in the WAL that cause a checkpoint: enough that a page that many commits change reaches the database once, few
/// enough that a start after a crash reads them in a moment.
const CHECKPOINT_PAGES: i64 = (8 << 20) / pages::PAGE_BYTES;
/// A larger WAL means that a reader never ends, and deserves a warning.
pub const WAL_BYTES_WARN: u64 = 256 << 20;
/// Prepared statements cached per connection: more than there are queries.
const STATEMENTS_CACHED: usize = 128;
/// Maximum wait of a read or write for another process that holds the database.
const BUSY: Duration = Duration::from_secs(5);
/// Maximum wait of a start for it.
const HELD_MAX: Duration = Duration::from_secs(30);
/// Interval for checking whether it is free.
const HELD_LOOK: Duration = Duration::from_millis(100);
/// Page cache of the writer and of each reader, in KiB: small machines have little memory, and the kernel caches the
/// file too.
const CACHE_KIB: i64 = 1024;

/// An open database.
pub struct Store {
    path: PathBuf,
    readers: Readers,
    version: version::Version,
    writer: writer::Writer,
    log: QueryLog,
    /// Counts committed changes that the scheduler cares for.
    pub changes: Arc<Changes>,
    /// The newest events.
    pub tail: Arc<Tail>,
}

/// A read transaction: a snapshot of the database.
pub struct Read<'c> {
    connection: &'c Connection,
    log: QueryLog,
}

/// A write transaction. It can also read everything.
pub struct Write<'c> {
    read: Read<'c>,
    /// Time of this transaction, used for every row that it writes.
    pub now: Timestamp,
    /// Committed changes when this transaction began.
    changes_before: u64,
    /// Changes of this transaction.
    changes: Cell<u64>,
    /// Nodes whose replicas changed in this transaction.
    placed: RefCell<Vec<NodeId>>,
    /// Events of this transaction, published after the commit.
    news: RefCell<Vec<Frame>>,
    /// Number of events so far: each gets a different time, so that a time identifies a position among them.
    events: Cell<i64>,
    /// Changes in memory that depend on the outcome of this transaction.
    effects: &'c Effects,
}

impl Write<'_> {
    /// Registers the undoing of a change in memory, in case this write or its transaction fails. The writer thread runs
    /// it before any later write, newest first: on the caller's thread, after the answer, it could undo the change of a
    /// later transaction. It must neither write to the store nor wait.
    pub fn on_rollback(&self, undo: impl FnOnce() + 'static) {
        self.effects.on_rollback(undo);
    }

    /// Registers a change in memory for when this transaction is durable. The writer thread makes it before any write
    /// of the group is answered, in order, and not at all if the write or the transaction fails. It must neither write
    /// to the store nor wait.
    pub fn on_commit(&self, effect: impl FnOnce() + 'static) {
        self.effects.on_commit(effect);
    }

    /// Makes the commit of this transaction fail, as a full disk does.
    #[cfg(test)]
    pub(crate) fn spoil(&self) {
        let orphan = "PRAGMA defer_foreign_keys = ON; INSERT INTO leases (node_seq, heartbeat_at_s, signed_at_s, \
            ttl_s, state) VALUES (-1, 0, 0, 0, 0)";
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
    /// Opens the database, migrates it, and starts the writer. `readers`: maximum concurrent reads, in addition to one
    /// of [`Store::read_first`].
    pub fn open(path: &Path, readers: usize, log: QueryLog) -> Result<Store> {
        let (writer, migrated) = migrate::open(path)?;
        if migrated.applied > 0 {
            log::info!(target: "store", event = "store.migrated", applied = migrated.applied,
                version = migrated.version; "Migrated the database");
        }
        let newest = events::newest_seq(&Read { connection: &writer, log })?;
        let readers = Readers::open(path, readers)?;
        let version = version::Version::open(path)?;
        let (changes, tail) = (Arc::new(Changes::default()), Arc::new(Tail::new(newest)));
        let writer = writer::Writer::start(writer, log, Arc::clone(&changes), Arc::clone(&tail))?;
        Ok(Store { path: path.to_path_buf(), readers, version, writer, log, changes, tail })
    }

    /// Statistics of the writer thread.
    pub fn writer_stats(&self) -> WriterStats {
        self.writer.stats()
    }

    /// Bytes of the database file.
    pub fn database_bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |m| m.len())
    }

    /// Runs `f` on a snapshot of the database.
    pub fn read<T>(&self, f: impl FnOnce(&Read) -> Result<T>) -> Result<T> {
        self.readers.read(Line::Usual, self.log, f)
    }

    /// The same for a short read that authenticates a caller: one connection is reserved for these, so that they never
    /// wait for a list or a plan.
    pub fn read_first<T>(&self, f: impl FnOnce(&Read) -> Result<T>) -> Result<T> {
        self.readers.read(Line::First, self.log, f)
    }

    /// The version of the database: it differs from an earlier one if anything was committed in between, by this
    /// process or another.
    ///
    /// # Errors
    /// Fails if the database cannot be read.
    pub fn version(&self) -> Result<i64> {
        self.version.get()
    }

    /// Runs `f` in a write transaction; once this returns `Ok`, the changes survive a power cut.
    pub fn write<T: Send + 'static>(&self, f: impl FnOnce(&Write) -> Result<T> + Send + 'static) -> Result<T> {
        self.writer.write(f)
    }

    /// Bytes of the write-ahead log.
    pub fn wal_bytes(&self) -> u64 {
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        std::fs::metadata(wal).map_or(0, |m| m.len())
    }

    /// Warns if the write-ahead log grows too large.
    pub fn watch_wal(&self) {
        let bytes = self.wal_bytes();
        if bytes > WAL_BYTES_WARN {
            log::warn!(target: "store", event = "store.wal_large", bytes; "Could not checkpoint the write-ahead log; a \
                reader may be stuck");
        }
    }

    /// Ends the writer after the queued writes; later ones are refused.
    pub fn close(&self) {
        self.writer.close();
    }
}

/// Waits until no other process holds the database, and logs the wait; fails after too long. A missing file is held by
/// no process.
pub fn wait_for(path: &Path) -> Result<()> {
    if !path.exists() {
        Ok(())
    } else {
        wait_within(&row::map_sqlite_error(Connection::open(path), "open the database")?, HELD_MAX)
    }
}

fn wait_within(connection: &Connection, at_most: Duration) -> Result<()> {
    let what = "open the database";
    let (end, mut said) = (clock::tick() + at_most, false);
    row::map_sqlite_error(connection.busy_timeout(Duration::ZERO), what)?;
    loop {
        let free = connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
        if !row::is_held(&free) || clock::tick() >= end {
            return row::map_sqlite_error(free, what);
        }
        if !said {
            let at_most_s = at_most.as_secs();
            log::warn!(target: "store", event = "store.wait", at_most_s; "Another process holds the database; waiting \
                for it");
        }
        said = true;
        std::thread::sleep(HELD_LOOK);
    }
}

/// Opens the only connection that writes.
fn open_writer(path: &Path) -> Result<Connection> {
    let what = "open the database";
    check_regular(path)?;
    // A new file is private to its owner, and so are the files that SQLite creates beside it. SQLite reports why it
    // cannot be created.
    let _ = File::options().write(true).create_new(true).mode(files::PRIVATE).open(path);
    let connection = row::map_sqlite_error(Connection::open(path), what)?;
    // Of a new file; one that has pages keeps their size.
    row::map_sqlite_error(connection.pragma_update(None, "page_size", pages::PAGE_BYTES), what)?;
    // The first statement reads the file, so a damaged file or one that is not a database is detected here.
    wait_within(&connection, HELD_MAX)?;
    row::map_sqlite_error(connection.busy_timeout(BUSY), what)?;
    let mode: String =
        row::map_sqlite_error(connection.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0)), what)?;
    if mode != "wal" {
        return Err(Error::fault(
            what,
            format!("write-ahead logging is not possible in {}: is the directory writable?", path.display()),
        ));
    }
    let pragmas = format!(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = {WAL_BYTES_KEPT}; \
            PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
    );
    row::map_sqlite_error(connection.execute_batch(&pragmas), what)?;
    bound_memory(&connection)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(connection)
}

/// Refuses anything except a regular file: SQLite would wait for the other end of a pipe.
fn check_regular(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            Err(Error::fault("open the database", format!("{} is not a regular file", path.display())))
        }
        _ => Ok(()),
    }
}

/// Bounds the page cache and keeps temporary data in memory (sorts, and the pages of a write that may be rolled back,
/// at most some megabytes): there may be no temporary directory, or a full one.
fn bound_memory(connection: &Connection) -> Result<()> {
    let pragmas = format!("PRAGMA cache_size = -{CACHE_KIB}; PRAGMA temp_store = MEMORY;");
    row::map_sqlite_error(connection.execute_batch(&pragmas), "open the database")
}

impl Read<'_> {
    /// Every row of a query.
    pub(crate) fn rows<T>(
        &self,
        sql: Sql,
        params: Params,
        map: impl FnMut(&rusqlite::Row) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.statement(sql, params)?;
        let rows = row::map_sqlite_error(statement.query_map(params, map), "read rows")?;
        row::map_sqlite_error(rows.collect(), "read rows")
    }

    /// The rows of a page, read with one more than belong to it, and the number that belong to it: fewer than allowed
    /// if they are large.
    pub(crate) fn page_rows<T>(
        &self,
        sql: Sql,
        params: Params,
        paging: &Paging,
        mut map: impl FnMut(&rusqlite::Row) -> rusqlite::Result<T>,
    ) -> Result<(Vec<T>, usize)> {
        let mut statement = self.statement(sql, params)?;
        let columns = statement.column_count();
        let mut rows = row::map_sqlite_error(statement.query(params), "read rows")?;
        let (mut items, mut bytes) = (Vec::new(), 0);
        while let Some(row) = row::map_sqlite_error(rows.next(), "read rows")? {
            bytes += row::map_sqlite_error(row::bytes(row, columns), "read rows")?;
            if items.len() == paging.limit || !items.is_empty() && bytes > paging.bytes_max {
                let cut_at = items.len();
                items.push(row::map_sqlite_error(map(row), "read rows")?);
                return Ok((items, cut_at));
            }
            items.push(row::map_sqlite_error(map(row), "read rows")?);
        }
        Ok((items, paging.limit))
    }

    /// The only row of a query, if there is one.
    pub(crate) fn row<T>(
        &self,
        sql: Sql,
        params: Params,
        map: impl FnMut(&rusqlite::Row) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let mut statement = self.statement(sql, params)?;
        let mut rows = row::map_sqlite_error(statement.query_map(params, map), "read a row")?;
        row::map_sqlite_error(rows.next().transpose(), "read a row")
    }

    /// The result of a counting query.
    pub(crate) fn count(&self, sql: Sql, params: Params) -> Result<u64> {
        let n: Option<i64> = self.row(sql, params, |r| r.get(0))?;
        Ok(n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
    }

    /// Prepares a statement and checks that every parameter is given: SQLite would silently store NULL for a missing
    /// one.
    fn statement(&self, sql: Sql, params: Params) -> Result<rusqlite::CachedStatement<'_>> {
        let statement = row::map_sqlite_error(self.connection.prepare_cached(sql), "prepare a query")?;
        if statement.parameter_count() != params.len() {
            return Err(Error::fault("bind a query", format!("{} parameters given for: {sql}", params.len())));
        }
        self.log.log(sql, params);
        Ok(statement)
    }
}

impl Write<'_> {
    /// Records a change that is relevant to the scheduler.
    pub(crate) fn changed(&self) {
        self.changes.set(self.changes.get() + 1);
    }

    /// Records that a replica of this node came, changed or went.
    pub(crate) fn placed(&self, node_id: &NodeId) {
        self.placed.borrow_mut().push(node_id.clone());
    }

    /// The count of changes, including those of this transaction: while it stays the same, a view of the cluster is
    /// valid.
    pub fn changes(&self) -> u64 {
        self.changes_before + self.changes.get()
    }

    /// The time of an event that is about to be recorded.
    fn event_moment(&self) -> Timestamp {
        let count = self.events.get();
        self.events.set(count + 1);
        Timestamp(self.now.0 + count)
    }

    /// Runs a statement that writes; returns the number of changed rows. A violated constraint is an error of the
    /// request.
    pub(crate) fn run(&self, sql: Sql, params: Params) -> Result<usize> {
        let mut statement = self.statement(sql, params)?;
        row::map_constraint_error(statement.execute(params))
    }
}

/// The time of a new write transaction.
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
