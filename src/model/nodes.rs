//! Nodes: the machines of the fleet, as operators and clients see them.

use super::Object;
use super::capacity::{Capacity, Reserved};
use super::leases::LeaseState;
use super::status_keys::{LAST_HEARTBEAT_SIGNED_AT, is_reserved};
use crate::clock::Timestamp;
use crate::json;
use crate::model::ids::NodeId;
use crate::model::mesh_address::MeshAddress;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A node in lists: its JSON columns are passed on as stored, which makes long lists cheap.
pub type ListedNode = Node<Box<RawValue>, Box<RawValue>, Box<RawValue>>;

/// A node, in the shape of the contract.
#[derive(Debug, Clone, Serialize)]
pub struct Node<Roles = Vec<String>, Labels = BTreeMap<String, String>, Status = Object> {
    /// Key of its lease row; never shown.
    #[serde(skip)]
    pub seq: i64,
    /// Unique id; never changes.
    pub id: NodeId,
    /// Unique name.
    pub name: String,
    /// `core`, `worker`, `gateway` or the operator's own.
    pub roles: Roles,
    /// The operator's labels, matched by selectors.
    pub labels: Labels,
    /// Its address inside the mesh.
    pub mesh_ip: Option<MeshAddress>,
    /// The address from an operator, or from the token that admitted it; never shown. An address that the machine
    /// reports is not in here.
    #[serde(skip)]
    pub mesh_ip_given: Option<MeshAddress>,
    /// The node's report and the operator's wishes.
    pub status: Status,
    /// URL of its own API.
    pub api_endpoint: Option<String>,
    /// The operator's capacity; overrides the node's report.
    pub capacity: Option<Capacity>,
    /// The operator's reserve.
    pub reserved: Option<Reserved>,
    /// Time of its last accepted heartbeat.
    pub heartbeat_at: Option<Timestamp>,
    /// End of its lease.
    pub lease_expires_at: Option<Timestamp>,
    /// Time since which its waiting call is lost, while it is suspect for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspect_since: Option<Timestamp>,
    /// Lower-case hex SHA-256 of its DER certificate.
    pub identity_fingerprint: Option<String>,
    /// End of that certificate.
    pub identity_expires_at: Option<Timestamp>,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

/// Filter for node lists; a `None` field matches all.
#[derive(Debug, Clone, Default)]
pub struct NodeFilter {
    /// One of its roles.
    pub role: Option<String>,
    /// State of its lease.
    pub lease_state: Option<LeaseState>,
    /// Labels that it must have.
    pub labels: BTreeMap<String, String>,
}

impl NodeFilter {
    /// True if it matches all nodes.
    pub fn is_empty(&self) -> bool {
        self.role.is_none() && self.lease_state.is_none() && self.labels.is_empty()
    }
}

/// Changes by a PATCH or a POST; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct NodeChange {
    /// A new name.
    pub name: Option<String>,
    /// Roles that replace the old ones.
    pub roles: Option<Vec<String>>,
    /// Labels that replace the old ones.
    pub labels: Option<BTreeMap<String, String>>,
    /// A new mesh address.
    pub mesh_ip: Option<MeshAddress>,
    /// A status that replaces the old one.
    pub status: Option<Object>,
    /// A new API endpoint.
    pub api_endpoint: Option<String>,
    /// A new capacity; an empty one leaves it to the node again.
    pub capacity: Option<Capacity>,
    /// A new reserve; an empty one leaves it to the node again.
    pub reserved: Option<Reserved>,
}

impl NodeChange {
    /// Applies the changes to a node; each field replaces the old one as a whole.
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

    /// Applies an operator's changes; a certificate may contain the mesh address that they set.
    pub fn apply_of_operator(self, node: &mut Node) {
        let given = self.mesh_ip.clone();
        self.apply(node);
        node.mesh_ip_given = given.or(node.mesh_ip_given.take());
    }

    /// True if there are no changes.
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

/// A status, as an object or as JSON text.
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
            // An operator may have written the key, so appending to the text is not enough.
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

/// The parts of a node's status that decide about placement; of any type, because clients write them.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Facts {
    /// `false`: an operator cordoned it.
    pub schedulable: Option<Value>,
    /// `true`: everything on it must move.
    pub draining: Option<Value>,
    /// Progress of a drain.
    pub drain_state: Option<Value>,
    /// `false`: the node reports that it cannot work.
    pub ready: Option<Value>,
    /// Its reported capacity, and its own need.
    pub capacity: Option<Value>,
    /// The abilities of its runner, if it has one.
    pub runner: Option<Value>,
}

/// Merges a node's report into its status, at the top level, without the reserved keys. Returns true if anything
/// changed.
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
