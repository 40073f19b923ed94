//! `/router-assignments`.

use super::{condition, created, id_of, list as page_of, once, one, paging_of, read_id};
use crate::control::work::routers;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::ids::NodeId;
use crate::model::routers::NewRouterAssignment;
use crate::model::users::Role::{Operator, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use tiny_http::Method::{Delete, Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/router-assignments", By(Viewer, list))
        .gives(200, "[RouterAssignment]")
        .says("List router assignments."),
    route(Post, "/router-assignments", By(Operator, create))
        .gives(201, "RouterAssignment")
        .says("Assign a primary and a secondary router to a node. Equal routers are refused (400).")
        .conflicts("A router assignment of this id exists."),
    route(Get, "/router-assignments/{assignment_id}", By(Viewer, show))
        .gives(200, "RouterAssignment")
        .says("Show a router assignment."),
    route(Delete, "/router-assignments/{assignment_id}", By(Operator, delete))
        .gives(204, "")
        .says("Delete a router assignment."),
];

fn list(app: &App, request: &Request, _: &User) -> Reply {
    let mut f = Fields::of_query(request.query_pairs());
    let paging = paging_of(&mut f);
    let node_id: Option<NodeId> = f.id("node_id").optional();
    f.finish()?;
    Ok(page_of(request, &paging, &routers::list(&app.control, &paging, node_id.as_ref())?))
}

fn show(app: &App, request: &Request, _: &User) -> Reply {
    Ok(one(request, &routers::show(&app.control, &read_id(request, "assignment_id")?)?))
}

fn create(app: &App, request: &Request, user: &User) -> Reply {
    let once = once(request, user)?;
    let mut f = Fields::of_body(&request.body)?;
    let new = NewRouterAssignment {
        id: f.id("id").required(),
        node_id: f.id("node_id").required(),
        primary_router_id: f.id("primary_router_id").required(),
        secondary_router_id: f.id("secondary_router_id").required(),
    };
    f.finish()?;
    Ok(created(routers::create(&app.control, once, new)?))
}

fn delete(app: &App, request: &Request, _: &User) -> Reply {
    let condition = condition(request);
    routers::delete(&app.control, id_of(request, "assignment_id")?, condition)?;
    Ok(Response::empty(204))
}
