//! `GET /node/work`: the calling node's work, at once or as soon as it changes. `GET /nodes/{id}/work`: the same, for
//! operators.

use super::id_of;
use crate::clock;
use crate::control::fleet::nodes;
use crate::gate::Handler::{By, ByNode};
use crate::gate::{self, NodeCaller, Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::later::Later;
use crate::http::{Request, Response};
use crate::model::ids::NodeId;
use crate::model::node_work::{VERSION_CHARS_MAX, WorkVersion};
use crate::model::users::Role::Viewer;
use crate::model::users::User;
use crate::upkeep::App;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tiny_http::Method::Get;

/// Longest wait for a change, in seconds.
const WAIT_S_MAX: i64 = 60;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/node/work", ByNode(show)).gives(200, "NodeWork").says(
        "Show the signed work of the calling node, or wait for a change. `after` names the state that the node holds \
            on its disk. While it is the current one, the answer comes after the next change, or is an empty 204 \
            after `wait` seconds. A node has one waiting call: a newer one ends the older. `Retry-After` asks the \
            node to pause before its next call. `relay_requests` are requests of readers, such as one for the log of \
            a replica: they come at once, with unchanged work too, and each is given once.",
    ),
    route(Get, "/nodes/{node_id}/work", By(Viewer, state))
        .gives(200, "NodeWorkState")
        .says("Show the work of a node, and the state of it that the node holds."),
];

fn show(app: &App, request: &Request, caller: &NodeCaller) -> Reply {
    let mut f = Fields::of_query(request.query_pairs());
    let after = version(&mut f);
    let wait_s = f.int("wait", 0..=WAIT_S_MAX).or(0);
    f.finish()?;
    let control = &app.control;
    if let Some(held) = after {
        control.node_work.note_held(&caller.node_id, held);
    }
    let waiting = after.as_ref().and_then(|seen| control.node_work.wait(&caller.node_id, seen));
    let (work, documents) = (Arc::clone(&control.node_work), Arc::clone(&control.work_documents));
    let found = move |node_id: Option<NodeId>, is_paced: bool| {
        let response = node_id.map_or_else(
            || Ok(Response::empty(204)),
            |node_id| documents.answer(&node_id).map(|answer| Response::json(200, &answer)),
        );
        response.map(|response| match is_paced.then(|| work.retry_after_s()).flatten() {
            Some(wait_s) => response.with("Retry-After", wait_s.to_string()),
            None => response,
        })
    };
    let (Some(waiting), Some(seen)) = (waiting, after) else {
        return found(Some(caller.node_id.clone()), true);
    };
    if wait_s == 0 {
        return found(waiting.answer(&seen), false);
    }
    if waiting.is_first {
        // A call that waits costs nothing; one that ends another counts.
        gate::refund_node(control, &caller.node_id);
    }
    let bell = waiting.bell.clone();
    let answer = Box::new(move || found(waiting.answer(&seen), true).unwrap_or_else(|e| gate::answer(&e)));
    Ok(Response::later(Later { bell, until: clock::tick() + Duration::from_secs(wait_s.unsigned_abs()), answer }))
}

fn state(app: &App, request: &Request, _: &User) -> Reply {
    let node_id: NodeId = id_of(request, "node_id")?;
    nodes::show(&app.control, &node_id)?;
    Ok(Response::json(200, &app.control.work_documents.state(&app.control.reports, &node_id)?))
}

/// The version that the node has, as `EPOCH.VERSION`.
fn version(f: &mut Fields) -> Option<WorkVersion> {
    let text = f.text("after", 1..=VERSION_CHARS_MAX).optional()?;
    let version = WorkVersion::parse(&text);
    if version.is_none() {
        let msg = "String should be EPOCH.VERSION, as in the last answer";
        f.fault("string_pattern_mismatch", vec!["after".into()], msg.into(), &Value::String(text));
    }
    version
}
