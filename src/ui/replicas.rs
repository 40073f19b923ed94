//! Replicas: the list, a page for each, and the actions of operators.

use super::actions::{Action, Actions, Button, no_fields, sentences};
use super::{At, ROWS_MAX, field, parts, run};
use crate::clock::Timestamp;
use crate::control::versions::Condition;
use crate::control::work::{endpoints, replicas};
use crate::error::{Error, Result};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::json;
use crate::model::ids::{Id, NodeId, ServiceId};
use crate::model::leases::LeaseState;
use crate::model::replica_words;
use crate::model::replicas::{Facts, ListedReplica, Replica};
use crate::model::users::Role::{Operator, Viewer};
use crate::model::{Object, Paging};
use serde_json::Value;
use tiny_http::Method::{Get, Post};

/// Replicas that a list is built from; the command line shows all.
const REPLICAS_MAX: usize = 50_000;
/// Endpoints on a replica's page.
const ENDPOINTS_MAX: usize = 50;
/// Characters of a snapshot's id.
const SNAPSHOT_CHARS_MAX: usize = 128;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/replicas", By(Viewer, |c, r, u| run(c, r, u, list))),
    route(Get, "/ui/replicas/{replica_id}", By(Viewer, |c, r, u| run(c, r, u, show))),
    route(Get, "/ui/replicas/{replica_id}/{action}", By(Operator, |c, r, u| run(c, r, u, |at| ACTIONS.ask(at)))),
    route(Post, "/ui/replicas/{replica_id}/{action}", By(Operator, |c, r, u| run(c, r, u, |at| ACTIONS.act(at)))),
];

const PLACE: &str = "Replicas";
const DONE: &[(&str, &str)] = &[
    ("move", "Replica moved to the other node."),
    ("restart", "Restart requested."),
    ("snapshot", "Snapshot requested."),
    ("restore", "Restore requested."),
    ("delete", "Replica deleted."),
];

/// State of a replica, by a word of its status.
fn state_of(status: &Object, desired: &str) -> Html {
    let said = status.get("state").and_then(Value::as_str);
    parts::state(match (status.get("healthy"), said) {
        (_, Some(state)) => state,
        (Some(Value::Bool(false)), None) => "failing",
        (_, None) => desired,
    })
}

/// Time since which a replica has its state, by its node's report.
fn since(status: &Object) -> Option<Timestamp> {
    let since = status.get(replica_words::STATE_SINCE).or(status.get(replica_words::UNAVAILABLE_SINCE))?;
    Timestamp::parse(since.as_str()?)
}

fn object(status: &serde_json::value::RawValue) -> Object {
    json::kept_object(status.get())
}

/// Row of a replica on the page of its node.
pub(super) fn row_on_node(replica: &ListedReplica) -> Vec<Html> {
    vec![
        parts::replica(&replica.id),
        parts::service(&replica.service_id),
        state_of(&object(&replica.status), &replica.desired_state),
        parts::time(since(&object(&replica.status)).unwrap_or(replica.created_at)),
    ]
}

/// Row of a replica on the page of its service.
pub(super) fn row_of_service(replica: &ListedReplica, newest: i64) -> Vec<Html> {
    let status = object(&replica.status);
    let runs = match status.get("applied_generation") {
        Some(generation) if *generation == newest => parts::text(&newest.to_string()),
        Some(generation) => parts::text(&format!("{}, not yet {newest}", parts::value(generation))),
        None => parts::text("not known"),
    };
    vec![
        parts::node(&replica.node_id),
        parts::replica(&replica.id),
        state_of(&status, &replica.desired_state),
        runs,
        parts::time(since(&status).unwrap_or(replica.created_at)),
    ]
}

/// The id in a field of the query; `None` where it is empty.
fn wanted<I: Id>(what: &str, text: &str) -> Result<Option<I>> {
    if text.is_empty() {
        return Ok(None);
    }
    I::parse(text).map(Some).ok_or_else(|| Error::Malformed(format!("This is not a valid {what} id: {text}")))
}

/// True if a replica reports that it is not well, or its node does not answer.
fn is_failing(at: &At, replica: &ListedReplica) -> bool {
    let facts: Option<Facts> = serde_json::from_str(replica.status.get()).ok();
    let node = at.control.leases.state(&replica.node_id);
    facts.is_some_and(|facts| facts.sickness().is_some()) || !matches!(node, LeaseState::Alive | LeaseState::Unknown)
}

fn list(at: &At) -> Reply {
    let query = at.request.query_pairs();
    let [service, node, state, text] = ["service", "node", "state", "q"].map(|key| field(&query, key));
    let service_id: Option<ServiceId> = wanted("service", service)?;
    let node_id: Option<NodeId> = wanted("node", node)?;
    let paging = Paging::first(REPLICAS_MAX);
    let mut found = replicas::list(at.control, &paging, service_id.as_ref(), node_id.as_ref())?.items;
    found.retain(|r| r.id.as_str().contains(text) && (state != "failing" || is_failing(at, r)));
    let pages = found.len().div_ceil(ROWS_MAX).max(1);
    let number = field(&query, "page").parse().unwrap_or(1).clamp(1, pages);
    let shown = &found[(number - 1) * ROWS_MAX..found.len().min(number * ROWS_MAX)];
    let row = |r: &ListedReplica| {
        let on = Html::concat(vec![parts::node(&r.node_id), parts::text(" "), lease_of(at, &r.node_id)]);
        vec![
            parts::replica(&r.id),
            parts::service(&r.service_id),
            on,
            state_of(&object(&r.status), &r.desired_state),
            parts::time(r.updated_at),
        ]
    };
    let filtered = [service, node, state, text].iter().any(|f| !f.is_empty());
    let table = match (found.is_empty(), filtered) {
        (true, true) => parts::hint("No replicas match."),
        (true, false) => parts::empty(
            "No replicas yet. The scheduler creates them for services:",
            "uptimemesh service apply -f web.json",
        ),
        _ => parts::table(
            "Replicas",
            &parts::heads(&["Replica", "Service", "Node", "State", "~Changed"]),
            shown.iter().map(row).collect(),
        ),
    };
    let fields = vec![
        parts::field("Text", "q", text),
        parts::field("Service", "service", service),
        parts::field("Node", "node", node),
        parts::select("State", "state", &[("", "any"), ("failing", "failing")], state),
    ];
    let href = |page: usize| {
        parts::with_query(
            "/ui/replicas",
            &[("service", service), ("node", node), ("state", state), ("q", text), ("page", &page.to_string())],
        )
    };
    let body = Html::concat(vec![
        page!("head.html", title = PLACE, actions = &Html::empty(), notice = &at.notice(DONE)),
        page!("filter.html", action = "/ui/replicas", fields = &Html::concat(fields)),
        parts::live("replicas", &Html::concat(vec![table, parts::pager(found.len(), "replica", number, pages, &href)])),
    ]);
    at.page(PLACE, PLACE, &body)
}

/// Lease of a node, unless it is alive.
fn lease_of(at: &At, node_id: &NodeId) -> Html {
    match at.control.leases.state(node_id) {
        LeaseState::Alive | LeaseState::Unknown => Html::empty(),
        gone => parts::state(gone.as_str()),
    }
}

/// The node's report on a replica.
fn reported(at: &At, replica: &Replica) -> Vec<(&'static str, Html)> {
    let status = &replica.status;
    let mut facts: Vec<(&str, Html)> =
        since(status).map(|since| ("State since", parts::time(since))).into_iter().collect();
    if !replica_words::is_reported(status) {
        return facts;
    }
    let moment = |value: Option<&Value>| value.and_then(Value::as_str).and_then(Timestamp::parse);
    let text = |key: &str| status.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    facts.extend(text("message").map(|said| ("Its node says", parts::text(said))));
    facts.extend(moment(status.get("started_at")).map(|at| ("Started", parts::time(at))));
    facts.push(("Restarts", parts::text(&status.get("restarts").map_or("0".to_string(), parts::value))));
    if let Some(exit) = status.get("exit") {
        let words = exit.get("words").and_then(Value::as_str).unwrap_or_default();
        let at = parts::maybe_time(moment(exit.get("at")));
        facts.push(("Last end", Html::concat(vec![parts::text(&format!("{words}, ")), at])));
    }
    let ports = status.get("ports").and_then(Value::as_array).into_iter().flatten();
    let ports: Vec<String> = ports.filter_map(|port| port.get("port")).map(parts::value).collect();
    if !ports.is_empty() {
        facts.push(("Ports", parts::text(&ports.join(", "))));
    }
    facts.extend(status.get("pid").map(|pid| ("Process", parts::text(&parts::value(pid)))));
    if let Some(usage) = at.control.reports.usage(&replica.node_id).get(&replica.id) {
        let text = format!("{} thousandths of a core, {}", usage.cpu_millis, parts::size(usage.memory_bytes as f64));
        facts.push(("Uses", parts::text(&text)));
    }
    facts
}

fn show(at: &At) -> Reply {
    let replica = replicas::show(at.control, &at.id(0, "Replica")?)?.object;
    let mut facts = vec![
        ("State", state_of(&replica.status, &replica.desired_state)),
        ("Desired state", parts::text(&replica.desired_state)),
        ("Service", parts::service(&replica.service_id)),
        ("Node", Html::concat(vec![parts::node(&replica.node_id), parts::text(" "), lease_of(at, &replica.node_id)])),
    ];
    facts.extend(reported(at, &replica));
    match &replica.placement {
        Some(why) => {
            facts.push(("Why there", parts::text(&format!("{}: {}", why.action.as_str(), why.reason))));
            facts.push(("Since", parts::time(why.at)));
            if let Some(from) = &why.from_node_id {
                facts.push(("Moved from", parts::node(from)));
            }
        }
        None => facts.push(("Why there", parts::text("placed by a client"))),
    }
    facts.push(("Made", parts::time(replica.created_at)));
    let found = endpoints::list(at.control, &Paging::first(ENDPOINTS_MAX), Some(&replica.id))?.items;
    let row = |e: &crate::model::endpoints::Endpoint| {
        vec![
            parts::text(&format!("{}:{}", e.address, e.port)),
            parts::state(if e.healthy { "healthy" } else { "failing" }),
            parts::maybe_time(e.last_checked_at),
        ]
    };
    let reached = match found.is_empty() {
        true => parts::hint("No endpoints."),
        false => {
            parts::table("Endpoints", &parts::heads(&["Address", "State", "Checked"]), found.iter().map(row).collect())
        }
    };
    let path = parts::path("replicas", &replica.id);
    let actions = ACTIONS.buttons(at, &path, |_| true);
    let follows = Html::concat(vec![
        parts::facts(facts),
        parts::section("Endpoints", &reached),
        parts::section("Status", &parts::code(&parts::pretty(&replica.status))),
    ]);
    let body = Html::concat(vec![
        page!("head.html", title = replica.id.as_str(), actions = &actions, notice = &at.notice(DONE)),
        parts::live("replica", &follows),
    ]);
    at.page(PLACE, replica.id.as_str(), &body)
}

const AGENTS: &str = "This server records the request; the agent of the replica carries it out.";

/// Actions of operators on a replica.
const ACTIONS: Actions = Actions {
    place: PLACE,
    role: Operator,
    word: |at| at.arg(1),
    object: |at| {
        let replica = replicas::show(at.control, &at.id(0, "Replica")?)?.object;
        let path = parts::path("replicas", &replica.id);
        Ok((replica.id.to_string(), path))
    },
    rows: &[
        Action {
            word: "move",
            label: "Move",
            button: Button::Asks,
            effects: |_| {
                sentences(&[
                    "The replica is placed on the node that you name, even if the scheduler would not have chosen it.",
                    "Its record of failures is cleared.",
                    "The scheduler may move it again where its rules require that.",
                ])
            },
            fields: |at| {
                Ok(parts::field("Id of the target node", "target_node_id", field(&at.form(), "target_node_id")))
            },
            handler: |at| {
                let form = at.form();
                let target =
                    field(&form, "target_node_id").trim().parse().map_err(|_| Error::not_found("Target node"))?;
                replicas::place(at.control, at.id(0, "Replica")?, Condition::default(), target, at.by()).map(drop)
            },
            leads_to: None,
        },
        Action {
            word: "restart",
            label: "Restart",
            button: Button::Asks,
            effects: |_| sentences(&["A restart of the replica is requested.", AGENTS]),
            fields: no_fields,
            handler: |at| replicas::restart(at.control, at.id(0, "Replica")?, Condition::default()).map(drop),
            leads_to: None,
        },
        Action {
            word: "snapshot",
            label: "Snapshot",
            button: Button::Asks,
            effects: |_| sentences(&["A snapshot of the replica's data is requested.", AGENTS]),
            fields: no_fields,
            handler: |at| replicas::snapshot(at.control, at.id(0, "Replica")?, Condition::default()).map(drop),
            leads_to: None,
        },
        Action {
            word: "restore",
            label: "Restore",
            button: Button::Warns,
            effects: |_| {
                sentences(&[
                    "The replica's data is replaced by that of a snapshot. Data written since then is lost.",
                    AGENTS,
                ])
            },
            fields: |at| {
                Ok(parts::field("Snapshot id (empty: the newest)", "snapshot_id", field(&at.form(), "snapshot_id")))
            },
            handler: restore,
            leads_to: None,
        },
        Action {
            word: "delete",
            label: "Delete",
            button: Button::Warns,
            effects: |_| {
                sentences(&[
                    "The replica and its endpoints are deleted.",
                    "The scheduler creates another one if the service still needs it.",
                ])
            },
            fields: no_fields,
            handler: |at| replicas::delete(at.control, at.id(0, "Replica")?, Condition::default()),
            leads_to: Some("/ui/replicas"),
        },
    ],
};

fn restore(at: &At) -> Result<()> {
    let form = at.form();
    let snapshot = field(&form, "snapshot_id").trim();
    if snapshot.chars().count() > SNAPSHOT_CHARS_MAX || snapshot.chars().any(char::is_control) {
        return Err(Error::Malformed("This is not a valid snapshot id.".to_string()));
    }
    let snapshot = (!snapshot.is_empty()).then(|| snapshot.to_string());
    replicas::restore(at.control, at.id(0, "Replica")?, Condition::default(), snapshot).map(drop)
}
