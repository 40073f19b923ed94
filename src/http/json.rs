//! JSON in bodies: parsed strictly, with the place of a fault.

use crate::error::{Error, FieldFault, Loc, Result};
use crate::json;
use crate::model::Object;
use crate::text;
use serde_json::Value;

/// Maximum values in one body: each takes up to some hundred bytes of memory, so a small body of nothing but `{"":0}`
/// would take a hundred times its size. The largest legitimate body, a spec with a thousand pinned replicas, has some
/// four thousand.
const VALUES_MAX: usize = 20_000;

/// Maximum nesting depth. Readers of our answers accept some 127, and an answer adds a few levels around stored values:
/// a node could otherwise send a status that makes lists of nodes unreadable.
const DEPTH_MAX: usize = 100;

pub(super) fn invalid(kind: &'static str, loc: Vec<Loc>, msg: &str, input: Value) -> Error {
    Error::Invalid(vec![FieldFault { kind, loc, msg: msg.to_string(), input }])
}

/// Parses JSON strictly: a repeated key is an error, because two readers of a body must agree. Ignores a byte order
/// mark.
pub fn parse(body: &[u8]) -> Result<Value> {
    let text = text::without_mark(body);
    let (at, why) = match json::strict(text, VALUES_MAX, DEPTH_MAX) {
        Ok(value) => return Ok(value),
        Err(_) if text::is_wide(body) => (0, "the body is UTF-16 or UTF-32 but should be UTF-8".to_string()),
        Err(flaw) => (body.len() - text.len() + flaw.at, flaw.why),
    };
    let msg = format!("JSON decode error: {why}");
    Err(invalid("json_invalid", vec!["body".into(), Loc::Index(at)], &msg, Value::Object(Object::new())))
}
