//! Checks the database file, even without a running server, and changes nothing. SQLite may leave its `-wal` and `-shm`
//! files beside it, empty and owned by the database's owner.

use super::query::query;
use super::readers::{Line, Readers};
use super::{QueryLog, Read, migrate};
use crate::error::Result;
use rusqlite::named_params;
use std::path::Path;

/// Maximum faults reported for a damaged database: the first one says what to do.
const FAULTS_MAX: i64 = 5;

/// A database that is open for checks only.
pub struct DatabaseCheck(Readers);

impl DatabaseCheck {
    /// Opens an existing database, without migrating it.
    pub fn open(path: &Path) -> Result<DatabaseCheck> {
        Readers::open(path, 1).map(DatabaseCheck)
    }

    /// Runs `f` on a snapshot of the database.
    pub fn read<T>(&self, f: impl FnOnce(&Read) -> Result<T>) -> Result<T> {
        self.0.read(Line::Usual, QueryLog::default(), f)
    }
}

/// Faults in the pages of the database; empty if it is sound. Reads all of it.
pub fn faults(read: &Read) -> Result<Vec<String>> {
    let mut faults: Vec<String> =
        read.rows(query!("health", "quick_check"), named_params! { ":faults": FAULTS_MAX }, |r| r.get(0))?;
    faults.retain(|fault| fault != "ok");
    Ok(faults)
}

/// Number of the last applied migration.
pub fn version(read: &Read) -> Result<i64> {
    Ok(read.row(query!("health", "version"), &[], |r| r.get(0))?.flatten().unwrap_or(0))
}

/// Number of the last migration that this program knows.
pub fn version_known() -> i64 {
    migrate::version_known()
}
