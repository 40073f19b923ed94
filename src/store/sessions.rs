//! Rows of sessions.

use super::query::query;
use super::{Read, Write};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::ids::{SessionId, UserName};
use crate::model::sessions::Session;
use crate::model::users::Role;
use crate::model::{Page, Paging};
use rusqlite::{Row, named_params};

/// An open session, and the current state of its user.
#[derive(Clone)]
pub struct Holder {
    /// The user's name.
    pub user: UserName,
    /// The user's role.
    pub role: Role,
    /// True if the password must be changed first.
    pub must_change_password: bool,
    /// True if the password is the initial one.
    pub password_is_seeded: bool,
    /// Stored time of the last use.
    pub last_seen_at: Timestamp,
    /// Expiry.
    pub expires_at: Timestamp,
}

/// A new session.
pub struct NewSession {
    /// `s-...`.
    pub id: SessionId,
    /// The user.
    pub user: UserName,
    /// Address of the client.
    pub address: String,
    /// User agent of the client.
    pub user_agent: String,
}

fn session(row: &Row) -> rusqlite::Result<Session> {
    let last_seen_at = row.get("last_seen_at")?;
    Ok(Session {
        id: row.get("id")?,
        user: row.get("user")?,
        address: row.get("address")?,
        user_agent: row.get("user_agent")?,
        current: false,
        last_seen_at,
        expires_at: row.get("expires_at")?,
        created_at: row.get("created_at")?,
        updated_at: last_seen_at,
    })
}

/// The holder of this session.
pub fn holder(read: &Read, id: &SessionId) -> Result<Option<Holder>> {
    read.row(query!("sessions", "holder"), named_params! { ":id": id }, |r| {
        Ok(Holder {
            last_seen_at: r.get(0)?,
            expires_at: r.get(1)?,
            user: r.get(2)?,
            role: r.get(3)?,
            must_change_password: r.get(4)?,
            password_is_seeded: r.get(5)?,
        })
    })
}

/// A page of sessions, by id; of one user, or of all.
pub fn page(read: &Read, paging: &Paging, user: Option<&UserName>) -> Result<Page<Session>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit as i64 + 1);
    let (items, total) = match user {
        Some(user) => (
            read.rows(
                query!("sessions", "page_of_user"),
                named_params! { ":user": user, ":after": after, ":limit": limit },
                session,
            )?,
            read.count(query!("sessions", "count_of_user"), named_params! { ":user": user })?,
        ),
        None => (
            read.rows(query!("sessions", "page"), named_params! { ":after": after, ":limit": limit }, session)?,
            read.count(query!("sessions", "count"), &[])?,
        ),
    };
    Ok(Page::cut(items, paging.limit, total, |s| s.id.as_str()))
}

/// The user of a session.
pub fn user_of(read: &Read, id: &SessionId) -> Result<Option<UserName>> {
    read.row(query!("sessions", "user_of"), named_params! { ":id": id }, |r| r.get(0))
}

/// Inserts a session, and deletes the user's oldest ones in excess of `kept`.
pub fn insert(write: &Write, new: &NewSession, ttl_s: i64, kept: usize) -> Result<()> {
    let row = named_params! {
        ":id": new.id, ":user": new.user, ":address": new.address, ":user_agent": new.user_agent,
        ":expires_at": write.now.plus_secs(ttl_s), ":now": write.now,
    };
    write.run(query!("sessions", "insert"), row)?;
    write.run(query!("sessions", "trim"), named_params! { ":user": new.user, ":kept": kept as i64 })?;
    Ok(())
}

/// Stores the time of a session's last use.
pub fn set_last_seen(write: &Write, id: &SessionId, at: Timestamp) -> Result<()> {
    write.run(query!("sessions", "seen"), named_params! { ":id": id, ":at": at }).map(drop)
}

/// Ends a session. Returns true if it existed.
pub fn delete(write: &Write, id: &SessionId) -> Result<bool> {
    Ok(write.run(query!("sessions", "delete"), named_params! { ":id": id })? > 0)
}

/// Ends all sessions of a user; returns their number.
pub fn delete_of_user(write: &Write, user: &UserName) -> Result<usize> {
    write.run(query!("sessions", "delete_of_user"), named_params! { ":user": user })
}

/// Deletes expired sessions, and those last used before this time.
pub fn prune(write: &Write, idle_before: Timestamp) -> Result<usize> {
    let expired = write.run(query!("sessions", "prune_expired"), named_params! { ":now": write.now })?;
    Ok(expired + write.run(query!("sessions", "prune_idle"), named_params! { ":before": idle_before })?)
}
