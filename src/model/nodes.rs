//! A node: one machine of the fleet, as operators and clients see it.

use super::Object;
use super::capacity::{Capacity, Reserved};
use super::leases::LeaseState;
use super::status_keys::{LAST_HEARTBEAT_SIGNED_AT, is_reserved};
use crate::clock::Timestamp;
use crate::json;
use crate::model::ids::NodeId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A node as lists show it: its JSON columns are passed on as they are stored, which is what makes long lists cheap.
pub type ListedNode = Node<Box<RawValue>, Box<RawValue>, Box<RawValue>>;

/// A node, in the shape of the contract.
#[derive(Debug, Clone, Serialize)]
pub struct Node<Roles = Vec<String>, Labels = BTreeMap<String, String>, Status = Object> {
    /// The number its lease row points at; never shown.
    #[serde(skip)]
    pub seq: i64,
    /// Its id, unique and final.
    pub id: NodeId,
    /// Its name, unique.
    pub name: String,
    /// `core`, `worker`, `gateway` or the operator's own.
    pub roles: Roles,
    /// The operator's labels, which selectors match.
    pub labels: Labels,
    /// Its address inside the mesh.
    pub mesh_ip: Option<String>,
    /// The one that an operator gave it, or the token that admitted it; never shown. What a machine says of itself is not in here.
    #[serde(skip)]
    pub mesh_ip_given: Option<String>,
    /// What the node reports and the operator wants of it.
    pub status: Status,
    /// Where its own API is reached.
    pub api_endpoint: Option<String>,
    /// What the operator says that it has; goes before what it reports.
    pub capacity: Option<Capacity>,
    /// What the operator keeps free on it.
    pub reserved: Option<Reserved>,
    /// When its last heartbeat was accepted.
    pub heartbeat_at: Option<Timestamp>,
    /// Until when its lease runs.
    pub lease_expires_at: Option<Timestamp>,
    /// Lower-case hex SHA-256 of its DER certificate.
    pub identity_fingerprint: Option<String>,
    /// When that certificate ends.
    pub identity_expires_at: Option<Timestamp>,
    /// When it was first known.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Which nodes are wanted; `None` asks nothing.
#[derive(Debug, Clone, Default)]
pub struct NodeFilter {
    /// One of their roles.
    pub role: Option<String>,
    /// The state of their lease.
    pub lease_state: Option<LeaseState>,
    /// Labels they all have.
    pub labels: BTreeMap<String, String>,
}

impl NodeFilter {
    /// Whether it asks nothing.
    pub fn is_empty(&self) -> bool {
        self.role.is_none() && self.lease_state.is_none() && self.labels.is_empty()
    }
}

/// What a PATCH or a POST gives of a node; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct NodeChange {
    /// A new name.
    pub name: Option<String>,
    /// Roles that replace the old ones.
    pub roles: Option<Vec<String>>,
    /// Labels that replace the old ones.
    pub labels: Option<BTreeMap<String, String>>,
    /// A new mesh address.
    pub mesh_ip: Option<String>,
    /// A status that replaces the old one.
    pub status: Option<Object>,
    /// A new API endpoint.
    pub api_endpoint: Option<String>,
    /// What it has; an empty one leaves it to the node again.
    pub capacity: Option<Capacity>,
    /// What is kept free on it; an empty one leaves it to the node again.
    pub reserved: Option<Reserved>,
}

impl NodeChange {
    /// Puts what was given into the node; each field replaces the old one as a whole.
    pub fn apply(self, node: &mut Node) {
        if let Some(name) = self.name {
            node.name = name;
        }
        if let Some(roles) = self.roles {
            node.roles = roles;
        }
        if let Some(labels) = self.labels {
            node.labels = labels;
        }
        if let Some(status) = self.status {
            node.status = status;
        }
        if let Some(capacity) = self.capacity {
            node.capacity = Some(capacity).filter(|c| *c != Capacity::default());
        }
        if let Some(reserved) = self.reserved {
            node.reserved = Some(reserved).filter(|r| *r != Reserved::default());
        }
        node.mesh_ip = self.mesh_ip.or(node.mesh_ip.take());
        node.api_endpoint = self.api_endpoint.or(node.api_endpoint.take());
    }

    /// The same as an operator's word, which a certificate may repeat.
    pub fn apply_of_operator(self, node: &mut Node) {
        let given = self.mesh_ip.clone();
        self.apply(node);
        node.mesh_ip_given = given.or(node.mesh_ip_given.take());
    }

    /// Whether anything was given.
    pub fn is_empty(&self) -> bool {
        self.name.is_none()
            && self.roles.is_none()
            && self.labels.is_none()
            && self.mesh_ip.is_none()
            && self.status.is_none()
            && self.api_endpoint.is_none()
            && self.capacity.is_none()
            && self.reserved.is_none()
    }
}

/// A status, as an object or as its JSON text.
pub trait ShowSignedAt {
    /// Shows when the last accepted heartbeat was signed, in epoch seconds.
    fn show_signed_at(&mut self, signed_at: i64);
}

impl ShowSignedAt for Object {
    fn show_signed_at(&mut self, signed_at: i64) {
        self.insert(LAST_HEARTBEAT_SIGNED_AT.into(), signed_at.into());
    }
}

impl ShowSignedAt for Box<RawValue> {
    fn show_signed_at(&mut self, signed_at: i64) {
        let text = self.get().trim_end().strip_suffix('}').unwrap_or("{");
        let comma = if text.trim_end().ends_with('{') { "" } else { "," };
        let whole = if text.contains(LAST_HEARTBEAT_SIGNED_AT) {
            // An operator may have written the key: then the text alone does not do.
            let mut status = json::kept_object(self.get());
            status.show_signed_at(signed_at);
            serde_json::Value::Object(status).to_string()
        } else {
            format!("{text}{comma}\"{LAST_HEARTBEAT_SIGNED_AT}\":{signed_at}}}")
        };
        if let Ok(shown) = RawValue::from_string(whole) {
            *self = shown;
        }
    }
}

/// A node as the scheduler reads it.
pub type PlacedNode = Node<Vec<String>, BTreeMap<String, String>, Facts>;

/// What of a node's status decides what may be placed there; of any type, because clients write it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Facts {
    /// `false`: an operator cordoned it.
    pub schedulable: Option<Value>,
    /// `true`: everything there is to move.
    pub draining: Option<Value>,
    /// How far a drain is.
    pub drain_state: Option<Value>,
    /// `false`: the node says that it cannot work.
    pub ready: Option<Value>,
    /// What it says that it has, and that it needs itself.
    pub capacity: Option<Value>,
}

/// Merges what a node reports into its status, at the top level, without the reserved keys. Tells whether anything changed.
pub fn merge_status(status: &mut Object, patch: Object) -> bool {
    let mut changed = false;
    for (key, value) in patch {
        if !is_reserved(&key) && status.get(&key) != Some(&value) {
            status.insert(key, value);
            changed = true;
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_signing_time_is_shown_in_text_as_in_an_object() {
        for status in [r#"{}"#, r#"{ }"#, r#"{"a":{"b":[]}}"#, r#"{"last_heartbeat_signed_at":1,"a":2}"#] {
            let mut object: Object = serde_json::from_str(status).expect("an object");
            let mut text = RawValue::from_string(status.to_string()).expect("JSON");
            object.show_signed_at(7);
            text.show_signed_at(7);
            assert_eq!(serde_json::from_str::<Object>(text.get()).expect("an object"), object, "{status}");
        }
    }

    #[test]
    fn a_node_cannot_speak_for_the_operator() {
        let object = |v: serde_json::Value| v.as_object().cloned().unwrap_or_default();
        let mut status = object(json!({"schedulable": false, "ready": true}));
        assert!(!merge_status(&mut status, object(json!({"schedulable": true, "ready": true}))));
        assert!(merge_status(&mut status, object(json!({"ready": null}))));
        assert_eq!(serde_json::Value::Object(status), json!({"schedulable": false, "ready": null}));
    }
}
