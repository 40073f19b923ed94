//! Signing out, here and elsewhere.

use super::{csrf_field, parts};
use crate::control::{Control, sessions};
use crate::error::{Error, Result};
use crate::gate::Handler::By;
use crate::gate::{self, Reply, Route, route};
use crate::html::{Html, page};
use crate::http::{Request, Response};
use crate::model::Paging;
use crate::model::users::Role::Viewer;
use crate::model::users::User;
use tiny_http::Method::Post;

/// Sessions on the page: as many as one user can have.
const SHOWN_MAX: usize = 100;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Post, "/ui/logout", By(Viewer, sign_out)).personal().always(),
    route(Post, "/ui/sessions/{session_id}/revoke", By(Viewer, revoke)).personal(),
];

fn sign_out(control: &Control, request: &Request, user: &User) -> Reply {
    sessions::sign_out(control, user)?;
    Ok(gate::without_session(control, request, Response::redirect(303, "/auth/login")))
}

fn revoke(control: &Control, request: &Request, user: &User) -> Reply {
    let id = request.args.first().cloned().unwrap_or_default();
    match sessions::revoke(control, id, Some(user)) {
        // One that has ended meanwhile is what was asked for.
        Ok(()) | Err(Error::NotFound(_)) => Ok(Response::redirect(303, "/ui/settings")),
        Err(e) => Err(e),
    }
}

/// Where the user is signed in.
pub fn table(control: &Control, user: &User) -> Result<Html> {
    let page = sessions::list(control, &Paging { limit: SHOWN_MAX, after: None }, Some(&user.name), user.session_id())?;
    let mut rows = Vec::new();
    for session in &page.items {
        let end = match session.current {
            true => page!("sessions_here.html"),
            false => page!("sessions_end.html", id = &session.id, csrf = &csrf_field(control, user)),
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
