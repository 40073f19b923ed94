//! Rows of events.

use super::changes::Frame;
use super::query::query;
use super::row::{Json, json};
use super::{Read, Write};
use crate::clock::Timestamp;
use crate::error::{Doing, Result};
use crate::model::events::{Cause, Event, EventFilter, NewEvent};
use crate::model::{Page, Paging};
use crate::{caller, crypto, logger};
use rusqlite::{Row, named_params};

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
    let event = new.into_event(now, cause, crypto::uuid);
    let row = named_params! {
        ":id": event.id, ":category": event.category, ":name": event.name, ":level": event.level,
        ":fields": json(&event.fields)?,
        ":actor": event.actor, ":address": event.address, ":request_id": event.request_id, ":now": now,
    };
    write.run(query!("events", "insert"), row)?;
    let frame = frame(write.connection.last_insert_rowid(), event.clone())?;
    write.news.borrow_mut().push(frame);
    Ok(event)
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
    read.row(query!("events", "seq_of"), named_params! { ":id": id }, |r| r.get(0))
}

/// Number before the first event newer than this time; `None` if none is newer.
pub fn seq_before(read: &Read, since: Timestamp) -> Result<Option<i64>> {
    read.row(query!("events", "seq_before"), named_params! { ":since": since }, |r| r.get(0))
}

/// Deletes the oldest events: those older than `before`, and those in excess of `kept`, at most `batch` at once.
/// Returns the number deleted.
pub fn prune(write: &Write, before: Timestamp, kept: i64, batch: usize) -> Result<usize> {
    let total = i64::try_from(write.count(query!("events", "count"), &[])?).unwrap_or(i64::MAX);
    let oldest = write
        .rows(query!("events", "oldest"), named_params! { ":limit": batch as i64 }, |r| Ok((r.get(0)?, r.get(1)?)))?;
    let surplus = usize::try_from(total - kept).unwrap_or(0);
    let aged = oldest.iter().take_while(|(_, at): &&(i64, Timestamp)| *at < before).count();
    let Some((up_to, _)) = surplus.max(aged).min(oldest.len()).checked_sub(1).map(|last| oldest[last]) else {
        return Ok(0);
    };
    write.run(query!("events", "prune"), named_params! { ":up_to": up_to })
}

/// A page of events, newest first. An unknown `after` gives an empty page, because its event is gone. The most
/// selective filter selects the index.
pub fn page(read: &Read, paging: &Paging, filter: &EventFilter) -> Result<Page<Event>> {
    let before = match &paging.after {
        None => i64::MAX,
        Some(id) => seq_of(read, id)?.unwrap_or(0),
    };
    let rows = paging.limit as i64 + 1;
    let EventFilter { category, name, level, node_id, since } = filter;
    let one = |r: &Row| event(r, 0);
    let ((items, limit), total) = if let Some(node_id) = node_id {
        let page = named_params! { ":node_id": node_id, ":name": name, ":category": category, ":level": level,
        ":since": since, ":before": before, ":limit": rows };
        let count = named_params! { ":node_id": node_id, ":name": name, ":category": category, ":level": level,
        ":since": since };
        (
            read.page_rows(query!("events", "page_of_node"), page, paging, one)?,
            read.count(query!("events", "count_of_node"), count)?,
        )
    } else if let Some(name) = name {
        let page = named_params! { ":name": name, ":category": category, ":level": level, ":since": since,
        ":before": before, ":limit": rows };
        let count = named_params! { ":name": name, ":category": category, ":level": level, ":since": since };
        (
            read.page_rows(query!("events", "page_of_name"), page, paging, one)?,
            read.count(query!("events", "count_of_name"), count)?,
        )
    } else if let Some(category) = category {
        let page = named_params! { ":category": category, ":level": level, ":since": since, ":before": before,
        ":limit": rows };
        let count = named_params! { ":category": category, ":level": level, ":since": since };
        (
            read.page_rows(query!("events", "page_of_category"), page, paging, one)?,
            read.count(query!("events", "count_of_category"), count)?,
        )
    } else {
        let page = named_params! { ":level": level, ":since": since, ":before": before, ":limit": rows };
        let total = match level.is_some() || since.is_some() {
            true => {
                read.count(query!("events", "count_filtered"), named_params! { ":level": level, ":since": since })?
            }
            false => read.count(query!("events", "count"), &[])?,
        };
        (read.page_rows(query!("events", "page"), page, paging, one)?, total)
    };
    Ok(Page::cut(items, limit, total, |e| &e.id))
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(pruned(i64::MAX, 2, 3), 2, "what is too old");
        assert_eq!(left().total, 0);
        store.close();
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }
}
