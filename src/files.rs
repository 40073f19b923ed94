//! Files that must never be half written or readable by others: keys, certificates, identities.

use crate::error::{Doing, Error, Result};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, lchown};
use std::path::{Path, PathBuf};

/// Mode of a file that only its owner may read.
pub const PRIVATE: u32 = 0o600;
/// Mode of a file that everybody may read.
pub const PUBLIC: u32 = 0o644;

/// Writes a file so that a crash leaves the old content or the new, durably, with this mode from its first byte on.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let new = beside(path);
    // What a crash left is no longer wanted; its mode might be another.
    let _ = fs::remove_file(&new);
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&new).doing("create a file")?;
    file.write_all(content).doing("write a file")?;
    file.sync_all().doing("flush a file")?;
    rename(&new, path)
}

/// Renames durably: after this, a power cut does not bring the old name back.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).doing("put a file into its place")?;
    let dir = to.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|d| d.sync_all()).doing("flush a directory")
}

/// Makes a directory, and those above it, that only its owner may enter; one that is there stays as it is.
pub fn private_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).doing("create a directory (is the place writable?)")
}

/// Makes a directory, and those above it, that everybody may enter; one that is there stays as it is.
pub fn public_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).doing("create a directory (is the place writable?)")
}

/// Opening a pipe with this does not wait for whoever writes to it; the same on every architecture that releases are made for.
const O_NONBLOCK: i32 = 0o4000;

/// Reads a text that somebody else may have written, and may write while it is read: an ordinary file of at most so many bytes, never what a
/// link leads to. `None` where there is none.
pub fn read_foreign(path: &Path, bytes_max: u64) -> Result<Option<String>> {
    let named = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        named => named.doing("look at a file")?,
    };
    let refused = |why: &str| Err(Error::fault("read a file of another user", format!("{} {why}", path.display())));
    if !named.is_file() {
        return refused("is no ordinary file");
    }
    let file = File::options().read(true).custom_flags(O_NONBLOCK).open(path).doing("open a file")?;
    // Whatever the name leads to by now, what was opened is the ordinary file that was looked at, or it is not read.
    let opened = file.metadata().doing("look at a file")?;
    if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) || !opened.is_file() {
        return refused("was replaced while it was opened");
    }
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text).doing("read a file")?;
    if text.len() as u64 > bytes_max { refused("is too long") } else { Ok(Some(text)) }
}

/// Opens an ordinary file for reading, or says that it is none: a pipe would wait for its other end, and a device never ends.
pub fn open_ordinary(path: &Path) -> std::io::Result<File> {
    let file = File::options().read(true).custom_flags(O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(std::io::Error::other("it is no ordinary file")) }
}

/// Gives a file, or a directory with all that is in it, the owner of another: root works on the data of a server that runs as somebody
/// else, who must be able to read it afterwards.
pub fn owned_like(path: &Path, like: &Path) -> Result<()> {
    let doing = "give a file to the owner of the data directory";
    let (owner, found) = (fs::metadata(like).doing(doing)?, fs::symlink_metadata(path).doing(doing)?);
    if found.is_dir() {
        for entry in fs::read_dir(path).doing(doing)? {
            owned_like(&entry.doing(doing)?.path(), like)?;
        }
    }
    match (found.uid(), found.gid()) == (owner.uid(), owner.gid()) {
        true => Ok(()),
        false => lchown(path, Some(owner.uid()), Some(owner.gid())).doing(doing),
    }
}

/// Reads a text file; `None` where there is none.
pub fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).doing("read a file"),
    }
}

/// The name under which a file is prepared.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn of_foreign_files_only_ordinary_ones_of_a_size_are_read() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-foreign-{}", std::process::id()));
        public_dir(&dir).expect("a directory");
        let (file, link) = (dir.join("file"), dir.join("link"));
        assert_eq!(read_foreign(&file, 5).expect("nothing is no fault"), None);
        write(&file, b"12345", PUBLIC).expect("a file");
        assert_eq!(read_foreign(&file, 5).expect("it is small enough").as_deref(), Some("12345"));
        assert!(read_foreign(&file, 4).is_err());
        symlink(&file, &link).expect("a link");
        assert!(read_foreign(&link, 5).is_err());
        assert!(read_foreign(&dir, 5).is_err());
        write(&file, b"\xff\xfe", PUBLIC).expect("a file");
        assert!(read_foreign(&file, 5).is_err(), "no text");
        fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
