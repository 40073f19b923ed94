//! Bounds that more than one rule needs.

use crate::error::{Error, FieldFault, Loc, Result};
use crate::model::Object;
use serde_json::Value;

/// A node's whole status, as JSON: enough for what machines report, small enough for thousands in one list.
const STATUS_BYTES_MAX: usize = 64 << 10;

/// Refuses a status that has grown too large, whether at once or patch by patch.
pub fn status_fits(status: &Object) -> Result<()> {
    let bytes = serde_json::to_string(status).map_or(usize::MAX, |s| s.len());
    if bytes <= STATUS_BYTES_MAX {
        return Ok(());
    }
    Err(Error::Invalid(vec![FieldFault {
        kind: "string_too_long",
        loc: vec![Loc::Name("body".into()), Loc::Name("status".into())],
        msg: format!("A node's status should have at most {STATUS_BYTES_MAX} bytes of JSON, this has {bytes}"),
        input: Value::Null,
    }]))
}
