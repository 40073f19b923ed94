//! The start of a run, from the image to the container that runs.

use super::{Credentials, Shared, create, pull, unstarted, words};
use crate::runner::docker::{Call, Failure};
use crate::runner::run::{ContainerSpec, Exit, Pull, RunSpec, RunState};
use crate::thread::lock;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// A run that the daemon does not list yet.
pub struct Begun {
    /// The run.
    pub spec: RunSpec,
    /// Progress of its pull, as a sentence.
    pub progress: Option<String>,
    phase: Phase,
    is_cancelled: bool,
    /// Connection of its pull.
    pull: Option<UnixStream>,
}

enum Phase {
    Starting,
    /// The daemon has answered, or is away: its next list decides.
    Settled,
    Failed(Exit),
}

/// Reason why a run was not started.
enum Unstarted {
    Cancelled,
    /// The daemon did not answer, so the container may be there.
    Unknown(Failure),
    Failed(String),
}

impl Begun {
    /// A run whose start begins.
    pub fn new(spec: &RunSpec) -> Begun {
        Begun { spec: spec.clone(), progress: None, phase: Phase::Starting, is_cancelled: false, pull: None }
    }

    /// Its state.
    pub fn state(&self) -> RunState {
        match &self.phase {
            Phase::Starting | Phase::Settled => RunState::Starting,
            Phase::Failed(exit) => RunState::Ended(exit.clone()),
        }
    }

    /// True if the next list has it.
    pub fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Settled)
    }

    /// True while its container may be created and not started.
    pub fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting)
    }

    /// Ends the start; what it created is removed.
    pub fn cancel(&mut self) {
        self.is_cancelled = true;
        if let Some(pull) = &self.pull {
            // It may have ended.
            let _ = pull.shutdown(Shutdown::Both);
        }
    }
}

/// Starts a run that was noted as begun.
pub fn run(shared: &Shared, spec: &RunSpec, credentials: Option<&Credentials>) {
    let started = match &spec.container {
        Some(container) => Start { shared, spec, container }.run(credentials),
        None => Err(Unstarted::Failed("cannot start: the run has no container".to_string())),
    };
    let phase = match started {
        Ok(()) => Phase::Settled,
        Err(Unstarted::Cancelled) => Phase::Failed(unstarted(None)),
        Err(Unstarted::Failed(why)) => Phase::Failed(unstarted(Some(why))),
        Err(Unstarted::Unknown(failure)) => {
            shared.warn("start", &spec.id, &failure);
            Phase::Settled
        }
    };
    if let Some(begun) = lock(&shared.state).begun.get_mut(&spec.id) {
        begun.phase = phase;
        begun.progress = None;
    }
    shared.changes.set(());
    shared.ask.set(());
}

struct Start<'s> {
    shared: &'s Shared,
    spec: &'s RunSpec,
    container: &'s ContainerSpec,
}

impl Start<'_> {
    fn run(&self, credentials: Option<&Credentials>) -> Result<(), Unstarted> {
        let image = pull::reference(&self.container.image);
        self.fetch(&image, credentials)?;
        self.go_on()?;
        let container = self.create(&image)?;
        let path = create::path_of(&container, "/start");
        let started = self.shared.docker.call(&Call::quick("POST", &path).within(create::SLOW));
        if let Err(Failure::Refused { message, .. }) = started {
            self.discard(&container);
            return Err(Unstarted::Failed(words::unstarted(self.spec, self.container, &message)));
        }
        started.map_err(Unstarted::Unknown)?;
        self.go_on().inspect_err(|_| self.discard(&container))
    }

    /// Fails if the start was cancelled.
    fn go_on(&self) -> Result<(), Unstarted> {
        match lock(&self.shared.state).begun.get(&self.spec.id) {
            Some(begun) if !begun.is_cancelled => Ok(()),
            _ => Err(Unstarted::Cancelled),
        }
    }

    /// Pulls the image if the spec wants it.
    fn fetch(&self, image: &str, credentials: Option<&Credentials>) -> Result<(), Unstarted> {
        let docker = &self.shared.docker;
        let is_wanted = match self.container.pull {
            Pull::Never => false,
            Pull::Always => true,
            Pull::Missing => !pull::has(docker, image).map_err(Unstarted::Unknown)?,
        };
        if !is_wanted {
            return Ok(());
        }
        self.note(|begun| begun.progress = Some(format!("pulling {image}")));
        let handle = |pull: UnixStream| {
            self.note(|begun| {
                begun.pull = Some(pull);
                if begun.is_cancelled {
                    begun.cancel();
                }
            });
        };
        let progress = |sentence| self.note(|begun| begun.progress = Some(sentence));
        let stall = self.shared.config.pull_stall;
        let pulled = pull::pull(docker, image, credentials, stall, handle, progress);
        self.go_on()?;
        let why = match pulled {
            Ok(()) => return Ok(()),
            Err(Failure::Refused { message, .. }) => words::unpulled(image, &message),
            Err(Failure::Unresponsive) => words::stalled(image, stall),
            Err(failure) => return Err(Unstarted::Unknown(failure)),
        };
        if self.container.pull == Pull::Always && pull::has(docker, image).map_err(Unstarted::Unknown)? {
            self.shared.warn("pull", &self.spec.id, &format!("{why}; the machine's own image is used"));
            return Ok(());
        }
        Err(Unstarted::Failed(why))
    }

    /// Creates the container, and returns its id.
    fn create(&self, image: &str) -> Result<String, Unstarted> {
        let daemon = self.shared.docker.daemon().map_err(Unstarted::Unknown)?;
        let body = create::body(self.spec, self.container, image, &self.shared.config.node, &daemon);
        let path = format!("/containers/create?name={}", create::name(self.spec));
        let call = Call { body: Some(&body), ..Call::quick("POST", &path).within(create::SLOW) };
        match self.shared.docker.json(&call) {
            Ok(created) => {
                let id = created["Id"].as_str().map(str::to_string);
                id.ok_or_else(|| Unstarted::Failed("cannot start: the container daemon named no container".to_string()))
            }
            Err(Failure::Refused { message, .. }) => {
                Err(Unstarted::Failed(words::unstarted(self.spec, self.container, &message)))
            }
            Err(failure) => Err(Unstarted::Unknown(failure)),
        }
    }

    /// Removes a container that did not start or should not have.
    fn discard(&self, container: &str) {
        let path = create::path_of(container, "?v=true&force=true");
        match self.shared.docker.call(&create::delete_call(&path)) {
            Err(failure) if !failure.is_not_found() => self.shared.warn("remove", &self.spec.id, &failure),
            _ => {}
        }
    }

    fn note(&self, change: impl FnOnce(&mut Begun)) {
        if let Some(begun) = lock(&self.shared.state).begun.get_mut(&self.spec.id) {
            change(begun);
        }
        self.shared.changes.set(());
    }
}
