//! `/cluster/status`.

use super::no_fields;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::{Request, Response};
use crate::model::users::Role::Viewer;
use crate::model::users::User;
use crate::upkeep::{App, status};
use tiny_http::Method::Get;

/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Get, "/cluster/status", By(Viewer, show))
    .gives(200, "ClusterStatus")
    .says("Show the state of the whole cluster in one object.")
    .expensive()];

fn show(app: &App, request: &Request, _: &User) -> Reply {
    no_fields(request)?;
    Ok(Response::json(200, &status::read(app)?))
}
