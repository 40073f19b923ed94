//! The server's local credential: a user who can read the data directory owns the cluster anyway, and needs no password
//! on its machine.
//!
//! Each start creates a new secret and writes it into `local.json`, for the directory's owner and root alone; a clean
//! stop removes it. It is valid only for connections from this machine itself, never through a proxy.

use crate::clock;
use crate::config::Config;
use crate::control::access::secrets::same_secret;
use crate::control::access::visitor::Place;
use crate::crypto::token;
use crate::error::{Chain, Doing, Result};
use crate::files;
use crate::model::events::catalogue::AUTH_LOCAL_USE;
use crate::model::ids::UserName;
use crate::model::local::{FILE, LocalCredential};
use crate::model::users::{Credential, Role, User};
use crate::store::{Store, events};
use crate::thread::lock;
use serde_json::json;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Name of the caller; no user can have it.
const NAME: &str = "(this machine)";
/// Time between tries to record its first use: each waits for the disk, and logs a line if it fails.
const RECORD_RETRY: Duration = Duration::from_secs(10);

/// The credential of this run of the server. Holds a secret, so it has no Debug.
pub struct Local {
    path: PathBuf,
    secret: String,
    listening: IpAddr,
    /// URL of the server, while the file is there.
    url: Mutex<Option<String>>,
    /// Earliest time to record the first use; `None` once it is recorded.
    record_at: Mutex<Option<Instant>>,
}

impl Local {
    pub(in crate::control) fn new(config: &Config, listening: SocketAddr) -> Local {
        let path = config.data_dir.join(FILE);
        Local {
            path,
            secret: token::local_secret(),
            listening: listening.ip().to_canonical(),
            url: Mutex::new(None),
            record_at: Mutex::new(Some(clock::tick())),
        }
    }

    /// Writes the credential where commands on this machine find it. A server that cannot write it works without it.
    pub fn publish(&self, url: String, authority: Option<String>) {
        *lock(&self.url) = Some(url.clone());
        self.write(url, authority);
    }

    /// Writes it again with a new authority of the server.
    pub fn follow(&self, authority: String) {
        if let Some(url) = lock(&self.url).clone() {
            self.write(url, Some(authority));
        }
    }

    fn write(&self, url: String, authority: Option<String>) {
        let content = json!(LocalCredential { url, authority, token: self.secret.clone() });
        if let Err(e) = files::write(&self.path, format!("{content}\n").as_bytes(), files::PRIVATE) {
            let path = self.path.display();
            log::warn!(target: "auth", event = "auth.local_unwritten", path:%, error:% = Chain(&e);
                "The local credential could not be written: commands here need a password");
        }
    }

    /// Removes the credential's file.
    pub fn withdraw(&self) {
        *lock(&self.url) = None;
        let removed = match std::fs::remove_file(&self.path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.doing("remove the local credential"),
        };
        if let Err(e) = removed {
            log::warn!(target: "auth", event = "auth.local_kept", error:% = Chain(&e); "The file of the local \
                credential could not be removed");
        }
    }

    /// The secret, for removal from texts.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// This machine as an admin, if this is the credential and it is used from here.
    pub(in crate::control) fn holder(&self, shown: &str, place: Place) -> Option<User> {
        let is_here = place.direct.is_some_and(|peer| peer.is_loopback() || peer == self.listening);
        let is_ours = same_secret(self.secret.as_bytes(), shown.as_bytes());
        (is_here && is_ours).then(|| User {
            name: UserName::of_row(NAME.to_string()),
            role: Role::Admin,
            credential: Credential::Local,
            restriction: None,
        })
    }

    /// Records the first use in this run of the server.
    pub fn note_use(&self, store: &Store) {
        {
            let mut record_at = lock(&self.record_at);
            if record_at.is_none_or(|at| clock::tick() < at) {
                return;
            }
            *record_at = Some(clock::tick() + RECORD_RETRY);
        }
        match record(store) {
            Ok(()) => *lock(&self.record_at) = None,
            Err(e) => log::warn!(
                target: "auth", event = "auth.unrecorded", error:% = Chain(&e);
                "A use of the local credential could not be recorded; a later use retries"
            ),
        }
    }
}

fn record(store: &Store) -> Result<()> {
    store.write(|w| events::record(w, AUTH_LOCAL_USE.with(json!({}))).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_loopback_and_from_the_address_that_the_server_listens_on() {
        let listening = SocketAddr::from(([192, 0, 2, 7], 8000));
        let local = Local::new(&Config::for_dir(&std::env::temp_dir()), listening);
        let holds = |shown: &str, direct: Option<IpAddr>| {
            local.holder(shown, Place { address: listening.ip(), is_local: false, direct }).is_some()
        };
        assert!(holds(local.secret(), Some([127, 0, 0, 1].into())) && holds(local.secret(), Some(listening.ip())));
        assert!(!holds(local.secret(), Some([192, 0, 2, 8].into())), "another machine");
        assert!(!holds(local.secret(), None), "a proxy");
        assert!(!holds(&token::local_secret(), Some([127, 0, 0, 1].into())), "another secret");
    }
}
