//! Rows of events.

use super::changes::Frame;
use super::query::query;
use super::row::{Json, json};
use super::{Read, Write};
use crate::clock::Timestamp;
use crate::error::{Doing, Error, Result};
use crate::model::events::{Cause, Event, EventFilter, NewEvent};
use crate::model::{Page, Paging};
use crate::{caller, crypto, logger};
use rusqlite::{Row, named_params};

/// Position of the number in an id: the last group of a UUID.
const NUMBER_AT: usize = 24;

/// Columns from `from` on: id, category, name, level, fields, created_at, actor, address, request_id.
fn event(row: &Row, from: usize) -> rusqlite::Result<Event> {
    Ok(Event {
        id: row.get(from)?,
        category: row.get(from + 1)?,
        name: row.get(from + 2)?,
        level: row.get(from + 3)?,
        fields: row.get::<_, Json<_>>(from + 4)?.0,
        created_at: row.get(from + 5)?,
        updated_at: row.get(from + 5)?,
        actor: row.get(from + 6)?,
        address: row.get(from + 7)?,
        request_id: row.get(from + 8)?,
    })
}

/// Records an event and its caller in the transaction of its cause; 409 if its id exists. Readers of the stream get it
/// after the commit.
pub fn record(write: &Write, new: NewEvent) -> Result<Event> {
    let now = write.event_moment();
    // The writer thread works for the caller that queued this write.
    let caller = caller::current();
    let (address, request_id) =
        (caller.as_ref().map(|c| c.address.to_string()), caller.as_ref().map(|_| logger::request_id()));
    let actor = caller.map_or("system".to_string(), |c| c.actor);
    let cause = Cause { actor, address, request_id: request_id.filter(|id| !id.is_empty()) };
    let seq = newest_seq(write)? + 1;
    let mut is_clients = true;
    let event = new.into_event(now, cause, || {
        is_clients = false;
        numbered_id(seq)
    });
    // A client's id may end with this number, too, and so may that of an earlier event.
    if is_clients && seq_of(write, &event.id)?.is_some() {
        return Err(Error::Conflict("Event id already exists".to_string()));
    }
    let id_given = number_in(&event.id) != Some(seq);
    let row = named_params! {
        ":seq": seq, ":id": event.id, ":id_given": id_given, ":category": event.category, ":name": event.name,
        ":level": event.level, ":fields": json(&event.fields)?,
        ":actor": event.actor, ":address": event.address, ":request_id": event.request_id, ":now": now,
    };
    write.run(query!("events", "insert"), row)?;
    let frame = frame(seq, event.clone())?;
    write.news.borrow_mut().push(frame);
    Ok(event)
}

/// An id that ends with the event's number, in hex: so it is found without an index of random ids, each of whose
/// entries would cost a page.
fn numbered_id(seq: i64) -> String {
    format!("{}{seq:012x}", &crypto::uuid()[..NUMBER_AT])
}

/// The number at the end of an id of this form, which a client may have written, too.
fn number_in(id: &str) -> Option<i64> {
    i64::from_str_radix(id.get(NUMBER_AT..).filter(|end| end.len() == 12)?, 16).ok()
}

fn frame(seq: i64, event: Event) -> Result<Frame> {
    let json = serde_json::to_string(&event).doing("write an event as JSON")?;
    Ok(Frame { seq, event, json })
}

/// The oldest events after this number, at most `limit`.
pub fn following(read: &Read, after: i64, limit: usize) -> Result<Vec<Frame>> {
    let wanted = named_params! { ":after": after, ":limit": limit as i64 };
    let rows = read.rows(query!("events", "following"), wanted, |r| Ok((r.get(0)?, event(r, 1)?)))?;
    rows.into_iter().map(|(seq, event)| frame(seq, event)).collect()
}

/// Number of the newest event; 0 if there is none.
pub fn newest_seq(read: &Read) -> Result<i64> {
    Ok(read.row(query!("events", "newest_seq"), &[], |r| r.get(0))?.unwrap_or(0))
}

/// Number of the event with this id.
pub fn seq_of(read: &Read, id: &str) -> Result<Option<i64>> {
    read.row(query!("events", "seq_of"), named_params! { ":seq": number_in(id), ":id": id }, |r| r.get(0))
}

/// Number before the first event newer than this time; `None` if none is newer.
pub fn seq_before(read: &Read, since: Timestamp) -> Result<Option<i64>> {
    read.row(query!("events", "seq_before"), named_params! { ":since": since }, |r| r.get(0))
}

/// Deletes the oldest events: those older than `before`, and those in excess of `kept`, at most `batch` at once. The
/// newest stays, whatever its age: numbers continue from it. Returns the number deleted.
pub fn prune(write: &Write, before: Timestamp, kept: i64, batch: usize) -> Result<usize> {
    let total = i64::try_from(write.count(query!("events", "count"), &[])?).unwrap_or(i64::MAX);
    let oldest = write
        .rows(query!("events", "oldest"), named_params! { ":limit": batch as i64 }, |r| Ok((r.get(0)?, r.get(1)?)))?;
    let surplus = usize::try_from(total - kept.max(1)).unwrap_or(0);
    let aged = oldest.iter().take_while(|(_, at): &&(i64, Timestamp)| *at < before).count();
    let deletable = usize::try_from(total - 1).unwrap_or(0).min(oldest.len());
    let Some((up_to, _)) = surplus.max(aged).min(deletable).checked_sub(1).map(|last| oldest[last]) else {
        return Ok(0);
    };
    let gone = write.run(query!("events", "prune"), named_params! { ":up_to": up_to })?;
    write.run(query!("events", "prune_blocks"), named_params! { ":up_to": up_to })?;
    Ok(gone)
}

/// The key in `event_finds` of the most selective field of a filter, and true if no other field needs a look at the
/// events. The empty key finds every event of a block.
fn key(filter: &EventFilter) -> (String, bool) {
    let EventFilter { category, name, level, node_id, .. } = filter;
    let line = |field: &str, value: &Option<String>| value.as_ref().map(|value| format!("{field}={value}"));
    let level = line("level", &level.as_ref().map(|level| level.to_ascii_lowercase()));
    match (line("node", node_id), line("name", name), line("category", category), level) {
        (Some(node), name, category, level) => (node, name.or(category).or(level).is_none()),
        (None, Some(name), category, level) => (name, category.or(level).is_none()),
        // Many events share these two, so that together they have a key of their own.
        (None, None, category, level) => ([category, level].into_iter().flatten().collect::<Vec<_>>().join("\n"), true),
    }
}

/// A page of events, newest first. An unknown `after` gives an empty page, because its event is gone.
pub fn page(read: &Read, paging: &Paging, filter: &EventFilter) -> Result<Page<Event>> {
    let before = match &paging.after {
        None => i64::MAX,
        Some(id) => seq_of(read, id)?.unwrap_or(0),
    };
    let limit = paging.limit as i64 + 1;
    let EventFilter { category, name, level, node_id, since } = filter;
    let (key, is_whole) = key(filter);
    let one = |r: &Row| event(r, 0);
    if key.is_empty() && since.is_none() {
        let page = named_params! { ":before": before, ":limit": limit };
        let (items, limit) = read.page_rows(query!("events", "page"), page, paging, one)?;
        return Ok(Page::cut(items, limit, read.count(query!("events", "count"), &[])?, |e| &e.id));
    }
    let since = since.unwrap_or(Timestamp(i64::MIN));
    let page = named_params! { ":key": key, ":since": since, ":category": category, ":name": name, ":level": level,
    ":node_id": node_id, ":before": before, ":limit": limit };
    let count = named_params! { ":key": key, ":since": since, ":category": category, ":name": name, ":level": level,
    ":node_id": node_id };
    let (items, limit) = read.page_rows(query!("events", "page_matching"), page, paging, one)?;
    let total = if is_whole {
        read.count(query!("events", "count_of_key"), count)?
    } else {
        read.count(query!("events", "count_matching"), count)?
    };
    Ok(Page::cut(items, limit, total, |e| &e.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::events::ClientEvent;
    use crate::model::events::catalogue::NODE_CORDON;
    use crate::store::{QueryLog, Store};

    #[test]
    fn pruning_keeps_the_newest_and_the_young() {
        let path = std::env::temp_dir().join(format!("uptimemesh-events-{}.db", std::process::id()));
        let store = Store::open(&path, 1, QueryLog::default()).expect("a database");
        let name = |i: i32| NODE_CORDON.with(serde_json::json!({"node_id": "n"})).with_id(format!("e{i}"));
        store.write(move |w| (0..6).try_for_each(|i| record(w, name(i)).map(drop))).expect("six events");
        let pruned = |before: i64, kept: i64, batch: usize| {
            store.write(move |w| prune(w, Timestamp(before), kept, batch)).expect("a prune")
        };
        assert_eq!(pruned(0, 6, 10), 0);
        assert_eq!(pruned(0, 2, 3), 3, "a batch at once");
        assert_eq!(pruned(0, 2, 3), 1);
        let left = || store.read(|r| page(r, &Paging::first(10), &EventFilter::default())).expect("a page");
        assert_eq!(left().items.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["e5", "e4"]);
        assert_eq!(left().total, 2);
        assert_eq!(pruned(i64::MAX, 2, 3), 1, "what is too old, except the newest");
        assert_eq!(left().items.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["e5"]);
        assert_eq!(left().total, 1);
        store.close();
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }

    #[test]
    fn an_id_that_ends_with_a_later_number_is_used_once() {
        let path = std::env::temp_dir().join(format!("uptimemesh-event-ids-{}.db", std::process::id()));
        let store = Store::open(&path, 1, QueryLog::default()).expect("a database");
        let write = || {
            let id = numbered_id(2).replacen(|_| true, "x", NUMBER_AT);
            store.write(move |w| record(w, NODE_CORDON.with(serde_json::json!({"node_id": "n"})).with_id(id)))
        };
        write().expect("the first event");
        assert_eq!(write().expect_err("its id exists").status(), 409);
        store.close();
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }

    /// The page and the total that a filter gives, by looking at every event.
    fn by_reading(all: &[Event], filter: &EventFilter, after: Option<&str>, limit: usize) -> (Vec<String>, u64) {
        let matching: Vec<&Event> = all.iter().rev().filter(|e| filter.admits(e)).collect();
        let from = after.map_or(i64::MAX, |id| all.iter().position(|e| e.id == id).expect("an event") as i64);
        let before = |e: &&&Event| (all.iter().position(|a| a.id == e.id).expect("an event") as i64) < from;
        let page = matching.iter().filter(before).take(limit).map(|e| e.id.clone()).collect();
        (page, matching.len() as u64)
    }

    #[test]
    fn filters_find_across_blocks_what_reading_all_events_finds() {
        let path = std::env::temp_dir().join(format!("uptimemesh-blocks-{}.db", std::process::id()));
        let store = Store::open(&path, 1, QueryLog::default()).expect("a database");
        let event = move |i| NewEvent::of_client(client(i)).expect("a category of its own");
        let mut all = Vec::new();
        for part in 0..7 {
            let these = part * 500..(part + 1) * 500;
            all.extend(
                store.write(move |w| these.map(|i| record(w, event(i))).collect::<Result<Vec<_>>>()).expect("events"),
            );
        }
        // A clock that was set back: later events are older.
        let back = "UPDATE events SET created_at = created_at - 60000000 WHERE seq BETWEEN 1500 AND 2500;
            UPDATE event_blocks SET oldest_at = oldest_at - 60000000 WHERE block IN (1, 2)";
        store
            .write(|w| {
                w.connection.execute_batch(back).expect("older times");
                Ok(())
            })
            .expect("a change");
        all[1499..2500].iter_mut().for_each(|e| e.created_at = Timestamp(e.created_at.0 - 60_000_000));
        let some = |text: &str| Some(text.to_string());
        let filters = |since: Option<Timestamp>| {
            let any = EventFilter { since, ..EventFilter::default() };
            [
                EventFilter { category: some("b"), ..any.clone() },
                EventFilter { name: some("n3"), ..any.clone() },
                EventFilter { level: some("INFO"), ..any.clone() },
                EventFilter { category: some("a"), level: some("Info"), ..any.clone() },
                EventFilter { node_id: some("rare"), ..any.clone() },
                EventFilter { node_id: some("usual"), category: some("a"), ..any.clone() },
                EventFilter { node_id: some("nowhere"), ..any.clone() },
                EventFilter { category: some("c"), name: some("n5"), level: some("warning"), ..any.clone() },
                any,
            ]
        };
        let compare = |all: &[Event]| {
            let moments = [None, Some(all[all.len() / 5].created_at), Some(all[2000 - (3500 - all.len())].created_at)];
            for filter in moments.into_iter().flat_map(filters) {
                for after in [None, Some(all[all.len() - 40].id.as_str()), Some(all[all.len() / 2].id.as_str())] {
                    let paging = Paging { after: after.map(str::to_string), ..Paging::first(90) };
                    let found = store.read(|r| page(r, &paging, &filter)).expect("a page");
                    let ids: Vec<String> = found.items.iter().map(|e| e.id.clone()).collect();
                    assert_eq!((ids, found.total), by_reading(all, &filter, after, 90), "{filter:?} after {after:?}");
                }
                let Some(since) = filter.since else { continue };
                let first = all.iter().position(|e| e.created_at > since).map(|at| (at + 3500 - all.len()) as i64);
                assert_eq!(store.read(|r| seq_before(r, since)).expect("a number"), first, "{since}");
            }
        };
        compare(&all);
        for event in all.iter().step_by(331).chain(&all[7..8]) {
            let at = all.iter().position(|e| e.id == event.id).map(|at| at as i64 + 1);
            assert_eq!(store.read(|r| seq_of(r, &event.id)).expect("a number"), at, "{}", event.id);
            let again = NewEvent::of_client(client_of(event)).expect("a category of its own");
            let twice = store.write(|w| record(w, again)).expect_err("its id exists");
            assert_eq!(twice.status(), 409, "{twice}");
        }
        // The oldest block is cut, and those before it are gone.
        store.write(|w| prune(w, Timestamp(0), 2200, 5000)).expect("a prune");
        compare(&all[1300..]);
        store.close();
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }

    /// A client's event: ids, categories, names, levels and nodes in a mix.
    fn client(i: usize) -> ClientEvent {
        ClientEvent {
            id: (i % 50 == 7).then(|| format!("mine-{i}")),
            category: ["a", "b", "c"][i % 3].to_string(),
            name: format!("n{}", i % 7),
            level: ["info", "Info", "WARNING"][i / 500 % 3].to_string(),
            fields: [("node_id".to_string(), if i % 997 == 3 { "rare" } else { "usual" }.into())].into_iter().collect(),
        }
    }

    /// The same event, sent by a client.
    fn client_of(event: &Event) -> ClientEvent {
        let event = event.clone();
        let id = Some(event.id);
        ClientEvent { id, category: event.category, name: event.name, level: event.level, fields: event.fields }
    }
}
