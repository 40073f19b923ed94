//! State from the control plane, as of the last accepted heartbeat, and the files that hold it: the identity, the
//! control plane's addresses, the status of this run. They are written before anything is done with what came, on the
//! reconciler's thread: a disk that hangs costs no heartbeat. What a disk does not take is tried again with each
//! heartbeat.

use super::identity::{Given, Identity, IdentityFiles};
use crate::clock::Timestamp;
use crate::error::{Chain, Result};
use crate::files;
use crate::model::ids::NodeId;
use crate::model::node_api::{Part, UpdateRequest};
use serde_json::json;
use std::time::Instant;

/// File beside the identity that shows the run, once the control plane has accepted a heartbeat of it.
pub const STATUS: &str = "status.json";

/// State that the control plane gave, and its requests.
#[derive(Clone)]
pub struct Accepted {
    /// The identity as it is now.
    pub given: Given,
    /// The control plane's URLs, where they are to be kept.
    pub urls: Option<Vec<String>>,
    /// The last accepted heartbeat of this run.
    pub heartbeat: Option<Heard>,
}

/// Changes that the answer to an accepted heartbeat made.
#[derive(Clone)]
pub struct Heard {
    /// The update that is wanted.
    pub update: Option<Part<UpdateRequest>>,
    /// When it came, for people.
    pub at: Timestamp,
    /// The same moment, for measuring.
    pub tick: Instant,
}

/// The run of an agent, from its start to its end.
#[derive(Clone)]
pub struct Run {
    /// A name that no other run has: whatever the clocks say, a restarted agent is seen to be another one.
    pub id: String,
    /// When it started.
    pub started_at: Timestamp,
}

/// The files of what was accepted.
pub struct Ledger {
    identity: IdentityFiles,
    node_id: NodeId,
    run: Run,
    /// Contents of the file of URLs, if this run wrote it.
    urls: Option<Vec<String>>,
    status_written: bool,
    /// Files that failed and were logged.
    identity_failed: bool,
    urls_failed: bool,
    status_failed: bool,
}

impl Ledger {
    /// The ledger beside this identity.
    pub fn new(identity: &Identity, run: Run) -> Ledger {
        Ledger {
            identity: identity.files(),
            node_id: identity.node_id.clone(),
            run,
            urls: None,
            status_written: false,
            identity_failed: false,
            urls_failed: false,
            status_failed: false,
        }
    }

    /// Writes down what is not in the files yet.
    pub fn write_down(&mut self, accepted: &Accepted) {
        self.write_identity(&accepted.given);
        if let Some(urls) = &accepted.urls {
            self.write_urls(urls);
        }
        if let Some(heard) = accepted.heartbeat.as_ref().filter(|_| !self.status_written) {
            self.write_run_status(heard.at);
        }
    }

    fn write_identity(&mut self, given: &Given) {
        let node_id = &self.node_id;
        let written = self.identity.write_down(given);
        match &written {
            Err(e) if !self.identity_failed => {
                log::error!(
                    target: "agent", event = "agent.identity_unwritten", node_id,
                    directory:% = self.identity.dir().display(), error:% = Chain(e);
                    "Could not write the identity that the control plane issued: is the disk full or read-only? It is \
                        used from memory, and every heartbeat tries to write it again; after a restart it may have to \
                        be renewed"
                );
            }
            Ok(()) if self.identity_failed => {
                log::info!(target: "agent", event = "agent.identity_written", node_id; "Wrote the identity again");
            }
            Err(_) | Ok(()) => {}
        }
        self.identity_failed = written.is_err();
    }

    fn write_urls(&mut self, urls: &Vec<String>) {
        if self.urls.as_ref() == Some(urls) {
            return;
        }
        let is_known = self.urls.is_none() && Identity::urls(self.identity.dir()).is_ok_and(|kept| kept == *urls);
        let written = if is_known { Ok(()) } else { Identity::keep_urls(self.identity.dir(), urls) };
        match written {
            Ok(()) => {
                self.urls = Some(urls.clone());
                self.urls_failed = false;
            }
            Err(e) => {
                if !std::mem::replace(&mut self.urls_failed, true) {
                    log::warn!(
                        target: "agent", event = "agent.addresses_unwritten", node_id = self.node_id,
                        error:% = Chain(&e);
                        "Could not write the control plane's addresses; they are lost when this agent ends"
                    );
                }
            }
        }
    }

    /// Shows the updater of this machine that the program works. Once in a run: written with every heartbeat it would
    /// wear out an SD card.
    fn write_run_status(&mut self, heartbeat_at: Timestamp) {
        match self.run_status(heartbeat_at) {
            Ok(()) => self.status_written = true,
            Err(e) => {
                if !std::mem::replace(&mut self.status_failed, true) {
                    log::warn!(
                        target: "agent", event = "agent.status_unwritten", node_id = self.node_id, error:% = Chain(&e);
                        "Could not write the status file; the next heartbeat retries"
                    );
                }
            }
        }
    }

    fn run_status(&self, heartbeat_at: Timestamp) -> Result<()> {
        let status = json!({
            "version": env!("CARGO_PKG_VERSION"), "run": self.run.id, "pid": std::process::id(),
            "node_id": self.node_id,
            "started_at": self.run.started_at, "heartbeat_at": heartbeat_at,
        });
        files::write(&self.identity.dir().join(STATUS), format!("{status}\n").as_bytes(), files::PUBLIC)
    }
}
