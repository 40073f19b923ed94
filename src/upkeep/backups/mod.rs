//! Backups of everything that makes up this cluster: created, listed, checked, restored, and scheduled by the server.
//!
//! The backup directory is the truth about backups, and not a table, because a restore would roll back its rows.
//! Unencrypted backups are as secret as the data directory that contains them: only their owner may read them.

mod archive;
mod create;
mod restore;
mod staging;

pub use restore::{Restored, finish, is_settled, restore, settle};

use super::App;
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::control::{Control, settings};
use crate::crypto::{container, pki};
use crate::error::{Chain, Doing, Error, Result};
use crate::files;
use crate::model::backups::{Backup, Drill, Kind, Manifest};
use crate::model::events::catalogue::{
    BACKUP_CREATE, BACKUP_DELETE, BACKUP_DOWNLOAD, BACKUP_DRILL_FAILED, BACKUP_DRILL_PASSED, BACKUP_FAILED,
};
use crate::model::ids::{BackupId, Id};
use crate::store::{self, events};
use crate::text;
use crate::thread::lock;
use archive::DATABASE;
pub use create::create;
use create::room;
use serde_json::json;
use staging::Staging;
pub use staging::clean;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Extension of a backup's file.
const END: &str = ".umbackup";
/// Error for the download of an unencrypted backup.
const NOT_SENT: &str = "This backup is not encrypted and contains every key of the cluster, so it cannot be \
    downloaded. Give the server a backup passphrase (BACKUP_PASSPHRASE_FILE) and create a new backup.";
/// File with the result of the last restore drill.
const DRILL: &str = "drill.json";
const DRILL_BYTES_MAX: u64 = 64 << 10;
/// Minimum length of a passphrase, in characters: an attacker who has the file may try without limit.
const PASSPHRASE_CHARS_MIN: usize = 12;
/// Number of backups before upgrades to keep.
const PRE_UPGRADE_KEPT: usize = 3;
/// Maximum time until the next look at what is due: the settings may change.
const LOOK: Duration = Duration::from_secs(10);
/// Seconds until a scheduled backup is tried after a start or a failure; at most its interval.
const PATIENCE_S: i64 = 300;

/// A backup that was read completely.
pub struct Checked {
    /// Its manifest.
    pub manifest: Manifest,
}

/// State of scheduled backups.
pub struct Schedule {
    state: Mutex<Tries>,
    started: Instant,
}

#[derive(Default)]
struct Tries {
    /// Time of the last attempt, and its error.
    failed: Option<(Instant, String)>,
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule { state: Mutex::default(), started: clock::tick() }
    }
}

/// A time in the form used in file names.
fn stamp(at: Timestamp) -> String {
    let (year, month, day, hour, minute, second, _) = at.parts();
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Kind and time of an id.
fn parse_id(id: &str) -> Option<(Kind, Timestamp)> {
    let kind = Kind::ALL.into_iter().find(|k| id.starts_with(k.as_str()))?;
    let rest = id[kind.as_str().len()..].strip_prefix('-')?;
    let (at, random) = rest.split_once('-')?;
    if at.len() != 16 || !at.is_ascii() || random.is_empty() || !random.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let text = format!("{}-{}-{}T{}:{}:{}Z", &at[..4], &at[4..6], &at[6..8], &at[9..11], &at[11..13], &at[13..15]);
    Some((kind, Timestamp::parse(&text)?))
}

/// The passphrase from the configuration, if one is set.
pub fn passphrase(config: &Config) -> Result<Option<Vec<u8>>> {
    let given = match &config.backup_passphrase_file {
        Some(path) => {
            let text = files::read_named(path).map_err(|e| {
                Error::Unavailable(format!("BACKUP_PASSPHRASE_FILE {} cannot be read: {e}", path.display()))
            })?;
            Some(text::secret(&text).as_bytes().to_vec())
        }
        None => config.backup_passphrase.as_ref().map(|p| p.expose().to_vec()),
    };
    match given {
        Some(text) if String::from_utf8_lossy(&text).chars().count() < PASSPHRASE_CHARS_MIN => Err(Error::Malformed(
            format!("The backup passphrase must have at least {PASSPHRASE_CHARS_MIN} characters."),
        )),
        given => Ok(given),
    }
}

/// Every backup in the directory, newest first. Other files are left out.
pub fn list(config: &Config) -> Result<Vec<Backup>> {
    let listed = match fs::read_dir(&config.backup_dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.doing("read the directory of backups")?,
    };
    let mut backups: Vec<Backup> = listed
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let id = BackupId::parse(path.file_name()?.to_str()?.strip_suffix(END)?)?;
            let (kind, created_at) = parse_id(id.as_str())?;
            let mut header = [0; container::HEADER_BYTES];
            let mut file = files::open_guarded(&path).ok()?;
            let encrypted = file.read_exact(&mut header).is_ok() && container::is_encrypted(&header).unwrap_or(false);
            Some(Backup {
                id,
                kind,
                created_at,
                bytes: file.metadata().ok()?.len(),
                encrypted,
                path: path.to_string_lossy().into_owned(),
            })
        })
        .collect();
    backups.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)));
    Ok(backups)
}

/// The newest backup, if there is one: its age says how much a lost machine would cost.
pub fn newest(config: &Config) -> Result<Option<Backup>> {
    let now = clock::now();
    Ok(list(config)?.into_iter().find(|b| is_credible(b.created_at, now)))
}

/// The backup with this id.
pub fn show(config: &Config, id: &BackupId) -> Result<Backup> {
    list(config)?.into_iter().find(|b| b.id == *id).ok_or_else(|| Error::not_found("Backup"))
}

/// Removes a backup.
pub fn delete(control: &Control, id: &BackupId) -> Result<()> {
    let backup = show(&control.config, id)?;
    fs::remove_file(&backup.path).doing("remove a backup")?;
    let fields = json!({ "backup_id": id, "kind": backup.kind });
    control.store.write(move |w| events::record(w, BACKUP_DELETE.with(fields)).map(drop))
}

/// Opens a backup for download, and records the recipient first. An unencrypted one stays on the machine: with the keys
/// in it a session or token would outlive its own end.
pub fn download(control: &Control, id: &BackupId, only_asks: bool) -> Result<(Backup, File)> {
    let backup = show(&control.config, id)?;
    if !backup.encrypted {
        return Err(Error::Forbidden(NOT_SENT));
    }
    let file = open(Path::new(&backup.path))?;
    if !only_asks {
        let fields = json!({ "backup_id": id, "encrypted": backup.encrypted });
        control.store.write(move |w| events::record(w, BACKUP_DOWNLOAD.with(fields)).map(drop))?;
    }
    Ok((backup, file))
}

/// Creates a backup at the request of a client.
pub fn create_on_request(control: &Control) -> Result<Backup> {
    let made = passphrase(&control.config).and_then(|p| create(&control.config, Kind::Manual, p.as_deref()));
    // If another backup is in progress, nothing has failed; the caller learns to try again.
    if !matches!(made, Err(Error::Conflict(_))) {
        record_creation(control, &made)?;
    }
    made
}

fn record_creation(control: &Control, made: &Result<Backup>) -> Result<()> {
    let event = match made {
        Ok(b) => {
            let fields = json!({ "backup_id": b.id, "kind": b.kind, "bytes": b.bytes, "encrypted": b.encrypted });
            BACKUP_CREATE.with(fields)
        }
        Err(e) => {
            log::error!(target: "backups", event = "backup.failed", error:% = Chain(e); "Could not create a backup");
            BACKUP_FAILED.with(json!({ "error": Chain(e).to_string() }))
        }
    };
    control.store.write(move |w| events::record(w, event).map(drop))
}

/// Opens the file of a backup.
pub fn open(path: &Path) -> Result<File> {
    files::open_guarded(path).map_err(|e| Error::NotFound(format!("{} cannot be read: {e}", path.display())))
}

/// Reads a backup completely, as a restore would: its seal, its checksums, its database and its row counts. Temporarily
/// uses as much space in the data directory as the backup's contents.
pub fn verify(config: &Config, file: File, passphrase: Option<&[u8]>) -> Result<Checked> {
    let reading = archive::open(file, passphrase)?;
    let staging = Staging::make(&config.data_dir)?;
    room(
        &config.data_dir,
        bytes_of(&reading.manifest),
        "to check a backup",
        ", or choose another directory with --data-dir",
    )?;
    check_extracted(reading.extract(staging.path())?, staging.path())
}

/// Total size of a backup's contents, in bytes.
fn bytes_of(manifest: &Manifest) -> u64 {
    manifest.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
}

/// Checks the files of a backup that was extracted below a directory.
fn check_extracted(manifest: Manifest, dir: &Path) -> Result<Checked> {
    let contents = store::backups::check(&dir.join(DATABASE))?;
    if contents.rows != manifest.rows || contents.schema_version != manifest.schema_version {
        return Err(Error::Malformed("The rows in the backup's database do not match its manifest.".into()));
    }
    for kind in [&pki::CLUSTER, &pki::SERVER] {
        pki::Ca::load(&dir.join("pki"), kind)?;
    }
    Ok(Checked { manifest })
}

/// Removes the oldest backups of a kind, but first those that a wrong clock dated: they would outlive all later ones.
fn prune(config: &Config, kind: Kind, kept: usize) -> Result<()> {
    let mut all: Vec<Backup> = list(config)?.into_iter().filter(|b| b.kind == kind).collect();
    let now = clock::now();
    all.sort_by_key(|b| !is_credible(b.created_at, now));
    for old in all.into_iter().skip(kept) {
        fs::remove_file(&old.path).doing("remove an old backup")?;
        log::info!(target: "backups", event = "backup.prune", backup = old.id; "Removed an old backup");
    }
    Ok(())
}

/// Creates a backup before the database is migrated; refuses a database of a newer program, and names the way back.
pub fn before_upgrade(config: &Config) -> Result<()> {
    let (at, known) = (store::backups::schema_version(&config.database_path)?, store::backups::schema_version_known());
    if at > known {
        let dir = config.data_dir.display();
        let way = match list(config)?.into_iter().find(|b| b.kind == Kind::PreUpgrade) {
            Some(b) => format!(": uptimemesh backup restore {} --replace --data-dir {dir}", b.path),
            None => " (uptimemesh backup restore FILE --replace)".to_string(),
        };
        let why = format!(
            "the database is at version {at}, this program supports up to {known}: start the newer uptimemesh, or \
                restore a backup made before the upgrade{way}"
        );
        return Err(Error::fault("migrate the database", why));
    }
    if at == 0 || at == known || !config.backup_before_upgrade {
        return Ok(());
    }
    let made = passphrase(config).and_then(|p| create(config, Kind::PreUpgrade, p.as_deref()));
    match made {
        Ok(_) => prune(config, Kind::PreUpgrade, PRE_UPGRADE_KEPT),
        Err(e) => Err(Error::Unavailable(format!(
            "The database is at version {at} and needs a migration to {known}, but the backup before it failed: {}. \
                Nothing was changed. Fix the cause, or migrate without a backup: BACKUP_BEFORE_UPGRADE=off",
            Chain(&e)
        ))),
    }
}

/// Restores the newest backup made before an upgrade, at `since` (seconds since 1970) or later, if the database is
/// newer than this program. The newer program's data since then is kept beside it.
pub fn undo_upgrade(config: &Config, since: Option<i64>) -> Result<Option<Restored>> {
    finish(&config.data_dir)?;
    if store::backups::schema_version(&config.database_path)? <= store::backups::schema_version_known() {
        return Ok(None);
    }
    let fits = |b: &Backup| b.kind == Kind::PreUpgrade && since.is_none_or(|since| b.created_at.secs() >= since);
    let Some(backup) = list(config)?.into_iter().find(fits) else {
        let text = format!(
            "The database is newer than this program, and {} has no backup from before the upgrade.",
            config.backup_dir.display()
        );
        return Err(Error::NotFound(text));
    };
    restore(config, open(Path::new(&backup.path))?, passphrase(config)?.as_deref(), true).map(Some)
}

/// File with the result of the last restore drill.
pub fn last_drill(config: &Config) -> Result<Option<Drill>> {
    let text = files::read_untrusted(&config.backup_dir.join(DRILL), DRILL_BYTES_MAX)?;
    // An unreadable result counts as no drill.
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Restores the newest backup to a temporary place, and records whether it was usable. It prefers scheduled backups,
/// because one that an operator made on its machine may be encrypted with another passphrase.
pub fn drill(control: &Control) -> Result<()> {
    let config = &control.config;
    let (all, now) = (list(config)?, clock::now());
    let own = all.iter().find(|b| b.kind == Kind::Scheduled && is_credible(b.created_at, now));
    let Some(newest) = own.or(all.first()) else { return Ok(()) };
    let checked = passphrase(config).and_then(|p| verify(config, open(Path::new(&newest.path))?, p.as_deref()));
    let problem = checked.as_ref().err().map(|e| Chain(e).to_string());
    let drill = Drill { at: clock::now(), backup_id: newest.id.clone(), problem: problem.clone() };
    let mut note = files::Replacing::begin(&config.backup_dir.join(DRILL)).doing("write about a drill")?;
    note.file.write_all(&serde_json::to_vec(&drill).doing("write about a drill")?).doing("write about a drill")?;
    note.finish()?;
    let event = match problem {
        Some(problem) => {
            log::error!(target: "backups", event = "backup.drill_failed", backup = newest.id, error = problem;
                "The newest backup failed its restore drill");
            BACKUP_DRILL_FAILED.with(json!({ "backup_id": newest.id, "error": problem }))
        }
        None => {
            let rows: u64 = checked.map(|c| c.manifest.rows.values().sum())?;
            BACKUP_DRILL_PASSED.with(json!({ "backup_id": newest.id, "rows": rows }))
        }
    };
    control.store.write(move |w| events::record(w, event).map(drop))
}

/// True if a time is plausible. One far in the future comes from a wrong clock, and waiting until it has passed may
/// take years.
fn is_credible(at: Timestamp, now: Timestamp) -> bool {
    at <= now.plus_secs(PATIENCE_S)
}

/// Creates a backup and runs a drill when they are due. Returns the time until the next turn.
pub fn turn(app: &App) -> Result<Duration> {
    let (control, schedule) = (&app.control, &app.backups);
    let (interval, kept, drills) = control.store.read(|r| {
        Ok((
            settings::number(r, settings::BACKUP_INTERVAL)?,
            settings::number(r, settings::BACKUP_KEPT)?,
            settings::number(r, settings::DRILL_INTERVAL)?,
        ))
    })?;
    let (config, now, tick) = (&control.config, clock::now(), clock::tick());
    let waited = |since: Instant, s: i64| tick.saturating_duration_since(since).as_secs() >= s.unsigned_abs();
    let passed = |at: Option<Timestamp>, s: i64| at.is_none_or(|at| !is_credible(at, now) || now >= at.plus_secs(s));
    let started = schedule.started;
    let mut all = list(config)?;
    let wait = interval.min(PATIENCE_S);
    let last = all.iter().find(|b| b.kind == Kind::Scheduled && is_credible(b.created_at, now)).map(|b| b.created_at);
    let failed = lock(&schedule.state).failed.as_ref().map(|(at, _)| *at);
    let due = passed(last, interval) && waited(started, wait) && failed.is_none_or(|at| waited(at, wait));
    if interval > 0 && due {
        let made = passphrase(config).and_then(|p| create(config, Kind::Scheduled, p.as_deref()));
        lock(&schedule.state).failed = made.as_ref().err().map(|e| (tick, Chain(e).to_string()));
        record_creation(control, &made)?;
        prune(config, Kind::Scheduled, kept.unsigned_abs() as usize)?;
        all = list(config)?;
    }
    let last = last_drill(config)?.map(|d| d.at);
    let due = passed(last, drills) && (last.is_some() || waited(started, drills.min(PATIENCE_S)));
    if drills > 0 && due && !all.is_empty() {
        drill(control)?;
    }
    let soonest = [interval, drills].into_iter().filter(|s| *s > 0).min().unwrap_or(i64::MAX);
    Ok(Duration::from_secs(soonest.unsigned_abs()).min(LOOK))
}

/// A problem with the backups, as a sentence; `None` if there is none.
pub fn problem(app: &App) -> Result<Option<String>> {
    let config = &app.control.config;
    let interval = app.control.store.read(|r| settings::number(r, settings::BACKUP_INTERVAL))?;
    if let Some((_, why)) = &lock(&app.backups.state).failed {
        return Ok(Some(format!("the last backup failed: {why}")));
    }
    if let Some(Drill { problem: Some(why), backup_id, .. }) = last_drill(config)? {
        return Ok(Some(format!("the restore drill of {backup_id} failed: {why}")));
    }
    let now = clock::now();
    let limit = if interval > 0 { interval.saturating_mul(2).max(PATIENCE_S) } else { 7 * 86_400 };
    let is_old_enough =
        clock::tick().saturating_duration_since(app.backups.started).as_secs() > 2 * PATIENCE_S.unsigned_abs();
    Ok(match newest(config)? {
        None if is_old_enough || interval == 0 => Some("there is no backup".to_string()),
        Some(b) if now > b.created_at.plus_secs(limit) => Some(format!("the newest backup is from {}", b.created_at)),
        _ => None,
    })
}
