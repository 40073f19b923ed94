//! Rows of the scheduler's brake: the nodes that were alive when it engaged.

use super::query::query;
use super::{Read, Write};
use crate::error::Result;
use crate::model::ids::NodeId;
use rusqlite::named_params;

/// The nodes that the brake holds; empty while it is off.
pub fn fleet(read: &Read) -> Result<Vec<NodeId>> {
    read.rows(query!("brakes", "fleet"), &[], |row| row.get(0))
}

/// Replaces these nodes.
pub fn replace<'a>(write: &Write, fleet: impl Iterator<Item = &'a NodeId>) -> Result<()> {
    write.run(query!("brakes", "release"), &[])?;
    for node_id in fleet {
        write.run(query!("brakes", "put"), named_params! { ":node_id": node_id })?;
    }
    Ok(())
}
