//! The driver of plain processes: every run has a directory and a shim of its own, so it outlives this process, and
//! the next driver that opens the directory of runs finds it as it is.

use super::cgroup::{self, Cgroups};
use super::changes::Changes;
use super::run::{RunId, RunSpec, RunState, SeenRun};
use super::run_dir::{Handed, Order, Prepared, RunDir};
use super::{shim, tree};
use crate::clock;
use crate::crypto;
use crate::error::{Chain, Doing, Error, Result};
use crate::files;
use crate::model::ids::ReplicaId;
use crate::sys::run::{self, Apart};
use crate::thread::lock;
use signal_hook::low_level::signal_name;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// File that one driver holds locked.
const LOCK: &str = "lock";
/// Time in which a driver that was killed lets go of its lock: a process that it was starting may have it for a
/// moment.
const HANDOVER: Duration = Duration::from_secs(2);
/// Interval for trying the lock again.
const LOOK: Duration = Duration::from_millis(5);
/// Number of the last signal.
const SIGNAL_MAX: i32 = 64;

/// Places in which the driver works.
pub struct ProcessConfig {
    /// Directory of the runs; it should end with the machine, as a tmpfs does.
    pub runs_dir: PathBuf,
    /// Directory of the logs.
    pub logs_dir: PathBuf,
    /// The program whose internal modes are used.
    pub program: PathBuf,
}

/// The driver of plain processes.
pub struct Processes {
    config: ProcessConfig,
    cgroups: Cgroups,
    changes: Changes,
    /// Shims that this process started and that it has to wait for.
    shims: Mutex<Vec<Apart>>,
    _lock: File,
}

impl Processes {
    /// Opens the directory of runs, and removes what belongs to no run: groups, directories, and runs that a driver
    /// prepared but did not start.
    ///
    /// # Errors
    /// Fails if another driver works here, or the directory cannot be used.
    pub fn open(config: ProcessConfig) -> Result<Processes> {
        Processes::open_below(Path::new(cgroup::ROOT), config)
    }

    /// The same with control groups below this root.
    ///
    /// # Errors
    /// As for [`Processes::open`].
    pub fn open_below(cgroup_root: &Path, config: ProcessConfig) -> Result<Processes> {
        files::private_dir(&config.runs_dir)?;
        let held = hold(&config.runs_dir)?;
        let runs_dir = fs::canonicalize(&config.runs_dir).doing("find the directory of runs")?;
        let tag = crypto::sha256_hex(runs_dir.as_os_str().as_encoded_bytes())[..8].to_string();
        let processes = Processes {
            config: ProcessConfig { runs_dir, ..config },
            cgroups: Cgroups::probe(cgroup_root, tag),
            changes: Changes::new()?,
            shims: Mutex::default(),
            _lock: held,
        };
        processes.sweep(&processes.dirs()?);
        Ok(processes)
    }

    /// Kind of limits that are enforced: `v2` or `v1` of control groups, or `none`.
    pub fn limits(&self) -> &'static str {
        self.cgroups.name()
    }

    /// Directory of the logs of a run. It stays when the run is removed.
    pub fn log_dir(&self, replica: &ReplicaId, id: &RunId) -> PathBuf {
        self.config.logs_dir.join(replica.as_str()).join(id.as_str())
    }

    fn dir(&self, id: &RunId) -> RunDir {
        RunDir::at(self.config.runs_dir.join(id.as_str()))
    }

    /// Names of the directories of runs, and of those that are not runs yet or any more.
    fn dirs(&self) -> Result<(Vec<RunId>, Vec<PathBuf>)> {
        const DOING: &str = "list the runs";
        let (mut runs, mut others) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.config.runs_dir).doing(DOING)? {
            let entry = entry.doing(DOING)?;
            match entry.file_name().to_str().and_then(RunId::parse) {
                Some(id) => runs.push(id),
                None if entry.file_type().doing(DOING)?.is_dir() => others.push(entry.path()),
                None => {}
            }
        }
        runs.sort();
        Ok((runs, others))
    }

    /// Watches what is a run, and removes the rest. What cannot be removed keeps no run from its driver.
    fn sweep(&self, (runs, others): &(Vec<RunId>, Vec<PathBuf>)) {
        let swept = others.iter().map(|dir| fs::remove_dir_all(dir).doing("remove the rest of a run"));
        let known = runs.iter().map(|id| {
            let dir = self.dir(id);
            match dir.prepared().is_some() && (dir.is_held() || dir.has_begun()) {
                true => self.changes.watch(dir.path()),
                false => self.discard(id),
            }
        });
        let of_nothing = self.cgroups.runs().into_iter().filter(|id| !runs.contains(id)).map(|id| self.discard(&id));
        for why in swept.chain(known).chain(of_nothing).filter_map(Result::err) {
            log::warn!(
                target: "runner", event = "runner.sweep_failed", error:% = Chain(&why);
                "Could not take over or remove a run of an earlier runner"
            );
        }
    }

    /// Every run on this machine.
    pub fn list(&self) -> Result<Vec<SeenRun>> {
        lock(&self.shims).retain_mut(|shim| !shim.has_ended());
        let (runs, _) = self.dirs()?;
        let seen = runs.iter().filter_map(|id| {
            let dir = self.dir(id);
            Some(SeenRun { spec: dir.prepared()?.run, state: dir.state() })
        });
        Ok(seen.collect())
    }

    /// Starts a run. It is on disk before anything runs, so a driver that is killed meanwhile finds all of it or
    /// nothing.
    ///
    /// # Errors
    /// Fails if there is a run of this name, or its files and groups cannot be created. A program that cannot start is
    /// an exit with a failure.
    pub fn start(&self, spec: &RunSpec) -> Result<()> {
        if self.dir(&spec.id).path().exists() {
            return Err(Error::Conflict(format!("There is a run {} already", spec.id)));
        }
        self.begin(spec).inspect_err(|_| {
            // The next driver removes what stays.
            let _ = self.discard(&spec.id);
        })
    }

    fn begin(&self, spec: &RunSpec) -> Result<()> {
        let dir = self.dir(&spec.id);
        let prepared = Prepared {
            run: spec.clone(),
            groups: self.cgroups.create(&spec.id, &spec.limits)?,
            shim_groups: self.cgroups.of_shims(),
            log_dir: self.log_dir(&spec.replica_id, &spec.id),
        };
        let new = RunDir::at(files::beside(dir.path()));
        let Handed { lock: held, ctl, failure } = new.create(&prepared)?;
        self.changes.watch(new.path())?;
        fs::rename(new.path(), dir.path()).doing("put a run into its place")?;
        let args = [OsStr::new(shim::MODE), dir.path().as_os_str()];
        let shim =
            run::start_apart(&self.config.program, &args, [held, ctl, failure]).doing("start the shim of a run")?;
        lock(&self.shims).push(shim);
        Ok(())
    }

    /// Sends this signal to the program of a run, and kills all of the run when the grace is over. A second call can
    /// only shorten the grace. The end is seen later.
    ///
    /// # Errors
    /// Fails for an unknown signal or run.
    pub fn stop(&self, id: &RunId, signal: &str, grace: Duration) -> Result<()> {
        let number = signal_number(signal)
            .ok_or_else(|| Error::Malformed(format!("There is no signal {signal:?}; use one like SIGTERM")))?;
        let dir = self.dir(id);
        if !dir.path().exists() {
            return Err(Error::not_found("Run"));
        }
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        // A run without a shim has ended or is lost.
        dir.order(&Order::stop(number, grace_ms)).map(drop)
    }

    /// Kills what the lost shim of a run left behind.
    ///
    /// # Errors
    /// Fails if the run has a shim, or processes are left that do not die.
    pub fn end_lost(&self, id: &RunId) -> Result<()> {
        match self.dir(id).state() {
            RunState::Lost => self.kill(id),
            _ => Err(Error::Conflict(format!("The run {id} is not lost"))),
        }
    }

    fn kill(&self, id: &RunId) -> Result<()> {
        match tree::kill_marked(&self.groups(id), id.as_str()) {
            true => Ok(()),
            false => Err(Error::fault("end a run", format!("processes of {id} do not die"))),
        }
    }

    fn groups(&self, id: &RunId) -> Vec<PathBuf> {
        self.dir(id).prepared().map_or_else(|| self.cgroups.of_run(id), |prepared| prepared.groups)
    }

    /// Removes the directory and groups of a run that has ended; of a lost one it first kills what is left. The logs
    /// stay.
    ///
    /// # Errors
    /// Fails if the run lives, or processes are left that do not die.
    pub fn remove(&self, id: &RunId) -> Result<()> {
        match self.dir(id).state() {
            RunState::Starting | RunState::Running { .. } => Err(Error::Conflict(format!("The run {id} lives"))),
            RunState::Lost => self.discard(id),
            // Its shim has ended all of it.
            RunState::Ended(_) => self.remove_files(id),
        }
    }

    fn discard(&self, id: &RunId) -> Result<()> {
        self.kill(id)?;
        self.remove_files(id)
    }

    fn remove_files(&self, id: &RunId) -> Result<()> {
        cgroup::remove(&self.groups(id))?;
        // Out of sight as a whole: half of a run would look like a lost one.
        let (dir, old) = (self.dir(id), files::beside(self.dir(id).path()));
        if dir.path().exists() {
            fs::rename(dir.path(), &old).doing("remove a run")?;
        }
        match fs::remove_dir_all(&old) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).doing("remove a run"),
            _ => Ok(()),
        }
    }

    /// Waits for up to `at_most` until a run has started, has ended or is lost. False if none has. For one thread at a
    /// time.
    pub fn wait_for_change(&self, at_most: Duration) -> Result<bool> {
        self.changes.wait(at_most)
    }
}

/// Takes the lock of the directory of runs.
fn hold(runs_dir: &Path) -> Result<File> {
    let file = files::open_lock(&runs_dir.join(LOCK)).doing("open the lock of the runs")?;
    let end = clock::tick() + HANDOVER;
    while file.try_lock().is_err() {
        if clock::tick() >= end {
            let dir = runs_dir.display();
            return Err(Error::Conflict(format!("Another runner works in {dir}; stop it first")));
        }
        std::thread::sleep(LOOK);
    }
    Ok(file)
}

/// The number of a signal with this name, with or without `SIG`, or with this number.
fn signal_number(signal: &str) -> Option<i32> {
    let is_it = |number: &i32| {
        let name = signal_name(*number).unwrap_or_default();
        name == signal || name.strip_prefix("SIG") == Some(signal) || number.to_string() == signal
    };
    (1..=SIGNAL_MAX).find(is_it).filter(|number| signal_name(*number).is_some())
}
