//! `/nodes`.

use super::{arg, id_of, list as page_of, paging};
use crate::control::{Control, nodes};
use crate::error::Result;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::nodes::{Node, NodeChange};
use crate::model::users::Role::{Operator, Viewer};
use crate::model::users::User;
use serde_json::Value;
use std::net::IpAddr;
use tiny_http::Method::{Delete, Get, Patch, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/nodes", By(Viewer, list)),
    route(Post, "/nodes", By(Operator, create)),
    route(Get, "/nodes/{node_id}", By(Viewer, show)),
    route(Patch, "/nodes/{node_id}", By(Operator, update)),
    route(Delete, "/nodes/{node_id}", By(Operator, delete)),
    route(Post, "/nodes/{node_id}/cordon", By(Operator, cordon)),
    route(Post, "/nodes/{node_id}/uncordon", By(Operator, uncordon)),
    route(Post, "/nodes/{node_id}/drain", By(Operator, drain)),
    route(Post, "/nodes/{node_id}/reboot-marker", By(Operator, mark_reboot)),
    route(Post, "/nodes/{node_id}/rotate-wg-keys", By(Operator, rotate_wg_keys)),
];

fn list(control: &Control, request: &Request, _: &User) -> Reply {
    let paging = paging(request)?;
    Ok(page_of(request, &paging, &nodes::list(control, &paging)?))
}

fn show(control: &Control, request: &Request, _: &User) -> Reply {
    Ok(Response::json(200, &nodes::show(control, id_of(request, "node_id")?)?))
}

fn create(control: &Control, request: &Request, _: &User) -> Reply {
    let mut f = Fields::of_body(&request.body)?;
    let id = f.id("id").required();
    let name = f.name("name").required();
    let mut given = change(&mut f);
    given.roles = f.words("roles").optional();
    given.labels = f.labels("labels").optional();
    f.finish()?;
    Ok(Response::json(201, &nodes::create(control, id, name, given)?))
}

fn update(control: &Control, request: &Request, _: &User) -> Reply {
    let id = arg(request);
    let mut f = Fields::of_body_at("node_id", id, &request.body)?;
    let name = f.name("name").optional();
    let mut given = change(&mut f);
    given.name = name;
    given.roles = f.words("roles").optional();
    given.labels = f.labels("labels").optional();
    f.finish()?;
    Ok(Response::json(200, &nodes::update(control, id.to_string(), given)?))
}

fn delete(control: &Control, request: &Request, _: &User) -> Reply {
    let id = id_of(request, "node_id")?;
    let mut f = Fields::of_query(request.query_pairs());
    let force = f.flag("force").or(false);
    f.finish()?;
    nodes::delete(control, id.to_string(), force)?;
    Ok(Response::empty(204))
}

fn cordon(control: &Control, request: &Request, _: &User) -> Reply {
    act(control, request, nodes::cordon)
}

fn uncordon(control: &Control, request: &Request, _: &User) -> Reply {
    act(control, request, nodes::uncordon)
}

fn drain(control: &Control, request: &Request, _: &User) -> Reply {
    act(control, request, nodes::drain)
}

fn mark_reboot(control: &Control, request: &Request, _: &User) -> Reply {
    act(control, request, nodes::mark_reboot)
}

fn rotate_wg_keys(control: &Control, request: &Request, _: &User) -> Reply {
    act(control, request, nodes::rotate_wg_keys)
}

fn act(control: &Control, request: &Request, action: fn(&Control, String) -> Result<Node>) -> Reply {
    let id = id_of(request, "node_id")?;
    Ok(Response::json(200, &action(control, id.to_string())?))
}

/// What a node's body and a join's body have in common.
pub(super) fn change(f: &mut Fields) -> NodeChange {
    NodeChange {
        mesh_ip: mesh_ip(f),
        status: f.object("status").optional(),
        api_endpoint: f.printable("api_endpoint", 1..=512).optional(),
        ..NodeChange::default()
    }
}

/// An address inside the mesh, with or without a prefix length.
fn mesh_ip(f: &mut Fields) -> Option<String> {
    let text = f.text("mesh_ip", 1..=64).optional()?;
    let (address, prefix) = text.split_once('/').map_or((text.as_str(), None), |(a, p)| (a, Some(p)));
    let bits_max = match address.parse() {
        Ok(IpAddr::V4(_)) => Some(32),
        Ok(IpAddr::V6(_)) => Some(128),
        Err(_) => None,
    };
    let fits = |p: &str| p.parse::<u8>().is_ok_and(|p| bits_max.is_some_and(|max| p <= max));
    if bits_max.is_none() || !prefix.is_none_or(fits) {
        let msg = "String should be an IP address, with or without a prefix length, such as 10.42.0.7 or fd00::7/64";
        f.fault("string_pattern_mismatch", vec!["mesh_ip".into()], msg.into(), &Value::String(text));
        return None;
    }
    Some(text)
}
