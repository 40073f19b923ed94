//! Rows of events.

use super::query::query;
use super::row::{json, object};
use super::{Read, Write};
use crate::crypto;
use crate::error::Result;
use crate::model::events::{Event, NewEvent};
use crate::model::{Page, Paging};
use rusqlite::{Row, named_params};

fn event(row: &Row) -> rusqlite::Result<Event> {
    Ok(Event {
        id: row.get("id")?,
        category: row.get("category")?,
        name: row.get("name")?,
        level: row.get("level")?,
        fields: object(row, "fields")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("created_at")?,
    })
}

/// Records an event in the transaction that it tells of; 409 when its id is taken.
pub fn record(write: &Write, new: NewEvent) -> Result<Event> {
    let event = Event {
        id: new.id.unwrap_or_else(crypto::uuid),
        category: new.category,
        name: new.name,
        level: new.level,
        fields: new.fields,
        created_at: write.now,
        updated_at: write.now,
    };
    let row = named_params! {
        ":id": event.id, ":category": event.category, ":name": event.name, ":level": event.level, ":fields": json(&event.fields)?, ":now": write.now,
    };
    write.run(query!("events", "insert"), row)?;
    Ok(event)
}

/// Forgets all but the newest so many; tells how many went.
pub fn prune(write: &Write, kept: i64) -> Result<usize> {
    write.run(query!("events", "prune"), named_params! { ":kept": kept })
}

/// A page of events, newest first. An `after` that is not there gives an empty page: what it named is gone.
pub fn page(read: &Read, paging: &Paging, category: Option<&str>) -> Result<Page<Event>> {
    let before = match &paging.after {
        None => i64::MAX,
        Some(id) => read.row(query!("events", "seq_of"), named_params! { ":id": id }, |r| r.get(0))?.unwrap_or(0),
    };
    let limit = paging.limit as i64 + 1;
    let (items, total) = match category {
        None => (
            read.rows(query!("events", "page"), named_params! { ":before": before, ":limit": limit }, event)?,
            read.count(query!("events", "count"), &[])?,
        ),
        Some(category) => (
            read.rows(
                query!("events", "page_of_category"),
                named_params! { ":category": category, ":before": before, ":limit": limit },
                event,
            )?,
            read.count(query!("events", "count_of_category"), named_params! { ":category": category })?,
        ),
    };
    Ok(Page::cut(items, paging.limit, total, |e| &e.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{QueryLog, Store};

    #[test]
    fn pruning_keeps_the_newest() {
        let path = std::env::temp_dir().join(format!("uptimemesh-events-{}.db", std::process::id()));
        let store = Store::open(&path, 1, QueryLog::default()).expect("a database");
        let name = |i: i32| NewEvent { id: Some(format!("e{i}")), ..NewEvent::info("c", "n", serde_json::Value::Null) };
        store.write(move |w| (0..5).try_for_each(|i| record(w, name(i)).map(drop))).expect("five events");
        assert_eq!(store.write(|w| prune(w, 2)).expect("a prune"), 3);
        assert_eq!(store.write(|w| prune(w, 2)).expect("a prune"), 0);
        let left = store.read(|r| page(r, &Paging { limit: 10, after: None }, None)).expect("a page");
        assert_eq!(left.items.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["e4", "e3"]);
        store.close();
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }
}
