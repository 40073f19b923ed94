//! Adding a node: creates a join string, shows the command to paste, and waits for the machine to join.

use super::actions::{Action, Actions, Button, no_effects, no_fields};
use super::{At, Page as Shown, field, notice, parts, run};
use crate::control::trust::join_tokens;
use crate::error::{Error, Result};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::http::fields::Fields;
use crate::model::Paging;
use crate::model::ids::NodeId;
use crate::model::join_tokens::{Admits, JoinRole, JoinToken, NewJoinToken};
use crate::model::users::Role::Admin;
use serde_json::json;
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/add-node", By(Admin, |c, r, u| run(c, r, u, show))),
    route(Post, "/ui/add-node", By(Admin, |c, r, u| run(c, r, u, create))),
    route(Get, "/ui/add-node/{token_id}", By(Admin, |c, r, u| run(c, r, u, watch))),
    route(Post, "/ui/add-node/{token_id}/delete", By(Admin, |c, r, u| run(c, r, u, revoke))),
];

const PLACE: &str = "Nodes";
/// Path of this page.
const HERE: &str = "/ui/add-node";
const TITLE: &str = "Add a node";
/// Tokens that are read.
const TOKENS_MAX: usize = 1_000;
/// Tokens on the page.
const SHOWN_MAX: usize = 20;
/// Seconds between reloads of a page that waits for a node, in browsers without scripts.
const REFRESH_S: &str = "5";
/// Lifetimes to choose from: seconds and words.
const TTLS: &[(&str, &str)] =
    &[("1800", "half an hour"), ("3600", "an hour"), ("21600", "six hours"), ("86400", "a day")];
const DONE: &[(&str, &str)] = &[("delete", "Join string revoked.")];

fn show(at: &At) -> Reply {
    page_of(at, 200, &at.notice(DONE))
}

fn all(at: &At) -> Result<Vec<JoinToken>> {
    let mut all = join_tokens::list(at.control, &Paging::first(TOKENS_MAX))?.items;
    all.sort_by_key(|token| std::cmp::Reverse(token.created_at));
    Ok(all)
}

fn page_of(at: &At, status: u16, above: &Html) -> Reply {
    let row = |token: &JoinToken| {
        let used = match (&token.used_by, token.used_at) {
            (Some(node), _) => parts::node(node),
            (None, Some(when)) => parts::time(when),
            (None, None) => Html::empty(),
        };
        vec![
            parts::text(token.id.as_str()),
            parts::text(token.role.as_str()),
            parts::time(token.created_at),
            parts::time(token.expires_at),
            used,
            ACTIONS.buttons(at, &parts::path("add-node", &token.id), |_| token.used_at.is_none()),
        ]
    };
    let rows: Vec<Vec<Html>> = all(at)?.iter().take(SHOWN_MAX).map(row).collect();
    let tokens = match rows.is_empty() {
        true => Html::empty(),
        false => {
            let heads = parts::heads(&["Join string", "Role", "~Made", "Ends", "Used by", "Action"]);
            parts::section("Join strings", &parts::table("Join strings", &heads, rows))
        }
    };
    let body = page!(
        "nodes_add.html",
        notice = above,
        csrf = &at.csrf(),
        role = &parts::select_words("Role", "role", &["worker", "core", "gateway"], "worker"),
        ttl = &parts::select("Valid for", "ttl", TTLS, "1800"),
        node_id = &parts::field("Only for the node with this id (optional)", "node_id", ""),
        tokens = &tokens,
    );
    at.framed(Shown { status, place: PLACE, title: TITLE, head: Html::empty(), body: &body })
}

fn create(at: &At) -> Reply {
    match minted(at) {
        Ok(token) => made_page(at, &token),
        Err(e @ Error::Fault(_)) => Err(e),
        Err(e) => page_of(at, e.status(), &notice("bad", &e.detail())),
    }
}

fn minted(at: &At) -> Result<NewJoinToken> {
    let form = at.form();
    let node_id = Some(field(&form, "node_id").trim()).filter(|id| !id.is_empty());
    let body =
        json!({ "role": field(&form, "role"), "ttl_seconds": field(&form, "ttl"), "node_id": node_id }).to_string();
    let mut f = Fields::of_body(body.as_bytes())?;
    let role = f.word("role", JoinRole::WORDS, JoinRole::parse).required_with(JoinRole::Worker);
    let ttl_s = f.int("ttl_seconds", 60..=86_400).required();
    let node_id = f.id("node_id").optional();
    f.finish()?;
    join_tokens::create(at.control, Admits { node_id, ..role.into() }, ttl_s)
}

/// The only page that shows the secret. It answers a form, so that no URL leads to it again.
fn made_page(at: &At, token: &NewJoinToken) -> Reply {
    let name = token.node_id.as_ref().map_or("NAME", NodeId::as_str);
    let join = match &token.join_string {
        Some(text) => format!("uptimemesh join --node-id {name} {text}"),
        None => {
            let scheme = if at.request.secure { "https" } else { "http" };
            let role = token.role.as_str();
            let (host, base) = (&at.request.host, &at.request.base);
            format!(
                "uptimemesh join --api-url {scheme}://{host}{base} --token {} --node-id {name} --role {role}",
                token.token
            )
        }
    };
    let command = format!("{join}\nuptimemesh agent --node-id {name}");
    let waiting = parts::paragraph("Waiting for the machine to join …");
    let body = page!(
        "nodes_added.html",
        command = &page!("copy.html", id = "join-command", text = &command),
        ends = &parts::time(token.expires_at),
        watch = &page!("nodes_watch.html", token_id = token.id.as_str(), state = &waiting),
        token_id = token.id.as_str(),
    );
    at.page(PLACE, TITLE, &body)
}

fn watch(at: &At) -> Reply {
    let token = all(at)?.into_iter().find(|t| t.id == at.arg(0)).ok_or_else(|| Error::not_found("Join token"))?;
    let (state, waits) = match &token.used_by {
        None if token.expires_at < crate::clock::now() => (parts::paragraph("The join string expired unused."), false),
        None => (parts::paragraph("Waiting for the machine to join …"), true),
        Some(node) => {
            let lease = at.control.leases.state(node).as_str();
            let said = Html::concat(vec![parts::node(node), parts::text(" has joined. "), parts::state(lease)]);
            (said, lease != "alive")
        }
    };
    let body = Html::concat(vec![
        page!("head.html", title = TITLE, actions = &Html::empty(), notice = &Html::empty()),
        page!("nodes_watch.html", token_id = token.id.as_str(), state = &state),
        parts::button("/ui/nodes", "All nodes", ""),
    ]);
    let head = if waits { page!("refresh.html", seconds = REFRESH_S) } else { Html::empty() };
    at.framed(Shown { status: 200, place: PLACE, title: TITLE, head, body: &body })
}

/// Actions of admins on a token.
const ACTIONS: Actions = Actions {
    place: PLACE,
    role: Admin,
    word: |_| "delete",
    object: |_| Ok((String::new(), HERE.to_string())),
    rows: &[Action {
        word: "delete",
        label: "Revoke",
        button: Button::Acts("quiet"),
        effects: no_effects,
        fields: no_fields,
        handler: |at| join_tokens::delete(at.control, at.id(0, "Join token")?),
        leads_to: None,
    }],
};

fn revoke(at: &At) -> Reply {
    match ACTIONS.act(at) {
        Err(e @ Error::Fault(_)) => Err(e),
        Err(e) => page_of(at, e.status(), &notice("bad", &e.detail())),
        done => done,
    }
}
