//! `/endpoints`.

use super::{arg_id, body_at, condition, created, id_of, list as page_of, once, one, paging_of, read_id};
use crate::control::work::endpoints;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::endpoints::NewEndpoint;
use crate::model::ids::ReplicaId;
use crate::model::users::Role::{Operator, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use tiny_http::Method::{Delete, Get, Patch, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/endpoints", By(Viewer, list)).gives(200, "[Endpoint]").says("List endpoints."),
    route(Post, "/endpoints", By(Operator, create))
        .gives(201, "Endpoint")
        .says("Create an endpoint of a replica.")
        .conflicts("An endpoint of this id exists."),
    route(Get, "/endpoints/{endpoint_id}", By(Viewer, show)).gives(200, "Endpoint").says("Show an endpoint."),
    route(Patch, "/endpoints/{endpoint_id}", By(Operator, update))
        .gives(200, "Endpoint")
        .says("Report a health check of an endpoint. Sets `last_checked_at`."),
    route(Delete, "/endpoints/{endpoint_id}", By(Operator, delete)).gives(204, "").says("Delete an endpoint."),
];

fn list(app: &App, request: &Request, _: &User) -> Reply {
    let mut f = Fields::of_query(request.query_pairs());
    let paging = paging_of(&mut f);
    let replica_id: Option<ReplicaId> = f.id("replica_id").optional();
    f.finish()?;
    Ok(page_of(request, &paging, &endpoints::list(&app.control, &paging, replica_id.as_ref())?))
}

fn show(app: &App, request: &Request, _: &User) -> Reply {
    Ok(one(request, &endpoints::show(&app.control, &read_id(request, "endpoint_id")?)?))
}

fn create(app: &App, request: &Request, user: &User) -> Reply {
    let once = once(request, user)?;
    let mut f = Fields::of_body(&request.body)?;
    let new = NewEndpoint {
        id: f.id("id").required(),
        replica_id: f.id("replica_id").required(),
        address: f.printable("address", 1..=253).required(),
        port: u16::try_from(f.int("port", 1..=65_535).required()).unwrap_or(1),
        healthy: f.flag("healthy").or(true),
    };
    f.finish()?;
    Ok(created(endpoints::create(&app.control, once, new)?))
}

fn update(app: &App, request: &Request, _: &User) -> Reply {
    let condition = condition(request);
    let mut f = body_at(request, "endpoint_id")?;
    let healthy = f.flag("healthy").optional();
    f.finish()?;
    Ok(one(request, &endpoints::update(&app.control, arg_id(request)?, condition, healthy)?))
}

fn delete(app: &App, request: &Request, _: &User) -> Reply {
    let condition = condition(request);
    endpoints::delete(&app.control, id_of(request, "endpoint_id")?, condition)?;
    Ok(Response::empty(204))
}
