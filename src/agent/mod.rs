//! The node agent, in parts. `link` alone calls the control plane, on the thread `agent-link`, and waits for nothing of
//! this machine. Its call that waits for work is on `agent-work`, which writes the work down (`work`). `reconcile`
//! writes down what else the control plane gave, and does what it wants, on `agent-reconcile`. `report` gathers what
//! the machine is like, on `agent-facts`. They meet in values that are watched.

pub mod config;
pub mod doctor;
pub mod identity;
pub mod ledger;
pub mod link;
pub mod reconcile;
pub mod report;
pub mod updater;
pub mod work;

use crate::clock;
use crate::crypto;
use crate::error::{Doing, Error, Result};
use crate::model::Object;
use crate::sys::host;
use crate::thread::{Watch, spawn};
use config::AgentConfig;
use identity::Identity;
use ledger::{Accepted, Ledger, Run};
use link::contact::Contact;
use link::relays::Relays;
use link::work::WorkCall;
use link::{ControlPlane, Link, Linked};
use reconcile::Reconciler;
use report::Report;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use updater::Updater;
use work::Held;

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
}

impl Agent {
    /// An agent for this identity.
    pub fn new(config: &AgentConfig, control_plane: ControlPlane, identity: Identity) -> Result<Agent> {
        let run = Run { id: crypto::random_hex(8), started_at: clock::now() };
        let identity_dir = identity.dir.clone();
        let facts = Watch::new(Object::new());
        let accepted = Watch::new(None);
        let updater = Updater::new(config.update_dir.join(UPDATE_REQUEST), config.update_state.clone());
        let reconciler = Reconciler::new(accepted.clone(), Ledger::new(&identity, run.clone()), updater);
        let report = Report::new(&run.id, facts.clone(), reconciler.watch());
        let contact = Watch::new(None);
        let held = Held::load(&identity.dir, &identity.ca_pem, &identity.node_id);
        let relays = Relays::new(contact.clone(), Some(config.runner_dir.join("logs")));
        let work_call = WorkCall::new(contact.clone(), held, relays);
        let (ttl_s, publish_to) = (config.lease_ttl_s, contact.clone());
        let link = Link::new(control_plane, identity, ttl_s, report, accepted.clone(), publish_to)?;
        Ok(Agent { identity_dir, link, work_call, contact, reconciler, facts, accepted })
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
        let Agent { identity_dir, mut link, mut work_call, contact, mut reconciler, facts, accepted } = self;
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
        Ok(Running { link, contact, facts, accepted, reconciled })
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
}

impl Running {
    /// Stops the agent. Waits for a heartbeat on its way and, for a limited time, until its answer is on disk.
    pub fn stop(self) -> Result<()> {
        self.facts.close();
        self.contact.close();
        let ended = self.link.join().map_err(|_| Error::fault("stop the agent", "its thread had panicked"));
        self.accepted.close();
        let _ = self.reconciled.recv_timeout(LEDGER_TIME);
        ended
    }
}
