//! Rows of services and their revisions.

use super::query::query;
use super::row::{Json, json};
use super::{Read, Write};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::ids::{ReplicaId, ServiceId};
use crate::model::services::{NewService, Revision, Service};
use crate::model::{Object, Page, Paging};
use rusqlite::{Row, named_params};

/// Maximum revisions kept per service; older ones are deleted.
const REVISIONS_KEPT: i64 = 1_000;

/// Reads a row of `page`, `all` or `by_id`, and overlays the bookkeeping on the spec.
fn service(row: &Row) -> rusqlite::Result<Service> {
    let mut spec = row.get::<_, Json<Object>>(3)?.0;
    for (key, column) in [("rollout_requested_at", 7), ("rollback_requested_at", 8)] {
        if let Some(at) = row.get::<_, Option<Timestamp>>(column)? {
            spec.insert(key.to_string(), at.to_string().into());
        }
    }
    Ok(Service {
        id: row.get(0)?,
        name: row.get(1)?,
        description: row.get(2)?,
        spec,
        generation: row.get(4)?,
        created_at: row.get(5)?,
        updated_at: row.get(6)?,
        replicas_made: row.get(9)?,
        late_rollout: row.get(10)?,
        records_only: row.get(11)?,
    })
}

fn revision(row: &Row) -> rusqlite::Result<Revision> {
    Ok(Revision {
        service_id: row.get(0)?,
        generation: row.get(1)?,
        spec: row.get::<_, Json<Object>>(2)?.0,
        spec_sha256: row.get(3)?,
        action: row.get(4)?,
        restored_generation: row.get(5)?,
        created_by: row.get(6)?,
        created_at: row.get(7)?,
    })
}

/// The id and name of every service.
pub fn ids_and_names(read: &Read) -> Result<Vec<(ServiceId, String)>> {
    read.rows(query!("services", "ids_and_names"), &[], |r| Ok((r.get(0)?, r.get(1)?)))
}

/// A page of services, by id.
pub fn page(read: &Read, paging: &Paging) -> Result<Page<Service>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit as i64 + 1);
    let (items, cut_at) = read.page_rows(
        query!("services", "page"),
        named_params! { ":after": after, ":limit": limit },
        paging,
        service,
    )?;
    Ok(Page::cut(items, cut_at, read.count(query!("services", "count"), &[])?, |s| s.id.as_str()))
}

/// Every service.
pub fn all(read: &Read) -> Result<Vec<Service>> {
    read.rows(query!("services", "all"), &[], service)
}

/// The service of this id.
pub fn by_id(read: &Read, id: &ServiceId) -> Result<Option<Service>> {
    read.row(query!("services", "by_id"), named_params! { ":id": id }, service)
}

/// The ids of all replicas of a service.
pub fn replica_ids(read: &Read, id: &ServiceId) -> Result<Vec<ReplicaId>> {
    read.rows(query!("services", "replica_ids"), named_params! { ":id": id }, |r| r.get(0))
}

/// Number of replicas of a service.
pub fn replicas_of(read: &Read, id: &ServiceId) -> Result<u64> {
    read.count(query!("services", "replicas_of"), named_params! { ":id": id })
}

/// Inserts a service; 409 if its id or name exists.
pub fn insert(write: &Write, new: &NewService) -> Result<()> {
    let row = named_params! {
        ":id": new.id, ":name": new.name, ":description": new.description, ":spec": json(&new.spec)?, ":generation": 1,
        ":now": write.now,
    };
    write.run(query!("services", "insert"), row)?;
    write.changed();
    Ok(())
}

/// Stores a changed service.
pub fn update(write: &Write, service: &Service) -> Result<()> {
    let moment = |key: &str| service.spec.get(key).and_then(|v| v.as_str()).and_then(Timestamp::parse);
    let row = named_params! {
        ":id": service.id, ":description": service.description, ":spec": json(&service.own_spec())?,
        ":generation": service.generation, ":records_only": service.records_only,
        ":rollout_requested_at": moment("rollout_requested_at"),
        ":rollback_requested_at": moment("rollback_requested_at"), ":now": write.now,
    };
    write.run(query!("services", "update"), row)?;
    write.changed();
    // A replica without a generation runs the newest one.
    let nodes = write.rows(query!("services", "following_nodes"), named_params! { ":id": service.id }, |r| r.get(0))?;
    nodes.iter().for_each(|node_id| write.placed(node_id));
    Ok(())
}

/// Adds to the number of replicas created by the scheduler.
pub fn count_made(write: &Write, id: &ServiceId, made: i64) -> Result<()> {
    write.run(query!("services", "count_made"), named_params! { ":id": id, ":made": made })?;
    Ok(())
}

/// Records that the late rollout of this generation was reported.
pub fn set_late_rollout(write: &Write, id: &ServiceId, generation: i64) -> Result<()> {
    write.run(query!("services", "set_late_rollout"), named_params! { ":id": id, ":generation": generation })?;
    write.changed();
    Ok(())
}

/// Deletes a service with its revisions, replicas and endpoints.
pub fn delete(write: &Write, id: &ServiceId) -> Result<()> {
    let nodes = write.rows(query!("services", "delete_replicas"), named_params! { ":id": id }, |r| r.get(0))?;
    nodes.iter().for_each(|node_id| write.placed(node_id));
    write.run(query!("services", "delete"), named_params! { ":id": id })?;
    write.changed();
    Ok(())
}

/// Inserts a revision, and deletes those that exceed the maximum number or the bytes of specs.
pub fn add_revision(write: &Write, new: &Revision, bytes_max: i64) -> Result<()> {
    let row = named_params! {
        ":service_id": new.service_id, ":generation": new.generation, ":spec": json(&new.spec)?,
        ":spec_sha256": new.spec_sha256,
        ":action": new.action, ":restored": new.restored_generation, ":created_by": new.created_by, ":now": write.now,
    };
    write.run(query!("services", "add_revision"), row)?;
    let old = named_params! { ":service_id": new.service_id, ":up_to": new.generation - REVISIONS_KEPT };
    write.run(query!("services", "prune_revisions"), old)?;
    let large = named_params! { ":service_id": new.service_id, ":current": new.generation, ":bytes_max": bytes_max };
    write.run(query!("services", "prune_large_revisions"), large)?;
    Ok(())
}

/// A revision of a service.
pub fn revision_of(read: &Read, service_id: &ServiceId, generation: i64) -> Result<Option<Revision>> {
    read.row(
        query!("services", "revision"),
        named_params! { ":service_id": service_id, ":generation": generation },
        revision,
    )
}

/// A page of revisions, newest first, and their total number. `before` is a generation.
pub fn revisions(read: &Read, id: &ServiceId, paging: &Paging, before: i64) -> Result<(Vec<Revision>, usize, u64)> {
    let page = named_params! { ":service_id": id, ":before": before, ":limit": paging.limit as i64 + 1 };
    let (items, limit) = read.page_rows(query!("services", "revisions"), page, paging, revision)?;
    Ok((items, limit, read.count(query!("services", "count_revisions"), named_params! { ":service_id": id })?))
}
