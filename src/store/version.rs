//! The version of the database: every commit changes it, of this process and of others.

use super::{readers, row};
use crate::error::Result;
use crate::thread::lock;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Mutex;

/// A connection of its own: the version is relative to a connection, and to commits of all others.
pub(super) struct Version(Mutex<Connection>);

impl Version {
    pub(super) fn open(path: &Path) -> Result<Version> {
        Ok(Version(Mutex::new(readers::open(path)?)))
    }

    /// The current version: it differs from an earlier one if anything was committed in between.
    pub(super) fn get(&self) -> Result<i64> {
        let connection = lock(&self.0);
        let mut statement = row::map_sqlite_error(
            connection.prepare_cached("PRAGMA data_version"),
            "read the version of the database",
        )?;
        row::map_sqlite_error(statement.query_row([], |row| row.get(0)), "read the version of the database")
    }
}
