//! Nodes: the list, a page for each, and the actions of operators.

use super::actions::{Action, Actions, Button, no_fields};
use super::{At, ROWS_MAX, back_to, events, field, lease_strip, load, node_room, node_runs, notice, parts, run};
use crate::clock;
use crate::control::Control;
use crate::control::fleet::{lookalikes, nodes};
use crate::control::versions::{Condition, Versioned};
use crate::control::work::replicas;
use crate::error::{Error, Result};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::http::fields::Fields;
use crate::json;
use crate::model::events::EventFilter;
use crate::model::ids::NodeId;
use crate::model::leases::LeaseState;
use crate::model::mesh_address::MeshAddress;
use crate::model::nodes::{ListedNode, Node, NodeChange, NodeFilter};
use crate::model::replicas::ListedReplica;
use crate::model::status_keys;
use crate::model::users::Role::{Admin, Operator, Viewer};
use crate::model::{Object, Page, Paging};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tiny_http::Method::{Get, Post};

/// Nodes that a list is built from; the command line shows all.
const NODES_MAX: usize = 20_000;
/// Events on a node's page.
const EVENTS_MAX: usize = 20;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/nodes", By(Viewer, |c, r, u| run(c, r, u, list))),
    route(Get, "/ui/nodes/{node_id}", By(Viewer, |c, r, u| run(c, r, u, show))),
    route(Post, "/ui/nodes/{node_id}/labels", By(Operator, |c, r, u| run(c, r, u, set_labels))),
    route(Post, "/ui/nodes/{node_id}/room", By(Operator, |c, r, u| run(c, r, u, node_room::save))),
    route(Get, "/ui/nodes/{node_id}/{action}", By(Operator, |c, r, u| run(c, r, u, |at| ACTIONS.ask(at)))),
    route(Post, "/ui/nodes/{node_id}/{action}", By(Operator, |c, r, u| run(c, r, u, |at| ACTIONS.act(at)))),
];

const PLACE: &str = "Nodes";

/// Notices of actions, by their word.
const DONE: &[(&str, &str)] = &[
    ("cordon", "Node cordoned."),
    ("uncordon", "Node uncordoned. It takes replicas again."),
    ("drain", "Drain started."),
    ("reboot-marker", "Reboot requested."),
    ("rotate-wg-keys", "New WireGuard keys requested."),
    ("delete", "Node deleted."),
    ("labels", "Labels saved."),
    (node_runs::DONE, "The chosen machine keeps this node's identity. The others are refused."),
    ("room", "Room for replicas saved."),
];

/// Every node, with its lease.
pub(super) fn all(control: &Control) -> Result<Vec<ListedNode>> {
    Ok(nodes::list(control, &Paging::first(NODES_MAX), &NodeFilter::default())?.items)
}

fn list(at: &At) -> Reply {
    let query = at.request.query_pairs();
    let [role, state, label, text, sort] = ["role", "state", "label", "q", "sort"].map(|name| field(&query, name));
    let mut filter = NodeFilter { role: some(role), lease_state: LeaseState::parse(state), labels: BTreeMap::new() };
    if let Some((key, value)) = label.split_once('=') {
        filter.labels.insert(key.trim().to_string(), value.trim().to_string());
    }
    let mut found = nodes::list(at.control, &Paging::first(NODES_MAX), &filter)?.items;
    let wanted = text.to_lowercase();
    if !wanted.is_empty() {
        let has = |part: &str| part.to_lowercase().contains(&wanted);
        let address = |n: &ListedNode| n.mesh_ip.as_ref().is_some_and(|mesh| has(mesh.as_str()));
        found.retain(|n| has(n.id.as_str()) || has(&n.name) || has(n.labels.get()) || address(n));
    }
    let lease = |node: &ListedNode| at.control.leases.state(&node.id);
    match sort {
        // Nodes that need attention come first.
        "state" => found.sort_by_cached_key(|n| (std::cmp::Reverse(lease(n).min(LeaseState::Dead)), n.name.clone())),
        "heartbeat" => found.sort_by_key(|n| std::cmp::Reverse(n.heartbeat_at)),
        _ => found.sort_by(|a, b| a.name.cmp(&b.name)),
    }
    let pages = found.len().div_ceil(ROWS_MAX).max(1);
    let number = field(&query, "page").parse().unwrap_or(1).clamp(1, pages);
    let href = |page: usize, sort: &str| {
        let page = if page > 1 { page.to_string() } else { String::new() };
        parts::with_query(
            "/ui/nodes",
            &[("role", role), ("state", state), ("label", label), ("q", text), ("sort", sort), ("page", &page)],
        )
    };
    let shown = &found[(number - 1) * ROWS_MAX..found.len().min(number * ROWS_MAX)];
    let held =
        |node: &ListedNode| at.control.leases.conflict(&node.id).is_some_and(|conflict| conflict.decided_at.is_none());
    let rows = shown.iter().map(|node| row(node, lease(node), held(node))).collect();
    let mut heads = vec![parts::Head::sorting("Node", &href(1, "name"), sort.is_empty() || sort == "name")];
    heads.push("Roles".into());
    heads.push(parts::Head::sorting("State", &href(1, "state"), sort == "state"));
    heads.push(parts::Head::sorting("Heartbeat", &href(1, "heartbeat"), sort == "heartbeat"));
    heads.extend(parts::heads(&["~Mesh address", "~Labels"]));
    let filtered = [role, state, label, text].iter().any(|f| !f.is_empty());
    let table = match (found.is_empty(), filtered) {
        (true, true) => parts::hint("No nodes match."),
        (true, false) => parts::empty(
            "No nodes yet. Create a join string for the first machine:",
            "uptimemesh token create --role worker --join-string",
        ),
        _ => parts::table("Nodes", &heads, rows),
    };
    let words = [("", "any"), ("alive", "alive"), ("stale", "stale"), ("dead", "dead"), ("unknown", "unknown")];
    let fields = vec![
        parts::field("Text", "q", text),
        parts::field("Role", "role", role),
        parts::select("State", "state", &words, state),
        parts::field("Label (key=value)", "label", label),
        if sort.is_empty() { Html::empty() } else { parts::hidden("sort", sort) },
    ];
    let add = if at.may(Admin) { parts::button("/ui/add-node", "Add a node", "primary") } else { Html::empty() };
    let body = Html::concat(vec![
        page!("head.html", title = PLACE, actions = &add, notice = &at.notice(DONE)),
        page!("filter.html", action = "/ui/nodes", fields = &Html::concat(fields)),
        parts::live(
            "nodes",
            &Html::concat(vec![table, parts::pager(found.len(), "node", number, pages, &|page| href(page, sort))]),
        ),
    ]);
    at.page(PLACE, PLACE, &body)
}

fn row(node: &ListedNode, lease: LeaseState, has_two_holders: bool) -> Vec<Html> {
    let roles: Vec<String> = serde_json::from_str(node.roles.get()).unwrap_or_default();
    let labels: BTreeMap<String, String> = serde_json::from_str(node.labels.get()).unwrap_or_default();
    let status = json::kept_object(node.status.get());
    let mut state = vec![parts::state(lease.as_str())];
    state.extend(suspect(node.suspect_since).into_iter().chain(marks(&status)));
    if has_two_holders {
        state.extend([parts::text(" "), parts::state("copied")]);
    }
    let chips = labels.iter().map(|(key, value)| parts::chip(&format!("{key}={value}")));
    vec![
        parts::link(&parts::path("nodes", &node.id), &node.name),
        parts::text(&roles.join(", ")),
        Html::concat(state),
        parts::maybe_time(node.heartbeat_at),
        parts::text(node.mesh_ip.as_ref().map_or("", MeshAddress::as_str)),
        Html::concat(chips.collect()),
    ]
}

/// Mark of a node whose waiting call broke off.
fn suspect(since: Option<clock::Timestamp>) -> Vec<Html> {
    since.map_or_else(Vec::new, |_| vec![parts::text(" "), parts::state("suspect")])
}

/// States of a node beside its lease.
fn marks(status: &Object) -> Vec<Html> {
    let is = |key: &str, value: bool| status.get(key) == Some(&Value::Bool(value));
    let mark = if is(status_keys::DRAINING, true) {
        Some("draining")
    } else if is(status_keys::SCHEDULABLE, false) {
        Some("cordoned")
    } else if is(status_keys::READY, false) {
        Some("degraded")
    } else {
        None
    };
    mark.map(|mark| vec![parts::text(" "), parts::state(mark)]).unwrap_or_default()
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_string())
}

fn show(at: &At) -> Reply {
    page_of(at, 200, &at.notice(DONE), None)
}

pub(super) fn page_of(at: &At, status: u16, above: &Html, typed: Option<&str>) -> Reply {
    let Versioned { object: node, tag, .. } = nodes::show(at.control, &at.id(0, "Node")?)?;
    let lease = at.control.leases.state(&node.id);
    let placed = replicas::list(at.control, &Paging::first(ROWS_MAX), None, Some(&node.id))?;
    let filter = EventFilter { node_id: Some(node.id.to_string()), ..EventFilter::default() };
    let last = events::page(at.control, &Paging::first(EVENTS_MAX), &filter)?;
    let warnings = lookalikes::of_node(at.control, &node.id, &node.name);
    let follows = parts::live(
        "node",
        &Html::concat(vec![
            node_runs::section(at, &node.id),
            super::node_work::notices(at, &node.id)?,
            Html::concat(warnings.iter().map(|w| notice("bad", w)).collect()),
            drain(&node, placed.total),
            lease_strip::strip(at.control, &node, lease)?,
            parts::facts(facts(&node, lease)),
            load::pictures(at.control.leases.load_day(&node.id)),
            parts::section("Replicas", &placed_here(&node, &placed)),
            parts::section("Events", &events::short(&last)),
        ]),
    );
    let body = Html::concat(vec![
        page!("head.html", title = &node.name, actions = &buttons(at, &node), notice = above),
        follows,
        parts::section("Labels", &labels(at, &node, &tag, typed)),
        node_room::form(at, &node, &tag),
        parts::details(
            "Full status, as reported by the node and set by operators",
            &parts::code(&parts::pretty(&node.status)),
        ),
    ]);
    at.framed(super::Page { status, place: PLACE, title: &node.name, head: Html::empty(), body: &body })
}

/// Facts about a node.
fn facts(node: &Node, lease: LeaseState) -> Vec<(&'static str, Html)> {
    let states = std::iter::once(parts::state(lease.as_str())).chain(suspect(node.suspect_since));
    let states = states.chain(marks(&node.status));
    let mut facts = vec![
        ("State", Html::concat(states.collect())),
        ("Id", parts::text(node.id.as_str())),
        ("Roles", parts::text(&node.roles.join(", "))),
        ("Last heartbeat", parts::maybe_time(node.heartbeat_at)),
        ("Lease until", parts::maybe_time(node.lease_expires_at)),
        ("Mesh address", parts::text(node.mesh_ip.as_ref().map_or("none", MeshAddress::as_str))),
        ("API endpoint", parts::text(node.api_endpoint.as_deref().unwrap_or("none"))),
        ("Certificate expires", node.identity_expires_at.map_or_else(|| parts::text("none"), parts::time)),
        ("Known since", parts::time(node.created_at)),
    ];
    for (key, name) in [
        (status_keys::REBOOT_REQUESTED_AT, "Reboot requested"),
        (status_keys::WG_KEY_ROTATION_REQUESTED_AT, "New keys requested"),
    ] {
        if let Some(at) = node.status.get(key).and_then(Value::as_str).and_then(clock::Timestamp::parse) {
            facts.push((name, parts::time(at)));
        }
    }
    facts.extend(node.suspect_since.map(|at| ("Suspect since", parts::time(at))));
    facts.extend(machine(&node.status));
    facts.push(("Room for replicas", node_room::fact(node)));
    facts
}

/// The replicas on a node, and a link to those that the page does not show.
fn placed_here(node: &Node, placed: &Page<ListedReplica>) -> Html {
    if placed.items.is_empty() {
        return parts::hint("No replicas are placed here.");
    }
    let heads = parts::heads(&["Replica", "Service", "State", "~Since"]);
    let rows = placed.items.iter().map(super::replicas::row_on_node).collect();
    let hidden = (placed.total as usize).saturating_sub(placed.items.len());
    let all_here = parts::with_query("/ui/replicas", &[("node", node.id.as_str())]);
    let more = if hidden > 0 { parts::link(&all_here, &format!("{hidden} more")) } else { Html::empty() };
    Html::concat(vec![parts::table("Replicas here", &heads, rows), more])
}

/// Labels, one per line; for operators in a form, with the text that they typed if it was refused.
fn labels(at: &At, node: &Node, version: &str, typed: Option<&str>) -> Html {
    let saved: Vec<String> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let text = typed.map_or_else(|| saved.join("\n"), str::to_string);
    if !at.may(Operator) {
        return parts::code(&text);
    }
    page!(
        "labels.html",
        action = &format!("{}/labels", parts::path("nodes", &node.id)),
        csrf = &at.csrf(),
        version = version,
        text = &text,
    )
}

/// Facts about the machine, as last reported.
fn machine(status: &Object) -> Vec<(&'static str, Html)> {
    let text = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| status.get(key).and_then(Value::as_f64);
    let mut facts = Vec::new();
    let system: Vec<&str> =
        [text(status_keys::ARCHITECTURE), text(status_keys::KERNEL)].into_iter().filter(|t| !t.is_empty()).collect();
    if !system.is_empty() {
        facts.push(("Machine", parts::text(&system.join(", "))));
    }
    if let Some(load) = number(status_keys::LOAD_1M) {
        facts.push(("Load", parts::text(&format!("{load:.2} over the last minute"))));
    }
    for (name, available, total) in [
        ("Memory", status_keys::MEMORY_AVAILABLE_BYTES, status_keys::MEMORY_TOTAL_BYTES),
        ("Disk", status_keys::DISK_AVAILABLE_BYTES, status_keys::DISK_TOTAL_BYTES),
    ] {
        match (number(available), number(total)) {
            (Some(free), Some(all)) => {
                facts.push((name, parts::text(&format!("{} of {} available", parts::size(free), parts::size(all)))))
            }
            (Some(free), None) => facts.push((name, parts::text(&format!("{} available", parts::size(free))))),
            (None, Some(all)) => facts.push((name, parts::text(&parts::size(all)))),
            (None, None) => {}
        }
    }
    facts
}

/// Progress of a drain.
fn drain(node: &Node, left: u64) -> Html {
    if node.status.get(status_keys::DRAINING) != Some(&Value::Bool(true)) {
        return Html::empty();
    }
    let text = match left {
        0 => "Drained: no replicas are left here. You can remove the node or uncordon it.".to_string(),
        n => format!("Draining: {} still here.", parts::count(n as usize, "replica")),
    };
    let (max, done) = if left == 0 { (1, 1) } else { (left + 1, 1) };
    page!("progress.html", max = &max.to_string(), value = &done.to_string(), text = &text)
}

fn buttons(at: &At, node: &Node) -> Html {
    let is = |key: &str, value: bool| node.status.get(key) == Some(&Value::Bool(value));
    let closed = is(status_keys::SCHEDULABLE, false) || is(status_keys::DRAINING, true);
    ACTIONS.buttons(at, &parts::path("nodes", &node.id), |action| match action.word {
        UNCORDON => closed,
        CORDON => !closed,
        DRAIN => !is(status_keys::DRAINING, true),
        _ => true,
    })
}

const CORDON: &str = "cordon";
const UNCORDON: &str = "uncordon";
const DRAIN: &str = "drain";

/// Actions of operators on a node.
const ACTIONS: Actions = Actions {
    place: PLACE,
    role: Operator,
    word: |at| at.arg(1),
    object: |at| {
        let node = nodes::show(at.control, &at.id(0, "Node")?)?.object;
        Ok((node.name, parts::path("nodes", &node.id)))
    },
    rows: &[
        Action {
            word: CORDON,
            label: "Cordon",
            button: Button::Asks,
            effects: |at| {
                effects(
                    at,
                    &[
                        "No new replica is placed on this node.",
                        "Replicas that run there move to other nodes that fit.",
                    ],
                )
            },
            fields: no_fields,
            handler: |at| mark(at, nodes::cordon),
            leads_to: None,
        },
        Action {
            word: UNCORDON,
            label: "Uncordon",
            button: Button::Asks,
            effects: |at| {
                effects(
                    at,
                    &[
                        "The node may take replicas again.",
                        "A running drain stops; replicas that have moved stay where they are.",
                    ],
                )
            },
            fields: no_fields,
            handler: |at| mark(at, nodes::uncordon),
            leads_to: None,
        },
        Action {
            word: DRAIN,
            label: "Drain",
            button: Button::Asks,
            effects: |at| {
                effects(
                    at,
                    &[
                        "No new replica is placed on this node.",
                        "Its replicas move away step by step, as many at once as their service's max_unavailable \
                            allows.",
                        "A replica that fits nowhere else stays, and the node's page says so.",
                    ],
                )
            },
            fields: no_fields,
            handler: |at| mark(at, nodes::drain),
            leads_to: None,
        },
        Action {
            word: "reboot-marker",
            label: "Request a reboot",
            button: Button::Asks,
            effects: |at| {
                effects(
                    at,
                    &[
                        "The node's status says that a reboot is requested.",
                        "This server reboots nothing; the operator of the machine does it.",
                    ],
                )
            },
            fields: no_fields,
            handler: |at| mark(at, nodes::mark_reboot),
            leads_to: None,
        },
        Action {
            word: "rotate-wg-keys",
            label: "Rotate WireGuard keys",
            button: Button::Asks,
            effects: |at| {
                effects(
                    at,
                    &[
                        "The node's status requests new WireGuard keys.",
                        "Its tunnels are interrupted for a moment when it creates them.",
                    ],
                )
            },
            fields: no_fields,
            handler: |at| mark(at, nodes::rotate_wg_keys),
            leads_to: None,
        },
        Action {
            word: "delete",
            label: "Delete",
            button: Button::Warns,
            effects: |at| {
                effects(
                    at,
                    &[
                        "The node is deleted and its identity revoked: its heartbeats are refused from now on.",
                        "To come back it must join again, with a new join string.",
                    ],
                )
            },
            fields: |_| {
                let what =
                    "Delete it even if replicas or router assignments name it. The router assignments are deleted too.";
                Ok(parts::checkbox("force", what))
            },
            handler: |at| {
                let force = !field(&at.form(), "force").is_empty();
                nodes::delete(at.control, at.id(0, "Node")?, Condition::default(), force)
            },
            leads_to: Some("/ui/nodes"),
        },
    ],
};

fn mark(at: &At, mark: fn(&Control, NodeId, Condition) -> Result<Versioned<Node>>) -> Result<()> {
    mark(at.control, at.id(0, "Node")?, Condition::default()).map(drop)
}

/// Effects of an action, and the number of replicas concerned.
fn effects(at: &At, effects: &[&str]) -> Result<Vec<String>> {
    let placed = replicas::list(at.control, &Paging::first(1), None, Some(&at.id(0, "Node")?))?.total;
    let mut effects: Vec<String> = effects.iter().map(ToString::to_string).collect();
    effects.push(match placed {
        0 => "No replicas are placed there now.".to_string(),
        1 => "1 replica is placed there now.".to_string(),
        n => format!("{n} replicas are placed there now."),
    });
    Ok(effects)
}

fn set_labels(at: &At) -> Reply {
    let form = at.form();
    let text = field(&form, "labels");
    let done = read_labels(text).and_then(|labels| {
        let condition = Condition::if_match(Some(field(&form, "version")));
        let change = NodeChange { labels: Some(labels), ..NodeChange::default() };
        nodes::update(at.control, at.id(0, "Node")?, condition, change)
    });
    match done {
        Ok(_) => Ok(back_to(&parts::path("nodes", at.arg(0)), "labels")),
        Err(e @ Error::Fault(_)) => Err(e),
        Err(e) => page_of(at, e.status(), &notice("bad", &e.detail()), Some(text)),
    }
}

/// Reads labels, one per line, within the bounds of the API.
fn read_labels(text: &str) -> Result<BTreeMap<String, String>> {
    let mut labels = Object::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some((key, value)) = line.split_once('=') else {
            return Err(Error::Malformed(format!("Expected key=value, got: {line}")));
        };
        labels.insert(key.trim().to_string(), value.trim().into());
    }
    let body = json!({ "labels": labels }).to_string();
    let mut f = Fields::of_body(body.as_bytes())?;
    let labels = f.labels("labels").required();
    f.finish()?;
    Ok(labels)
}
