//! `/events`.

use super::{PAGE_MAX, list as page_of};
use crate::control::{Control, events};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::Paging;
use crate::model::events::NewEvent;
use crate::model::users::Role::{Operator, Viewer};
use crate::model::users::User;
use tiny_http::Method::{Get, Post};

/// Events of a page where nobody says.
const PAGE_DEFAULT: i64 = 200;

/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Get, "/events", By(Viewer, list)), route(Post, "/events", By(Operator, create))];

fn list(control: &Control, request: &Request, _: &User) -> Reply {
    let mut f = Fields::of_query(request.query_pairs());
    // Out of bounds is clamped here, not refused: V1's clients count on it.
    let limit = f.int("limit", i64::MIN..=i64::MAX).or(PAGE_DEFAULT).clamp(1, PAGE_MAX as i64) as usize;
    let after = f.id("after").optional();
    let category = f.text("category", 0..=64).optional();
    f.finish()?;
    let paging = Paging { limit, after };
    Ok(page_of(request, &paging, &events::list(control, &paging, category.as_deref())?))
}

fn create(control: &Control, request: &Request, _: &User) -> Reply {
    let mut f = Fields::of_body(&request.body)?;
    let event = NewEvent {
        id: f.id("id").optional(),
        category: f.printable("category", 1..=64).required(),
        name: f.printable("name", 1..=128).required(),
        level: f.printable("level", 1..=32).required(),
        fields: f.object("fields").optional().unwrap_or_default(),
    };
    f.finish()?;
    Ok(Response::json(201, &events::create(control, event)?))
}
