//! Work on a data directory without starting a server: migrations, backups, lost passwords, examinations.

use crate::config::Config;
use crate::control::access::{setup, users};
use crate::control::trust::tls;
use crate::error::{Doing, Error, Result};
use crate::files;
use crate::model::backups::{Backup, Kind, Manifest};
use crate::model::findings::Finding;
pub use crate::store::sqlite_version;
use crate::store::{self, Migrated, QueryLog, Store};
pub use crate::upkeep::backups::{Restored, open as open_backup};
use crate::upkeep::{backups, doctor};
use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// Error for a backup without passphrase unless `--no-encryption` is given.
const NO_PASSPHRASE: &str = "A backup holds every key of the cluster: give a passphrase by BACKUP_PASSPHRASE_FILE or \
    UPTIMEMESH_BACKUP_PASSPHRASE, or say --no-encryption.";
/// The lock of the data directory.
pub const LOCK_FILE: &str = "uptimemesh.lock";
/// An examination holds the lock briefly; that must not prevent a server from starting.
const LOCK_TRIES: usize = 5;
const LOCK_WAIT: Duration = Duration::from_millis(20);

/// Migrates the database.
pub fn migrate(config: &Config) -> Result<Migrated> {
    files::private_dir(&config.data_dir)?;
    let _held = lock_data_dir(&config.data_dir)?;
    backups::finish(&config.data_dir)?;
    make_parent(&config.database_path)?;
    backups::before_upgrade(config)?;
    store::migrate(&config.database_path)
}

/// Creates a backup of the data directory, even while a server runs on it.
pub fn create_backup(config: &Config, no_encryption: bool) -> Result<Backup> {
    let passphrase = backups::passphrase(config)?;
    if passphrase.is_none() && !no_encryption {
        return Err(Error::Malformed(NO_PASSPHRASE.into()));
    }
    backups::create(config, Kind::Manual, passphrase.as_deref().filter(|_| !no_encryption))
}

/// The backups in the directory of backups, newest first.
pub fn list_backups(config: &Config) -> Result<Vec<Backup>> {
    backups::list(config)
}

/// Verifies a whole backup, as a restore would.
pub fn verify_backup(config: &Config, file: File) -> Result<Manifest> {
    backups::verify(config, file, backups::passphrase(config)?.as_deref()).map(|checked| checked.manifest)
}

/// Restores the backup that a newer program created before it upgraded the database, at `since` (seconds since 1970) or
/// later. Does nothing if the database is not newer than this program.
pub fn undo_upgrade(config: &Config, since: Option<i64>) -> Result<Option<Restored>> {
    files::private_dir(&config.data_dir)?;
    let _held = lock_data_dir(&config.data_dir)?;
    backups::undo_upgrade(config, since)
}

/// Restores a backup into the data directory and keeps the old data beside it.
pub fn restore_backup(config: &Config, file: File, replace: bool) -> Result<Restored> {
    files::private_dir(&config.data_dir)?;
    let _held = lock_data_dir(&config.data_dir)?;
    backups::restore(config, file, backups::passphrase(config)?.as_deref(), replace)
}

/// Sets a user's password in the server's data, even while a server runs on it; see [`users::reset_password`]. The
/// directory need not be locked: SQLite serializes writes of two processes, and a running server checks every session
/// in the database. But if the database must be migrated first, no older server may be using it.
pub fn reset_password(config: &Config, name: &str, password: Option<String>) -> Result<(String, bool)> {
    if !config.database_path.exists() {
        let path = config.database_path.display();
        return Err(Error::NotFound(format!(
            "There is no database at {path}: give the server's --data-dir or --database-url"
        )));
    }
    backups::is_settled(&config.data_dir)?;
    let _held =
        if store::backups::is_current(&config.database_path)? { None } else { Some(lock_data_dir(&config.data_dir)?) };
    backups::before_upgrade(config)?;
    let store = Store::open(&config.database_path, 1, QueryLog::default())?;
    let done = users::reset_password(&store, name.trim(), password)?;
    let seeded = store.read(crate::store::users::has_seeded_password)?;
    store.close();
    if !seeded {
        setup::remove_file(config)?;
    }
    Ok(done)
}

/// Addresses at which a server with this configuration is reached.
pub fn reached_at(config: &Config) -> Vec<String> {
    let host = config.server_host.trim_matches(['[', ']']);
    let ip = match host {
        "" => Ipv6Addr::UNSPECIFIED.into(),
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => host.parse().unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
    };
    tls::reached_at(config, SocketAddr::new(ip, config.server_port))
}

/// Examines a control plane's data, even while a server runs on it; see [`doctor`]. Also returns whether one runs.
pub fn examine(config: &Config) -> (Vec<Finding>, bool) {
    let runs = runs_on(&config.data_dir);
    (doctor::of_data(config, runs), runs)
}

/// True if a server runs on this data directory.
pub fn runs_on(data_dir: &Path) -> bool {
    // Held for a moment, together with others: a server that starts right then tries again.
    let lock = files::open_guarded(&data_dir.join(LOCK_FILE));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Creates the directory of the database.
pub(crate) fn make_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), |dir| fs::create_dir_all(dir).doing("create the directory of the database"))
}

/// Locks the data directory for this process.
pub(crate) fn lock_data_dir(data_dir: &Path) -> Result<File> {
    let file =
        files::open_lock(&data_dir.join(LOCK_FILE)).doing("open the lock of the data directory (is it writable?)")?;
    let mut taken = file.try_lock();
    for _ in 0..LOCK_TRIES {
        if !matches!(taken, Err(TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(LOCK_WAIT);
        taken = file.try_lock();
    }
    match taken {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let dir = data_dir.display();
            Err(Error::Conflict(format!(
                "Another uptimemesh server uses the data directory {dir}. Stop it first, or choose another with \
                    --data-dir."
            )))
        }
        Err(TryLockError::Error(e)) => Err(e).doing("lock the data directory"),
    }
}
