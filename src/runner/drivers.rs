//! The drivers of a runner as one: each run belongs to the driver that has it.

use super::container::{ContainerConfig, Containers, PULL_STALL};
use super::process::{ProcessConfig, Processes};
use super::run::{RunId, RunSpec, SeenRun};
use super::{RunnerConfig, watch};
use crate::crypto;
use crate::error::{Doing, Error, Result};
use crate::model::workload::Driver;
use crate::thread::{Watch, spawn};
use std::sync::Arc;
use std::time::Duration;

/// The drivers of this machine.
#[derive(Clone)]
pub struct Drivers {
    processes: Arc<Processes>,
    /// Those of a container daemon, if one was found.
    containers: Option<Arc<Containers>>,
}

/// The runs of this machine.
pub struct Listed {
    /// The runs that are known.
    pub runs: Vec<SeenRun>,
    /// Reason why those in containers are not.
    pub unknown: Option<String>,
}

impl Drivers {
    /// Opens them.
    ///
    /// # Errors
    /// Fails if another runner works in the directory of runs, or it cannot be used.
    pub fn open(config: &RunnerConfig) -> Result<Drivers> {
        let processes = Processes::open(ProcessConfig {
            runs_dir: config.runs_dir.clone(),
            logs_dir: config.logs_dir.clone(),
            program: config.program.clone(),
        })?;
        // Several runners of a machine may use its daemon.
        let node = crypto::sha256_hex(config.runs_dir.as_os_str().as_encoded_bytes())[..12].to_string();
        let open = |socket| Containers::open(ContainerConfig { socket, node, pull_stall: PULL_STALL });
        let containers = config.container_socket.clone().map(open).transpose()?;
        Ok(Drivers { processes: Arc::new(processes), containers: containers.map(Arc::new) })
    }

    /// Their names.
    pub fn names(&self) -> Vec<Driver> {
        let container = self.containers.as_ref().map(|_| Driver::Container);
        [Driver::Process].into_iter().chain(container).collect()
    }

    /// Kind of limits that are enforced for processes.
    pub fn limits(&self) -> &'static str {
        self.processes.limits()
    }

    /// Every run.
    pub fn list(&self) -> Result<Listed> {
        let mut runs = self.processes.list()?;
        let unknown = match self.containers.as_ref().map(|containers| containers.list()) {
            Some(Ok(found)) => {
                runs.extend(found);
                None
            }
            Some(Err(e)) => Some(e.detail()),
            None => None,
        };
        Ok(Listed { runs, unknown })
    }

    /// Starts a run.
    pub fn start(&self, spec: &RunSpec) -> Result<()> {
        match (&spec.container, &self.containers) {
            (None, _) => self.processes.start(spec),
            (Some(_), Some(containers)) => containers.start(spec, None),
            (Some(_), None) => Err(Error::Unavailable("this node has no container daemon".to_string())),
        }
    }

    /// The driver of containers, if it has this run.
    fn container(&self, id: &RunId) -> Option<&Containers> {
        self.containers.as_deref().filter(|containers| containers.has(id))
    }

    /// Progress of the pull that a run waits for, as a sentence.
    pub fn progress(&self, id: &RunId) -> Option<String> {
        self.container(id)?.progress(id)
    }

    /// Requests the end of a run.
    pub fn stop(&self, id: &RunId, signal: &str, grace: Duration) -> Result<()> {
        match self.container(id) {
            Some(containers) => containers.stop(id, signal, grace),
            None => self.processes.stop(id, signal, grace),
        }
    }

    /// Kills what the lost shim of a run left behind.
    pub fn end_lost(&self, id: &RunId) -> Result<()> {
        self.processes.end_lost(id)
    }

    /// Removes a run that is over.
    pub fn remove(&self, id: &RunId) -> Result<()> {
        match self.container(id) {
            Some(containers) => containers.remove(id),
            None => self.processes.remove(id),
        }
    }

    /// Starts a thread for each driver that sets `news` when a run changes, until they are closed.
    pub fn watch(&self, news: &Watch<()>) -> Result<()> {
        const DOING: &str = "start the runner";
        let (processes, changed) = (Arc::clone(&self.processes), news.clone());
        spawn("runner-watch", None, move || watch(|wait| processes.wait_for_change(wait), &changed)).doing(DOING)?;
        if let Some(containers) = self.containers.clone() {
            let changed = news.clone();
            let wait = move || watch(|wait| containers.wait_for_change(wait), &changed);
            spawn("runner-watch-c", None, wait).doing(DOING)?;
        }
        Ok(())
    }
}
