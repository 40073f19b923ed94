//! Getting an identity by a join, and renewing it.

use super::Linked;
use crate::agent::identity::Identity;
use crate::client::{Answered, Api, CallError};
use crate::clock::Timestamp;
use crate::crypto::pki::NodeKey;
use crate::crypto::{pki, signature};
use crate::model::ids::NodeId;
use crate::model::mesh_address::MeshAddress;
use crate::model::node_api::{Enrolment, JoinRequest, RenewalRequest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::path::Path;

/// Enrols this machine and keeps its identity in `dir`, whose key signs the request for a certificate.
pub fn join(api: &Api, dir: &Path, request: &JoinRequest) -> Linked<Answered<Enrolment>> {
    // The token is for the right server only: it has to prove itself first. A failed try leaves nothing here.
    api.reach()?;
    let is_new = !dir.exists();
    let key = Identity::ensure_key(dir)?;
    let mut names = vec![request.node_id.to_string()];
    let address = request.mesh_ip.as_ref().and_then(MeshAddress::address);
    names.extend(address.map(|ip| ip.to_string()));
    let csr_pem = key.csr_pem(request.node_id.as_str(), &names)?;
    let joined = api.join(&JoinRequest { csr_pem, ..request.clone() });
    // The key of a refused join is of no use; after a lost answer the next try needs it.
    if is_new && joined.as_ref().is_err_and(CallError::is_refusal) {
        let _ = std::fs::remove_dir_all(dir);
    }
    let answer = joined?;
    check(&answer.known, &request.node_id, &key)?;
    Identity::keep(dir, &answer.known)?;
    Identity::keep_urls(dir, &api.urls())?;
    Ok(answer)
}

/// Gets a new certificate and lease token for the key that the node is enrolled with. It stays the same key, so that an
/// answer that is lost costs nothing: the next try proves itself with it again. [`Identity::write_down`] keeps what
/// came.
pub fn renew(api: &Api, identity: &mut Identity, signed_at: i64) -> Linked<()> {
    let node_id = identity.node_id.clone();
    let csr_pem = identity.key.csr_pem(node_id.as_str(), &pki::names(&identity.cert_pem))?;
    let message = signature::renewal_message(node_id.as_str(), signed_at, &csr_pem);
    let signature = BASE64_STANDARD.encode(identity.key.sign(&message)?);
    let renewed = api.renew(&RenewalRequest { node_id: node_id.clone(), csr_pem, signed_at, signature })?;
    check(&renewed, &node_id, &identity.key)?;
    identity.adopt(renewed);
    Ok(())
}

/// Fails unless the certificate is this node's and for its key: another one would replace an identity that works.
fn check(given: &Enrolment, node_id: &NodeId, key: &NodeKey) -> Linked<()> {
    let cert_pem = &given.node_cert_pem;
    let has_key = pki::is_signed_by(cert_pem, cert_pem.as_bytes(), &key.sign(cert_pem.as_bytes())?);
    if has_key && pki::common_name(cert_pem).as_deref() == Some(node_id.as_str()) {
        return Ok(());
    }
    let why = format!("the control plane answered with a certificate that is not for the key of {node_id}");
    Err(CallError::Unreachable(format!("{why}; it was not kept")).into())
}

/// True if half of the certificate's life is over.
pub fn renewal_is_due(cert_pem: &str, now: Timestamp) -> bool {
    pki::validity(cert_pem).is_none_or(|(from, until)| now.0 >= from.0 + (until.0 - from.0) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::crypto::pki::{CLUSTER, Ca, Csr};

    #[test]
    fn a_certificate_is_renewed_from_half_of_its_life_on() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-renewal-{}", std::process::id()));
        let csr = NodeKey::generate().and_then(|key| key.csr_pem("n", &[])).expect("a request");
        let csr = Csr::parse(&csr).expect("a sound request");
        let now = clock::now();
        let issued =
            Ca::create(&dir, &CLUSTER).and_then(|ca| ca.issue(&csr, "n", &[], 30, now)).expect("a certificate");
        for (days, due) in [(0, false), (14, false), (16, true), (40, true)] {
            assert_eq!(renewal_is_due(&issued.cert_pem, now.plus_secs(days * 86_400)), due, "after {days} days");
        }
        assert!(renewal_is_due("not a certificate", now));
        std::fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
