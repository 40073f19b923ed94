//! `/services/{service_id}/logs` and `/replicas/{replica_id}/logs`: the output of replicas, as an answer that grows.

use super::{arg_id, query_at};
use crate::bell::Bell;
use crate::clock;
use crate::control::access::readers::ReaderCredential;
use crate::control::work::logs::{self, LogReader};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, holder, place, route};
use crate::http::fields::Fields;
use crate::http::later::{Feed, Piece};
use crate::http::{Request, Response, describe};
use crate::model::log_entries::LogEntry;
use crate::model::relay::LogPart;
use crate::model::users::Role::Operator;
use crate::model::users::User;
use crate::upkeep::App;
use std::time::{Duration, Instant};
use tiny_http::Method::Get;

/// Default number of lines of each replica.
const TAIL_DEFAULT: u64 = 100;
/// Maximum number of lines of each replica that can be requested as the newest.
const TAIL_MAX: i64 = 1_000_000;
/// A reader gets nothing more this long after its session or token has ended.
const AUTHORIZED_FOR: Duration = Duration::from_secs(5);

/// Interval between empty lines in a silent answer, by which both ends learn that the other is gone.
const EMPTY_LINE_EVERY: Duration = Duration::from_secs(15);

/// The routes of this file. Output may have secrets in it: what a viewer sees of a service must not.
pub const ROUTES: &[Route] = &[
    route(Get, "/services/{service_id}/logs", By(Operator, of_service)).gives(200, "application/x-ndjson").says(
        "Read the output of a service's replicas, interleaved by time. The answer has a JSON object in each line: \
            `kind` is `line`, `missing` for a replica that cannot be read, or `end`; an answer without `end` broke \
            off. Empty lines mean nothing. With `Accept: text/plain` it is text. Each reading is recorded as an event.",
    ),
    route(Get, "/replicas/{replica_id}/logs", By(Operator, of_replica)).gives(200, "application/x-ndjson").says(
        "Read the output of a replica, in the form of a service's. It has that of earlier runs of the replica too, as \
            far as its node keeps it.",
    ),
];

fn of_service(app: &App, request: &Request, _: &User) -> Reply {
    let mut f = query_at(request, "service_id")?;
    let node_id = f.id("node_id").optional();
    let part = part(&mut f);
    f.finish()?;
    stream(app, request, logs::of_service(&app.control, arg_id(request)?, node_id, part)?)
}

fn of_replica(app: &App, request: &Request, _: &User) -> Reply {
    let mut f = query_at(request, "replica_id")?;
    let part = part(&mut f);
    f.finish()?;
    stream(app, request, logs::of_replica(&app.control, arg_id(request)?, part)?)
}

fn part(f: &mut Fields) -> LogPart {
    describe::header("Accept");
    let since = f.moment("since").optional();
    let tail = f.int("tail", 0..=TAIL_MAX).optional().map(i64::unsigned_abs);
    let tail = tail.or(since.is_none().then_some(TAIL_DEFAULT));
    LogPart { since, tail, follow: f.flag("follow").or(false) }
}

fn stream(app: &App, request: &Request, reader: LogReader) -> Reply {
    let control = &app.control;
    let shown = (holder(control, request)?.map_or("", |(_, shown)| shown.token).to_string(), place(request));
    let is_text = request.header("accept").is_some_and(|kinds| kinds.contains("text/plain"));
    let credential = ReaderCredential::new(control, shown, Operator);
    let now = clock::tick();
    let (authorized_until, empty_line_at) = (now + AUTHORIZED_FOR, now + EMPTY_LINE_EVERY);
    let stream = Stream { reader, credential, is_text, authorized_until, empty_line_at };
    let kind = if is_text { "text/plain; charset=utf-8" } else { "application/x-ndjson" };
    Ok(Response::growing(kind, Box::new(stream)).with("X-Accel-Buffering", "no".to_string()))
}

/// The output for one reader.
struct Stream {
    reader: LogReader,
    credential: ReaderCredential,
    is_text: bool,
    authorized_until: Instant,
    /// Time of the next empty line if nothing else is sent before.
    empty_line_at: Instant,
}

impl Feed for Stream {
    fn bell(&self) -> &Bell {
        self.reader.bell()
    }

    fn next(&mut self) -> Piece {
        let now = clock::tick();
        if self.authorized_until <= now {
            if !self.credential.is_valid() {
                return Piece::End;
            }
            self.authorized_until = now + AUTHORIZED_FOR;
        }
        if self.reader.is_ended() {
            return Piece::End;
        }
        let mut text = String::new();
        let is_text = self.is_text;
        let until = self.reader.next(&mut |entry| write(entry, is_text, &mut text));
        if text.is_empty() && !self.reader.is_ended() {
            if is_text || now < self.empty_line_at {
                return Piece::Silence(until.min(self.authorized_until));
            }
            text.push('\n');
        }
        self.empty_line_at = now + EMPTY_LINE_EVERY;
        Piece::Bytes(text.into_bytes())
    }
}

fn write(entry: &LogEntry, is_text: bool, to: &mut String) {
    if is_text {
        return entry.write_text(to);
    }
    if let Ok(json) = serde_json::to_string(entry) {
        to.push_str(&json);
        to.push('\n');
    }
}
