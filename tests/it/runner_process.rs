//! The driver of plain processes: real programs under real shims, with control groups where this machine has them, and
//! without.

mod drivers;
mod ends;
mod limits;
mod output;

use crate::support::{Dir, PATIENCE, until};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uptimemesh::runner::process::{ProcessConfig, Processes};
use uptimemesh::runner::run::{Exit, RunId, RunSpec, RunState, SeenRun};

const REPLICA: &str = "web-1";

/// Configuration of a driver below this directory.
fn config(dir: &Path) -> ProcessConfig {
    ProcessConfig {
        runs_dir: dir.join("runs"),
        logs_dir: dir.join("logs"),
        program: PathBuf::from(env!("CARGO_BIN_EXE_uptimemesh")),
    }
}

/// A run of a shell script.
fn script(text: &str) -> Value {
    json!({
        "v": 1, "id": RunId::random(), "replica_id": REPLICA, "service_id": "web", "generation": 1, "digest": "d",
        "command": ["/bin/sh", "-c", text],
    })
}

fn spec(of: Value) -> RunSpec {
    serde_json::from_value(of).unwrap()
}

/// A machine with a driver. Dropping it ends its runs.
struct Machine {
    dir: Dir,
    groups: PathBuf,
    driver: Option<Processes>,
}

impl Machine {
    fn new() -> Machine {
        Machine::open(Dir::new(), PathBuf::from("/sys/fs/cgroup"))
    }

    /// One whose kernel has no control groups.
    fn without_groups() -> Machine {
        let dir = Dir::new();
        let groups = dir.join("no-groups");
        Machine::open(dir, groups)
    }

    fn open(dir: Dir, groups: PathBuf) -> Machine {
        let driver = Some(Processes::open_below(&groups, config(dir.path())).unwrap());
        Machine { dir, groups, driver }
    }

    /// With control groups, if there are any, and without.
    fn both() -> [Machine; 2] {
        [Machine::new(), Machine::without_groups()]
    }

    fn driver(&self) -> &Processes {
        self.driver.as_ref().unwrap()
    }

    /// Ends the driver and opens the directory of runs again.
    fn reopen(&mut self) {
        self.driver = None;
        self.driver = Some(Processes::open_below(&self.groups, config(self.dir.path())).unwrap());
    }

    fn start(&self, of: Value) -> RunId {
        let spec = spec(of);
        self.driver().start(&spec).unwrap();
        spec.id
    }

    fn seen(&self, id: &RunId) -> Option<SeenRun> {
        self.driver().list().unwrap().into_iter().find(|seen| seen.spec.id == *id)
    }

    /// Waits for a state by the driver's own wake-ups: one that is missing is one that this waits for in vain.
    fn wait<T>(&self, id: &RunId, look: impl Fn(&RunState) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let state = self.seen(id).unwrap().state;
            if let Some(found) = look(&state) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain: {id} is {state:?}");
            self.driver().wait_for_change(left).unwrap();
        }
    }

    /// The process of a run, once it has one.
    fn pid(&self, id: &RunId) -> u32 {
        self.wait(id, |state| match state {
            RunState::Running { pid, .. } => Some(*pid),
            RunState::Starting => None,
            ended => panic!("{ended:?}"),
        })
    }

    fn exit(&self, id: &RunId) -> Exit {
        self.wait(id, |state| match state {
            RunState::Ended(exit) => Some(exit.clone()),
            RunState::Lost => panic!("{id} is lost"),
            _ => None,
        })
    }

    fn log_dir(&self, id: &RunId) -> PathBuf {
        self.driver().log_dir(&serde_json::from_value(REPLICA.into()).unwrap(), id)
    }

    /// Log lines of a run without their times, the oldest first.
    fn lines(&self, id: &RunId) -> Vec<String> {
        lines(&self.log_dir(id))
    }

    /// Waits until a run has logged this line.
    fn says(&self, id: &RunId, line: &str) {
        until(line, || self.lines(id).iter().any(|l| l == line).then_some(()));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.driver.is_none() {
            self.reopen();
        }
        let driver = self.driver();
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            for seen in driver.list().unwrap_or_default() {
                let id = &seen.spec.id;
                let _ = match seen.state {
                    RunState::Starting | RunState::Running { .. } => driver.stop(id, "KILL", Duration::ZERO),
                    RunState::Lost | RunState::Ended(_) => driver.remove(id),
                };
            }
            if driver.list().is_ok_and(|runs| runs.is_empty()) {
                return;
            }
            let _ = driver.wait_for_change(Duration::from_millis(100));
        }
    }
}

/// Log lines in a directory without their times, the oldest first.
fn lines(dir: &Path) -> Vec<String> {
    let numbers = (0..10).rev();
    let files = numbers.filter_map(|n| fs::read_to_string(dir.join(format!("log.{n}"))).ok());
    files.flat_map(|text| text.lines().map(|l| l.split_once(' ').unwrap().1.to_string()).collect::<Vec<_>>()).collect()
}

/// Processes that have this text on their command line.
fn processes(text: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_it = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(text)
    };
    pids.filter(has_it).collect()
}

/// True while a process lives.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The shim of a run.
fn shim(machine: &Machine, id: &RunId) -> u32 {
    let dir = machine.dir.join("runs").join(id.as_str());
    let shims = processes(&format!("run-shim {}", dir.display()));
    assert_eq!(shims.len(), 1, "one shim: {shims:?}");
    shims[0]
}

/// Sends a signal.
fn signal(pid: u32, name: &str) {
    let sent = std::process::Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.unwrap().success(), "kill -{name} {pid}");
}
