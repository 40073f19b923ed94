//! Runs what is assigned to this machine: `decide` is the pure part, `rounds` carries its decisions out, `process` is
//! the driver of plain processes, whose shims outlive this program, and `container` that of containers.

mod cgroup;
mod changes;
pub mod container;
pub mod decide;
mod docker;
mod drivers;
pub mod exit;
pub mod health;
pub mod held;
pub mod kept;
pub mod ledger;
mod log_files;
pub mod log_reader;
pub mod messages;
mod old_logs;
pub mod policy;
mod probe;
mod probes;
pub mod process;
mod published;
pub mod relay_requests;
mod rounds;
pub mod run;
mod run_dir;
pub mod service;
mod shim;
mod stage;
#[cfg(test)]
mod test_cluster;
mod tree;
mod wanted;

use crate::crypto;
use crate::error::{Chain, Doing, Result};
use crate::model::ids::ReplicaId;
use crate::model::node_status::{ReplicaReport, WorkRefusal};
use crate::model::node_work::{Document, WorkVersion};
use crate::sys::owner;
use crate::thread::{Stop, Watch, lock, on_news};
use drivers::Drivers;
use probes::Probes;
use rounds::{Rounds, Wants};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Runs one of the program's internal modes if the arguments are `run-shim DIR` or `run-stage DIR`. They work before
/// anything else of the program does: one shim lives beside every run.
pub fn internal_mode(line: &[OsString]) -> Option<ExitCode> {
    let [mode, dir] = line else { return None };
    match mode.to_str()? {
        shim::MODE => Some(shim::run(Path::new(dir))),
        stage::MODE => Some(stage::run(Path::new(dir))),
        _ => None,
    }
}

/// Places of a runner.
#[derive(Debug, Clone, PartialEq)]
pub struct RunnerConfig {
    /// Directory of the runs.
    pub runs_dir: PathBuf,
    /// Directory of the logs.
    pub logs_dir: PathBuf,
    /// File of the machine's policy.
    pub policy: PathBuf,
    /// The program whose internal modes are used.
    pub program: PathBuf,
    /// Socket of the container daemon; `None` if this machine runs no containers.
    pub container_socket: Option<PathBuf>,
}

/// Reports on all replicas.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reports {
    /// This start of the runner.
    pub run: String,
    /// State of the work that it acts on; `None` before it has any.
    pub held: Option<WorkVersion>,
    /// The work that it got last and does not act on.
    pub refused: Option<WorkRefusal>,
    /// True once all replicas are to be stopped, whatever the work says.
    pub is_halted: bool,
    /// The last report on each replica.
    pub replicas: BTreeMap<ReplicaId, ReplicaReport>,
}

/// A working runner. What it runs outlives it.
pub struct Runner {
    document: Watch<Option<Arc<Document>>>,
    refused: Watch<Option<WorkRefusal>>,
    reports: Watch<Arc<Reports>>,
    news: Watch<()>,
    halt: Stop,
    /// Held while the document changes.
    taking: Mutex<()>,
    abilities: Value,
}

impl Runner {
    /// Starts a runner. It does nothing before it has work.
    ///
    /// # Errors
    /// Fails if another runner works in the directory of runs, or it cannot be used.
    pub fn start(config: RunnerConfig) -> Result<Runner> {
        const DOING: &str = "start the runner";
        let drivers = Drivers::open(&config)?;
        let rights = if owner::user() == 0 { "root" } else { "user" };
        let abilities = json!({ "drivers": drivers.names(), "limits": drivers.limits(), "rights": rights });
        let (document, refused, news) = (Watch::new(None), Watch::new(None), Watch::new(()));
        let reports = Watch::new(Arc::new(Reports { run: crypto::random_hex(8), ..Reports::default() }));
        let probes = Probes::new(news.clone());
        let halt = Stop::default();
        let wanted = Wants { document: document.clone(), refused: refused.clone(), halt: halt.clone() };
        let mut rounds = Rounds::new(config, drivers.clone(), probes, wanted, reports.clone());
        on_news("runner", news.clone(), RETRY, move || rounds.turn()).doing(DOING)?;
        drivers.watch(&news)?;
        Ok(Runner { document, refused, reports, news, halt, taking: Mutex::default(), abilities })
    }

    /// Takes the node's work.
    pub fn take(&self, document: &Document) {
        let _taking = lock(&self.taking);
        let wanted = if self.halt.is_raised() { stopped(document) } else { document.clone() };
        self.document.set(Some(Arc::new(wanted)));
        self.news.set(());
    }

    /// Stops all replicas, those of this document or of what was taken, until another runner starts. What is taken
    /// meanwhile is stopped too.
    pub fn halt(&self, document: Option<&Document>) {
        let _taking = lock(&self.taking);
        let taken = self.document.get();
        // Without work, whatever runs here is not wanted.
        let wanted = document.or(taken.as_deref()).map_or_else(Document::default, stopped);
        self.document.set(Some(Arc::new(wanted)));
        // After the document: a round that sees this sees that too.
        self.halt.raise();
        self.news.set(());
    }

    /// Reports that the node refused its newest work, or that it acts on all it got.
    pub fn note_refusal(&self, refused: Option<WorkRefusal>) {
        if self.refused.get() != refused {
            self.refused.set(refused);
            self.news.set(());
        }
    }

    /// Reports on the replicas, as they change.
    pub fn reports(&self) -> Watch<Arc<Reports>> {
        self.reports.clone()
    }

    /// Abilities of this node, as it reports them.
    pub fn abilities(&self) -> &Value {
        &self.abilities
    }

    /// Ends the runner's threads. The replicas go on.
    pub fn stop(&self) {
        self.news.close();
        self.reports.close();
    }
}

/// The same work with all replicas stopped.
fn stopped(document: &Document) -> Document {
    let mut document = document.clone();
    document.replicas.iter_mut().for_each(|replica| replica.desired_state = "stopped".to_string());
    document
}

/// Longest sleep without a change, after which the end of the runner is seen.
const WATCH: Duration = Duration::from_secs(5);
/// Wait after a fault.
const RETRY: Duration = Duration::from_secs(5);

/// Wakes the runner when a run changes.
fn watch(wait_for_change: impl Fn(Duration) -> Result<bool>, news: &Watch<()>) {
    while !news.is_closed() {
        match wait_for_change(WATCH) {
            Ok(true) => news.set(()),
            Ok(false) => {}
            Err(e) => {
                log::error!(
                    target: "runner", event = "runner.watch_failed", error:% = Chain(&e);
                    "Changes of runs are not seen at once; the runner looks at them in turns"
                );
                news.wait(u64::MAX, RETRY);
                news.set(());
            }
        }
    }
}
