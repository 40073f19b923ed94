//! Writes a `.tar.gz` that every tar reads. The gzip consists of stored blocks: nothing is compressed, because the
//! contents are small and bounded, and a compressor would be another dependency, or a thousand lines of our own.
//!
//! POSIX ustar; RFC 1951 (stored blocks), RFC 1952 (gzip).

use std::io::{self, Write};

/// Size of a tar block, in bytes.
const BLOCK: usize = 512;
/// Maximum size of a stored block of deflate, in bytes: its length has sixteen bits.
const STORED_BYTES_MAX: usize = 65_535;
/// Maximum length of a name in the archive, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// An archive being written.
pub struct TarGz<W: Write> {
    out: W,
    block: Vec<u8>,
    crc: u32,
    bytes: u32,
    /// Modification time of the files, in epoch seconds.
    made_at_s: i64,
}

impl<W: Write> TarGz<W> {
    /// Begins an archive.
    pub fn new(mut out: W, made_at_s: i64) -> io::Result<TarGz<W>> {
        // Magic, deflate, no flags, no time, no hint, unknown system.
        out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])?;
        Ok(TarGz { out, block: Vec::with_capacity(STORED_BYTES_MAX), crc: !0, bytes: 0, made_at_s })
    }

    /// Adds a file that only its owner may read.
    pub fn add(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let header = header(name, content.len(), self.made_at_s)?;
        self.put(&header)?;
        self.put(content)?;
        self.put(&[0; BLOCK][..content.len().next_multiple_of(BLOCK) - content.len()])
    }

    /// Ends the archive and returns the underlying writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.put(&[0; 2 * BLOCK])?;
        self.flush_block(true)?;
        self.out.write_all(&(!self.crc).to_le_bytes())?;
        self.out.write_all(&self.bytes.to_le_bytes())?;
        Ok(self.out)
    }

    fn put(&mut self, mut content: &[u8]) -> io::Result<()> {
        self.crc = content.iter().fold(self.crc, |crc, byte| (crc >> 8) ^ CRC_TABLE[usize::from(crc as u8 ^ byte)]);
        // The format counts modulo 2^32.
        self.bytes = self.bytes.wrapping_add(content.len() as u32);
        while !content.is_empty() {
            if self.block.len() == STORED_BYTES_MAX {
                self.flush_block(false)?;
            }
            let (now, later) = content.split_at(content.len().min(STORED_BYTES_MAX - self.block.len()));
            self.block.extend_from_slice(now);
            content = later;
        }
        Ok(())
    }

    fn flush_block(&mut self, last: bool) -> io::Result<()> {
        let length = self.block.len() as u16;
        self.out.write_all(&[u8::from(last)])?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&(!length).to_le_bytes())?;
        self.out.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }
}

fn header(name: &str, bytes: usize, made_at_s: i64) -> io::Result<[u8; BLOCK]> {
    if name.len() > NAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name in an archive is too long"));
    }
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{bytes:011o}\0"));
    put(136, &format!("{:011o}\0", made_at_s.clamp(0, 0o77_777_777_777)));
    // The checksum is computed with blanks in its own place.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

/// CRC-32 of RFC 1952, by bytes.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::run;
    use std::time::Duration;

    #[test]
    fn gzip_and_tar_read_what_is_written() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-archive-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let path = dir.join("a.tar.gz");
        let mut archive =
            TarGz::new(std::fs::File::create(&path).expect("a file"), 1_700_000_000).expect("a beginning");
        // Longer than a block of either format, exactly one block, and empty.
        let long: Vec<u8> = (0..200_000_u32).map(|n| (n * 7) as u8).collect();
        for (name, content) in [("b/long", &long[..]), ("b/block", &long[..BLOCK]), ("empty", &[])] {
            archive.add(name, content).expect("a file in it");
        }
        assert!(archive.add(&"n".repeat(NAME_BYTES_MAX + 1), b"").is_err());
        drop(archive.finish().expect("an end"));
        let (at, dir_text) = (path.to_str().expect("a plain path"), dir.to_str().expect("a plain path"));
        let minute = Duration::from_secs(60);
        run::output("gzip", &["-t", at], minute).expect("gzip finds it sound");
        run::output("tar", &["-xzf", at, "-C", dir_text], minute).expect("tar unpacks it");
        for (name, content) in [("b/long", &long[..]), ("b/block", &long[..BLOCK]), ("empty", &[])] {
            assert!(std::fs::read(dir.join(name)).expect(name) == content, "{name}");
        }
        std::fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
