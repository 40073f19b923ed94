//! Updates, from the agent's side: what the control plane wants is written down for the updater of this machine, which runs as root and believes
//! none of it but a channel and a version; and what that updater tells of its last run is reported.

use crate::error::Chain;
use crate::files;
use crate::model::release::Version;
use crate::model::updates::{REQUEST_BYTES_MAX, Request, STATE_BYTES_MAX, State};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Where the agent and the updater of this machine meet.
pub struct Updates {
    request: PathBuf,
    state_file: PathBuf,
    state: Option<State>,
}

impl Updates {
    /// The request goes to `request`; the updater keeps its state in `state_file`.
    pub fn new(request: PathBuf, state_file: PathBuf) -> Updates {
        Updates { request, state_file, state: None }
    }

    /// Looks at the updater's state; tells whether there is news.
    pub fn look(&mut self) -> bool {
        // A state that cannot be read is none: the control plane waits, and an operator looks.
        let text = files::read_foreign(&self.state_file, STATE_BYTES_MAX).ok().flatten();
        let state = text.and_then(|text| serde_json::from_str(&text).ok());
        let news = state != self.state;
        self.state = state;
        news
    }

    /// What is reported of the updater's last run.
    pub fn told(&self) -> Option<Value> {
        let state = self.state.as_ref()?;
        Some(json!({"id": state.update_id, "state": state.state, "from": state.from, "to": state.to, "reason": state.reason}))
    }

    /// Writes down what a heartbeat's answer wants, if it is not there already.
    pub fn heed(&self, wanted: &Value) {
        let Ok(request) = serde_json::from_value::<Request>(wanted.clone()) else { return };
        let faults = request.faults();
        if !faults.is_empty() {
            log::warn!(target: "agent", event = "agent.update_refused", faults = faults.join("; "); "The control plane wants an update that is none");
            return;
        }
        let own = Version::parse(env!("CARGO_PKG_VERSION"));
        if own >= Version::parse(&request.version) {
            return;
        }
        let there = files::read_foreign(&self.request, REQUEST_BYTES_MAX).ok().flatten();
        if there.is_some_and(|text| Request::parse(&text).is_ok_and(|there| there == request)) {
            return;
        }
        let text = json!(request).to_string() + "\n";
        let dir = self.request.parent().map_or(Ok(()), files::private_dir);
        match dir.and_then(|()| files::write(&self.request, text.as_bytes(), files::PUBLIC)) {
            Ok(()) => {
                log::info!(target: "agent", event = "agent.update_wanted", update_id = request.id, version = request.version, channel = request.channel; "An update is wanted; the updater of this machine is asked")
            }
            Err(e) => {
                log::warn!(target: "agent", event = "agent.update_unwritten", update_id = request.id, error:% = Chain(&e); "An update is wanted, and the updater cannot be asked; the next heartbeat tries again")
            }
        }
    }
}
