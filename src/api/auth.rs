//! Sign-in for programs.

use crate::control::{Control, auth};
use crate::gate::Handler::{By, Open};
use crate::gate::{COOKIE, Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::users::Role::Viewer;
use crate::model::users::User;
use serde_json::json;
use tiny_http::Method::Post;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Post, "/auth/token", Open(token)).gives(200, "Session"),
    route(Post, "/auth/password", By(Viewer, password)).gives(200, "Session"),
];

fn token(control: &Control, request: &Request) -> Reply {
    let mut f = Fields::of_body(&request.body)?;
    let username = f.text("username", 1..=128).required();
    let given = f.text("password", 1..=auth::PASSWORD_LEN_MAX).required();
    f.finish()?;
    answer(&auth::sign_in(control, request.client, &username, &given)?)
}

fn password(control: &Control, request: &Request, user: &User) -> Reply {
    let mut f = Fields::of_body(&request.body)?;
    let current = f.text("current_password", 1..=auth::PASSWORD_LEN_MAX).required();
    let new = f.text("new_password", auth::PASSWORD_LEN_MIN..=auth::PASSWORD_LEN_MAX).required();
    f.finish()?;
    answer(&auth::change_password(control, request.client, user, &current, &new)?)
}

fn answer(session: &auth::Session) -> Reply {
    Ok(Response::json(200, &json!({ "session_token": session.token, "cookie_name": COOKIE, "expires_in": session.expires_in_s })))
}
