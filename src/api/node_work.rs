//! `GET /node/work`: the calling node's work, at once or as soon as it changes.

use crate::clock;
use crate::gate::Handler::ByNode;
use crate::gate::{self, NodeCaller, Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::later::Later;
use crate::http::{Request, Response};
use crate::model::node_work::{NodeWork, VERSION_CHARS_MAX, WorkVersion};
use crate::upkeep::App;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tiny_http::Method::Get;

/// Longest wait for a change, in seconds.
const WAIT_S_MAX: i64 = 60;

/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Get, "/node/work", ByNode(show)).gives(200, "NodeWork").says(
    "Show the work of the calling node, or wait for a change. While `after` is the current version, the answer comes \
        after the next change, or is an empty 204 after `wait` seconds. A node has one waiting call: a newer one ends \
        the older. `Retry-After` asks the node to pause before its next call.",
)];

fn show(app: &App, request: &Request, caller: &NodeCaller) -> Reply {
    let mut f = Fields::of_query(request.query_pairs());
    let after = version(&mut f);
    let wait_s = f.int("wait", 0..=WAIT_S_MAX).or(0);
    f.finish()?;
    let control = &app.control;
    let waiting = after.as_ref().and_then(|seen| control.node_work.wait(&caller.node_id, seen));
    let (Some(waiting), Some(seen)) = (waiting, after) else {
        return Ok(found(control.node_work.show(&caller.node_id), control.node_work.retry_after_s()));
    };
    if wait_s == 0 {
        let newer = waiting.answer(&seen);
        return Ok(newer.map_or_else(|| Response::empty(204), |work| found(work, None)));
    }
    if waiting.is_first {
        // A call that waits costs nothing; one that ends another counts.
        gate::refund_node(control, &caller.node_id);
    }
    let work = Arc::clone(&control.node_work);
    let bell = waiting.bell.clone();
    let answer = Box::new(move || match waiting.answer(&seen) {
        Some(newer) => found(newer, work.retry_after_s()),
        None => with_retry(Response::empty(204), work.retry_after_s()),
    });
    Ok(Response::later(Later { bell, until: clock::tick() + Duration::from_secs(wait_s.unsigned_abs()), answer }))
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

fn found(work: NodeWork, retry_after_s: Option<u64>) -> Response {
    with_retry(Response::json(200, &work), retry_after_s)
}

fn with_retry(response: Response, retry_after_s: Option<u64>) -> Response {
    match retry_after_s {
        Some(wait_s) => response.with("Retry-After", wait_s.to_string()),
        None => response,
    }
}
