//! `/cluster/join`, `/cluster/renew`, `/cluster/heartbeat` and `/cluster/leases`: calls of nodes, and the leases that
//! result.

use super::nodes::change;
use super::{list as page_of, paging, with_warnings};
use crate::caller;
use crate::control::fleet::leases::{self, Heartbeat};
use crate::control::fleet::lookalikes;
use crate::control::trust::join::{self, Join, Renewal};
use crate::error::{Error, Result};
use crate::gate::Handler::{By, Checked, Open};
use crate::gate::{Meter, Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::join_tokens::JoinRole;
use crate::model::leases::{LEASE_TTL_RANGE_S, LEASE_TTL_S};
use crate::model::users::Role::Viewer;
use crate::model::users::User;
use crate::upkeep::App;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tiny_http::Method::{Get, Post};

/// Length of a CSR, in characters: one with a large RSA key has about 3,000.
const CSR_CHARS: RangeInclusive<usize> = 1..=16_384;
/// Length of a signature in base64, in characters: RSA with 8,192 bits has 1,368.
const SIGNATURE_CHARS: RangeInclusive<usize> = 1..=2048;
/// Maximum size of a status patch, in bytes: it is read several times before its signature is proven, and a whole
/// status may not be larger either.
const PATCH_BYTES_MAX: usize = 64 << 10;
/// Epoch seconds that a JSON parser of any language can represent.
const EPOCH_S: RangeInclusive<i64> = 0..=253_402_300_799;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Post, "/cluster/join", Open(join))
        .gives(200, "Joined")
        .says("Join a machine with a join token. The answer holds its certificate and its first lease token.")
        .conflicts(
            "The node is alive, or another node has the name. Stop the node, or use a join token created for \
            its id.",
        )
        .meter(Meter::Join),
    route(Post, "/cluster/renew", Checked(renew))
        .gives(200, "Joined")
        .says(
            "Renew the certificate of a node. The request is signed by the enrolled key, up to 30 days after the \
            certificate ended.",
        )
        .conflicts("The identity of the node was replaced meanwhile.")
        .meter(Meter::Renewal),
    route(Post, "/cluster/heartbeat", Open(heartbeat))
        .gives(200, "Renewed")
        .says("Renew the lease of a node and report its status. The request is signed by the enrolled key.")
        .meter(Meter::SealedByBody),
    route(Get, "/cluster/leases", By(Viewer, list))
        .gives(200, "[Lease]")
        .says("List the leases of nodes: alive, stale, dead, unknown, each by name."),
];

fn join(app: &App, request: &Request) -> Reply {
    let ask = read_join(&request.body)?;
    let (node_id, name) = (ask.node_id.clone(), ask.name.clone());
    let joined = Response::json(200, &join::join(&app.control, ask)?);
    Ok(with_warnings(joined, &lookalikes::of_node(&app.control, &node_id, &name)))
}

fn read_join(body: &[u8]) -> Result<Join> {
    let mut f = Fields::of_body(body)?;
    let mut ask = Join {
        token: f.text("token", 1..=256).required().trim().to_string(),
        node_id: f.id("node_id").required(),
        name: f.name("name").required(),
        role: f.word("role", JoinRole::WORDS, JoinRole::parse).required_with(JoinRole::Worker),
        csr_pem: f.text("csr_pem", CSR_CHARS).required(),
        lease_ttl_s: f.int("lease_ttl_seconds", LEASE_TTL_RANGE_S).or(LEASE_TTL_S),
        given: change(&mut f),
    };
    ask.given.labels = f.labels("labels").optional();
    f.finish()?;
    Ok(ask)
}

fn heartbeat(app: &App, request: &Request) -> Reply {
    let renewed = leases::heartbeat(&app.control, read_heartbeat(&request.body, request.certificate.clone())?)?;
    caller::set_actor(&format!("node:{}", renewed.node_id));
    Ok(Response::json(200, &renewed))
}

fn read_heartbeat(body: &[u8], certificate: Option<Arc<[u8]>>) -> Result<Heartbeat> {
    let mut f = Fields::of_body(body)?;
    let node_id = f.id("node_id").required();
    let lease_token = f.text("lease_token", 1..=2048).required();
    let signed_at = f.int("signed_at", EPOCH_S).required();
    let signature_text = f.text("signature", SIGNATURE_CHARS).required();
    let ttl_s = f.int("ttl_seconds", LEASE_TTL_RANGE_S).or(LEASE_TTL_S);
    let patch = f.object("status_patch").optional().unwrap_or_default();
    let raw_patch = f.raw("status_patch").filter(|raw| *raw != "null").unwrap_or("{}").to_string();
    if raw_patch.len() > PATCH_BYTES_MAX {
        let msg = format!("A status patch should have at most {PATCH_BYTES_MAX} bytes of JSON");
        f.fault("string_too_long", vec!["status_patch".into()], msg, &raw_patch.len().into());
    }
    f.finish()?;
    let signature = BASE64_STANDARD.decode(signature_text.trim()).ok();
    Ok(Heartbeat { node_id, lease_token, signed_at, ttl_s, signature, patch, raw_patch, certificate })
}

fn renew(app: &App, request: &Request) -> Reply {
    // An unproven caller learns nothing here: a malformed request is refused like one of an unknown node.
    let ask = read_renewal(&request.body, request.certificate.clone()).map_err(|_| Error::unauthenticated())?;
    Ok(Response::json(200, &join::renew(&app.control, ask)?))
}

fn read_renewal(body: &[u8], certificate: Option<Arc<[u8]>>) -> Result<Renewal> {
    let mut f = Fields::of_body(body)?;
    let node_id = f.id("node_id").required();
    let csr_pem = f.text("csr_pem", CSR_CHARS).required();
    let signed_at = f.int("signed_at", EPOCH_S).required();
    let signature = f.text("signature", SIGNATURE_CHARS).required();
    f.finish()?;
    let signature = BASE64_STANDARD.decode(signature.trim()).map_err(|_| Error::unauthenticated())?;
    Ok(Renewal { node_id, csr_pem, signed_at, signature, certificate })
}

fn list(app: &App, request: &Request, _: &User) -> Reply {
    let paging = paging(request)?;
    Ok(page_of(request, &paging, &leases::list(&app.control, &paging)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::node_api::{HeartbeatRequest, JoinRequest, RenewalRequest};
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;

    /// Requests are read here exactly as nodes send them in the protocol's types.
    #[test]
    fn requests_are_read_as_nodes_send_them() {
        let sent = JoinRequest {
            token: "t".into(),
            node_id: "n".into(),
            name: "Node".into(),
            role: JoinRole::Gateway,
            csr_pem: "csr".into(),
            mesh_ip: Some("10.0.0.7/24".to_string().into()),
            api_endpoint: Some("https://n".into()),
            labels: BTreeMap::from([("zone".to_string(), "b".to_string())]),
            lease_ttl_seconds: 77,
        };
        let body = serde_json::to_vec(&sent).expect("JSON");
        assert_eq!(serde_json::from_slice::<JoinRequest>(&body).expect("the same"), sent);
        let read = read_join(&body).expect("a join");
        let given = read.given.clone();
        let back = JoinRequest {
            token: read.token,
            node_id: read.node_id,
            name: read.name,
            role: read.role,
            csr_pem: read.csr_pem,
            mesh_ip: given.mesh_ip,
            api_endpoint: given.api_endpoint,
            labels: given.labels.unwrap_or_default(),
            lease_ttl_seconds: read.lease_ttl_s,
        };
        assert_eq!(back, sent);

        let patch = r#"{"b": 1.0, "a": 1E5}"#;
        let sent = HeartbeatRequest {
            node_id: "n".into(),
            lease_token: "l".into(),
            signed_at: 5,
            ttl_seconds: 66,
            status_patch: RawValue::from_string(patch.into()).expect("JSON"),
            signature: BASE64_STANDARD.encode("s"),
        };
        let read = read_heartbeat(&serde_json::to_vec(&sent).expect("JSON"), None).expect("a heartbeat");
        assert_eq!((read.node_id, read.lease_token, read.signed_at, read.ttl_s), ("n".into(), "l".into(), 5, 66));
        assert_eq!((read.signature.as_deref(), &read.raw_patch[..]), (Some(&b"s"[..]), patch), "exactly as signed");

        let sent = RenewalRequest {
            node_id: "n".into(),
            csr_pem: "csr".into(),
            signed_at: 5,
            signature: BASE64_STANDARD.encode("s"),
        };
        let read = read_renewal(&serde_json::to_vec(&sent).expect("JSON"), None).expect("a renewal");
        assert_eq!((read.node_id, read.csr_pem, read.signed_at), ("n".into(), "csr".into(), 5));
        assert_eq!(read.signature, b"s");
    }
}
