//! One heartbeat: signed, sent, and sent again over other connections as long as its time lasts.

use super::server_clock::ServerClock;
use super::{AgentError, Linked};
use crate::agent::identity::Identity;
use crate::client::{Answered, Api, CallError};
use crate::clock;
use crate::crypto::{pki, signature};
use crate::error::Error;
use crate::model::addresses::Addresses;
use crate::model::node_api::{HeartbeatAnswer, HeartbeatRequest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::RawValue;
use std::time::Duration;

/// Time limit of a heartbeat is this part of its lease, within these bounds: a late one may be tried again before the
/// lease ends.
const LEASE_PER_BEAT: u32 = 4;
const TIME: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));
/// A connection that is not made by then, to whatever of a URL's addresses, is tried at the next URL.
pub const CONNECT_TIME: Duration = Duration::from_secs(2);
/// A connection that is kept may be forgotten by a router in between: it gets this part of the heartbeat's time, and a
/// fresh one the rest.
const KEPT_PART: u32 = 3;

/// Signs a heartbeat and sends it once; `status_patch` is JSON. A fresh lease token in the answer is used from here on;
/// [`Identity::write_down`] keeps it.
fn heartbeat(
    api: &Api,
    identity: &mut Identity,
    signed_at: i64,
    ttl_s: i64,
    status_patch: &str,
) -> Linked<Answered<HeartbeatAnswer>> {
    let unsound = |why: String| Error::fault("sign a heartbeat", format!("the status is not sound JSON: {why}"));
    let canonical = signature::canonical(status_patch).map_err(unsound)?;
    let node_id = identity.node_id.as_str();
    let message = signature::heartbeat_message(node_id, &identity.lease_token, signed_at, ttl_s, &canonical);
    let answer = api.heartbeat(&HeartbeatRequest {
        node_id: identity.node_id.clone(),
        lease_token: identity.lease_token.clone(),
        signed_at,
        ttl_seconds: ttl_s,
        status_patch: RawValue::from_string(status_patch.to_string()).map_err(|e| unsound(e.to_string()))?,
        signature: BASE64_STANDARD.encode(identity.key.sign(&message)?),
    })?;
    if let Some(fresh) = &answer.known.lease_token {
        identity.lease_token = fresh.clone();
    }
    Ok(answer)
}

/// Time limit of a heartbeat, with connecting and retries.
pub fn time(ttl_s: i64) -> Duration {
    (Duration::from_secs(ttl_s.unsigned_abs()) / LEASE_PER_BEAT).clamp(TIME.0, TIME.1)
}

/// Sends a heartbeat: over the connection that may be `kept`, then over fresh ones to each URL, until its time is over.
pub fn deliver(
    api: &mut Api,
    identity: &mut Identity,
    clock: &mut ServerClock,
    ttl_s: i64,
    status_patch: &str,
    mut kept: bool,
) -> Linked<Answered<HeartbeatAnswer>> {
    let end = clock::tick() + time(ttl_s);
    let mut tries = api.urls().len();
    loop {
        let left = end.saturating_duration_since(clock::tick());
        api.limit(if kept { left / KEPT_PART } else { left }, CONNECT_TIME);
        let result = heartbeat(api, identity, clock.sign_at(), ttl_s, status_patch);
        api.limit(time(ttl_s), CONNECT_TIME);
        if !matches!(result, Err(AgentError::Call(CallError::Unreachable(_)))) {
            return result;
        }
        if std::mem::take(&mut kept) {
            api.connect_again();
        } else {
            tries -= 1;
        }
        if tries == 0 || clock::tick() >= end {
            return result;
        }
    }
}

/// True if one of the node's authorities (PEM) signed these addresses, and they can be used.
pub fn is_genuine(addresses: &Addresses, authorities_pem: &str) -> bool {
    let message = Addresses::message(&addresses.urls, addresses.at);
    let signature = BASE64_STANDARD.decode(&addresses.signature).ok();
    addresses.is_sound() && signature.is_some_and(|signature| pki::is_signed_by(authorities_pem, &message, &signature))
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
        let signed = |by: &Ca, urls: &[String]| {
            let signature = BASE64_STANDARD.encode(by.sign(&Addresses::message(urls, 7)).expect("a signature"));
            Addresses { urls: urls.to_vec(), at: 7, signature }
        };
        assert!(is_genuine(&signed(&ours, &urls), &trusted) && is_genuine(&signed(&before, &urls), &trusted));
        assert!(!is_genuine(&signed(&foreign, &urls), &trusted));
        let sound = signed(&ours, &urls);
        let others = vec!["https://192.0.2.8:8000".to_string()];
        for changed in [
            Addresses { at: 8, ..sound.clone() },
            Addresses { urls: others, ..sound.clone() },
            Addresses { signature: "AAAA".into(), ..sound.clone() },
            Addresses { signature: "?".into(), ..sound },
        ] {
            assert!(!is_genuine(&changed, &trusted), "{changed:?}");
        }
        let long = vec!["https://192.0.2.7:8000".to_string(); 17];
        for bad in [&["http://192.0.2.7:8000".to_string()][..], &["https://a\nhttps://b".into()], &[], &long] {
            assert!(!is_genuine(&signed(&ours, bad), &trusted), "{bad:?}");
        }
        std::fs::remove_dir_all(dir).expect("the directory is ours");
    }

    #[test]
    fn a_heartbeat_takes_a_quarter_of_its_lease_within_bounds() {
        for (ttl_s, ms) in [(10, 2500), (7, 2000), (20, 5000), (45, 10_000), (300, 10_000)] {
            assert_eq!(time(ttl_s), Duration::from_millis(ms), "a lease of {ttl_s} s");
        }
    }
}
