//! `/nodes`.

use super::{
    arg_id, body_at, condition, created, id_of, list as page_of, once, one, paging_of, query_at, read_id, with_warnings,
};
use crate::control::Control;
use crate::control::fleet::{lookalikes, nodes};
use crate::control::versions::{Condition, Versioned};
use crate::error::Result;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::inputs::capacity::room;
use crate::model::ids::NodeId;
use crate::model::leases::LeaseState;
use crate::model::mesh_address::MeshAddress;
use crate::model::nodes::{Node, NodeChange, NodeFilter};
use crate::model::users::Role::{Operator, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use serde_json::Value;
use std::collections::BTreeMap;
use tiny_http::Method::{Delete, Get, Patch, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/nodes", By(Viewer, list)).gives(200, "[Node]").says(
        "List nodes. Several `label` parameters must all \
        match.",
    ),
    route(Post, "/nodes", By(Operator, create))
        .gives(201, "Node")
        .says("Create a node before its machine joins.")
        .conflicts("The id or the name exists, or the cluster has as many nodes as the setting `nodes_max` allows."),
    route(Get, "/nodes/{node_id}", By(Viewer, show)).gives(200, "Node").says("Show a node."),
    route(Patch, "/nodes/{node_id}", By(Operator, update))
        .gives(200, "Node")
        .says("Change a node. Each given field replaces the old value as a whole.")
        .conflicts("Another node has this name."),
    route(Delete, "/nodes/{node_id}", By(Operator, delete))
        .gives(204, "")
        .says("Delete a node and revoke its identity at once.")
        .conflicts(
            "Replicas are placed on the node or router assignments name it: drain it and delete those first, or \
            use `force`.",
        ),
    route(Post, "/nodes/{node_id}/cordon", By(Operator, cordon))
        .gives(200, "Node")
        .says("Cordon a node. New replicas stay away, running ones move to eligible nodes."),
    route(Post, "/nodes/{node_id}/uncordon", By(Operator, uncordon))
        .gives(200, "Node")
        .says("Uncordon a node. It takes replicas again, and a drain of it ends."),
    route(Post, "/nodes/{node_id}/drain", By(Operator, drain))
        .gives(200, "Node")
        .says("Drain a node. It is cordoned, and its replicas move within `max_unavailable` of their services."),
    route(Post, "/nodes/{node_id}/reboot-marker", By(Operator, mark_reboot)).gives(200, "Node").says(
        "Request a reboot of a node. Sets the marker `reboot_requested_at` in its status, for its agent to \
            read.",
    ),
    route(Post, "/nodes/{node_id}/rotate-wg-keys", By(Operator, rotate_wg_keys))
        .gives(200, "Node")
        .says("Request new WireGuard keys of a node. Sets the marker `wg_key_rotation_requested_at` in its status."),
];

fn list(app: &App, request: &Request, _: &User) -> Reply {
    let mut f = Fields::of_query(request.query_pairs());
    let paging = paging_of(&mut f);
    let mut filter = NodeFilter {
        role: f.text("role", 1..=64).optional(),
        lease_state: f.word("lease_state", LeaseState::WORDS, LeaseState::parse).optional(),
        labels: BTreeMap::new(),
    };
    // All of several `label=key=value` must match; the field reader checks the last, and documents the parameter.
    f.text("label", 1..=321).optional();
    for (_, label) in request.query_pairs().into_iter().filter(|(name, _)| name == "label") {
        match label.split_once('=') {
            Some((key, value)) if !key.is_empty() => drop(filter.labels.insert(key.to_string(), value.to_string())),
            _ => f.fault(
                "string_pattern_mismatch",
                vec!["label".into()],
                "String should be key=value".to_string(),
                &Value::String(label),
            ),
        }
    }
    f.finish()?;
    Ok(page_of(request, &paging, &nodes::list(&app.control, &paging, &filter)?))
}

fn show(app: &App, request: &Request, _: &User) -> Reply {
    Ok(one(request, &nodes::show(&app.control, &read_id(request, "node_id")?)?))
}

fn create(app: &App, request: &Request, user: &User) -> Reply {
    let once = once(request, user)?;
    let mut f = Fields::of_body(&request.body)?;
    let id: NodeId = f.id("id").required();
    let name = f.name("name").required();
    let mut given = change(&mut f);
    given.roles = f.words("roles").optional();
    given.labels = f.labels("labels").optional();
    (given.capacity, given.reserved) = room(&mut f);
    f.finish()?;
    let made = nodes::create(&app.control, once, id.clone(), name.clone(), given)?;
    Ok(with_warnings(created(made), &lookalikes::of_node(&app.control, &id, &name)))
}

fn update(app: &App, request: &Request, _: &User) -> Reply {
    let condition = condition(request);
    let mut f = body_at(request, "node_id")?;
    let name = f.name("name").optional();
    let mut given = change(&mut f);
    given.name = name;
    given.roles = f.words("roles").optional();
    given.labels = f.labels("labels").optional();
    (given.capacity, given.reserved) = room(&mut f);
    f.finish()?;
    let changed = nodes::update(&app.control, arg_id(request)?, condition, given)?;
    let warnings = lookalikes::of_node(&app.control, &changed.object.id, &changed.object.name);
    Ok(with_warnings(one(request, &changed), &warnings))
}

fn delete(app: &App, request: &Request, _: &User) -> Reply {
    let condition = condition(request);
    let mut f = query_at(request, "node_id")?;
    let force = f.flag("force").or(false);
    f.finish()?;
    nodes::delete(&app.control, arg_id(request)?, condition, force)?;
    Ok(Response::empty(204))
}

fn cordon(app: &App, request: &Request, _: &User) -> Reply {
    act(&app.control, request, nodes::cordon)
}

fn uncordon(app: &App, request: &Request, _: &User) -> Reply {
    act(&app.control, request, nodes::uncordon)
}

fn drain(app: &App, request: &Request, _: &User) -> Reply {
    act(&app.control, request, nodes::drain)
}

fn mark_reboot(app: &App, request: &Request, _: &User) -> Reply {
    act(&app.control, request, nodes::mark_reboot)
}

fn rotate_wg_keys(app: &App, request: &Request, _: &User) -> Reply {
    act(&app.control, request, nodes::rotate_wg_keys)
}

type Action = fn(&Control, NodeId, Condition) -> Result<Versioned<Node>>;

fn act(control: &Control, request: &Request, action: Action) -> Reply {
    let condition = condition(request);
    Ok(one(request, &action(control, id_of(request, "node_id")?, condition)?))
}

/// The fields that the bodies of a node and of a join share.
pub(super) fn change(f: &mut Fields) -> NodeChange {
    NodeChange {
        mesh_ip: mesh_ip(f),
        status: f.object("status").optional(),
        api_endpoint: f.printable("api_endpoint", 1..=512).optional(),
        ..NodeChange::default()
    }
}

/// An address inside the mesh, with or without a prefix length.
pub(super) fn mesh_ip(f: &mut Fields) -> Option<MeshAddress> {
    let text = f.text("mesh_ip", 1..=64).optional()?;
    let mesh = MeshAddress::parse(&text);
    if mesh.is_none() {
        let msg = "String should be an IP address, with or without a prefix length, such as 10.42.0.7 or fd00::7/64";
        f.fault("string_pattern_mismatch", vec!["mesh_ip".into()], msg.into(), &Value::String(text));
    }
    mesh
}
