//! Limits that more than one rule needs.

use crate::control::settings;
use crate::error::{Error, FieldFault, Loc, Result};
use crate::model::Object;
use crate::store::{Read, Write, nodes, once};
use serde_json::Value;

/// Maximum size of a status, as JSON, in bytes: enough for the reports of machines, small enough for thousands in one
/// list.
const STATUS_BYTES_MAX: usize = 64 << 10;
/// Maximum size of the fields of an event, as JSON, in bytes: a million events are kept.
const FIELDS_BYTES_MAX: usize = 16 << 10;
/// Maximum size of a spec, as JSON, in bytes: every revision is kept.
const SPEC_BYTES_MAX: usize = 64 << 10;

/// Seconds until another try of a refused request with an Idempotency-Key makes sense: answers are deleted once a
/// minute.
const ANSWER_RETRY_S: u64 = 60;
/// Percentage of a limit from which on operators are warned.
const NEAR_PERCENT: u64 = 90;

/// Refuses a node beyond the limit of the cluster.
pub fn one_more_node(write: &Write) -> Result<()> {
    let max = settings::number(write, settings::NODES_MAX)?.unsigned_abs();
    if nodes::count(write)? < max {
        return Ok(());
    }
    let detail = format!(
        "The cluster has {max} nodes, the most that the setting nodes_max allows. Delete nodes that are gone, or raise \
            it."
    );
    Err(Error::Conflict(detail))
}

/// Refuses to keep an answer for an Idempotency-Key beyond the limit. No other answer is deleted early for it: a
/// repeated request would be carried out twice.
pub fn answer_fits(write: &Write, bytes: usize) -> Result<()> {
    let max = settings::number(write, settings::IDEMPOTENCY_BYTES)?;
    if once::bytes(write)?.saturating_add(bytes as i64) <= max {
        return Ok(());
    }
    let detail = format!(
        "The answers kept for requests with an Idempotency-Key have {max} bytes, the most that the setting \
            idempotency_bytes_max allows. Send this one without a key, try again in {ANSWER_RETRY_S}s, or raise the \
            setting."
    );
    Err(Error::RateLimited { detail, retry_after_s: ANSWER_RETRY_S })
}

/// Values near their limit, as sentences.
pub fn near(read: &Read) -> Result<Vec<String>> {
    let mut near = Vec::new();
    for (what, used, key) in [
        ("nodes", nodes::count(read)?, settings::NODES_MAX),
        ("bytes of answers kept for Idempotency-Keys", once::bytes(read)?.unsigned_abs(), settings::IDEMPOTENCY_BYTES),
    ] {
        let max = settings::number(read, key)?.unsigned_abs();
        if used.saturating_mul(100) >= max.saturating_mul(NEAR_PERCENT) {
            near.push(format!("{used} {what} of {max} ({key})"));
        }
    }
    Ok(near)
}

/// Refuses a status of a node or a replica that is too large, whether at once or patch by patch.
pub fn status_fits(of: &str, status: &Object) -> Result<()> {
    fits("status", &format!("A {of}'s status"), status, STATUS_BYTES_MAX)
}

/// Refuses fields of an event that are too large: the newest thousand events are kept in memory for readers of the
/// stream.
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
