//! Maps SQLite's errors to ours, and columns to model types.

use crate::clock::Timestamp;
use crate::error::{Doing, Error, Result};
use crate::json;
use crate::model::capacity::{Capacity, Reserved};
use crate::model::ids::{
    ApiTokenId, AssignmentId, EndpointId, JoinTokenId, NodeId, ReplicaId, RunId, ServiceId, SessionId, UpdateId,
    UserName,
};
use crate::model::mesh_address::MeshAddress;
use crate::model::node_runs::Holder;
use crate::model::{Object, nodes, replicas};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Error as SqlError, ErrorCode};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Maps SQLite's errors: disk failures and locks become a 503 with a sentence; everything else is a `Fault`.
pub(super) fn map_sqlite_error<T>(result: rusqlite::Result<T>, doing: &'static str) -> Result<T> {
    let Err(e) = result else { return result.doing(doing) };
    let trouble = match e.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "The control plane's disk is full; nothing was written.",
        Some(ErrorCode::ReadOnly) => "The control plane's database is read-only; nothing was written.",
        Some(ErrorCode::SystemIoFailure) => "The control plane's disk is failing; nothing was written.",
        Some(ErrorCode::CannotOpen) => "The control plane's database cannot be opened; is its directory writable?",
        Some(ErrorCode::NotADatabase) => "The database file is damaged or not a database; restore a backup.",
        Some(ErrorCode::DatabaseCorrupt) => "The database file is damaged; restore a backup.",
        Some(ErrorCode::PermissionDenied) => "The control plane's database files may not be opened; check their owner.",
        Some(ErrorCode::OutOfMemory) => "The control plane's machine is out of memory; nothing was written.",
        Some(ErrorCode::TooBig) => "The value is too large for the control plane's database; nothing was written.",
        Some(code) if is_temporary(code) => {
            log::warn!(target: "store", event = "store.held", doing, error:% = e; "{HELD}");
            return Err(Error::Unavailable(HELD.to_string()));
        }
        _ => return Err(e).doing(doing),
    };
    log::error!(target: "store", event = "store.disk", doing, error:% = e; "{trouble}");
    Err(Error::Unavailable(trouble.to_string()))
}

/// Sentence for a caller when another process holds the database.
const HELD: &str = "Another process holds the control plane's database; nothing was written. Try again.";

/// True for another process's lock or change, which is temporary.
fn is_temporary(code: ErrorCode) -> bool {
    use ErrorCode::{
        DatabaseBusy, DatabaseLocked, FileLockingProtocolFailed, OperationAborted, OperationInterrupted, SchemaChanged,
    };
    matches!(
        code,
        DatabaseBusy
            | DatabaseLocked
            | FileLockingProtocolFailed
            | OperationAborted
            | OperationInterrupted
            | SchemaChanged
    )
}

/// True if a result is an error of [`is_temporary`].
pub(super) fn is_held<T>(result: &rusqlite::Result<T>) -> bool {
    result.as_ref().is_err_and(|e| e.sqlite_error_code().is_some_and(is_temporary))
}

/// The sentence for each constraint that a client's request can break.
const CONSTRAINTS: &[(&str, &str)] = &[
    ("nodes.id", "Node id already exists"),
    ("nodes.name", "Node name already exists"),
    ("events.id", "Event id already exists"),
    ("join_tokens.id", "Join token id already exists"),
    ("services.id", "Service id already exists"),
    ("services.name", "Service name already exists"),
    ("replicas.id", "Replica id already exists"),
    ("endpoints.id", "Endpoint id already exists"),
    ("users.name", "User name already exists"),
    ("api_tokens.name", "You have an API token of this name already"),
    ("router_assignments.id", "Router assignment id already exists"),
];

/// Like [`map_sqlite_error`]; a violated constraint becomes a 409 with its sentence.
pub(super) fn map_constraint_error<T>(result: rusqlite::Result<T>) -> Result<T> {
    if let Err(SqlError::SqliteFailure(e, Some(text))) = &result
        && e.code == ErrorCode::ConstraintViolation
        && let Some((_, sentence)) = CONSTRAINTS.iter().find(|(name, _)| text.ends_with(name))
    {
        return Err(Error::Conflict((*sentence).to_string()));
    }
    map_sqlite_error(result, "write a row")
}

/// Ids as columns of text.
macro_rules! ids {
    ($($id:ty),*) => {$(
        impl FromSql for $id {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                String::column_result(value).map(<$id>::of_row)
            }
        }

        impl ToSql for $id {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }
    )*};
}
ids!(NodeId, ServiceId, ReplicaId, EndpointId, AssignmentId);
ids!(JoinTokenId, ApiTokenId, SessionId, UserName, RunId, UpdateId);

impl FromSql for MeshAddress {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        String::column_result(value).map(MeshAddress::from)
    }
}

impl ToSql for MeshAddress {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Timestamp)
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

/// A column that holds JSON.
pub(super) struct Json<T>(pub T);

impl<T: Column> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        T::read(value.as_str()?).map(Json).map_err(FromSqlError::Other)
    }
}

/// A type that is stored as JSON in a column.
pub(super) trait Column: Sized {
    /// Reads it.
    fn read(text: &str) -> std::result::Result<Self, Box<dyn std::error::Error + Send + Sync>>;
}

/// Values of people and nodes keep their text, numbers too.
impl Column for Object {
    fn read(text: &str) -> std::result::Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        match json::kept(text)? {
            Value::Object(object) => Ok(object),
            _ => Err("it is not an object".into()),
        }
    }
}

/// Types that only the rules read, and raw texts.
macro_rules! columns {
    ($($type:ty),*) => {$(
        impl Column for $type {
            fn read(text: &str) -> std::result::Result<Self, Box<dyn std::error::Error + Send + Sync>> {
                Ok(serde_json::from_str(text)?)
            }
        }
    )*};
}
columns!(Box<RawValue>, Vec<String>, BTreeMap<String, String>);
columns!(Capacity, Reserved, Holder, Vec<Holder>, nodes::Facts, replicas::Facts, replicas::Placement);

/// Unchecked, like an id that is a column.
impl Column for Vec<NodeId> {
    fn read(text: &str) -> std::result::Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Vec::<String>::read(text)?.into_iter().map(NodeId::of_row).collect())
    }
}

/// The JSON text of a column.
pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).doing("write JSON of a row")
}

/// Approximate size of a row in a page: its texts, and for each column its name and punctuation in JSON.
pub(super) fn bytes(row: &rusqlite::Row, columns: usize) -> rusqlite::Result<usize> {
    const COLUMN_BYTES: usize = 24;
    (0..columns).try_fold(0, |sum, i| {
        let text = match row.get_ref(i)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
            _ => 0,
        };
        Ok(sum + text + COLUMN_BYTES)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn what_passes_by_itself_or_is_the_machines_trouble_is_no_fault_of_ours() {
        let of = |code: i32| {
            map_sqlite_error::<()>(Err(SqlError::SqliteFailure(ffi::Error::new(code), None)), "try")
                .expect_err("an error")
        };
        for code in [
            ffi::SQLITE_BUSY,
            ffi::SQLITE_BUSY_SNAPSHOT,
            ffi::SQLITE_BUSY_RECOVERY,
            ffi::SQLITE_LOCKED,
            ffi::SQLITE_LOCKED_SHAREDCACHE,
            ffi::SQLITE_INTERRUPT,
            ffi::SQLITE_SCHEMA,
            ffi::SQLITE_PROTOCOL,
            ffi::SQLITE_ABORT,
            ffi::SQLITE_TOOBIG,
            ffi::SQLITE_FULL,
            ffi::SQLITE_NOMEM,
            ffi::SQLITE_PERM,
            ffi::SQLITE_IOERR,
            ffi::SQLITE_READONLY,
        ] {
            let error = of(code);
            assert!(error.status() == 503 && error.retry_after_s().is_some(), "{code}: {error}");
        }
        assert_eq!((of(ffi::SQLITE_MISUSE).status(), of(ffi::SQLITE_ERROR).status()), (500, 500));
    }
}
