//! How a machine gets an identity, and how a node renews it.

use super::identity::Identity;
use crate::client::{Api, CallError, JoinBody};
use crate::clock::Timestamp;
use crate::crypto::{pki, signature};
use crate::error::Error;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::net::IpAddr;
use std::path::Path;

/// What a machine joins with.
pub struct JoinRequest<'a> {
    /// The secret of the join token.
    pub token: &'a str,
    /// The id wanted.
    pub node_id: &'a str,
    /// The name wanted.
    pub name: &'a str,
    /// `core`, `worker` or `gateway`.
    pub role: &'a str,
    /// Its address inside the mesh.
    pub mesh_ip: Option<&'a str>,
    /// Where its own API is reached.
    pub api_endpoint: Option<&'a str>,
    /// Labels, a JSON object or null.
    pub labels: Value,
    /// Seconds of the first lease.
    pub lease_ttl_s: i64,
}

/// Enrols this machine and keeps its identity in `dir`. Gives the server's answer.
pub fn join(api: &Api, dir: &Path, ask: &JoinRequest) -> std::result::Result<Value, String> {
    let said = |e: Error| crate::error::Chain(&e).to_string();
    let key = Identity::ensure_key(dir).map_err(said)?;
    let mut names = vec![ask.node_id.to_string()];
    let address = ask.mesh_ip.and_then(|ip| ip.split('/').next()?.parse::<IpAddr>().ok());
    names.extend(address.map(|ip| ip.to_string()));
    let csr_pem = key.csr_pem(ask.node_id, &names).map_err(said)?;
    let body = JoinBody {
        token: ask.token,
        node_id: ask.node_id,
        name: ask.name,
        role: ask.role,
        csr_pem: &csr_pem,
        mesh_ip: ask.mesh_ip,
        api_endpoint: ask.api_endpoint,
        labels: ask.labels.clone(),
        lease_ttl_seconds: ask.lease_ttl_s,
    };
    // A server that is another's, or is not there, is not told the token.
    api.reach().map_err(|e| e.to_string())?;
    let answer = api.join(&body).map_err(|e| e.to_string())?;
    Identity::keep(dir, &answer).map_err(said)?;
    Identity::keep_urls(dir, &api.urls()).map_err(said)?;
    Ok(answer)
}

/// Gets a new certificate and lease token for the key that the node is enrolled with. It stays the same key, so that an
/// answer that is lost on its way costs nothing: the next try proves itself with it again. [`Identity::write_down`] keeps what came.
pub fn renew(api: &Api, identity: &mut Identity, signed_at: i64) -> std::result::Result<(), CallError> {
    let inside = |e: Error| CallError::Unreachable(crate::error::Chain(&e).to_string());
    let node_id = identity.node_id.clone();
    let csr_pem = identity.key.csr_pem(&node_id, &pki::names(&identity.cert_pem)).map_err(inside)?;
    let message = signature::renewal_message(&node_id, signed_at, &csr_pem);
    let signature = BASE64_STANDARD.encode(identity.key.sign(&message).map_err(inside)?);
    let answer = api.renew(&node_id, &csr_pem, signed_at, &signature)?;
    identity.adopt(&answer).map_err(inside)
}

/// Whether half of the certificate's life is over.
pub fn renewal_is_due(cert_pem: &str, now: Timestamp) -> bool {
    pki::validity(cert_pem).is_none_or(|(from, until)| now.0 >= from.0 + (until.0 - from.0) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::crypto::pki::{CLUSTER, Ca, Csr, NodeKey};

    #[test]
    fn a_certificate_is_renewed_from_half_of_its_life_on() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-renewal-{}", std::process::id()));
        let csr = NodeKey::generate().and_then(|key| key.csr_pem("n", &[])).expect("a request");
        let csr = Csr::parse(&csr).expect("a sound request");
        let now = clock::now();
        let issued = Ca::create(&dir, &CLUSTER).and_then(|ca| ca.issue(&csr, "n", &[], 30, now)).expect("a certificate");
        for (days, due) in [(0, false), (14, false), (16, true), (40, true)] {
            assert_eq!(renewal_is_due(&issued.cert_pem, now.plus_secs(days * 86_400)), due, "after {days} days");
        }
        assert!(renewal_is_due("not a certificate", now));
        std::fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
