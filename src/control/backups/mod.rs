//! Backups of everything that makes this cluster this cluster: made, listed, checked, restored, and made by the server itself in time.
//!
//! The directory of backups is the truth about them; no table is, because a restore would take its rows back. Unencrypted ones are as
//! secret as the data directory is, in which they are: files of their owner's.

mod archive;
mod restore;

pub use restore::{Restored, finish, is_settled, restore, settle};

use super::{Control, settings};
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::crypto::{self, container, pki};
use crate::error::{Chain, Doing, Error, Result};
use crate::files;
use crate::model::backups::{Backup, Drill, Kind, Manifest};
use crate::model::events::NewEvent;
use crate::store::{self, events};
use crate::sys::host;
use crate::thread::lock;
use archive::{DATABASE, DIRECTORIES};
use serde_json::json;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The end of a backup's name.
const END: &str = ".umbackup";
/// What is in the making ends so.
const NEW: &str = ".new";
/// What is read whole to be checked is beside its file, under its name and this.
const CHECK: &str = ".check";
/// Why a backup is not sent.
const NOT_SENT: &str = "This backup is not encrypted and holds every key of the cluster: it does not leave the control plane's machine. Give the server a passphrase for backups (BACKUP_PASSPHRASE_FILE), and make one anew.";
/// The last restore drill.
const DRILL: &str = "drill.json";
/// A passphrase is at least so long: whoever has the file may try as many as they like.
const PASSPHRASE_CHARS_MIN: usize = 12;
/// Backups before upgrades that are kept.
const PRE_UPGRADE_KEPT: usize = 3;
/// After a start, and after a failure, the next try of the server's own waits so long, or as long as its interval, if that is less.
const PATIENCE_S: i64 = 300;
/// Room that is left on the disk for everything else.
const ROOM_BYTES: u64 = 16 << 20;
/// Authority and keys are read until two readings are the same, so often at most.
const READINGS_MAX: usize = 50;
const BETWEEN_READINGS: Duration = Duration::from_millis(20);

/// A backup that was read whole.
pub struct Checked {
    /// What it says of itself.
    pub manifest: Manifest,
}

/// What the server knows of the backups that it makes by itself.
pub struct Own {
    state: Mutex<OwnState>,
    started: Instant,
}

#[derive(Default)]
struct OwnState {
    /// When the last try was, and why it failed.
    failed: Option<(Instant, String)>,
}

impl Default for Own {
    fn default() -> Own {
        Own { state: Mutex::default(), started: clock::tick() }
    }
}

/// A moment in the form that names of files have.
fn stamp(at: Timestamp) -> String {
    let (year, month, day, hour, minute, second, _) = at.parts();
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Kind and moment of an id.
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

/// The passphrase that the configuration names, where it names one.
pub fn passphrase(config: &Config) -> Result<Option<Vec<u8>>> {
    let given = match &config.backup_passphrase_file {
        Some(path) => {
            let text = fs::read_to_string(path)
                .map_err(|e| Error::Unavailable(format!("BACKUP_PASSPHRASE_FILE {} cannot be read: {e}", path.display())))?;
            Some(text.trim_end_matches(['\r', '\n']).as_bytes().to_vec())
        }
        None => config.backup_passphrase.as_ref().map(|p| p.expose().to_vec()),
    };
    match given {
        Some(text) if String::from_utf8_lossy(&text).chars().count() < PASSPHRASE_CHARS_MIN => {
            Err(Error::Malformed(format!("The passphrase of backups must have at least {PASSPHRASE_CHARS_MIN} characters.")))
        }
        given => Ok(given),
    }
}

/// Every backup in the directory, newest first. What is no backup is left out.
pub fn list(config: &Config) -> Result<Vec<Backup>> {
    let listed = match fs::read_dir(&config.backup_dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.doing("read the directory of backups")?,
    };
    let mut backups: Vec<Backup> = listed
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let id = path.file_name()?.to_str()?.strip_suffix(END)?.to_string();
            let (kind, created_at) = parse_id(&id)?;
            let mut header = [0; container::HEADER_BYTES];
            let mut file = files::open_ordinary(&path).ok()?;
            let encrypted = file.read_exact(&mut header).is_ok() && container::is_encrypted(&header).unwrap_or(false);
            Some(Backup { id, kind, created_at, bytes: file.metadata().ok()?.len(), encrypted, path: path.to_string_lossy().into_owned() })
        })
        .collect();
    backups.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)));
    Ok(backups)
}

/// The newest backup, where there is one: its age says how much a lost machine would cost.
pub fn newest(config: &Config) -> Result<Option<Backup>> {
    let now = clock::now();
    Ok(list(config)?.into_iter().find(|b| is_credible(b.created_at, now)))
}

/// The backup of this id.
pub fn show(config: &Config, id: &str) -> Result<Backup> {
    list(config)?.into_iter().find(|b| b.id == id).ok_or_else(|| Error::not_found("Backup"))
}

/// Removes a backup.
pub fn delete(control: &Control, id: &str) -> Result<()> {
    let backup = show(&control.config, id)?;
    fs::remove_file(&backup.path).doing("remove a backup")?;
    let fields = json!({ "backup_id": id, "kind": backup.kind });
    control.store.write(move |w| events::record(w, NewEvent::at("warning", "backups", "backup.delete", fields)).map(drop))
}

/// A backup to be sent to somebody; who gets it is recorded before. One that is not encrypted stays on the machine: with the keys in it a
/// session or token would outlive its own end.
pub fn download(control: &Control, id: &str, only_asks: bool) -> Result<(Backup, File)> {
    let backup = show(&control.config, id)?;
    if !backup.encrypted {
        return Err(Error::Forbidden(NOT_SENT));
    }
    let file = files::open_ordinary(Path::new(&backup.path)).doing("read a backup")?;
    if !only_asks {
        let fields = json!({ "backup_id": id, "encrypted": backup.encrypted });
        control.store.write(move |w| events::record(w, NewEvent::at("warning", "backups", "backup.download", fields)).map(drop))?;
    }
    Ok((backup, file))
}

/// Makes a backup because somebody asks the server for one.
pub fn create_asked(control: &Control) -> Result<Backup> {
    let made = passphrase(&control.config).and_then(|p| create(&control.config, Kind::Manual, p.as_deref()));
    tell_made(control, &made)?;
    made
}

fn tell_made(control: &Control, made: &Result<Backup>) -> Result<()> {
    let event = match made {
        Ok(b) => {
            let fields = json!({ "backup_id": b.id, "kind": b.kind, "bytes": b.bytes, "encrypted": b.encrypted });
            NewEvent::info("backups", "backup.create", fields)
        }
        Err(e) => {
            log::error!(target: "backups", event = "backup.failed", error:% = Chain(e); "A backup could not be made");
            NewEvent::at("error", "backups", "backup.failed", json!({ "error": Chain(e).to_string() }))
        }
    };
    control.store.write(move |w| events::record(w, event).map(drop))
}

/// The directory of backups, held by this process as long as the file lives, and cleaned of what crashes left.
fn hold(dir: &Path) -> Result<File> {
    files::private_dir(dir)?;
    let lock = File::options().create(true).truncate(false).write(true).open(dir.join(".lock")).doing("open the lock of the backups")?;
    if lock.try_lock().is_err() {
        return Err(Error::Conflict("Another backup is being made or checked; try again when it is done.".into()));
    }
    // Root may have made it, and the server must be able to take it.
    files::owned_like(&dir.join(".lock"), dir)?;
    for entry in fs::read_dir(dir).doing("read the directory of backups")?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if is_unfinished(&name) {
            fs::remove_file(&path).doing("remove what a backup left")?;
        } else if let Some(file) = name.strip_suffix(CHECK).filter(|file| file.strip_suffix(END).is_some_and(|id| parse_id(id).is_some())) {
            // Keys are in it in plain text. Whoever is still checking holds the file.
            let checked = File::open(dir.join(file));
            if checked.as_ref().map_or(true, |file| file.try_lock().is_ok()) {
                fs::remove_dir_all(&path).doing("remove what a check left")?;
            }
        }
    }
    Ok(lock)
}

/// Whether a backup that was being made has left this. The directory may have files of others, which are none of our business.
fn is_unfinished(name: &str) -> bool {
    let of_backup = |end: &str| name.strip_suffix(end).is_some_and(|id| parse_id(id).is_some());
    // SQLite keeps files beside the copy while it writes it.
    of_backup(&format!("{END}{NEW}")) || ["", "-journal", "-wal", "-shm"].iter().any(|beside| of_backup(&format!(".db{NEW}{beside}")))
}

/// Refuses what needs more room on a disk than there is.
fn room(dir: &Path, bytes: u64, what: &str, elsewhere: &str) -> Result<()> {
    let need = bytes.saturating_add(ROOM_BYTES);
    match host::disk(dir) {
        Some((_, free)) if free < need => Err(Error::Unavailable(format!(
            "There is no room {what} in {}: it needs {} MB for a while, and {} MB are free. Make room there{}.",
            dir.display(),
            need >> 20,
            free >> 20,
            elsewhere
        ))),
        _ => Ok(()),
    }
}

/// Makes a backup of the data directory, whether a server runs on it or not.
pub fn create(config: &Config, kind: Kind, passphrase: Option<&[u8]>) -> Result<Backup> {
    if !config.database_path.exists() {
        let path = config.database_path.display();
        return Err(Error::NotFound(format!("There is no database at {path}: give the server's --data-dir or --database-url.")));
    }
    // One half of it would be of the cluster before, and one of that after.
    is_settled(&config.data_dir)?;
    let dir = &config.backup_dir;
    let is_new = !dir.exists();
    let _held = hold(dir)?;
    if is_new {
        files::owned_like(dir, &config.data_dir)?;
    }
    // What is in the write-ahead log is in the copy too.
    let bytes: u64 = ["", "-wal"]
        .map(|end| {
            let mut path = config.database_path.clone().into_os_string();
            path.push(end);
            fs::metadata(path).map_or(0, |m| m.len())
        })
        .iter()
        .sum();
    room(dir, bytes * 2, "for a backup", ", or choose another place with BACKUP_DIR")?;
    let created_at = clock::now();
    let id = format!("{}-{}-{}", kind.as_str(), stamp(created_at), crypto::random_hex(4));
    let (copy, new) = (dir.join(format!("{id}.db{NEW}")), dir.join(format!("{id}{END}{NEW}")));
    let path = dir.join(format!("{id}{END}"));
    let made = make(config, &id, created_at, passphrase, &copy, &new).and_then(|()| {
        files::owned_like(&new, dir)?;
        files::rename(&new, &path)
    });
    // The next one that is made removes what this does not.
    let _ = fs::remove_file(&copy);
    if let Err(e) = made {
        let _ = fs::remove_file(&new);
        return Err(e);
    }
    let backup = show(config, &id)?;
    log::info!(target: "backups", event = "backup.create", backup = id, bytes = backup.bytes, encrypted = backup.encrypted; "Made a backup");
    Ok(backup)
}

fn make(config: &Config, id: &str, created_at: Timestamp, passphrase: Option<&[u8]>, copy: &Path, new: &Path) -> Result<()> {
    // SQLite takes a file that is there, and its mode.
    drop(archive::create_new(copy)?);
    store::backups::copy(&config.database_path, copy)?;
    let contents = store::backups::contents(copy)?;
    // After the database: an authority that is newer than the rows brings the nodes up to date, an older one would lose some.
    let small = still(config)?;
    let authority = small.iter().find(|(path, _)| path == "pki/cluster-ca.crt").and_then(|(_, pem)| {
        let pem = std::str::from_utf8(pem).ok()?;
        pki::fingerprint_hex(pem)
    });
    let mut files = vec![archive::entry(copy, DATABASE)?];
    files.extend(small.iter().map(|(path, content)| crate::model::backups::Entry {
        path: path.clone(),
        bytes: content.len() as u64,
        sha256: crypto::sha256_hex(content),
    }));
    let manifest = Manifest {
        id: id.to_string(),
        created_at,
        program_version: env!("CARGO_PKG_VERSION").to_string(),
        schema_version: contents.schema_version,
        authority,
        rows: contents.rows,
        files,
    };
    archive::write(new, passphrase, &manifest, copy, &small)
}

/// Authority, keys and identities at one moment: a rotation may be changing them, and every state that it leaves between two steps is one
/// that a start can finish, but not every mixture of two states.
fn still(config: &Config) -> Result<Vec<(String, Vec<u8>)>> {
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
    Err(Error::Unavailable("Authority and keys change all the time; try again.".into()))
}

/// Reads a backup whole, as a restore would: its seal, its sums, its database and how many rows that has. Beside the backup it needs as
/// much room as what it holds.
pub fn verify(file: &Path, passphrase: Option<&[u8]>) -> Result<Checked> {
    let held = files::open_ordinary(file).map_err(|e| Error::NotFound(format!("{} cannot be read: {e}", file.display())))?;
    if held.try_lock().is_err() {
        return Err(Error::Conflict("This backup is being checked already.".into()));
    }
    let mut into = file.as_os_str().to_owned();
    into.push(CHECK);
    let into = PathBuf::from(into);
    let gone = || match fs::remove_dir_all(&into) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).doing("remove what a check left"),
        _ => Ok(()),
    };
    gone()?;
    let checked = archive::open(file, passphrase).and_then(|reading| {
        files::private_dir(&into)?;
        room(&into, bytes_of(&reading.manifest), "to check a backup", ", or check a copy of it elsewhere")?;
        check_extracted(reading.extract(&into)?, &into)
    });
    gone()?;
    checked
}

/// How much a backup holds.
fn bytes_of(manifest: &Manifest) -> u64 {
    manifest.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
}

/// Checks the files of a backup that were written below a directory.
fn check_extracted(manifest: Manifest, dir: &Path) -> Result<Checked> {
    let contents = store::backups::check(&dir.join(DATABASE))?;
    if contents.rows != manifest.rows || contents.schema_version != manifest.schema_version {
        return Err(Error::Malformed("The backup's database has other rows than its manifest says.".into()));
    }
    for kind in [&pki::CLUSTER, &pki::SERVER] {
        pki::Ca::load(&dir.join("pki"), kind)?;
    }
    Ok(Checked { manifest })
}

/// Removes the oldest of a kind, and before those the ones that a wrong clock dated: they would outlive all that come after them.
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

/// Before the database is brought up to date, a backup is made; a newer one than this program's is refused with the way back.
pub fn before_upgrade(config: &Config) -> Result<()> {
    let (at, known) = (store::backups::schema_version(&config.database_path)?, store::backups::schema_version_known());
    if at > known {
        let dir = config.data_dir.display();
        let way = match list(config)?.into_iter().find(|b| b.kind == Kind::PreUpgrade) {
            Some(b) => format!(": uptimemesh backup restore {} --replace --data-dir {dir}", b.path),
            None => " (uptimemesh backup restore FILE --replace)".to_string(),
        };
        let why = format!(
            "the database is at version {at}, this program knows only up to {known}: start the newer uptimemesh, or restore a backup made before the upgrade{way}"
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
            "The database is at version {at} and would be brought to {known}, but the backup before that could not be made: {}. Nothing was changed. Mend that, or go on without a backup: BACKUP_BEFORE_UPGRADE=off",
            Chain(&e)
        ))),
    }
}

/// Puts back the newest backup made before an upgrade, at `since` (seconds since 1970) or later, where the database is newer than this
/// program. What the newer one wrote since then is kept beside it.
pub fn undo_upgrade(config: &Config, since: Option<i64>) -> Result<Option<Restored>> {
    finish(&config.data_dir)?;
    if store::backups::schema_version(&config.database_path)? <= store::backups::schema_version_known() {
        return Ok(None);
    }
    let fits = |b: &Backup| b.kind == Kind::PreUpgrade && since.is_none_or(|since| b.created_at.secs() >= since);
    let Some(backup) = list(config)?.into_iter().find(fits) else {
        let text = format!("The database is newer than this program, and {} has no backup made before that.", config.backup_dir.display());
        return Err(Error::NotFound(text));
    };
    restore(config, Path::new(&backup.path), passphrase(config)?.as_deref(), true).map(Some)
}

/// The last restore drill.
pub fn last_drill(config: &Config) -> Result<Option<Drill>> {
    let text = files::read(&config.backup_dir.join(DRILL))?;
    // One that cannot be read is one that was not.
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Restores the newest backup to a place of its own, and records whether it could be used: of those that the server makes by itself, where
/// there are any, because what somebody made on its machine may be encrypted for another passphrase.
pub fn drill(control: &Control) -> Result<()> {
    let config = &control.config;
    let (all, now) = (list(config)?, clock::now());
    let own = all.iter().find(|b| b.kind == Kind::Scheduled && is_credible(b.created_at, now));
    let Some(newest) = own.or(all.first()) else { return Ok(()) };
    let checked = passphrase(config).and_then(|p| verify(Path::new(&newest.path), p.as_deref()));
    let problem = checked.as_ref().err().map(|e| Chain(e).to_string());
    let drill = Drill { at: clock::now(), backup_id: newest.id.clone(), problem: problem.clone() };
    files::write(&config.backup_dir.join(DRILL), &serde_json::to_vec(&drill).doing("write about a drill")?, files::PRIVATE)?;
    let event = match problem {
        Some(problem) => {
            log::error!(target: "backups", event = "backup.drill_failed", backup = newest.id, error = problem; "The newest backup could not be restored");
            NewEvent::at("error", "backups", "backup.drill_failed", json!({ "backup_id": newest.id, "error": problem }))
        }
        None => {
            let rows: u64 = checked.map(|c| c.manifest.rows.values().sum())?;
            NewEvent::info("backups", "backup.drill_passed", json!({ "backup_id": newest.id, "rows": rows }))
        }
    };
    control.store.write(move |w| events::record(w, event).map(drop))
}

/// Whether a moment can have been. One far ahead is of a clock that was wrong, and waiting until it has passed may take years.
fn is_credible(at: Timestamp, now: Timestamp) -> bool {
    at <= now.plus_secs(PATIENCE_S)
}

/// Makes a backup and holds a drill when it is time for them.
pub fn turn(control: &Control) -> Result<()> {
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
    let started = control.backups.started;
    let mut all = list(config)?;
    let wait = interval.min(PATIENCE_S);
    let last = all.iter().find(|b| b.kind == Kind::Scheduled && is_credible(b.created_at, now)).map(|b| b.created_at);
    let failed = lock(&control.backups.state).failed.as_ref().map(|(at, _)| *at);
    let due = passed(last, interval) && waited(started, wait) && failed.is_none_or(|at| waited(at, wait));
    if interval > 0 && due {
        let made = passphrase(config).and_then(|p| create(config, Kind::Scheduled, p.as_deref()));
        lock(&control.backups.state).failed = made.as_ref().err().map(|e| (tick, Chain(e).to_string()));
        tell_made(control, &made)?;
        prune(config, Kind::Scheduled, kept.unsigned_abs() as usize)?;
        all = list(config)?;
    }
    let last = last_drill(config)?.map(|d| d.at);
    let due = passed(last, drills) && (last.is_some() || waited(started, drills.min(PATIENCE_S)));
    if drills > 0 && due && !all.is_empty() { drill(control) } else { Ok(()) }
}

/// What somebody should know of the backups, as a sentence; `None` where all is well.
pub fn problem(control: &Control) -> Result<Option<String>> {
    let config = &control.config;
    let interval = control.store.read(|r| settings::number(r, settings::BACKUP_INTERVAL))?;
    if let Some((_, why)) = &lock(&control.backups.state).failed {
        return Ok(Some(format!("the last backup failed: {why}")));
    }
    if let Some(Drill { problem: Some(why), backup_id, .. }) = last_drill(config)? {
        return Ok(Some(format!("the restore drill of {backup_id} failed: {why}")));
    }
    let now = clock::now();
    let limit = if interval > 0 { interval.saturating_mul(2).max(PATIENCE_S) } else { 7 * 86_400 };
    let is_old_enough = clock::tick().saturating_duration_since(control.backups.started).as_secs() > 2 * PATIENCE_S.unsigned_abs();
    Ok(match newest(config)? {
        None if is_old_enough || interval == 0 => Some("there is no backup".to_string()),
        Some(b) if now > b.created_at.plus_secs(limit) => Some(format!("the newest backup is from {}", b.created_at)),
        _ => None,
    })
}
