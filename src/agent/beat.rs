//! One heartbeat, one renewal, one join: what a node says to the control plane, and what it makes of the answer.

use super::identity::Identity;
use crate::client::{Api, CallError, HeartbeatBody, JoinBody};
use crate::clock::{self, Timestamp};
use crate::crypto::{pki, signature};
use crate::error::Error;
use crate::model::addresses::Addresses;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use serde_json::value::RawValue;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// What a heartbeat may take in all is this part of its lease, within these bounds: what is late may be tried again before the lease ends.
const LEASE_PER_BEAT: u32 = 4;
const TIME: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));
/// A connection that is not made by then, to whatever of a URL's addresses, is tried at the next URL.
pub const CONNECT_TIME: Duration = Duration::from_secs(2);
/// A connection that is kept may be forgotten by a router in between: it gets this part of the heartbeat's time, and a fresh one the rest.
const KEPT_PART: u32 = 3;

/// What a machine joins with.
pub struct Joining<'a> {
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
pub fn join(api: &Api, dir: &Path, ask: &Joining) -> std::result::Result<Value, CallError> {
    let said = |e: Error| CallError::Unreachable(crate::error::Chain(&e).to_string());
    // A server that is another's, or is not there, is not told the token, and nothing is left here of the try.
    api.reach()?;
    let is_new = !dir.exists();
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
    let joined = api.join(&body);
    // The key of a refused join is of no use; after a lost answer the next try needs it.
    if is_new && joined.as_ref().is_err_and(CallError::is_refusal) {
        let _ = std::fs::remove_dir_all(dir);
    }
    let answer = joined?;
    Identity::keep(dir, &answer).map_err(said)?;
    Identity::keep_urls(dir, &api.urls()).map_err(said)?;
    Ok(answer)
}

/// Signs a heartbeat and sends it once; `status_patch` is JSON. Where the answer has a fresh lease token, that is used from here on;
/// [`Identity::write_down`] keeps it.
fn heartbeat(api: &Api, identity: &mut Identity, signed_at: i64, ttl_s: i64, status_patch: &str) -> std::result::Result<Value, CallError> {
    let inside = |e: Error| CallError::Unreachable(crate::error::Chain(&e).to_string());
    let patch: &RawValue =
        serde_json::from_str(status_patch).map_err(|e| CallError::Unreachable(format!("the status is not JSON: {e}")))?;
    let canonical = signature::canonical(patch.get()).map_err(CallError::Unreachable)?;
    let message = signature::heartbeat_message(&identity.node_id, &identity.lease_token, signed_at, ttl_s, &canonical);
    let signature = BASE64_STANDARD.encode(identity.key.sign(&message).map_err(inside)?);
    let answer = api.heartbeat(&HeartbeatBody {
        node_id: &identity.node_id,
        lease_token: &identity.lease_token,
        signed_at,
        ttl_seconds: ttl_s,
        status_patch: patch,
        signature: &signature,
    })?;
    if let Some(fresh) = answer["lease_token"].as_str() {
        identity.lease_token = fresh.to_string();
    }
    Ok(answer)
}

/// What a heartbeat may take, connecting and trying again included.
pub fn time(ttl_s: i64) -> Duration {
    (Duration::from_secs(ttl_s.unsigned_abs()) / LEASE_PER_BEAT).clamp(TIME.0, TIME.1)
}

/// Sends a heartbeat: over the connection that may be `kept`, then over fresh ones to each URL, as long as its time lasts.
pub fn deliver(
    api: &mut Api,
    identity: &mut Identity,
    clock: &mut ServerClock,
    ttl_s: i64,
    status_patch: &str,
    mut kept: bool,
) -> std::result::Result<Value, CallError> {
    let end = clock::tick() + time(ttl_s);
    let mut tries = api.urls().len();
    loop {
        let left = end.saturating_duration_since(clock::tick());
        api.limit(if kept { left / KEPT_PART } else { left }, CONNECT_TIME);
        let result = heartbeat(api, identity, clock.sign_at(), ttl_s, status_patch);
        api.limit(time(ttl_s), CONNECT_TIME);
        if !matches!(result, Err(CallError::Unreachable(_))) {
            return result;
        }
        match std::mem::take(&mut kept) {
            true => api.connect_again(),
            false => tries -= 1,
        }
        if tries == 0 || clock::tick() >= end {
            return result;
        }
    }
}

/// Where the control plane says that it is reached, if one of the node's authorities (PEM) signed it.
pub fn addresses(told: &Value, authorities_pem: &str) -> Option<Addresses> {
    let told: Addresses = serde_json::from_value(told.clone()).ok()?;
    let signature = BASE64_STANDARD.decode(&told.signature).ok()?;
    let is_genuine = told.is_sound() && pki::is_signed_by(authorities_pem, &Addresses::message(&told.urls, told.at), &signature);
    is_genuine.then_some(told)
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

/// The server's clock, as its answers tell it.
#[derive(Default)]
pub struct ServerClock {
    offset_s: i64,
    last_signed_at: i64,
}

/// A difference that is only the way's: not worth correcting.
const OFFSET_IGNORED_S: i64 = 2;

impl ServerClock {
    /// Learns the server's time from an answer; tells whether the local clock was found to be off by another amount.
    pub fn learn(&mut self, server_time: Option<Timestamp>) -> bool {
        let Some(server_time) = server_time else { return false };
        let offset_s = server_time.secs() - clock::now().secs();
        let offset_s = if offset_s.abs() <= OFFSET_IGNORED_S { 0 } else { offset_s };
        let news = (offset_s - self.offset_s).abs() > OFFSET_IGNORED_S;
        self.offset_s = offset_s;
        news
    }

    /// How far the local clock is off, in seconds; positive when it is behind.
    pub fn offset_s(&self) -> i64 {
        self.offset_s
    }

    /// The server's time now.
    pub fn now(&self) -> Timestamp {
        clock::now().plus_secs(self.offset_s)
    }

    /// The next time to sign at: now, and newer than every one before.
    pub fn sign_at(&mut self) -> i64 {
        self.last_signed_at = self.now().secs().max(self.last_signed_at + 1);
        self.last_signed_at
    }

    /// Forgets what was signed at before: a clock that ran ahead is not to hold back the right one.
    pub fn forget_signed(&mut self) {
        self.last_signed_at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::pki::{CLUSTER, Ca, Csr, NodeKey};

    #[test]
    fn addresses_are_taken_from_the_clusters_authorities_only() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-addresses-{}", std::process::id()));
        let [ours, before, foreign] =
            ["ours", "before", "foreign"].map(|name| Ca::create(&dir.join(name), &CLUSTER).expect("an authority"));
        let trusted = format!("{}{}", ours.cert_pem(), before.cert_pem());
        let urls = ["https://192.0.2.7:8000".to_string(), "https://[fd00::7]:8000".into()];
        let told = |by: &Ca, urls: &[String]| {
            let signature = BASE64_STANDARD.encode(by.sign(&Addresses::message(urls, 7)).expect("a signature"));
            serde_json::to_value(Addresses { urls: urls.to_vec(), at: 7, signature }).expect("JSON")
        };
        for by in [&ours, &before] {
            assert_eq!(addresses(&told(by, &urls), &trusted).map(|told| told.urls), Some(urls.to_vec()));
        }
        assert_eq!(addresses(&told(&foreign, &urls), &trusted), None);
        for (key, value) in [
            ("at", 8.into()),
            ("urls", serde_json::json!(["https://192.0.2.8:8000"])),
            ("signature", "AAAA".into()),
            ("signature", "?".into()),
        ] {
            let mut changed = told(&ours, &urls);
            changed[key] = value;
            assert_eq!(addresses(&changed, &trusted), None, "{key}");
        }
        let long = vec!["https://192.0.2.7:8000".to_string(); 17];
        for bad in [&["http://192.0.2.7:8000".to_string()][..], &["https://a\nhttps://b".into()], &[], &long] {
            assert_eq!(addresses(&told(&ours, bad), &trusted), None, "{bad:?}");
        }
        assert_eq!(addresses(&Value::Null, &trusted), None);
        std::fs::remove_dir_all(dir).expect("the directory is ours");
    }

    #[test]
    fn a_heartbeat_takes_a_quarter_of_its_lease_within_bounds() {
        for (ttl_s, ms) in [(10, 2500), (7, 2000), (20, 5000), (45, 10_000), (300, 10_000)] {
            assert_eq!(time(ttl_s), Duration::from_millis(ms), "a lease of {ttl_s} s");
        }
    }

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
