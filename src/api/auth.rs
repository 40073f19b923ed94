//! Sign-in for programs, and the signed-in user's own account.

use super::{id_of, list as page_of, no_fields, paging};
use crate::control::access::auth;
use crate::control::access::auth::Change;
use crate::control::access::sessions;
use crate::control::access::sessions::SignedIn;
use crate::gate::Handler::{By, Open};
use crate::gate::{COOKIE, Meter, Reply, Route, route, visitor};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::users::Role::Viewer;
use crate::model::users::{Credential, Restriction, User};
use crate::upkeep::App;
use serde_json::json;
use tiny_http::Method::{Delete, Get, Post};

/// Maximum length of a setup code as a person may type it, in characters.
const CODE_CHARS_MAX: usize = 64;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Post, "/auth/token", Open(token))
        .gives(200, "Session")
        .says("Sign in with a password. Five failures from one address within 60 s lock it for 300 s.")
        .meter(Meter::SignIn),
    route(Post, "/auth/password", By(Viewer, password))
        .gives(200, "Session")
        .says("Change your own password. All your other sessions end; the answer holds a fresh one.")
        .conflicts("The password was changed meanwhile.")
        .personal()
        .always(),
    route(Get, "/auth/me", By(Viewer, me))
        .gives(200, "Me")
        .says("Show who is signed in, and by which credential.")
        .always(),
    route(Get, "/auth/sessions", By(Viewer, list))
        .gives(200, "[UserSession]")
        .says("List your own sessions.")
        .personal(),
    route(Delete, "/auth/sessions/{session_id}", By(Viewer, revoke))
        .gives(204, "")
        .says("End one of your own sessions.")
        .personal(),
];

fn token(app: &App, request: &Request) -> Reply {
    let mut f = Fields::of_body(&request.body)?;
    let username = f.text("username", 1..=128).required();
    let given = f.text("password", 1..=auth::PASSWORD_LEN_MAX).required();
    f.finish()?;
    answer(&auth::sign_in(&app.control, &visitor(request), &username, &given)?)
}

fn password(app: &App, request: &Request, user: &User) -> Reply {
    let mut f = Fields::of_body(&request.body)?;
    let current = f.text("current_password", 1..=auth::PASSWORD_LEN_MAX).required();
    let new = f.text("new_password", auth::PASSWORD_LEN_MIN..=auth::PASSWORD_LEN_MAX).required();
    let setup_code = f.text("setup_code", 0..=CODE_CHARS_MAX).optional().unwrap_or_default();
    f.finish()?;
    let change = Change { current: &current, new: &new, setup_code: &setup_code };
    answer(&auth::change_password(&app.control, &visitor(request), user, &change)?)
}

fn answer(session: &SignedIn) -> Reply {
    Ok(Response::json(
        200,
        &json!({
            "session_token": session.token,
            "cookie_name": COOKIE,
            "expires_in": session.expires_in_s,
            "must_change_password": session.restriction.is_some(),
            "needs_setup_code": session.restriction == Some(Restriction::NeedsSetupCode),
        }),
    ))
}

fn me(_: &App, request: &Request, user: &User) -> Reply {
    no_fields(request)?;
    let credential = match user.credential {
        Credential::Session(_) => "session",
        Credential::ApiToken(_) => "api_token",
        Credential::Local => "local",
    };
    Ok(Response::json(
        200,
        &json!({
            "name": user.name,
            "role": user.role,
            "credential": credential,
            "credential_id": user.credential_id(),
            "must_change_password": user.restriction.is_some(),
            "needs_setup_code": user.restriction == Some(Restriction::NeedsSetupCode),
        }),
    ))
}

fn list(app: &App, request: &Request, user: &User) -> Reply {
    let paging = paging(request)?;
    Ok(page_of(request, &paging, &sessions::list(&app.control, &paging, Some(&user.name), user.session_id())?))
}

fn revoke(app: &App, request: &Request, user: &User) -> Reply {
    sessions::revoke(&app.control, id_of(request, "session_id")?, Some(user))?;
    Ok(Response::empty(204))
}
