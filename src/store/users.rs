//! Rows of users.

use super::query::query;
use super::{Read, Write};
use crate::error::Result;
use crate::model::users::{Account, Role, User};
use rusqlite::named_params;
use rusqlite::types::FromSqlError;

/// The account of this name (lower case).
pub fn by_name(read: &Read, name: &str) -> Result<Option<Account>> {
    read.row(query!("users", "by_name"), named_params! { ":name": name }, |r| {
        let word: String = r.get("role")?;
        let role = Role::parse(&word).ok_or(rusqlite::Error::FromSqlConversionFailure(
            3,
            rusqlite::types::Type::Text,
            Box::new(FromSqlError::InvalidType),
        ))?;
        Ok(Account {
            user: User { name: r.get("name")?, role },
            password_hash: r.get("password_hash")?,
            password_version: r.get("password_version")?,
        })
    })
}

/// Gives a user a new password, which ends every session made before. Does nothing, and says so, where the password is not the one
/// of this version any more.
pub fn set_password(write: &Write, name: &str, password_hash: &str, version: i64) -> Result<bool> {
    let row = named_params! { ":name": name, ":password_hash": password_hash, ":version": version, ":now": write.now };
    Ok(write.run(query!("users", "set_password"), row)? == 1)
}
