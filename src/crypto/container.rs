//! A sealed stream of bytes: a header, then chunks, each encrypted and authenticated. One chunk at a time is in memory.
//!
//! The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its
//! Nonce-Reuse Misuse-Resistance", CRYPTO 2015): a chunk's nonce holds its number and whether it is the last, so a
//! changed, moved, missing or appended chunk is detected, and so is a missing end. The header is authenticated with
//! every chunk. The key is derived from the passphrase with argon2id (RFC 9106 §4, the second recommended choice: 64
//! MiB, 3 passes, 4 lanes) under a fresh salt, so nonces may start at zero.
//! Without a passphrase the key is a hash of the salt, which every reader can compute: that detects damage but hides
//! nothing.
//!
//! ```text
//! header   "UMBACKUP", version (1), kind (0 open, 1 passphrase), argon2id's KiB, passes, lanes (u32 each,
//! little-endian), salt (16 bytes) chunk    65536 bytes of the content (the last one fewer, or as many), encrypted with
//! ChaCha20-Poly1305, and its tag of 16 bytes nonce    0 0 0, the chunk's number (u64, big-endian), 1 for the last one
//! and else 0
//! ```

use super::{password, random, sha256};
use crate::error::{Doing, Error, Result};
use argon2::Params;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::io::{self, BufRead, BufReader, Read, Write};

const MAGIC: &[u8; 8] = b"UMBACKUP";
const VERSION: u8 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 8 + 2 + 12 + 16;
/// Bytes of content in a chunk, which is what memory holds at a time.
const CHUNK_BYTES: usize = 64 << 10;
const TAG_BYTES: usize = 16;
/// RFC 9106 §4, the second recommended choice, for machines without gigabytes to spare.
const COST: Cost = Cost { kib: 64 << 10, passes: 3, lanes: 4 };
/// Maximum work that a header may demand: it is read before anything is authenticated.
const COST_MAX: Cost = Cost { kib: 1 << 20, passes: 16, lanes: 16 };

const DAMAGED: &str = "The backup is damaged, or its end is missing.";
const STRANGE: &str = "This is not a backup of uptimemesh, or its beginning is damaged.";

#[derive(Clone, Copy)]
struct Cost {
    kib: u32,
    passes: u32,
    lanes: u32,
}

/// True if a header requires a passphrase.
pub fn is_encrypted(header: &[u8]) -> Result<bool> {
    let rest = header.strip_prefix(MAGIC).ok_or_else(|| Error::Malformed(STRANGE.into()))?;
    match rest {
        [VERSION, 0, ..] => Ok(false),
        [VERSION, 1, ..] => Ok(true),
        [VERSION, ..] | [] => Err(Error::Malformed(STRANGE.into())),
        [version, ..] => Err(Error::Malformed(format!(
            "The backup has format {version}, this program reads {VERSION}: use a newer uptimemesh."
        ))),
    }
}

fn key(header: &[u8; HEADER_BYTES], passphrase: Option<&[u8]>) -> Result<LessSafeKey> {
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let salt = &header[HEADER_BYTES - 16..];
    let bytes = match passphrase {
        Some(passphrase) => {
            let cost = Cost { kib: number(10), passes: number(14), lanes: number(18) };
            if cost.kib > COST_MAX.kib || cost.passes > COST_MAX.passes || cost.lanes > COST_MAX.lanes {
                return Err(Error::Malformed(STRANGE.into()));
            }
            let params = Params::new(cost.kib, cost.passes, cost.lanes, Some(32))
                .map_err(|_| Error::Malformed(STRANGE.into()))?;
            password::argon2id(passphrase, salt, params).map_err(|e| Error::fault("derive a key", e.to_string()))?
        }
        None => sha256(salt),
    };
    let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|e| Error::fault("derive a key", e.to_string()))?;
    Ok(LessSafeKey::new(key))
}

fn nonce(number: u64, is_last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[3..11].copy_from_slice(&number.to_be_bytes());
    bytes[11] = u8::from(is_last);
    Nonce::assume_unique_for_key(bytes)
}

/// Writes a sealed stream, which is complete only when [`Sealer::finish`] has returned.
pub struct Sealer<W: Write> {
    out: W,
    key: LessSafeKey,
    header: [u8; HEADER_BYTES],
    chunk: Vec<u8>,
    number: u64,
}

impl<W: Write> Sealer<W> {
    /// Writes the header. Without a passphrase the content is readable and protected only against accidental damage.
    pub fn new(mut out: W, passphrase: Option<&[u8]>) -> Result<Sealer<W>> {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8] = VERSION;
        header[9] = u8::from(passphrase.is_some());
        for (at, number) in [(10, COST.kib), (14, COST.passes), (18, COST.lanes)] {
            header[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        header[HEADER_BYTES - 16..].copy_from_slice(&random::<16>());
        let key = key(&header, passphrase)?;
        out.write_all(&header).doing("write a backup")?;
        Ok(Sealer { out, key, header, chunk: Vec::with_capacity(CHUNK_BYTES + TAG_BYTES), number: 0 })
    }

    fn seal(&mut self, is_last: bool) -> io::Result<()> {
        let aad = Aad::from(&self.header);
        self.key
            .seal_in_place_append_tag(nonce(self.number, is_last), aad, &mut self.chunk)
            .map_err(|e| io::Error::other(e.to_string()))?;
        self.number += 1;
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }

    /// Ends the stream and returns the writer.
    pub fn finish(mut self) -> Result<W> {
        self.seal(true).doing("write a backup")?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Keep a full chunk until more data comes: it may be the last one.
        if self.chunk.len() == CHUNK_BYTES {
            self.seal(false)?;
        }
        let count = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a sealed stream; returns only authenticated content.
pub struct Opener<R: Read> {
    input: BufReader<R>,
    key: LessSafeKey,
    header: [u8; HEADER_BYTES],
    chunk: Vec<u8>,
    given: usize,
    number: u64,
    at_end: bool,
}

impl<R: Read> Opener<R> {
    /// Reads the header and the first chunk, which shows whether the passphrase is correct.
    pub fn new(input: R, passphrase: Option<&[u8]>) -> Result<Opener<R>> {
        let mut input = BufReader::with_capacity(CHUNK_BYTES + TAG_BYTES, input);
        let mut header = [0; HEADER_BYTES];
        input.read_exact(&mut header).map_err(|_| Error::Malformed(STRANGE.into()))?;
        let passphrase = match (is_encrypted(&header)?, passphrase) {
            (true, None) => {
                let why = "The backup is encrypted: give its passphrase by BACKUP_PASSPHRASE_FILE or \
                    UPTIMEMESH_BACKUP_PASSPHRASE.";
                return Err(Error::Malformed(why.into()));
            }
            (true, given) => given,
            // A passphrase for other backups does no harm.
            (false, _) => None,
        };
        let key = key(&header, passphrase)?;
        let mut opener = Opener { input, key, header, chunk: Vec::new(), given: 0, number: 0, at_end: false };
        opener.open().map_err(|_| {
            Error::Malformed(match passphrase {
                Some(_) => "The passphrase is wrong, or the backup is damaged at its beginning.".into(),
                None => DAMAGED.into(),
            })
        })?;
        Ok(opener)
    }

    fn open(&mut self) -> io::Result<()> {
        self.chunk.clear();
        self.given = 0;
        self.input.by_ref().take((CHUNK_BYTES + TAG_BYTES) as u64).read_to_end(&mut self.chunk)?;
        self.at_end = self.input.fill_buf()?.is_empty();
        let nonce = nonce(self.number, self.at_end);
        let opened = self.key.open_in_place(nonce, Aad::from(&self.header), &mut self.chunk);
        let bytes = opened.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, DAMAGED))?.len();
        self.chunk.truncate(bytes);
        self.number += 1;
        Ok(())
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.given == self.chunk.len() {
            if self.at_end {
                return Ok(0);
            }
            self.open()?;
        }
        let count = into.len().min(self.chunk.len() - self.given);
        into[..count].copy_from_slice(&self.chunk[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(content: &[u8], passphrase: Option<&[u8]>) -> Vec<u8> {
        let mut sealer = Sealer::new(Vec::new(), passphrase).expect("a header");
        sealer.write_all(content).expect("chunks");
        sealer.finish().expect("an end")
    }

    fn opened(sealed: &[u8], passphrase: Option<&[u8]>) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        Opener::new(sealed, passphrase).ok()?.read_to_end(&mut content).ok()?;
        Some(content)
    }

    #[test]
    fn what_is_sealed_opens_again_at_every_length() {
        for bytes in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let content: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
            assert_eq!(opened(&sealed(&content, None), None), Some(content), "{bytes}");
        }
        let with = sealed(b"content", Some(b"a passphrase"));
        assert!(is_encrypted(&with).expect("a header"));
        assert_eq!(opened(&with, Some(b"a passphrase")), Some(b"content".to_vec()));
        assert_eq!((opened(&with, Some(b"another")), opened(&with, None)), (None, None));
        assert!(!with.windows(7).any(|w| w == b"content"));
    }

    #[test]
    fn what_was_changed_moved_cut_or_appended_does_not_open() {
        let content = vec![7; 3 * CHUNK_BYTES];
        let good = sealed(&content, None);
        let chunk = CHUNK_BYTES + TAG_BYTES;
        for at in
            (0..HEADER_BYTES).chain([HEADER_BYTES, HEADER_BYTES + chunk - 1, HEADER_BYTES + 2 * chunk, good.len() - 1])
        {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(opened(&bad, None), None, "byte {at}");
        }
        for end in
            [0, 1, HEADER_BYTES, HEADER_BYTES + 1, HEADER_BYTES + chunk, HEADER_BYTES + 2 * chunk, good.len() - 1]
        {
            assert_eq!(opened(&good[..end], None), None, "cut at {end}");
        }
        let (a, b) = (HEADER_BYTES, HEADER_BYTES + chunk);
        let swapped = [&good[..a], &good[b..b + chunk], &good[a..b], &good[b + chunk..]].concat();
        assert_eq!(opened(&swapped, None), None);
        assert_eq!(opened(&[&good[..], b"x"].concat(), None), None);
        assert_eq!(opened(&[&good[..], &good[b + chunk..]].concat(), None), None);
    }

    #[test]
    fn a_header_cannot_ask_for_all_memory() {
        let mut greedy = sealed(b"content", None);
        greedy[9] = 1;
        greedy[10..14].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(opened(&greedy, Some(b"a passphrase")), None);
    }
}
