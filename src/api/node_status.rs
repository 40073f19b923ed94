//! `POST /node/status`: a node reports its replicas.

use crate::clock::Timestamp;
use crate::control::fleet::reports;
use crate::gate::Handler::ByNode;
use crate::gate::{NodeCaller, Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::node_status::{
    CHANGES_MAX, ExitReport, NodeStatus, PORT_NAME_CHARS_MAX, PORTS_MAX, RUN_CHARS_MAX, ReplicaReport, ReplicaStatus,
    ReportedPort, RunWord, Usage, WORDS_CHARS_MAX, WorkRefusal,
};
use crate::model::node_work::WorkVersion;
use crate::upkeep::App;
use serde_json::json;
use tiny_http::Method::Post;

/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Post, "/node/status", ByNode(take)).gives(200, "NodeStatusAnswer").says(
    "Report the replicas of the calling node. Only its own replicas are written, and only by what differs. `seq` grows \
        with each report of a replica within one `run`: what comes late is dropped. After `wants_full` the next report \
        should have all replicas.",
)];

fn take(app: &App, request: &Request, caller: &NodeCaller) -> Reply {
    let mut f = Fields::of_body(&request.body)?;
    let status = NodeStatus {
        run: f.printable("run", 1..=RUN_CHARS_MAX).required(),
        full: f.flag("full").or(false),
        held: f.nested("held", version).optional(),
        changes: f.list("changes", CHANGES_MAX, |f, _| report(f)).or(Vec::new()),
        refused: f.nested("refused", refusal).optional(),
    };
    f.finish()?;
    Ok(Response::json(200, &reports::take(&app.control, &caller.node_id, status)?))
}

/// A required number of at least 0.
fn natural(f: &mut Fields, name: &'static str) -> u64 {
    f.int(name, 0..=i64::MAX).required().unsigned_abs()
}

fn version(f: &mut Fields) -> WorkVersion {
    WorkVersion { epoch: natural(f, "epoch"), version: natural(f, "version") }
}

fn refusal(f: &mut Fields) -> WorkRefusal {
    let version = f.nested("version", version).optional();
    WorkRefusal { version, reason: f.text("reason", 1..=WORDS_CHARS_MAX).required() }
}

fn report(f: &mut Fields) -> ReplicaReport {
    f.describe_item(|| json!({ "type": "object" }));
    let status = f.nested("status", status).required_with(ReplicaStatus::of(RunWord::Waiting));
    ReplicaReport { replica_id: f.id("replica_id").required(), seq: natural(f, "seq"), status }
}

fn status(f: &mut Fields) -> ReplicaStatus {
    ReplicaStatus {
        state: f.word("state", RunWord::WORDS, RunWord::parse).required_with(RunWord::Waiting),
        healthy: f.flag("healthy").optional(),
        applied_generation: f.int("applied_generation", 0..=i64::MAX).optional(),
        restarts: f.int("restarts", 0..=i64::MAX).or(0).unsigned_abs(),
        exit: f.nested("exit", exit).optional(),
        started_at: f.moment("started_at").optional(),
        message: f.text("message", 0..=WORDS_CHARS_MAX).optional(),
        ports: f.list("ports", PORTS_MAX, |f, _| port(f)).or(Vec::new()),
        usage: f.nested("usage", usage).optional(),
        pid: f.int("pid", 1..=i64::from(u32::MAX)).optional().and_then(|pid| pid.try_into().ok()),
    }
}

fn exit(f: &mut Fields) -> ExitReport {
    let small = |number: Option<i64>| number.and_then(|n| i32::try_from(n).ok());
    ExitReport {
        code: small(f.int("code", i64::from(i32::MIN)..=i64::from(i32::MAX)).optional()),
        signal: small(f.int("signal", 1..=128).optional()),
        oom: f.flag("oom").or(false),
        at: f.moment("at").required_with(Timestamp(0)),
        words: f.text("words", 0..=WORDS_CHARS_MAX).required(),
    }
}

fn port(f: &mut Fields) -> ReportedPort {
    f.describe_item(|| json!({ "type": "object" }));
    ReportedPort {
        name: f.text("name", 1..=PORT_NAME_CHARS_MAX).optional(),
        port: u16::try_from(f.int("port", 1..=65_535).required()).unwrap_or(1),
    }
}

fn usage(f: &mut Fields) -> Usage {
    Usage { cpu_millis: natural(f, "cpu_millis"), memory_bytes: natural(f, "memory_bytes") }
}
