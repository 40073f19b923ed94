//! The program's own `log::Log`: one ASCII line a record, to stderr and to a file.
//!
//! `2026-11-23 20:12:26.900 | INFO     | api | (*) request.complete | Completed | request_id: ... | method: GET`
//!
//! Everything except printable ASCII is escaped and lines have a maximum length, so that no input can forge a line or
//! flood the log. A record's `event` field precedes its message; the current thread's request is added to records
//! without one. Lines go to one writer thread through a bounded queue: a slow disk or a stuck terminal loses lines,
//! which are counted and logged, but never blocks a request.

mod line;

use crate::buckets::Buckets;
use crate::clock::{self, Timestamp};
use crate::error::{Doing, Result};
use crate::files;
use crate::thread::{lock, spawn};
use line::{LINE_BYTES_MAX, begin, line, notice};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Lines that may wait for the writer: about a second of a busy server's output.
const QUEUE_MAX: usize = 8192;
/// Bytes written at once.
const BATCH_BYTES: usize = 64 << 10;
/// Time the writer waits for more lines after the first: a wake-up and two writes for each line would cost a busy
/// server a fifth of its requests.
const GATHER: Duration = Duration::from_millis(10);
/// Interval at which the writer checks whether the file was rotated.
const ROTATION_CHECK: Duration = Duration::from_secs(1);

static LOGGER: OnceLock<Logger> = OnceLock::new();
static CONSOLE: OnceLock<Console> = OnceLock::new();

thread_local! {
    static REQUEST_ID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A terminal that a person watches.
struct Console {
    notices: SyncSender<Notice>,
    /// Events below a warning that it shows.
    events: &'static [&'static str],
}

impl Console {
    fn note(&self, record: &log::Record, now: Timestamp) {
        if record.level() > Level::Warn && self.events.is_empty() {
            return;
        }
        let notice = notice(record, now);
        if notice.level <= Level::Warn || self.events.contains(&notice.event.as_str()) {
            let _ = self.notices.try_send(notice);
        }
    }
}

struct Logger {
    queue: SyncSender<Message>,
    dropped: AtomicU64,
    /// Set when the file must be reopened.
    reopen: AtomicBool,
}

enum Message {
    Line(String),
    /// Sets the file to write to, if any.
    File(Option<Target>),
    /// Makes the writer check whether to reopen the file.
    Reopen,
    /// Answers when all previous lines are written.
    Flush(SyncSender<()>),
}

/// Starts logging; a second call replaces the level and the file. Creates the file and its directory if necessary.
pub fn init(level: LevelFilter, file: Option<PathBuf>) -> Result<()> {
    let target = file.map(Target::open).transpose()?;
    let logger = match LOGGER.get() {
        Some(logger) => logger,
        None => start()?,
    };
    // The writer lives as long as the program.
    let _ = logger.queue.send(Message::File(target));
    log::set_max_level(level);
    Ok(())
}

/// A warning or an error for a person at a terminal, in ASCII.
pub struct Notice {
    /// When it was logged.
    pub at: Timestamp,
    /// Its level: a warning or an error.
    pub level: Level,
    /// Its `event` field.
    pub event: String,
    /// Message and fields.
    pub text: String,
}

/// Sends warnings and errors to this console from now on, and nothing to stderr: for a terminal that a person watches.
/// `events` below a warning go there, too. The file still gets everything. What does not fit into the console's queue
/// is only in the file.
pub fn attach(notices: SyncSender<Notice>, events: &'static [&'static str]) {
    // The first one stays: a program has one terminal.
    let _ = CONSOLE.set(Console { notices, events });
}

fn start() -> Result<&'static Logger> {
    static STARTING: Mutex<()> = Mutex::new(());
    let _one = lock(&STARTING);
    if LOGGER.get().is_none() {
        let (queue, lines) = sync_channel(QUEUE_MAX);
        spawn("log-writer", Some(128 << 10), move || write(&lines)).doing("start the log writer")?;
        let _ = LOGGER.set(Logger { queue, dropped: AtomicU64::new(0), reopen: AtomicBool::new(false) });
    }
    let logger = LOGGER.get().expect("it was set above");
    // If the embedding program has a logger, that receives our records.
    let _ = log::set_logger(logger);
    Ok(logger)
}

/// Reopens the log file by its name, at the latest with the next line, after a rotation has renamed it. Does not wait,
/// because the caller has other signals to handle.
pub fn reopen() {
    if let Some(logger) = LOGGER.get() {
        logger.ask_to_reopen();
    }
}

impl Logger {
    fn ask_to_reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
        // If the queue is full, the writer checks with the waiting lines.
        let _ = self.queue.try_send(Message::Reopen);
    }
}

/// Waits until all previous records are written; for the end of the program.
pub fn flush() {
    if let Some(logger) = LOGGER.get() {
        let (done, wait) = sync_channel(1);
        if logger.queue.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv();
        }
    }
}

/// The same for at most `at_most`: a stuck log does not delay the end of the program.
pub fn flush_within(at_most: Duration) {
    if let Some(logger) = LOGGER.get() {
        let (done, wait) = sync_channel(1);
        if logger.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(at_most);
        }
    }
}

/// Burst of lines per source, and its rate per second.
const QUOTA_BURST: f64 = 50.0;
const QUOTA_PER_S: f64 = 1.0;

/// Keeps lines about refused requests from filling the disk: each source has a quota, and the first line after
/// suppressed ones reports their number.
pub struct Quota(Buckets<IpAddr>);

impl Default for Quota {
    fn default() -> Quota {
        Quota(Buckets::new(QUOTA_PER_S, QUOTA_BURST))
    }
}

impl Quota {
    /// True if one more line about this source may be written.
    pub fn admits(&self, source: IpAddr) -> bool {
        let Ok(left_out) = self.0.take(source) else { return false };
        if left_out > 0 {
            log::warn!(target: "system", event = "log.left_out", address:% = source, lines = left_out;
                "Suppressed log lines about refused requests");
        }
        true
    }
}

/// Sets this thread's request id until it is dropped.
pub struct Context(());

impl Context {
    /// Sets the request id of this thread.
    pub fn request(id: &str) -> Context {
        REQUEST_ID.with_borrow_mut(|current| {
            current.clear();
            current.push_str(id);
        });
        Context(())
    }
}

/// The request id of this thread; empty for none.
pub fn request_id() -> String {
    REQUEST_ID.with_borrow(String::clone)
}

impl Drop for Context {
    fn drop(&mut self) {
        REQUEST_ID.with_borrow_mut(String::clear);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        // Libraries log under their module's path; only their warnings concern an operator.
        if !self.enabled(record.metadata()) || (record.target().contains("::") && record.level() > Level::Warn) {
            return;
        }
        let now = clock::now();
        if let Some(console) = CONSOLE.get() {
            console.note(record, now);
        }
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Line(line(record, now))) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

/// A log file that is reopened after a rotation.
struct Target {
    path: PathBuf,
    file: File,
    checked: Instant,
}

impl Target {
    fn open(path: PathBuf) -> Result<Target> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).doing("create the directory of the log file")?;
        }
        let file = append_to(&path).doing("open the log file")?;
        Ok(Target { path, file, checked: clock::tick() })
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.checked.elapsed() >= ROTATION_CHECK {
            self.checked = clock::tick();
            if !is_still_at(&self.file, &self.path) {
                self.reopen();
            }
        }
        // Stderr has the line too, and there is no other place to report this.
        let _ = self.file.write_all(bytes);
    }

    /// Keeps the open file if the name cannot be opened.
    fn reopen(&mut self) {
        if let Ok(file) = append_to(&self.path) {
            self.file = file;
        }
    }
}

fn append_to(path: &Path) -> std::io::Result<File> {
    files::open_append(path)
}

fn is_still_at(file: &File, path: &Path) -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(a), Ok(b)) if same(&a, &b))
}

/// Loop of the writer thread: writes waiting lines in batches.
fn write(messages: &Receiver<Message>) {
    let mut target: Option<Target> = None;
    let mut batch = String::with_capacity(BATCH_BYTES + LINE_BYTES_MAX);
    while let Ok(first) = messages.recv() {
        if matches!(first, Message::Line(_)) {
            std::thread::sleep(GATHER);
        }
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                Message::Line(line) => batch.push_str(&line),
                Message::File(new) => {
                    put(&mut batch, &mut target);
                    target = new;
                }
                Message::Reopen => put(&mut batch, &mut target),
                Message::Flush(done) => {
                    put(&mut batch, &mut target);
                    let _ = done.send(());
                }
            }
            if batch.len() < BATCH_BYTES {
                next = messages.try_recv().ok();
            }
        }
        put(&mut batch, &mut target);
    }
}

fn put(batch: &mut String, target: &mut Option<Target>) {
    let dropped = LOGGER.get().map_or(0, |l| l.dropped.swap(0, Ordering::Relaxed));
    if dropped > 0 {
        begin(batch, Level::Warn, "system", "log.dropped", clock::now());
        let _ = writeln!(batch, "The log could not keep up | lines: {dropped}");
    }
    if !batch.is_empty() {
        if CONSOLE.get().is_none() {
            // If stderr is closed, the file still has the lines.
            let _ = std::io::stderr().write_all(batch.as_bytes());
        }
        if let Some(target) = target {
            target.write(batch.as_bytes());
        }
        batch.clear();
    }
    let is_asked = LOGGER.get().is_some_and(|l| l.reopen.swap(false, Ordering::Relaxed));
    if let Some(target) = target.as_mut().filter(|_| is_asked) {
        target.reopen();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_the_file_to_be_opened_again_does_not_wait_for_a_log_that_is_stuck() {
        let (queue, _stuck) = sync_channel(0);
        let logger = std::sync::Arc::new(Logger { queue, dropped: AtomicU64::new(0), reopen: AtomicBool::new(false) });
        let (sender, receiver) = sync_channel(1);
        let asking = std::sync::Arc::clone(&logger);
        spawn("asking", None, move || {
            asking.ask_to_reopen();
            let _ = sender.send(());
        })
        .expect("a thread");
        assert!(receiver.recv_timeout(Duration::from_secs(30)).is_ok(), "it waits");
        assert!(logger.reopen.load(Ordering::Relaxed), "and it is remembered");
    }
}
