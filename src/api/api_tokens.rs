//! `/api-tokens`, for admins, and `/auth/api-tokens`, for the caller's own tokens.

use super::{id_of, list as page_of, paging};
use crate::control::access::api_tokens;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::users::Role::{Admin, Viewer};
use crate::model::users::{Role, User};
use crate::upkeep::App;
use std::ops::RangeInclusive;
use tiny_http::Method::{Delete, Get, Post};

/// Lifetime of a token, in days.
const DAYS: RangeInclusive<i64> = 1..=3650;
/// Lifetime of a token that any user may create, in days.
const OWN_DAYS: RangeInclusive<i64> = 1..=90;
/// Default lifetime, in days.
const DAYS_DEFAULT: i64 = 90;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/api-tokens", By(Admin, list)).gives(200, "[ApiToken]").says("List API tokens, without their secrets."),
    route(Post, "/api-tokens", By(Admin, create))
        .gives(201, "NewApiToken")
        .says("Create an API token of your own. Only this answer shows the secret.")
        .conflicts("You have an API token of this name, or 100 tokens: delete one first.")
        .personal(),
    route(Delete, "/api-tokens/{token_id}", By(Admin, delete)).gives(204, "").says("Revoke an API token."),
    route(Get, "/auth/api-tokens", By(Viewer, list_own))
        .gives(200, "[ApiToken]")
        .says("List your own API tokens, without their secrets."),
    route(Post, "/auth/api-tokens", By(Viewer, create_own))
        .gives(201, "NewApiToken")
        .says("Create an API token of your own, with your role. Only this answer shows the secret.")
        .conflicts("You have an API token of this name, or 100 tokens: delete one first.")
        .personal(),
    route(Delete, "/auth/api-tokens/{token_id}", By(Viewer, delete_own))
        .gives(204, "")
        .says("Revoke an API token of your own. A token may revoke itself."),
];

fn list(app: &App, request: &Request, _: &User) -> Reply {
    let paging = paging(request)?;
    Ok(page_of(request, &paging, &api_tokens::list(&app.control, &paging, None)?))
}

// No Idempotency-Key: the answer would have to keep the secret.
fn create(app: &App, request: &Request, user: &User) -> Reply {
    let mut f = Fields::of_body(&request.body)?;
    let name = f.name("name").required();
    let role = f.word("role", Role::WORDS, Role::parse).required_with(Role::Viewer);
    let days = f.int("expires_in_days", DAYS).or(DAYS_DEFAULT);
    f.finish()?;
    Ok(Response::json(201, &api_tokens::create(&app.control, user, name, role, days)?))
}

fn delete(app: &App, request: &Request, _: &User) -> Reply {
    api_tokens::delete(&app.control, id_of(request, "token_id")?, None)?;
    Ok(Response::empty(204))
}

fn list_own(app: &App, request: &Request, user: &User) -> Reply {
    let paging = paging(request)?;
    Ok(page_of(request, &paging, &api_tokens::list(&app.control, &paging, Some(&user.name))?))
}

// It has the user's role: a token can never do more than its owner.
fn create_own(app: &App, request: &Request, user: &User) -> Reply {
    let mut f = Fields::of_body(&request.body)?;
    let name = f.name("name").required();
    let days = f.int("expires_in_days", OWN_DAYS).or(DAYS_DEFAULT);
    f.finish()?;
    Ok(Response::json(201, &api_tokens::create(&app.control, user, name, user.role, days)?))
}

fn delete_own(app: &App, request: &Request, user: &User) -> Reply {
    api_tokens::delete(&app.control, id_of(request, "token_id")?, Some(user))?;
    Ok(Response::empty(204))
}
