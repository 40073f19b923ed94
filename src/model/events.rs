//! Events: each is recorded in the transaction that caused it.

pub mod catalogue;

use super::Object;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use catalogue::Category;
use serde::Serialize;
use serde_json::Value;

/// True for a category that only the server itself writes into.
pub fn is_own(category: &str) -> bool {
    Category::WORDS.contains(&category)
}

/// An event, in the shape of the contract.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Unique id.
    pub id: String,
    /// `nodes`, `cluster`, ...
    pub category: String,
    /// `node.cordon`, ...
    pub name: String,
    /// `DEBUG`, `INFO`, `WARNING` or `ERROR` in the server's own; a client's as it was sent.
    pub level: String,
    /// The objects concerned, and details.
    pub fields: Object,
    /// Time of the event.
    pub created_at: Timestamp,
    /// The same time: an event never changes.
    pub updated_at: Timestamp,
    /// The caller: `user:alice`, `token:ut-... (alice)`, `local:machine`, `node:node-a`, `join-token:jt-...`, `nobody`
    /// for an anonymous one, or the `system` itself.
    pub actor: Option<String>,
    /// Address of the caller; `None` if no request caused the event.
    pub address: Option<String>,
    /// Id of the request.
    pub request_id: Option<String>,
}

/// Filter for events; a `None` field matches all.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Category of the event.
    pub category: Option<String>,
    /// Name of the event.
    pub name: Option<String>,
    /// Level, in upper or lower case.
    pub level: Option<String>,
    /// Id of the node in the field `node_id`.
    pub node_id: Option<String>,
    /// Only events after this time.
    pub since: Option<Timestamp>,
}

impl EventFilter {
    /// True if the filter matches an event.
    pub fn admits(&self, event: &Event) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        let same_level = |wanted: &String| wanted.eq_ignore_ascii_case(&event.level);
        // A client may have written a numeric id as a number; the filter finds it by its text too.
        let node = |wanted: &String| match event.fields.get("node_id") {
            Some(Value::String(id)) => id == wanted,
            Some(Value::Number(id)) => id.to_string() == *wanted,
            _ => false,
        };
        same(&self.category, &event.category)
            && same(&self.name, &event.name)
            && self.level.as_ref().is_none_or(same_level)
            && self.node_id.as_ref().is_none_or(node)
            && self.since.is_none_or(|since| event.created_at > since)
    }
}

/// An event that a client sends.
#[derive(Debug)]
pub struct ClientEvent {
    /// The client's id; `None` to generate one.
    pub id: Option<String>,
    /// A category that is not one of the server's own.
    pub category: String,
    /// The client's name for it.
    pub name: String,
    /// The client's level, kept unchanged.
    pub level: String,
    /// The client's fields.
    pub fields: Object,
}

/// An event to record: of a [`catalogue::Kind`], or a client's in a category that is not one of the server's.
#[derive(Debug)]
pub struct NewEvent {
    id: Option<String>,
    category: String,
    name: String,
    level: String,
    fields: Object,
}

/// Cause of an event.
pub struct Cause {
    /// The caller, or the `system`.
    pub actor: String,
    /// The caller's address.
    pub address: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
}

impl NewEvent {
    /// A client's event.
    ///
    /// # Errors
    /// `Forbidden` for a category of the server's own: clients must not write what looks like the server's word.
    pub fn of_client(event: ClientEvent) -> Result<NewEvent> {
        let ClientEvent { id, category, name, level, fields } = event;
        if Category::WORDS.iter().any(|own| own.eq_ignore_ascii_case(category.trim())) {
            return Err(Error::Forbidden(
                "Events of this category are recorded by the server only; take a category of your own.",
            ));
        }
        Ok(NewEvent { id, category, name, level, fields })
    }

    /// Its fields.
    pub fn fields(&self) -> &Object {
        &self.fields
    }

    /// The event in its stored form.
    pub fn into_event(self, at: Timestamp, cause: Cause, fresh_id: impl FnOnce() -> String) -> Event {
        Event {
            id: self.id.unwrap_or_else(fresh_id),
            category: self.category,
            name: self.name,
            level: self.level,
            fields: self.fields,
            created_at: at,
            updated_at: at,
            actor: Some(cause.actor),
            address: cause.address,
            request_id: cause.request_id,
        }
    }

    /// The same event with this id.
    #[cfg(any(test, fuzzing))]
    pub fn with_id(self, id: String) -> NewEvent {
        NewEvent { id: Some(id), ..self }
    }
}
