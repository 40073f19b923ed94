//! `GET /node/self`: a node's view of itself.

use super::no_fields;
use crate::control::fleet::node_self;
use crate::gate::Handler::ByNode;
use crate::gate::{NodeCaller, Reply, Route, route};
use crate::http::{Request, Response};
use crate::upkeep::App;
use tiny_http::Method::Get;

/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Get, "/node/self", ByNode(show))
    .gives(200, "NodeSelf")
    .says("Show the calling node, as the control plane knows it.")];

fn show(app: &App, request: &Request, caller: &NodeCaller) -> Reply {
    no_fields(request)?;
    Ok(Response::json(200, &node_self::show(&app.control, caller)?))
}
