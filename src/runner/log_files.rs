//! The output of a run in files of bounded size and number: `log.0` is the newest. A line is `TIME STREAM TAG TEXT`:
//! stream `o` or `e`, tag `F` for the last or only part of a line and `P` for one that continues.

use super::run::LogBounds;
use crate::clock;
use crate::files;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;

/// Longer lines are cut into parts, in bytes: what one run can make its shim hold.
const PART_BYTES_MAX: usize = 16 << 10;

/// The log files of a run.
pub struct LogFiles {
    dir: PathBuf,
    bounds: LogBounds,
    file: Option<File>,
    /// Size of the file.
    bytes: u64,
    /// Lines that were not written yet.
    pending: Vec<u8>,
    lost: u64,
}

impl LogFiles {
    /// Log files in this directory, which is created with the first line.
    pub fn new(dir: PathBuf, bounds: LogBounds) -> LogFiles {
        LogFiles { dir, bounds, file: None, bytes: 0, pending: Vec::new(), lost: 0 }
    }

    /// Number of lines that the disk did not take.
    pub fn lines_lost(&self) -> u64 {
        self.lost
    }

    fn bytes_max(&self) -> u64 {
        self.bounds.max_mb.max(1) << 20
    }

    /// Appends a line, to be flushed.
    fn append(&mut self, start: &str, tag: char, text: &[u8]) {
        let line_bytes = (start.len() + text.len() + 3) as u64;
        if self.bytes + self.pending.len() as u64 + line_bytes > self.bytes_max() {
            self.flush();
            self.rotate();
        }
        self.pending.extend_from_slice(start.as_bytes());
        self.pending.extend([tag as u8, b' ']);
        self.pending.extend_from_slice(text);
        self.pending.push(b'\n');
    }

    /// Writes what is pending. A disk that does not take it costs these lines, never the program's time.
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let written = self.write();
        match written {
            Ok(()) => self.bytes += self.pending.len() as u64,
            Err(_) => self.lost += self.pending.iter().filter(|b| **b == b'\n').count() as u64,
        }
        self.pending.clear();
    }

    fn write(&mut self) -> std::io::Result<()> {
        if self.file.is_none() {
            // An earlier try may have failed.
            files::private_dir(&self.dir).map_err(std::io::Error::other)?;
            let file = files::open_append(&self.dir.join("log.0"))?;
            self.bytes = file.metadata()?.len();
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Err(ErrorKind::NotFound.into()) };
        // A part of a line would be joined to the next one.
        file.write_all(&self.pending).inspect_err(|_| drop(file.set_len(self.bytes)))
    }

    /// Begins a new file, and removes the oldest.
    fn rotate(&mut self) {
        let name = |n: u32| self.dir.join(format!("log.{n}"));
        let last = self.bounds.files.max(1) - 1;
        let _ = fs::remove_file(name(last));
        for n in (0..last).rev() {
            let _ = fs::rename(name(n), name(n + 1));
        }
        (self.file, self.bytes) = (None, 0);
    }
}

/// One output of a program, as a pipe.
pub struct Output<R> {
    /// The pipe, until its end.
    pub pipe: Option<R>,
    stream: char,
    part: Vec<u8>,
}

impl<R: Read> Output<R> {
    /// An output that the log calls `stream`.
    pub fn new(pipe: R, stream: char) -> Output<R> {
        Output { pipe: Some(pipe), stream, part: Vec::new() }
    }

    /// Reads once from a pipe that has data or has ended, and logs it.
    pub fn read(&mut self, log: &mut LogFiles, buffer: &mut [u8]) {
        let read = self.pipe.as_mut().map_or(Ok(0), |pipe| pipe.read(buffer));
        let start = format!("{} {} ", clock::now(), self.stream);
        match read {
            Ok(0) => {
                self.pipe = None;
                self.log_part(log, &start, 'P');
            }
            Ok(count) => self.take(log, &start, &buffer[..count]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.pipe = None,
        }
        log.flush();
    }

    fn take(&mut self, log: &mut LogFiles, start: &str, text: &[u8]) {
        for piece in text.split_inclusive(|b| *b == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) if self.part.is_empty() => log.append(start, 'F', end),
                Some(end) => {
                    self.part.extend_from_slice(end);
                    log.append(start, 'F', &self.part);
                    self.part.clear();
                }
                None => self.part.extend_from_slice(piece),
            }
            if self.part.len() >= PART_BYTES_MAX {
                self.log_part(log, start, 'P');
            }
        }
    }

    fn log_part(&mut self, log: &mut LogFiles, start: &str, tag: char) {
        if !self.part.is_empty() {
            log.append(start, tag, &self.part);
            self.part.clear();
        }
    }
}
