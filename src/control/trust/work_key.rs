//! The key that signs the work of nodes, and the number of this run of the control plane: `DATA_DIR/keys/work.key` and
//! `work.epoch`. The cluster's authority certifies the key, so a document proves its cluster too.

use crate::clock;
use crate::crypto::pki::Ca;
use crate::crypto::work::WorkKey;
use crate::error::{Chain, Error, Result};
use crate::files::{self, PRIVATE};
use crate::model::node_work::{Document, NodeWork};
use crate::model::relay::{RelayRequest, SignedRequest};
use crate::thread::lock;
use std::path::Path;
use std::sync::Mutex;

const KEY: &str = "work.key";
const EPOCH: &str = "work.epoch";

/// Signer of the nodes' work in this run.
pub struct Signer {
    key: WorkKey,
    /// Number of this run. It is greater than that of every earlier run, also of those that a restored backup does not
    /// know, unless the clock went back too.
    pub epoch: u64,
    /// The last authority that certified the key, and its signature.
    certificate: Mutex<Option<(String, String)>>,
}

impl Signer {
    /// Loads or creates the key, and begins an epoch.
    pub fn load(keys: &Path) -> Result<Signer> {
        let path = keys.join(KEY);
        let key = match files::read(&path)? {
            Some(pem) => WorkKey::from_pem(&pem).ok_or_else(|| {
                let why = format!(
                    "{} is damaged: restore it from a backup, or remove it (a new one is created, and nodes accept it)",
                    path.display()
                );
                Error::fault("read the key that signs work", why)
            })?,
            None => {
                let (key, pem) = WorkKey::generate()?;
                files::private_dir(keys)?;
                files::write(&path, pem.as_bytes(), PRIVATE)?;
                key
            }
        };
        Ok(Signer { key, epoch: begin(&keys.join(EPOCH)), certificate: Mutex::default() })
    }

    /// Signs a document for its node, with the key certified by this authority.
    pub fn sign(&self, document: &Document, authority: &Ca) -> Result<NodeWork> {
        let text = serde_json::to_string(document).map_err(|e| Error::fault("write a node's work", e.to_string()))?;
        Ok(NodeWork {
            node_id: document.node_id.clone(),
            version: document.version,
            signature: self.key.sign(&text),
            document: text,
            key_pem: self.key.public_pem(),
            key_certificate: self.certificate(authority)?,
        })
    }

    /// Signs a request for its node, which knows the key by its work.
    pub fn sign_relay(&self, request: &RelayRequest) -> Result<SignedRequest> {
        let document =
            serde_json::to_string(request).map_err(|e| Error::fault("write the request of a relay", e.to_string()))?;
        Ok(SignedRequest { signature: self.key.sign_relay(&document), document })
    }

    fn certificate(&self, authority: &Ca) -> Result<String> {
        let mut kept = lock(&self.certificate);
        if let Some((_, certificate)) = kept.as_ref().filter(|(pem, _)| pem == authority.cert_pem()) {
            return Ok(certificate.clone());
        }
        let certificate = self.key.certify(authority)?;
        *kept = Some((authority.cert_pem().to_string(), certificate.clone()));
        Ok(certificate)
    }
}

/// The next epoch: the time in seconds, or one more than the previous one. A file that cannot be written does not keep
/// the control plane from starting: the time alone makes the next epoch greater, too.
fn begin(path: &Path) -> u64 {
    let previous = files::read(path).ok().flatten().and_then(|text| text.trim().parse::<u64>().ok());
    let now = u64::try_from(clock::now().secs()).unwrap_or(0);
    let epoch = previous.map_or(now, |previous| now.max(previous.saturating_add(1)));
    if let Err(e) = files::write(path, format!("{epoch}\n").as_bytes(), PRIVATE) {
        log::warn!(
            target: "system", event = "work.epoch_unwritten", file:% = path.display(), error:% = Chain(&e);
            "Could not write the number of this run: is the disk full or read-only? If the clock goes back before the \
                next start, nodes refuse their work"
        );
    }
    epoch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::pki::CLUSTER;
    use crate::crypto::work;
    use crate::model::node_work::{FORM, WorkVersion};

    #[test]
    fn a_key_stays_and_epochs_grow() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-work-key-{}", std::process::id()));
        let (keys, pki) = (dir.join("keys"), dir.join("pki"));
        let first = Signer::load(&keys).expect("a signer");
        files::write(&keys.join(EPOCH), b"99999999999\n", PRIVATE).expect("written");
        let second = Signer::load(&keys).expect("a signer");
        assert!(second.epoch > first.epoch);
        assert_eq!((second.epoch, second.key.public_pem()), (100_000_000_000, first.key.public_pem()));
        files::private_dir(&pki).expect("a directory");
        let authority = Ca::create(&pki, &CLUSTER).expect("an authority");
        let document = Document {
            v: FORM,
            node_id: "n1".parse().expect("an id"),
            version: WorkVersion { epoch: second.epoch, version: 1 },
            replicas: Vec::new(),
            authorities: Vec::new(),
        };
        let signed = second.sign(&document, &authority).expect("signed");
        assert_eq!(signed, second.sign(&document, &authority).expect("signed"), "certified once");
        assert!(work::is_certified(authority.cert_pem(), &signed.key_pem, &signed.key_certificate));
        assert!(work::is_signed(&signed.document, &signed.signature, &signed.key_pem));
        assert!(!work::is_signed(&format!("{} ", signed.document), &signed.signature, &signed.key_pem));
        files::write(&keys.join(KEY), b"nothing", PRIVATE).expect("written");
        let why = Signer::load(&keys).map(drop).expect_err("damaged");
        assert!(Chain(&why).to_string().contains("work.key is damaged"), "{}", Chain(&why));
        std::fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
