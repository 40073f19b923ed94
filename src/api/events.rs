//! `/events` and `/events/stream`.

use super::{PAGE_BYTES_MAX, PAGE_MAX, created, list as page_of, once};
use crate::clock;
use crate::control::events;
use crate::control::events::Reader;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, holder, place, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response, Sink};
use crate::model::Paging;
use crate::model::events::{ClientEvent, EventFilter};
use crate::model::users::Role::{Operator, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use std::io;
use std::time::Duration;
use tiny_http::Method::{Get, Post};

/// Default number of events on a page.
const PAGE_DEFAULT: i64 = 200;
/// A reader gets no more events this long after its session or token has ended.
const AUTHORIZED_FOR: Duration = Duration::from_secs(5);
/// Interval between comments on an idle stream, by which both ends learn that the other is gone.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// Pause between two writes to one reader. Events in between share a write, so that a burst does not cost one for each
/// event and reader.
const PACE: Duration = Duration::from_millis(20);

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/events", By(Viewer, list))
        .gives(200, "[Event]")
        .says("List events, newest first. A `limit` outside 1 to 1000 is clamped, not refused."),
    route(Post, "/events", By(Operator, create))
        .gives(201, "Event")
        .says("Record an event of your own. Categories of the server are refused (403).")
        .conflicts("An event of this id exists."),
    route(Get, "/events/stream", By(Viewer, stream))
        .gives(200, "text/event-stream")
        .says("Follow events as server-sent events. `Last-Event-ID` or `since` resumes without a gap."),
];

fn filter(f: &mut Fields) -> EventFilter {
    EventFilter {
        category: f.text("category", 0..=64).optional(),
        name: f.text("name", 0..=128).optional(),
        level: f.text("level", 0..=32).optional(),
        node_id: f.id("node_id").optional(),
        since: f.moment("since").optional(),
    }
}

fn list(app: &App, request: &Request, _: &User) -> Reply {
    let mut f = Fields::of_query(request.query_pairs());
    // Values out of bounds are clamped here, not refused: V1's clients rely on it.
    let limit = f.int("limit", i64::MIN..=i64::MAX).or(PAGE_DEFAULT).clamp(1, PAGE_MAX as i64) as usize;
    let after = f.id("after").optional();
    let filter = filter(&mut f);
    f.finish()?;
    let paging = Paging { limit, bytes_max: PAGE_BYTES_MAX, after };
    Ok(page_of(request, &paging, &events::list(&app.control, &paging, &filter)?))
}

fn create(app: &App, request: &Request, user: &User) -> Reply {
    let once = once(request, user)?;
    let mut f = Fields::of_body(&request.body)?;
    let event = ClientEvent {
        id: f.id("id").optional(),
        category: f.printable("category", 1..=64).required(),
        name: f.printable("name", 1..=128).required(),
        level: f.printable("level", 1..=32).required(),
        fields: f.object("fields").optional().unwrap_or_default(),
    };
    f.finish()?;
    Ok(created(events::create(&app.control, once, event)?))
}

fn stream(app: &App, request: &Request, _: &User) -> Reply {
    let mut f = Fields::of_query(request.query_pairs());
    let filter = filter(&mut f);
    f.finish()?;
    let last_seen = request.header("last-event-id").filter(|id| !id.is_empty());
    let shown = (holder(&app.control, request)?.map_or("", |(_, shown)| shown.token).to_string(), place(request));
    let reader = Reader::begin(&app.control, shown, last_seen, filter)?;
    let write = move |sink: &mut dyn Sink| send_events(reader, sink);
    Ok(Response::streamed("text/event-stream", Box::new(write)).with("X-Accel-Buffering", "no".to_string()))
}

/// Sends a reader its events as server-sent events, until one side ends.
fn send_events(mut reader: Reader, sink: &mut dyn Sink) -> io::Result<()> {
    let mut text = ": hello\n\n".to_string();
    let mut authorized_until = clock::tick() + AUTHORIZED_FOR;
    loop {
        if !text.is_empty() {
            sink.send(text.as_bytes())?;
            text.clear();
            std::thread::sleep(PACE);
        }
        let written = clock::tick();
        while text.is_empty() {
            // A session may end while events keep coming.
            if authorized_until <= clock::tick() {
                if !reader.is_authorized() {
                    return Ok(());
                }
                authorized_until = clock::tick() + AUTHORIZED_FOR;
            }
            let left = COMMENT_EVERY.saturating_sub(clock::tick().duration_since(written));
            if left.is_zero() {
                text.push_str(": still here\n\n");
                break;
            }
            let wait = left.min(authorized_until.saturating_duration_since(clock::tick()));
            let Some(frames) = reader.next(wait).map_err(io::Error::other)? else { return Ok(()) };
            for frame in frames {
                for part in ["id: ", &frame.event.id, "\nevent: event\ndata: ", &frame.json, "\n\n"] {
                    text.push_str(part);
                }
            }
        }
    }
}
