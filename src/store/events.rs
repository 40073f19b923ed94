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
