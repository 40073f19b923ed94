//! The runner as a service of root's, without any port: it listens on a socket of this machine, on which only root and
//! the agent's user are heard. The agent hands over what the control plane signed, the service proves it by its own
//! ledger, and reports on the replicas come back.

use super::held::NotTaken;
use super::ledger::Ledger;
use super::messages::{self, FromRunner, ToRunner, VERSION};
use super::{Reports, Runner};
use crate::clock;
use crate::error::{Chain, Doing, Result};
use crate::model::ids::ReplicaId;
use crate::model::node_status::{NodeStatus, ReplicaReport, RunWord, WorkRefusal};
use crate::model::node_work::{NodeWork, WorkVersion};
use crate::sys::{local_socket, owner};
use crate::thread::{Watch, catch_panic, lock, spawn};
use std::collections::BTreeMap;
use std::io::BufReader;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Most clients at a time: the agent, and commands of root's.
const CLIENTS_MAX: usize = 8;
/// Time limit for writing to a client; one that does not read is dropped.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// Pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for a report; nothing depends on it.
const REPORTS_WAIT: Duration = Duration::from_secs(3600);

/// A runner, its ledger, and the clients that it reports to.
pub struct Service {
    ledger: Mutex<Ledger>,
    runner: Runner,
    reports: Watch<Arc<Reports>>,
    /// The work that the runner has.
    given: Mutex<Option<WorkVersion>>,
    /// The last work that was handed over, if it is not believed.
    refused: Mutex<Option<WorkRefusal>>,
    clients: Mutex<BTreeMap<usize, Client>>,
    next_client: AtomicUsize,
}

/// The end of a connection that the service writes to.
struct Client {
    stream: UnixStream,
    /// Number of the last report of each replica that was sent; `None` before the first message.
    sent: Option<BTreeMap<ReplicaId, u64>>,
}

impl Service {
    /// Runs what the ledger holds, before the agent connects.
    pub fn start(ledger: Ledger, runner: Runner) -> Arc<Service> {
        if let Some(document) = ledger.document() {
            log::info!(
                target: "runner", event = "runner.held", node_id:% = document.node_id, work:% = document.version,
                replicas = document.replicas.len(); "Runs the work on this machine's disk"
            );
            runner.take(document);
        }
        let reports = runner.reports();
        Arc::new(Service {
            given: Mutex::new(ledger.document().map(|document| document.version)),
            ledger: Mutex::new(ledger),
            runner,
            reports,
            refused: Mutex::default(),
            clients: Mutex::default(),
            next_client: AtomicUsize::new(0),
        })
    }

    /// Listens to root, and to this user, on threads of its own.
    pub fn listen(self: &Arc<Service>, listener: UnixListener, users: Vec<u32>) -> Result<()> {
        const DOING: &str = "start the service of the runner";
        let (accepting, reporting) = (Arc::clone(self), Arc::clone(self));
        spawn("runner-socket", None, move || {
            for stream in listener.incoming() {
                match stream {
                    Ok(stream) => accepting.accept(stream, &users),
                    Err(e) => {
                        log::warn!(
                            target: "runner", event = "runner.not_accepted", error:% = e;
                            "Could not accept a connection of this machine"
                        );
                        std::thread::sleep(ACCEPT_PAUSE);
                    }
                }
            }
        })
        .doing(DOING)?;
        spawn("runner-reports", None, move || reporting.report()).doing(DOING)?;
        Ok(())
    }

    /// Ends the service. The replicas go on.
    pub fn stop(&self) {
        self.runner.stop();
        for client in lock(&self.clients).values() {
            let _ = client.stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes work, and notes whether it is believed.
    fn take(&self, work: &NodeWork) -> Result<()> {
        let mut ledger = lock(&self.ledger);
        let refused = match ledger.take(work) {
            Ok(_) => {
                let mut given = lock(&self.given);
                // Also work that was written down by a call that then failed.
                if let Some(document) = ledger.document().filter(|document| *given != Some(document.version)) {
                    *given = Some(document.version);
                    self.runner.take(document);
                    log::info!(
                        target: "runner", event = "runner.work", node_id:% = document.node_id,
                        work:% = document.version, replicas = document.replicas.len(); "Took the node's work"
                    );
                }
                None
            }
            Err(NotTaken::Refused(why)) => Some(WorkRefusal { version: Some(work.version), reason: why.to_string() }),
            // The sender keeps it, and hands it over at its next connection.
            Err(NotTaken::Unwritten(e)) => return Err(e),
        };
        let before = std::mem::replace(&mut *lock(&self.refused), refused.clone());
        if let Some(why) = refused.as_ref().filter(|_| before != refused) {
            log::error!(
                target: "runner", event = "runner.work_refused", work:% = work.version, why:% = why.reason;
                "Refused work that this machine's agent handed over; what the machine holds stays"
            );
        }
        Ok(())
    }

    /// Stops all replicas, each with its grace, all at once, until the runner starts again. Returns those that are left
    /// after `at_most`.
    pub fn stop_all(&self, at_most: Duration) -> Vec<ReplicaId> {
        log::info!(target: "runner", event = "runner.stop_all"; "Stops all replicas, until the runner starts again");
        self.runner.halt(None);
        let end = clock::tick() + at_most;
        let mut seen = u64::MAX;
        loop {
            let left = end.saturating_duration_since(clock::tick());
            // The first wait returns what is there.
            let Some((reports, version)) = self.reports.wait(seen, left) else { return Vec::new() };
            let alive: Vec<ReplicaId> =
                reports.replicas.values().filter(|of| !is_over(of)).map(|of| of.replica_id.clone()).collect();
            if (reports.is_halted && alive.is_empty()) || left.is_zero() {
                return alive;
            }
            seen = version;
        }
    }

    fn accept(self: &Arc<Service>, stream: UnixStream, users: &[u32]) {
        let user = match local_socket::peer(&stream) {
            Ok(user) => user,
            Err(_) => return,
        };
        if !users.contains(&user) {
            log::warn!(
                target: "runner", event = "runner.stranger", user;
                "Refused a connection of another user than the agent's"
            );
            return refuse(stream, "only root and the agent's user are heard");
        }
        if lock(&self.clients).len() >= CLIENTS_MAX {
            return refuse(stream, "too many connections");
        }
        let service = Arc::clone(self);
        let serve = move || {
            catch_panic("runner-client", || service.serve(&stream, user));
        };
        if let Err(e) = spawn("runner-client", None, serve) {
            log::warn!(target: "runner", event = "runner.not_accepted", error:% = e; "Could not start a thread");
        }
    }

    /// One conversation.
    fn serve(&self, stream: &UnixStream, user: u32) {
        let id = self.next_client.fetch_add(1, Ordering::Relaxed);
        let talk = || -> Result<()> {
            stream.set_write_timeout(Some(WRITE_TIME)).doing("talk to the agent")?;
            let mut client = Client { stream: stream.try_clone().doing("talk to the agent")?, sent: None };
            client.say(&FromRunner { abilities: Some(self.runner.abilities().clone()), ..FromRunner::empty() })?;
            client.report(&self.reports.get(), &lock(&self.refused))?;
            lock(&self.clients).insert(id, client);
            let mut lines = BufReader::new(stream);
            while let Some(message) = messages::read::<ToRunner>(&mut lines)? {
                self.answer(id, message, user)?;
            }
            Ok(())
        };
        let ended = talk();
        lock(&self.clients).remove(&id);
        // A stop that comes from here is no fault of the client's.
        if let Err(e) = ended
            && !self.reports.is_closed()
        {
            log::warn!(
                target: "runner", event = "runner.client_failed", user, error:% = Chain(&e);
                "The conversation with the agent broke off; it connects again"
            );
        }
    }

    fn answer(&self, id: usize, message: ToRunner, user: u32) -> Result<()> {
        if message.v != VERSION {
            let why = format!("this runner speaks version {VERSION}, not {}: update both programs", message.v);
            return self.say(id, &FromRunner { refused: Some(why), ..FromRunner::empty() });
        }
        if let Some(work) = &message.work {
            self.take(work)?;
            self.report_to(&[id]);
        }
        if let Some(at_most_s) = message.stop_all {
            if user != 0 && user != owner::user() {
                let why = "only root may stop all work".to_string();
                return self.say(id, &FromRunner { refused: Some(why), ..FromRunner::empty() });
            }
            let left = self.stop_all(Duration::from_secs(at_most_s));
            self.say(id, &FromRunner { left: Some(left), ..FromRunner::empty() })?;
        }
        Ok(())
    }

    fn say(&self, id: usize, message: &FromRunner) -> Result<()> {
        lock(&self.clients).get_mut(&id).map_or(Ok(()), |client| client.say(message))
    }

    /// Reports to all clients whenever a report changes.
    fn report(&self) {
        let mut seen = 0;
        while let Some((_, version)) = self.reports.wait(seen, REPORTS_WAIT) {
            seen = version;
            let all: Vec<usize> = lock(&self.clients).keys().copied().collect();
            self.report_to(&all);
        }
    }

    /// Reports to these clients; one that does not read is dropped.
    fn report_to(&self, ids: &[usize]) {
        let mut clients = lock(&self.clients);
        let (reports, refused) = (self.reports.get(), lock(&self.refused).clone());
        for id in ids {
            let Some(client) = clients.get_mut(id) else { continue };
            if client.report(&reports, &refused).is_err() {
                let _ = client.stream.shutdown(Shutdown::Both);
                clients.remove(id);
            }
        }
    }
}

impl Client {
    fn say(&mut self, message: &FromRunner) -> Result<()> {
        messages::write(&mut self.stream, message)
    }

    /// Sends what has changed since the last report, or all of it if a replica is gone.
    fn report(&mut self, reports: &Reports, refused: &Option<WorkRefusal>) -> Result<()> {
        let before = self.sent.as_ref();
        let is_gone = |sent: &BTreeMap<_, _>| sent.keys().any(|id| !reports.replicas.contains_key(id));
        let full = before.is_none_or(is_gone);
        let is_sent = |of: &&ReplicaReport| before.and_then(|sent| sent.get(&of.replica_id)) == Some(&of.seq);
        let changes = reports.replicas.values().filter(|of| full || !is_sent(of)).cloned().collect();
        let Reports { run, held, .. } = reports;
        let status = NodeStatus { run: run.clone(), full, held: *held, changes, refused: refused.clone() };
        self.say(&FromRunner { status: Some(status), ..FromRunner::empty() })?;
        self.sent = Some(reports.replicas.iter().map(|(id, of)| (id.clone(), of.seq)).collect());
        Ok(())
    }
}

/// True if nothing of a replica runs, or will.
fn is_over(report: &ReplicaReport) -> bool {
    matches!(report.status.state, RunWord::Stopped | RunWord::Completed | RunWord::Failed | RunWord::Refused)
}

fn refuse(mut stream: UnixStream, why: &str) {
    let _ = stream.set_write_timeout(Some(WRITE_TIME));
    // The peer may be gone already.
    let _ = messages::write(&mut stream, &FromRunner { refused: Some(why.to_string()), ..FromRunner::empty() });
}
