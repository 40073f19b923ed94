//! Brings this machine to what the control plane wants: the ledger first, then what is missing, step by step. Whatever
//! takes a disk's or a program's time happens on this thread; the link does not wait for it.

pub mod plan;

use super::ledger::{Accepted, Heard, Ledger};
use super::updater::Updater;
use crate::clock;
use crate::error::Chain;
use crate::model::updates::{Request, State};
use crate::thread::{Watch, catch_panic};
use plan::{Seen, Step};
use std::time::{Duration, Instant};

/// Interval of looking at the machine where nothing new is wanted: what changes here is reported with the next
/// heartbeat.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The reconciler of a node.
pub struct Reconciler {
    accepted: Watch<Option<Accepted>>,
    ledger: Ledger,
    updater: Updater,
    state: Watch<Option<State>>,
    asked: Option<(Request, Instant)>,
    /// The last fault of what is wanted; each is logged once.
    refused: Option<String>,
}

impl Reconciler {
    /// Works towards what is `accepted`, and publishes the updater's state.
    pub fn new(accepted: Watch<Option<Accepted>>, ledger: Ledger, updater: Updater) -> Reconciler {
        let state = Watch::new(updater.observe());
        Reconciler { accepted, ledger, updater, state, asked: None, refused: None }
    }

    /// The updater's state as it was seen last.
    pub fn watch(&self) -> Watch<Option<State>> {
        self.state.clone()
    }

    /// Works until `accepted` is closed.
    pub fn run(&mut self) {
        let mut seen = 0;
        while let Some((accepted, version)) = self.accepted.wait(seen, LOOK_EVERY) {
            catch_panic("agent-reconcile", || self.turn(accepted.as_ref(), version != seen));
            seen = version;
        }
    }

    fn turn(&mut self, accepted: Option<&Accepted>, is_new: bool) {
        if let Some(accepted) = accepted.filter(|_| is_new) {
            self.ledger.write_down(accepted);
        }
        let state = self.updater.observe();
        if state != self.state.get() {
            self.state.set(state.clone());
        }
        let heard = accepted.filter(|_| is_new).and_then(|accepted| accepted.heartbeat.as_ref());
        if let Some(wanted) = heard {
            self.reconcile(wanted, state.as_ref());
        }
    }

    fn reconcile(&mut self, wanted: &Heard, updater: Option<&State>) {
        let seen = Seen { version: env!("CARGO_PKG_VERSION"), updater, asked: self.asked.as_ref() };
        for step in plan::plan(wanted, &seen) {
            self.apply(step);
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::RequestUpdate(request) => {
                self.refused = None;
                self.request_update(request);
            }
            Step::RefuseUpdate(why) => {
                if self.refused.as_ref() != Some(&why) {
                    log::warn!(
                        target: "agent", event = "agent.update_refused", faults = why;
                        "Ignored an invalid update request"
                    );
                    self.refused = Some(why);
                }
            }
        }
    }

    fn request_update(&mut self, request: Request) {
        match self.updater.request(&request) {
            Ok(()) => {
                log::info!(
                    target: "agent", event = "agent.update_wanted", update_id = request.id, version = request.version,
                    channel = request.channel; "Requested an update from this machine's updater"
                );
                self.asked = Some((request, clock::tick()));
            }
            Err(e) => {
                log::warn!(
                    target: "agent", event = "agent.update_unwritten", update_id = request.id, error:% = Chain(&e);
                    "Could not write an update request for this machine's updater; the next heartbeat retries"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;
    use crate::model::node_api::{Part, UpdateRequest};

    #[test]
    fn a_request_reaches_the_updater_and_its_state_comes_back() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-reconcile-{}", std::process::id()));
        files::private_dir(&dir).expect("a directory");
        let file = |name: &str| dir.join(name);
        let updater = Updater::new(file("update/request.json"), file("state.json"));
        assert_eq!(updater.observe(), None);
        let request = Request::from(UpdateRequest {
            id: "update-1.1".into(),
            channel: "stable".into(),
            version: "99.0.0".into(),
        });
        let steps = plan::plan(
            &Heard { update: Some(Part::Known(request.clone().into())), at: clock::now(), tick: clock::tick() },
            &Seen { version: "2.0.0", updater: None, asked: None },
        );
        assert_eq!(steps, [Step::RequestUpdate(request.clone())]);
        updater.request(&request).expect("it is written");
        let written = std::fs::read_to_string(file("update/request.json")).expect("the request");
        assert_eq!(Request::parse(&written), Ok(request));
        files::write(&file("state.json"), br#"{"state": "updated", "update_id": "update-1.1"}"#, files::PUBLIC)
            .expect("a state");
        assert!(updater.observe().is_some_and(|state| state.is_final()));
        std::fs::remove_file(file("state.json")).expect("it is there");
        rustix::fs::mkfifoat(rustix::fs::CWD, file("state.json"), rustix::fs::Mode::RUSR).expect("a pipe");
        assert_eq!(updater.observe(), None, "a pipe is not waited for");
        std::fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
