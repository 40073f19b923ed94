//! WireGuard tunnels, as the nodes report them.

use super::{At, ROWS_MAX, field, parts, run};
use crate::clock::Timestamp;
use crate::control::fleet::wireguard;
use crate::control::work::routers;
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
/// Router assignments that are read.
const ASSIGNMENTS_MAX: usize = 10_000;
/// Figures shown of a tunnel; the node's page has the full status.
const FIGURES_MAX: usize = 8;
/// End of the year 9999: later numbers are not times.
const EPOCH_S_MAX: i64 = 253_402_300_800;

/// Colour of a tunnel's reported state.
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
    let found = wireguard::list(at.control, &Paging { limit: ROWS_MAX, bytes_max: usize::MAX, after })?;
    let assigned = routers::list(at.control, &Paging::first(ASSIGNMENTS_MAX), None)?.items;
    let routers: HashMap<&str, _> = assigned.iter().map(|a| (a.node_id.as_str(), a)).collect();
    let rows: Vec<Vec<Html>> = found
        .items
        .iter()
        .map(|line| {
            let through = routers.get(line.node_id.as_str()).map_or_else(
                || parts::text("none assigned"),
                |a| {
                    Html::concat(vec![
                        parts::node(&a.primary_router_id),
                        parts::text(", then "),
                        parts::node(&a.secondary_router_id),
                    ])
                },
            );
            vec![
                parts::node(&line.node_id),
                tunnel(&line.primary_tunnel),
                tunnel(&line.secondary_tunnel),
                reported(&line.active_route),
                reported(&line.failover_state),
                through,
            ]
        })
        .collect();
    let heads = parts::heads(&["Node", "First tunnel", "Second tunnel", "Active route", "~Failover", "~Routers"]);
    let table = match rows.is_empty() {
        true => parts::empty(
            "No nodes yet. Create a join string for the first machine:",
            "uptimemesh token create --role worker --join-string",
        ),
        false => parts::table("Tunnels", &heads, rows),
    };
    let next = found.next.as_ref().map_or_else(Html::empty, |next| {
        page!("next.html", href = &parts::with_query("/ui/wireguard", &[("after", next)]))
    });
    let body = Html::concat(vec![
        page!("head.html", title = PLACE, actions = &Html::empty(), notice = &Html::empty()),
        parts::hint(
            "Each node reports its tunnels with its heartbeats, in wg_primary_tunnel, wg_secondary_tunnel, \
                wg_active_route and wg_failover_state of its status. A tunnel is a word, or an object with state, \
                last_handshake_at, rx_bytes, tx_bytes and any fields of the node's own.",
        ),
        parts::live("tunnels", &table),
        page!("pager.html", text = &parts::count(found.total as usize, "node"), links = &next),
    ]);
    at.page(PLACE, PLACE, &body)
}

/// A reported value, or a note that there is none.
fn reported(said: &Value) -> Html {
    if said.is_null() { page!("soft.html", text = "not reported") } else { parts::text(&parts::value(said)) }
}

/// A tunnel: a word, or an object with the node's figures.
fn tunnel(said: &Value) -> Html {
    let word = |word: &str| page!("tunnel.html", class = tunnel_class(word), text = word);
    match said {
        Value::Null => reported(said),
        Value::Object(known) => {
            let state = known.get("state").or_else(|| known.get("status"));
            let others = known.iter().filter(|(key, _)| !["state", "status"].contains(&key.as_str()));
            let mut shown = vec![state.map_or_else(|| reported(&Value::Null), |state| word(&parts::value(state)))];
            for (key, value) in others.take(FIGURES_MAX) {
                shown.push(parts::text(" "));
                shown.push(page!("event_field.html", key = &key.replace('_', " "), value = &figure(key, value)));
            }
            Html::concat(shown)
        }
        other => word(&parts::value(other)),
    }
}

/// Figure of a tunnel. Times and amounts of bytes, which its name shows, are rendered in readable form.
fn figure(key: &str, value: &Value) -> Html {
    let is_moment = key.ends_with("_at") || key.contains("handshake");
    let moment = match value {
        Value::String(text) if is_moment => Timestamp::parse(text),
        // Epoch seconds, as `wg show` prints them; 0 means no handshake yet.
        Value::Number(s) if is_moment => match s.as_i64().filter(|s| (0..EPOCH_S_MAX).contains(s)) {
            Some(0) => return parts::text("never"),
            s => s.map(Timestamp::from_secs),
        },
        _ => None,
    };
    match (moment, value.as_f64().filter(|n| key.ends_with("_bytes") && *n >= 0.0)) {
        (Some(at), _) => parts::time(at),
        (None, Some(bytes)) => parts::text(&parts::size(bytes)),
        (None, None) => parts::text(&parts::value(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_tunnel_tells_is_shown_as_people_read_it() {
        let shown = |said: Value| tunnel(&said).into_string();
        assert!(shown(Value::Null).contains("not reported"));
        assert!(shown(json!("up")).contains("up"));
        let known = json!({"state": "down", "last_handshake_at": "2026-01-02T03:04:05Z", "rx_bytes": 5_000_000,
            "tx_bytes": 12, "note": "<b>"});
        let text = shown(known);
        for part in ["down", "datetime=\"2026-01-02T03:04:05Z\"", "rx bytes", "4.8 MiB", "12 B", "&lt;b&gt;"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(shown(json!({"latest_handshake": 0})).contains("never"));
        assert!(shown(json!({"latest_handshake": 1_700_000_000})).contains("datetime=\"2023-11-14"));
        assert!(shown(json!({"latest_handshake": -1, "rx_bytes": "many"})).contains("not reported"));
        assert!(shown(json!({"latest_handshake": 9e18, "rx_bytes": -4})).contains("-4"));
    }
}
