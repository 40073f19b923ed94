//! Identifies the calling node by its client certificate or signed headers.

use crate::control::Control;
use crate::control::access::node_proofs::{self, Call, NodeCaller, Shown};
use crate::error::{Error, Result};
use crate::http::Request;
use crate::model::ids::NodeId;
use crate::model::node_calls::{self, LEASE_TOKEN, RUN, SIGNATURE, SIGNED_AT};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Maximum length of a lease token, in bytes.
const LEASE_TOKEN_BYTES_MAX: usize = 2048;
/// Maximum length of the signing time, in digits: the milliseconds of every year of four digits have fewer.
const SIGNED_AT_BYTES_MAX: usize = 15;
/// Maximum length of a run's name, in bytes: two names of 64 characters.
const RUN_BYTES_MAX: usize = 129;
/// Maximum length of a signature in base64, in bytes: RSA with 8,192 bits has 1,368.
const SIGNATURE_BYTES_MAX: usize = 2048;

const MALFORMED: &str = "A call signed by a node must have each of these headers once: X-UptimeMesh-Lease-Token, \
    X-UptimeMesh-Signed-At (epoch milliseconds) and X-UptimeMesh-Signature (base64). X-UptimeMesh-Run (<run>/<boot>) \
    is optional.";
const NOT_A_NODE: &str = "Only nodes may call this: present the node's client certificate, or sign the call \
                          with its key.";

/// The calling node, or the reason for refusing it.
pub(super) fn prove(control: &Control, request: &Request, is_user: bool) -> Result<NodeCaller> {
    let Some(shown) = shown(control, request)? else {
        return Err(if is_user { refused(NOT_A_NODE) } else { Error::unauthenticated() });
    };
    let run = match one(request, RUN, RUN_BYTES_MAX)? {
        Some(text) => Some(node_calls::parse_run(text).ok_or_else(|| refused(MALFORMED))?),
        None => None,
    };
    let target = match request.query.as_str() {
        "" => request.path.clone(),
        query => format!("{}?{query}", request.path),
    };
    node_proofs::prove(
        control,
        &Call { shown, run, method: request.method.as_str(), target: &target, body: &request.body },
    )
}

/// The node that pays for a call before it is proven.
pub(super) fn sealed(control: &Control, request: &Request) -> Option<NodeId> {
    node_proofs::sealed(control, &shown(control, request).ok()??)
}

/// The proof in a request: the connection's certificate, unless a renewal has replaced it while the connection was kept
/// and the call is signed, too.
fn shown<'r>(control: &Control, request: &'r Request) -> Result<Option<Shown<'r>>> {
    let signature = signature(request)?;
    let certificate = certificate(request)
        .filter(|der| signature.is_none() || node_proofs::certified(control, der).is_some())
        .map(Shown::Certificate);
    Ok(certificate.or(signature))
}

/// The client certificate of the connection. It belongs to the calling node only if no proxy stands between: a proxy
/// that shows one of its own would lend it to every caller.
fn certificate(request: &Request) -> Option<&[u8]> {
    request.certificate.as_deref().filter(|_| !request.is_passed_on())
}

/// The signature in the headers.
fn signature(request: &Request) -> Result<Option<Shown<'_>>> {
    let lease_token = one(request, LEASE_TOKEN, LEASE_TOKEN_BYTES_MAX)?;
    let signed_at = one(request, SIGNED_AT, SIGNED_AT_BYTES_MAX)?;
    let signature = one(request, SIGNATURE, SIGNATURE_BYTES_MAX)?;
    match (lease_token, signed_at, signature) {
        (None, None, None) => Ok(None),
        (Some(lease_token), Some(signed_at), Some(signature)) => {
            let digits = signed_at.bytes().all(|b| b.is_ascii_digit());
            let signed_at_ms = signed_at.parse().ok().filter(|_| digits).ok_or_else(|| refused(MALFORMED))?;
            let signature = BASE64_STANDARD.decode(signature).map_err(|_| refused(MALFORMED))?;
            Ok(Some(Shown::Signature { lease_token, signed_at_ms, signature }))
        }
        _ => Err(refused(MALFORMED)),
    }
}

/// The only header of this name. If there are two, a proxy may have checked the other one.
fn one<'r>(request: &'r Request, name: &str, bytes_max: usize) -> Result<Option<&'r str>> {
    let mut all = request.headers_named(name);
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if !value.is_empty() && value.len() <= bytes_max => Ok(Some(value)),
        _ => Err(refused(MALFORMED)),
    }
}

fn refused(detail: &'static str) -> Error {
    Error::Unauthenticated { detail, reason: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut request = Request::empty(tiny_http::Method::Get, "/node/self");
        request.headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        request
    }

    #[test]
    fn headers_of_a_signature_are_whole_or_refused() {
        let whole = [(LEASE_TOKEN, "a.b"), (SIGNED_AT, "1764360000123"), (SIGNATURE, "AAAA")];
        assert!(matches!(
            signature(&request(&whole)),
            Ok(Some(Shown::Signature { signed_at_ms: 1_764_360_000_123, .. }))
        ));
        assert!(matches!(signature(&request(&[])), Ok(None)));
        for left_out in 0..whole.len() {
            let mut some = whole.to_vec();
            some.remove(left_out);
            assert!(signature(&request(&some)).is_err(), "without {:?}", whole[left_out]);
        }
        let long = "a".repeat(2049);
        for (name, value) in [
            (SIGNED_AT, ""),
            (SIGNED_AT, "-1"),
            (SIGNED_AT, "+1"),
            (SIGNED_AT, "1.5"),
            (SIGNED_AT, "1764360000123456"),
            (SIGNATURE, "?"),
            (SIGNATURE, "AAAA="),
            (LEASE_TOKEN, &long),
            (SIGNATURE, &long),
        ] {
            let changed: Vec<_> = whole.iter().map(|(n, v)| (*n, if *n == name { value } else { *v })).collect();
            assert!(signature(&request(&changed)).is_err(), "{name}: {value}");
            let lower = name.to_lowercase();
            let twice = [&whole[..], &[(lower.as_str(), value)]].concat();
            assert!(signature(&request(&twice)).is_err(), "{name} twice");
        }
    }

    #[test]
    fn a_certificate_of_a_proxy_is_not_the_callers() {
        let mut own = request(&[]);
        own.certificate = Some([1][..].into());
        assert!(certificate(&own).is_some());
        own.headers.push(("X-Forwarded-For".into(), "192.0.2.1".into()));
        assert!(certificate(&own).is_none());
    }
}
