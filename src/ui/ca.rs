//! Certificates: the authorities, the progress of a rotation, and the node certificates that expire next.

use super::actions::{Action, Actions, Button, no_fields, sentences};
use super::{At, field, parts, run, settings};
use crate::control::fleet::nodes;
use crate::control::trust::ca;
use crate::error::Result;
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
    route(Get, "/ui/settings/certificates/{action}", By(Admin, |c, r, u| run(c, r, u, |at| ACTIONS.ask(at)))),
    route(Post, "/ui/settings/certificates/{action}", By(Admin, |c, r, u| run(c, r, u, |at| ACTIONS.act(at)))),
];

const PLACE: &str = "Settings";
/// Nodes that are read, and those that are shown.
const NODES_MAX: usize = 20_000;
const SHOWN_MAX: usize = 20;
const HERE: &str = "/ui/settings/certificates";
const ROTATE: &str = "rotate";
const DROP: &str = "drop-previous";
const DONE: &[(&str, &str)] = &[
    (ROTATE, "The new authority issues certificates from now on. Nodes fetch it after their next heartbeats."),
    (DROP, "The previous authority is no longer trusted."),
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
        false => parts::table(
            "Node certificates",
            &parts::heads(&["Node", "Expires"]),
            nodes.iter().take(SHOWN_MAX).map(row).collect(),
        ),
    };
    let follows = Html::concat(vec![
        parts::facts(vec![
            ("Node authority", authority(&view.current)),
            ("Previous node authority", authority(&view.previous)),
            ("Server authority", authority(&view.server)),
            ("Previous server authority", authority(&view.server_previous)),
        ]),
        rotation(at, &view)?,
        parts::section("Node certificates that expire next", &table),
    ]);
    let body = Html::concat(vec![
        page!("head.html", title = "Certificates", actions = &buttons(at, &view), notice = &at.notice(DONE)),
        settings::tabs(at),
        parts::live("authority", &follows),
        parts::details("Server authority, for browsers and commands (PEM)", &parts::code(&view.server_ca_cert_pem)),
        parts::details("Node authority, for nodes (PEM)", &parts::code(&view.ca_cert_pem)),
    ]);
    at.page(PLACE, "Certificates", &body)
}

fn buttons(at: &At, view: &CaView) -> Html {
    let next = if view.previous.is_some() { DROP } else { ROTATE };
    ACTIONS.buttons(at, HERE, |action| action.word == next)
}

/// Progress of a rotation: every node must trust the new authority before the previous one can be dropped.
fn rotation(at: &At, view: &CaView) -> Result<Html> {
    let figures = format!("Nodes that trust the current authority: {} of {}.", view.nodes_up_to_date, view.nodes);
    if view.nodes_up_to_date == view.nodes {
        let more = match view.previous.is_some() {
            true => "The rotation is complete: the previous authority can be dropped.",
            false => "No rotation is in progress.",
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
            page!(
                "progress.html",
                max = &view.nodes.to_string(),
                value = &view.nodes_up_to_date.to_string(),
                text = &figures
            ),
            parts::hint(
                "A node fetches the new authority after its next heartbeat; a dead node fetches it when it is back.",
            ),
            parts::table("Nodes without the new authority", &parts::heads(&["Waiting node", "State"]), rows),
            more,
        ]),
    ))
}

/// Actions of admins on the authority.
const ACTIONS: Actions = Actions {
    place: PLACE,
    role: Admin,
    word: |at| at.arg(0),
    object: |_| Ok((String::new(), HERE.to_string())),
    rows: &[
        Action {
            word: ROTATE,
            label: "Rotate the authority",
            button: Button::Asks,
            effects: |at| {
                let nodes = ca::show(at.control)?.nodes;
                let mut effects =
                    sentences(&["A new authority is created, and issues every certificate from now on."])?;
                effects.push(format!(
                    "Enrolled nodes ({nodes}) fetch it after their next heartbeats; none has to join again."
                ));
                effects.extend(sentences(&[
                    "The previous authority stays trusted, and vouches for this server, until you drop it.",
                    "Earlier join strings name the previous authority: they stop working when you drop it.",
                    "Browsers and scripts that trust this cluster need the new authority from this page before you \
                        drop the previous one.",
                ])?);
                Ok(effects)
            },
            fields: no_fields,
            handler: |at| ca::rotate(at.control).map(drop),
            leads_to: None,
        },
        Action {
            word: DROP,
            label: "Drop the previous authority",
            button: Button::Warns,
            effects: |at| {
                let mut effects = sentences(&[
                    "The previous authority and its key are deleted. Nothing that it signed is trusted any more.",
                    "This server uses a certificate of the new authority from now on.",
                    "Join strings created before the rotation stop working.",
                ])?;
                effects.push(match waiting(at)? {
                    0 => "Every enrolled node has the new authority already.".to_string(),
                    1 => "1 node does not have the new authority yet; it must join again.".to_string(),
                    n => format!("{n} nodes do not have the new authority yet; they must join again."),
                });
                Ok(effects)
            },
            fields: |at| {
                let leave =
                    || parts::checkbox("force", "Drop it even if nodes without the new authority must join again.");
                Ok(if waiting(at)? > 0 { leave() } else { Html::empty() })
            },
            handler: |at| ca::drop_previous(at.control, !field(&at.form(), "force").is_empty()).map(drop),
            leads_to: None,
        },
    ],
};

/// Number of nodes without the new authority.
fn waiting(at: &At) -> Result<i64> {
    let view = ca::show(at.control)?;
    Ok(view.nodes - view.nodes_up_to_date)
}
