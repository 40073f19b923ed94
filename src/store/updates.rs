//! Rows of fleet updates, and the facts about nodes that they need.

use super::query::query;
use super::row::{Json, json};
use super::{Read, Write};
use crate::error::Result;
use crate::model::ids::{NodeId, UpdateId};
use crate::model::updates::{Member, NewUpdate, Update, UpdateState};
use crate::model::{Page, Paging};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Row, named_params};

impl FromSql for UpdateState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        UpdateState::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

fn update(row: &Row) -> rusqlite::Result<Update> {
    Ok(Update {
        id: row.get(0)?,
        channel: row.get(1)?,
        version: row.get(2)?,
        ring_label: row.get(3)?,
        rings: row.get::<_, Json<_>>(4)?.0,
        wait_seconds: row.get(5)?,
        lost_max: row.get(6)?,
        state: row.get(7)?,
        reason: row.get(8)?,
        ring: usize::try_from(row.get::<_, i64>(9)?).unwrap_or(0),
        attempt: row.get(10)?,
        watched: row.get::<_, Json<_>>(11)?.0,
        ring_done_at: row.get(12)?,
        created_at: row.get(13)?,
        updated_at: row.get(14)?,
    })
}

/// A page of updates, newest first.
pub fn page(read: &Read, paging: &Paging) -> Result<Page<Update>> {
    let before = match &paging.after {
        None => i64::MAX,
        Some(id) => read.row(query!("updates", "seq_of"), named_params! { ":id": id }, |r| r.get(0))?.unwrap_or(0),
    };
    let (items, cut_at) = read.page_rows(
        query!("updates", "page"),
        named_params! { ":before": before, ":limit": paging.limit as i64 + 1 },
        paging,
        update,
    )?;
    Ok(Page::cut(items, cut_at, read.count(query!("updates", "count"), &[])?, |u| u.id.as_str()))
}

/// The update of this id.
pub fn by_id(read: &Read, id: &UpdateId) -> Result<Option<Update>> {
    read.row(query!("updates", "by_id"), named_params! { ":id": id }, update)
}

/// The update in progress.
pub fn open(read: &Read) -> Result<Option<Update>> {
    read.row(query!("updates", "open"), &[], update)
}

/// Inserts an update.
pub fn insert(write: &Write, id: &UpdateId, new: &NewUpdate, watched: &[NodeId]) -> Result<()> {
    let row = named_params! {
        ":id": id, ":channel": new.channel, ":version": new.version, ":ring_label": new.ring_label,
        ":rings": json(&new.rings)?,
        ":wait_seconds": new.wait_s, ":lost_max": new.lost_max, ":state": UpdateState::Running.as_str(),
        ":watched": json(&watched)?, ":now": write.now,
    };
    write.run(query!("updates", "insert"), row)?;
    Ok(())
}

/// Stores the progress of an update.
pub fn put(write: &Write, update: &Update) -> Result<()> {
    let row = named_params! {
        ":id": update.id, ":state": update.state.as_str(), ":reason": update.reason, ":ring": update.ring as i64,
        ":attempt": update.attempt,
        ":watched": json(&update.watched)?, ":ring_done_at": update.ring_done_at, ":now": write.now,
    };
    write.run(query!("updates", "update"), row)?;
    Ok(())
}

/// Every node, with the value of this label and the state of its updates.
pub fn members(read: &Read, ring_label: &str) -> Result<Vec<Member>> {
    read.rows(query!("updates", "members"), named_params! { ":label": ring_label }, |r| {
        Ok(Member {
            node_id: r.get(0)?,
            label: r.get(1)?,
            version: r.get(2)?,
            request_id: r.get(3)?,
            request_state: r.get(4)?,
            reason: r.get(5)?,
        })
    })
}
