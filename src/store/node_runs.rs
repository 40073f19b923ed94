//! Rows of nodes whose identity is used by two machines.

use super::query::query;
use super::row::{Json, json};
use super::{Read, Write};
use crate::error::Result;
use crate::model::ids::NodeId;
use crate::model::node_runs::Conflict;
use rusqlite::named_params;

/// Every such node, by its id.
pub fn all(read: &Read) -> Result<Vec<(NodeId, Conflict)>> {
    read.rows(query!("node_runs", "all"), &[], |row| {
        let conflict = Conflict {
            kept: row.get::<_, Json<_>>(1)?.0,
            refused: row.get::<_, Json<_>>(2)?.0,
            found_at: row.get(3)?,
            decided_at: row.get(4)?,
        };
        Ok((row.get(0)?, conflict))
    })
}

/// Stores what is known of a node's holders.
pub fn put(write: &Write, node_seq: i64, conflict: &Conflict) -> Result<()> {
    let row = named_params! {
        ":seq": node_seq, ":kept": json(&conflict.kept)?, ":refused": json(&conflict.refused)?,
        ":found_at": conflict.found_at,
        ":decided_at": conflict.decided_at,
    };
    write.run(query!("node_runs", "put"), row)?;
    Ok(())
}

/// Deletes a node's holders.
pub fn delete(write: &Write, node_seq: i64) -> Result<()> {
    write.run(query!("node_runs", "delete"), named_params! { ":seq": node_seq })?;
    Ok(())
}
