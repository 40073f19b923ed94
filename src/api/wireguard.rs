//! `/wireguard/status`.

use super::{list as page_of, paging};
use crate::control::fleet::wireguard;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::Request;
use crate::model::users::Role::Viewer;
use crate::model::users::User;
use crate::upkeep::App;
use tiny_http::Method::Get;

/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Get, "/wireguard/status", By(Viewer, status))
    .gives(200, "[WireguardStatus]")
    .says("List the WireGuard tunnels of nodes, as the nodes report them.")];

fn status(app: &App, request: &Request, _: &User) -> Reply {
    let paging = paging(request)?;
    Ok(page_of(request, &paging, &wireguard::list(&app.control, &paging)?))
}
