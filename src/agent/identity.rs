//! A node's identity on its own disk: key, certificate, the authority's certificate, lease token. Every file is replaced
//! as a whole, and the key is there before anybody is asked to trust it.

use crate::crypto::pki::NodeKey;
use crate::error::{Error, Result};
use crate::files::{self, PRIVATE, PUBLIC};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The node's private key.
pub const KEY: &str = "node.key";
/// The node's certificate.
pub const CERT: &str = "node.crt";
/// The authority's certificate.
pub const CA: &str = "ca.crt";
/// Where the control plane is reached, a URL on each line.
pub const URLS: &str = "api.urls";
/// The lease token.
pub const LEASE: &str = "lease.token";

/// An identity. Holds a private key, so it has no Debug.
pub struct Identity {
    /// Where it is kept.
    pub dir: PathBuf,
    /// Whose it is.
    pub node_id: String,
    /// The node's key.
    pub key: NodeKey,
    /// The node's certificate, PEM.
    pub cert_pem: String,
    /// The certificates of the cluster's authorities, PEM.
    pub ca_pem: String,
    /// What it shows with every heartbeat.
    pub lease_token: String,
}

impl Identity {
    /// Whether there is one in this directory.
    pub fn exists(dir: &Path) -> bool {
        dir.join(KEY).exists() && dir.join(CERT).exists() && dir.join(LEASE).exists()
    }

    /// Reads one.
    pub fn load(dir: &Path, node_id: &str) -> Result<Identity> {
        let text = |name: &str| {
            let missing = || {
                let why = format!("{} is not there: join first (uptimemesh join --help)", dir.join(name).display());
                Error::Unavailable(why)
            };
            files::read(&dir.join(name))?.ok_or_else(missing)
        };
        Ok(Identity {
            dir: dir.to_path_buf(),
            node_id: node_id.to_string(),
            key: NodeKey::from_pem(&text(KEY)?)?,
            cert_pem: text(CERT)?,
            ca_pem: text(CA)?,
            lease_token: text(LEASE)?.trim().to_string(),
        })
    }

    /// The key in this directory, made now if there is none.
    pub fn ensure_key(dir: &Path) -> Result<NodeKey> {
        files::private_dir(dir)?;
        if let Some(pem) = files::read(&dir.join(KEY))? {
            return NodeKey::from_pem(&pem);
        }
        let key = NodeKey::generate()?;
        files::write(&dir.join(KEY), key.to_pem().as_bytes(), PRIVATE)?;
        Ok(key)
    }

    /// Keeps what a join or a renewal gave.
    pub fn keep(dir: &Path, enrolment: &Value) -> Result<()> {
        let text = |key: &str| {
            enrolment[key].as_str().ok_or_else(|| Error::fault("keep an identity", format!("the server's answer has no {key}")))
        };
        let (cert, ca, lease) = (text("node_cert_pem")?, text("ca_cert_pem")?, text("lease_token")?);
        files::write(&dir.join(CA), ca.as_bytes(), PUBLIC)?;
        files::write(&dir.join(CERT), cert.as_bytes(), PUBLIC)?;
        files::write(&dir.join(LEASE), lease.as_bytes(), PRIVATE)
    }

    /// Where the control plane is reached, as it was kept when this node joined.
    pub fn urls(dir: &Path) -> Result<Vec<String>> {
        Ok(files::read(&dir.join(URLS))?.unwrap_or_default().lines().map(str::to_string).filter(|url| !url.is_empty()).collect())
    }

    /// Keeps where the control plane is reached.
    pub fn keep_urls(dir: &Path, urls: &[String]) -> Result<()> {
        files::write(&dir.join(URLS), (urls.join("\n") + "\n").as_bytes(), PUBLIC)
    }

    /// Keeps a fresh lease token.
    pub fn keep_lease_token(&mut self, token: &str) -> Result<()> {
        files::write(&self.dir.join(LEASE), token.as_bytes(), PRIVATE)?;
        self.lease_token = token.to_string();
        Ok(())
    }
}
