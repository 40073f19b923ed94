//! The runner of this node's work, as the agent knows it: inside this process, or a service of root's behind a socket
//! of this machine. What the service is given it proves itself, so it gets the work exactly as the control plane sent
//! it.

use crate::error::{Chain, Doing, Error, Result};
use crate::model::node_status::{NodeStatus, WorkRefusal};
use crate::model::node_work::NodeWork;
use crate::runner::held::Held;
use crate::runner::messages::{self, FromRunner, ToRunner, VERSION};
use crate::runner::{Reports, Runner};
use crate::thread::{Stop, Watch, catch_panic, lock, spawn};
use serde_json::{Value, json};
use std::io::BufReader;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longest pause before the service is looked for again, in seconds.
const PAUSE_S_MAX: u64 = 10;
/// Time limit for handing over work; a service that does not read is connected to again.
const WRITE_TIME: Duration = Duration::from_secs(10);
const DOING: &str = "talk to the runner";

/// The runner.
pub enum Hands {
    /// Inside this process.
    Inside(Runner),
    /// Behind a socket.
    Service(Arc<Service>),
}

impl Hands {
    /// A runner that is a service. It need not be there yet.
    pub fn service(socket: &Path) -> Result<Hands> {
        let service = Arc::new(Service {
            socket: socket.to_path_buf(),
            sending: Mutex::default(),
            reports: Watch::new(Arc::default()),
            refused: Mutex::default(),
            // Nothing can run here before it has connected.
            abilities: Watch::new(Some(json!({ "drivers": [], "limits": "none", "rights": "none", "away": true }))),
            stop: Stop::default(),
        });
        let connecting = Arc::clone(&service);
        spawn("agent-runner", None, move || connecting.keep_connected()).doing(DOING)?;
        Ok(Hands::Service(service))
    }

    /// Hands over the node's work, if there is any.
    pub fn take(&self, held: &Held) {
        match self {
            Hands::Inside(runner) => held.document().into_iter().for_each(|document| runner.take(document)),
            Hands::Service(service) => held.work().into_iter().for_each(|work| service.take(work)),
        }
    }

    /// Notes that the agent itself refused the node's newest work, or that it refuses none.
    pub fn note_refusal(&self, refused: Option<WorkRefusal>) {
        match self {
            Hands::Inside(runner) => runner.note_refusal(refused),
            Hands::Service(service) => service.note_refusal(refused),
        }
    }

    /// Reports on the replicas, as they change.
    pub fn reports(&self) -> Watch<Arc<Reports>> {
        match self {
            Hands::Inside(runner) => runner.reports(),
            Hands::Service(service) => service.reports.clone(),
        }
    }

    /// Abilities of this node, as it reports them.
    pub fn abilities(&self) -> Watch<Option<Value>> {
        match self {
            Hands::Inside(runner) => Watch::new(Some(runner.abilities().clone())),
            Hands::Service(service) => service.abilities.clone(),
        }
    }

    /// Ends the threads. The replicas go on.
    pub fn stop(&self) {
        match self {
            Hands::Inside(runner) => runner.stop(),
            Hands::Service(service) => service.stop(),
        }
    }
}

/// A runner behind a socket.
pub struct Service {
    socket: PathBuf,
    sending: Mutex<Sending>,
    reports: Watch<Arc<Reports>>,
    /// Work that the agent did not hand over. Held while the reports change.
    refused: Mutex<Option<WorkRefusal>>,
    abilities: Watch<Option<Value>>,
    stop: Stop,
}

/// Work to hand over, and the connection for it.
#[derive(Default)]
struct Sending {
    stream: Option<UnixStream>,
    work: Option<NodeWork>,
}

impl Sending {
    /// Hands over the work, if there are both. A failure ends the connection; the next one gets the work.
    fn send(&mut self) {
        let (Some(stream), Some(work)) = (&mut self.stream, &self.work) else { return };
        if messages::write(stream, &ToRunner::work(work.clone())).is_err() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Service {
    fn take(&self, work: &NodeWork) {
        let mut sending = lock(&self.sending);
        sending.work = Some(work.clone());
        sending.send();
    }

    fn note_refusal(&self, refused: Option<WorkRefusal>) {
        let mut own = lock(&self.refused);
        let mut reports = (*self.reports.get()).clone();
        // Before the runner has spoken there is no report that it could be part of.
        if *own != refused && !reports.run.is_empty() {
            reports.refused = refused.clone();
            self.reports.set(Arc::new(reports));
        }
        *own = refused;
    }

    fn stop(&self) {
        self.stop.raise();
        self.reports.close();
        if let Some(stream) = &lock(&self.sending).stream {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Connects, and connects again, until the agent stops.
    fn keep_connected(&self) {
        let mut failures = 0;
        while !self.stop.is_raised() {
            let talk =
                || UnixStream::connect(&self.socket).doing(DOING).and_then(|stream| self.talk(stream, &mut failures));
            let ended = catch_panic("agent-runner", talk);
            lock(&self.sending).stream = None;
            if self.stop.is_raised() {
                return;
            }
            self.note_away();
            if failures == 0 {
                let why =
                    ended.map_or(String::new(), |ended| ended.err().map_or(String::new(), |e| Chain(&e).to_string()));
                log::warn!(
                    target: "agent", event = "agent.runner_away", socket:% = self.socket.display(), error:% = why;
                    "The runner of this machine cannot be reached; what it runs goes on, and it is looked for again"
                );
            }
            failures += 1;
            if self.stop.wait(Duration::from_secs((1 << failures.min(5)).min(PAUSE_S_MAX))) {
                return;
            }
        }
    }

    /// One connection, until its end.
    fn talk(&self, stream: UnixStream, failures: &mut u32) -> Result<()> {
        stream.set_write_timeout(Some(WRITE_TIME)).doing(DOING)?;
        let mut lines = BufReader::new(stream.try_clone().doing(DOING)?);
        // The runner speaks first: it says whether it listens.
        let mut waiting = Some(stream);
        while let Some(message) = messages::read::<FromRunner>(&mut lines)? {
            if message.v != VERSION {
                return Err(Error::fault(DOING, format!("it speaks version {}, not {VERSION}", message.v)));
            }
            if let Some(why) = message.refused {
                return Err(Error::fault(DOING, format!("it refused: {why}")));
            }
            if let Some(abilities) = message.abilities {
                self.abilities.set(Some(abilities));
                *failures = 0;
                log::info!(
                    target: "agent", event = "agent.runner_connected", socket:% = self.socket.display();
                    "Connected to the runner of this machine"
                );
            }
            if let Some(status) = message.status {
                // The runner reads once its first report is written: before it, both could wait for the other to read.
                if let Some(stream) = waiting.take() {
                    let mut sending = lock(&self.sending);
                    sending.stream = Some(stream);
                    sending.send();
                }
                let refused = lock(&self.refused);
                let mut reports = apply(&self.reports.get(), status);
                reports.refused = reports.refused.or_else(|| refused.clone());
                self.reports.set(Arc::new(reports));
            }
        }
        Err(Error::fault(DOING, "it ended the connection".to_string()))
    }

    /// The abilities stay, and say that they cannot be used now.
    fn note_away(&self) {
        let mut abilities = self.abilities.get();
        if let Some(Value::Object(known)) = &mut abilities {
            known.insert("away".into(), true.into());
        }
        self.abilities.set(abilities);
    }
}

/// The reports after a message.
fn apply(before: &Reports, status: NodeStatus) -> Reports {
    let NodeStatus { run, full, held, changes, refused } = status;
    let mut replicas = if full { Default::default() } else { before.replicas.clone() };
    replicas.extend(changes.into_iter().map(|report| (report.replica_id.clone(), report)));
    Reports { run, held, replicas, refused, is_halted: false }
}
