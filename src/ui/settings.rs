//! Settings: the password, and where one is signed in.

use super::{csrf_field, field, framed, notice, sessions};
use crate::control::Control;
use crate::control::auth::{self, Change};
use crate::error::Error;
use crate::gate::Handler::By;
use crate::gate::{self, Reply, Route, route};
use crate::html::{Html, page};
use crate::http::{Request, form};
use crate::model::users::Role::Viewer;
use crate::model::users::{Credential, Restriction, User};
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] =
    &[route(Get, "/ui/settings", By(Viewer, show)).always(), route(Post, "/ui/settings", By(Viewer, change_password)).personal().always()];

fn show(control: &Control, _: &Request, user: &User) -> Reply {
    let above = match user.restriction {
        Some(_) => notice("bad", "Change your password first; everything else comes after it."),
        None => Html::empty(),
    };
    settings_page(control, 200, user, &above)
}

fn change_password(control: &Control, request: &Request, user: &User) -> Reply {
    let fields = form::parse(&request.body);
    let (current, new, setup_code) = (field(&fields, "current_password"), field(&fields, "new_password"), field(&fields, "setup_code"));
    if current.chars().count() > auth::PASSWORD_LEN_MAX {
        return settings_page(control, 403, user, &notice("bad", "The current password is wrong."));
    }
    match auth::change_password(control, &gate::visitor(request), user, &Change { current, new, setup_code }) {
        Ok(session) => {
            // The forms of this page are the new session's.
            let user = User { credential: Credential::Session(session.id.clone()), restriction: None, ..user.clone() };
            let page = settings_page(control, 200, &user, &notice("good", "The password is changed."))?;
            Ok(gate::with_session(control, request, page, &session))
        }
        Err(e @ (Error::Invalid(_) | Error::Forbidden(_) | Error::RateLimited { .. })) => {
            settings_page(control, e.status(), user, &notice("bad", &e.detail()))
        }
        Err(e) => Err(e),
    }
}

fn settings_page(control: &Control, status: u16, user: &User, above: &Html) -> Reply {
    let setup_code = match user.restriction {
        Some(Restriction::NeedsSetupCode) => page!("settings_code.html"),
        Some(Restriction::MustChange) | None => Html::empty(),
    };
    let sessions = if user.restriction.is_none() && user.is_person() { sessions::table(control, user)? } else { Html::empty() };
    let csrf = csrf_field(control, user);
    let body = page!("settings.html", notice = above, csrf = &csrf, setup_code = &setup_code, sessions = &sessions);
    framed(control, status, "Settings", Some(user), &body)
}
