//! The updater of this machine, from the agent's side. It runs as root and takes a channel and a version from the
//! agent, and nothing else; its state file shows how its last run went.

use crate::error::Result;
use crate::files;
use crate::model::updates::{Request, STATE_BYTES_MAX, State};
use serde_json::json;
use std::path::PathBuf;

/// Directory that agent and updater share.
pub struct Updater {
    request: PathBuf,
    state: PathBuf,
}

impl Updater {
    /// Requests go to the file `request`; the updater keeps its state in the file `state`.
    pub fn new(request: PathBuf, state: PathBuf) -> Updater {
        Updater { request, state }
    }

    /// The updater's state. One that cannot be read counts as none: the control plane waits, and an operator looks.
    pub fn observe(&self) -> Option<State> {
        let text = files::read_untrusted(&self.state, STATE_BYTES_MAX).ok().flatten()?;
        serde_json::from_str(&text).ok()
    }

    /// Requests an update.
    pub fn request(&self, request: &Request) -> Result<()> {
        let text = json!(request).to_string() + "\n";
        self.request.parent().map_or(Ok(()), files::private_dir)?;
        files::write(&self.request, text.as_bytes(), files::PUBLIC)
    }
}
