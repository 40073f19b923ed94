//! `/users`.

use super::{arg_id, body_at, condition, id_of, list as page_of, one, paging, read_id};
use crate::control::access::auth::{PASSWORD_LEN_MAX, PASSWORD_LEN_MIN};
use crate::control::access::users;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::users::Role::Admin;
use crate::model::users::{Role, User};
use crate::upkeep::App;
use std::ops::RangeInclusive;
use tiny_http::Method::{Delete, Get, Patch, Post};

/// Length of a password, in characters.
const PASSWORD_CHARS: RangeInclusive<usize> = PASSWORD_LEN_MIN..=PASSWORD_LEN_MAX;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/users", By(Admin, list)).gives(200, "[User]").says("List users."),
    route(Post, "/users", By(Admin, create))
        .gives(201, "User")
        .says("Create a user.")
        .conflicts("A user of this name exists.")
        .lasting(),
    route(Get, "/users/{name}", By(Admin, show)).gives(200, "User").says("Show a user."),
    route(Patch, "/users/{name}", By(Admin, update))
        .gives(200, "User")
        .says("Change the role of a user. The sessions of the user end.")
        .conflicts("This is the only admin: give another user the role first.")
        .lasting(),
    route(Delete, "/users/{name}", By(Admin, delete))
        .gives(204, "")
        .says("Delete a user. The sessions and API tokens of the user end.")
        .conflicts("This is the only admin, or yourself.")
        .lasting(),
    route(Post, "/users/{name}/password", By(Admin, password))
        .gives(204, "")
        .says(
            "Set the password of another user. The sessions of the user end, and the next sign-in must change the \
            password, unless `must_change_password` is false.",
        )
        .conflicts("This is yourself: use POST /auth/password.")
        .lasting(),
];

fn list(app: &App, request: &Request, _: &User) -> Reply {
    let paging = paging(request)?;
    Ok(page_of(request, &paging, &users::list(&app.control, &paging)?))
}

fn show(app: &App, request: &Request, _: &User) -> Reply {
    Ok(one(request, &users::show(&app.control, &read_id(request, "name")?)?))
}

// No Idempotency-Key: a stored request would contain the password's digest.
fn create(app: &App, request: &Request, by: &User) -> Reply {
    let mut f = Fields::of_body(&request.body)?;
    let name = f.id("name").required();
    let role = f.word("role", Role::WORDS, Role::parse).required_with(Role::Viewer);
    let password = f.text("password", PASSWORD_CHARS).required();
    // The admin who creates the user knows the password.
    let must_change = f.flag("must_change_password").or(true);
    f.finish()?;
    let user = users::create(&app.control, name, role, &password, must_change, by)?;
    Ok(Response::json(201, &user.object).with("ETag", user.tag))
}

fn update(app: &App, request: &Request, _: &User) -> Reply {
    let mut f = body_at(request, "name")?;
    let role = f.word("role", Role::WORDS, Role::parse).optional();
    let condition = condition(request);
    f.finish()?;
    Ok(one(request, &users::set_role(&app.control, arg_id(request)?, condition, role)?))
}

fn delete(app: &App, request: &Request, user: &User) -> Reply {
    let condition = condition(request);
    users::delete(&app.control, id_of(request, "name")?, condition, user)?;
    Ok(Response::empty(204))
}

fn password(app: &App, request: &Request, user: &User) -> Reply {
    let mut f = body_at(request, "name")?;
    let password = f.text("password", PASSWORD_CHARS).required();
    let must_change = f.flag("must_change_password").or(true);
    f.finish()?;
    users::set_password(&app.control, arg_id(request)?, &password, must_change, user)?;
    Ok(Response::empty(204))
}
