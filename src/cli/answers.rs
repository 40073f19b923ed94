//! What commands do with the answers of the API.

use super::args::{Args, Failure};
use super::connect::signed_in;
use super::output;
use crate::client::Api;
use serde_json::Value;

/// Prints a list as a table, or as JSON where that is asked for.
pub(super) fn listed(args: &Args, list: Vec<Value>, header: &[&str], keys: &[&str]) {
    if args.has("json") {
        output::json(&Value::Array(list));
    } else {
        output::header(header);
        output::rows(&list, keys);
    }
}

/// Prints an object as a line for each field, or as JSON where that is asked for.
pub(super) fn shown(args: &Args, object: &Value) {
    if args.has("json") { output::json(object) } else { output::fields(object) }
}

/// Takes away what the command's argument names.
pub(super) fn remove(args: &Args, path: &str) -> Result<(), Failure> {
    remove_by(args, &signed_in(args)?, path)
}

/// The same, by these calls.
pub(super) fn remove_by(args: &Args, api: &Api, path: &str) -> Result<(), Failure> {
    api.delete(path)?;
    match args.has("json") {
        true => output::json(&serde_json::json!({"removed": args.word(0)})),
        false => output::print(&format!("Removed {}.\n", output::ascii(args.word(0)))),
    }
    Ok(())
}

/// A value as text, without quotes; nothing for null.
pub(super) fn said(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_string)
}

/// A text as a part of a URL.
pub(super) fn encoded(text: &str) -> String {
    crate::percent::encode(text)
}

/// Says what the server warns of beside its answer.
pub(super) fn warnings(answer: &Value) {
    for warning in answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        eprintln!("warning: {}", output::ascii(warning));
    }
}
