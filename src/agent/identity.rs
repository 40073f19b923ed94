//! A node's identity on its own disk: key, certificate, the authority's certificate, lease token. Every file is
//! replaced as a whole, and the key exists before the control plane is to trust it. A directory of identities has one
//! directory for each, `<node-id>/`.

use crate::crypto::pki::{self, NodeKey};
use crate::error::{Doing, Error, Result};
use crate::files::{self, PRIVATE, PUBLIC};
use crate::model::ids::NodeId;
use crate::model::node_api::Enrolment;
use crate::thread::lock;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// The node's private key.
pub const KEY: &str = "node.key";
/// The node's certificate.
pub const CERT: &str = "node.crt";
/// The authority's certificate.
pub const CA: &str = "ca.crt";
/// Addresses of the control plane, a URL on each line.
pub const URLS: &str = "api.urls";
/// The lease token.
pub const LEASE: &str = "lease.token";

/// An identity. Holds a private key, so it has no Debug. Clones share what is known of its files.
#[derive(Clone)]
pub struct Identity {
    /// Its directory.
    pub dir: PathBuf,
    /// Whose it is.
    pub node_id: NodeId,
    /// The node's key.
    pub key: Arc<NodeKey>,
    /// The node's certificate, PEM.
    pub cert_pem: String,
    /// The certificates of the cluster's authorities, PEM.
    pub ca_pem: String,
    /// Lease token, sent with every heartbeat.
    pub lease_token: String,
    joined: u64,
    /// Contents of its files, as far as known.
    kept: Arc<Mutex<Given>>,
}

/// The control plane's part of an identity.
#[derive(Clone, PartialEq)]
pub struct Given {
    cert_pem: String,
    ca_pem: String,
    lease_token: String,
    /// Grows with each join beside the running agent: what belongs to an earlier one is not written over it.
    joined: u64,
}

/// The files of an identity. Clones share what is known of their contents: a disk may refuse what was given.
#[derive(Clone)]
pub struct IdentityFiles {
    dir: PathBuf,
    kept: Arc<Mutex<Given>>,
}

impl From<Enrolment> for Given {
    fn from(enrolment: Enrolment) -> Given {
        Given {
            cert_pem: enrolment.node_cert_pem,
            ca_pem: enrolment.ca_cert_pem,
            lease_token: enrolment.lease_token,
            joined: 0,
        }
    }
}

impl Given {
    fn write(&self, dir: &Path) -> Result<()> {
        files::write(&dir.join(CA), self.ca_pem.as_bytes(), PUBLIC)?;
        files::write(&dir.join(CERT), self.cert_pem.as_bytes(), PUBLIC)?;
        files::write(&dir.join(LEASE), self.lease_token.as_bytes(), PRIVATE)
    }
}

impl IdentityFiles {
    /// Their directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes what is not in the files yet.
    pub fn write_down(&self, given: &Given) -> Result<()> {
        // Held until the files are written: the link must not take over another identity meanwhile.
        let mut kept = lock(&self.kept);
        if *given == *kept || given.joined < kept.joined {
            return Ok(());
        }
        if given.cert_pem == kept.cert_pem && given.ca_pem == kept.ca_pem {
            files::write(&self.dir.join(LEASE), given.lease_token.as_bytes(), PRIVATE)?;
        } else {
            given.write(&self.dir)?;
        }
        *kept = given.clone();
        Ok(())
    }
}

/// The identities in a directory of them, by node id. A directory with another node's certificate (a copy
/// that was set aside) does not count. An identity whose files are in the directory itself, as version 2.0.0 wrote
/// them, is one of them.
pub fn all_in(dir: &Path) -> Vec<(NodeId, PathBuf)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<NodeId>().ok()?, entry.path())));
    let is_own = |(id, dir): &(NodeId, PathBuf)| Identity::exists(dir) && owner(dir).is_none_or(|cn| cn == *id);
    let mut found: Vec<_> = named.filter(is_own).collect();
    if Identity::exists(dir)
        && let Some(id) = owner(dir)
        && !found.iter().any(|(other, _)| *other == id)
    {
        found.push((id, dir.to_path_buf()));
    }
    found.sort();
    found
}

/// Directory of a node's identity, in a directory of identities.
pub fn place(dir: &Path, node_id: &NodeId) -> PathBuf {
    let own = dir.join(node_id.as_str());
    let direct = !Identity::exists(&own) && Identity::exists(dir) && owner(dir).as_ref() == Some(node_id);
    if direct { dir.to_path_buf() } else { own }
}

/// When the identity in this directory got its lease token.
pub fn used_at(dir: &Path) -> Option<SystemTime> {
    std::fs::metadata(dir.join(LEASE)).and_then(|found| found.modified()).ok()
}

/// Whose certificate is in this directory.
fn owner(dir: &Path) -> Option<NodeId> {
    pki::common_name(&files::read(&dir.join(CERT)).ok()??)?.parse().ok()
}

impl Identity {
    /// True if this directory holds an identity.
    pub fn exists(dir: &Path) -> bool {
        dir.join(KEY).exists() && dir.join(CERT).exists() && dir.join(LEASE).exists()
    }

    /// Reads one.
    pub fn load(dir: &Path, node_id: &NodeId) -> Result<Identity> {
        let text = |name: &str| {
            let missing = || {
                let why = format!("{} is not there: join first (uptimemesh join --help)", dir.join(name).display());
                Error::Unavailable(why)
            };
            files::read(&dir.join(name))?.ok_or_else(missing)
        };
        let key = Arc::new(NodeKey::from_pem(&text(KEY)?)?);
        let lease_token = text(LEASE)?.trim().to_string();
        let given = Given { cert_pem: text(CERT)?, ca_pem: text(CA)?, lease_token, joined: 0 };
        Ok(Identity {
            dir: dir.to_path_buf(),
            node_id: node_id.clone(),
            key,
            cert_pem: given.cert_pem.clone(),
            ca_pem: given.ca_pem.clone(),
            lease_token: given.lease_token.clone(),
            joined: 0,
            kept: Arc::new(Mutex::new(given)),
        })
    }

    /// The key in this directory, created if there is none. Fails if nothing can be written: what a join gives could
    /// not be kept.
    pub fn ensure_key(dir: &Path) -> Result<NodeKey> {
        files::private_dir(dir)?;
        let probe = dir.join("probe");
        files::write(&probe, b"", PRIVATE)?;
        std::fs::remove_file(probe).doing("remove a file")?;
        if let Some(pem) = files::read(&dir.join(KEY))? {
            return NodeKey::from_pem(&pem);
        }
        let key = NodeKey::generate()?;
        files::write(&dir.join(KEY), key.to_pem().as_bytes(), PRIVATE)?;
        Ok(key)
    }

    /// Keeps what a join gave.
    pub fn keep(dir: &Path, enrolment: &Enrolment) -> Result<()> {
        Given::from(enrolment.clone()).write(dir)
    }

    /// Uses what a renewal gave, from here on.
    pub fn adopt(&mut self, enrolment: Enrolment) {
        let given = Given::from(enrolment);
        self.cert_pem = given.cert_pem;
        self.ca_pem = given.ca_pem;
        self.lease_token = given.lease_token;
    }

    /// The identity in use.
    pub fn given(&self) -> Given {
        Given {
            cert_pem: self.cert_pem.clone(),
            ca_pem: self.ca_pem.clone(),
            lease_token: self.lease_token.clone(),
            joined: self.joined,
        }
    }

    /// Its files.
    pub fn files(&self) -> IdentityFiles {
        IdentityFiles { dir: self.dir.clone(), kept: Arc::clone(&self.kept) }
    }

    /// Writes what is used and not in the files yet.
    pub fn write_down(&self) -> Result<()> {
        self.files().write_down(&self.given())
    }

    /// The identity that another program has put into the files since they were read or written here.
    pub fn replaced(&self) -> Option<Identity> {
        let mut kept = lock(&self.kept);
        let found = Identity::load(&self.dir, &self.node_id).ok()?;
        if found.lease_token == kept.lease_token {
            return None;
        }
        let found = Identity { joined: kept.joined + 1, kept: Arc::clone(&self.kept), ..found };
        *kept = found.given();
        Some(found)
    }

    /// Addresses of the control plane, as kept on disk.
    pub fn urls(dir: &Path) -> Result<Vec<String>> {
        Ok(files::read(&dir.join(URLS))?
            .unwrap_or_default()
            .lines()
            .map(str::to_string)
            .filter(|url| !url.is_empty())
            .collect())
    }

    /// Keeps where the control plane is reached.
    pub fn keep_urls(dir: &Path, urls: &[String]) -> Result<()> {
        files::write(&dir.join(URLS), (urls.join("\n") + "\n").as_bytes(), PUBLIC)
    }
}
