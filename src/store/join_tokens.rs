//! Rows of join tokens. Only a hash of the secret is stored.

use super::query::query;
use super::{Read, Write};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::ids::{JoinTokenId, NodeId};
use crate::model::join_tokens::{Admits, JoinRole, JoinToken};
use crate::model::{Page, Paging};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Row, named_params};

impl FromSql for JoinRole {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        JoinRole::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

fn token(row: &Row) -> rusqlite::Result<JoinToken> {
    Ok(JoinToken {
        id: row.get("id")?,
        role: row.get("role")?,
        node_id: row.get("node_id")?,
        mesh_ip: row.get("mesh_ip")?,
        expires_at: row.get("expires_at")?,
        used_at: row.get("used_at")?,
        used_by: row.get("used_by")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

/// A page of tokens, by id.
pub fn page(read: &Read, paging: &Paging) -> Result<Page<JoinToken>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit + 1);
    let items =
        read.rows(query!("join_tokens", "page"), named_params! { ":after": after, ":limit": limit as i64 }, token)?;
    Ok(Page::cut(items, paging.limit, read.count(query!("join_tokens", "count"), &[])?, |t| t.id.as_str()))
}

/// The token whose secret has this hash.
pub fn by_hash(read: &Read, token_hash: &str) -> Result<Option<JoinToken>> {
    read.row(query!("join_tokens", "by_hash"), named_params! { ":token_hash": token_hash }, token)
}

/// Inserts a token.
pub fn insert(write: &Write, id: &JoinTokenId, token_hash: &str, admits: &Admits, expires_at: Timestamp) -> Result<()> {
    let row = named_params! {
        ":id": id, ":token_hash": token_hash, ":role": admits.role.as_str(), ":node_id": admits.node_id,
        ":mesh_ip": admits.mesh_ip,
        ":expires_at": expires_at, ":now": write.now,
    };
    write.run(query!("join_tokens", "insert"), row)?;
    Ok(())
}

/// Marks a token as used, unless it is used or expired. Of two attempts, one succeeds.
pub fn use_up(write: &Write, id: &JoinTokenId, used_by: &NodeId) -> Result<bool> {
    Ok(write
        .run(query!("join_tokens", "use_up"), named_params! { ":id": id, ":used_by": used_by, ":now": write.now })?
        == 1)
}

/// Deletes a token. Returns true if it existed.
pub fn delete(write: &Write, id: &JoinTokenId) -> Result<bool> {
    Ok(write.run(query!("join_tokens", "delete"), named_params! { ":id": id })? > 0)
}

/// Deletes tokens that expired before this time.
pub fn prune(write: &Write, before: Timestamp) -> Result<usize> {
    write.run(query!("join_tokens", "prune"), named_params! { ":before": before })
}
