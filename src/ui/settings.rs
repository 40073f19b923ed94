//! Settings: the password, for now.

use super::{field, framed, notice};
use crate::control::{Control, auth};
use crate::error::Error;
use crate::gate::Handler::By;
use crate::gate::{self, Reply, Route, route};
use crate::html::{Html, page};
use crate::http::{Request, form};
use crate::model::users::Role::Viewer;
use crate::model::users::User;
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Get, "/ui/settings", By(Viewer, show)), route(Post, "/ui/settings", By(Viewer, change_password))];

fn show(_: &Control, _: &Request, user: &User) -> Reply {
    settings_page(200, user, &Html::empty())
}

fn change_password(control: &Control, request: &Request, user: &User) -> Reply {
    let fields = form::parse(&request.body);
    let (current, new) = (field(&fields, "current_password"), field(&fields, "new_password"));
    match auth::change_password(control, request.client, user, current, new) {
        Ok(session) => {
            let page = settings_page(200, user, &notice("good", "The password is changed."))?;
            Ok(page.with("Set-Cookie", gate::session_cookie(control, &session)))
        }
        Err(e @ (Error::Invalid(_) | Error::Forbidden(_) | Error::RateLimited { .. })) => {
            settings_page(e.status(), user, &notice("bad", &e.detail()))
        }
        Err(e) => Err(e),
    }
}

fn settings_page(status: u16, user: &User, above: &Html) -> Reply {
    framed(status, "Settings", Some(user), &page!("settings.html", notice = above))
}
