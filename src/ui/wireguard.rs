//! What nodes report of their tunnels.

use super::{At, ROWS_MAX, field, parts, run};
use crate::control::{routers, wireguard};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::model::users::Role::Viewer;
use crate::model::{Paging, ids};
use serde_json::Value;
use std::collections::HashMap;
use tiny_http::Method::Get;

/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Get, "/ui/wireguard", By(Viewer, |c, r, u| run(c, r, u, show)))];

const PLACE: &str = "WireGuard";
/// Router assignments that are looked through.
const ASSIGNMENTS_MAX: usize = 10_000;

/// The colour of what a node says of a tunnel.
pub(super) fn tunnel_class(said: &str) -> &'static str {
    let said = said.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["down", "fail", "error"]) {
        "down"
    } else if has(&["up", "active", "established", "healthy"]) {
        "up"
    } else {
        "unknown"
    }
}

fn show(at: &At) -> Reply {
    let query = at.request.query_pairs();
    let after = Some(field(&query, "after")).filter(|id| ids::is_id(id)).map(str::to_string);
    let found = wireguard::list(at.control, &Paging { limit: ROWS_MAX, after })?;
    let assigned = routers::list(at.control, &Paging { limit: ASSIGNMENTS_MAX, after: None }, None)?.items;
    let routers: HashMap<&str, _> = assigned.iter().map(|a| (a.node_id.as_str(), a)).collect();
    let rows: Vec<Vec<Html>> = found
        .items
        .iter()
        .map(|line| {
            let through = routers.get(line.node_id.as_str()).map_or_else(
                || parts::text("none assigned"),
                |a| Html::concat(vec![parts::node(&a.primary_router_id), parts::text(", then "), parts::node(&a.secondary_router_id)]),
            );
            vec![
                parts::node(&line.node_id),
                tunnel(&line.primary_tunnel),
                tunnel(&line.secondary_tunnel),
                parts::text(&parts::value(&line.active_route)),
                parts::text(&parts::value(&line.failover_state)),
                through,
            ]
        })
        .collect();
    let heads = parts::heads(&["Node", "First tunnel", "Second tunnel", "Active route", "~Failover", "~Routers"]);
    let table = match rows.is_empty() {
        true => parts::empty("No nodes yet. Make a join string for the first machine:", "uptimemesh create-token --role worker"),
        false => parts::table("Tunnels", &heads, rows),
    };
    let next = found
        .next
        .as_ref()
        .map_or_else(Html::empty, |next| page!("next.html", href = &parts::with_query("/ui/wireguard", &[("after", next)])));
    let body = Html::concat(vec![
        page!("head.html", title = PLACE, actions = &Html::empty(), notice = &Html::empty()),
        parts::hint("Each node reports its tunnels with its heartbeats, in the wg_ keys of its status. What it has not said is not known."),
        parts::live("tunnels", &table),
        page!("pager.html", text = &parts::count(found.total as usize, "node"), links = &next),
    ]);
    at.page(PLACE, PLACE, &body)
}

/// A tunnel: a word, or an object with what the node knows of it.
fn tunnel(said: &Value) -> Html {
    match said {
        Value::Object(known) => {
            let word = known.get("state").or_else(|| known.get("status")).map_or("known".to_string(), parts::value);
            let others = known.iter().filter(|(key, _)| !["state", "status"].contains(&key.as_str()));
            let chips = others.map(|(key, value)| parts::chip(&format!("{key} {}", parts::value(value))));
            let mut shown = vec![page!("tunnel.html", class = tunnel_class(&word), text = &word)];
            shown.extend(chips);
            Html::concat(shown)
        }
        other => {
            let word = parts::value(other);
            page!("tunnel.html", class = tunnel_class(&word), text = &word)
        }
    }
}
