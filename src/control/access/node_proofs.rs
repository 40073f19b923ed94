//! Proof that a node made a call: the client certificate of the connection, or a signature in headers, which works
//! through a proxy that ends TLS. Heartbeats and renewals are proven by their bodies instead.

use super::throttle;
use crate::caller;
use crate::clock;
use crate::control::Control;
use crate::crypto::signature::NodeCall;
use crate::crypto::{self, lease, pki};
use crate::error::{Error, Result};
use crate::model::ids::NodeId;
use crate::model::node_api::Reason;
use crate::model::node_calls;
use crate::model::node_runs::AgentRun;
use crate::model::node_self::ProvenBy;

/// A node that has proven that it is the caller.
pub struct NodeCaller {
    /// The node.
    pub node_id: NodeId,
    /// Its proof.
    pub proven_by: ProvenBy,
}

/// A node's proof as sent, not verified yet.
pub enum Shown<'c> {
    /// The certificate (DER) of its connection; the client has proven that it holds the key.
    Certificate(&'c [u8]),
    /// A signature over the call.
    Signature {
        /// The node's lease token.
        lease_token: &'c str,
        /// Epoch milliseconds of the signature.
        signed_at_ms: i64,
        /// By the node's key, over [`NodeCall::message`].
        signature: Vec<u8>,
    },
}

/// A node's call.
pub struct Call<'c> {
    /// Its proof.
    pub shown: Shown<'c>,
    /// The run of the node's agent.
    pub run: Option<AgentRun>,
    /// The method.
    pub method: &'c str,
    /// Path and query, without the base path.
    pub target: &'c str,
    /// The body.
    pub body: &'c [u8],
}

/// Verifies the caller. A refusal names its reason once the lease token or the key is proven.
pub fn prove(control: &Control, call: &Call) -> Result<NodeCaller> {
    let caller = match &call.shown {
        Shown::Certificate(der) => by_certificate(control, der, call.run.as_ref())?,
        Shown::Signature { lease_token, signed_at_ms, signature } => {
            by_signature(control, call, lease_token, *signed_at_ms, signature)?
        }
    };
    caller::set_actor(&format!("node:{}", caller.node_id));
    Ok(caller)
}

/// The node whose current certificate (DER) this is.
pub fn certified(control: &Control, der: &[u8]) -> Option<NodeId> {
    named(der).filter(|id| control.leases.identity(id).is_some_and(|(_, current)| current == crypto::sha256_hex(der)))
}

/// The node whose genuine lease token, or current certificate, is in a call. It pays for the call before its proof is
/// verified.
pub fn sealed(control: &Control, shown: &Shown) -> Option<NodeId> {
    match shown {
        Shown::Certificate(der) => certified(control, der),
        Shown::Signature { lease_token, .. } => {
            lease::open(control.config.cluster_signing_key.expose(), lease_token)?.n.parse().ok()
        }
    }
}

/// The node in a certificate's name.
fn named(der: &[u8]) -> Option<NodeId> {
    pki::common_name_der(der)?.parse().ok()
}

fn by_certificate(control: &Control, der: &[u8], run: Option<&AgentRun>) -> Result<NodeCaller> {
    let node_id = named(der).unwrap_or_default();
    let enrolled = control.leases.identity(&node_id).filter(|(key, _)| pki::spki_of(der) == Some(key.spki_der()));
    // Anyone can create a certificate with the name of a node in it.
    let Some((_, fingerprint)) = enrolled else {
        return Err(refuse(control, &node_id, "certificate of another key", None));
    };
    if crypto::sha256_hex(der) != fingerprint {
        return Err(refuse(control, &node_id, "identity replaced", Some(Reason::IdentityReplaced)));
    }
    if pki::validity_der(der).is_none_or(|(_, ends)| ends < clock::now()) {
        return Err(refuse(control, &node_id, "certificate expired", Some(Reason::CertificateExpired)));
    }
    control
        .leases
        .admit_call(&node_id, &fingerprint, run, None)
        .map_err(|reason| refuse(control, &node_id, &reason.to_string(), Some(reason)))?;
    Ok(NodeCaller { node_id, proven_by: ProvenBy::Certificate })
}

fn by_signature(
    control: &Control,
    call: &Call,
    lease_token: &str,
    signed_at_ms: i64,
    signature: &[u8],
) -> Result<NodeCaller> {
    let now = clock::now();
    let Some(claims) = lease::open(control.config.cluster_signing_key.expose(), lease_token) else {
        return Err(refuse(control, &NodeId::default(), "lease token not genuine", None));
    };
    let node_id: NodeId = claims.n.parse().unwrap_or_default();
    let refuse = |check: &str, reason: Reason| Err(refuse(control, &node_id, check, Some(reason)));
    if claims.exp < now.secs() {
        return refuse("lease token expired", Reason::LeaseExpired);
    }
    let Some((key, fingerprint)) = control.leases.identity(&node_id) else {
        return refuse("node not enrolled", Reason::IdentityReplaced);
    };
    if fingerprint != claims.fp {
        return refuse("identity replaced", Reason::IdentityReplaced);
    }
    let signed_at = signed_at_ms.div_euclid(1000);
    let (skew, started_at) = (control.config.heartbeat_skew_s, control.leases.started_at());
    if now.secs().abs_diff(signed_at) > skew.unsigned_abs() {
        return refuse("clock skew", Reason::ClockSkew);
    }
    // Signing times do not survive a start, and calls may be signed ahead of our clock by the skew. After it, a node
    // signs with the fresh token from its next heartbeat.
    let horizon = now.secs() + skew;
    if control.leases.is_from_before_the_start(&claims) && signed_at <= started_at + skew && started_at <= horizon {
        return refuse("perhaps signed before the start", Reason::Replayed);
    }
    let run = call.run.as_ref().map(node_calls::run_text).unwrap_or_default();
    let signed = NodeCall {
        node_id: node_id.as_str(),
        lease_token,
        signed_at_ms,
        run: &run,
        method: call.method,
        target: call.target,
        body: call.body,
    };
    if !key.verify(&signed.message(), signature) {
        return refuse("bad signature", Reason::BadSignature);
    }
    // Since the first check a rejoin, a deletion or the same call may have come: the lock decides.
    let used = Some((signed_at_ms, horizon.saturating_add(1).saturating_mul(1000)));
    match control.leases.admit_call(&node_id, &fingerprint, call.run.as_ref(), used) {
        Ok(()) => Ok(NodeCaller { node_id, proven_by: ProvenBy::Signature }),
        Err(reason) => refuse(&reason.to_string(), reason),
    }
}

fn refuse(control: &Control, node_id: &NodeId, check: &str, reason: Option<Reason>) -> Error {
    if control.lines.admits(throttle::source()) {
        log::warn!(target: "cluster", event = "node_call.refused", node_id, check; "Refused a call from a node");
    }
    Error::Unauthenticated { detail: "Invalid certificate, lease token or signature of a node.", reason }
}
