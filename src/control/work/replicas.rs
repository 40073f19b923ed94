//! Replicas: placed by clients or by the scheduler, moved, restarted, deleted.

use crate::control::fleet::nodes as node_rules;
use crate::control::once::{Created, Once};
use crate::control::versions::{Condition, Versioned};
use crate::control::work::running::is_run;
use crate::control::work::services as service_rules;
use crate::control::{Control, guard, limits};
use crate::crypto;
use crate::error::{Error, Result};
use crate::model::events::catalogue::{
    Kind, REPLICA_CREATE, REPLICA_DELETE, REPLICA_MOVE, REPLICA_RESTART, REPLICA_RESTORE, REPLICA_SNAPSHOT,
    REPLICA_UPDATE,
};
use crate::model::ids::{NodeId, ReplicaId, ServiceId};
use crate::model::replica_words;
use crate::model::replicas::{ListedReplica, NewReplica, PlacedBy, Placement, Replica, moved};
use crate::model::{Object, Page, Paging};
use crate::store::{Write, events, nodes, replicas, services};
use serde_json::{Value, json};

/// A page of replicas; of one service, of one node, or of all.
pub fn list(
    control: &Control,
    paging: &Paging,
    service_id: Option<&ServiceId>,
    node_id: Option<&NodeId>,
) -> Result<Page<ListedReplica>> {
    control.store.read(|r| replicas::page(r, paging, service_id, node_id))
}

/// One replica.
pub fn show(control: &Control, id: &ReplicaId) -> Result<Versioned<Replica>> {
    Versioned::of(control.store.read(|r| replicas::by_id(r, id))?.ok_or_else(missing)?)
}

/// Places a replica by hand.
pub fn create(control: &Control, once: Once, new: NewReplica) -> Result<Created> {
    control.store.write(move |w| {
        guard::check(w)?;
        once.create(w, |w| {
            limits::status_fits("replica", &new.status)?;
            let mut replica = Replica {
                id: new.id,
                service_id: new.service_id,
                node_id: new.node_id,
                desired_state: new.desired_state,
                status: new.status,
                placement: None,
                created_at: w.now,
                updated_at: w.now,
            };
            if replicas::by_id(w, &replica.id)?.is_some() {
                return Err(Error::Conflict("Replica id already exists".to_string()));
            }
            services::by_id(w, &replica.service_id)?.ok_or_else(service_rules::missing)?;
            nodes::by_id(w, &replica.node_id)?.ok_or_else(node_rules::missing)?;
            if is_run(w, &replica)? {
                replica_words::await_report(&mut replica.status, w.now);
            }
            replicas::insert(w, &replica)?;
            let fields =
                json!({"replica_id": replica.id, "service_id": replica.service_id, "node_id": replica.node_id});
            events::record(w, REPLICA_CREATE.with(fields))?;
            Ok(replica)
        })
    })
}

/// Replaces the desired state of a replica, its status, or both.
pub fn update(
    control: &Control,
    id: ReplicaId,
    condition: Condition,
    desired_state: Option<String>,
    status: Option<Object>,
) -> Result<Versioned<Replica>> {
    if desired_state.is_none() && status.is_none() {
        control.store.read(guard::check)?;
        return condition.unchanged(show(control, &id)?);
    }
    edit(control, id, condition, REPLICA_UPDATE, |w, replica| {
        if let Some(state) = desired_state {
            replica.desired_state = state;
        }
        if let Some(mut status) = status {
            if is_run(w, replica)? {
                replica_words::keep(&replica.status, &mut status);
            }
            replica.status = status;
        }
        Ok(json!({"replica_id": replica.id, "service_id": replica.service_id}))
    })
}

/// Moves a replica to another node.
pub fn place(
    control: &Control,
    id: ReplicaId,
    condition: Condition,
    target_node_id: NodeId,
    by: &str,
) -> Result<Versioned<Replica>> {
    let by = by.to_string();
    edit(control, id, condition, REPLICA_MOVE, move |w, replica| {
        nodes::by_id(w, &target_node_id)?.ok_or_else(|| Error::not_found("Target node"))?;
        let from = std::mem::replace(&mut replica.node_id, target_node_id);
        let is_run = is_run(w, replica)?;
        moved(&mut replica.status, is_run, w.now);
        replica.placement = Some(Placement {
            action: PlacedBy::Move,
            reason: format!("moved by {by}"),
            at: w.now,
            from_node_id: Some(from.clone()),
            failures: 0,
            failed_on: Vec::new(),
        });
        Ok(json!({"replica_id": replica.id, "target_node_id": replica.node_id, "source_node_id": from, "by": by}))
    })
}

/// Requests a restart.
pub fn restart(control: &Control, id: ReplicaId, condition: Condition) -> Result<Versioned<Replica>> {
    edit(control, id, condition, REPLICA_RESTART, |w, replica| {
        replica.status.insert("last_restart_at".into(), w.now.to_string().into());
        Ok(json!({"replica_id": replica.id}))
    })
}

/// Requests a snapshot of its data.
pub fn snapshot(control: &Control, id: ReplicaId, condition: Condition) -> Result<Versioned<Replica>> {
    edit(control, id, condition, REPLICA_SNAPSHOT, |w, replica| {
        replica.status.insert("last_snapshot_at".into(), w.now.to_string().into());
        Ok(json!({"replica_id": replica.id}))
    })
}

/// Requests a restore of its data from a snapshot.
pub fn restore(
    control: &Control,
    id: ReplicaId,
    condition: Condition,
    snapshot_id: Option<String>,
) -> Result<Versioned<Replica>> {
    edit(control, id, condition, REPLICA_RESTORE, move |w, replica| {
        let snapshot_id = snapshot_id.map_or(Value::Null, Value::String);
        replica.status.insert("last_restore_at".into(), w.now.to_string().into());
        replica.status.insert("last_restore_snapshot_id".into(), snapshot_id.clone());
        Ok(json!({"replica_id": replica.id, "snapshot_id": snapshot_id}))
    })
}

/// Deletes a replica and its endpoints.
pub fn delete(control: &Control, id: ReplicaId, condition: Condition) -> Result<()> {
    control.store.write(move |w| {
        guard::check(w)?;
        let replica = replicas::by_id(w, &id)?.ok_or_else(missing)?;
        condition.check(&replica)?;
        replicas::delete(w, &id)?;
        w.placed(&replica.node_id);
        let fields = json!({"replica_id": id, "service_id": replica.service_id});
        events::record(w, REPLICA_DELETE.with(fields))?;
        Ok(())
    })
}

/// Id of the replica that the scheduler creates as the `number`th of a service: the same in every plan, until it is
/// created. The service's id is cut if both would be too long.
pub fn made_id(service_id: &ServiceId, number: i64) -> ReplicaId {
    const SERVICE_CHARS_MAX: usize = 64 - "-replica-".len() - 8;
    let hash = crypto::sha256_hex(format!("{service_id}\n{number}").as_bytes());
    // Ids are ASCII.
    let service = service_id.as_str();
    let service = &service[..service.len().min(SERVICE_CHARS_MAX)];
    ReplicaId::of_row(format!("{service}-replica-{}", &hash[..8]))
}

/// The error for an unknown replica.
pub fn missing() -> Error {
    Error::not_found("Replica")
}

/// Reads, changes, writes and records a replica in one transaction.
fn edit(
    control: &Control,
    id: ReplicaId,
    condition: Condition,
    event: Kind,
    change: impl FnOnce(&Write, &mut Replica) -> Result<Value> + Send + 'static,
) -> Result<Versioned<Replica>> {
    control.store.write(move |w| {
        guard::check(w)?;
        let mut replica = replicas::by_id(w, &id)?.ok_or_else(missing)?;
        condition.check(&replica)?;
        w.placed(&replica.node_id);
        let fields = change(w, &mut replica)?;
        limits::status_fits("replica", &replica.status)?;
        replicas::update(w, &replica)?;
        replica.updated_at = w.now;
        events::record(w, event.with(fields))?;
        Versioned::of(replica)
    })
}

#[cfg(test)]
mod tests {
    use super::made_id;
    use crate::model::ids::is_id;

    #[test]
    fn made_ids_are_ids_and_differ() {
        let long = "s".repeat(64);
        for service in ["web", long.as_str()] {
            let (a, b) = (made_id(&service.into(), 1), made_id(&service.into(), 2));
            assert!(is_id(a.as_str()) && a != b && a == made_id(&service.into(), 1), "{a}");
        }
        assert!(made_id(&"web".into(), 1).as_str().starts_with("web-replica-"));
    }
}
