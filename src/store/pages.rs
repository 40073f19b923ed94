//! The page size of the database file. A commit writes whole pages, so small pages are what keeps writes small.

use super::{open_writer, row};
use crate::error::{Doing, Error, Result};
use crate::files;
use rusqlite::Connection;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of a page.
pub(super) const PAGE_BYTES: i64 = 1024;

const DOING: &str = "rebuild the database";

/// Bytes of a page of this database.
pub(super) fn size(connection: &Connection) -> Result<i64> {
    row::map_sqlite_error(connection.query_row("PRAGMA page_size", [], |r| r.get(0)), "read the page size")
}

/// Rebuilds a database whose pages have another size: a copy beside it takes its place once it is durable. Until then
/// the database is as it was. No other process may use it.
pub(super) fn resize(connection: Connection, path: &Path) -> Result<Connection> {
    if size(&connection)? == PAGE_BYTES {
        return Ok(connection);
    }
    let bytes = fs::metadata(path).map_or(0, |m| m.len());
    log::info!(target: "store", event = "store.rebuild", bytes; "Rebuilding the database with smaller pages");
    let copy = files::beside(path);
    match fs::remove_file(&copy) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).doing("remove an interrupted rebuild"),
        _ => {}
    }
    File::options().write(true).create_new(true).mode(files::PRIVATE).open(&copy).doing(DOING)?;
    let into = connection
        .pragma_update(None, "page_size", PAGE_BYTES)
        .and_then(|()| connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()]));
    if let Err(e) = row::map_sqlite_error(into, DOING) {
        let _ = fs::remove_file(&copy);
        return Err(e);
    }
    File::open(&copy).and_then(|file| file.sync_all()).doing(DOING)?;
    // The last connection writes the log into the database and removes it: a log that stayed would belong to the copy.
    row::map_sqlite_error(connection.close().map_err(|(_, e)| e), DOING)?;
    if log_of(path).exists() {
        let why = "Another process uses the control plane's database, so that it cannot be rebuilt; end that process.";
        return Err(Error::Unavailable(why.to_string()));
    }
    files::rename(&copy, path)?;
    open_writer(path)
}

/// Path of the write-ahead log.
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}
