//! Joining of machines, and renewal of nodes' identities.

use crate::caller;
use crate::clock::{self, Timestamp};
use crate::control::access::throttle;
use crate::control::fleet::leases::{Leases, NewIdentity, claims_for};
use crate::control::fleet::node_runs::Runs;
use crate::control::trust::ca::Trusted;
use crate::control::trust::node_names;
use crate::control::trust::node_names::Known;
use crate::control::trust::{ca, tls};
use crate::control::{Control, guard, limits};
use crate::crypto::pki::{self, Csr, Issued};
use crate::crypto::{self, lease, signature};
use crate::error::{Error, Result};
use crate::model::events::catalogue::{NODE_JOIN, NODE_REJOIN, NODE_REJOIN_REPLACING, NODE_RENEW};
use crate::model::ids::NodeId;
use crate::model::join_tokens::{JoinRole, JoinToken};
use crate::model::leases::LeaseState;
use crate::model::mesh_address::MeshAddress;
use crate::model::node_api::{Enrolment, Reason, Replaced};
use crate::model::nodes::{Node, NodeChange, merge_status};
use crate::model::status_keys;
use crate::store::{Write, events, join_tokens, node_runs, nodes, settings};
use serde_json::json;
use std::sync::Arc;

/// Seconds after the end of its certificate in which a node may still renew it.
const RENEW_AFTER_EXPIRY_S: i64 = 30 * 86_400;
/// Default domain of node names inside the mesh; the setting `mesh_domain` overrides it.
const MESH_DOMAIN: &str = "mesh.internal";

/// A machine's request to join.
pub struct Join {
    /// The secret of its join token.
    pub token: String,
    /// The requested id.
    pub node_id: NodeId,
    /// The requested name.
    pub name: String,
    /// The requested role.
    pub role: JoinRole,
    /// Its certificate signing request.
    pub csr_pem: String,
    /// Length of its first lease, in seconds.
    pub lease_ttl_s: i64,
    /// Its other fields: mesh_ip, api_endpoint, labels, status.
    pub given: NodeChange,
}

/// Decision of a transaction that gives a machine an identity.
struct Decided {
    event: &'static str,
    runs: Runs,
    replaced: Option<Replaced>,
}

/// A node's request to renew its identity.
pub struct Renewal {
    /// The node.
    pub node_id: NodeId,
    /// Its new certificate signing request.
    pub csr_pem: String,
    /// Epoch seconds of the signature.
    pub signed_at: i64,
    /// Signature by its enrolled key, over [`signature::renewal_message`].
    pub signature: Vec<u8>,
    /// The client certificate (DER) of the connection, if there is one.
    pub certificate: Option<Arc<[u8]>>,
}

/// Admits a machine with a one-time token. A refused machine does not use the token up.
pub fn join(control: &Control, ask: Join) -> Result<Enrolment> {
    let now = clock::now();
    let token_hash = crypto::sha256_hex(ask.token.as_bytes());
    // Checked before the CSR, so that callers without a token cannot make us parse certificates; decided again when it
    // is used up.
    let token = control.store.read(|r| {
        guard::check(r)?;
        admits(join_tokens::by_hash(r, &token_hash)?, &ask, now)
    });
    let token = token.inspect_err(|e| {
        if matches!(e, Error::Unauthenticated { .. }) && control.lines.admits(throttle::source()) {
            log::warn!(target: "cluster", event = "join.refused", node_id = ask.node_id; "Refused a join");
        }
    })?;
    caller::set_actor(&format!("join-token:{}", token.id));
    let csr = checked_csr(&ask.csr_pem, &ask.node_id)?;
    let known = control.store.read(|r| nodes::by_id(r, &ask.node_id))?;
    let given = token.mesh_ip.or_else(|| known.and_then(|node| node.mesh_ip_given));
    let issued = issue(control, &csr, &ask.node_id, given.as_ref(), now)?;
    let (node_id, ttl_s, key) = (ask.node_id.clone(), ask.lease_ttl_s, csr.public_key());
    enrol(control, &node_id, &csr, issued, ttl_s, move |w, table| {
        guard::check(w)?;
        let token = admits(join_tokens::by_hash(w, &token_hash)?, &ask, w.now)?;
        if !join_tokens::use_up(w, &token.id, &ask.node_id)? {
            return Err(not_admitted());
        }
        if let Some(other) = nodes::id_of_name(w, &ask.name)?
            && other != ask.node_id
        {
            return Err(Error::Conflict("Node name already exists".into()));
        }
        let existing = nodes::by_id(w, &ask.node_id)?;
        if existing.is_some() && token.node_id.is_none() && table.state(&ask.node_id) == LeaseState::Alive {
            let why = "This node is alive. Stop it and wait until its lease runs out, or create a join token with this \
                node_id to replace it.";
            return Err(Error::Conflict(why.into()));
        }
        // A worker's token must not replace a core node that happens to be silent.
        let is_core =
            |n: &Node| n.identity_fingerprint.is_some() && n.roles.iter().any(|role| role == JoinRole::Core.as_str());
        if token.node_id.is_none() && ask.role != JoinRole::Core && existing.as_ref().is_some_and(is_core) {
            return Err(not_admitted());
        }
        let replaced = existing.as_ref().and_then(|node| replaced(table, node, key.spki_der()));
        if let Some(node) = &existing {
            node_runs::delete(w, node.seq)?;
        }
        let event = match (&existing, &replaced) {
            (None, _) => NODE_JOIN,
            (Some(_), None) => NODE_REJOIN,
            (Some(_), Some(_)) => NODE_REJOIN_REPLACING,
        };
        write_node(w, existing, &ask, token.mesh_ip)?;
        let mut fields = json!({"node_id": ask.node_id, "name": ask.name, "role": ask.role, "token_id": token.id});
        if let Some(replaced) = &replaced {
            fields["replaced"] = json!(replaced);
        }
        events::record(w, event.with(fields))?;
        Ok(Decided { event: event.name, runs: Runs::default(), replaced })
    })
}

/// Information about an enrolled node that is replaced by a machine with this key.
fn replaced(table: &Leases, node: &Node, spki_der: &[u8]) -> Option<Replaced> {
    node.identity_fingerprint.as_ref()?;
    let mut seen = node.clone();
    table.overlay(&mut seen);
    Some(Replaced {
        same_key: table.identity(&node.id).is_some_and(|(key, _)| key.spki_der() == spki_der),
        node_id: seen.id,
        name: seen.name,
        last_seen_at: seen.heartbeat_at,
        identity_fingerprint: seen.identity_fingerprint,
    })
}

/// Gives a node a new certificate and lease token, on proof of its enrolled key.
pub fn renew(control: &Control, ask: Renewal) -> Result<Enrolment> {
    let refuse = |check: &str, reason: Option<Reason>| {
        if control.lines.admits(throttle::source()) {
            log::warn!(
                target: "cluster", event = "renew.refused", node_id = ask.node_id, check;
                "Refused to renew an identity"
            );
        }
        Error::Unauthenticated { detail: "Invalid node id or signature.", reason }
    };
    let now = clock::now();
    let Some((key, proven)) = control.leases.identity(&ask.node_id) else {
        return Err(refuse("node not enrolled", None));
    };
    if !key.verify(&signature::renewal_message(ask.node_id.as_str(), ask.signed_at, &ask.csr_pem), &ask.signature) {
        return Err(refuse("bad signature", None));
    }
    // An expired certificate is the reason for renewing; one with another key belongs to another node.
    if ask.certificate.as_deref().is_some_and(|cert| pki::spki_of(cert) != Some(key.spki_der())) {
        return Err(refuse("certificate of another key", None));
    }
    caller::set_actor(&format!("node:{}", ask.node_id));
    // From here on the caller is known to hold the node's key, so it may learn why it is refused.
    if now.secs().abs_diff(ask.signed_at) > control.config.heartbeat_skew_s.unsigned_abs() {
        return Err(refuse("clock skew", Some(Reason::ClockSkew)));
    }
    let node = control.store.read(|r| {
        guard::check(r)?;
        nodes::by_id(r, &ask.node_id)?.ok_or_else(crate::control::fleet::nodes::missing)
    })?;
    if node.identity_expires_at.is_some_and(|end| end.plus_secs(RENEW_AFTER_EXPIRY_S) < now) {
        return Err(refuse("identity expired too long ago", Some(Reason::IdentityExpired)));
    }
    let csr = checked_csr(&ask.csr_pem, &ask.node_id)?;
    if !control.leases.advance_signed_at(&ask.node_id, ask.signed_at, now.secs() + control.config.heartbeat_skew_s) {
        return Err(refuse("replayed", Some(Reason::Replayed)));
    }
    let issued = issue(control, &csr, &ask.node_id, node.mesh_ip_given.as_ref(), now)?;
    let ttl_s = control.leases.ttl_s(&ask.node_id);
    let node_id = ask.node_id.clone();
    enrol(control, &ask.node_id, &csr, issued, ttl_s, move |w, table| {
        guard::check(w)?;
        let node = nodes::by_id(w, &node_id)?.ok_or_else(crate::control::fleet::nodes::missing)?;
        if node.identity_fingerprint.as_ref() != Some(&proven) {
            return Err(Error::Conflict("The node's identity was replaced meanwhile.".into()));
        }
        events::record(w, NODE_RENEW.with(json!({"node_id": node_id})))?;
        Ok(Decided { event: NODE_RENEW.name, runs: table.runs(&node_id), replaced: None })
    })
}

/// The token, if it admits this machine now.
fn admits(token: Option<JoinToken>, ask: &Join, now: Timestamp) -> Result<JoinToken> {
    let fits = |t: &JoinToken| {
        t.used_at.is_none()
            && t.expires_at > now
            && t.role == ask.role
            && t.node_id.as_ref().is_none_or(|id| *id == ask.node_id)
    };
    token.filter(fits).ok_or_else(not_admitted)
}

fn not_admitted() -> Error {
    Error::Unauthenticated { detail: "Invalid, expired, or already-used join token.", reason: None }
}

fn checked_csr(pem: &str, node_id: &NodeId) -> Result<Csr> {
    let csr = Csr::parse(pem).map_err(Error::Malformed)?;
    match csr.common_name() {
        Some(name) if node_id == name => Ok(csr),
        _ => Err(Error::Malformed(format!(
            "The common name of the certificate signing request must be the node id, {node_id}."
        ))),
    }
}

/// Signs a certificate with those requested names that are the node's own. The server's names are reserved: a node that
/// has one could pass for the control plane. Also returns the authorities that the node must trust.
fn issue(
    control: &Control,
    csr: &Csr,
    node_id: &NodeId,
    given: Option<&MeshAddress>,
    now: Timestamp,
) -> Result<(Issued, Arc<Trusted>)> {
    ca::clock_is_right()?;
    let servers = control.tls.as_ref().map_or_else(|| tls::names(&control.config, control.listening), tls::Tls::names);
    let own = control.store.read(|r| {
        let domain = settings::by_key(r, "mesh_domain")?.map_or(MESH_DOMAIN.to_string(), |s| s.value);
        let earlier = nodes::earlier(r, node_id, &node_names::full(node_id.as_str(), domain.trim()))?;
        let others = if given.is_some() { nodes::addresses_given(r, node_id)? } else { Vec::new() };
        let known = Known {
            node_id: node_id.as_str(),
            domain: domain.trim(),
            given,
            servers: &servers,
            earlier: &earlier,
            others: &others,
        };
        Ok(node_names::own(&known))
    })?;
    let (ca, trusted) = control.ca.issuing()?;
    Ok((ca.issue(csr, node_id.as_str(), &own, control.config.node_cert_validity_days, now)?, trusted))
}

/// Writes the node's row after a join: an operator's settings and roles stay, the machine's own values are merged in.
fn write_node(write: &Write, existing: Option<Node>, ask: &Join, mesh_ip_given: Option<MeshAddress>) -> Result<()> {
    let mut given = ask.given.clone();
    let reported = given.status.take().unwrap_or_default();
    given.name = Some(ask.name.clone());
    let fresh = existing.is_none();
    let mut node =
        existing.unwrap_or_else(|| Node::new(ask.node_id.clone(), ask.name.clone(), NodeChange::default(), write.now));
    given.apply(&mut node);
    node.mesh_ip_given = mesh_ip_given.or(node.mesh_ip_given.take());
    let role = ask.role.as_str();
    if !node.roles.iter().any(|r| r == role) {
        node.roles.push(role.to_string());
    }
    merge_status(&mut node.status, reported);
    node.status.insert(status_keys::ENROLLED_AT.into(), write.now.to_string().into());
    node.status.insert(status_keys::NODE_ROLE.into(), role.into());
    limits::status_fits("node", &node.status)?;
    if !fresh {
        return nodes::update(write, &node);
    }
    limits::one_more_node(write)?;
    nodes::insert(write, &node)
}

/// Writes the new identity once `decide` has allowed it and named the event, and begins its lease, all in one
/// transaction.
fn enrol(
    control: &Control,
    node_id: &NodeId,
    csr: &Csr,
    (issued, trusted): (Issued, Arc<Trusted>),
    ttl_s: i64,
    decide: impl FnOnce(&Write, &Leases) -> Result<Decided> + Send + 'static,
) -> Result<Enrolment> {
    let key = Arc::new(csr.public_key());
    let (table, id) = (control.leases.clone(), node_id.clone());
    let (fingerprint, not_after) = (issued.fingerprint_hex.clone(), issued.not_after);
    let (trust, work) = (trusted.digest.clone(), Arc::clone(&control.node_work));
    let (event, replaced, now) = control.store.write(move |w| {
        let Decided { event, runs, replaced } = decide(w, &table)?;
        nodes::set_identity(w, &id, &fingerprint, not_after, key.spki_der(), &trust)?;
        let node = nodes::by_id(w, &id)?.ok_or_else(crate::control::fleet::nodes::missing)?;
        table.enrol(w, &id, node.seq, NewIdentity { fingerprint, key, trust, runs }, ttl_s)?;
        w.on_commit(move || work.end_call(&id));
        Ok((event, replaced, w.now))
    })?;
    log::info!(
        target: "cluster", event, node_id, identity_fingerprint = issued.fingerprint_hex;
        "Issued an identity to a node"
    );
    let claims = claims_for(control, node_id, &issued.fingerprint_hex, now);
    Ok(Enrolment {
        node_id: node_id.clone(),
        lease_token: lease::mint(control.config.cluster_signing_key.expose(), &claims),
        lease_expires_at: now.plus_secs(ttl_s),
        identity_fingerprint: issued.fingerprint_hex,
        node_cert_pem: issued.cert_pem,
        ca_cert_pem: trusted.pem.clone(),
        server_time: Some(now),
        replaced,
    })
}
