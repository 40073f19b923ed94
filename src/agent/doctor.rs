//! Examining a node: its identity, its certificate, its lease, and the way to its control plane. It reports
//! nothing and changes nothing.

use super::identity::{Identity, KEY, LEASE};
use super::ledger::STATUS;
use super::link::{AgentError, ControlPlane, node_self};
use crate::clock::{self, Timestamp};
use crate::crypto::pki;
use crate::error::Chain;
use crate::files;
use crate::model::findings::Finding;
use crate::model::ids::NodeId;
use crate::model::leases::LeaseState;
use crate::model::node_api::{Part, Reason};
use crate::model::node_runs::AgentRun;
use crate::sys::{doctor, host};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use std::path::Path;

/// A node renews at half of its certificate's life; one that has less than this is not doing so.
const CERTIFICATE_DAYS_LOW: i64 = 5;
/// An authority that ends sooner should have been replaced by the control plane.
const AUTHORITY_DAYS_LOW: i64 = 90;
/// A clock that is further off is corrected for by the agent, and still wrong in every log.
const SKEW_S_MAX: i64 = 5;

/// Examines the node whose identity is in this directory.
pub fn of_identity(control_plane: &ControlPlane, dir: &Path, node_id: &NodeId) -> Vec<Finding> {
    let rejoin = format!(
        "on the control plane: uptimemesh token create --role worker --for-node {node_id} --join-string; here: \
            uptimemesh join --join-file FILE --node-id {node_id}"
    );
    let identity = match Identity::load(dir, node_id) {
        Ok(identity) => identity,
        Err(e) => return vec![Finding::fail("identity", Chain(&e).to_string(), rejoin)],
    };
    let reached: Vec<Reached> = control_plane.urls.iter().map(|url| reach(control_plane, &identity, url)).collect();
    // By the control plane's clock, if it answered: this machine's own may be off, and then the certificate is not what
    // is wrong.
    let now = reached.iter().find_map(|(_, now)| *now).unwrap_or_else(clock::now);
    let paths = [dir.to_path_buf(), dir.join(KEY), dir.join(LEASE)];
    let mut findings = vec![
        Finding::ok("identity", format!("{node_id}, in {}", dir.display())),
        doctor::private("identity.keys", dir, &paths),
        Finding::validity(
            "identity.certificate",
            "the node's certificate",
            pki::validity(&identity.cert_pem),
            now,
            CERTIFICATE_DAYS_LOW,
            &format!(
                "systemctl restart uptimemesh-agent; the agent renews it up to 30 days after it expired; after that, \
                    {rejoin}"
            ),
        ),
        Finding::validity(
            "identity.authority",
            "the authority that the node trusts",
            pki::validity(&identity.ca_pem),
            now,
            AUTHORITY_DAYS_LOW,
            "on the control plane: uptimemesh ca show; uptimemesh ca rotate --wait",
        ),
        lease(&identity.lease_token, now),
    ];
    findings.extend(reached.into_iter().flat_map(|(found, _)| found));
    findings
}

/// Claims of the lease token; only the control plane knows whether the lease still runs.
fn lease(token: &str, now: Timestamp) -> Finding {
    const CHECK: &str = "identity.lease";
    let claims = token.split('.').next().and_then(|payload| BASE64_URL_SAFE_NO_PAD.decode(payload).ok());
    let claims: Option<Value> = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let exp = claims.as_ref().and_then(|claims| claims["exp"].as_i64());
    let to_do = "is the agent running? systemctl status uptimemesh-agent; it renews the token by the node's key";
    match exp.map(|exp| (exp - now.secs(), Timestamp::from_secs(exp))) {
        None => Finding::fail(CHECK, "the lease token is malformed", to_do),
        Some((left_s, end)) if left_s <= 0 => Finding::warn(
            CHECK,
            format!("the lease token expired at {end}: no heartbeat has been accepted for a long time"),
            to_do,
        ),
        Some((_, end)) => Finding::ok(CHECK, format!("the lease token is valid until {end} and is renewed earlier")),
    }
}

/// Findings about a URL, and the control plane's time.
type Reached = (Vec<Finding>, Option<Timestamp>);

/// Checks that the control plane answers at this URL, proves to be ours, and agrees about the time and the version.
fn reach(control_plane: &ControlPlane, identity: &Identity, url: &str) -> Reached {
    const CHECK: &str = "control.reach";
    let only = ControlPlane { urls: vec![url.to_string()], ..control_plane.clone() };
    let api = match only.api(identity) {
        Ok(api) => api,
        Err(e) => {
            let seen = format!("key and certificate of the node cannot be used: {}", Chain(&e));
            return (vec![Finding::fail(CHECK, seen, "join again: uptimemesh join --help")], None);
        }
    };
    let health = match api.get("/health") {
        Ok(health) => health,
        Err(e) => {
            let to_do = format!(
                "is it running, and its port open? curl -kv {url}/health; if its address has changed: --api-url URL"
            );
            return (vec![Finding::fail(CHECK, e.to_string(), to_do)], None);
        }
    };
    let encrypted = if url.starts_with("https://") {
        "and proved to be the control plane"
    } else {
        "over plain HTTP, which proves nothing"
    };
    let mut findings = vec![Finding::ok(CHECK, format!("{url} answered, {encrypted}"))];
    let time = health["time"].as_str().and_then(Timestamp::parse);
    findings.extend(time.map(|time| skew(time.secs() - clock::now().secs())));
    if let Ok(version) = api.get("/version") {
        let (own, theirs) = (env!("CARGO_PKG_VERSION"), version["version"].as_str().unwrap_or("?"));
        findings.push(match own == theirs {
            true => Finding::ok("control.version", format!("the control plane has the same version, {own}")),
            false => Finding::warn(
                "control.version",
                format!("the control plane has {theirs}, this program is {own}"),
                "the control plane first, then this machine: uptimemesh update",
            ),
        });
    }
    findings.push(known(&only, identity, time.unwrap_or_else(clock::now)));
    (findings, time)
}

/// Reads the control plane's view of this node; it answers only to a caller that proves to be the node.
fn known(control_plane: &ControlPlane, identity: &Identity, now: Timestamp) -> Finding {
    const CHECK: &str = "control.node";
    let run = running(identity);
    let node = match node_self::read(control_plane, identity, run.as_ref(), now) {
        Ok(node) => node,
        Err(e) => return unproven(CHECK, &e),
    };
    let beat = node.heartbeat_at.map_or("never".to_string(), |at| at.to_string());
    let update = match node.update {
        Some(Part::Known(update)) => format!(", update to {} requested", update.version),
        Some(Part::Unknown(_)) => ", update requested in a form that this version does not know".to_string(),
        None => String::new(),
    };
    let seen = format!(
        "the control plane knows {}: lease {}, last heartbeat {beat}{update}",
        node.name,
        node.lease_state.as_str()
    );
    match node.lease_state {
        LeaseState::Alive => Finding::ok(CHECK, seen),
        LeaseState::Stale | LeaseState::Dead | LeaseState::Unknown => Finding::warn(
            CHECK,
            seen,
            "is the agent running? systemctl status uptimemesh-agent; journalctl -u uptimemesh-agent",
        ),
    }
}

/// The run of the agent whose last status lies beside the identity.
fn running(identity: &Identity) -> Option<AgentRun> {
    let status: Value = serde_json::from_str(&files::read(&identity.dir.join(STATUS)).ok()??).ok()?;
    Some(AgentRun { id: status["run"].as_str()?.to_string(), boot: host::boot() }).filter(AgentRun::is_sound)
}

/// Why the control plane did not take a call as this node's.
fn unproven(check: &'static str, e: &AgentError) -> Finding {
    let rejoin = "join again with a new token: uptimemesh join --help";
    let agent = "is the agent running? systemctl status uptimemesh-agent; it renews the node's proof of identity";
    let refused = format!("this node's proof was refused: {e}");
    match (e, e.reason()) {
        (AgentError::Local(_), _) => Finding::fail(check, format!("the node's key cannot sign: {e}"), rejoin),
        (_, Some(Reason::AnotherRun)) => Finding::fail(
            check,
            "another machine has the same identity, and this one may be the copy",
            "an operator decides: uptimemesh node runs NODE; uptimemesh node keep-run NODE RUN; then join the other \
                machine as a new node",
        ),
        (_, Some(Reason::ClockSkew)) => {
            Finding::warn(check, format!("the signature was refused: {e}"), "timedatectl set-ntp true")
        }
        (_, Some(Reason::LeaseExpired | Reason::CertificateExpired | Reason::Replayed)) => {
            Finding::warn(check, refused, agent)
        }
        (_, Some(Reason::IdentityReplaced | Reason::IdentityExpired | Reason::BadSignature | Reason::Unknown(_))) => {
            Finding::fail(check, refused, rejoin)
        }
        (_, None) if e.status() == Some(401) => Finding::warn(
            check,
            "the control plane does not know this node: it was removed or replaced, or the control plane is older than \
                this program",
            rejoin,
        ),
        (AgentError::Call(_), None) => Finding::warn(check, e.to_string(), agent),
    }
}

/// Difference between this clock and the control plane's.
fn skew(behind_s: i64) -> Finding {
    const CHECK: &str = "clock.control";
    match behind_s.abs() {
        s if s <= SKEW_S_MAX => {
            Finding::ok(CHECK, format!("this clock agrees with the control plane's within {SKEW_S_MAX} s"))
        }
        s => {
            let way = if behind_s > 0 { "behind" } else { "ahead of" };
            Finding::warn(
                CHECK,
                format!("this clock is {s} s {way} the control plane's"),
                "on the one that is wrong: timedatectl set-ntp true",
            )
        }
    }
}
