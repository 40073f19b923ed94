//! Queries in the log, for finding slow or unexpected ones.

use super::{Params, Sql};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use std::fmt::Write;

/// Parameters that hold secrets or keys; only their names are logged.
const SECRET_PARAMS: &[&str] = &[":password_hash", ":token_hash", ":key", ":status", ":value", ":fields"];
/// Maximum length of a logged parameter in characters.
const PARAM_CHARS_MAX: usize = 100;

/// Parts of queries to log.
#[derive(Debug, Clone, Copy, Default)]
pub struct QueryLog {
    /// True to log queries.
    pub queries: bool,
    /// True to log their parameters.
    pub params: bool,
    /// Maximum length of a query in characters.
    pub sql_chars_max: usize,
}

impl QueryLog {
    /// Logs a query before it runs.
    pub(super) fn log(&self, sql: Sql, params: Params) {
        if !self.queries {
            return;
        }
        let mut words = String::new();
        for word in sql.split_whitespace() {
            words.push_str(if words.is_empty() { "" } else { " " });
            words.push_str(word);
        }
        let sql: String = words.chars().take(self.sql_chars_max).collect();
        if self.params {
            log::info!(target: "store", event = "db.query", sql, params = shown(params); "Query");
        } else {
            log::info!(target: "store", event = "db.query", sql; "Query");
        }
    }
}

fn shown(params: Params) -> String {
    let mut out = String::new();
    for (name, value) in params {
        let value = match value.to_sql() {
            _ if SECRET_PARAMS.contains(name) => "(hidden)".to_string(),
            Ok(ToSqlOutput::Borrowed(value)) => text(value),
            Ok(ToSqlOutput::Owned(value)) => text(ValueRef::from(&value)),
            _ => "(unknown)".to_string(),
        };
        // Writing to a String cannot fail.
        let _ = write!(out, "{}{name}={value}", if out.is_empty() { "" } else { " " });
    }
    out
}

fn text(value: ValueRef) -> String {
    match Value::try_from(value) {
        Ok(Value::Null) => "NULL".to_string(),
        Ok(Value::Integer(n)) => n.to_string(),
        Ok(Value::Real(n)) => n.to_string(),
        Ok(Value::Text(text)) => text.chars().take(PARAM_CHARS_MAX).collect(),
        Ok(Value::Blob(bytes)) => format!("({} bytes)", bytes.len()),
        Err(_) => "(not UTF-8)".to_string(),
    }
}
