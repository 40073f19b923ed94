//! Rows of router assignments.

use super::query::query;
use super::{Read, Write};
use crate::error::Result;
use crate::model::ids::{AssignmentId, NodeId};
use crate::model::routers::{NewRouterAssignment, RouterAssignment};
use crate::model::{Page, Paging};
use rusqlite::{Row, named_params};

fn assignment(row: &Row) -> rusqlite::Result<RouterAssignment> {
    Ok(RouterAssignment {
        id: row.get(0)?,
        node_id: row.get(1)?,
        primary_router_id: row.get(2)?,
        secondary_router_id: row.get(3)?,
        created_at: row.get(4)?,
        updated_at: row.get(5)?,
    })
}

/// A page of assignments, by id; of one node or of all.
pub fn page(read: &Read, paging: &Paging, node_id: Option<&NodeId>) -> Result<Page<RouterAssignment>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit as i64 + 1);
    let wanted = named_params! { ":after": after, ":node_id": node_id, ":limit": limit };
    let (items, cut_at) = read.page_rows(query!("routers", "page"), wanted, paging, assignment)?;
    let total = match node_id {
        None => read.count(query!("routers", "count"), &[])?,
        Some(id) => read.count(query!("routers", "count_of_node"), named_params! { ":node_id": id })?,
    };
    Ok(Page::cut(items, cut_at, total, |a| a.id.as_str()))
}

/// The assignment of this id.
pub fn by_id(read: &Read, id: &AssignmentId) -> Result<Option<RouterAssignment>> {
    read.row(query!("routers", "by_id"), named_params! { ":id": id }, assignment)
}

/// Number of assignments that refer to this node, as routed node or as router.
pub fn count_of_node(read: &Read, node_id: &NodeId) -> Result<u64> {
    read.count(query!("routers", "naming"), named_params! { ":node_id": node_id })
}

/// Inserts an assignment; 409 if its id exists.
pub fn insert(write: &Write, new: &NewRouterAssignment) -> Result<()> {
    let row = named_params! {
        ":id": new.id, ":node_id": new.node_id, ":primary_router_id": new.primary_router_id,
        ":secondary_router_id": new.secondary_router_id, ":now": write.now,
    };
    write.run(query!("routers", "insert"), row)?;
    Ok(())
}

/// Deletes an assignment. Returns true if it existed.
pub fn delete(write: &Write, id: &AssignmentId) -> Result<bool> {
    Ok(write.run(query!("routers", "delete"), named_params! { ":id": id })? > 0)
}

/// Deletes every assignment that refers to this node.
pub fn delete_of_node(write: &Write, node_id: &NodeId) -> Result<usize> {
    write.run(query!("routers", "delete_naming"), named_params! { ":node_id": node_id })
}
