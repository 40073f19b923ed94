//! Nodes: what an operator may do with one.

use super::{Control, guard, limits};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::events::NewEvent;
use crate::model::nodes::{ListedNode, Node, NodeChange};
use crate::model::{Object, Page, Paging};
use crate::store::{Write, events, nodes};
use crate::thread::lock;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// A page of nodes, with their leases laid over.
pub fn list(control: &Control, paging: &Paging) -> Result<Page<ListedNode>> {
    let mut page = control.store.read(|r| nodes::page(r, paging))?;
    for node in &mut page.items {
        control.leases.overlay(node);
    }
    Ok(page)
}

/// One node.
pub fn show(control: &Control, id: &str) -> Result<Node> {
    let mut node = control.store.read(|r| nodes::by_id(r, id))?.ok_or_else(missing)?;
    control.leases.overlay(&mut node);
    Ok(node)
}

/// Makes a node known before it joins.
pub fn create(control: &Control, id: String, name: String, given: NodeChange) -> Result<Node> {
    control.store.write(move |w| {
        guard::check(w)?;
        let node = Node::new(id.clone(), name.clone(), given, w.now);
        limits::status_fits(&node.status)?;
        nodes::insert(w, &node)?;
        events::record(w, NewEvent::info("nodes", "node.create", json!({"node_id": id, "name": name})))?;
        nodes::by_id(w, &id)?.ok_or_else(missing)
    })
}

/// Replaces what was given of a node.
pub fn update(control: &Control, id: String, change: NodeChange) -> Result<Node> {
    if change.is_empty() {
        control.store.read(guard::check)?;
        return show(control, &id);
    }
    let event = NewEvent::info("nodes", "node.update", json!({"node_id": id}));
    edit(control, id, event, move |node, _| change.apply(node))
}

/// Takes a node out of scheduling; what runs there stays.
pub fn cordon(control: &Control, id: String) -> Result<Node> {
    mark(control, id, "nodes", "node.cordon", |status, now| {
        status.insert("schedulable".into(), false.into());
        status.insert("cordoned_at".into(), now);
    })
}

/// Puts a node back into scheduling; a drain ends.
pub fn uncordon(control: &Control, id: String) -> Result<Node> {
    mark(control, id, "nodes", "node.uncordon", |status, now| {
        status.insert("schedulable".into(), true.into());
        status.insert("draining".into(), false.into());
        status.insert("uncordoned_at".into(), now);
    })
}

/// Takes a node out of scheduling and asks for everything on it to be moved.
pub fn drain(control: &Control, id: String) -> Result<Node> {
    mark(control, id, "nodes", "node.drain", |status, now| {
        status.insert("draining".into(), true.into());
        status.insert("schedulable".into(), false.into());
        status.insert("drain_requested_at".into(), now);
    })
}

/// Asks for a reboot.
pub fn mark_reboot(control: &Control, id: String) -> Result<Node> {
    mark(control, id, "nodes", "node.reboot_marker", |status, now| {
        status.insert("reboot_requested_at".into(), now);
    })
}

/// Asks the node for new WireGuard keys.
pub fn rotate_wg_keys(control: &Control, id: String) -> Result<Node> {
    mark(control, id, "wireguard", "node.rotate_keys", |status, now| {
        status.insert("wg_key_rotation_requested_at".into(), now);
    })
}

/// Takes a node away and revokes its identity at once. Refused while replicas are placed there, unless by force.
pub fn delete(control: &Control, id: String, force: bool) -> Result<()> {
    let (deleted, table) = (id.clone(), control.leases.clone());
    let taken = Arc::new(Mutex::new(None));
    let note = Arc::clone(&taken);
    let written = control.store.write(move |w| {
        guard::check(w)?;
        let node = nodes::by_id(w, &id)?.ok_or_else(missing)?;
        let placed = nodes::replicas_on(w, &id)?;
        if placed > 0 && !force {
            let why = format!("{placed} replicas are placed on this node. Drain it first, or delete it with force=true.");
            return Err(Error::Conflict(why));
        }
        nodes::delete(w, &id)?;
        let fields = json!({"node_id": id, "name": node.name, "forced": force, "replicas": placed});
        events::record(w, NewEvent::at("warning", "nodes", "node.delete", fields))?;
        *lock(&note) = table.remove(&id);
        Ok(())
    });
    if let (Err(_), Some(lease)) = (&written, lock(&taken).take()) {
        control.leases.put_back(&deleted, lease);
    }
    written
}

/// The answer where there is no such node.
pub fn missing() -> Error {
    Error::not_found("Node")
}

/// Changes the status of a node and tells of it.
fn mark(
    control: &Control,
    id: String,
    category: &'static str,
    name: &'static str,
    change: impl FnOnce(&mut Object, Value) + Send + 'static,
) -> Result<Node> {
    let event = NewEvent::info(category, name, json!({"node_id": id}));
    edit(control, id, event, move |node, now| change(&mut node.status, now.to_string().into()))
}

/// Read, change, write, tell: one transaction.
fn edit(control: &Control, id: String, event: NewEvent, change: impl FnOnce(&mut Node, Timestamp) + Send + 'static) -> Result<Node> {
    let edited = id.clone();
    let mut node = control.store.write(move |w: &Write| {
        guard::check(w)?;
        let mut node = nodes::by_id(w, &id)?.ok_or_else(missing)?;
        change(&mut node, w.now);
        limits::status_fits(&node.status)?;
        nodes::update(w, &node)?;
        node.updated_at = w.now;
        events::record(w, event)?;
        Ok(node)
    })?;
    control.leases.status_changed(&edited);
    control.leases.overlay(&mut node);
    Ok(node)
}

impl Node {
    /// A node that has not joined yet.
    pub(super) fn new(id: String, name: String, given: NodeChange, now: Timestamp) -> Node {
        let mut node = Node {
            seq: 0,
            id,
            name,
            roles: Vec::new(),
            labels: Default::default(),
            mesh_ip: None,
            status: Object::new(),
            api_endpoint: None,
            heartbeat_at: None,
            lease_expires_at: None,
            identity_fingerprint: None,
            identity_expires_at: None,
            created_at: now,
            updated_at: now,
        };
        given.apply(&mut node);
        node
    }
}
