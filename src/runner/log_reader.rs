//! Reads the logs of replicas while their keepers write them: across rotations and across the runs of a replica,
//! interleaved by time, with bounded memory.

use crate::clock::Timestamp;
use crate::error::{Doing, Result};
use crate::files;
use crate::model::ids::ReplicaId;
use crate::model::relay::{LogLine, LogPart};
use std::fs::{self, File, Metadata};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Longest line that is given; the rest of a longer one is left out. A post has room for it.
const LINE_BYTES_MAX: u64 = 60 << 10;
/// Memory of a log that is read forwards, and step of the search for the last lines.
const CHUNK_BYTES: usize = 16 << 10;
/// Tries to find the last lines while files are renamed.
const TRIES: usize = 5;
const DOING: &str = "read the log of a replica";

/// A reader of the logs of some replicas.
pub struct LogReader {
    logs: Vec<ReplicaLog>,
}

/// The log of a replica, and the position in it.
struct ReplicaLog {
    dir: PathBuf,
    replica: usize,
    since: Option<Timestamp>,
    open: Option<OpenLog>,
    next: Option<LogLine>,
}

/// A log file that is read.
struct OpenLog {
    run: PathBuf,
    run_at: SystemTime,
    id: FileId,
    file: BufReader<File>,
    /// A line whose end is not written yet.
    part: Vec<u8>,
    /// True while the rest of a too long line is left out.
    is_skipping: bool,
}

/// Device and number of a file: it keeps them when it is renamed, and while it is open no other file gets them.
type FileId = (u64, u64);

fn id_of(meta: &Metadata) -> FileId {
    (meta.dev(), meta.ino())
}

impl LogReader {
    /// Opens the logs of these replicas at the beginning of the part. A replica without a log has no lines yet.
    ///
    /// # Errors
    /// Fails if a log cannot be read.
    pub fn open(logs_dir: &Path, replicas: &[ReplicaId], part: LogPart) -> Result<LogReader> {
        let open = |(replica, id): (usize, &ReplicaId)| {
            let dir = logs_dir.join(id.as_str());
            let open = start(&dir, part.tail)?;
            Ok(ReplicaLog { dir, replica, since: part.since, open, next: None })
        };
        Ok(LogReader { logs: replicas.iter().enumerate().map(open).collect::<Result<_>>()? })
    }

    /// Appends the next lines to a post of at most `bytes_max` bytes, the oldest first. Returns true if no line is left
    /// at the moment.
    ///
    /// # Errors
    /// Fails if a log cannot be read.
    pub fn fill(&mut self, post: &mut String, bytes_max: usize) -> Result<bool> {
        for log in &mut self.logs {
            log.advance()?;
        }
        loop {
            let oldest = self.logs.iter_mut().filter(|log| log.next.is_some());
            let Some(log) = oldest.min_by_key(|log| log.next.as_ref().map(|line| line.at)) else { return Ok(true) };
            let before = post.len();
            if let Some(line) = &log.next {
                line.write(post);
            }
            if post.len() > bytes_max && before > 0 {
                post.truncate(before);
                return Ok(false);
            }
            log.next = None;
            log.advance()?;
        }
    }
}

impl ReplicaLog {
    /// Reads the next line, if there is one.
    fn advance(&mut self) -> Result<()> {
        while self.next.is_none() {
            let Some(open) = &mut self.open else {
                self.open = runs(&self.dir)?.first().map(|(_, run)| oldest_of(run)).transpose()?.flatten();
                if self.open.is_none() {
                    return Ok(());
                }
                continue;
            };
            if let Some(line) = open.read_line()? {
                self.keep(&line);
                continue;
            }
            let Some(next) = successor(&self.dir, open)? else { return Ok(()) };
            // What was written to the file before its successor began.
            match open.read_line()? {
                Some(line) => self.keep(&line),
                None => self.open = Some(next),
            }
        }
        Ok(())
    }

    /// Keeps a line as the next one, unless it is damaged or too old.
    fn keep(&mut self, line: &[u8]) {
        let line = LogLine::parse_kept(self.replica, &String::from_utf8_lossy(line));
        self.next = line.filter(|line| self.since.is_none_or(|since| line.at >= since));
    }
}

impl OpenLog {
    /// Opens a file; `None` if it is not there any more.
    fn open(run: &Path, run_at: SystemTime, path: &Path) -> Result<Option<OpenLog>> {
        let file = match files::open_regular(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.doing(DOING)?,
        };
        let id = id_of(&file.metadata().doing(DOING)?);
        let file = BufReader::with_capacity(CHUNK_BYTES, file);
        Ok(Some(OpenLog { run: run.to_path_buf(), run_at, id, file, part: Vec::new(), is_skipping: false }))
    }

    /// The next whole line, without its end.
    fn read_line(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            let room = LINE_BYTES_MAX - self.part.len() as u64;
            let count = (&mut self.file).take(room).read_until(b'\n', &mut self.part).doing(DOING)?;
            if self.part.last() == Some(&b'\n') {
                self.part.pop();
                let line = std::mem::take(&mut self.part);
                if std::mem::take(&mut self.is_skipping) {
                    continue;
                }
                return Ok(Some(line));
            }
            if self.part.len() as u64 == LINE_BYTES_MAX {
                let line = std::mem::take(&mut self.part);
                if !std::mem::replace(&mut self.is_skipping, true) {
                    return Ok(Some(line));
                }
            } else if count == 0 {
                return Ok(None);
            }
        }
    }
}

/// The runs of a replica with the times at which they wrote last, the oldest first: they follow each other.
fn runs(dir: &Path) -> Result<Vec<(SystemTime, PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.doing(DOING)?,
    };
    let mut runs = Vec::new();
    for entry in entries {
        let run = entry.doing(DOING)?.path();
        let written_at = files_of(&run)?.first().and_then(|(_, meta)| meta.modified().ok());
        runs.extend(written_at.map(|at| (at, run)));
    }
    runs.sort();
    Ok(runs)
}

/// The files of a run, the newest first. They are looked at in this order because a rotation renames in it: a file may
/// be found twice, and is not missed.
fn files_of(run: &Path) -> Result<Vec<(PathBuf, Metadata)>> {
    let mut found = Vec::new();
    for number in 0.. {
        let path = run.join(format!("log.{number}"));
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => found.push((path, meta)),
            Ok(_) => {}
            // One name is free while its file is renamed.
            Err(e) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&e.kind()) => {
                if number > found.len() {
                    break;
                }
            }
            Err(e) => return Err(e).doing(DOING),
        }
    }
    Ok(found)
}

/// The oldest file of a run.
fn oldest_of(run: &Path) -> Result<Option<OpenLog>> {
    let files = files_of(run)?;
    let Some(((_, newest), (path, _))) = files.first().zip(files.last()) else { return Ok(None) };
    OpenLog::open(run, newest.modified().doing(DOING)?, path)
}

/// The file that follows one in the log of a replica, once that is complete.
fn successor(dir: &Path, open: &mut OpenLog) -> Result<Option<OpenLog>> {
    let files = files_of(&open.run)?;
    if let Some((_, newest)) = files.first() {
        open.run_at = newest.modified().doing(DOING)?;
    }
    let next = match files.iter().position(|(_, meta)| id_of(meta) == open.id) {
        Some(0) => None,
        Some(place) => files.get(place - 1),
        // It was removed: what is still there comes after it.
        None => files.last(),
    };
    if let Some((path, meta)) = next {
        // If it has been renamed meanwhile, the next look finds it.
        return Ok(OpenLog::open(&open.run, open.run_at, path)?.filter(|found| found.id == id_of(meta)));
    }
    let later = runs(dir)?.into_iter().find(|(at, run)| *run != open.run && *at >= open.run_at);
    later.map_or(Ok(None), |(_, run)| oldest_of(&run))
}

/// Opens the log of a replica at its last `tail` lines, or at its beginning.
fn start(dir: &Path, tail: Option<u64>) -> Result<Option<OpenLog>> {
    let Some(tail) = tail else {
        return runs(dir)?.first().map_or(Ok(None), |(_, run)| oldest_of(run));
    };
    for _ in 0..TRIES {
        if let Some(found) = start_of_last(dir, tail)? {
            return Ok(found);
        }
    }
    Ok(None)
}

/// One try: `None` if files were renamed meanwhile.
fn start_of_last(dir: &Path, tail: u64) -> Result<Option<Option<OpenLog>>> {
    let mut left = tail;
    let mut start = None;
    for (run_at, run) in runs(dir)?.iter().rev() {
        for (path, meta) in files_of(run)? {
            let Some(mut open) = OpenLog::open(run, *run_at, &path)?.filter(|open| open.id == id_of(&meta)) else {
                return Ok(None);
            };
            let (offset, lines) = last_lines(open.file.get_ref(), left)?;
            open.file.seek(SeekFrom::Start(offset)).doing(DOING)?;
            let is_enough = offset > 0 || lines >= left;
            left -= lines;
            start = Some(open);
            if is_enough {
                return Ok(Some(start));
            }
        }
    }
    Ok(Some(start))
}

/// Offset at which the last `tail` lines of a file begin, and their number: fewer if it has no more.
fn last_lines(file: &File, tail: u64) -> Result<(u64, u64)> {
    let mut end = file.metadata().doing(DOING)?.len();
    let mut buffer = [0; CHUNK_BYTES];
    let mut ends = 0;
    while end > 0 {
        let from = end.saturating_sub(CHUNK_BYTES as u64);
        let chunk = &mut buffer[..(end - from) as usize];
        file.read_exact_at(chunk, from).doing(DOING)?;
        for (place, _) in chunk.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            if ends == tail {
                return Ok((from + place as u64 + 1, tail));
            }
            ends += 1;
        }
        end = from;
    }
    Ok((0, ends))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto;
    use std::io::Write;
    use std::time::Duration;

    /// Logs of one replica, written as a keeper does.
    struct Logs {
        dir: PathBuf,
        runs: u64,
        written: u64,
    }

    impl Logs {
        fn new() -> Logs {
            let dir = std::env::temp_dir().join(format!("uptimemesh-logs-{}", crypto::random_hex(4)));
            Logs { dir, runs: 0, written: 0 }
        }

        fn run(&self) -> PathBuf {
            // Names say nothing about the order.
            self.dir.join("s-1").join(format!("{:012x}", u64::MAX / (self.runs + 2)))
        }

        fn begin_run(&mut self) {
            self.runs += 1;
            fs::create_dir_all(self.run()).expect("a directory");
        }

        fn write(&mut self, count: u64) {
            let mut file = File::options().create(true).append(true).open(self.run().join("log.0")).expect("a file");
            for _ in 0..count {
                self.written += 1;
                writeln!(file, "{} o F line {}", at(self.written), self.written).expect("written");
            }
            // File systems have a coarse clock; runs are minutes apart.
            let times = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + self.written);
            file.set_modified(times).expect("a time");
        }

        fn rotate(&self, files: u32) {
            let name = |n: u32| self.run().join(format!("log.{n}"));
            let _ = fs::remove_file(name(files - 1));
            for n in (0..files - 1).rev() {
                let _ = fs::rename(name(n), name(n + 1));
            }
        }

        fn reader(&self, part: LogPart) -> LogReader {
            LogReader::open(&self.dir, &["s-1".into()], part).expect("opened")
        }
    }

    impl Drop for Logs {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }

    fn at(second: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + second as i64)
    }

    /// Numbers of the lines that can be read now.
    fn numbers(reader: &mut LogReader) -> Vec<u64> {
        let mut all = Vec::new();
        loop {
            let mut post = String::new();
            let is_current = reader.fill(&mut post, 200).expect("read");
            assert!(post.len() <= 200);
            all.extend(post.lines().map(|line| -> u64 { line.rsplit(' ').next().unwrap_or("").parse().expect(line) }));
            if is_current {
                return all;
            }
        }
    }

    fn range(range: std::ops::RangeInclusive<u64>) -> Vec<u64> {
        range.collect()
    }

    #[test]
    fn a_part_is_the_last_lines_or_those_since_a_time_across_files_and_runs() {
        let mut logs = Logs::new();
        assert_eq!(numbers(&mut logs.reader(LogPart::default())), [0_u64; 0], "no log yet");
        for _ in 0..3 {
            logs.begin_run();
            for _ in 0..4 {
                logs.write(1000);
                logs.rotate(5);
            }
            logs.write(1000);
        }
        let read = |part| numbers(&mut logs.reader(part));
        assert_eq!(read(LogPart::default()), range(1..=15_000));
        for tail in [0, 1, 999, 1000, 1001, 4321, 5000, 9999, 15_000, 20_000] {
            let expected = range(15_001_u64.saturating_sub(tail).max(1)..=15_000);
            assert_eq!(read(LogPart { tail: Some(tail), ..LogPart::default() }), expected, "{tail}");
        }
        let since = Some(at(7500));
        assert_eq!(read(LogPart { since, ..LogPart::default() }), range(7500..=15_000));
        assert_eq!(read(LogPart { since, tail: Some(10), ..LogPart::default() }), range(14_991..=15_000));
    }

    #[test]
    fn a_reader_follows_rotations_and_runs_without_a_gap() {
        let mut logs = Logs::new();
        let mut reader = logs.reader(LogPart { tail: Some(2), ..LogPart::default() });
        let mut expected = 0;
        let mut expect = |logs: &Logs, reader: &mut LogReader| {
            assert_eq!(numbers(reader), range(expected + 1..=logs.written));
            expected = logs.written;
        };
        logs.begin_run();
        logs.write(3);
        expect(&logs, &mut reader);
        for step in 0..20 {
            logs.write(2);
            logs.rotate(3);
            if step % 3 == 0 {
                logs.write(1);
                logs.rotate(3);
            }
            if step % 5 == 0 {
                logs.begin_run();
            }
            logs.write(1);
            if step % 2 == 0 {
                expect(&logs, &mut reader);
            }
        }
        expect(&logs, &mut reader);
        // More than is kept, while the reader looks away: it goes on with what is there.
        for _ in 0..4 {
            logs.rotate(3);
            logs.write(10);
        }
        assert_eq!(numbers(&mut reader), range(logs.written - 29..=logs.written));
    }

    #[test]
    fn lines_without_an_end_wait_and_long_or_damaged_ones_harm_no_other() {
        let mut logs = Logs::new();
        logs.begin_run();
        let mut reader = logs.reader(LogPart::default());
        let path = logs.run().join("log.0");
        let append = |bytes: &[u8]| {
            let mut file = File::options().create(true).append(true).open(&path).expect("a file");
            file.write_all(bytes).expect("written");
        };
        let mut read = || {
            let mut post = String::new();
            while !reader.fill(&mut post, usize::MAX).expect("read") {}
            post
        };
        let time = at(1).to_string();
        append(format!("{time} o F ha").as_bytes());
        assert_eq!(read(), "");
        append(b"lf \xff\x1b\n");
        assert_eq!(read(), format!("0 {time} o F half \u{fffd}\u{1b}\n"));
        append(b"damaged\n");
        append(format!("{time} e F {}\n{time} e P next\n", "x".repeat(200_000)).as_bytes());
        let post = read();
        let (long, next) = post.split_once('\n').expect("two lines");
        assert_eq!((long.len() as u64, next), (LINE_BYTES_MAX + 2, format!("0 {time} e P next\n").as_str()));
    }

    #[test]
    fn replicas_are_interleaved_by_time() {
        let logs = Logs::new();
        for (replica, seconds) in [("a", [1, 4, 6]), ("b", [2, 3, 5])] {
            let run = logs.dir.join(replica).join("0");
            fs::create_dir_all(&run).expect("a directory");
            let lines: String = seconds.iter().map(|s| format!("{} o F line {s}\n", at(*s))).collect();
            fs::write(run.join("log.0"), lines).expect("written");
        }
        let replicas = ["a".into(), "none".into(), "b".into()];
        let mut reader = LogReader::open(&logs.dir, &replicas, LogPart::default()).expect("opened");
        assert_eq!(numbers(&mut reader), range(1..=6));
    }
}
