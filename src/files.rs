//! Files that must never be half written or readable by others: keys, certificates, identities.

use crate::error::{Doing, Error, Result};
use rustix::fs::Mode;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown};
use std::path::{Path, PathBuf};

/// Mode of a file that only its owner may read.
pub const PRIVATE: u32 = 0o600;
/// Mode of a file that everybody may read.
pub const PUBLIC: u32 = 0o644;

/// Keeps from all others what this process makes, but for what is given a wider mode by name. For the start of the program.
pub fn private_by_default() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Writes a file so that a crash leaves the old content or the new, durably, with this mode from its first byte on.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let new = beside(path);
    // What a crash left is no longer wanted; its mode might be another.
    let _ = fs::remove_file(&new);
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&new).doing("create a file")?;
    // The mode that is asked for, and not what is left of it by the process's own mask.
    file.set_permissions(Permissions::from_mode(mode)).doing("give a file its mode")?;
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
    make_dir(path, 0o700)
}

/// Makes a directory, and those above it, that everybody may enter; one that is there stays as it is.
pub fn public_dir(path: &Path) -> Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    make_dir(path, 0o755)?;
    missing.iter().try_for_each(|dir| fs::set_permissions(dir, Permissions::from_mode(0o755))).doing("give a directory its mode")
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|e| Error::fault("create a directory (is the place writable, and no file?)", format!("{}: {e}", path.display())))
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
/// else, who must be able to read it afterwards. What has that owner already is left alone, with all that is in it.
pub fn owned_like(path: &Path, like: &Path) -> Result<()> {
    let owner = fs::metadata(like).doing(GIVE)?;
    give(path, (owner.uid(), owner.gid()))
}

const GIVE: &str = "give a file to the owner of the data directory";

/// That owner can rename what is given while it is given, and put a link to a directory of the system in its place: what is opened is what
/// is changed, and below it nothing is reached by the names above it.
fn give(path: &Path, owner: (u32, u32)) -> Result<()> {
    let (uid, gid) = (Some(owner.0), Some(owner.1));
    let named = fs::symlink_metadata(path).doing(GIVE)?;
    if (named.uid(), named.gid()) == owner {
        return Ok(());
    }
    if !named.is_file() && !named.is_dir() {
        return lchown(path, uid, gid).doing(GIVE);
    }
    let opened = File::options().read(true).custom_flags(O_NONBLOCK).open(path).doing(GIVE)?;
    let found = opened.metadata().doing(GIVE)?;
    if (found.dev(), found.ino()) != (named.dev(), named.ino()) {
        return Err(Error::fault(GIVE, format!("{} was replaced while it was opened", path.display())));
    }
    if found.is_dir() {
        let inside = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
        for entry in fs::read_dir(&inside).doing(GIVE)? {
            give(&inside.join(entry.doing(GIVE)?.file_name()), owner)?;
        }
    }
    fchown(&opened, uid, gid).doing(GIVE)
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

    /// As root, which gives; whoever else runs this sees that nothing is done.
    #[test]
    fn what_is_given_away_is_all_of_it_and_nothing_that_links_lead_to() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-given-{}", std::process::id()));
        let (like, given, outside) = (dir.join("like"), dir.join("given"), dir.join("outside"));
        for place in [&like, &given.join("below/deep"), &outside] {
            public_dir(place).expect("a directory");
        }
        write(&given.join("below/deep/file"), b"", PUBLIC).expect("a file");
        write(&outside.join("file"), b"", PUBLIC).expect("a file");
        symlink(&outside, given.join("below/link")).expect("a link");
        let own = fs::metadata(&dir).expect("it is there").uid();
        let other = if lchown(&like, Some(65534), Some(65534)).is_ok() { 65534 } else { own };
        owned_like(&given, &like).expect("it is given");
        let uid = |path: &Path| fs::symlink_metadata(path).expect("it is there").uid();
        for path in ["", "below", "below/deep", "below/deep/file", "below/link"] {
            assert_eq!(uid(&given.join(path)), other, "{path}");
        }
        assert_eq!((uid(&outside), uid(&outside.join("file"))), (own, own));
        fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
