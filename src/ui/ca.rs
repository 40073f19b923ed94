//! Certificates: the cluster's authority, how far a rotation is, and whose certificates end next.

use super::{At, Deed, field, parts, run, settings};
use crate::control::fleet::nodes;
use crate::control::trust::ca;
use crate::error::{Error, Result};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::model::Paging;
use crate::model::ca::{AuthorityView, CaView, NodeTrust};
use crate::model::nodes::NodeFilter;
use crate::model::users::Role::{Admin, Viewer};
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/settings/certificates", By(Viewer, |c, r, u| run(c, r, u, show))),
    route(Get, "/ui/settings/certificates/{deed}", By(Admin, |c, r, u| run(c, r, u, ask))),
    route(Post, "/ui/settings/certificates/{deed}", By(Admin, |c, r, u| run(c, r, u, act))),
];

const PLACE: &str = "Settings";
/// Nodes that are looked through, and the ones that are shown.
const NODES_MAX: usize = 20_000;
const SHOWN_MAX: usize = 20;
const HERE: &str = "/ui/settings/certificates";
const ROTATE: &str = "rotate";
const DROP: &str = "drop-previous";
const DONE: &[(&str, &str)] = &[
    (ROTATE, "The new authority issues from now on. Nodes fetch it with their next heartbeats."),
    (DROP, "The authority before is not trusted any more."),
];

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
    let mut nodes = nodes::list(at.control, &Paging::first(NODES_MAX), &NodeFilter::default())?.items;
    nodes.retain(|node| node.identity_expires_at.is_some());
    nodes.sort_by_key(|node| node.identity_expires_at);
    let row = |node: &crate::model::nodes::ListedNode| {
        vec![parts::link(&parts::path("nodes", &node.id), &node.name), parts::maybe_time(node.identity_expires_at)]
    };
    let table = match nodes.is_empty() {
        true => parts::hint("No node has a certificate yet."),
        false => parts::table("Node certificates", &parts::heads(&["Node", "Ends"]), nodes.iter().take(SHOWN_MAX).map(row).collect()),
    };
    let follows = Html::concat(vec![
        parts::facts(vec![
            ("Authority of the nodes", authority(&view.current)),
            ("The previous one", authority(&view.previous)),
            ("Authority that people trust", authority(&view.server)),
            ("The previous one of those", authority(&view.server_previous)),
        ]),
        rotation(at, &view)?,
        parts::section("Node certificates that end next", &table),
    ]);
    let body = Html::concat(vec![
        page!("head.html", title = "Certificates", actions = &actions(at, &view), notice = &at.notice(DONE)),
        settings::tabs(at),
        parts::live("authority", &follows),
        parts::details("What browsers and commands are to trust, PEM", &parts::code(&view.server_ca_cert_pem)),
        parts::details("What nodes trust, PEM", &parts::code(&view.ca_cert_pem)),
    ]);
    at.page(PLACE, "Certificates", &body)
}

fn actions(at: &At, view: &CaView) -> Html {
    if !at.may(Admin) {
        return Html::empty();
    }
    match view.previous.is_some() {
        true => parts::button(&format!("{HERE}/{DROP}"), "Drop the authority before", "danger"),
        false => parts::button(&format!("{HERE}/{ROTATE}"), "Rotate the authority", ""),
    }
}

/// How far the nodes are: everybody's trust must have changed before the authority before can go.
fn rotation(at: &At, view: &CaView) -> Result<Html> {
    let figures = format!("Nodes that have what they are to trust: {} of {}.", view.nodes_up_to_date, view.nodes);
    if view.nodes_up_to_date == view.nodes {
        let more = match view.previous.is_some() {
            true => "The rotation is through: the authority before can be dropped.",
            false => "No rotation is under way.",
        };
        return Ok(parts::paragraph(&format!("{figures} {more}")));
    }
    let mut waiting = ca::nodes(at.control, &Paging::first(NODES_MAX))?.items;
    waiting.retain(|node| !node.up_to_date);
    let row = |node: &NodeTrust| vec![parts::node(&node.node_id), parts::state(node.lease_state.as_str())];
    let rows = waiting.iter().take(SHOWN_MAX).map(row).collect();
    let hidden = waiting.len().saturating_sub(SHOWN_MAX);
    let more = if hidden > 0 { parts::hint(&format!("{hidden} more: uptimemesh ca nodes")) } else { Html::empty() };
    Ok(parts::section(
        "Rotation",
        &Html::concat(vec![
            page!("progress.html", max = &view.nodes.to_string(), value = &view.nodes_up_to_date.to_string(), text = &figures),
            parts::hint("A node fetches the new authority after its next heartbeat; a dead one when it is back."),
            parts::table("Nodes without the new authority", &parts::heads(&["Node that waits", "State"]), rows),
            more,
        ]),
    ))
}

fn deed(at: &At) -> Result<Deed> {
    let view = ca::show(at.control)?;
    let mut fields = Html::empty();
    let (title, button, will, is_dangerous) = match at.arg(0) {
        ROTATE => (
            "Rotate the cluster's authority",
            "Rotate",
            vec![
                "A new authority is made, and issues every certificate from now on.".to_string(),
                format!("Enrolled nodes ({}) fetch it with their next heartbeats; none has to join again.", view.nodes),
                "The authority before stays trusted, and vouches for this server, until you drop it.".to_string(),
                "Join strings made before name the authority before: they hold until it is dropped.".to_string(),
                "People and scripts that trust the authority's certificate take both from this page before you drop the old one."
                    .to_string(),
            ],
            false,
        ),
        DROP => {
            let waiting = view.nodes - view.nodes_up_to_date;
            let nodes = match waiting {
                0 => "Every enrolled node has the new authority already.".to_string(),
                n => format!("{} not have the new authority yet; whoever is left behind must join again.", does(n)),
            };
            if waiting > 0 {
                fields = parts::checkbox("force", "Leave the nodes behind that do not have it.");
            }
            (
                "Drop the authority before",
                "Drop",
                vec![
                    "The authority before is deleted, with its key, and nothing that it signed is trusted any more.".to_string(),
                    "This server shows a certificate of the new authority from now on.".to_string(),
                    "Join strings made before the rotation stop working.".to_string(),
                    nodes,
                ],
                true,
            )
        }
        _ => return Err(Error::not_found("Page")),
    };
    Ok(Deed { title: title.to_string(), will, button, is_dangerous, fields, back: HERE.to_string() })
}

/// How many nodes lack something, as a sentence begins.
fn does(n: i64) -> String {
    if n == 1 { "1 node does".to_string() } else { format!("{n} nodes do") }
}

fn ask(at: &At) -> Reply {
    at.confirm(PLACE, &deed(at)?, None)
}

fn act(at: &At) -> Reply {
    let deed = deed(at)?;
    let (word, done) = match at.arg(0) {
        ROTATE => (ROTATE, ca::rotate(at.control)),
        _ => (DROP, ca::drop_previous(at.control, !field(&at.form(), "force").is_empty())),
    };
    at.did(PLACE, &deed, word, done.map(drop))
}
