//! The directory of a run: `spec.json` before it starts, `state.json` while it runs, `exit.json` once it has ended, and
//! `lock`, which its shim holds as long as it lives. Orders reach the shim through the pipe `ctl`; `failure` says why
//! the program could not start.

use super::run::{Exit, RunSpec, RunState, VERSION};
use crate::clock::Timestamp;
use crate::error::{Doing, Error, Result};
use crate::files;
use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// File that the shim holds locked.
pub const LOCK: &str = "lock";
/// File that says why the program could not start.
pub const FAILURE: &str = "failure";
/// State of a run that has a program.
pub const STATE: &str = "state.json";
/// The end of a run.
pub const EXIT: &str = "exit.json";
const SPEC: &str = "spec.json";
const CTL: &str = "ctl";
/// Space that is taken for the exit before anything runs, in bytes: a disk that is full later does not lose it.
const EXIT_BYTES: usize = 2048;
/// Maximum length of a failure in bytes.
const FAILURE_BYTES_MAX: usize = 1000;

/// A run with all that its shim needs to know.
#[derive(Serialize, Deserialize)]
pub struct Prepared {
    /// The run.
    pub run: RunSpec,
    /// Control groups of the run; none where they do not work.
    pub groups: Vec<PathBuf>,
    /// Control groups of shims.
    pub shim_groups: Vec<PathBuf>,
    /// Directory of the logs.
    pub log_dir: PathBuf,
}

/// A run that has a program.
#[derive(Serialize, Deserialize)]
struct Started {
    v: u32,
    shim: u32,
    pid: u32,
    started_at: Timestamp,
}

/// An order to a shim.
#[derive(Serialize, Deserialize)]
pub struct Order {
    v: u32,
    /// Number of the signal that the program gets.
    pub signal: i32,
    /// Milliseconds until it is killed.
    pub grace_ms: u64,
}

impl Order {
    /// The order to stop.
    pub fn stop(signal: i32, grace_ms: u64) -> Order {
        Order { v: VERSION, signal, grace_ms }
    }
}

/// Files that a shim gets as its input, output and errors.
pub struct Handed {
    /// The lock, held.
    pub lock: File,
    /// The pipe for orders. Both ends are open in the shim, so it takes orders from its first moment.
    pub ctl: File,
    /// The file of failures.
    pub failure: File,
}

/// The directory of a run.
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The directory at this path; the shim's own is `.`.
    pub fn at(path: impl Into<PathBuf>) -> RunDir {
        RunDir { path: path.into() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Creates the directory with all that is there before a shim is.
    pub fn create(&self, prepared: &Prepared) -> Result<Handed> {
        files::private_dir(&self.path)?;
        let lock = files::open_lock(&self.file(LOCK)).doing("create the lock of a run")?;
        lock.try_lock().map_err(|e| Error::fault("lock a run", e.to_string()))?;
        mkfifoat(CWD, self.file(CTL), Mode::RUSR | Mode::WUSR).map_err(std::io::Error::from).doing("create a pipe")?;
        let ctl = open_pipe(&self.file(CTL), true).doing("open the pipe of a run")?;
        let failure = files::open_append(&self.file(FAILURE)).doing("create the failure file of a run")?;
        write(&self.file(SPEC), prepared)?;
        Ok(Handed { lock, ctl, failure })
    }

    /// The run as it was prepared. `None` if it cannot be read.
    pub fn prepared(&self) -> Option<Prepared> {
        read(&self.file(SPEC))
    }

    /// True while a shim holds the lock. Nothing else is believed.
    pub fn is_held(&self) -> bool {
        let lock = File::open(self.file(LOCK));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// True if a shim has started its program.
    pub fn has_begun(&self) -> bool {
        self.file(STATE).exists() || self.file(EXIT).exists()
    }

    /// The state of the run.
    pub fn state(&self) -> RunState {
        // The lock first: a shim writes the exit before it lets go.
        let is_held = self.is_held();
        if let Some(exit) = read(&self.file(EXIT)) {
            return RunState::Ended(exit);
        }
        match read::<Started>(&self.file(STATE)) {
            _ if !is_held => RunState::Lost,
            Some(Started { pid, started_at, .. }) => RunState::Running { pid, started_at },
            None => RunState::Starting,
        }
    }

    /// Writes that the program runs.
    pub fn write_started(&self, pid: u32, started_at: Timestamp) -> Result<()> {
        write(&self.file(STATE), &Started { v: VERSION, shim: std::process::id(), pid, started_at })
    }

    /// Takes the space for the exit.
    pub fn reserve_exit(&self) -> Result<()> {
        fs::write(files::beside(&self.file(EXIT)), [b' '; EXIT_BYTES]).doing("take the space for the exit of a run")
    }

    /// Writes the exit into the space that was taken, durably.
    pub fn write_exit(&self, exit: &Exit) -> Result<()> {
        const DOING: &str = "write the exit of a run";
        let new = files::beside(&self.file(EXIT));
        let text = serde_json::to_vec(exit).doing(DOING)?;
        // What is left of the space stays blank.
        let file = File::options().write(true).create(true).truncate(false).open(&new).doing(DOING)?;
        file.write_all_at(&text, 0).and_then(|()| file.sync_data()).doing(DOING)?;
        fs::rename(new, self.file(EXIT)).doing(DOING)
    }

    /// Reason why the program could not start, if it could not.
    pub fn failure(&self) -> Option<String> {
        let bytes = fs::read(self.file(FAILURE)).ok()?;
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(FAILURE_BYTES_MAX)]).trim().to_string();
        (!text.is_empty()).then_some(text)
    }

    /// Gives an order to the shim. False if there is none.
    ///
    /// # Errors
    /// Fails if the shim takes no orders.
    pub fn order(&self, order: &Order) -> Result<bool> {
        const DOING: &str = "give an order to a run";
        let mut ctl = match open_pipe(&self.file(CTL), false) {
            // Without a reader it cannot be opened.
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => return Ok(false),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            opened => opened.doing(DOING)?,
        };
        let mut line = serde_json::to_vec(order).doing(DOING)?;
        line.push(b'\n');
        // It is short enough for a pipe to take it as a whole.
        match ctl.write(&line) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
            written => written.doing(DOING).map(|_| true),
        }
    }
}

fn open_pipe(path: &Path, both_ends: bool) -> std::io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32;
    File::options().read(both_ends).write(true).custom_flags(flags).open(path)
}

/// Writes a file as a whole. These files end with the machine, so a power cut need not spare them.
fn write(path: &Path, content: &impl Serialize) -> Result<()> {
    const DOING: &str = "write a file of a run";
    let new = files::beside(path);
    fs::write(&new, serde_json::to_vec(content).doing(DOING)?).and_then(|()| fs::rename(new, path)).doing(DOING)
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
