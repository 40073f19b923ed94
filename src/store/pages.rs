//! The page size of the database file. A commit writes whole pages, so small pages are what keeps writes small.

use super::{open_writer, row};
use crate::error::{Chain, Doing, Error, Result};
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
/// the database is as it was, and it stays so if there is no room for a copy: that costs speed, not the start. No other
/// process may use it.
pub(super) fn resize(connection: Connection, path: &Path) -> Result<Connection> {
    if size(&connection)? == PAGE_BYTES {
        return Ok(connection);
    }
    // As SQLite does: a copy must not take the place of a link.
    let path = &fs::canonicalize(path).doing(DOING)?;
    let bytes = fs::metadata(path).map_or(0, |m| m.len());
    log::info!(target: "store", event = "store.rebuild", bytes; "Rebuilding the database with smaller pages");
    let new = files::beside(path);
    if let Err(e) = copy(&connection, &new) {
        let _ = fs::remove_file(&new);
        log::warn!(target: "store", event = "store.rebuild_failed", bytes, error:% = Chain(&e); "The database keeps \
            its larger pages, and writes cost more: a copy of it could not be written. The next start tries again");
        return Ok(connection);
    }
    let replaced = replace(connection, path, &new);
    // A copy that did not take its place would only fill the disk.
    replaced.inspect_err(|_| drop(fs::remove_file(&new)))?;
    open_writer(path)
}

/// Gives the copy the place of the database, unless another process uses that.
fn replace(connection: Connection, path: &Path, new: &Path) -> Result<()> {
    // The last connection writes the log into the database and removes it: a log that stayed would belong to the copy.
    row::map_sqlite_error(connection.close().map_err(|(_, e)| e), DOING)?;
    if log_of(path).exists() {
        let why = "Another process uses the control plane's database, so that it cannot be rebuilt; end that process.";
        return Err(Error::Unavailable(why.to_string()));
    }
    files::rename(new, path)
}

/// Writes a durable copy with pages of the right size.
fn copy(connection: &Connection, to: &Path) -> Result<()> {
    match fs::remove_file(to) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).doing("remove an interrupted rebuild"),
        _ => {}
    }
    File::options().write(true).create_new(true).mode(files::PRIVATE).open(to).doing(DOING)?;
    let into = connection
        .pragma_update(None, "page_size", PAGE_BYTES)
        .and_then(|()| connection.execute("VACUUM INTO ?1", [to.to_string_lossy()]));
    row::map_sqlite_error(into, DOING)?;
    File::open(to).and_then(|file| file.sync_all()).doing(DOING)
}

/// Path of the write-ahead log.
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::migrate;
    use std::os::unix::fs::symlink;

    #[test]
    fn without_a_copy_the_database_is_opened_as_it_is_and_a_link_to_it_stays() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-pages-{}", std::process::id()));
        files::private_dir(&dir).expect("a directory");
        let (path, link) = (dir.join("real.db"), dir.join("app.db"));
        let old = "PRAGMA page_size = 4096; CREATE TABLE mine (a); INSERT INTO mine VALUES (7);";
        Connection::open(&path).and_then(|c| c.execute_batch(old)).expect("a database");
        symlink(&path, &link).expect("a link");
        let sizes = || {
            let (connection, _) = migrate::open(&link).expect("an open database");
            let mine: i64 = connection.query_row("SELECT a FROM mine", [], |r| r.get(0)).expect("the row");
            (size(&connection).expect("a size"), mine)
        };
        // What no file can replace stands in the way, as a full disk would.
        let obstacle = files::beside(&path);
        files::private_dir(&obstacle).expect("a directory");
        assert_eq!(sizes(), (4096, 7));
        fs::remove_dir(&obstacle).expect("removed");
        assert_eq!(sizes(), (PAGE_BYTES, 7));
        assert!(link.is_symlink() && !obstacle.exists());
        fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn a_refused_rebuild_leaves_no_copy_behind() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-refused-{}", std::process::id()));
        files::private_dir(&dir).expect("a directory");
        let path = dir.join("app.db");
        let other = Connection::open(&path).expect("a database");
        let old = "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; CREATE TABLE mine (a);";
        other.execute_batch(old).expect("a table");
        let refusal = migrate::open(&path).map(drop).expect_err("another connection keeps the log");
        assert!(matches!(refusal, Error::Unavailable(_)), "{refusal:?}");
        assert!(!files::beside(&path).exists());
        drop(other);
        let (connection, _) = migrate::open(&path).expect("an open database");
        assert_eq!(size(&connection).expect("a size"), PAGE_BYTES);
        fs::remove_dir_all(dir).expect("removed");
    }
}
