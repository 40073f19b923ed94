//! The driver of containers: their daemon keeps them, and labels say which are this node's, so a restarted runner finds
//! them as they are. No call of the driver waits for the daemon: threads ask and act, and a daemon that is away or
//! hangs makes the list an error, never shorter.

mod create;
mod look;
mod pull;
mod start;
mod stop;
mod words;

use super::docker::{Docker, Failure};
use super::run::{Exit, RunId, RunSpec, RunState, SeenRun};
use crate::error::{Doing, Error, Result};
use crate::thread::{self, Stop, Watch, lock};
pub use pull::Credentials;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Places of the sockets of daemons, below the directory of runtime files.
const SOCKETS: &[&str] = &["docker.sock", "podman/podman.sock"];
/// Variables that name the socket of a daemon.
const VARIABLES: &[&str] = &["CONTAINER_HOST", "DOCKER_HOST"];
/// Stack of a thread that talks to the daemon.
const STACK_BYTES: usize = 256 << 10;
/// Time without progress after which a pull has failed.
pub const PULL_STALL: Duration = Duration::from_secs(300);

/// Places and names that the driver works with.
pub struct ContainerConfig {
    /// Socket of the daemon, which need not be there yet.
    pub socket: PathBuf,
    /// Name of the runner, which no other one at this daemon has; a label of its containers.
    pub node: String,
    /// Time without progress after which a pull has failed.
    pub pull_stall: Duration,
}

/// The driver of containers.
pub struct Containers {
    shared: Arc<Shared>,
    /// Number of the last change that the caller has seen.
    seen: Mutex<u64>,
}

/// State that the threads of the driver share.
struct Shared {
    docker: Docker,
    config: ContainerConfig,
    state: Mutex<State>,
    /// Set to request the daemon's list of containers.
    ask: Watch<()>,
    /// Set if a run may have changed.
    changes: Watch<()>,
    stop: Stop,
    /// Ends the connection of the daemon's events.
    events: Mutex<Option<std::os::unix::net::UnixStream>>,
}

#[derive(Default)]
struct State {
    /// The containers as the daemon listed them last.
    listed: Vec<look::Held>,
    /// Why they are not known now; `None` if they are.
    trouble: Option<String>,
    /// Runs whose start is under way or failed.
    begun: BTreeMap<RunId, start::Begun>,
    /// Runs that are being stopped.
    stopping: BTreeMap<RunId, stop::Stopping>,
    /// Runs that are being removed; true once the daemon has answered.
    removing: BTreeMap<RunId, bool>,
    /// Containers that something happened to since the last list.
    touched: BTreeSet<String>,
    /// True while the daemon sends its events.
    has_events: bool,
}

/// The socket that the environment names, or the first that is there. `None` if there is none, or the environment names
/// a daemon on another machine.
pub fn find_socket(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    if let Some(named) = VARIABLES.iter().find_map(|name| variable(name).filter(|value| !value.is_empty())) {
        return named.strip_prefix("unix://").map(PathBuf::from);
    }
    let is_socket = |path: &PathBuf| path.metadata().is_ok_and(|meta| meta.file_type().is_socket());
    let own = variable("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("podman/podman.sock"));
    SOCKETS.iter().map(|path| Path::new("/run").join(path)).chain(own).find(is_socket)
}

impl Containers {
    /// Starts the threads that follow the daemon. Its containers are known once it has answered.
    ///
    /// # Errors
    /// Fails if a thread cannot be started.
    pub fn open(config: ContainerConfig) -> Result<Containers> {
        let state =
            State { trouble: Some("the container daemon has not answered yet".to_string()), ..State::default() };
        let shared = Arc::new(Shared {
            docker: Docker::at(&config.socket),
            config,
            state: Mutex::new(state),
            ask: Watch::new(()),
            changes: Watch::new(()),
            stop: Stop::default(),
            events: Mutex::new(None),
        });
        look::follow(&shared)?;
        Ok(Containers { shared, seen: Mutex::new(0) })
    }

    /// The daemon, as it names itself; `None` before its first answer, and while it is away.
    pub fn daemon(&self) -> Option<String> {
        let is_known = lock(&self.shared.state).trouble.is_none();
        self.shared.docker.daemon().ok().filter(|_| is_known).map(|daemon| daemon.to_string())
    }

    /// True if it has this run.
    pub fn has(&self, id: &RunId) -> bool {
        let state = lock(&self.shared.state);
        state.begun.contains_key(id) || state.held(id).is_some()
    }

    /// Every run of this node.
    ///
    /// # Errors
    /// Fails while the daemon is away or does not answer: then nothing is known about the runs.
    pub fn list(&self) -> Result<Vec<SeenRun>> {
        let state = lock(&self.shared.state);
        if let Some(trouble) = &state.trouble {
            return Err(Error::Unavailable(trouble.clone()));
        }
        let begun = state.begun.values().map(|begun| SeenRun { spec: begun.spec.clone(), state: begun.state() });
        let listed = state.listed.iter().map(|held| &held.seen);
        let is_listed =
            |run: &&SeenRun| !state.begun.contains_key(&run.spec.id) && !state.removing.contains_key(&run.spec.id);
        Ok(listed.filter(is_listed).cloned().chain(begun).collect())
    }

    /// Starts a run: pulls its image if necessary, creates its container and starts it. A start that fails is an exit
    /// with a failure.
    ///
    /// # Errors
    /// Fails if there is a run of this name, or the spec has no container.
    pub fn start(&self, spec: &RunSpec, credentials: Option<Credentials>) -> Result<()> {
        if spec.container.is_none() {
            return Err(Error::Malformed(format!("The run {} has no container", spec.id)));
        }
        {
            let mut state = lock(&self.shared.state);
            if state.begun.contains_key(&spec.id) || state.held(&spec.id).is_some() {
                return Err(Error::Conflict(format!("There is a run {} already", spec.id)));
            }
            state.begun.insert(spec.id.clone(), start::Begun::new(spec));
        }
        let (id, spec) = (spec.id.clone(), spec.clone());
        self.shared.apart("container-start", move |shared| start::run(shared, &spec, credentials.as_ref())).inspect_err(
            |_| {
                lock(&self.shared.state).begun.remove(&id);
            },
        )
    }

    /// Progress of the pull that a run waits for, as a sentence.
    pub fn progress(&self, id: &RunId) -> Option<String> {
        lock(&self.shared.state).begun.get(id)?.progress.clone()
    }

    /// Sends this signal to the program of a run, and kills all of the run when the grace is over. A second call can
    /// only shorten the grace. The end is seen later.
    ///
    /// # Errors
    /// Fails for an unknown run.
    pub fn stop(&self, id: &RunId, signal: &str, grace: Duration) -> Result<()> {
        let (signal, id) = (signal.to_string(), id.clone());
        {
            let mut state = lock(&self.shared.state);
            if let Some(begun) = state.begun.get_mut(&id) {
                begun.cancel();
                return Ok(());
            }
            if state.held(&id).is_none() {
                return Err(Error::not_found("Run"));
            }
            if !stop::begin(&mut state.stopping, &id, grace) {
                return Ok(());
            }
        }
        self.shared.apart("container-stop", move |shared| stop::run(shared, &id, &signal, grace))
    }

    /// Removes the container of a run that has ended, with its log.
    ///
    /// # Errors
    /// Fails if the run lives.
    pub fn remove(&self, id: &RunId) -> Result<()> {
        let id = id.clone();
        let container = {
            let mut state = lock(&self.shared.state);
            if state.begun.get(&id).is_some_and(|begun| matches!(begun.state(), RunState::Ended(_))) {
                state.begun.remove(&id);
                return Ok(());
            }
            match state.held(&id).map(|held| (&held.seen.state, held.container.clone())) {
                Some((RunState::Ended(_), container)) => {
                    state.removing.insert(id.clone(), false);
                    container
                }
                None if !state.begun.contains_key(&id) => return Ok(()),
                _ => return Err(Error::Conflict(format!("The run {id} lives"))),
            }
        };
        self.shared.apart("container-remove", move |shared| {
            if let Err(failure) = shared.delete(&container) {
                shared.warn("remove", &id, &failure);
            }
            lock(&shared.state).removing.insert(id, true);
            shared.ask.set(());
        })
    }

    /// Digest of the image as its registry knows it; `None` for an image that came from no registry.
    ///
    /// # Errors
    /// Fails if there is no such image, or the daemon does not answer.
    pub fn digest(&self, image: &str) -> Result<Option<String>> {
        pull::digest(&self.shared.docker, image).map_err(Failure::into_error)
    }

    /// Waits for up to `at_most` until a run may have changed. False if none has. For one thread at a time.
    pub fn wait_for_change(&self, at_most: Duration) -> Result<bool> {
        let mut seen = lock(&self.seen);
        let before = *seen;
        if let Some(((), version)) = self.shared.changes.wait(before, at_most) {
            *seen = version;
        }
        Ok(*seen != before)
    }
}

impl Drop for Containers {
    /// Ends the threads. A start that is under way is undone; what runs keeps running.
    fn drop(&mut self) {
        self.shared.stop.raise();
        self.shared.ask.close();
        lock(&self.shared.state).begun.values_mut().for_each(start::Begun::cancel);
        look::hang_up(&self.shared);
    }
}

impl State {
    fn held(&self, id: &RunId) -> Option<&look::Held> {
        self.listed.iter().find(|held| held.seen.spec.id == *id)
    }
}

impl Shared {
    /// Runs `work` in a thread of its own: the caller does not wait for the daemon.
    fn apart(self: &Arc<Shared>, name: &str, work: impl FnOnce(&Shared) + Send + 'static) -> Result<()> {
        let shared = Arc::clone(self);
        thread::spawn(name, Some(STACK_BYTES), move || work(&shared)).map(drop).doing("start a thread")
    }

    /// Deletes a container that does not run, with its anonymous volumes. One that is gone already is deleted.
    fn delete(&self, container: &str) -> std::result::Result<(), Failure> {
        match self.docker.call(&create::delete_call(&create::path_of(container, "?v=true"))) {
            Err(failure) if !failure.is_not_found() => Err(failure),
            _ => Ok(()),
        }
    }

    fn warn(&self, action: &str, run: &RunId, why: &dyn Display) {
        log::warn!(target: "agent", event = "runner.container_failed", action, run = run.as_str(), error:% = why;
            "The container daemon did not carry out an action; it is repeated if it is still necessary");
    }
}

/// An exit of a run that did not start, or whose start was cancelled.
fn unstarted(failure: Option<String>) -> Exit {
    let now = crate::clock::now();
    let asked = failure.is_none().then_some(super::run::Asked::Stop);
    let (code, signal) = (None, None);
    Exit { code, signal, oom: false, asked, started_at: now, ended_at: now, lines_lost: 0, failure }
}
