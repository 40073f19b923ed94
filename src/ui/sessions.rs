//! Signing out, here and elsewhere.

use super::actions::{Action, Actions, Button, no_effects, no_fields};
use super::{At, parts, run, settings};
use crate::control::access::sessions;
use crate::error::{Error, Result};
use crate::gate::Handler::By;
use crate::gate::{self, Reply, Route, route};
use crate::html::{Html, page};
use crate::http::{Request, Response};
use crate::model::Paging;
use crate::model::sessions::Session;
use crate::model::users::Role::{Admin, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use tiny_http::Method::{Get, Post};

/// Sessions on the page: as many as one user can have.
const SHOWN_MAX: usize = 100;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Post, "/ui/logout", By(Viewer, sign_out)).personal().always(),
    route(Post, "/ui/sessions/{session_id}/revoke", By(Viewer, |c, r, u| run(c, r, u, |at| OWN.act(at)))).personal(),
    route(Get, "/ui/settings/sessions", By(Admin, |c, r, u| run(c, r, u, all))),
    route(Post, "/ui/settings/sessions/{session_id}/revoke", By(Admin, |c, r, u| run(c, r, u, |at| ALL.act(at)))),
];

/// Sessions of all users on one page.
const ALL_MAX: usize = 200;
/// Notices of actions, by their word.
pub(super) const DONE: &[(&str, &str)] = &[("revoke", "Session ended.")];
const PLACE: &str = "Settings";

fn sign_out(app: &App, request: &Request, _: &User) -> Reply {
    gate::sign_out(&app.control, request, Response::redirect(303, "/auth/login"))
}

/// Sessions of the user.
pub(super) fn table(at: &At) -> Result<Html> {
    let page = sessions::list(at.control, &Paging::first(SHOWN_MAX), Some(&at.user.name), at.user.session_id())?;
    let mut rows = Vec::new();
    for session in &page.items {
        rows.push(page!(
            "sessions_row.html",
            address = &session.address,
            user_agent = &session.user_agent,
            created_at = &parts::time(session.created_at),
            last_seen_at = &parts::time(session.last_seen_at),
            end = &end(at, &OWN, "sessions", session),
        ));
    }
    Ok(page!("sessions.html", rows = &Html::concat(rows)))
}

/// Sessions of all users.
fn all(at: &At) -> Reply {
    let found = sessions::list(at.control, &Paging::first(ALL_MAX), None, at.user.session_id())?;
    let row = |session: &Session| {
        vec![
            parts::text(session.user.as_str()),
            parts::text(&session.address),
            parts::text(&session.user_agent),
            parts::time(session.last_seen_at),
            parts::time(session.expires_at),
            end(at, &ALL, "settings/sessions", session),
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
    at.page(PLACE, "Sessions", &body)
}

/// The button that ends a session, except the one in use.
fn end(at: &At, actions: &Actions, part: &str, session: &Session) -> Html {
    if session.current {
        return page!("sessions_here.html");
    }
    actions.buttons(at, &parts::path(part, &session.id), |_| true)
}

/// Actions of users on their own sessions.
const OWN: Actions = Actions {
    place: PLACE,
    role: Viewer,
    word: |_| "revoke",
    object: |_| Ok((String::new(), "/ui/settings".to_string())),
    rows: &[Action {
        word: "revoke",
        label: "End session",
        button: Button::Acts(""),
        effects: no_effects,
        fields: no_fields,
        handler: |at| revoke(at, Some(at.user)),
        leads_to: None,
    }],
};

/// Actions of admins on the sessions of all users.
const ALL: Actions = Actions {
    place: PLACE,
    role: Admin,
    word: |_| "revoke",
    object: |_| Ok((String::new(), "/ui/settings/sessions".to_string())),
    rows: &[Action {
        word: "revoke",
        label: "End session",
        button: Button::Acts("quiet"),
        effects: no_effects,
        fields: no_fields,
        handler: |at| revoke(at, None),
        leads_to: None,
    }],
};

/// Ends the session named by the path, if it is one of `owner`, or of anyone for `None`.
fn revoke(at: &At, owner: Option<&User>) -> Result<()> {
    match at.id(0, "Session").and_then(|id| sessions::revoke(at.control, id, owner)) {
        // A session that has already ended is a success.
        Ok(()) | Err(Error::NotFound(_)) => Ok(()),
        Err(e) => Err(e),
    }
}
