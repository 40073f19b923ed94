//! A text on disk in two generations: if the newest one is damaged, the previous one counts.

use crate::error::{Chain, Error, Result};
use crate::files::{self, PRIVATE};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A file and its previous generation, for the owner only.
pub struct Kept {
    path: PathBuf,
    /// True if the newest generation cannot be used: it must not take the place of the previous one.
    is_damaged: bool,
}

impl Kept {
    /// The first generation that `read` accepts. One that it refuses is reported, and stays as it is.
    pub fn load<T>(path: PathBuf, read: impl Fn(&str) -> Result<T>) -> (Kept, Option<T>) {
        let newest = one(&path, &read);
        let is_damaged = newest.is_err();
        let found = newest.ok().flatten().or_else(|| one(&previous(&path), &read).ok().flatten());
        (Kept { path, is_damaged }, found)
    }

    /// The previous generation, if there is one that `read` accepts.
    pub fn previous<T>(&self, read: impl Fn(&str) -> Result<T>) -> Option<T> {
        files::read(&previous(&self.path)).ok().flatten().and_then(|text| read(&text).ok())
    }

    /// Writes the newest generation; what was the newest becomes the previous one.
    pub fn write(&mut self, text: &str) -> Result<()> {
        if !self.is_damaged {
            match fs::rename(&self.path, previous(&self.path)) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(Error::fault("keep the previous generation of a file", e.to_string()));
                }
                Ok(()) | Err(_) => {}
            }
        }
        files::write(&self.path, text.as_bytes(), PRIVATE)?;
        self.is_damaged = false;
        Ok(())
    }
}

/// Place of the previous generation.
fn previous(path: &Path) -> PathBuf {
    path.with_extension("previous.json")
}

/// One generation; `None` if there is none.
fn one<T>(path: &Path, read: impl Fn(&str) -> Result<T>) -> Result<Option<T>> {
    let found = files::read(path).and_then(|text| text.map(|text| read(&text)).transpose());
    found.inspect_err(|e| {
        log::error!(
            target: "runner", event = "runner.file_damaged", file:% = path.display(), error:% = Chain(e);
            "A file of this machine's work cannot be used; the previous one counts, if there is one"
        );
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_generation_never_displaces_a_good_one() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-kept-{}", std::process::id()));
        files::private_dir(&dir).expect("a directory");
        let path = dir.join("a.json");
        let read = |text: &str| {
            let why = || Error::fault("read a number", text.to_string());
            text.parse::<u32>().map_err(|_| why())
        };
        let load = || Kept::load(path.clone(), read);
        let (mut kept, found) = load();
        assert_eq!(found, None);
        for number in ["1", "2", "3"] {
            kept.write(number).expect("written");
        }
        assert_eq!(load().1, Some(3));
        fs::write(&path, "damaged").expect("written");
        let (mut kept, found) = load();
        assert_eq!(found, Some(2));
        kept.write("4").expect("written");
        assert_eq!(load().1, Some(4));
        fs::write(&path, "damaged").expect("written");
        assert_eq!(load().1, Some(2), "the damaged one did not become the previous one");
        // A crash between both steps of a write.
        fs::remove_file(&path).expect("removed");
        assert_eq!(load().1, Some(2));
        fs::write(previous(&path), "damaged").expect("written");
        assert_eq!(load().1, None);
        fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
