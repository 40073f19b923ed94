//! Updates, from the agent's side: what the control plane wants is written down for the updater of this machine, which runs as root and believes
//! none of it but a channel and a version; and what that updater tells of its last run is reported.

use crate::error::Chain;
use crate::files;
use crate::model::release::Version;
use crate::model::updates::{Request, STATE_BYTES_MAX, State};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Heartbeats until a request is written down once more that the updater has not answered: some ten minutes. What waits for the file sees
/// it change, and nothing else: a change while an update runs, or before a power cut, is lost to it.
const ASKED_AGAIN_AFTER: u32 = 40;

/// Where the agent and the updater of this machine meet.
pub struct Updates {
    request: PathBuf,
    state_file: PathBuf,
    state: Option<State>,
    /// What this run of the agent asked for, and how many heartbeats ago.
    asked: Option<(Request, u32)>,
}

impl Updates {
    /// The request goes to `request`; the updater keeps its state in `state_file`.
    pub fn new(request: PathBuf, state_file: PathBuf) -> Updates {
        Updates { request, state_file, state: None, asked: None }
    }

    /// Looks at the updater's state; tells whether there is news.
    pub fn poll_updater(&mut self) -> bool {
        // A state that cannot be read is none: the control plane waits, and an operator looks.
        let text = files::read_foreign(&self.state_file, STATE_BYTES_MAX).ok().flatten();
        let state = text.and_then(|text| serde_json::from_str(&text).ok());
        let news = state != self.state;
        self.state = state;
        news
    }

    /// What is reported of the updater's last run.
    pub fn report(&self) -> Option<Value> {
        let state = self.state.as_ref()?;
        Some(json!({"id": state.update_id, "state": state.state, "from": state.from, "to": state.to, "reason": state.reason}))
    }

    /// Writes down what a heartbeat's answer wants, until the updater has answered.
    pub fn accept(&mut self, wanted: &Value) {
        let Ok(request) = serde_json::from_value::<Request>(wanted.clone()) else { return };
        let faults = request.faults();
        if !faults.is_empty() {
            log::warn!(target: "agent", event = "agent.update_refused", faults = faults.join("; "); "Ignored an invalid update request");
            return;
        }
        let own = Version::parse(env!("CARGO_PKG_VERSION"));
        if own >= Version::parse(&request.version) {
            return;
        }
        if self.state.as_ref().is_some_and(|state| state.update_id == request.id && state.is_final()) {
            return;
        }
        if let Some((asked, beats)) = &mut self.asked
            && *asked == request
            && *beats < ASKED_AGAIN_AFTER
        {
            *beats += 1;
            return;
        }
        let text = json!(request).to_string() + "\n";
        let dir = self.request.parent().map_or(Ok(()), files::private_dir);
        match dir.and_then(|()| files::write(&self.request, text.as_bytes(), files::PUBLIC)) {
            Ok(()) => {
                self.asked = Some((request.clone(), 0));
                log::info!(target: "agent", event = "agent.update_wanted", update_id = request.id, version = request.version, channel = request.channel; "An update is wanted; the updater of this machine is asked")
            }
            Err(e) => {
                log::warn!(target: "agent", event = "agent.update_unwritten", update_id = request.id, error:% = Chain(&e); "An update is wanted, and the updater cannot be asked; the next heartbeat tries again")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_updater_is_asked_until_it_has_answered() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-asked-{}", std::process::id()));
        files::private_dir(&dir).expect("a directory");
        let (request, state) = (dir.join("request.json"), dir.join("state.json"));
        let agent = || Updates::new(request.clone(), state.clone());
        let wanted = json!({"id": "update-1.1", "channel": "stable", "version": "99.0.0"});
        // Whether a heartbeat writes the request down.
        let writes = |agent: &mut Updates| {
            let _ = fs::remove_file(&request);
            agent.poll_updater();
            agent.accept(&wanted);
            request.exists()
        };
        let mut first = agent();
        assert!(writes(&mut first) && !writes(&mut first), "once");
        // The power was cut before the updater saw it.
        let mut second = agent();
        assert!(writes(&mut second), "the file from before is no sign that anybody read it");
        files::write(&state, br#"{"state": "running", "update_id": "update-1.1"}"#, files::PUBLIC).expect("a state");
        assert_eq!((0..ASKED_AGAIN_AFTER).filter(|_| writes(&mut second)).count(), 0);
        assert!(writes(&mut second), "it was cut off, or another update ran");
        files::write(&state, br#"{"state": "failed", "update_id": "update-1.1"}"#, files::PUBLIC).expect("a state");
        assert!((0..=ASKED_AGAIN_AFTER).all(|_| !writes(&mut second)), "it has answered");
        assert!(!writes(&mut agent()));
        fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
