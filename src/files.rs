//! Files that must never be half-written or readable by others: keys, certificates, identities.

use crate::error::{Doing, Error, Result};
use crate::interrupt::{self, AtInterrupt, at_interrupt};
use crate::text;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, readlinkat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// Mode of a file that only its owner may read.
pub const PRIVATE: u32 = 0o600;
/// Mode of a file that every user may read.
pub const PUBLIC: u32 = 0o644;

/// Restricts files that this process creates to its user, unless a wider mode is set explicitly. Call at the start of
/// the program.
pub fn private_by_default() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Writes a file durably and atomically: a crash leaves the old or the new content. It has this mode from its first
/// byte.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let new = beside(path);
    // A crash may have left this file, with another mode.
    let _ = fs::remove_file(&new);
    let written = write_new(&new, content, mode).and_then(|()| rename(&new, path));
    if written.is_err() {
        // It takes up space on a full disk, and may hold a secret.
        let _ = fs::remove_file(&new);
    }
    written
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(mode).open(path).doing("create a file")?;
    // Sets the requested mode, regardless of the process's umask.
    file.set_permissions(Permissions::from_mode(mode)).doing("give a file its mode")?;
    file.write_all(content).doing("write a file")?;
    file.sync_all().doing("flush a file")
}

/// Renames durably: a power cut does not bring the old name back.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).doing("put a file into its place")?;
    let dir = to.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|d| d.sync_all()).doing("flush a directory")
}

/// Creates a directory and its parents for the owner only; existing ones are unchanged.
pub fn private_dir(path: &Path) -> Result<()> {
    make_dir(path, 0o700)
}

/// Creates a directory and its parents for every user; existing ones are unchanged.
pub fn public_dir(path: &Path) -> Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    make_dir(path, 0o755)?;
    missing
        .iter()
        .try_for_each(|dir| fs::set_permissions(dir, Permissions::from_mode(0o755)))
        .doing("give a directory its mode")
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|e| {
        Error::fault("create a directory (is the place writable, and no file?)", format!("{}: {e}", path.display()))
    })
}

/// Opening a pipe with these flags does not block, and symbolic links are not followed.
const WARY: OFlags = OFlags::NONBLOCK.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Maximum size of a text file in bytes.
const TEXT_BYTES_MAX: u64 = 16 << 20;
/// Maximum number of symbolic links on a path.
const LINKS_MAX: usize = 40;

/// Opens a regular file for reading, and fails on anything else: a pipe would block, and a device never ends.
pub fn open_regular(path: &Path) -> io::Result<File> {
    ordinary(File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?)
}

fn ordinary(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

/// Opens a file for locking and creates it if necessary: a regular one, never through a link.
pub fn open_lock(path: &Path) -> io::Result<File> {
    let (dir, name) = hold_parent(path)?;
    let opened =
        openat(&dir, &name, OFlags::RDWR | OFlags::CREATE | WARY, Mode::RUSR | Mode::WUSR).map_err(io::Error::from);
    opened.and_then(|file| ordinary(File::from(file))).map_err(|e| match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => {
            io::Error::other(format!("{} is not a regular file; remove it", path.display()))
        }
        _ => e,
    })
}

/// Opens a file for appending and creates it if necessary. A pipe without a reader is an error instead of a wait;
/// writes to a pipe with a slow reader block, so that nothing is lost.
pub fn open_append(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    rustix::fs::fcntl_setfl(&file, rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Opens a regular file for reading on a path that others may change meanwhile, directory by directory: for root, which
/// may read everything. Follows only links that root alone can have created.
pub fn open_guarded(path: &Path) -> io::Result<File> {
    let (dir, name) = resolve(path)?;
    let name = name.ok_or_else(|| io::Error::other("it is a directory"))?;
    let opened = openat(&dir, name, OFlags::RDONLY | WARY, Mode::empty())?;
    ordinary(File::from(opened))
}

/// The directory of a path, held open, and the name in it, which may not exist; no name for `.` and `/`.
fn resolve(path: &Path) -> io::Result<(OwnedFd, Option<OsString>)> {
    let begin = |path: &Path| {
        let at = if path.is_absolute() { "/" } else { "." };
        openat(CWD, at, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    let parts = |path: &Path| -> Vec<OsString> {
        let named = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
        named.map(|part| part.as_os_str().to_owned()).rev().collect()
    };
    let (mut dir, mut left, mut links) = (begin(path)?, parts(path), 0);
    while let Some(name) = left.pop() {
        let next = match openat(&dir, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) if left.is_empty() => return Ok((dir, Some(name))),
            next => next?,
        };
        match FileType::from_raw_mode(fstat(&next)?.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > LINKS_MAX || !may_follow(&dir, &next)? {
                    let (dir, link) = (fstat(&dir)?, fstat(&next)?);
                    let of = if link.st_uid == 0 { dir } else { link };
                    return Err(io::Error::other(NotFollowed { name, uid: of.st_uid, gid: of.st_gid }));
                }
                let target = PathBuf::from(OsString::from_vec(readlinkat(&next, "", Vec::new())?.into_bytes()));
                left.extend(parts(&target));
                if target.is_absolute() {
                    dir = begin(&target)?;
                }
            }
            FileType::Directory if !left.is_empty() => dir = next,
            _ if left.is_empty() => return Ok((dir, Some(name))),
            _ => return Err(Errno::NOTDIR.into()),
        }
    }
    Ok((dir, None))
}

/// A link that root does not follow, and the user who may have created it.
#[derive(Debug)]
struct NotFollowed {
    name: OsString,
    uid: u32,
    gid: u32,
}

impl fmt::Display for NotFollowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is a link that is not followed", Path::new(&self.name).display())
    }
}

impl std::error::Error for NotFollowed {}

/// Uid and gid of the user who controls a path: the owner of the file, or of the first link on the way that is not
/// root's.
pub fn owner(path: &Path) -> io::Result<(u32, u32)> {
    let found = resolve(path).and_then(|(dir, name)| {
        let name = name.unwrap_or_else(|| ".".into());
        Ok(fstat(openat(&dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)?)
    });
    match found {
        Ok(found) => Ok((found.st_uid, found.st_gid)),
        Err(e) => match e.get_ref().and_then(|e| e.downcast_ref::<NotFollowed>()) {
            // The link is in a directory of root's that a group may write: treat it as root's.
            Some(link) if link.uid == 0 => fs::metadata(path).map(|found| (found.uid(), found.gid())),
            Some(link) => Ok((link.uid, link.gid)),
            None => Err(e),
        },
    }
}

/// The directory of a file, held open, and the file's name in it.
fn hold_parent(path: &Path) -> io::Result<(OwnedFd, OsString)> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it is a directory"))?.to_owned();
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(match resolve(parent)? {
        (dir, None) => (dir, name),
        (dir, Some(last)) => (openat(&dir, last, OFlags::PATH | OFlags::DIRECTORY | WARY, Mode::empty())?, name),
    })
}

/// True if root may follow a link: it is root's, in a directory where no other user can replace it. Other users follow
/// whatever they may read.
fn may_follow(dir: &OwnedFd, link: &OwnedFd) -> io::Result<bool> {
    const OTHERS_MAY_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    let (dir, link) = (fstat(dir)?, fstat(link)?);
    let is_closed = dir.st_mode & OTHERS_MAY_WRITE == 0 || dir.st_mode & STICKY != 0;
    Ok(!geteuid().is_root() || (dir.st_uid == 0 && is_closed && link.st_uid == 0))
}

/// Reads a text that another user may write meanwhile: a regular file of at most `bytes_max` bytes, never through a
/// link of theirs. `None` if it does not exist.
pub fn read_untrusted(path: &Path, bytes_max: u64) -> Result<Option<String>> {
    let refused = |why: &str| Err(Error::fault("read a file of another user", format!("{} {why}", path.display())));
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return refused("is not a regular file");
    }
    let file = match open_guarded(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return refused(&format!("cannot be read: {e}")),
        Ok(file) => file,
    };
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text).doing("read a file")?;
    if text.len() as u64 > bytes_max { refused("is too long") } else { Ok(Some(text)) }
}

/// A new file that atomically replaces another when it is complete. Its directory is held open, so that root writes to
/// the intended place even if others rename directories.
pub struct Replacing {
    dir: OwnedFd,
    name: OsString,
    beside: PathBuf,
    _removed: AtInterrupt,
    /// The new file, for its owner only.
    pub file: File,
}

impl Replacing {
    /// Creates the new file beside the existing one.
    pub fn begin(path: &Path) -> io::Result<Replacing> {
        let (dir, name) = hold_parent(path)?;
        let beside = beside(Path::new(&name));
        let _ = unlinkat(&dir, &beside, AtFlags::empty());
        let (held, new) = (dir.try_clone()?, beside.clone());
        let removed = at_interrupt(move || {
            let _ = unlinkat(&held, &new, AtFlags::empty());
        });
        let made =
            openat(&dir, &beside, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | WARY, Mode::RUSR | Mode::WUSR)?;
        Ok(Replacing { dir, name, beside, _removed: removed, file: File::from(made) })
    }

    /// Replaces the existing file, durably.
    pub fn finish(self) -> Result<()> {
        self.file.sync_all().doing("flush a file")?;
        interrupt::decide();
        renameat(&self.dir, &self.beside, &self.dir, &self.name)
            .map_err(io::Error::from)
            .doing("put a file into its place")?;
        let dir = openat(&self.dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(io::Error::from);
        dir.and_then(|dir| File::from(dir).sync_all()).doing("flush a directory")
    }
}

impl Drop for Replacing {
    fn drop(&mut self) {
        // Does nothing after `finish`, which renamed the file.
        let _ = unlinkat(&self.dir, &self.beside, AtFlags::empty());
    }
}

/// Reads a text file of bounded size; `None` if it does not exist.
pub fn read(path: &Path) -> Result<Option<String>> {
    match open_regular(path).and_then(text_of) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::fault("read a file", format!("{}: {e}", path.display()))),
    }
}

/// Reads a file that an operator names: a regular file, or a shell's file below `/dev`.
pub fn read_named(path: &Path) -> io::Result<String> {
    let is_handed_over = ["/dev/fd", "/dev/stdin", "/proc/self/fd"].iter().any(|place| path.starts_with(place));
    text_of(if is_handed_over { File::open(path)? } else { open_guarded(path)? })
}

fn text_of(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(io::Error::other("it is too long"));
    }
    text::decode(bytes).map_err(|why| io::Error::other(format!("it {why}")))
}

/// Temporary name of a file that is being written.
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
    fn a_failed_write_leaves_nothing_beside_the_file() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-failed-{}", std::process::id()));
        let taken = dir.join("taken");
        private_dir(&taken).expect("a directory");
        assert!(write(&taken, b"secret", PRIVATE).is_err(), "a directory is in its place");
        assert!(!beside(&taken).exists());
        fs::remove_dir_all(dir).expect("the directory is ours");
    }

    #[test]
    fn of_foreign_files_only_ordinary_ones_of_a_size_are_read() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-foreign-{}", std::process::id()));
        public_dir(&dir).expect("a directory");
        let (file, link) = (dir.join("file"), dir.join("link"));
        assert_eq!(read_untrusted(&file, 5).expect("a missing file is not a fault"), None);
        write(&file, b"12345", PUBLIC).expect("a file");
        assert_eq!(read_untrusted(&file, 5).expect("it is small enough").as_deref(), Some("12345"));
        assert!(read_untrusted(&file, 4).is_err());
        symlink(&file, &link).expect("a link");
        assert!(read_untrusted(&link, 5).is_err());
        assert!(read_untrusted(&dir, 5).is_err());
        write(&file, b"\xff\xfe", PUBLIC).expect("a file");
        assert!(read_untrusted(&file, 5).is_err(), "no text");
        fs::remove_dir_all(dir).expect("the directory is ours");
    }

    /// For root, which follows fewer links; other users' behaviour is unchanged.
    #[test]
    fn root_follows_links_of_its_own_only() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-guarded-{}", std::process::id()));
        let (own, foreign) = (dir.join("own"), dir.join("foreign"));
        for place in [&own, &foreign] {
            public_dir(place).expect("a directory");
        }
        write(&own.join("file"), b"x", PUBLIC).expect("a file");
        symlink("own", dir.join("to-own")).expect("a link");
        symlink(own.join("file"), dir.join("to-file")).expect("a link");
        symlink("to-own/../to-file", dir.join("through")).expect("a link");
        symlink(&own, foreign.join("link")).expect("a link");
        for path in ["own/file", "to-own/file", "to-file", "through", "foreign/link/file", "foreign/../own/file"] {
            open_guarded(&dir.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        }
        symlink("loop", dir.join("loop")).expect("a link");
        for path in ["own", "loop", "own/file/x", "own/none"] {
            assert!(open_guarded(&dir.join(path)).is_err(), "{path}");
        }
        if std::os::unix::fs::lchown(&foreign, Some(12345), Some(12345)).is_ok() {
            assert!(open_guarded(&foreign.join("link/file")).is_err(), "the owner can have put it there");
            std::os::unix::fs::lchown(dir.join("to-own"), Some(12345), None).expect("root gives");
            assert!(open_guarded(&dir.join("to-own/file")).is_err(), "it is another's");
        }
        fs::remove_dir_all(dir).expect("the directory is ours");
    }

    #[test]
    fn a_pipe_that_is_written_to_loses_nothing_where_its_reader_is_slow() {
        const BYTES: usize = 1 << 20;
        let dir = std::env::temp_dir().join(format!("uptimemesh-append-{}", std::process::id()));
        private_dir(&dir).expect("a directory");
        let pipe = dir.join("pipe");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        assert!(open_append(&pipe).is_err(), "it has no reader");
        let mut reader = open_reader(&pipe);
        let mut file = open_append(&pipe).expect("it has a reader");
        let writing =
            crate::thread::spawn("writing", None, move || file.write_all(&vec![b'x'; BYTES]).expect("all is written"));
        let writing = writing.expect("a thread");
        let mut read = Vec::new();
        reader.read_to_end(&mut read).expect("all of it");
        writing.join().expect("it ends");
        assert_eq!(read.len(), BYTES);
        fs::remove_dir_all(dir).expect("the directory is ours");
    }

    /// A reader of a pipe that waits for data although the pipe had no writer at first.
    fn open_reader(pipe: &Path) -> File {
        let reader =
            File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(pipe).expect("a reader");
        rustix::fs::fcntl_setfl(&reader, OFlags::empty()).expect("it waits from here on");
        reader
    }

    #[test]
    fn a_lock_is_an_ordinary_file() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-lock-{}", std::process::id()));
        private_dir(&dir).expect("a directory");
        let (lock, file) = (dir.join("lock"), dir.join("file"));
        assert!(open_lock(&lock).and_then(|_| open_lock(&lock)).is_ok());
        fs::remove_file(&lock).expect("it is ours");
        symlink(&file, &lock).expect("a link");
        assert!(open_lock(&lock).is_err_and(|e| e.to_string().contains("remove it")) && !file.exists());
        fs::remove_file(&lock).expect("it is ours");
        rustix::fs::mknodat(CWD, &lock, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        assert!(open_lock(&lock).is_err_and(|e| e.to_string().contains("remove it")));
        assert!(read(&lock).is_err() && open_regular(&lock).is_err());
        fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
