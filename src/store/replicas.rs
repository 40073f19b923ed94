//! Rows of replicas.

use super::query::query;
use super::row::{Column, Json, json};
use super::{Read, Write};
use crate::error::Result;
use crate::model::ids::{NodeId, ReplicaId, ServiceId};
use crate::model::replicas::{Facts, ListedReplica, Replica};
use crate::model::{Page, Paging};
use rusqlite::{Row, named_params};
use std::sync::Once;

/// A row of any of the queries, by position.
fn replica<S: Column, W: Column>(row: &Row) -> rusqlite::Result<Replica<S, W>> {
    Ok(Replica {
        id: row.get(0)?,
        service_id: row.get(1)?,
        node_id: row.get(2)?,
        desired_state: row.get(3)?,
        status: row.get::<_, Json<_>>(4)?.0,
        placement: placement(row),
        created_at: row.get(6)?,
        updated_at: row.get(7)?,
    })
}

/// The reason for the placement; `None` if it cannot be read: one damaged row must not stop the scheduler.
fn placement<W: Column>(row: &Row) -> Option<W> {
    static LOGGED: Once = Once::new();
    let why = row.get::<_, Option<Json<W>>>(5);
    if let Err(e) = &why {
        let replica_id = row.get::<_, ReplicaId>(0).unwrap_or_default();
        LOGGED.call_once(|| {
            log::warn!(target: "store", event = "replica.placement_unread", replica_id, error:% = e; "Could not \
                read the reason for a placement; the replica counts as placed by a client. Others are not logged");
        });
    }
    why.ok().flatten().map(|why| why.0)
}

/// A page of replicas, by id; of one service, of one node, or of all.
pub fn page(
    read: &Read,
    paging: &Paging,
    service_id: Option<&ServiceId>,
    node_id: Option<&NodeId>,
) -> Result<Page<ListedReplica>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit as i64 + 1);
    let ((items, cut_at), total) = match (service_id, node_id) {
        (None, None) => (
            read.page_rows(
                query!("replicas", "page"),
                named_params! { ":after": after, ":limit": limit },
                paging,
                replica,
            )?,
            read.count(query!("replicas", "count"), &[])?,
        ),
        (None, Some(node)) => (
            read.page_rows(
                query!("replicas", "page_of_node"),
                named_params! { ":node_id": node, ":after": after, ":limit": limit },
                paging,
                replica,
            )?,
            read.count(query!("replicas", "count_of_node"), named_params! { ":node_id": node })?,
        ),
        (Some(service), node) => (
            read.page_rows(
                query!("replicas", "page_of_service"),
                named_params! { ":service_id": service, ":node_id": node, ":after": after, ":limit": limit },
                paging,
                replica,
            )?,
            read.count(
                query!("replicas", "count_of_service"),
                named_params! { ":service_id": service, ":node_id": node },
            )?,
        ),
    };
    Ok(Page::cut(items, cut_at, total, |r| r.id.as_str()))
}

/// Every replica, with the part of its status that matters for placement: the scheduler reads them all and needs no
/// more.
pub fn facts(read: &Read) -> Result<Vec<Replica<Facts>>> {
    read.rows(query!("replicas", "all"), &[], replica)
}

/// Every replica of a node, with the same part of its status.
pub fn of_node(read: &Read, node_id: &NodeId) -> Result<Vec<Replica<Facts>>> {
    read.rows(query!("replicas", "of_node"), named_params! { ":node_id": node_id }, replica)
}

/// The replica of this id.
pub fn by_id(read: &Read, id: &ReplicaId) -> Result<Option<Replica>> {
    read.row(query!("replicas", "by_id"), named_params! { ":id": id }, replica)
}

/// Inserts a replica; 409 if its id exists.
pub fn insert(write: &Write, replica: &Replica) -> Result<()> {
    let placement = replica.placement.as_ref().map(json).transpose()?;
    let row = named_params! {
        ":id": replica.id, ":service_id": replica.service_id, ":node_id": replica.node_id,
        ":desired_state": replica.desired_state,
        ":status": json(&replica.status)?, ":placement": placement, ":now": write.now,
    };
    write.run(query!("replicas", "insert"), row)?;
    write.changed();
    write.placed(&replica.node_id);
    Ok(())
}

/// Stores a changed replica.
pub fn update(write: &Write, replica: &Replica) -> Result<()> {
    let placement = replica.placement.as_ref().map(json).transpose()?;
    let row = named_params! {
        ":id": replica.id, ":node_id": replica.node_id, ":desired_state": replica.desired_state,
        ":status": json(&replica.status)?,
        ":placement": placement, ":now": write.now,
    };
    write.run(query!("replicas", "update"), row)?;
    write.changed();
    write.placed(&replica.node_id);
    Ok(())
}

/// Stores the status of a replica that its node has reported; `places` is true if it matters for placement. The node
/// has nothing to learn from it.
pub fn report(write: &Write, replica: &Replica, places: bool) -> Result<()> {
    let row = named_params! { ":id": replica.id, ":status": json(&replica.status)?, ":now": write.now };
    write.run(query!("replicas", "report"), row)?;
    if places {
        write.changed();
    }
    Ok(())
}

/// Deletes a replica and its endpoints. Returns true if it existed.
pub fn delete(write: &Write, id: &ReplicaId) -> Result<bool> {
    let gone = write.run(query!("replicas", "delete"), named_params! { ":id": id })? > 0;
    write.changed();
    Ok(gone)
}
