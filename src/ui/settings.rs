//! Settings of the signed-in user: password and sessions. Its tabs lead to the cluster's settings.

use super::{At, Page, field, notice, parts, sessions};
use crate::control::access::auth;
use crate::control::access::auth::Change;
use crate::error::{Error, Loc};
use crate::gate::Handler::By;
use crate::gate::{self, Reply, Route, route};
use crate::html::{Html, page};
use crate::http::{Request, form};
use crate::model::users::Role::{Admin, Viewer};
use crate::model::users::{Credential, Restriction, Role, User};
use crate::upkeep::App;
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/settings", By(Viewer, show)).always(),
    route(Post, "/ui/settings", By(Viewer, change_password)).personal().always(),
];

fn show(app: &App, request: &Request, user: &User) -> Reply {
    let above = match user.restriction {
        Some(_) => notice("bad", "Change your password before you continue."),
        None => At { app, control: &app.control, request, user }.notice(sessions::DONE),
    };
    settings_page(app, request, 200, user, &above)
}

fn change_password(app: &App, request: &Request, user: &User) -> Reply {
    let fields = form::parse(&request.body);
    let (current, new, setup_code) =
        (field(&fields, "current_password"), field(&fields, "new_password"), field(&fields, "setup_code"));
    if current.chars().count() > auth::PASSWORD_LEN_MAX {
        return settings_page(app, request, 403, user, &notice("bad", "The current password is wrong."));
    }
    match auth::change_password(&app.control, &gate::visitor(request), user, &Change { current, new, setup_code }) {
        Ok(session) => {
            // The forms of this page belong to the new session.
            let user = User { credential: Credential::Session(session.id.clone()), restriction: None, ..user.clone() };
            let page = settings_page(app, request, 200, &user, &notice("good", "Password changed."))?;
            Ok(gate::with_session(&app.control, request, page, &session))
        }
        Err(e @ (Error::Invalid(_) | Error::Forbidden(_) | Error::RateLimited { .. })) => {
            settings_page(app, request, e.status(), user, &notice("bad", &e.detail()))
        }
        Err(e) => Err(e),
    }
}

fn settings_page(app: &App, request: &Request, status: u16, user: &User, above: &Html) -> Reply {
    let setup_code = match user.restriction {
        Some(Restriction::NeedsSetupCode) => page!("settings_code.html"),
        Some(Restriction::MustChange) | None => Html::empty(),
    };
    let at = At { app, control: &app.control, request, user };
    let sessions = if user.restriction.is_none() && user.is_person() { sessions::table(&at)? } else { Html::empty() };
    let body = page!(
        "settings.html",
        notice = above,
        tabs = &tabs(&at),
        csrf = &at.csrf(),
        setup_code = &setup_code,
        sessions = &sessions
    );
    at.framed(Page { status, place: "Settings", title: "Settings", head: Html::empty(), body: &body })
}

/// Tabs of the settings pages; hidden while the user must change the password first.
pub(super) fn tabs(at: &At) -> Html {
    if at.user.restriction.is_some() {
        return Html::empty();
    }
    let pages = [
        ("You", "/ui/settings", Viewer),
        ("Users", "/ui/settings/users", Admin),
        ("API tokens", "/ui/settings/tokens", Admin),
        ("Sessions", "/ui/settings/sessions", Admin),
        ("Cluster", "/ui/settings/cluster", Viewer),
        ("Certificates", "/ui/settings/certificates", Viewer),
        ("Backups", "/ui/settings/backups", Viewer),
    ];
    let tab = |(text, href, _): &(&str, &str, Role)| match at.request.path == *href {
        true => page!("tab_here.html", href = *href, text = *text),
        false => parts::link(href, text),
    };
    page!("tabs.html", tabs = &Html::concat(pages.iter().filter(|(.., role)| at.may(*role)).map(tab).collect()))
}

/// Message of an error without its input, which may be a password.
pub(super) fn without_input(error: &Error) -> String {
    match error {
        Error::Invalid(faults) => {
            let said = faults.iter().map(|fault| {
                let place = fault.loc.last().map_or_else(String::new, |loc| match loc {
                    Loc::Name(name) => name.clone(),
                    Loc::Index(i) => i.to_string(),
                });
                format!("{place}: {}", fault.msg)
            });
            said.collect::<Vec<_>>().join("; ")
        }
        other => other.detail(),
    }
}
