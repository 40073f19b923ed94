//! `/cluster/join`, `/cluster/renew`, `/cluster/heartbeat` and `/cluster/leases`: what nodes say, and who lives.

use super::nodes::change;
use super::{list as page_of, paging, warned};
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
use tiny_http::Method::{Get, Post};

/// Characters of a CSR: one with a large RSA key has about 3,000.
const CSR_CHARS: RangeInclusive<usize> = 1..=16_384;
/// Characters of a signature in base64: RSA with 8,192 bits has 1,368.
const SIGNATURE_CHARS: RangeInclusive<usize> = 1..=2048;
/// A patch is read several times before its signature is proven, and a whole status may not be larger either.
const PATCH_BYTES_MAX: usize = 64 << 10;
/// Epoch seconds that a JSON reader of any language can hold.
const EPOCH_S: RangeInclusive<i64> = 0..=253_402_300_799;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Post, "/cluster/join", Open(join)).gives(200, "Joined").meter(Meter::Join),
    route(Post, "/cluster/renew", Checked(renew)).gives(200, "Joined").meter(Meter::Renewal),
    route(Post, "/cluster/heartbeat", Open(heartbeat)).gives(200, "Renewed").meter(Meter::SealedByBody),
    route(Get, "/cluster/leases", By(Viewer, list)).gives(200, "[Lease]"),
];

fn join(app: &App, request: &Request) -> Reply {
    let mut f = Fields::of_body(&request.body)?;
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
    let (node_id, name) = (ask.node_id.clone(), ask.name.clone());
    let joined = Response::json(200, &join::join(&app.control, ask)?);
    Ok(warned(joined, &lookalikes::of_node(&app.control, &node_id, &name)))
}

fn heartbeat(app: &App, request: &Request) -> Reply {
    let mut f = Fields::of_body(&request.body)?;
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
    let certificate = request.certificate.clone();
    let beat = Heartbeat { node_id, lease_token, signed_at, ttl_s, signature, patch, raw_patch, certificate };
    let renewed = leases::heartbeat(&app.control, beat)?;
    caller::is(&format!("node:{}", renewed.node_id));
    Ok(Response::json(200, &renewed))
}

fn renew(app: &App, request: &Request) -> Reply {
    // Nobody learns anything here before a node has proven itself: a malformed request is simply nobody's.
    let ask = renewal(request).map_err(|_| Error::unauthenticated())?;
    Ok(Response::json(200, &join::renew(&app.control, ask)?))
}

fn renewal(request: &Request) -> Result<Renewal> {
    let mut f = Fields::of_body(&request.body)?;
    let node_id = f.id("node_id").required();
    let csr_pem = f.text("csr_pem", CSR_CHARS).required();
    let signed_at = f.int("signed_at", EPOCH_S).required();
    let signature = f.text("signature", SIGNATURE_CHARS).required();
    f.finish()?;
    let signature = BASE64_STANDARD.decode(signature.trim()).map_err(|_| Error::unauthenticated())?;
    Ok(Renewal { node_id, csr_pem, signed_at, signature, certificate: request.certificate.clone() })
}

fn list(app: &App, request: &Request, _: &User) -> Reply {
    let paging = paging(request)?;
    Ok(page_of(request, &paging, &leases::list(&app.control, &paging)?))
}
