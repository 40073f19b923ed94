//! Copies of the database: created during writes, counted, and verified.

use super::query::query;
use super::{Write, migrate, pages, row};
use crate::error::{Error, Result};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// A writer that holds the database for longer than this is stuck.
const BUSY: Duration = Duration::from_secs(30);

/// Contents of a database file.
pub struct Contents {
    /// Number of its last migration.
    pub schema_version: i64,
    /// Rows per table.
    pub rows: BTreeMap<String, u64>,
}

fn open(path: &Path) -> Result<Connection> {
    super::check_regular(path)?;
    let connection = row::map_sqlite_error(
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY),
        "open the database",
    )?;
    row::map_sqlite_error(connection.busy_timeout(BUSY), "open the database")?;
    Ok(connection)
}

/// Copies a snapshot of a database into an empty file, while others read and write it. In one step: a reader of a
/// write-ahead log blocks no one, and a copy in several steps would start again with every commit.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let doing = "copy the database";
    let from = open(from)?;
    let mut copy = row::map_sqlite_error(Connection::open(to), doing)?;
    // An interrupted copy is discarded, so it need not be durable before it is complete.
    row::map_sqlite_error(copy.execute_batch("PRAGMA synchronous = OFF"), doing)?;
    {
        let backup = row::map_sqlite_error(Backup::new(&from, &mut copy), doing)?;
        match row::map_sqlite_error(backup.step(-1), doing)? {
            StepResult::Done => {}
            _ => return Err(Error::Unavailable("The database is held by another process; try again.".into())),
        }
    }
    // A single file, without a log beside it.
    let mode: String = row::map_sqlite_error(copy.query_row("PRAGMA journal_mode = DELETE", [], |r| r.get(0)), doing)?;
    if mode != "delete" {
        return Err(Error::fault(doing, "its write-ahead log stays open"));
    }
    row::map_sqlite_error(copy.close().map_err(|(_, e)| e), doing)
}

/// Counts the contents of a database.
pub fn contents(path: &Path) -> Result<Contents> {
    counted(&open(path)?)
}

fn counted(connection: &Connection) -> Result<Contents> {
    let doing = "count the rows of the database";
    let names: Vec<String> = {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
            ORDER BY name";
        let mut statement = row::map_sqlite_error(connection.prepare(sql), doing)?;
        let names = row::map_sqlite_error(statement.query_map([], |r| r.get(0)), doing)?;
        row::map_sqlite_error(names.collect(), doing)?
    };
    let mut rows = BTreeMap::new();
    for name in names {
        // Table names cannot be parameters; these come from the database itself, and older ones have other tables.
        let sql = format!("SELECT count(*) FROM \"{}\"", name.replace('"', "\"\""));
        let count: i64 = row::map_sqlite_error(connection.query_row(&sql, [], |r| r.get(0)), doing)?;
        rows.insert(name, count.unsigned_abs());
    }
    Ok(Contents { schema_version: migrate::version(connection)?, rows })
}

/// Verifies a whole database: its structure and its references. Also counts its rows.
pub fn check(path: &Path) -> Result<Contents> {
    let doing = "check the database";
    let connection = open(path)?;
    let said: String =
        row::map_sqlite_error(connection.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0)), doing)?;
    if said != "ok" {
        return Err(Error::fault(doing, said));
    }
    let mut statement = row::map_sqlite_error(connection.prepare("PRAGMA foreign_key_check"), doing)?;
    let orphans = row::map_sqlite_error(statement.exists([]), doing)?;
    if orphans {
        return Err(Error::fault(doing, "rows name others that are not there"));
    }
    counted(&connection)
}

/// Number of the last migration of a database; 0 for an empty or missing one.
pub fn schema_version(path: &Path) -> Result<i64> {
    if path.exists() { migrate::version(&open(path)?) } else { Ok(0) }
}

/// Number of the last migration that this program knows.
pub fn schema_version_known() -> i64 {
    migrate::version_known()
}

/// True if a database needs neither a migration nor other pages: only then it can be opened beside a running server.
pub fn is_current(path: &Path) -> Result<bool> {
    let connection = open(path)?;
    Ok(migrate::version(&connection)? == migrate::version_known() && pages::size(&connection)? == pages::PAGE_BYTES)
}

/// Deletes sessions and unused join tokens from a restored database: they may have ended or been used after the backup.
/// Returns how many there were.
pub fn forget_admissions(write: &Write) -> Result<(usize, usize)> {
    Ok((
        write.run(query!("backups", "forget_sessions"), &[])?,
        write.run(query!("backups", "forget_join_tokens"), &[])?,
    ))
}
