//! What a handler reads, found out by letting it read: while a description is made, [`super::fields`] gives every reader an
//! empty request, notes what was asked for, and refuses at the end, so that nothing is done. The API's document is made
//! from these notes and cannot say anything else than what the readers do.

use serde_json::Value;
use std::cell::RefCell;

/// A value that a handler asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    /// `path`, `query`, `header` or `body`.
    pub place: &'static str,
    /// Field names from the outside in; `[]` is every item of a list. Empty: the body itself.
    pub at: Vec<String>,
    /// JSON Schema of the value; `null` where only the names inside matter.
    pub schema: Value,
    /// Whether its absence is a fault.
    pub required: bool,
}

thread_local! {
    static NOTES: RefCell<Option<Vec<Noted>>> = const { RefCell::new(None) };
}

/// Runs a handler that reads nothing, and gives what it asked for.
pub fn notes(handler: impl FnOnce()) -> Vec<Noted> {
    NOTES.with_borrow_mut(|notes| *notes = Some(Vec::new()));
    handler();
    NOTES.with_borrow_mut(Option::take).unwrap_or_default()
}

/// Whether a description is being made in this thread.
pub(super) fn active() -> bool {
    NOTES.with_borrow(Option::is_some)
}

/// Notes a header that a handler heeds.
pub fn header(name: &str) {
    note("header", || vec![name.to_string()], || serde_json::json!({ "type": "string" }), false);
}

/// Notes a value, if a description is being made.
pub(super) fn note(place: &'static str, at: impl FnOnce() -> Vec<String>, schema: impl FnOnce() -> Value, required: bool) {
    NOTES.with_borrow_mut(|notes| {
        if let Some(notes) = notes {
            notes.push(Noted { place, at: at(), schema: schema(), required });
        }
    });
}

/// The value of this name, noted before, must be there.
pub(super) fn require(place: &'static str, at: &[String]) {
    NOTES.with_borrow_mut(|notes| {
        let found = notes.iter_mut().flatten().rev().find(|n| n.place == place && n.at == at);
        found.into_iter().for_each(|n| n.required = true);
    });
}
