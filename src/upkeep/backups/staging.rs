//! Staging directory in which backups are created and checked. It lies in the data directory: an encrypted backup must
//! not lie beside its own plain text, and the backup directory may be a network share. Dropping it removes it;
//! leftovers of a crash are removed by the next start or the next backup.

use crate::crypto;
use crate::error::{Doing, Error, Result};
use crate::files;
use crate::interrupt::{AtInterrupt, at_interrupt, before_interrupt};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Prefix of its name; hexadecimal digits follow.
const BEGIN: &str = "staging-";
const RANDOM_BYTES: usize = 8;
/// Attempts to create one: another process may remove a directory as a leftover in the moment before it is locked.
const TRIES: usize = 10;

/// A directory for the plain text of a backup, for this process alone.
pub struct Staging {
    dir: PathBuf,
    _removed: AtInterrupt,
    /// Its lock: other processes leave it alone when they clean up.
    _held: File,
    /// The data directory, if it was created for this.
    made: Option<PathBuf>,
}

impl Staging {
    /// Creates one, and removes leftovers of crashes.
    pub fn make(data_dir: &Path) -> Result<Staging> {
        let made = (!data_dir.exists()).then(|| data_dir.to_path_buf());
        files::private_dir(data_dir)?;
        clean(data_dir)?;
        for _ in 0..TRIES {
            let dir = data_dir.join(format!("{BEGIN}{}", crypto::random_hex(RANDOM_BYTES)));
            let (staged, data_dir) = (dir.clone(), made.clone());
            let removed = at_interrupt(move || {
                remove_now(&staged);
                let _ = data_dir.as_ref().map(fs::remove_dir);
            });
            before_interrupt(|| files::private_dir(&dir))?;
            let Ok(held) = File::open(&dir) else { continue };
            let is_same = |now: fs::Metadata| {
                held.metadata().is_ok_and(|then| (then.dev(), then.ino()) == (now.dev(), now.ino()))
            };
            if held.try_lock().is_ok() && fs::symlink_metadata(&dir).is_ok_and(is_same) {
                return Ok(Staging { dir, _removed: removed, _held: held, made });
            }
        }
        Err(Error::Unavailable(format!("Cannot create a directory for a backup in {}; try again.", data_dir.display())))
    }

    /// Path of the directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

/// Removes a directory that another thread may still write into; the process is about to end.
pub fn remove_now(dir: &Path) {
    for _ in 0..TRIES {
        if fs::remove_dir_all(dir).is_ok_and(|()| !dir.exists()) {
            return;
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.dir) {
            log::warn!(target: "backups", event = "backup.staging", path:% = self.dir.display(), error:% = e;
                "Could not remove a backup's temporary files; the next start retries");
        }
        // A data directory created for this is removed, unless there is something in it.
        let _ = self.made.as_ref().map(fs::remove_dir);
    }
}

/// Removes leftovers of crashes from the data directory, except those that another process holds.
pub fn clean(data_dir: &Path) -> Result<()> {
    for entry in fs::read_dir(data_dir).doing("read the data directory")?.flatten() {
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(BEGIN)).unwrap_or_default();
        let is_ours = digits.len() == 2 * RANDOM_BYTES && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        // Held until it is gone: a process that has just created it must see that it is taken.
        let Ok(held) = File::open(entry.path()) else { continue };
        if held.try_lock().is_ok() {
            match fs::remove_dir_all(entry.path()) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e).doing("remove what a backup left"),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::spawn;

    #[test]
    fn what_is_removed_is_held_until_it_is_gone() {
        let root = std::env::temp_dir().join(format!("uptimemesh-staging-{}", std::process::id()));
        let left = root.join(format!("{BEGIN}0123456789abcdef"));
        files::private_dir(&left).expect("a directory");
        (0..10_000).for_each(|i| fs::write(left.join(i.to_string()), b"").expect("a file"));
        let changed = || fs::metadata(&left).and_then(|found| found.modified()).ok();
        let (held, before, at) = (File::open(&left).expect("it is there"), changed(), root.clone());
        let cleaning = spawn("cleaning", None, move || clean(&at).expect("it is cleaned")).expect("a thread");
        while changed() == before {
            std::thread::yield_now();
        }
        // A process that has just created it would take the directory for its own.
        let is_free = held.try_lock().is_ok() && left.exists();
        cleaning.join().expect("it ends");
        assert!(!is_free && !left.exists());
        fs::remove_dir_all(root).expect("the directory is ours");
    }
}
