//! Finds out what a handler reads by running it: during a description, [`super::fields`] gives every reader an empty
//! request, records what it reads, and refuses at the end, so that nothing is done. The OpenAPI document is generated
//! from these notes and always matches the readers.

use serde_json::Value;
use std::cell::RefCell;

/// A value that a handler reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    /// `path`, `query`, `header` or `body`.
    pub place: &'static str,
    /// Field names from the outside in; `[]` is every item of a list. Empty: the body itself.
    pub at: Vec<String>,
    /// JSON Schema of the value; `null` if only the names inside matter.
    pub schema: Value,
    /// True if its absence is a fault.
    pub required: bool,
}

thread_local! {
    static NOTES: RefCell<Option<Vec<Noted>>> = const { RefCell::new(None) };
}

/// Runs a handler on an empty request and returns what it read.
pub fn notes(handler: impl FnOnce()) -> Vec<Noted> {
    NOTES.with_borrow_mut(|notes| *notes = Some(Vec::new()));
    handler();
    NOTES.with_borrow_mut(Option::take).unwrap_or_default()
}

/// True during a description in this thread.
pub(super) fn is_active() -> bool {
    NOTES.with_borrow(Option::is_some)
}

/// Records a header that a handler reads.
pub fn header(name: &str) {
    note("header", || vec![name.to_string()], || serde_json::json!({ "type": "string" }), false);
}

/// Records a value during a description.
pub(super) fn note(
    place: &'static str,
    at: impl FnOnce() -> Vec<String>,
    schema: impl FnOnce() -> Value,
    required: bool,
) {
    NOTES.with_borrow_mut(|notes| {
        if let Some(notes) = notes {
            notes.push(Noted { place, at: at(), schema: schema(), required });
        }
    });
}

/// Marks a recorded value as required.
pub(super) fn require(place: &'static str, at: &[String]) {
    NOTES.with_borrow_mut(|notes| {
        let found = notes.iter_mut().flatten().rev().find(|n| n.place == place && n.at == at);
        found.into_iter().for_each(|n| n.required = true);
    });
}
