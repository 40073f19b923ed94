//! The node agent, in parts. `link` alone calls the control plane, on the thread `agent-link`, and waits for nothing of
//! this machine. Its call that waits for work is on `agent-work`, which writes the work down (`runner::held`) and hands
//! it to the runner; the runner's reports go out on `agent-status`. `reconcile` writes down what else the control plane
//! gave, and does what it wants, on `agent-reconcile`. `report` gathers what the machine is like, on `agent-facts`.
//! They meet in values that are watched.

pub mod config;
pub mod doctor;
pub mod hands;
pub mod identity;
pub mod ledger;
pub mod link;
pub mod reconcile;
pub mod report;
pub mod updater;

use crate::clock;
use crate::crypto;
use crate::error::{Chain, Doing, Error, Result};
use crate::files;
use crate::model::Object;
use crate::runner::container::find_socket;
use crate::runner::held::Held;
use crate::runner::{Runner, RunnerConfig};
use crate::sys::host;
use crate::thread::{Watch, spawn};
use config::{AgentConfig, RunnerPlace};
use hands::Hands;
use identity::Identity;
use ledger::{Accepted, Ledger, Run};
use link::contact::Contact;
use link::relays::Relays;
use link::status::StatusCall;
use link::work::WorkCall;
use link::{ControlPlane, Link, Linked};
use reconcile::Reconciler;
use report::Report;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use updater::Updater;

/// File of the update request, in its directory.
const UPDATE_REQUEST: &str = "request.json";

/// A node's agent, before it works.
pub struct Agent {
    identity_dir: PathBuf,
    link: Link,
    work_call: WorkCall,
    contact: Watch<Option<Contact>>,
    reconciler: Reconciler,
    facts: Watch<Object>,
    accepted: Watch<Option<Accepted>>,
    runner: Option<Arc<Hands>>,
}

/// Starts the runner that this configuration wants. An agent works without one, too: the failure is logged.
pub fn start_runner(config: &AgentConfig) -> Option<Arc<Hands>> {
    let start = || {
        match &config.runner {
            RunnerPlace::None => return Ok(None),
            RunnerPlace::Service(socket) => return Hands::service(socket).map(Some),
            RunnerPlace::Inside => {}
        }
        let program = std::env::current_exe().doing("find this program")?;
        files::private_dir(&config.runner_dir)?;
        // Shims work elsewhere.
        let dir = config.runner_dir.canonicalize().doing("find the runner's directory")?;
        let (runs_dir, logs_dir) = (dir.join("runs"), dir.join("logs"));
        let policy = config.runner_policy.clone();
        let container_socket = find_socket(|name| std::env::var(name).ok());
        let config = RunnerConfig { runs_dir, logs_dir, policy, program, container_socket };
        Runner::start(config).map(|runner| Some(Hands::Inside(runner)))
    };
    match start() {
        Ok(hands) => hands.map(Arc::new),
        Err(e) => {
            log::error!(
                target: "agent", event = "agent.runner_failed", error:% = Chain(&e);
                "The runner cannot work; this node runs no replicas until its agent starts again"
            );
            None
        }
    }
}

impl Agent {
    /// An agent for this identity, whose work the runner does.
    pub fn new(
        config: &AgentConfig,
        control_plane: ControlPlane,
        identity: Identity,
        runner: Option<Arc<Hands>>,
    ) -> Result<Agent> {
        let run = Run { id: crypto::random_hex(8), started_at: clock::now() };
        let identity_dir = identity.dir.clone();
        let facts = Watch::new(Object::new());
        let accepted = Watch::new(None);
        let updater = Updater::new(config.update_dir.join(UPDATE_REQUEST), config.update_state.clone());
        let reconciler = Reconciler::new(accepted.clone(), Ledger::new(&identity, run.clone()), updater);
        let abilities = runner.as_ref().map_or_else(|| Watch::new(None), |runner| runner.abilities());
        let report = Report::new(&run.id, facts.clone(), reconciler.watch(), abilities);
        let contact = Watch::new(None);
        let held = Held::load(&identity.dir, &identity.ca_pem, &identity.node_id);
        // Logs of root's runner are root's.
        let is_inside = matches!(runner.as_deref(), Some(Hands::Inside(_)));
        let relays = Relays::new(contact.clone(), is_inside.then(|| config.runner_dir.join("logs")));
        let work_call = WorkCall::new(contact.clone(), held, runner.clone(), relays);
        let (ttl_s, publish_to) = (config.lease_ttl_s, contact.clone());
        let link = Link::new(control_plane, identity, ttl_s, report, accepted.clone(), publish_to)?;
        Ok(Agent { identity_dir, link, work_call, contact, reconciler, facts, accepted, runner })
    }

    /// Signs heartbeats with later times than this one, in epoch seconds.
    pub fn sign_after(&mut self, signed_at: i64) {
        self.link.sign_after(signed_at);
    }

    /// Collects the machine's facts and sends one heartbeat on the caller's thread, to learn whether the identity is
    /// accepted.
    pub fn beat_once(&mut self) -> Linked<()> {
        report::look(&self.identity_dir, host::DISK_TIME, &self.facts);
        self.link.turn()
    }

    /// Starts the agent's threads.
    pub fn start(self) -> Result<Running> {
        const DOING: &str = "start the agent";
        let Agent { identity_dir, mut link, mut work_call, contact, mut reconciler, facts, accepted, runner } = self;
        // Before anything needs the network.
        work_call.resume();
        if let Some(runner) = &runner {
            let mut status_call = StatusCall::new(contact.clone(), runner.reports());
            spawn("agent-status", None, move || status_call.run()).doing(DOING)?;
        }
        let looking = facts.clone();
        spawn("agent-facts", None, move || report::keep_looking(&identity_dir, &looking)).doing(DOING)?;
        let (ended, reconciled) = channel();
        let reconcile = move || {
            reconciler.run();
            // Without a receiver the agent was not stopped.
            let _ = ended.send(());
        };
        spawn("agent-reconcile", None, reconcile).doing(DOING)?;
        spawn("agent-work", None, move || work_call.run()).doing(DOING)?;
        let link = spawn("agent-link", None, move || link.run()).doing(DOING)?;
        Ok(Running { link, contact, facts, accepted, reconciled, runner })
    }
}

/// Longest wait at a stop for the ledger: a disk that hangs must not keep the process.
const LEDGER_TIME: Duration = Duration::from_secs(2);

/// A working agent.
pub struct Running {
    link: JoinHandle<()>,
    contact: Watch<Option<Contact>>,
    facts: Watch<Object>,
    accepted: Watch<Option<Accepted>>,
    /// Gets a message when the reconciler has ended.
    reconciled: Receiver<()>,
    runner: Option<Arc<Hands>>,
}

impl Running {
    /// Stops the agent. Waits for a heartbeat on its way and, for a limited time, until its answer is on disk.
    pub fn stop(self) -> Result<()> {
        if let Some(runner) = &self.runner {
            runner.stop();
        }
        self.facts.close();
        self.contact.close();
        let ended = self.link.join().map_err(|_| Error::fault("stop the agent", "its thread had panicked"));
        self.accepted.close();
        let _ = self.reconciled.recv_timeout(LEDGER_TIME);
        ended
    }
}
