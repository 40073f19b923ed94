//! Creates a backup: copies one moment of the database into the staging directory, and writes the sealed result into
//! the backup directory.

use super::archive::{self, DATABASE, DIRECTORIES};
use super::staging::Staging;
use super::{END, is_settled, parse_id, show, stamp};
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::crypto::{self, pki};
use crate::error::{Doing, Error, Result};
use crate::files;
use crate::model::backups::{Backup, Entry, Kind, Manifest};
use crate::model::ids::BackupId;
use crate::store;
use crate::sys::host;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Suffix of an unfinished backup.
const NEW: &str = ".new";
/// Suffix of the file in which version 2.0.0 checked a backup, and which it left there after a crash.
const CHECK: &str = ".check";
/// Disk space to leave for everything else, in bytes.
const ROOM_BYTES: u64 = 16 << 20;
/// Maximum number of readings of authority and keys, until two readings are the same.
const READINGS_MAX: usize = 50;
const BETWEEN_READINGS: Duration = Duration::from_millis(20);

/// Wait for the lock of the directory: a program that is being started has the lock of its parent for a moment.
const LOCK_WAIT: Duration = Duration::from_secs(1);
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// Locks the backup directory while the returned file is open, and removes leftovers of crashes.
fn hold(dir: &Path) -> Result<File> {
    files::private_dir(dir)?;
    let lock = files::open_lock(&dir.join(".lock")).map_err(|e| {
        let dir = dir.display();
        Error::Unavailable(format!(
            "Cannot write backups to {dir}: {e}. It must be writable by the owner of the data directory; commands run \
                by root act as that user."
        ))
    })?;
    let end = clock::tick() + LOCK_WAIT;
    while lock.try_lock().is_err() && clock::tick() < end {
        std::thread::sleep(BETWEEN_TRIES);
    }
    if lock.try_lock().is_err() {
        return Err(Error::Conflict("Another backup is being created or verified; try again when it is done.".into()));
    }
    for entry in fs::read_dir(dir).doing("read the directory of backups")?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if is_unfinished(&name) {
            fs::remove_file(&path).doing("remove what a backup left")?;
        } else if let Some(file) =
            name.strip_suffix(CHECK).filter(|file| file.strip_suffix(END).is_some_and(|id| parse_id(id).is_some()))
        {
            // It contains keys in plain text. A process that is still checking it holds a lock on it.
            let checked = files::open_regular(&dir.join(file));
            if checked.as_ref().map_or(true, |file| file.try_lock().is_ok()) {
                fs::remove_dir_all(&path).doing("remove what a check left")?;
            }
        }
    }
    Ok(lock)
}

/// True for a leftover of an unfinished backup. The directory may have other files, which are not ours to remove.
fn is_unfinished(name: &str) -> bool {
    let of_backup = |end: &str| name.strip_suffix(end).is_some_and(|id| parse_id(id).is_some());
    // Version 2.0.0 copied the database here, and SQLite keeps files beside a copy while it writes it.
    of_backup(&format!("{END}{NEW}"))
        || ["", "-journal", "-wal", "-shm"].iter().any(|beside| of_backup(&format!(".db{NEW}{beside}")))
}

/// Refuses an action that needs more disk space than is free.
pub(super) fn room(dir: &Path, bytes: u64, what: &str, elsewhere: &str) -> Result<()> {
    let need = bytes.saturating_add(ROOM_BYTES);
    match host::disk(dir) {
        Some((_, free)) if free < need => Err(Error::Unavailable(format!(
            "Not enough space {what} in {}: {} MB are needed temporarily, {} MB are free. Free some space there{}.",
            dir.display(),
            need >> 20,
            free >> 20,
            elsewhere
        ))),
        _ => Ok(()),
    }
}

/// Creates a backup of the data directory, whether a server runs on it or not.
pub fn create(config: &Config, kind: Kind, passphrase: Option<&[u8]>) -> Result<Backup> {
    if !config.database_path.exists() {
        let path = config.database_path.display();
        return Err(Error::NotFound(format!(
            "There is no database at {path}: specify the server's --data-dir or --database-url."
        )));
    }
    // Otherwise one half would come from the previous cluster, and the other from the restored one.
    is_settled(&config.data_dir)?;
    let dir = &config.backup_dir;
    let _held = hold(dir)?;
    let staging = Staging::make(&config.data_dir)?;
    room_to_make(config, staging.path())?;
    let created_at = clock::now();
    let id = BackupId::of_row(format!("{}-{}-{}", kind.as_str(), stamp(created_at), crypto::random_hex(4)));
    // Leftovers of a failure here are removed by the next backup.
    let new = files::Replacing::begin(&dir.join(format!("{id}{END}")))
        .doing("create a file of a backup")
        .map_err(|e| full(e, dir))?;
    let made = make(config, &id, created_at, passphrase, &staging.path().join(DATABASE), &new.file);
    made.and_then(|()| new.finish()).map_err(|e| full(e, dir))?;
    let backup = show(config, &id)?;
    log::info!(target: "backups", event = "backup.create", backup = id, bytes = backup.bytes,
        encrypted = backup.encrypted; "Created a backup");
    Ok(backup)
}

/// Names the disk that turned out to be full, however much was free before.
fn full(e: Error, dir: &Path) -> Error {
    let said = if let Error::Fault(fault) = &e { fault.source.downcast_ref::<io::Error>() } else { None };
    match said.map(io::Error::kind) {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Error::Unavailable(format!(
            "The disk or quota for the backups ({}) is full: free some space there, or choose another directory with \
                BACKUP_DIR.",
            dir.display()
        )),
        _ => e,
    }
}

/// Refuses a backup without enough disk space for the copy of its database and for the result.
fn room_to_make(config: &Config, staging: &Path) -> Result<()> {
    // The copy includes the contents of the write-ahead log.
    let size = |end: &str| {
        let mut path = config.database_path.clone().into_os_string();
        path.push(end);
        fs::metadata(path).map_or(0, |m| m.len())
    };
    let (bytes, what) = (size("") + size("-wal"), "for a backup");
    let device = |dir: &Path| fs::metadata(dir).map(|m| m.dev()).ok();
    let elsewhere = ", or choose another directory with BACKUP_DIR";
    if device(staging) == device(&config.backup_dir) {
        return room(&config.backup_dir, bytes * 2, what, elsewhere);
    }
    room(&config.data_dir, bytes, what, "")?;
    room(&config.backup_dir, bytes, what, elsewhere)
}

fn make(
    config: &Config,
    id: &BackupId,
    created_at: Timestamp,
    passphrase: Option<&[u8]>,
    copy: &Path,
    new: &File,
) -> Result<()> {
    // SQLite keeps an existing file with its mode.
    drop(archive::create_new(copy)?);
    store::backups::copy(&config.database_path, copy)?;
    let contents = store::backups::contents(copy)?;
    // After the database: an authority that is newer than the rows brings the nodes up to date, an older one would lose
    // some.
    let small = read_consistently(config)?;
    let authority = small.iter().find(|(path, _)| path == "pki/cluster-ca.crt").and_then(|(_, pem)| {
        let pem = std::str::from_utf8(pem).ok()?;
        pki::fingerprint_hex(pem)
    });
    let mut files = vec![archive::entry(copy, DATABASE)?];
    files.extend(small.iter().map(|(path, content)| Entry {
        path: path.clone(),
        bytes: content.len() as u64,
        sha256: crypto::sha256_hex(content),
    }));
    let manifest = Manifest {
        id: id.clone(),
        created_at,
        program_version: env!("CARGO_PKG_VERSION").to_string(),
        schema_version: contents.schema_version,
        authority,
        rows: contents.rows,
        files,
    };
    archive::write(new, passphrase, &manifest, copy, &small)
}

/// Authority, keys and identities at one moment. A rotation may be changing them: a start can finish every state
/// between two of its steps, but not every mixture of two states.
fn read_consistently(config: &Config) -> Result<Vec<(String, Vec<u8>)>> {
    let read = || {
        let mut found = Vec::new();
        for name in DIRECTORIES {
            let dir: PathBuf = if name == "pki" { config.pki_dir.clone() } else { config.data_dir.join(name) };
            archive::small_files(&dir, name, &mut found)?;
        }
        Ok(found)
    };
    let mut before = read()?;
    for _ in 0..READINGS_MAX {
        std::thread::sleep(BETWEEN_READINGS);
        let after = read()?;
        if before == after {
            return Ok(after);
        }
        before = after;
    }
    Err(Error::Unavailable("Authority and keys kept changing during the backup; try again.".into()))
}
