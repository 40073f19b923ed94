//! `/services`.

use super::{
    PAGE_BYTES_MAX, PAGE_MAX, arg_id, body_at, condition, created, id_of, list as page_of, once, one, optional_body_at,
    paging, query_at, read_id, with_warnings,
};
use crate::control::fleet::lookalikes;
use crate::control::work::services;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::inputs::specs::spec;
use crate::model::Paging;
use crate::model::services::NewService;
use crate::model::users::Role::{Operator, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use std::ops::RangeInclusive;
use tiny_http::Method::{Delete, Get, Patch, Post};

/// Length of a description, in characters.
const DESCRIPTION_CHARS: RangeInclusive<usize> = 0..=4096;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/services", By(Viewer, list)).gives(200, "[Service]").says("List services."),
    route(Post, "/services", By(Operator, create))
        .gives(201, "Service")
        .says("Create a service.")
        .conflicts("A service of this id or name exists."),
    route(Get, "/services/{service_id}", By(Viewer, show)).gives(200, "Service").says("Show a service."),
    route(Patch, "/services/{service_id}", By(Operator, update))
        .gives(200, "Service")
        .says("Change the description or the spec of a service. A different spec is a new generation."),
    route(Delete, "/services/{service_id}", By(Operator, delete))
        .gives(204, "")
        .says("Delete a service.")
        .conflicts("The service has replicas: scale it to 0 first, or use `force`."),
    route(Post, "/services/{service_id}/rollout", By(Operator, rollout))
        .gives(200, "Service")
        .says("Restart all replicas of a service under a new generation."),
    route(Post, "/services/{service_id}/run", By(Operator, run)).gives(200, "Service").says(
        "Let nodes run the replicas of a service that is older than their ability to do so. A spec that names its \
            `driver` does the same.",
    ),
    route(Post, "/services/{service_id}/rollback", By(Operator, rollback))
        .gives(200, "Service")
        .says("Restore the spec of an earlier generation as a new generation."),
    route(Get, "/services/{service_id}/revisions", By(Viewer, revisions))
        .gives(200, "[Revision]")
        .says("List the revisions of a service, newest first."),
];

fn list(app: &App, request: &Request, _: &User) -> Reply {
    let paging = paging(request)?;
    Ok(page_of(request, &paging, &services::list(&app.control, &paging)?))
}

fn show(app: &App, request: &Request, _: &User) -> Reply {
    Ok(one(request, &services::show(&app.control, &read_id(request, "service_id")?)?))
}

fn create(app: &App, request: &Request, user: &User) -> Reply {
    let once = once(request, user)?;
    let mut f = Fields::of_body(&request.body)?;
    let new = NewService {
        id: f.id("id").required(),
        name: f.name("name").required(),
        description: f.text("description", DESCRIPTION_CHARS).optional(),
        spec: spec(&mut f).unwrap_or_default(),
    };
    f.finish()?;
    let (id, name) = (new.id.clone(), new.name.clone());
    let made = services::create(&app.control, once, new, user.name.as_str())?;
    Ok(with_warnings(created(made), &lookalikes::of_service(&app.control, &id, &name)))
}

fn update(app: &App, request: &Request, user: &User) -> Reply {
    let condition = condition(request);
    let mut f = body_at(request, "service_id")?;
    let description = f.text("description", DESCRIPTION_CHARS).optional();
    let spec = spec(&mut f);
    f.finish()?;
    let changed = services::update(&app.control, arg_id(request)?, condition, description, spec, user.name.as_str())?;
    let warnings = lookalikes::of_service(&app.control, &changed.object.id, &changed.object.name);
    Ok(with_warnings(one(request, &changed), &warnings))
}

fn rollout(app: &App, request: &Request, user: &User) -> Reply {
    let condition = condition(request);
    Ok(one(request, &services::rollout(&app.control, id_of(request, "service_id")?, condition, user.name.as_str())?))
}

fn run(app: &App, request: &Request, user: &User) -> Reply {
    let condition = condition(request);
    Ok(one(request, &services::run(&app.control, id_of(request, "service_id")?, condition, user.name.as_str())?))
}

fn rollback(app: &App, request: &Request, user: &User) -> Reply {
    let condition = condition(request);
    let mut f = optional_body_at(request, "service_id")?;
    let target = f.int("target_generation", 1..=i64::MAX).optional();
    f.finish()?;
    Ok(one(request, &services::rollback(&app.control, arg_id(request)?, condition, target, user.name.as_str())?))
}

fn delete(app: &App, request: &Request, user: &User) -> Reply {
    let condition = condition(request);
    let mut f = query_at(request, "service_id")?;
    let force = f.flag("force").or(false);
    f.finish()?;
    services::delete(&app.control, arg_id(request)?, condition, force, user.name.as_str())?;
    Ok(Response::empty(204))
}

fn revisions(app: &App, request: &Request, _: &User) -> Reply {
    let mut f = query_at(request, "service_id")?;
    let limit = f.int("limit", 1..=PAGE_MAX as i64).or(PAGE_MAX as i64) as usize;
    let before = f.int("after", 1..=i64::MAX).optional();
    f.finish()?;
    let paging = Paging { limit, bytes_max: PAGE_BYTES_MAX, after: None };
    let page = services::revisions(&app.control, &arg_id(request)?, &paging, before)?;
    Ok(page_of(request, &paging, &page))
}
