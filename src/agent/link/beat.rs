//! One heartbeat: signed, sent, and sent again over other connections as long as its time lasts.

use super::identity::Identity;
use super::server_clock::ServerClock;
use crate::client::{Api, CallError, HeartbeatBody};
use crate::clock;
use crate::crypto::{pki, signature};
use crate::error::Error;
use crate::model::addresses::Addresses;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::Duration;

/// What a heartbeat may take in all is this part of its lease, within these bounds: what is late may be tried again before the lease ends.
const LEASE_PER_BEAT: u32 = 4;
const TIME: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));
/// A connection that is not made by then, to whatever of a URL's addresses, is tried at the next URL.
pub const CONNECT_TIME: Duration = Duration::from_secs(2);
/// A connection that is kept may be forgotten by a router in between: it gets this part of the heartbeat's time, and a fresh one the rest.
const KEPT_PART: u32 = 3;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::pki::{CLUSTER, Ca};

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
}
