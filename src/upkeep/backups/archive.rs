//! Contents of a backup's file: a manifest, followed by the files that it lists, in a sealed stream (see
//! `crypto::container`).
//!
//! ```text
//! content  length of the manifest (u32, little-endian), the manifest (JSON), then the bytes of each of its files, and
//! nothing more
//! ```

use crate::crypto::Sum;
use crate::crypto::container::{Opener, Sealer};
use crate::error::{Doing, Error, Result};
use crate::files;
use crate::interrupt;
use crate::model::backups::{Entry, Manifest};
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

/// Name of the database in a backup.
pub const DATABASE: &str = "app.db";
/// The other contents of a backup: directories of small files.
pub const DIRECTORIES: [&str; 3] = ["pki", "keys", "identities"];
/// Maximum size of a manifest, in bytes. One has a few kilobytes.
const MANIFEST_BYTES_MAX: u32 = 4 << 20;
/// Maximum number of files beside the database: an authority, some keys, the identity of a node.
const FILES_MAX: usize = 1000;
/// Maximum size of such a file, in bytes: each is a key or a certificate.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// Size of the copy buffer, in bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// Creates a new file for its owner only.
pub fn create_new(path: &Path) -> Result<File> {
    File::options().write(true).create_new(true).mode(files::PRIVATE).open(path).doing("create a file of a backup")
}

/// Length and checksum of a file.
pub fn entry(path: &Path, name: &str) -> Result<Entry> {
    let mut file = File::open(path).doing("read a file for a backup")?;
    let mut sum = Sum::default();
    let mut bytes = 0;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = file.read(&mut buffer).doing("read a file for a backup")?;
        if count == 0 {
            return Ok(Entry { path: name.to_string(), bytes, sha256: sum.hex() });
        }
        sum.update(&buffer[..count]);
        bytes += count as u64;
    }
}

/// Writes a backup: the manifest, the database, and the other files from memory, in the manifest's order.
pub fn write(
    to: &File,
    passphrase: Option<&[u8]>,
    manifest: &Manifest,
    database: &Path,
    small: &[(String, Vec<u8>)],
) -> Result<()> {
    let doing = "write a backup";
    let text = serde_json::to_vec(manifest).doing(doing)?;
    let mut out = Sealer::new(BufWriter::new(to), passphrase)?;
    out.write_all(&(text.len() as u32).to_le_bytes()).and_then(|()| out.write_all(&text)).doing(doing)?;
    let mut input = File::open(database).doing(doing)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = input.read(&mut buffer).doing(doing)?;
        if count == 0 {
            break;
        }
        out.write_all(&buffer[..count]).doing(doing)?;
    }
    for (_, content) in small {
        out.write_all(content).doing(doing)?;
    }
    out.finish()?.into_inner().map_err(|e| e.into_error()).doing(doing)?.sync_all().doing("flush a backup")
}

/// A backup being read.
pub struct Reading {
    input: Opener<File>,
    /// Its manifest.
    pub manifest: Manifest,
}

fn damaged(e: std::io::Error) -> Error {
    Error::Malformed(match e.kind() {
        std::io::ErrorKind::UnexpectedEof => "The backup is damaged: it is incomplete.".into(),
        _ => e.to_string(),
    })
}

/// Opens a backup and reads its manifest.
pub fn open(file: File, passphrase: Option<&[u8]>) -> Result<Reading> {
    let mut input = Opener::new(file, passphrase)?;
    let mut length = [0; 4];
    input.read_exact(&mut length).map_err(damaged)?;
    let length = u32::from_le_bytes(length);
    if length > MANIFEST_BYTES_MAX {
        return Err(Error::Malformed("The backup is damaged: its manifest is too long.".into()));
    }
    let mut text = vec![0; length as usize];
    input.read_exact(&mut text).map_err(damaged)?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|e| Error::Malformed(format!("The backup's manifest cannot be read: {e}")))?;
    let has_database = manifest.files.first().is_some_and(|f| f.path == DATABASE);
    let fits = |f: &Entry| is_allowed(&f.path) && f.bytes <= FILE_BYTES_MAX;
    if !has_database || manifest.files.len() > FILES_MAX || !manifest.files[1..].iter().all(fits) {
        return Err(Error::Malformed("The backup's manifest names unknown files.".into()));
    }
    Ok(Reading { input, manifest })
}

/// True if a path lies where files of a backup belong: its author had the passphrase, but still must not write
/// elsewhere.
fn is_allowed(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    let first = parts.next();
    let in_directory = DIRECTORIES.iter().any(|d| first == Some(Component::Normal(d.as_ref())));
    let mut count = 0;
    in_directory
        && parts.all(|part| {
            count += 1;
            matches!(part, Component::Normal(_)) && count < 8
        })
        && count > 0
}

impl Reading {
    /// Writes every file of the backup below a directory, durably, and verifies its length and checksum.
    pub fn extract(mut self, into: &Path) -> Result<Manifest> {
        let doing = "write a file out of a backup";
        let mut directories = vec![into.to_path_buf()];
        let mut buffer = vec![0; BUFFER_BYTES];
        for entry in &self.manifest.files {
            let path = into.join(&entry.path);
            if let Some(dir) = path.parent() {
                interrupt::before_interrupt(|| files::private_dir(dir))?;
                directories.extend(dir.ancestors().take_while(|d| *d != into).map(Path::to_path_buf));
            }
            let mut file = create_new(&path)?;
            let (mut left, mut sum) = (entry.bytes, Sum::default());
            while left > 0 {
                let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let count = self.input.read(&mut buffer[..most]).map_err(damaged)?;
                if count == 0 {
                    return Err(Error::Malformed("The backup is damaged: it is incomplete.".into()));
                }
                file.write_all(&buffer[..count]).doing(doing)?;
                sum.update(&buffer[..count]);
                left -= count as u64;
            }
            if sum.hex() != entry.sha256 {
                return Err(Error::Malformed(format!(
                    "The backup is damaged: the checksum of {} does not match the manifest.",
                    entry.path
                )));
            }
            file.sync_all().doing("flush a file out of a backup")?;
        }
        if self.input.read(&mut buffer).map_err(damaged)? > 0 {
            return Err(Error::Malformed("The backup is damaged: data follows its last file.".into()));
        }
        for dir in directories {
            File::open(dir).and_then(|d| d.sync_all()).doing("flush a directory")?;
        }
        Ok(self.manifest)
    }
}

/// Reads every small file below a directory, with its path below `name`; temporary files are left out.
pub fn small_files(dir: &Path, name: &str, found: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let doing = "read a directory for a backup";
    let listed = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        listed => listed.doing(doing)?,
    };
    let mut paths: Vec<PathBuf> = listed.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>().doing(doing)?;
    paths.sort();
    for path in paths {
        let Some(last) = path.file_name().and_then(|n| n.to_str()) else { continue };
        if last.ends_with(".new") || last == "discarded" {
            continue;
        }
        let below = format!("{name}/{last}");
        // A file that disappears during the reading was being changed; the caller reads again until nothing changes.
        let Ok(kind) = fs::symlink_metadata(&path) else { continue };
        if kind.is_dir() {
            small_files(&path, &below, found)?;
        } else if kind.is_file() {
            if kind.len() > FILE_BYTES_MAX || found.len() + 1 >= FILES_MAX {
                return Err(Error::fault(
                    doing,
                    format!("{} does not belong there: it is too large, or there are too many", path.display()),
                ));
            }
            let mut content = Vec::new();
            match files::open_regular(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut content)) {
                Ok(_) => found.push((below, content)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(e).doing(doing),
            }
        }
    }
    Ok(())
}
