//! From SQLite's errors to ours, and between columns and model types.

use crate::clock::Timestamp;
use crate::error::{Doing, Error, Result};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Error as SqlError, ErrorCode};

/// An error of SQLite's, as what it means to a caller: a full disk and a broken one are the machine's troubles, and named.
pub(super) fn told<T>(result: rusqlite::Result<T>, doing: &'static str) -> Result<T> {
    let Err(e) = result else { return result.doing(doing) };
    let trouble = match e.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "The disk of the control plane is full; nothing was written.",
        Some(ErrorCode::ReadOnly) => "The database of the control plane is read-only; nothing was written.",
        Some(ErrorCode::SystemIoFailure) => "The disk of the control plane fails; nothing was written.",
        Some(ErrorCode::CannotOpen) => "The database of the control plane cannot be opened; is its directory writable?",
        Some(ErrorCode::NotADatabase) => "The database file is not a database, or damaged; restore a backup.",
        Some(ErrorCode::DatabaseCorrupt) => "The database file is damaged; restore a backup.",
        _ => return Err(e).doing(doing),
    };
    log::error!(target: "store", event = "store.disk", doing, error:% = e; "{trouble}");
    Err(Error::Unavailable(trouble.to_string()))
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

/// Like [`told`]; a broken constraint becomes a 409 with its sentence.
pub(super) fn constrained<T>(result: rusqlite::Result<T>) -> Result<T> {
    if let Err(SqlError::SqliteFailure(e, Some(text))) = &result
        && e.code == ErrorCode::ConstraintViolation
        && let Some((_, sentence)) = CONSTRAINTS.iter().find(|(name, _)| text.ends_with(name))
    {
        return Err(Error::Conflict((*sentence).to_string()));
    }
    told(result, "write a row")
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

impl<T: serde::de::DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Json).map_err(|e| FromSqlError::Other(Box::new(e)))
    }
}

/// The JSON text of a column.
pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).doing("write JSON of a row")
}

/// What a row adds to a page, about: its texts, and for each column its name and punctuation in JSON.
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
