//! `/nodes/{node_id}/runs`: choosing between two machines with one identity.

use super::{arg_id, body_at, read_id};
use crate::control::fleet::node_runs;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::{Request, Response};
use crate::model::ids::NodeId;
use crate::model::node_runs::Conflict;
use crate::model::users::Role::{Operator, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use serde_json::json;
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/nodes/{node_id}/runs", By(Viewer, show)).gives(200, "NodeRuns").says(
        "Show which agents send heartbeats as this node. More than one means that two machines share an identity.",
    ),
    route(Post, "/nodes/{node_id}/keep-run", By(Operator, keep))
        .gives(200, "NodeRuns")
        .says("Choose which of two agents with one identity stays. The heartbeats of all others are refused."),
];

fn show(app: &App, request: &Request, _: &User) -> Reply {
    let id: NodeId = read_id(request, "node_id")?;
    let conflict = node_runs::show(&app.control, &id)?;
    Ok(answer(&id, conflict.as_ref()))
}

fn keep(app: &App, request: &Request, _: &User) -> Reply {
    let mut f = body_at(request, "node_id")?;
    let run = f.text("run", 1..=64).required();
    f.finish()?;
    let id: NodeId = arg_id(request)?;
    let conflict = node_runs::keep(&app.control, id.clone(), run)?;
    Ok(answer(&id, Some(&conflict)))
}

fn answer(node_id: &NodeId, conflict: Option<&Conflict>) -> Response {
    let body = match conflict {
        Some(c) => {
            json!({"node_id": node_id, "kept": c.kept, "refused": c.refused, "found_at": c.found_at,
                "decided_at": c.decided_at})
        }
        None => json!({"node_id": node_id, "kept": null, "refused": [], "found_at": null, "decided_at": null}),
    };
    Response::json(200, &body)
}
