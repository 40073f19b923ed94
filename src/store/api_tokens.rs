//! Rows of API tokens. Only a hash of the secret is stored.

use super::query::query;
use super::{Read, Write};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::api_tokens::ApiToken;
use crate::model::ids::{ApiTokenId, UserName};
use crate::model::users::Role;
use crate::model::{Page, Paging};
use rusqlite::{Row, named_params};

/// A presented token and the current state of its owner.
#[derive(Clone)]
pub struct Holder {
    /// The token's id.
    pub id: ApiTokenId,
    /// The highest role that it allows.
    pub role: Role,
    /// Expiry.
    pub expires_at: Timestamp,
    /// The owner's name.
    pub owner: UserName,
    /// The owner's role.
    pub owner_role: Role,
}

fn token(row: &Row) -> rusqlite::Result<ApiToken> {
    Ok(ApiToken {
        id: row.get("id")?,
        name: row.get("name")?,
        owner: row.get("owner")?,
        role: row.get("role")?,
        expires_at: row.get("expires_at")?,
        last_used_at: row.get("last_used_at")?,
        last_used_address: row.get("last_used_address")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

/// The token whose secret has this hash.
pub fn holder(read: &Read, token_hash: &str) -> Result<Option<Holder>> {
    read.row(query!("api_tokens", "holder"), named_params! { ":token_hash": token_hash }, |r| {
        Ok(Holder { id: r.get(0)?, role: r.get(1)?, expires_at: r.get(2)?, owner: r.get(3)?, owner_role: r.get(4)? })
    })
}

/// A page of tokens, by id; only those of this owner, if given.
pub fn page(read: &Read, paging: &Paging, owner: Option<&UserName>) -> Result<Page<ApiToken>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit as i64 + 1);
    let (items, total) = match owner {
        Some(owner) => {
            let params = named_params! { ":owner": owner, ":after": after, ":limit": limit };
            (read.rows(query!("api_tokens", "page_of_owner"), params, token)?, count_of_owner(read, owner)?)
        }
        None => (
            read.rows(query!("api_tokens", "page"), named_params! { ":after": after, ":limit": limit }, token)?,
            read.count(query!("api_tokens", "count"), &[])?,
        ),
    };
    Ok(Page::cut(items, paging.limit, total, |t| t.id.as_str()))
}

/// Number of a user's tokens.
pub fn count_of_owner(read: &Read, owner: &UserName) -> Result<u64> {
    read.count(query!("api_tokens", "count_of_owner"), named_params! { ":owner": owner })
}

/// The token of this id.
pub fn by_id(read: &Read, id: &ApiTokenId) -> Result<Option<ApiToken>> {
    read.row(query!("api_tokens", "by_id"), named_params! { ":id": id }, token)
}

/// Inserts a token; 409 if its owner has one of this name.
pub fn insert(write: &Write, new: &ApiToken, token_hash: &str) -> Result<()> {
    let row = named_params! {
        ":id": new.id, ":name": new.name, ":owner": new.owner, ":role": new.role.as_str(), ":token_hash": token_hash,
        ":expires_at": new.expires_at, ":now": write.now,
    };
    write.run(query!("api_tokens", "insert"), row)?;
    Ok(())
}

/// Records when and from where a token was last used.
pub fn set_last_used(write: &Write, id: &ApiTokenId, at: Timestamp, address: &str) -> Result<()> {
    write.run(query!("api_tokens", "used"), named_params! { ":id": id, ":at": at, ":address": address }).map(drop)
}

/// Deletes a token. Returns true if it existed.
pub fn delete(write: &Write, id: &ApiTokenId) -> Result<bool> {
    Ok(write.run(query!("api_tokens", "delete"), named_params! { ":id": id })? > 0)
}

/// Deletes every token of a user.
pub fn delete_of_owner(write: &Write, owner: &UserName) -> Result<usize> {
    write.run(query!("api_tokens", "delete_of_owner"), named_params! { ":owner": owner })
}

/// Deletes tokens that expired before this time.
pub fn prune(write: &Write, before: Timestamp) -> Result<usize> {
    write.run(query!("api_tokens", "prune"), named_params! { ":before": before })
}
