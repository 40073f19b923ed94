//! Turns a backup into a data directory.
//!
//! Everything is written below `restore.new` and checked before any existing file is touched. `restore.json`, created
//! in one step, is the decision: existing files move to `replaced-...` and the new ones into their place, one rename
//! after the other, and the process that finds `restore.json` after a crash continues. The directory itself is not
//! renamed: it may be a mount point, and its parent may belong to another user.

use super::archive::{self, DATABASE, DIRECTORIES};
use super::{Checked, check_extracted, staging, stamp};
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::control::Control;
use crate::crypto;
use crate::error::{Doing, Error, Result};
use crate::files;
use crate::interrupt::{self, at_interrupt};
use crate::model::events::catalogue::BACKUP_RESTORED;
use crate::model::ids::BackupId;
use crate::store::{self, events};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Directory in which a restore is prepared.
const STAGED: &str = "restore.new";
/// File that marks a restore as decided.
const DECIDED: &str = "restore.json";
/// File that informs the next start of a restore.
const RESTORED: &str = "restored.json";
/// Prefix of the directory for the replaced files.
const REPLACED: &str = "replaced-";

/// A restore that is decided.
#[derive(Serialize, Deserialize)]
struct Decided {
    note: Note,
    /// The directory for the replaced files.
    replaced: String,
    /// The new files.
    new: Vec<String>,
}

/// Information for the next start.
#[derive(Serialize, Deserialize, Clone)]
struct Note {
    backup_id: BackupId,
    created_at: Timestamp,
    restored_at: Timestamp,
}

/// Result of a restore.
pub struct Restored {
    /// The restored backup.
    pub backup: Checked,
    /// The directory with the replaced files, if there were any.
    pub replaced: Option<PathBuf>,
}

/// Everything in the data directory that a restore replaces.
fn places() -> Vec<String> {
    let database = ["", "-wal", "-shm", "-journal"].map(|end| format!("{DATABASE}{end}"));
    database.into_iter().chain(DIRECTORIES.map(str::to_string)).collect()
}

fn read<T: for<'d> Deserialize<'d>>(path: &Path) -> Result<Option<T>> {
    files::read(path)?.map(|text| serde_json::from_str(&text).doing("read the state of a restore")).transpose()
}

fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    files::write(path, &serde_json::to_vec(value).doing("write the state of a restore")?, files::PRIVATE)
}

/// Removes a file or directory, if it exists.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).doing("remove what a restore left"),
        _ => Ok(()),
    }
}

/// Replaces the existing data with a backup. The caller holds the lock of the directory.
pub fn restore(config: &Config, file: File, passphrase: Option<&[u8]>, replace: bool) -> Result<Restored> {
    let dir = &config.data_dir;
    if config.database_path != dir.join(DATABASE) || config.pki_dir != dir.join("pki") {
        return Err(Error::Malformed(
            "A backup is restored into one directory: unset DATABASE_URL and CLUSTER_PKI_DIR, and move database and \
                authority afterwards."
                .into(),
        ));
    }
    finish(dir)?;
    let there: Vec<String> = places().into_iter().filter(|name| dir.join(name).exists()).collect();
    if !there.is_empty() && !replace {
        return Err(Error::Conflict(format!(
            "{} already holds a cluster ({}). To replace it with the backup, and keep the old files beside it, add \
                --replace.",
            dir.display(),
            there.join(", ")
        )));
    }
    let staged = dir.join(STAGED);
    let left = staged.clone();
    let _removed = at_interrupt(move || staging::remove_now(&left));
    let backup = stage(file, passphrase, &staged).inspect_err(|_| {
        // If this fails, the next restore or start removes it.
        let _ = remove(&staged);
    })?;
    let new: Vec<String> = places().into_iter().filter(|name| staged.join(name).exists()).collect();
    let now = clock::now();
    interrupt::decide();
    let replaced = format!("{REPLACED}{}-{}", stamp(now), crypto::random_hex(4));
    files::private_dir(&dir.join(&replaced))?;
    let note = Note { backup_id: backup.manifest.id.clone(), created_at: backup.manifest.created_at, restored_at: now };
    write(&staged.join(DECIDED), &Decided { note, replaced: replaced.clone(), new })?;
    files::rename(&staged.join(DECIDED), &dir.join(DECIDED))?;
    finish(dir)?;
    Ok(Restored { backup, replaced: (!there.is_empty()).then(|| dir.join(replaced)) })
}

fn stage(file: File, passphrase: Option<&[u8]>, staged: &Path) -> Result<Checked> {
    let reading = archive::open(file, passphrase)?;
    let known = store::backups::schema_version_known();
    if reading.manifest.schema_version > known {
        return Err(Error::Conflict(format!(
            "The backup's database is at version {}, this program supports up to {known}: restore it with uptimemesh \
                {} or newer.",
            reading.manifest.schema_version, reading.manifest.program_version
        )));
    }
    interrupt::before_interrupt(|| files::private_dir(staged))?;
    super::room(staged, super::bytes_of(&reading.manifest), "to restore a backup", "")?;
    check_extracted(reading.extract(staged)?, staged)
}

/// Finishes a decided restore, and discards an undecided one. The caller holds the lock of the directory, and has not
/// opened anything in it.
pub fn finish(dir: &Path) -> Result<()> {
    let staged = dir.join(STAGED);
    if let Some(decided) = read::<Decided>(&dir.join(DECIDED))? {
        // Nothing may move out of the directory, even if another program wrote the file.
        if !decided.replaced.starts_with(REPLACED) || decided.replaced.contains('/') {
            let why = format!("{} is not a valid name for the directory of replaced files", decided.replaced);
            return Err(Error::fault("read the state of a restore", why));
        }
        let replaced = dir.join(&decided.replaced);
        for name in places() {
            let (old, new, kept) = (dir.join(&name), staged.join(&name), replaced.join(&name));
            let is_new = decided.new.contains(&name);
            // A file that is no longer staged is in its place already, and must not be moved away again.
            let is_done = is_new && !new.exists();
            if !is_done && old.exists() && !kept.exists() {
                files::rename(&old, &kept)?;
            }
            if is_new && new.exists() {
                files::rename(&new, &old)?;
            }
        }
        write(&dir.join(RESTORED), &decided.note)?;
        fs::remove_file(dir.join(DECIDED)).doing("end a restore")?;
        // If a power cut undid this removal, the server's later data would be moved away.
        File::open(dir).and_then(|d| d.sync_all()).doing("flush a directory")?;
        // It stays only if it is not empty.
        let _ = fs::remove_dir(&replaced);
    }
    remove(&staged)
}

/// Refuses a directory with an unfinished restore, for callers without its lock.
pub fn is_settled(dir: &Path) -> Result<()> {
    if dir.join(DECIDED).exists() {
        return Err(Error::Conflict(
            "A restore of this directory was interrupted: start the server, which finishes it, and try again.".into(),
        ));
    }
    Ok(())
}

/// Ends what must not return with a restore: sessions and join tokens may have been ended and used since the backup was
/// made.
pub fn settle(control: &Control) -> Result<()> {
    let path = control.config.data_dir.join(RESTORED);
    let Some(note) = read::<Note>(&path)? else { return Ok(()) };
    let restored = note.clone();
    let (sessions, tokens) = control.store.write(move |w| {
        let (sessions, tokens) = store::backups::forget_admissions(w)?;
        let fields = json!({ "backup_id": note.backup_id, "created_at": note.created_at,
            "restored_at": note.restored_at, "sessions_ended": sessions, "join_tokens_ended": tokens });
        events::record(w, BACKUP_RESTORED.with(fields))?;
        Ok((sessions, tokens))
    })?;
    fs::remove_file(&path).doing("end a restore")?;
    log::warn!(target: "backups", event = "backup.restored", backup = restored.backup_id, sessions, tokens;
        "This cluster was restored from a backup. All users must sign in again, and join tokens must be created again. \
            Nodes that joined after the backup must join again. Check users and API tokens: those deleted after the \
            backup are back");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a crash leaves between two renames, the next start reaches the complete new state and keeps the
    /// complete old one.
    #[test]
    fn a_decided_restore_is_carried_out_from_wherever_it_ended() {
        let root = std::env::temp_dir().join(format!("uptimemesh-restore-{}", std::process::id()));
        for steps in 0..=6 {
            let _ = fs::remove_dir_all(&root);
            let put = |path: &str, content: &str| {
                let path = root.join(path);
                fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
                fs::write(path, content).expect("a file");
            };
            let get = |path: &str| fs::read_to_string(root.join(path)).ok();
            for (name, old) in [("app.db", "old"), ("app.db-wal", "old"), ("pki/ca", "old"), ("keys/k", "old")] {
                put(name, old);
            }
            for name in ["app.db", "pki/ca", "identities/n/key"] {
                put(&format!("{STAGED}/{name}"), "new");
            }
            fs::create_dir(root.join("replaced-x")).expect("a directory");
            let note = Note { backup_id: "b".into(), created_at: clock::now(), restored_at: clock::now() };
            let new = ["app.db", "pki", "identities"].map(str::to_string).to_vec();
            write(&root.join(DECIDED), &Decided { note, replaced: "replaced-x".into(), new }).expect("the decision");
            let (s, k) = (STAGED, "replaced-x");
            let renames = [
                ("app.db".to_string(), format!("{k}/app.db")),
                (format!("{s}/app.db"), "app.db".into()),
                ("app.db-wal".into(), format!("{k}/app.db-wal")),
                ("pki".into(), format!("{k}/pki")),
                (format!("{s}/pki"), "pki".into()),
                ("keys".into(), format!("{k}/keys")),
            ];
            for (from, to) in &renames[..steps] {
                fs::rename(root.join(from), root.join(to)).expect("a rename");
            }
            for _ in 0..2 {
                finish(&root).expect("the restore is finished");
                let now = ["app.db", "app.db-wal", "pki/ca", "keys/k", "identities/n/key"].map(get);
                let new = || Some("new".to_string());
                assert_eq!(now, [new(), None, new(), None, new()], "after {steps} renames");
                let kept = ["app.db", "app.db-wal", "pki/ca", "keys/k"].map(|name| get(&format!("replaced-x/{name}")));
                assert_eq!(kept, [(); 4].map(|()| Some("old".to_string())), "after {steps} renames");
                assert!(get(DECIDED).is_none() && get(RESTORED).is_some() && !root.join(STAGED).exists());
            }
        }
        fs::remove_dir_all(root).expect("the directory is ours");
    }

    #[test]
    fn nothing_is_moved_out_of_the_data_directory() {
        let root = std::env::temp_dir().join(format!("uptimemesh-planted-{}", std::process::id()));
        for (data, replaced) in
            [("a", "../outside"), ("b", "replaced-/../../outside"), ("c", root.to_str().expect("a path"))]
        {
            let dir = root.join(data);
            for place in [&dir, &root.join("outside")] {
                fs::create_dir_all(place).expect("a directory");
            }
            fs::write(dir.join(DATABASE), "old").expect("a file");
            let note = Note { backup_id: "b".into(), created_at: clock::now(), restored_at: clock::now() };
            write(&dir.join(DECIDED), &Decided { note, replaced: replaced.into(), new: Vec::new() })
                .expect("a planted file");
            assert!(finish(&dir).is_err(), "{replaced}");
            assert!(dir.join(DATABASE).exists(), "{replaced}");
        }
        fs::remove_dir_all(root).expect("the directory is ours");
    }
}
