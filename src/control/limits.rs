//! Bounds that more than one rule needs.

use crate::error::{Error, FieldFault, Loc, Result};
use crate::model::Object;
use serde_json::Value;

/// A whole status, as JSON: enough for what machines report, small enough for thousands in one list.
const STATUS_BYTES_MAX: usize = 64 << 10;
/// The fields of an event, as JSON: a million of them are kept.
const FIELDS_BYTES_MAX: usize = 16 << 10;
/// A whole spec, as JSON: every revision is kept.
const SPEC_BYTES_MAX: usize = 64 << 10;

/// Refuses the status of a node or a replica that has grown too large, whether at once or patch by patch.
pub fn status_fits(of: &str, status: &Object) -> Result<()> {
    fits("status", &format!("A {of}'s status"), status, STATUS_BYTES_MAX)
}

/// Refuses fields of an event that are too large: the newest thousand events are kept in memory for readers of the stream.
pub fn fields_fit(fields: &Object) -> Result<()> {
    fits("fields", "The fields of an event", fields, FIELDS_BYTES_MAX)
}

/// Refuses a spec that is too large.
pub fn spec_fits(spec: &Object) -> Result<()> {
    fits("spec", "A service's spec", spec, SPEC_BYTES_MAX)
}

fn fits(field: &str, what: &str, object: &Object, bytes_max: usize) -> Result<()> {
    let bytes = serde_json::to_string(object).map_or(usize::MAX, |s| s.len());
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(Error::Invalid(vec![FieldFault {
        kind: "string_too_long",
        loc: vec![Loc::Name("body".into()), Loc::Name(field.into())],
        msg: format!("{what} should have at most {bytes_max} bytes of JSON, this has {bytes}"),
        input: Value::Null,
    }]))
}
