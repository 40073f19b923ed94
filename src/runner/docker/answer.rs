//! An answer of the daemon: its head, and its body as it comes.

use super::{Called, Failure, Timed};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::net::UnixStream;

/// Largest head of an answer in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Most headers of an answer.
const HEADERS_MAX: usize = 64;
/// Largest JSON of an answer in bytes: the list of all containers, each with its spec.
const JSON_BYTES_MAX: u64 = 64 << 20;
/// Longest line of a stream of JSON in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Longest line with the size of a chunk in bytes.
const SIZE_BYTES_MAX: u64 = 256;

/// An answer, whose body is read as it comes.
pub struct Answer {
    status: u16,
    from: BufReader<Timed>,
    body: Body,
}

enum Body {
    /// A number of bytes.
    Length(u64),
    /// Chunks; `left` are the bytes of the current one.
    Chunks { left: u64, is_over: bool },
    /// All until the connection ends.
    Rest,
}

impl Answer {
    /// Reads the head of an answer.
    pub(super) fn read(stream: Timed) -> io::Result<Answer> {
        let mut from = BufReader::new(stream);
        loop {
            let (status, body) = head(&mut from)?;
            // An interim answer is followed by another one.
            if !(100..200).contains(&status) || status == 101 {
                return Ok(Answer { status, from, body });
            }
        }
    }

    /// Its status.
    pub fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn stream(&mut self) -> &mut Timed {
        self.from.get_mut()
    }

    /// Another handle of the connection, by which it can be ended from another thread.
    pub fn handle(&self) -> Called<UnixStream> {
        self.from.get_ref().stream.try_clone().map_err(Failure::Unreachable)
    }

    /// The JSON of the answer; `null` for an empty one.
    pub fn json(&mut self) -> Called<Value> {
        let text = self.text(JSON_BYTES_MAX)?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&text).map_err(|e| Failure::Unreadable(format!("its JSON: {e}")))
    }

    /// The next line of a stream of JSON; `None` at its end.
    pub fn line(&mut self) -> Called<Option<Value>> {
        loop {
            let mut line = Vec::new();
            loop {
                let mut byte = [0];
                let is_end = self.read(&mut byte).map_err(Failure::of)? == 0;
                if is_end && line.is_empty() {
                    return Ok(None);
                }
                if is_end || byte == *b"\n" {
                    break;
                }
                line.push(byte[0]);
                if line.len() as u64 > LINE_BYTES_MAX {
                    return Err(Failure::Unreadable("a line is too long".to_string()));
                }
            }
            if !line.trim_ascii().is_empty() {
                let value = serde_json::from_slice(&line);
                return value.map(Some).map_err(|e| Failure::Unreadable(format!("a line of it: {e}")));
            }
        }
    }

    /// The refusal that the answer is.
    pub(super) fn refusal(mut self) -> Failure {
        let text = match self.text(LINE_BYTES_MAX) {
            Ok(text) => text,
            Err(failure) => return failure,
        };
        let said = serde_json::from_slice::<Value>(&text).ok();
        let said = said.and_then(|value| Some(value["message"].as_str()?.to_string()));
        let message = said.unwrap_or_else(|| String::from_utf8_lossy(&text).trim().to_string());
        Failure::Refused { status: self.status, message }
    }

    fn text(&mut self, bytes_max: u64) -> Called<Vec<u8>> {
        let mut text = Vec::new();
        (&mut *self).take(bytes_max + 1).read_to_end(&mut text).map_err(Failure::of)?;
        match text.len() as u64 > bytes_max {
            true => Err(Failure::Unreadable(format!("it has more than {bytes_max} bytes"))),
            false => Ok(text),
        }
    }

    /// Bytes of the next chunk; 0 behind the last one.
    fn next_chunk(&mut self) -> io::Result<u64> {
        let mut line = Vec::new();
        (&mut self.from).take(SIZE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") && (line.len() as u64) < SIZE_BYTES_MAX {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let size = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
        size.ok_or_else(|| unreadable("the size of a chunk"))
    }
}

impl Read for Answer {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Body::Chunks { left: 0, is_over: false } = self.body {
            let left = self.next_chunk()?;
            self.body = Body::Chunks { left, is_over: left == 0 };
        }
        let left = match &mut self.body {
            Body::Rest => return self.from.read(into),
            Body::Length(left) | Body::Chunks { left, .. } => left,
        };
        let most = into.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let read = self.from.read(&mut into[..most])?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        *left -= read as u64;
        if let Body::Chunks { left: 0, .. } = self.body {
            let mut end = [0; 2];
            self.from.read_exact(&mut end)?;
            if end != *b"\r\n" {
                return Err(unreadable("the end of a chunk"));
            }
        }
        Ok(read)
    }
}

/// Reads the head of an answer: its status, and the form of its body.
fn head(from: &mut BufReader<Timed>) -> io::Result<(u16, Body)> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let before = bytes.len();
        from.take((HEAD_BYTES_MAX - before) as u64).read_until(b'\n', &mut bytes)?;
        match bytes.len() {
            HEAD_BYTES_MAX.. => return Err(unreadable("a head that is too long")),
            len if len == before => return Err(ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    answer.parse(&bytes).map_err(|e| unreadable(&format!("its head: {e}")))?;
    let status = answer.code.unwrap_or_default();
    let header = |name: &str| answer.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    let text = |name| header(name).map(|value| String::from_utf8_lossy(value).trim().to_ascii_lowercase());
    let is_chunked = text("transfer-encoding").is_some_and(|value| value.contains("chunked"));
    let body = match (status, text("content-length")) {
        (204 | 304, _) => Body::Length(0),
        (101, _) => Body::Rest,
        _ if is_chunked => Body::Chunks { left: 0, is_over: false },
        (_, Some(length)) => Body::Length(length.parse().map_err(|_| unreadable("its length"))?),
        (_, None) => Body::Rest,
    };
    Ok((status, body))
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_string())
}
