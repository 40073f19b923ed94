//! Rows of users.

use super::query::query;
use super::{Read, Write};
use crate::error::Result;
use crate::model::ids::UserName;
use crate::model::users::{Account, Person, Role};
use crate::model::{Page, Paging};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Row, named_params};

impl FromSql for Role {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Role::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

fn person(row: &Row) -> rusqlite::Result<Person> {
    Ok(Person {
        name: row.get("name")?,
        role: row.get("role")?,
        must_change_password: row.get("must_change_password")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

/// The account of this name (lower case).
pub fn by_name(read: &Read, name: &UserName) -> Result<Option<Account>> {
    read.row(query!("users", "by_name"), named_params! { ":name": name }, |r| {
        Ok(Account {
            person: person(r)?,
            password_hash: r.get("password_hash")?,
            password_version: r.get("password_version")?,
            password_is_seeded: r.get("password_is_seeded")?,
        })
    })
}

/// A page of users, by name.
pub fn page(read: &Read, paging: &Paging) -> Result<Page<Person>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit as i64 + 1);
    let items = read.rows(query!("users", "page"), named_params! { ":after": after, ":limit": limit }, person)?;
    Ok(Page::cut(items, paging.limit, read.count(query!("users", "count"), &[])?, |u| u.name.as_str()))
}

/// Number of admins other than this user.
pub fn other_admins(read: &Read, name: &UserName) -> Result<u64> {
    read.count(query!("users", "other_admins"), named_params! { ":name": name })
}

/// True if a user still has the initial password.
pub fn has_seeded_password(read: &Read) -> Result<bool> {
    Ok(read.count(query!("users", "has_seeded_password"), &[])? > 0)
}

/// Inserts a user; 409 if the name exists.
pub fn insert(write: &Write, name: &UserName, password_hash: &str, role: Role, must_change: bool) -> Result<()> {
    let row = named_params! {
        ":name": name, ":password_hash": password_hash, ":role": role.as_str(), ":must_change": must_change,
        ":now": write.now,
    };
    write.run(query!("users", "insert"), row)?;
    Ok(())
}

/// Sets a user's password. Returns false and changes nothing if the stored password has another version by now.
pub fn set_password(
    write: &Write,
    name: &UserName,
    password_hash: &str,
    version: i64,
    must_change: bool,
) -> Result<bool> {
    let row = named_params! {
        ":name": name, ":password_hash": password_hash, ":version": version, ":must_change": must_change,
        ":now": write.now,
    };
    Ok(write.run(query!("users", "set_password"), row)? == 1)
}

/// Sets a user's role.
pub fn set_role(write: &Write, name: &UserName, role: Role) -> Result<()> {
    write
        .run(query!("users", "set_role"), named_params! { ":name": name, ":role": role.as_str(), ":now": write.now })
        .map(drop)
}

/// Deletes a user with all sessions and tokens. Returns true if it existed.
pub fn delete(write: &Write, name: &UserName) -> Result<bool> {
    Ok(write.run(query!("users", "delete"), named_params! { ":name": name })? > 0)
}
