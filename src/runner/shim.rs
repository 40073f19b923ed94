//! The shim of a run, `uptimemesh run-shim DIR`: starts the program, takes its output into bounded files, knows how it
//! ended, and ends all that it started. It knows no policy: starting again is the runner's. It outlives the runner and
//! is as old as its run, so it must never need an update.
//!
//! Its input is the run's lock, taken before it was there: it is held until the shim ends, however that happens. Its
//! output is the pipe for orders, its errors go to the file of failures.

use super::log_files::{LogFiles, Output};
use super::run::{Asked, Exit};
use super::run_dir::{LOCK, Order, Prepared, RunDir};
use super::{cgroup, stage, tree};
use crate::clock::{self, Timestamp};
use crate::error::{Chain, Doing, Error, Result};
use crate::sys::run::{self, Piped};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, set_child_subreaper, setsid, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::pipe;
use std::fs::{self, File};
use std::io::{PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{ChildStderr, ChildStdout, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Its name on the command line.
pub const MODE: &str = "run-shim";
/// Time after the program's end for what it left behind to end, and for the rest of its output.
const REST: Duration = Duration::from_secs(2);
/// Interval at which what does not end is killed again.
const AGAIN: Duration = Duration::from_millis(20);
/// Longest wait of a shim that waits for news only.
const IDLE: Duration = Duration::from_secs(3600);
/// Size of the buffer for output and orders in bytes.
const BUFFER_BYTES: usize = 16 << 10;

/// Keeps the run in this directory to its end.
pub fn run(dir: &Path) -> ExitCode {
    match keep(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{}", Chain(&why));
            ExitCode::FAILURE
        }
    }
}

fn keep(dir: &Path) -> Result<()> {
    std::env::set_current_dir(dir).doing("enter the directory of a run")?;
    let (dir, orders) = (RunDir::at("."), take_over()?);
    let started_at = clock::now();
    let begun = begin(&dir).and_then(|(prepared, main)| {
        // From here on there is something to end.
        let mut shim = Shim::new(prepared, main, orders)?;
        let written = dir.write_started(shim.main.as_raw_pid() as u32, started_at);
        if written.is_err() {
            shim.kill();
        }
        shim.watch_over();
        Ok((shim, written))
    });
    dir.write_exit(&match begun {
        Ok((shim, written)) => {
            shim.exit(started_at, written.err().map_or_else(|| dir.failure(), |why| Some(text(why))))
        }
        Err(why) => no_start(started_at, text(why)),
    })
}

fn text(why: Error) -> String {
    Chain(&why).to_string()
}

/// The exit of a run whose program was never there.
fn no_start(started_at: Timestamp, why: String) -> Exit {
    Exit {
        code: None,
        signal: None,
        oom: false,
        asked: None,
        started_at,
        ended_at: clock::now(),
        lines_lost: 0,
        failure: Some(format!("cannot start: {why}")),
    }
}

/// Checks that this run was handed over to us, and returns the pipe for orders.
fn take_over() -> Result<File> {
    const DOING: &str = "take over a run";
    let given = File::from(std::io::stdin().as_fd().try_clone_to_owned().doing(DOING)?);
    let (has, named) = (given.metadata().doing(DOING)?, fs::metadata(LOCK).doing(DOING)?);
    if (has.ino(), has.dev()) != (named.ino(), named.dev()) || given.try_lock().is_err() {
        return Err(Error::fault(DOING, "the standard input is not the lock of this run"));
    }
    Ok(File::from(std::io::stdout().as_fd().try_clone_to_owned().doing(DOING)?))
}

/// Prepares this process, and starts the stage that becomes the program.
fn begin(dir: &RunDir) -> Result<(Prepared, Piped)> {
    const DOING: &str = "prepare a run";
    dir.reserve_exit()?;
    let prepared = dir.prepared().ok_or_else(|| Error::fault(DOING, "its files cannot be read"))?;
    // Fails for the leader of a group only, which is not part of the starter's terminal anyway.
    let _ = setsid();
    // A machine that goes down sends SIGTERM to all processes: a shim ends with its run, and not before.
    let ignored = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
        signal_hook::flag::register(signal, Arc::clone(&ignored)).doing(DOING)?;
    }
    set_child_subreaper(Some(getpid())).map_err(std::io::Error::from).doing(DOING)?;
    // Where the kernel refuses, the shim lives as long as the runner's unit lets it.
    prepared.shim_groups.iter().for_each(|group| drop(cgroup::join(std::slice::from_ref(group))));
    let main = run::start_piped(Path::new("/proc/self/exe"), &[stage::MODE, "."]).doing("start a process")?;
    Ok((prepared, main))
}

/// A run that has a program.
struct Shim {
    prepared: Prepared,
    main: Pid,
    log: LogFiles,
    stdout: Output<ChildStdout>,
    stderr: Output<ChildStderr>,
    /// The pipe for orders, and the part of an order that has come.
    orders: File,
    order: Vec<u8>,
    /// Has data whenever a process of ours has ended.
    ended: PipeReader,
    asked: Option<Asked>,
    kill_at: Option<Instant>,
    /// Status and time of the program's end.
    end: Option<(WaitStatus, Timestamp)>,
}

impl Shim {
    fn new(prepared: Prepared, main: Piped, orders: File) -> Result<Shim> {
        const DOING: &str = "watch over a process";
        let (ended, wake) = std::io::pipe().doing(DOING)?;
        pipe::register(SIGCHLD, wake).doing(DOING)?;
        let pid = i32::try_from(main.pid).ok().and_then(Pid::from_raw);
        Ok(Shim {
            main: pid.ok_or_else(|| Error::fault(DOING, "it has no number"))?,
            log: LogFiles::new(prepared.log_dir.clone(), prepared.run.logs.clone()),
            stdout: Output::new(main.stdout, 'o'),
            stderr: Output::new(main.stderr, 'e'),
            prepared,
            orders,
            order: Vec::new(),
            ended,
            asked: None,
            kill_at: None,
            end: None,
        })
    }

    /// Serves outputs and orders until the program and all that it started have ended.
    fn watch_over(&mut self) {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut give_up_at = None;
        loop {
            let has_children = self.reap();
            let now = clock::tick();
            if self.end.is_some() {
                let give_up_at = *give_up_at.get_or_insert_with(|| {
                    // The first process is the run: what it left behind goes with it.
                    cgroup::kill(&self.prepared.groups);
                    now + REST
                });
                let is_over = !has_children && self.stdout.pipe.is_none() && self.stderr.pipe.is_none();
                if is_over || now >= give_up_at {
                    return;
                }
            }
            let is_late = self.kill_at.is_some_and(|at| at <= now);
            if is_late && self.end.is_none() {
                self.asked = Some(Asked::Kill);
            }
            if has_children && (is_late || self.end.is_some()) {
                self.kill();
            }
            let wait = match self.kill_at {
                _ if is_late || self.end.is_some() => AGAIN,
                Some(at) => at.saturating_duration_since(now),
                None => IDLE,
            };
            self.serve(wait, &mut buffer);
        }
    }

    fn kill(&self) {
        tree::kill_descendants(&self.prepared.groups);
    }

    /// Takes note of every process of ours that has ended. True while any is left.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.main => self.end = Some((status, clock::now())),
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Waits for news, and deals with them.
    fn serve(&mut self, at_most: Duration, buffer: &mut [u8]) {
        let at_most = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: at_most.subsec_nanos().into() };
        let is_ready = {
            // A pipe that has ended would be ready for ever.
            let closed = PollFlags::empty();
            let mut fds = [
                PollFd::new(&self.ended, PollFlags::IN),
                PollFd::new(&self.orders, PollFlags::IN),
                self.stdout.pipe.as_ref().map_or(PollFd::new(&self.ended, closed), |p| PollFd::new(p, PollFlags::IN)),
                self.stderr.pipe.as_ref().map_or(PollFd::new(&self.ended, closed), |p| PollFd::new(p, PollFlags::IN)),
            ];
            // A signal interrupts it.
            let _ = poll(&mut fds, Some(&at_most));
            fds.map(|fd| !fd.revents().is_empty())
        };
        let [has_ended, has_orders, has_stdout, has_stderr] = is_ready;
        if has_ended {
            let _ = self.ended.read(buffer);
        }
        if has_stdout {
            self.stdout.read(&mut self.log, buffer);
        }
        if has_stderr {
            self.stderr.read(&mut self.log, buffer);
        }
        if has_orders {
            self.take_orders(buffer);
        }
    }

    fn take_orders(&mut self, buffer: &mut [u8]) {
        let count = self.orders.read(buffer).unwrap_or(0);
        self.order.extend_from_slice(&buffer[..count]);
        while let Some(end) = self.order.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.order.drain(..=end).collect();
            // An order of a later version is not ours to carry out.
            if let Ok(order) = serde_json::from_slice::<Order>(&line) {
                self.stop(&order);
            }
        }
        if self.order.len() > BUFFER_BYTES {
            self.order.clear();
        }
    }

    /// Sends the stop signal, and shortens the grace if this order has less.
    fn stop(&mut self, order: &Order) {
        if self.end.is_some() {
            return;
        }
        if let Some(signal) = Signal::from_named_raw(order.signal) {
            // The program was not waited for, so its number is not another's.
            let _ = kill_process(self.main, signal);
        }
        let at = clock::tick() + Duration::from_millis(order.grace_ms);
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
        self.asked.get_or_insert(Asked::Stop);
    }

    fn exit(&self, started_at: Timestamp, failure: Option<String>) -> Exit {
        let status = self.end.map(|(status, _)| status).filter(|_| failure.is_none());
        Exit {
            code: status.and_then(WaitStatus::exit_status),
            signal: status.and_then(WaitStatus::terminating_signal),
            oom: cgroup::had_oom(&self.prepared.groups),
            asked: self.asked,
            started_at,
            ended_at: self.end.map_or_else(clock::now, |(_, at)| at),
            lines_lost: self.log.lines_lost(),
            failure: failure.map(|why| format!("cannot start: {why}")),
        }
    }
}
