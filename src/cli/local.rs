//! The local credential, as commands find it: on the server's own machine the data directory is the proof.

use super::args::Args;
use super::config::DOTENV;
use crate::client::{Api, Source, Trust};
use crate::config::Dotenv;
use crate::model::local::{FILE, LocalCredential};
use crate::offline;
use crate::sys::owner;
use crate::{files, json};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Settings of the installed service.
const SERVICE_SETTINGS: &str = "/etc/uptimemesh/uptimemesh.env";
/// Its data directory, where those do not name another.
const SERVICE_DATA: &str = "/var/lib/uptimemesh";
/// Largest file, in bytes.
const BYTES_MAX: u64 = 4096;

/// A running server's credential, and the directory that it is in.
pub struct Local {
    dir: PathBuf,
    credential: LocalCredential,
}

impl Local {
    /// Finds the credential of a server that runs on this machine: in the directory that is named, or else below the
    /// current one, or else where the installed service has its data. One that this user may not read does not count.
    pub fn find(args: &Args) -> Option<Local> {
        let env = std::env::var("DATA_DIR").ok().filter(|dir| !dir.is_empty());
        if let Some(dir) = args.get("data-dir").map(str::to_string).or(env) {
            return Local::read(PathBuf::from(dir), true);
        }
        let here = said_in(Path::new(DOTENV), true).unwrap_or("data".into());
        // What lies about in a directory is this user's own, or it could lead to another server.
        Local::read(here, false).or_else(|| {
            let dir = said_in(Path::new(SERVICE_SETTINGS), false).unwrap_or(SERVICE_DATA.into());
            Local::read(dir, true)
        })
    }

    fn read(dir: PathBuf, is_named: bool) -> Option<Local> {
        let file = files::open_guarded(&dir.join(FILE)).ok()?;
        let found = file.metadata().ok()?;
        let is_private = found.mode() & 0o077 == 0;
        if !is_private || !(found.uid() == owner::user() || (is_named && owner::user() == 0)) {
            return None;
        }
        let mut text = String::new();
        file.take(BYTES_MAX).read_to_string(&mut text).ok()?;
        let credential = json::kept(&text).ok().and_then(|value| serde_json::from_value(value).ok())?;
        // What a crash left is of no use, and its port may be another program's by now.
        offline::runs_on(&dir).then_some(Local { dir, credential })
    }

    /// True if this URL is the server's.
    pub fn is_at(&self, url: &str) -> bool {
        normal(&self.credential.url) == normal(url)
    }

    /// The server, without signing in.
    pub fn api(&self) -> Result<Api, String> {
        let trust = self.credential.authority.clone().map(|authority| Trust::Pinned(vec![authority]));
        let file = self.dir.join(FILE);
        let api = Api::with(std::slice::from_ref(&self.credential.url), trust, None)?;
        Ok(api.by(Source {
            name: format!("the local credential in {}", file.display()),
            refused: "the server was started again just now, or another program answers there; try again".to_string(),
            foreign: "another program answers there".to_string(),
        }))
    }

    /// The secret.
    pub fn token(&self) -> String {
        self.credential.token.clone()
    }
}

/// The data directory that a settings file names; of files in the current directory only this user's own are read.
fn said_in(file: &Path, only_own: bool) -> Option<PathBuf> {
    let found = file.metadata().ok()?;
    if only_own && found.uid() != owner::user() {
        return None;
    }
    let dir = Dotenv::read(file).ok()??.get("DATA_DIR").to_string();
    (!dir.is_empty()).then(|| PathBuf::from(dir))
}

/// A URL in the one form that is compared: every name of loopback is the same machine.
pub fn normal(url: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (scheme, path) = (scheme.to_ascii_lowercase(), rest.find('/').map_or("", |at| &rest[at..]));
    let rest = rest[..rest.len() - path.len()].to_ascii_lowercase();
    let host_end = if rest.starts_with('[') {
        rest.find(']').map_or(rest.len(), |at| at + 1)
    } else {
        rest.find(':').unwrap_or(rest.len())
    };
    let (host, after) = rest.split_at(host_end);
    let host = if matches!(host, "localhost" | "[::1]") { "127.0.0.1" } else { host };
    format!("{scheme}://{host}{after}{path}")
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn names_of_loopback_are_one_machine() {
        for url in ["http://127.0.0.1:8000", "HTTP://LocalHost:8000/", " http://[::1]:8000"] {
            assert_eq!(normal(url), "http://127.0.0.1:8000");
        }
        assert_eq!(normal("https://CP.example/Mesh/"), "https://cp.example/Mesh");
        assert_ne!(normal("http://127.0.0.1:8000"), normal("https://127.0.0.1:8000"));
        assert_ne!(normal("http://[fd00::1]:8000"), normal("http://[fd00::2]:8000"));
    }
}
