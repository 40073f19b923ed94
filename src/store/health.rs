//! How the database file itself is, also while no server runs on it: looked at, and changed in nothing. SQLite may leave its `-wal` and `-shm`
//! beside it, empty and with the database's own owner.

use super::query::query;
use super::readers::{Line, Readers};
use super::{QueryLog, Read, migrate};
use crate::error::Result;
use rusqlite::named_params;
use std::path::Path;

/// Faults of a damaged database that are told: the first says what to do.
const FAULTS_MAX: i64 = 5;

/// A database that is only looked at.
pub struct Looked(Readers);

impl Looked {
    /// Opens it; it must be there. Nothing is brought up to date.
    pub fn open(path: &Path) -> Result<Looked> {
        Readers::open(path, 1).map(Looked)
    }

    /// Runs `f` on one moment of the database.
    pub fn read<T>(&self, f: impl FnOnce(&Read) -> Result<T>) -> Result<T> {
        self.0.read(Line::Usual, QueryLog::default(), f)
    }
}

/// What is wrong with the pages of the database; nothing where it is sound. Reads all of it.
pub fn faults(read: &Read) -> Result<Vec<String>> {
    let mut faults: Vec<String> = read.rows(query!("health", "quick_check"), named_params! { ":faults": FAULTS_MAX }, |r| r.get(0))?;
    faults.retain(|fault| fault != "ok");
    Ok(faults)
}

/// The number of the last migration that was applied.
pub fn version(read: &Read) -> Result<i64> {
    Ok(read.row(query!("health", "version"), &[], |r| r.get(0))?.flatten().unwrap_or(0))
}

/// The number of the last migration that this program knows.
pub fn version_known() -> i64 {
    migrate::version_known()
}
