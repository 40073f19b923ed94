//! Rows of requests for snapshots and bundles.

use super::query::query;
use super::{Read, Write};
use crate::error::Result;
use crate::model::ids::RunId;
use crate::model::runs::{Kind, NewRun, Run, RunStatus};
use crate::model::{Page, Paging};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Row, named_params};

impl FromSql for RunStatus {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        RunStatus::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

fn run(kind: Kind) -> impl Fn(&Row) -> rusqlite::Result<Run> {
    move |row| {
        Ok(Run {
            kind,
            id: row.get(0)?,
            status: row.get(1)?,
            result: row.get(2)?,
            requested_by: row.get(3)?,
            error: row.get(4)?,
            with_values: row.get(5)?,
            created_at: row.get(6)?,
            updated_at: row.get(7)?,
        })
    }
}

/// A page of requests, newest first.
pub fn page(read: &Read, kind: Kind, paging: &Paging) -> Result<Page<Run>> {
    let word = kind.as_str();
    let before = match &paging.after {
        None => i64::MAX,
        Some(id) => {
            read.row(query!("runs", "seq_of"), named_params! { ":kind": word, ":id": id }, |r| r.get(0))?.unwrap_or(0)
        }
    };
    let wanted = named_params! { ":kind": word, ":before": before, ":limit": paging.limit as i64 + 1 };
    let (items, cut_at) = read.page_rows(query!("runs", "page"), wanted, paging, run(kind))?;
    Ok(Page::cut(items, cut_at, read.count(query!("runs", "count"), named_params! { ":kind": word })?, |r| {
        r.id.as_str()
    }))
}

/// The request of this id.
pub fn by_id(read: &Read, kind: Kind, id: &RunId) -> Result<Option<Run>> {
    read.row(query!("runs", "by_id"), named_params! { ":kind": kind.as_str(), ":id": id }, run(kind))
}

/// Inserts a request.
pub fn insert(write: &Write, kind: Kind, id: &RunId, new: &NewRun) -> Result<()> {
    let row = named_params! {
        ":kind": kind.as_str(), ":id": id, ":requested_by": new.requested_by, ":with_values": new.with_values,
        ":now": write.now,
    };
    write.run(query!("runs", "insert"), row)?;
    Ok(())
}

/// Stores the reported state of a request.
pub fn update(write: &Write, run: &Run) -> Result<()> {
    let row = named_params! {
        ":kind": run.kind.as_str(), ":id": run.id, ":status": run.status.as_str(), ":result": run.result,
        ":error": run.error, ":now": write.now,
    };
    write.run(query!("runs", "update"), row)?;
    Ok(())
}

/// Deletes a request.
pub fn delete(write: &Write, kind: Kind, id: &RunId) -> Result<()> {
    write.run(query!("runs", "delete"), named_params! { ":kind": kind.as_str(), ":id": id })?;
    Ok(())
}

/// The oldest requests with this status.
pub fn of_status(read: &Read, kind: Kind, status: RunStatus, limit: usize) -> Result<Vec<Run>> {
    let wanted = named_params! { ":kind": kind.as_str(), ":status": status.as_str(), ":limit": limit as i64 };
    read.rows(query!("runs", "of_status"), wanted, run(kind))
}
