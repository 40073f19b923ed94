//! Whether the server is there, and which one it is.

use crate::clock;
use crate::control::Control;
use crate::gate::Handler::Open;
use crate::gate::{Reply, Route, route};
use crate::http::{Request, Response};
use serde_json::json;
use tiny_http::Method::Get;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/health", Open(health)).gives(200, "Health"),
    route(Get, "/version", Open(version)).gives(200, "Version"),
    route(Get, "/", Open(home)).gives(307, ""),
];

fn health(_: &Control, _: &Request) -> Reply {
    Ok(Response::json(200, &json!({ "status": "ok", "time": clock::now() })))
}

fn version(control: &Control, _: &Request) -> Reply {
    let config = &control.config;
    Ok(Response::json(200, &json!({ "app": config.app_name, "version": env!("CARGO_PKG_VERSION"), "env": config.app_env })))
}

fn home(_: &Control, _: &Request) -> Reply {
    Ok(Response::redirect(307, "/ui"))
}
