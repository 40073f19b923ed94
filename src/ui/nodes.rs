//! The first page after sign-in: which nodes are alive.

use super::framed;
use crate::clock::{self, Timestamp};
use crate::control::{Control, leases};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::http::Request;
use crate::model::Paging;
use crate::model::leases::LeaseState;
use crate::model::users::Role::Viewer;
use crate::model::users::User;
use tiny_http::Method::Get;

/// Nodes on the page; the API and the command line show all.
const SHOWN_MAX: usize = 500;

/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Get, "/ui", By(Viewer, show))];

fn show(control: &Control, _: &Request, user: &User) -> Reply {
    let page = leases::list(control, &Paging { limit: SHOWN_MAX, after: None })?;
    let moment = |t: Option<Timestamp>| t.map_or("never".to_string(), |t| t.to_string());
    let mut rows = Vec::new();
    for lease in &page.items {
        rows.push(page!(
            "nodes_row.html",
            name = &lease.name,
            id = &lease.node_id,
            roles = &lease.roles.join(", "),
            state = lease.lease_state.as_str(),
            heartbeat_at = &moment(lease.heartbeat_at),
            expires_at = &moment(lease.lease_expires_at),
        ));
    }
    let alive = page.items.iter().filter(|l| l.lease_state == LeaseState::Alive).count();
    let mut summary = format!("{alive} of {} alive.", page.total);
    if page.total as usize > page.items.len() {
        summary.push_str(&format!(" The first {} are shown; `uptimemesh nodes-status` shows all.", page.items.len()));
    }
    let body = page!("nodes.html", summary = &summary, now = &clock::now().to_string(), rows = &Html::concat(rows));
    framed(control, 200, &format!("{alive} of {} alive · Nodes", page.total), Some(user), &body)
}
