//! Certificates: the cluster's authority, how far a rotation is, and whose certificates end next.

use super::{At, parts, run, settings};
use crate::control::{ca, nodes};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::model::Paging;
use crate::model::ca::AuthorityView;
use crate::model::nodes::NodeFilter;
use crate::model::users::Role::Viewer;
use tiny_http::Method::Get;

/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Get, "/ui/settings/certificates", By(Viewer, |c, r, u| run(c, r, u, show)))];

const PLACE: &str = "Settings";
/// Nodes that are looked through, and the ones that are shown.
const NODES_MAX: usize = 20_000;
const SHOWN_MAX: usize = 20;

fn show(at: &At) -> Reply {
    let view = ca::show(at.control)?;
    let authority = |ca: &Option<AuthorityView>| {
        ca.as_ref().map_or_else(
            || parts::text("none"),
            |ca| {
                Html::concat(vec![
                    page!("setting_key.html", key = &ca.fingerprint),
                    parts::text(", ends "),
                    parts::maybe_time(ca.not_after),
                ])
            },
        )
    };
    let mut nodes = nodes::list(at.control, &Paging { limit: NODES_MAX, after: None }, &NodeFilter::default())?.items;
    nodes.retain(|node| node.identity_expires_at.is_some());
    nodes.sort_by_key(|node| node.identity_expires_at);
    let row = |node: &crate::model::nodes::ListedNode| {
        vec![parts::link(&parts::path("nodes", &node.id), &node.name), parts::maybe_time(node.identity_expires_at)]
    };
    let table = match nodes.is_empty() {
        true => parts::hint("No node has a certificate yet."),
        false => parts::table("Node certificates", &parts::heads(&["Node", "Ends"]), nodes.iter().take(SHOWN_MAX).map(row).collect()),
    };
    let body = Html::concat(vec![
        page!("head.html", title = "Certificates", actions = &Html::empty(), notice = &Html::empty()),
        settings::tabs(at),
        parts::facts(vec![
            ("Authority that issues", authority(&view.current)),
            ("Authority before it", authority(&view.previous)),
            ("Nodes that trust what they should", parts::text(&format!("{} of {}", view.nodes_up_to_date, view.nodes))),
        ]),
        parts::empty("The authority is rotated from the command line, because every node must follow:", "uptimemesh ca rotate"),
        parts::section("Node certificates that end next", &table),
        parts::details("Certificates of the authority, PEM", &parts::code(&view.ca_cert_pem)),
    ]);
    at.page(PLACE, "Certificates", &body)
}
