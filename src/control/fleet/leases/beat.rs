//! Heartbeats: each is proven, renews its lease in memory, and its changes are written.

use super::pace::Term;
use super::{Leases, news, seconds};
use crate::caller;
use crate::clock::{self, Timestamp};
use crate::control::Control;
use crate::control::access::throttle;
use crate::control::fleet::load_history::Sample;
use crate::control::fleet::node_runs;
use crate::control::fleet::unstored::Unstored;
use crate::control::trust::tls;
use crate::crypto::lease::LeaseClaims;
use crate::crypto::{self, lease, pki};
use crate::error::{Error, Result};
use crate::model::Object;
use crate::model::ids::NodeId;
use crate::model::leases::LeaseState;
use crate::model::node_api::{HeartbeatAnswer, Part, Reason};
use crate::model::node_runs::AgentRun;
use crate::thread::lock;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A heartbeat.
pub struct Heartbeat {
    /// The node.
    pub node_id: NodeId,
    /// The token from the join or a later heartbeat.
    pub lease_token: String,
    /// Epoch seconds of the signature.
    pub signed_at: i64,
    /// Seconds until the lease expires.
    pub ttl_s: i64,
    /// The signature; `None` if it was not valid base64.
    pub signature: Option<Vec<u8>>,
    /// The node's report.
    pub patch: Object,
    /// The same exactly as received: numbers are signed as they were written.
    pub raw_patch: String,
    /// The client certificate (DER) of the connection, if there is one.
    pub certificate: Option<Arc<[u8]>>,
}

/// A proven heartbeat.
struct Proven {
    claims: LeaseClaims,
    /// The canonical form of its patch.
    canonical: String,
    /// See [`Lease::is_new`](super::Lease::is_new).
    horizon: i64,
}

/// Result of a renewal.
struct Renewal {
    /// True if the node was not alive before.
    is_back: bool,
    /// True if its patch is not durable yet.
    has_news: bool,
    /// True if the node does not have the current authorities.
    renew_identity: bool,
    /// True if there is news about its runs to record.
    has_run_news: bool,
    /// News of earlier heartbeats that the database could not store.
    unstored: Option<Arc<Unstored>>,
    /// Digest of its patch, if it has one.
    digest: Option<[u8; 32]>,
    /// Its lease, and when to come again.
    term: Term,
}

impl Leases {
    /// The time, in epoch seconds, that a node's next heartbeat must be signed after. `None` if the node has no lease,
    /// or if the wall clock was set back since its last heartbeat.
    pub fn signed_at(&self, id: &NodeId, horizon: i64) -> Option<i64> {
        let signed_at = self.with(id, |l| l.signed_at)?;
        // A lease token from before the start counts only with a signature from after it.
        (signed_at <= horizon).then_some(signed_at.max(self.started_at))
    }

    /// True if the previous run of the server issued this lease token; [`claims_for`] dates those of this run.
    pub(in crate::control) fn is_from_before_the_start(&self, claims: &LeaseClaims) -> bool {
        claims.iat <= self.started_at
    }

    /// The contract's refusal. The log names the failed check; the client learns it only once its token is proven.
    pub(super) fn refuse(&self, node_id: &NodeId, check: &'static str, reason: Option<Reason>) -> Error {
        if self.lines.admits(throttle::source()) {
            log::warn!(target: "cluster", event = "heartbeat.refused", node_id, check; "Refused a heartbeat");
        }
        *lock(&self.beats.refused).entry(check).or_default() += 1;
        Error::Unauthenticated { detail: "Invalid node id or lease token.", reason }
    }
}

/// Accepts a heartbeat, or refuses it with a reason. The order of the checks is the contract's.
pub fn heartbeat(control: &Control, mut beat: Heartbeat) -> Result<HeartbeatAnswer> {
    let now = clock::now();
    let proven = prove(control, &beat, now)?;
    let renewal = renew(control, &mut beat, &proven, now)?;
    caller::set_actor(&format!("node:{}", beat.node_id));
    if renewal.has_run_news {
        node_runs::record(control, &beat.node_id);
    }
    let mut status_stored = None;
    if renewal.is_back || renewal.has_news || renewal.unstored.is_some() {
        status_stored =
            news::store(control, &beat.node_id, beat.signed_at, beat.patch, renewal.digest, renewal.unstored)?;
    }
    control.leases.beats.accepted.fetch_add(1, Ordering::Relaxed);
    let claims = &proven.claims;
    let is_half_over = now.secs() >= claims.iat + (claims.exp - claims.iat) / 2;
    // Calls signed with an older one cannot be distinguished from replays at first.
    let is_from_before_the_start = control.leases.is_from_before_the_start(claims);
    let fresh = || {
        lease::mint(control.config.cluster_signing_key.expose(), &claims_for(control, &beat.node_id, &claims.fp, now))
    };
    Ok(HeartbeatAnswer {
        lease_token: (is_half_over || is_from_before_the_start).then(fresh),
        addresses: control.tls.as_ref().and_then(tls::Tls::addresses).map(Part::Known),
        update: control.updates.request_for(&beat.node_id).map(|request| Part::Known(request.into())),
        heartbeat_at: now,
        lease_expires_at: now.plus_secs(renewal.term.ttl_s),
        lease_state: Part::Known(LeaseState::Alive),
        server_time: Some(now),
        renew_identity: renewal.renew_identity,
        status_stored,
        next_heartbeat_seconds: renewal.term.next_s,
        node_id: beat.node_id,
    })
}

/// Verifies the sender of a heartbeat, and that it is not a replay.
fn prove(control: &Control, beat: &Heartbeat, now: Timestamp) -> Result<Proven> {
    let (config, leases) = (&control.config, &control.leases);
    let refuse = |check, reason| leases.refuse(&beat.node_id, check, reason);
    let claims = match lease::open(config.cluster_signing_key.expose(), &beat.lease_token) {
        Some(claims) if beat.node_id == claims.n.as_str() => claims,
        Some(_) => return Err(refuse("lease token of another node", None)),
        None => return Err(refuse("lease token not genuine", None)),
    };
    if claims.exp < now.secs() {
        return Err(refuse("lease token expired", Some(Reason::LeaseExpired)));
    }
    let horizon = now.secs() + config.heartbeat_skew_s;
    let known = leases
        .with(&beat.node_id, |l| (l.fingerprint == claims.fp, Arc::clone(&l.key), l.is_new(beat.signed_at, horizon)));
    let Some((is_current, public_key, is_new)) = known else {
        return Err(refuse("node not enrolled", Some(Reason::IdentityReplaced)));
    };
    if !is_current {
        return Err(refuse("identity replaced", Some(Reason::IdentityReplaced)));
    }
    if let Some(certificate) = &beat.certificate {
        if pki::spki_of(certificate) != Some(public_key.spki_der()) {
            return Err(refuse("certificate of another key", Some(Reason::IdentityReplaced)));
        }
        if pki::validity_der(certificate).is_none_or(|(_, ends)| ends < now) {
            return Err(refuse("certificate expired", Some(Reason::CertificateExpired)));
        }
    }
    if now.secs().abs_diff(beat.signed_at) > config.heartbeat_skew_s.unsigned_abs() {
        return Err(refuse("clock skew", Some(Reason::ClockSkew)));
    }
    let started_at = leases.started_at;
    let is_old = leases.is_from_before_the_start(&claims) && beat.signed_at <= started_at && started_at <= horizon;
    if !is_new || is_old {
        return Err(refuse("replayed", Some(Reason::Replayed)));
    }
    // The body was parsed already, so this does not fail; if it did, it would be the client's fault.
    let canonical = crypto::signature::canonical(&beat.raw_patch).map_err(Error::Malformed)?;
    let signed = |form: &str| {
        let message = crypto::signature::heartbeat_message(
            beat.node_id.as_str(),
            &beat.lease_token,
            beat.signed_at,
            beat.ttl_s,
            form,
        );
        beat.signature.as_deref().is_some_and(|s| public_key.verify(&message, s))
    };
    if !signed(&canonical) && !crypto::signature::with_bare_del(&canonical).is_some_and(|form| signed(&form)) {
        return Err(refuse("bad signature", Some(Reason::BadSignature)));
    }
    Ok(Proven { claims, canonical, horizon })
}

/// Renews the lease in memory. Since the heartbeat was proven, another one, a rejoin or a deletion may have come: the
/// lock decides.
fn renew(control: &Control, beat: &mut Heartbeat, proven: &Proven, now: Timestamp) -> Result<Renewal> {
    let trust = control.ca.trusted()?;
    let load = Sample::of(&beat.patch);
    let (step, stale_for, tick) = (control.leases.step(), control.leases.stale_for(), control.leases.tick());
    let term = control.leases.pace.term(beat.ttl_s);
    let digest = (!beat.patch.is_empty()).then(|| crypto::sha256(proven.canonical.as_bytes()));
    let holder = AgentRun::take(&mut beat.patch).map(|run| node_runs::holder(run, now));
    let renewed = control.leases.with(&beat.node_id, |l| {
        if l.fingerprint != proven.claims.fp {
            return Err(("identity_replaced", Reason::IdentityReplaced));
        }
        if !l.is_new(beat.signed_at, proven.horizon) {
            return Err(("replayed", Reason::Replayed));
        }
        let alive = l.state(tick, stale_for) == LeaseState::Alive;
        if !holder.as_ref().is_none_or(|holder| l.runs.admit(holder, beat.signed_at, alive)) {
            return Err(("another_run", Reason::AnotherRun));
        }
        l.signed_at = beat.signed_at;
        l.heartbeat_at = now;
        l.expires_at = now.plus_secs(term.ttl_s);
        l.ttl_s = term.ttl_s;
        l.ends = Some(clock::tick() + seconds(term.ttl_s));
        l.heard = true;
        control.leases.hear(l);
        l.dirty = true;
        if let Some(load) = load {
            l.load.note(step, load);
        }
        Ok(Renewal {
            is_back: l.recorded != LeaseState::Alive,
            has_news: digest.is_some() && l.patch != digest,
            renew_identity: l.trust != trust.digest,
            has_run_news: l.runs.has_news(),
            unstored: l.unstored.clone(),
            digest,
            term,
        })
    });
    match renewed {
        Some(Ok(renewal)) => Ok(renewal),
        Some(Err((check, reason))) => Err(control.leases.refuse(&beat.node_id, check, Some(reason))),
        None => Err(control.leases.refuse(&beat.node_id, "node not enrolled", Some(Reason::IdentityReplaced))),
    }
}

/// The claims of a fresh lease token. It is dated after the second of the start, in which the previous run of the
/// server may have issued tokens, too.
pub(in crate::control) fn claims_for(
    control: &Control,
    node_id: &NodeId,
    fingerprint: &str,
    now: Timestamp,
) -> lease::LeaseClaims {
    lease::LeaseClaims {
        exp: now.secs() + control.config.lease_token_ttl_s,
        fp: fingerprint.to_string(),
        iat: now.secs().max(control.leases.started_at + 1),
        n: node_id.to_string(),
    }
}
