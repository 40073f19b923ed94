//! Wakes the runner when a run changes, without polling: a shim renames files into the run's directory, and the kernel
//! closes its lock when it ends, however that happens.

use super::run_dir::{EXIT, LOCK, STATE};
use crate::error::{Doing, Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// Size of the buffer for events in bytes.
const BUFFER_BYTES: usize = 4096;

/// Changes of the watched directories.
pub struct Changes {
    inotify: OwnedFd,
}

impl Changes {
    /// No directory watched yet.
    ///
    /// # Errors
    /// Fails if this user watches too many things.
    pub fn new() -> Result<Changes> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|e| {
            Error::fault("watch the runs", format!("{e}; raise the kernel's limit fs.inotify.max_user_instances"))
        })?;
        Ok(Changes { inotify })
    }

    /// Watches the directory of a run, until it is removed.
    pub fn watch(&self, dir: &Path) -> Result<()> {
        let flags = WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::ONLYDIR;
        inotify::add_watch(&self.inotify, dir, flags).map(drop).map_err(|e| {
            Error::fault("watch a run", format!("{}: {e}; is fs.inotify.max_user_watches reached?", dir.display()))
        })
    }

    /// Waits for up to `at_most` until a run changes. False if none did.
    pub fn wait(&self, at_most: Duration) -> Result<bool> {
        const DOING: &str = "wait for a change of a run";
        let at_most = Timespec::try_from(at_most).map_err(|_| Error::fault(DOING, "this is too long"))?;
        match poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&at_most)) {
            Ok(0) | Err(Errno::INTR) => return Ok(false),
            polled => polled.map_err(io::Error::from).doing(DOING)?,
        };
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut has_changed = false;
        loop {
            match events.next() {
                Ok(event) => has_changed |= is_change(&event),
                Err(Errno::AGAIN) => return Ok(has_changed),
                Err(e) => return Err(io::Error::from(e)).doing(DOING),
            }
        }
    }
}

/// True for what a shim does to the state of its run; false for other files, the runner's own among them.
fn is_change(event: &inotify::Event) -> bool {
    let name = event.file_name().map_or(&[][..], |name| name.to_bytes());
    event.events().contains(ReadFlags::QUEUE_OVERFLOW) || [STATE, EXIT, LOCK].iter().any(|n| n.as_bytes() == name)
}
