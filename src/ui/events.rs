//! Events: newest first, filtered, and live if the browser runs scripts.

use super::{At, field, parts, run};
use crate::control::{Control, events};
use crate::error::Result;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::model::events::catalogue::Category;
use crate::model::events::{Event, EventFilter, is_own};
use crate::model::users::Role::Viewer;
use crate::model::{Page, Paging, ids};
use serde_json::Value;
use tiny_http::Method::Get;

/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Get, "/ui/events", By(Viewer, |c, r, u| run(c, r, u, list)))];

const PLACE: &str = "Events";
/// Events per page.
const ROWS_MAX: usize = 60;
/// Fields shown in a short line.
const SHORT: &[&str] =
    &["node_id", "service_id", "replica_id", "target_node_id", "username", "key", "to", "generation"];
/// Levels to choose from.
const LEVELS: &[(&str, &str)] = &[
    ("", "any"),
    ("info", "info"),
    ("warning", "warning"),
    ("error", "error"),
    ("critical", "critical"),
    ("debug", "debug"),
];

/// A page of events.
pub(super) fn page(control: &Control, paging: &Paging, filter: &EventFilter) -> Result<Page<Event>> {
    events::list(control, paging, filter)
}

/// Events in short form, for the pages of objects.
pub(super) fn short(events: &Page<Event>) -> Html {
    if events.items.is_empty() {
        return parts::hint("No events yet.");
    }
    let line = |e: &Event| {
        page!(
            "event_short.html",
            time = &parts::time(e.created_at),
            name = &e.name,
            fields = &fields(e, &|key| SHORT.contains(&key))
        )
    };
    parts::list(events.items.iter().map(line).collect())
}

fn list(at: &At) -> Reply {
    let query = at.request.query_pairs();
    let [category, name, level, node, after] =
        ["category", "name", "level", "node", "after"].map(|key| field(&query, key));
    let some = |text: &str| (!text.is_empty()).then(|| text.to_string());
    let filter = EventFilter {
        category: some(category),
        name: some(name),
        level: some(level),
        node_id: some(node),
        since: None,
    };
    let paging = Paging { limit: ROWS_MAX, bytes_max: usize::MAX, after: some(after).filter(|id| ids::is_id(id)) };
    let found = page(at.control, &paging, &filter)?;
    let href = |after: &str| {
        parts::with_query(
            "/ui/events",
            &[("category", category), ("name", name), ("level", level), ("node", node), ("after", after)],
        )
    };
    let mut categories = vec![("", "any")];
    categories.extend(Category::WORDS.iter().map(|c| (*c, *c)));
    if !category.is_empty() && !is_own(category) {
        // An event of an operator's own.
        categories.push((category, category));
    }
    let fields = vec![
        parts::select("Category", "category", &categories, category),
        parts::select("Level", "level", LEVELS, &level.to_lowercase()),
        parts::field("Name", "name", name),
        parts::field("Node", "node", node),
    ];
    let none = match found.items.is_empty() {
        true => page!("events_none.html", text = "No events match."),
        false => Html::empty(),
    };
    let next = found.next.as_ref().map_or_else(Html::empty, |next| page!("next.html", href = &href(next)));
    let newest = if after.is_empty() { Html::empty() } else { parts::link(&href(""), "Newest") };
    let links = Html::concat(vec![newest, parts::text(" "), next]);
    let body = page!(
        "events.html",
        head = &page!("head.html", title = PLACE, actions = &Html::empty(), notice = &Html::empty()),
        filter = &page!("filter.html", action = "/ui/events", fields = &Html::concat(fields)),
        // Only the first page grows.
        here = &if after.is_empty() { href("") } else { String::new() },
        events = &Html::concat(found.items.iter().map(row).collect()),
        empty = &none,
        pager = &page!("pager.html", text = &parts::count(found.total as usize, "event"), links = &links),
    );
    at.page(PLACE, PLACE, &body)
}

fn row(event: &Event) -> Html {
    let actor = event.actor.as_deref().unwrap_or("");
    let by = match (actor, event.address.as_deref()) {
        ("", _) => String::new(),
        (actor, None) => format!("by {actor}"),
        (actor, Some(address)) => format!("by {actor} from {address}"),
    };
    page!(
        "event.html",
        id = &event.id,
        time = &parts::time(event.created_at),
        kind = &event.level.to_lowercase(),
        level = &event.level,
        name = &event.name,
        fields = &fields(event, &|_| true),
        by = &by,
        request = &event.request_id.as_ref().map_or(String::new(), |id| format!("request {id}")),
    )
}

/// Fields of an event, with links to objects.
fn fields(event: &Event, shown: &dyn Fn(&str) -> bool) -> Html {
    let one = |(key, value): (&String, &Value)| {
        let text = parts::value(value);
        let linked = match (key.as_str(), value) {
            (_, Value::Null) => return Html::empty(),
            ("node_id" | "target_node_id" | "source_node_id", Value::String(id)) => parts::node(id),
            ("service_id", Value::String(id)) => parts::service(id),
            ("replica_id", Value::String(id)) => parts::replica(id),
            _ => parts::text(&text),
        };
        page!("event_field.html", key = key, value = &linked)
    };
    Html::concat(event.fields.iter().filter(|(key, _)| shown(key)).map(one).collect())
}
