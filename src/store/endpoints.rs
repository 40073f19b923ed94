//! Rows of endpoints.

use super::query::query;
use super::{Read, Write};
use crate::error::Result;
use crate::model::endpoints::{Endpoint, NewEndpoint};
use crate::model::ids::{EndpointId, ReplicaId};
use crate::model::{Page, Paging};
use rusqlite::{Row, named_params};

fn endpoint(row: &Row) -> rusqlite::Result<Endpoint> {
    Ok(Endpoint {
        id: row.get(0)?,
        replica_id: row.get(1)?,
        address: row.get(2)?,
        port: row.get(3)?,
        healthy: row.get(4)?,
        last_checked_at: row.get(5)?,
        created_at: row.get(6)?,
        updated_at: row.get(7)?,
    })
}

/// A page of endpoints, by id; of one replica or of all.
pub fn page(read: &Read, paging: &Paging, replica_id: Option<&ReplicaId>) -> Result<Page<Endpoint>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit as i64 + 1);
    let wanted = named_params! { ":after": after, ":replica_id": replica_id, ":limit": limit };
    let (items, cut_at) = read.page_rows(query!("endpoints", "page"), wanted, paging, endpoint)?;
    let total = match replica_id {
        None => read.count(query!("endpoints", "count"), &[])?,
        Some(id) => read.count(query!("endpoints", "count_of_replica"), named_params! { ":replica_id": id })?,
    };
    Ok(Page::cut(items, cut_at, total, |e| e.id.as_str()))
}

/// The endpoint of this id.
pub fn by_id(read: &Read, id: &EndpointId) -> Result<Option<Endpoint>> {
    read.row(query!("endpoints", "by_id"), named_params! { ":id": id }, endpoint)
}

/// Inserts an endpoint; 409 if its id exists.
pub fn insert(write: &Write, new: &NewEndpoint) -> Result<()> {
    let row = named_params! {
        ":id": new.id, ":replica_id": new.replica_id, ":address": new.address, ":port": new.port,
        ":healthy": new.healthy, ":now": write.now,
    };
    write.run(query!("endpoints", "insert"), row)?;
    Ok(())
}

/// Stores the result of a health check.
pub fn set_healthy(write: &Write, id: &EndpointId, healthy: bool) -> Result<()> {
    write
        .run(query!("endpoints", "set_healthy"), named_params! { ":id": id, ":healthy": healthy, ":now": write.now })?;
    Ok(())
}

/// Deletes an endpoint. Returns true if it existed.
pub fn delete(write: &Write, id: &EndpointId) -> Result<bool> {
    Ok(write.run(query!("endpoints", "delete"), named_params! { ":id": id })? > 0)
}
