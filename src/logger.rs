//! The program's own `log::Log`: one ASCII line a record, to stderr and to a file.
//!
//! `2026-11-23 20:12:26.900 | INFO     | api | (*) request.complete | Completed | request_id: ... | method: GET`
//!
//! Everything except printable ASCII is escaped and lines have a maximum length, so that no input can forge a line or
//! flood the log. A record's `event` field precedes its message; the current thread's request is added to records
//! without one. Lines go to one writer thread through a bounded queue: a slow disk or a stuck terminal loses lines,
//! which are counted and logged, but never blocks a request.

use crate::buckets::Buckets;
use crate::clock::{self, Timestamp};
use crate::error::{Doing, Result};
use crate::files;
use crate::thread::{lock, spawn};
use log::kv::{Key, Value, VisitSource};
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

/// Maximum bytes of a line, including its end. Longer ones are truncated and marked.
const LINE_BYTES_MAX: usize = 8 << 10;
/// Maximum bytes of a field's value: a long path must not displace the other fields.
const VALUE_BYTES_MAX: usize = 2 << 10;
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
static CONSOLE: OnceLock<SyncSender<Notice>> = OnceLock::new();

thread_local! {
    static REQUEST_ID: RefCell<String> = const { RefCell::new(String::new()) };
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
/// The file still gets everything. What does not fit into the console's queue is only in the file.
pub fn attach(console: SyncSender<Notice>) {
    // The first one stays: a program has one terminal.
    let _ = CONSOLE.set(console);
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
        if let Some(console) = CONSOLE.get().filter(|_| record.level() <= Level::Warn) {
            let _ = console.try_send(notice(record, now));
        }
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Line(line(record, now))) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

/// Formats a record as a line.
fn line(record: &Record, at: Timestamp) -> String {
    let mut fields = Fields { event: String::new(), rest: String::new(), request_id: false };
    // The visitor never fails.
    let _ = record.key_values().visit(&mut fields);
    if !fields.request_id {
        REQUEST_ID.with_borrow(|id| {
            if !id.is_empty() {
                fields.rest.insert_str(0, &field("request_id", id));
            }
        });
    }
    let mut out = String::with_capacity(256);
    begin(&mut out, record.level(), record.target(), &fields.event, at);
    escape(&record.args().to_string(), VALUE_BYTES_MAX, &mut out);
    out.push_str(&fields.rest);
    if out.len() >= LINE_BYTES_MAX {
        out.truncate(LINE_BYTES_MAX - 4);
        out.push_str("...");
    }
    out.push('\n');
    out
}

fn notice(record: &Record, at: Timestamp) -> Notice {
    let mut fields = Fields { event: String::new(), rest: String::new(), request_id: true };
    // The visitor never fails.
    let _ = record.key_values().visit(&mut fields);
    let mut text = String::new();
    escape(&record.args().to_string(), VALUE_BYTES_MAX, &mut text);
    if let Some(rest) = fields.rest.strip_prefix(" | ") {
        // No `|` remains in a value.
        let _ = write!(text, " ({})", rest.replace(" | ", ", "));
    }
    Notice { at, level: record.level(), event: fields.event, text }
}

fn begin(out: &mut String, level: Level, category: &str, event: &str, at: Timestamp) {
    let (year, month, day, hour, minute, second, micros) = at.parts();
    let (word, symbol) = match level {
        Level::Error => ("ERROR", "(x)"),
        Level::Warn => ("WARNING", "(!)"),
        Level::Info => ("INFO", "(*)"),
        Level::Debug | Level::Trace => ("DEBUG", "(?)"),
    };
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:03} | {word:<8} | ",
        micros / 1000
    );
    escape(category, 64, out);
    let _ = write!(out, " | {symbol} ");
    escape(if event.is_empty() { "log" } else { event }, 64, out);
    out.push_str(" | ");
}

struct Fields {
    event: String,
    rest: String,
    request_id: bool,
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> std::result::Result<(), log::kv::Error> {
        let text = value.to_string();
        if key.as_str() == "event" {
            self.event = text;
        } else {
            self.request_id |= key.as_str() == "request_id";
            self.rest.push_str(&field(key.as_str(), &text));
        }
        Ok(())
    }
}

fn field(name: &str, value: &str) -> String {
    let mut out = String::with_capacity(name.len() + value.len() + 5);
    out.push_str(" | ");
    out.push_str(name);
    out.push_str(": ");
    escape(value, VALUE_BYTES_MAX, &mut out);
    out
}

/// Appends text as printable ASCII of at most `bytes_max` bytes. Escapes `|` too, because it separates fields.
fn escape(text: &str, bytes_max: usize, out: &mut String) {
    let end = out.len() + bytes_max;
    for c in text.chars() {
        if out.len() >= end {
            out.push_str("...");
            return;
        }
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            '|' => out.push_str("\\x7c"),
            ' '..='~' => out.push(c),
            _ => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
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

    fn said(level: Level, target: &str, message: &str, fields: &[(&str, &str)]) -> String {
        let at = Timestamp::parse("2026-11-23T20:12:26.900008Z").expect("a moment");
        line(
            &Record::builder().level(level).target(target).args(format_args!("{message}")).key_values(&fields).build(),
            at,
        )
    }

    #[test]
    fn a_line_has_the_wires_form() {
        assert_eq!(
            said(
                Level::Info,
                "api",
                "Completed",
                &[("method", "GET"), ("event", "request.complete"), ("status_code", "200")]
            ),
            "2026-11-23 20:12:26.900 | INFO     | api | (*) request.complete | Completed | method: GET | status_code: \
                200\n"
        );
        assert!(said(Level::Warn, "x", "", &[]).contains("| WARNING  | x | (!) log | "));
        assert!(said(Level::Error, "x", "", &[]).contains("| ERROR    | x | (x) "));
        assert!(said(Level::Debug, "x", "", &[]).contains("| DEBUG    | x | (?) "));
    }

    #[test]
    fn a_notice_is_one_line_of_text() {
        let fields = [("event", "tls.expired"), ("path", "a|b\n"), ("days", "3")];
        let record =
            Record::builder().level(Level::Warn).args(format_args!("It has expired")).key_values(&fields).build();
        let said = notice(&record, Timestamp(0));
        assert_eq!((said.event.as_str(), said.level), ("tls.expired", Level::Warn));
        assert_eq!(said.text, "It has expired (path: a\\x7cb\\n, days: 3)");
        let bare = notice(&Record::builder().level(Level::Error).args(format_args!("It failed")).build(), Timestamp(0));
        assert_eq!(bare.text, "It failed");
    }

    #[test]
    fn who_asks_for_the_file_to_be_opened_again_does_not_wait_for_a_log_that_is_stuck() {
        let (queue, _stuck) = sync_channel(0);
        let logger = std::sync::Arc::new(Logger { queue, dropped: AtomicU64::new(0), reopen: AtomicBool::new(false) });
        let (tell, told) = sync_channel(1);
        let asking = std::sync::Arc::clone(&logger);
        spawn("asking", None, move || {
            asking.ask_to_reopen();
            let _ = tell.send(());
        })
        .expect("a thread");
        assert!(told.recv_timeout(Duration::from_secs(30)).is_ok(), "it waits");
        assert!(logger.reopen.load(Ordering::Relaxed), "and it is remembered");
    }

    #[test]
    fn no_input_can_forge_a_line_or_a_field() {
        let line = said(
            Level::Info,
            "api",
            "a\nb",
            &[("path", "/\r\n2026 | ERROR | \u{e9}\u{1f600}\0\x1b[31m"), ("event", "x\ny")],
        );
        assert!(line.is_ascii() && line.matches('\n').count() == 1 && line.ends_with('\n'), "{line:?}");
        assert!(
            line.contains(
                "| (*) x\\ny | a\\nb | path: /\\r\\n2026 \\x7c ERROR \\x7c \\u{e9}\\u{1f600}\\u{0}\\u{1b}[31m\n"
            ),
            "{line}"
        );
    }

    #[test]
    fn a_line_is_bounded() {
        let long = "x".repeat(100_000);
        let line =
            said(Level::Info, "api", &long, &[("a", &long), ("b", &long), ("c", &long), ("d", &long), ("e", &long)]);
        assert!(line.len() <= LINE_BYTES_MAX && line.ends_with("...\n"), "{}", line.len());
    }

    #[test]
    fn a_thread_names_its_request_until_it_is_done_with_it() {
        let context = Context::request("req-1");
        assert!(said(Level::Info, "api", "m", &[("a", "b")]).ends_with("| m | request_id: req-1 | a: b\n"));
        assert!(said(Level::Info, "api", "m", &[("request_id", "own")]).ends_with("| m | request_id: own\n"));
        drop(context);
        assert!(said(Level::Info, "api", "m", &[]).ends_with("| m\n"));
    }
}
