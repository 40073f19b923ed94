//! Shared handling of the API's answers.

use super::args::{Args, Failure};
use super::connect::{sign_in_again, signed_in};
use super::output::{self, Table};
use super::watch::{Fetch, watch};
use crate::client::Api;
use serde_json::Value;

/// Prints a list of the API, or follows it.
pub(super) fn listed(args: &Args, table: &Table, fetch: Fetch) -> Result<(), Failure> {
    let api = signed_in(args)?;
    if args.has("watch") {
        return watch(args, table, api, fetch, &|api| sign_in_again(args, api));
    }
    let list = fetch(&api, output::style(args).is_for_people())?;
    output::list(args, table, list);
    Ok(())
}

/// Prints or follows the list at this path.
pub(super) fn listed_at(args: &Args, table: &Table, path: &str) -> Result<(), Failure> {
    listed(args, table, &|api, _| api.list(path))
}

/// Name of an object, if it differs from its id.
pub(super) fn other_name(object: &Value) -> Value {
    if object["name"] == object["id"] { Value::Null } else { object["name"].clone() }
}

/// Prints an object.
pub(super) fn shown(args: &Args, object: &Value) {
    output::object(args, object);
}

/// Removes what the command's argument names.
pub(super) fn remove(args: &Args, path: &str) -> Result<(), Failure> {
    remove_by(args, &signed_in(args)?, path)
}

/// The same, by these calls.
pub(super) fn remove_by(args: &Args, api: &Api, path: &str) -> Result<(), Failure> {
    api.delete(path)?;
    if output::wants_json(args) {
        output::structured(args, &serde_json::json!({"removed": args.word(0)}));
    } else {
        output::outcome(args, args.word(0), &format!("Removed {}.", output::ascii(args.word(0))));
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
        output::remark(&format!("warning: {warning}"));
    }
}
