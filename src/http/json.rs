//! JSON as it comes in bodies: read strictly, with the place of what is wrong.

use crate::error::{Error, FieldFault, Loc, Result};
use crate::json;
use crate::model::Object;
use crate::text;
use serde_json::Value;

/// Values in one body: each takes up to some hundred bytes of memory, so that a small body of nothing but `{"":0}` would take a
/// hundred times its own size. The largest sound body, a spec with a thousand pinned replicas, has some four thousand.
const VALUES_MAX: usize = 20_000;

/// Lists and objects inside each other. Readers of our answers take some 127, and an answer puts a few around what is kept: a node could
/// otherwise say of itself what no client can read in a list of nodes.
const DEPTH_MAX: usize = 100;

pub(super) fn invalid(kind: &'static str, loc: Vec<Loc>, msg: &str, input: Value) -> Error {
    Error::Invalid(vec![FieldFault { kind, loc, msg: msg.to_string(), input }])
}

/// Parses JSON strictly: a repeated key is an error, because two readers of the same body must not disagree on what it says.
/// A byte order mark before it is no part of it.
pub fn parse(body: &[u8]) -> Result<Value> {
    let text = text::unmarked(body);
    let (at, why) = match json::strict(text, VALUES_MAX, DEPTH_MAX) {
        Ok(value) => return Ok(value),
        Err(_) if text::is_wide(body) => (0, "the body is UTF-16 or UTF-32 but should be UTF-8".to_string()),
        Err(flaw) => (body.len() - text.len() + flaw.at, flaw.why),
    };
    let msg = format!("JSON decode error: {why}");
    Err(invalid("json_invalid", vec!["body".into(), Loc::Index(at)], &msg, Value::Object(Object::new())))
}
