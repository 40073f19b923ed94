//! `/sessions`: signed-in users, for admins.

use super::{id_of, list as page_of, paging};
use crate::control::access::sessions;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::{Request, Response};
use crate::model::users::Role::Admin;
use crate::model::users::User;
use crate::upkeep::App;
use tiny_http::Method::{Delete, Get};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/sessions", By(Admin, list)).gives(200, "[UserSession]").says("List the sessions of all users."),
    route(Delete, "/sessions/{session_id}", By(Admin, revoke)).gives(204, "").says("End a session of any user."),
];

fn list(app: &App, request: &Request, user: &User) -> Reply {
    let paging = paging(request)?;
    Ok(page_of(request, &paging, &sessions::list(&app.control, &paging, None, user.session_id())?))
}

fn revoke(app: &App, request: &Request, _: &User) -> Reply {
    sessions::revoke(&app.control, id_of(request, "session_id")?, None)?;
    Ok(Response::empty(204))
}
