//! Events: where a reader of the stream resumes.

use super::{peer, scratch};
use crate::config::Config;
use crate::control::access::visitor::Place;
use crate::control::events::Reader;
use crate::control::{Control, events};
use crate::http::fields::Fields;
use crate::http::form;
use crate::model::Paging;
use crate::model::events::catalogue::{Kind, Level, NODE_CORDON};
use crate::model::events::{Event, EventFilter};
use crate::store::{QueryLog, Store, events as rows};
use serde_json::json;
use std::sync::OnceLock;

/// A control plane with some events, half of them from before its start, and these events in order.
fn history() -> &'static (Control, Vec<Event>) {
    static HISTORY: OnceLock<(Control, Vec<Event>)> = OnceLock::new();
    HISTORY.get_or_init(|| {
        let dir = scratch("store");
        std::fs::create_dir_all(&dir).expect("a directory");
        let mut config = Config::for_dir(&dir);
        config.tls = false;
        let path = config.database_path.clone();
        let open =
            || Store::open(&path, 1, QueryLog { queries: false, params: false, sql_chars_max: 0 }).expect("a store");
        let mut all = Vec::new();
        let mut record = |store: &Store, numbers: std::ops::Range<usize>| {
            for i in numbers {
                let node = [json!({ "node_id": "node-a" }), json!({ "node_id": 5 }), json!({})][i % 3].clone();
                let level = [Level::Info, Level::Error][i % 2];
                let name = [NODE_CORDON.name, "x"][i / 2 % 2];
                let new =
                    Kind { name, level, fields: &["node_id?"], ..NODE_CORDON }.with(node).with_id(format!("e{i}"));
                all.push(store.write(move |w| rows::record(w, new)).expect("an event"));
            }
        };
        let before = open();
        record(&before, 0..12);
        before.close();
        let store = open();
        record(&store, 12..24);
        let control = Control::new(config, store, peer()).expect("a control plane");
        // Everything is open by now, so nothing is left behind when the process ends.
        let _ = std::fs::remove_dir_all(dir);
        (control, all)
    })
}

/// Resumption of an event stream: the first line is `Last-Event-ID`, the second the query.
pub fn resume(bytes: &[u8]) {
    let Some(at) = bytes.iter().position(|b| *b == b'\n') else { return };
    let (last_seen, query) = (String::from_utf8_lossy(&bytes[..at]), &bytes[at + 1..]);
    let last_seen = Some(&*last_seen).filter(|id| !id.is_empty());
    let mut f = Fields::of_query(form::parse(query));
    let filter = EventFilter {
        category: f.text("category", 0..=64).optional(),
        name: f.text("name", 0..=128).optional(),
        level: f.text("level", 0..=32).optional(),
        node_id: f.id("node_id").optional(),
        since: f.moment("since").optional(),
    };
    let after = f.id("after").optional();
    let Ok(()) = f.finish() else { return };
    let (control, all) = history();

    let here = Place { address: peer().ip(), is_local: true, direct: Some(peer().ip()) };
    let mut reader = Reader::begin(control, (String::new(), here), last_seen, filter.clone())
        .expect("every request has a place to continue");
    let mut got = Vec::new();
    let mut rounds = 0;
    loop {
        let frames = reader.next().expect("events can be read").expect("the server keeps running");
        got.extend(frames.iter().map(|frame| frame.event.id.clone()));
        rounds += 1;
        // Events that do not match the filter are skipped: an empty round is not the end.
        if rounds > 2 && frames.is_empty() {
            break;
        }
    }
    let place = |id: &str| all.iter().position(|event| event.id == id);
    let known = last_seen.and_then(place);
    let moved = EventFilter { since: filter.since.filter(|_| known.is_none()), ..filter.clone() };
    let from = match (known, last_seen, filter.since) {
        (Some(at), ..) => at + 1,
        (None, None, None) => all.len(),
        _ => 0,
    };
    let want: Vec<&str> = all[from..].iter().filter(|event| moved.admits(event)).map(|event| &*event.id).collect();
    assert_eq!(got, want, "each event once, in its order, from the right place on");

    let page = events::list(control, &Paging { limit: 5, bytes_max: usize::MAX, after: after.clone() }, &filter)
        .expect("a page");
    let until = after.as_deref().map_or(all.len(), |id| place(id).unwrap_or(0));
    let want: Vec<&str> =
        all[..until].iter().rev().filter(|event| filter.admits(event)).map(|event| &*event.id).take(5).collect();
    assert_eq!(page.items.iter().map(|event| &*event.id).collect::<Vec<_>>(), want, "the newest first");
}
