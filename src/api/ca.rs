//! `/cluster/ca`: the authorities that certify nodes and server, and their rotation.

use super::{list as page_of, paging};
use crate::control::trust::ca;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::users::Role::{Admin, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use tiny_http::Method::{Delete, Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/cluster/ca", By(Viewer, show)).gives(200, "Ca").says(
        "Show the certificate authorities and the \
        progress of a rotation.",
    ),
    route(Get, "/cluster/ca/nodes", By(Viewer, nodes))
        .gives(200, "[NodeTrust]")
        .says("List enrolled nodes and whether each trusts the current authority."),
    route(Post, "/cluster/ca/rotate", By(Admin, rotate))
        .gives(200, "Ca")
        .says("Rotate the certificate authority. The previous one stays trusted until it is dropped.")
        .conflicts("The previous authority is still trusted: drop it first."),
    route(Delete, "/cluster/ca/previous", By(Admin, drop_previous))
        .gives(200, "Ca")
        .says("Stop trusting the previous certificate authority.")
        .conflicts(
            "Nodes do not trust the current authority yet, or there is no previous one. `force` leaves those \
            nodes behind.",
        ),
];

fn show(app: &App, _: &Request, _: &User) -> Reply {
    Ok(Response::json(200, &ca::show(&app.control)?))
}

fn nodes(app: &App, request: &Request, _: &User) -> Reply {
    let paging = paging(request)?;
    Ok(page_of(request, &paging, &ca::nodes(&app.control, &paging)?))
}

fn rotate(app: &App, _: &Request, _: &User) -> Reply {
    Ok(Response::json(200, &ca::rotate(&app.control)?))
}

fn drop_previous(app: &App, request: &Request, _: &User) -> Reply {
    let mut f = Fields::of_query(request.query_pairs());
    let force = f.flag("force").or(false);
    f.finish()?;
    Ok(Response::json(200, &ca::drop_previous(&app.control, force)?))
}
