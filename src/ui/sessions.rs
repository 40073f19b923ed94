//! Signing out, here and elsewhere.

use super::{At, back_to, csrf_field, parts, run, settings};
use crate::control::Control;
use crate::control::access::sessions;
use crate::error::{Error, Result};
use crate::gate::Handler::By;
use crate::gate::{self, Reply, Route, route};
use crate::html::{Html, page};
use crate::http::{Request, Response};
use crate::model::Paging;
use crate::model::ids::{Id, SessionId};
use crate::model::users::Role::{Admin, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use tiny_http::Method::{Get, Post};

/// Sessions on the page: as many as one user can have.
const SHOWN_MAX: usize = 100;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Post, "/ui/logout", By(Viewer, sign_out)).personal().always(),
    route(Post, "/ui/sessions/{session_id}/revoke", By(Viewer, revoke)).personal(),
    route(Get, "/ui/settings/sessions", By(Admin, |c, r, u| run(c, r, u, all))),
    route(Post, "/ui/settings/sessions/{session_id}/revoke", By(Admin, |c, r, u| run(c, r, u, revoke_any))),
];

/// Sessions of all users on one page.
const ALL_MAX: usize = 200;
const DONE: &[(&str, &str)] = &[("revoke", "Session ended.")];

fn sign_out(app: &App, request: &Request, _: &User) -> Reply {
    gate::sign_out(&app.control, request, Response::redirect(303, "/auth/login"))
}

fn revoke(app: &App, request: &Request, user: &User) -> Reply {
    let id = request.args.first().and_then(|id| SessionId::parse(id)).ok_or_else(|| Error::not_found("Session"));
    match id.and_then(|id| sessions::revoke(&app.control, id, Some(user))) {
        // A session that has already ended is a success.
        Ok(()) | Err(Error::NotFound(_)) => Ok(Response::redirect(303, "/ui/settings")),
        Err(e) => Err(e),
    }
}

/// Sessions of the user.
pub fn table(control: &Control, user: &User) -> Result<Html> {
    let page = sessions::list(control, &Paging::first(SHOWN_MAX), Some(&user.name), user.session_id())?;
    let mut rows = Vec::new();
    for session in &page.items {
        let end = match session.current {
            true => page!("sessions_here.html"),
            false => page!("sessions_end.html", id = session.id.as_str(), csrf = &csrf_field(control, user)),
        };
        rows.push(page!(
            "sessions_row.html",
            address = &session.address,
            user_agent = &session.user_agent,
            created_at = &parts::time(session.created_at),
            last_seen_at = &parts::time(session.last_seen_at),
            end = &end,
        ));
    }
    Ok(page!("sessions.html", rows = &Html::concat(rows)))
}

/// Sessions of all users.
fn all(at: &At) -> Reply {
    let found = sessions::list(at.control, &Paging::first(ALL_MAX), None, at.user.session_id())?;
    let row = |session: &crate::model::sessions::Session| {
        let end = match session.current {
            true => page!("sessions_here.html"),
            false => page!("sessions_all_row.html", id = session.id.as_str(), csrf = &at.csrf()),
        };
        vec![
            parts::text(session.user.as_str()),
            parts::text(&session.address),
            parts::text(&session.user_agent),
            parts::time(session.last_seen_at),
            parts::time(session.expires_at),
            end,
        ]
    };
    let heads = parts::heads(&["User", "From", "~With", "Last used", "~Ends", "Action"]);
    let hidden = (found.total as usize).saturating_sub(found.items.len());
    let more = if hidden > 0 { parts::hint(&format!("{hidden} more: uptimemesh sessions")) } else { Html::empty() };
    let body = Html::concat(vec![
        page!("head.html", title = "Sessions", actions = &Html::empty(), notice = &at.notice(DONE)),
        settings::tabs(at),
        parts::table("Sessions", &heads, found.items.iter().map(row).collect()),
        more,
    ]);
    at.page("Settings", "Sessions", &body)
}

fn revoke_any(at: &At) -> Reply {
    match at.id(0, "Session").and_then(|id| sessions::revoke(at.control, id, None)) {
        // A session that has already ended is a success.
        Ok(()) | Err(Error::NotFound(_)) => Ok(back_to("/ui/settings/sessions", "revoke")),
        Err(e) => Err(e),
    }
}
