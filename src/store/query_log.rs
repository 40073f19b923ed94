//! Queries in the log, for whoever looks for the slow or the odd one.

use super::{Params, Sql};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use std::fmt::Write;

/// Parameters that hold secrets or keys; the log gets their names only.
const SECRET_PARAMS: &[&str] = &[":password_hash", ":token_hash", ":key", ":status", ":value", ":fields"];
/// Characters of one logged parameter.
const PARAM_CHARS_MAX: usize = 100;

/// What of the queries is logged.
#[derive(Debug, Clone, Copy, Default)]
pub struct QueryLog {
    /// Whether they are at all.
    pub queries: bool,
    /// With their parameters.
    pub params: bool,
    /// Characters of a query.
    pub sql_chars_max: usize,
}

impl QueryLog {
    /// Logs a query that is about to run.
    pub(super) fn tell(&self, sql: Sql, params: Params) {
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
