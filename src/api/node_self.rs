//! `GET /node/self`: what a node reads of itself.

use super::nothing;
use crate::control::Control;
use crate::control::node_self;
use crate::gate::Handler::ByNode;
use crate::gate::{NodeCaller, Reply, Route, route};
use crate::http::{Request, Response};
use tiny_http::Method::Get;

/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Get, "/node/self", ByNode(show)).gives(200, "NodeSelf")];

fn show(control: &Control, request: &Request, caller: &NodeCaller) -> Reply {
    nothing(request)?;
    Ok(Response::json(200, &node_self::show(control, caller)?))
}
