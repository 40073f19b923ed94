//! An event: something that happened, told in the transaction that did it.

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
    /// Its id, unique.
    pub id: String,
    /// `nodes`, `cluster`, ...
    pub category: String,
    /// `node.cordon`, ...
    pub name: String,
    /// `DEBUG`, `INFO`, `WARNING` or `ERROR` in the server's own; a client's as it was sent.
    pub level: String,
    /// Which objects, and what of them.
    pub fields: Object,
    /// When it happened.
    pub created_at: Timestamp,
    /// The same moment: an event never changes.
    pub updated_at: Timestamp,
    /// Who caused it: `user:alice`, `token:ut-... (alice)`, `local:machine`, `node:node-a`, `join-token:jt-...`, `nobody`, or the `system` itself.
    pub actor: Option<String>,
    /// From which address; none where nobody asked for it.
    pub address: Option<String>,
    /// By which request.
    pub request_id: Option<String>,
}

/// Which events are wanted; `None` asks nothing.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Of this category.
    pub category: Option<String>,
    /// Of this name.
    pub name: Option<String>,
    /// Of this level, in upper or lower case.
    pub level: Option<String>,
    /// About this node: its id in the field `node_id`.
    pub node_id: Option<String>,
    /// After this moment.
    pub since: Option<Timestamp>,
}

impl EventFilter {
    /// Whether an event is wanted.
    pub fn admits(&self, event: &Event) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        let same_level = |wanted: &String| wanted.eq_ignore_ascii_case(&event.level);
        // A client may have written an id of digits as a number; the list finds it as a text too.
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
    /// An id of the client's; `None` for a fresh one.
    pub id: Option<String>,
    /// A category that is not one of the server's own.
    pub category: String,
    /// A name of the client's.
    pub name: String,
    /// A level of the client's, kept as it was sent.
    pub level: String,
    /// Values of the client's.
    pub fields: Object,
}

/// An event that is about to be recorded: of a [`catalogue::Kind`], or a client's in a category that is not one of
/// the server's.
#[derive(Debug)]
pub struct NewEvent {
    id: Option<String>,
    category: String,
    name: String,
    level: String,
    fields: Object,
}

/// What caused an event.
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
            return Err(Error::Forbidden("Events of this category are recorded by the server only; take a category of your own."));
        }
        Ok(NewEvent { id, category, name, level, fields })
    }

    /// Its fields.
    pub fn fields(&self) -> &Object {
        &self.fields
    }

    /// The event as it is kept.
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

    /// The same event under this id.
    #[cfg(any(test, fuzzing))]
    pub fn with_id(self, id: String) -> NewEvent {
        NewEvent { id: Some(id), ..self }
    }
}
