//! `/events` and `/events/stream`.

use super::{PAGE_BYTES_MAX, PAGE_MAX, created, list as page_of, once};
use crate::bell::Bell;
use crate::clock;
use crate::control::events;
use crate::control::events::Reader;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, holder, place, route};
use crate::http::fields::Fields;
use crate::http::later::{Feed, Piece};
use crate::http::{Request, Response};
use crate::model::Paging;
use crate::model::events::{ClientEvent, EventFilter};
use crate::model::users::Role::{Operator, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use std::time::{Duration, Instant};
use tiny_http::Method::{Get, Post};

/// Default number of events on a page.
const PAGE_DEFAULT: i64 = 200;
/// A reader gets no more events this long after its session or token has ended, also if another process ended it.
const AUTHORIZED_FOR: Duration = Duration::from_secs(5);
/// Longest time without a look at the session of a silent stream. Unused threads end sooner, so many silent streams
/// keep none.
const SILENT_FOR: Duration = Duration::from_secs(8);
/// Interval between comments on an idle stream, by which both ends learn that the other is gone.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

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
    let now = clock::tick();
    let stream = Stream { reader, is_greeted: false, authorized_until: now + AUTHORIZED_FOR, comment_at: now };
    Ok(Response::growing("text/event-stream", Box::new(stream)).with("X-Accel-Buffering", "no".to_string()))
}

/// The events of one reader as server-sent events.
struct Stream {
    reader: Reader,
    is_greeted: bool,
    authorized_until: Instant,
    /// Time of the next comment if nothing else is sent before.
    comment_at: Instant,
}

impl Feed for Stream {
    fn bell(&self) -> &Bell {
        self.reader.bell()
    }

    fn next(&mut self) -> Piece {
        let now = clock::tick();
        // A session may end while events keep coming.
        if self.authorized_until <= now {
            if !self.reader.is_authorized() {
                return Piece::End;
            }
            self.authorized_until = now + AUTHORIZED_FOR;
        }
        let mut text = String::new();
        if !std::mem::replace(&mut self.is_greeted, true) {
            text.push_str(": hello\n\n");
        }
        // The reader asks again where it was.
        let Ok(Some(frames)) = self.reader.next() else { return Piece::End };
        for frame in frames {
            for part in ["id: ", &frame.event.id, "\nevent: event\ndata: ", &frame.json, "\n\n"] {
                text.push_str(part);
            }
        }
        if text.is_empty() && now < self.comment_at {
            // What follows may be for others, too: its turn comes, and the time of the comment stays.
            let look_at = self.comment_at.min(now + SILENT_FOR);
            return if self.reader.is_current() { Piece::Silence(look_at) } else { Piece::Bytes(Vec::new()) };
        }
        if text.is_empty() {
            text.push_str(": still here\n\n");
        }
        self.comment_at = now + COMMENT_EVERY;
        Piece::Bytes(text.into_bytes())
    }
}
