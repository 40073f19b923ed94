//! An event: something that happened, told in the transaction that did it.

use super::Object;
use crate::clock::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// The categories of the events that the server itself records: no client may write what looks like one of them.
pub const OWN_CATEGORIES: &[&str] = &[
    "auth",
    "backups",
    "cluster",
    "endpoints",
    "etcd",
    "nodes",
    "replicas",
    "router_assignments",
    "scheduler",
    "services",
    "settings",
    "support",
    "updates",
    "wireguard",
];

/// True for a category that only the server itself writes into.
pub fn is_own(category: &str) -> bool {
    OWN_CATEGORIES.contains(&category)
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

/// An event that is about to be recorded.
#[derive(Debug)]
pub struct NewEvent {
    /// An id of the caller's; a fresh one where `None`.
    pub id: Option<String>,
    /// `nodes`, `cluster`, ...
    pub category: String,
    /// `node.cordon`, ...
    pub name: String,
    /// `DEBUG`, `INFO`, `WARNING` or `ERROR` in the server's own; a client's as it was sent.
    pub level: String,
    /// Which objects, and what of them.
    pub fields: Object,
}

impl NewEvent {
    /// An event of the server's own at level INFO; `fields` is a JSON object.
    pub fn info(category: &str, name: &str, fields: serde_json::Value) -> NewEvent {
        NewEvent::at("info", category, name, fields)
    }

    /// An event of the server's own at this level, which is written in upper case.
    pub fn at(level: &str, category: &str, name: &str, fields: serde_json::Value) -> NewEvent {
        debug_assert!(OWN_CATEGORIES.contains(&category), "{category} is missing in OWN_CATEGORIES");
        let fields = match fields {
            serde_json::Value::Object(map) => map,
            _ => Object::new(),
        };
        NewEvent { id: None, category: category.into(), name: name.into(), level: level.to_ascii_uppercase(), fields }
    }
}
