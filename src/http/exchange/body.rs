//! Reads a body, whole or in chunks, within its share of memory.

use super::{Conn, Trouble};
use crate::http::head::{Framing, Head, Refusal};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Maximum length of a chunk's size line; extensions are ignored.
const CHUNK_LINE_BYTES_MAX: usize = 64;

/// Maximum hexadecimal digits of a chunk's size: beyond any body limit, below any overflow.
const CHUNK_SIZE_DIGITS_MAX: usize = 7;

/// Trailer fields after the last chunk, which are dropped.
const TRAILERS_MAX: usize = 16;

/// Maximum size of a trailer field.
const TRAILER_BYTES_MAX: usize = 1 << 10;

impl Conn {
    /// Reads the body announced by the head.
    pub(super) fn body(&mut self, head: &Head, bytes_max: usize, share: &mut Share) -> Result<Vec<u8>, Trouble> {
        let empty = head.framing == Framing::Length(0);
        if head.expects_continue && !empty && self.unread().is_empty() {
            self.transport.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").map_err(|_| Trouble::Gone)?;
        }
        let mut body = Vec::new();
        match head.framing {
            Framing::Length(length) => self.take(length, &mut body, share)?,
            Framing::Chunked => self.chunks(&mut body, bytes_max, share)?,
        }
        Ok(body)
    }

    fn chunks(&mut self, body: &mut Vec<u8>, bytes_max: usize, share: &mut Share) -> Result<(), Trouble> {
        loop {
            let line = self.line(CHUNK_LINE_BYTES_MAX)?;
            let digits = line.split(|&b| b == b';').next().unwrap_or_default();
            let hex = (1..=CHUNK_SIZE_DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
            let size = std::str::from_utf8(digits).ok().filter(|_| hex).and_then(|d| usize::from_str_radix(d, 16).ok());
            let size = size.ok_or(Refusal::bad("Malformed chunk"))?;
            if size == 0 {
                break;
            }
            if size > bytes_max - body.len() {
                return Err(Refusal::BODY_TOO_LARGE.into());
            }
            self.take(size, body, share)?;
            if !self.line(0)?.is_empty() {
                return Err(Refusal::bad("Malformed chunk").into());
            }
        }
        for _ in 0..=TRAILERS_MAX {
            if self.line(TRAILER_BYTES_MAX)?.is_empty() {
                return Ok(());
            }
        }
        Err(Refusal::HEAD_TOO_LARGE.into())
    }

    /// Moves `count` bytes of the connection to the end of `body`. Memory grows with received bytes, not with the
    /// announced length.
    fn take(&mut self, mut count: usize, body: &mut Vec<u8>, share: &mut Share) -> Result<(), Trouble> {
        while count > 0 {
            if self.unread().is_empty() {
                self.need()?;
            }
            let here = count.min(self.unread().len());
            share.grow(here)?;
            body.extend_from_slice(&self.unread()[..here]);
            self.start += here;
            count -= here;
        }
        Ok(())
    }

    /// Reads a line of at most `bytes_max` bytes, without its end.
    fn line(&mut self, bytes_max: usize) -> Result<Vec<u8>, Trouble> {
        loop {
            let unread = self.unread();
            let window = &unread[..unread.len().min(bytes_max + 2)];
            if let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") {
                let line = window[..end].to_vec();
                self.start += end + 2;
                return Ok(line);
            }
            if window.len() == bytes_max + 2 {
                return Err(Refusal::bad("Malformed chunk").into());
            }
            self.need()?;
        }
    }
}

/// A connection's share of the memory for bodies; released when dropped.
pub(super) struct Share<'a> {
    /// Bytes that are still free.
    pub(super) free: usize,
    pub(super) taken: usize,
    pub(super) max: usize,
    pub(super) all: &'a AtomicUsize,
}

impl Share<'_> {
    fn grow(&mut self, bytes: usize) -> Result<(), Trouble> {
        let free = bytes.min(self.free);
        self.free -= free;
        let bytes = bytes - free;
        if bytes == 0 {
            return Ok(());
        }
        let fits = |all: usize| all.checked_add(bytes).filter(|&sum| sum <= self.max);
        match self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => {
                self.taken += bytes;
                Ok(())
            }
            Err(_) => Err(Refusal { status: 503, detail: "Too many request bodies at once" }.into()),
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.taken, Ordering::Relaxed);
    }
}
