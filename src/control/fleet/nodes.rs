//! Nodes: an operator's actions on them.

use crate::clock::{self, Timestamp};
use crate::control::once::{Created, Once};
use crate::control::versions::{Condition, Versioned};
use crate::control::{Control, guard, limits, settings};
use crate::error::{Error, Result};
use crate::model::events::NewEvent;
use crate::model::events::catalogue::{
    Kind, NODE_CORDON, NODE_CREATE, NODE_DELETE, NODE_DRAIN, NODE_FORGET, NODE_REBOOT_MARKER, NODE_ROTATE_KEYS,
    NODE_UNCORDON, NODE_UPDATE,
};
use crate::model::ids::NodeId;
use crate::model::leases::LeaseState;
use crate::model::nodes::{ListedNode, Node, NodeChange, NodeFilter};
use crate::model::status_keys;
use crate::model::{Object, Page, Paging};
use crate::store::{Write, events, nodes, routers};
use serde_json::{Value, json};
use std::sync::Arc;

/// Seconds of a day.
const DAY_S: i64 = 86_400;

/// A page of nodes, with their leases.
pub fn list(control: &Control, paging: &Paging, filter: &NodeFilter) -> Result<Page<ListedNode>> {
    let mut page = match filter.is_empty() {
        true => control.store.read(|r| nodes::page(r, paging))?,
        false => {
            let states = filter.lease_state.map(|_| control.leases.states());
            let ids = |wanted: &dyn Fn(LeaseState) -> bool| {
                let states = states.iter().flatten();
                Some(states.filter(|(_, state)| wanted(*state)).map(|(id, _)| id.clone()).collect::<Vec<_>>())
            };
            let (among, not_among) = match filter.lease_state {
                None => (None, None),
                // Nodes without a lease are not in the table.
                Some(LeaseState::Unknown) => (None, ids(&|_| true)),
                Some(wanted) => (ids(&|state| state == wanted), None),
            };
            let wanted = nodes::NodeFilter { role: filter.role.as_deref(), labels: &filter.labels, among, not_among };
            control.store.read(|r| nodes::page_of(r, paging, &wanted))?
        }
    };
    for node in &mut page.items {
        control.leases.overlay(node);
    }
    Ok(page)
}

/// One node.
pub fn show(control: &Control, id: &NodeId) -> Result<Versioned<Node>> {
    let node = control.store.read(|r| nodes::by_id(r, id))?.ok_or_else(missing)?;
    Ok(Versioned::of(node)?.with(|node| control.leases.overlay(node)))
}

/// Creates a node before it joins.
pub fn create(control: &Control, once: Once, id: NodeId, name: String, given: NodeChange) -> Result<Created> {
    control.store.write(move |w| {
        guard::check(w)?;
        once.create(w, |w| {
            if nodes::by_id(w, &id)?.is_some() {
                // Before the name, which the same node has.
                return Err(Error::Conflict("Node id already exists".into()));
            }
            let mut node = Node::new(id.clone(), name.clone(), NodeChange::default(), w.now);
            given.apply_of_operator(&mut node);
            limits::status_fits("node", &node.status)?;
            limits::one_more_node(w)?;
            nodes::insert(w, &node)?;
            events::record(w, NODE_CREATE.with(json!({"node_id": id, "name": name})))?;
            nodes::by_id(w, &id)?.ok_or_else(missing)
        })
    })
}

/// Replaces the given fields of a node.
pub fn update(control: &Control, id: NodeId, condition: Condition, change: NodeChange) -> Result<Versioned<Node>> {
    if change.is_empty() {
        control.store.read(guard::check)?;
        return condition.unchanged(show(control, &id)?);
    }
    let event = NODE_UPDATE.with(json!({"node_id": id}));
    edit(control, id, condition, event, move |node, _| change.apply_of_operator(node))
}

/// Takes a node out of scheduling: it gets no new replicas, and its replicas move to eligible nodes.
pub fn cordon(control: &Control, id: NodeId, condition: Condition) -> Result<Versioned<Node>> {
    mark(control, id, condition, NODE_CORDON, |status, now| {
        status.insert(status_keys::SCHEDULABLE.into(), false.into());
        status.insert(status_keys::CORDONED_AT.into(), now);
    })
}

/// Returns a node to scheduling; ends a drain.
pub fn uncordon(control: &Control, id: NodeId, condition: Condition) -> Result<Versioned<Node>> {
    mark(control, id, condition, NODE_UNCORDON, |status, now| {
        status.insert(status_keys::SCHEDULABLE.into(), true.into());
        status.insert(status_keys::DRAINING.into(), false.into());
        status.remove(status_keys::DRAIN_STATE);
        status.insert(status_keys::UNCORDONED_AT.into(), now);
    })
}

/// Takes a node out of scheduling and moves everything away from it.
pub fn drain(control: &Control, id: NodeId, condition: Condition) -> Result<Versioned<Node>> {
    mark(control, id, condition, NODE_DRAIN, |status, now| {
        status.insert(status_keys::DRAINING.into(), true.into());
        status.insert(status_keys::SCHEDULABLE.into(), false.into());
        status.insert(status_keys::DRAIN_STATE.into(), "draining".into());
        status.insert(status_keys::DRAIN_REQUESTED_AT.into(), now);
    })
}

/// Requests a reboot.
pub fn mark_reboot(control: &Control, id: NodeId, condition: Condition) -> Result<Versioned<Node>> {
    mark(control, id, condition, NODE_REBOOT_MARKER, |status, now| {
        status.insert(status_keys::REBOOT_REQUESTED_AT.into(), now);
    })
}

/// Requests new WireGuard keys from the node.
pub fn rotate_wg_keys(control: &Control, id: NodeId, condition: Condition) -> Result<Versioned<Node>> {
    mark(control, id, condition, NODE_ROTATE_KEYS, |status, now| {
        status.insert(status_keys::WG_KEY_ROTATION_REQUESTED_AT.into(), now);
    })
}

/// Deletes a node and revokes its identity at once. Refused while replicas are placed there, unless forced.
pub fn delete(control: &Control, id: NodeId, condition: Condition, force: bool) -> Result<()> {
    remove(control, id, condition, force, NODE_DELETE)
}

/// Nodes deleted in one turn of the pass: other writes go between the turns.
const FORGET_BATCH: usize = 50;

/// Deletes nodes without replicas that have been dead for as long as the setting says.
pub fn forget_old(control: &Control) -> Result<()> {
    let old = control.store.read(|r| match settings::number(r, settings::NODE_FORGET_DAYS)? {
        0 => Ok(Vec::new()),
        days => nodes::unheard_since(r, clock::now().plus_secs(-days * DAY_S), FORGET_BATCH),
    })?;
    // A restart of the control plane gives every node a fresh term to come back in.
    for id in old.into_iter().filter(|id| control.leases.state(id) == LeaseState::Dead) {
        match remove(control, id, Condition::default(), false, NODE_FORGET) {
            // It got a replica, or was deleted, a moment ago.
            Err(Error::Conflict(_) | Error::NotFound(_)) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Deletes a node in one transaction with its event.
fn remove(control: &Control, id: NodeId, condition: Condition, force: bool, event: Kind) -> Result<()> {
    let (table, work) = (control.leases.clone(), Arc::clone(&control.node_work));
    let reports = Arc::clone(&control.reports);
    control.store.write(move |w| {
        guard::check(w)?;
        let node = nodes::by_id(w, &id)?.ok_or_else(missing)?;
        condition.check(&node)?;
        if event == NODE_FORGET && table.state(&id) != LeaseState::Dead {
            return Err(Error::Conflict("This node is heard from again.".into()));
        }
        let (placed, routed) = (nodes::replicas_on(w, &id)?, routers::count_of_node(w, &id)?);
        if (placed > 0 || routed > 0) && !force {
            let why = format!(
                "{placed} replicas are placed on this node and {routed} router assignments name it. Drain it and \
                    delete those first, or delete it with force=true."
            );
            return Err(Error::Conflict(why));
        }
        routers::delete_of_node(w, &id)?;
        nodes::delete(w, &id)?;
        let fields = json!({"node_id": id, "name": node.name, "forced": force, "replicas": placed,
            "router_assignments": routed});
        events::record(w, event.with(fields))?;
        table.remove(w, &id);
        w.on_commit(move || {
            work.forget(&id);
            reports.forget(&id);
        });
        Ok(())
    })
}

/// The error for an unknown node.
pub fn missing() -> Error {
    Error::not_found("Node")
}

/// Changes the status of a node and records the event.
fn mark(
    control: &Control,
    id: NodeId,
    condition: Condition,
    event: Kind,
    change: impl FnOnce(&mut Object, Value) + Send + 'static,
) -> Result<Versioned<Node>> {
    let event = event.with(json!({"node_id": id}));
    edit(control, id, condition, event, move |node, now| change(&mut node.status, now.to_string().into()))
}

/// Reads, changes, writes and records a node in one transaction.
fn edit(
    control: &Control,
    id: NodeId,
    condition: Condition,
    event: NewEvent,
    change: impl FnOnce(&mut Node, Timestamp) + Send + 'static,
) -> Result<Versioned<Node>> {
    let table = control.leases.clone();
    let node = control.store.write(move |w: &Write| {
        guard::check(w)?;
        let mut node = nodes::by_id(w, &id)?.ok_or_else(missing)?;
        condition.check(&node)?;
        change(&mut node, w.now);
        limits::status_fits("node", &node.status)?;
        nodes::update(w, &node)?;
        node.updated_at = w.now;
        events::record(w, event)?;
        table.status_changed(&id);
        Versioned::of(node)
    })?;
    Ok(node.with(|node| control.leases.overlay(node)))
}

impl Node {
    /// A node that has not joined yet.
    pub(in crate::control) fn new(id: NodeId, name: String, given: NodeChange, now: Timestamp) -> Node {
        let mut node = Node {
            seq: 0,
            id,
            name,
            roles: Vec::new(),
            labels: Default::default(),
            mesh_ip: None,
            mesh_ip_given: None,
            status: Object::new(),
            api_endpoint: None,
            capacity: None,
            reserved: None,
            heartbeat_at: None,
            lease_expires_at: None,
            suspect_since: None,
            identity_fingerprint: None,
            identity_expires_at: None,
            created_at: now,
            updated_at: now,
        };
        given.apply(&mut node);
        node
    }
}
