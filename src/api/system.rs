//! Health, version and metrics of the server.

use crate::clock;
use crate::control::access::secrets::same_secret;
use crate::error::Error;
use crate::gate::Handler::{Checked, Open};
use crate::gate::{Reply, Route, route, user_of};
use crate::http::{Request, Response};
use crate::upkeep::App;
use crate::upkeep::metrics;
use serde_json::json;
use tiny_http::Method::Get;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/metrics", Checked(metrics)).gives(200, "text/plain").says(
        "Show metrics in the Prometheus text format. Open to this machine, the bearer of the metrics token and \
            signed-in users.",
    ),
    route(Get, "/health", Open(health))
        .gives(200, "Health")
        .says("Check that the server answers. Reads nothing and never waits for the database."),
    route(Get, "/version", Open(version)).gives(200, "Version").says(
        "Show the name, version and environment of the \
        server.",
    ),
    route(Get, "/", Open(home)).gives(307, "").says("Redirect to the pages."),
];

/// Metrics for a collector on this machine, a collector with the token, or a signed-in user. A request through a proxy
/// is not from this machine, whatever its address.
fn metrics(app: &App, request: &Request) -> Reply {
    let own = app.control.config.metrics_token.as_ref();
    let token = own.is_some_and(|own| request.bearers().any(|shown| same_secret(own.expose(), shown.as_bytes())));
    if !request.is_local() && !token && user_of(&app.control, request)?.is_none_or(|user| user.restriction.is_some()) {
        return Err(Error::unauthenticated());
    }
    Ok(Response::bytes(200, "text/plain; version=0.0.4", metrics::text(app)?.into_bytes()))
}

fn health(_: &App, _: &Request) -> Reply {
    Ok(Response::json(200, &json!({ "status": "ok", "time": clock::now() })))
}

fn version(app: &App, _: &Request) -> Reply {
    let config = &app.control.config;
    Ok(Response::json(
        200,
        &json!({ "app": config.app_name, "version": env!("CARGO_PKG_VERSION"), "env": config.app_env }),
    ))
}

fn home(_: &App, _: &Request) -> Reply {
    Ok(Response::redirect(307, "/ui"))
}
