//! Requests of relays, proven before a node follows them: each is for this node, new, and followed once.

use crate::clock::Timestamp;
use crate::crypto::work;
use crate::model::ids::NodeId;
use crate::model::node_work::NodeWork;
use crate::model::relay::{FORM, RelayRequest, SignedRequest, TERM_S};
use std::fmt;

/// Longest request, in bytes.
const DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// Requests that are remembered until they expire.
const REMEMBERED_MAX: usize = 256;

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The key is not one of this cluster's.
    Uncertified,
    /// The signature does not belong to the request.
    Unsigned,
    /// The request is in a form that this version does not know, or too long.
    Form,
    /// The request is for another node.
    Foreign,
    /// The request is too old, or from the future.
    Expired,
    /// The request has been followed already, or there are too many.
    Repeated,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Refusal::Uncertified => "its key was not certified by an authority that this node trusts",
            Refusal::Unsigned => "its signature is not genuine",
            Refusal::Form => "it is in a form that this version does not know: update this node's program",
            Refusal::Foreign => "it is for another node",
            Refusal::Expired => "its time is not now: is this machine's clock right?",
            Refusal::Repeated => "it was followed already",
        })
    }
}

/// The requests that were followed.
#[derive(Default)]
pub struct Followed(Vec<(String, Timestamp)>);

impl Followed {
    /// Proves a request that came with the node's work, at `now` by the server's clock, and uses it up.
    ///
    /// # Errors
    /// Fails with the reason if the request must not be followed.
    pub fn prove(
        &mut self,
        signed: &SignedRequest,
        work: &NodeWork,
        authorities_pem: &str,
        node_id: &NodeId,
        now: Timestamp,
    ) -> Result<RelayRequest, Refusal> {
        if signed.document.len() > DOCUMENT_BYTES_MAX {
            return Err(Refusal::Form);
        }
        if !work::is_certified(authorities_pem, &work.key_pem, &work.key_certificate) {
            return Err(Refusal::Uncertified);
        }
        if !work::is_relay_signed(&signed.document, &signed.signature, &work.key_pem) {
            return Err(Refusal::Unsigned);
        }
        let request: RelayRequest = serde_json::from_str(&signed.document).map_err(|_| Refusal::Form)?;
        if request.v != FORM {
            return Err(Refusal::Form);
        }
        if request.node_id != *node_id {
            return Err(Refusal::Foreign);
        }
        // The clock of the server is known to the second.
        if request.expires_at < now || request.expires_at > now.plus_secs(2 * TERM_S) {
            return Err(Refusal::Expired);
        }
        self.0.retain(|(_, expires_at)| *expires_at >= now);
        if self.0.len() >= REMEMBERED_MAX || self.0.iter().any(|(id, _)| *id == request.relay_id) {
            return Err(Refusal::Repeated);
        }
        self.0.push((request.relay_id.clone(), request.expires_at));
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::pki::{CLUSTER, Ca};
    use crate::crypto::work::WorkKey;
    use crate::files;
    use crate::model::node_work::WorkVersion;
    use crate::model::relay::{LogPart, Wants};

    #[test]
    fn foreign_old_altered_and_repeated_requests_are_refused() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-requests-{}", std::process::id()));
        files::private_dir(&dir.join("a")).expect("a directory");
        files::private_dir(&dir.join("b")).expect("a directory");
        let authority = Ca::create(&dir.join("a"), &CLUSTER).expect("an authority");
        let other = Ca::create(&dir.join("b"), &CLUSTER).expect("an authority");
        let (key, _) = WorkKey::generate().expect("a key");
        let own: NodeId = "n1".into();
        let work = NodeWork {
            node_id: own.clone(),
            version: WorkVersion { epoch: 1, version: 1 },
            document: String::new(),
            signature: String::new(),
            key_pem: key.public_pem(),
            key_certificate: key.certify(&authority).expect("certified"),
        };
        let now = Timestamp::from_secs(1_000_000);
        let signed = |relay_id: &str, node_id: &str, v: u32, lasts_s: i64| {
            let request = RelayRequest {
                v,
                relay_id: relay_id.to_string(),
                node_id: node_id.into(),
                expires_at: now.plus_secs(lasts_s),
                wants: Wants::Logs { replicas: vec!["s-1".into()], part: LogPart::default() },
            };
            let document = serde_json::to_string(&request).expect("JSON");
            SignedRequest { signature: key.sign_relay(&document), document }
        };
        let good = signed("r1", "n1", FORM, TERM_S);
        let altered = SignedRequest { document: good.document.replace("s-1", "s-2"), ..good.clone() };
        let as_work = SignedRequest { signature: key.sign(&good.document), ..good.clone() };
        let mut followed = Followed::default();
        let mut prove = |signed: &SignedRequest, authority: &Ca| {
            followed.prove(signed, &work, authority.cert_pem(), &own, now).map(|request| request.relay_id)
        };
        for (request, authority, expected) in [
            (&altered, &authority, Err(Refusal::Unsigned)),
            (&as_work, &authority, Err(Refusal::Unsigned)),
            (&good, &other, Err(Refusal::Uncertified)),
            (&signed("r1", "n2", FORM, TERM_S), &authority, Err(Refusal::Foreign)),
            (&signed("r1", "n1", FORM + 1, TERM_S), &authority, Err(Refusal::Form)),
            (&signed("r1", "n1", FORM, -1), &authority, Err(Refusal::Expired)),
            (&signed("r1", "n1", FORM, 3600), &authority, Err(Refusal::Expired)),
            (&good, &authority, Ok("r1".to_string())),
            (&good, &authority, Err(Refusal::Repeated)),
            (&signed("r2", "n1", FORM, 1), &authority, Ok("r2".to_string())),
        ] {
            assert_eq!(prove(request, authority), expected, "{}", request.document);
        }
        std::fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
