//! Services: what should run. Every spec is kept as an immutable revision, and a rollback restores an old one under a
//! new number.

use crate::control::once::{Created, Once};
use crate::control::versions::{Condition, Versioned};
use crate::control::work::running::is_run;
use crate::control::{Control, guard, limits, settings};
use crate::crypto;
use crate::error::{Doing, Error, Result};
use crate::model::events::NewEvent;
use crate::model::events::catalogue::{
    SERVICE_CREATE, SERVICE_DELETE, SERVICE_ROLLBACK, SERVICE_ROLLOUT, SERVICE_RUN, SERVICE_UPDATE,
};
use crate::model::ids::ServiceId;
use crate::model::replicas::moved;
use crate::model::services::{BOOKKEEPING, NewService, Revision, Service, without_bookkeeping};
use crate::model::{Object, Page, Paging};
use crate::store::{Write, events, replicas, services};
use serde_json::json;

/// A page of services.
pub fn list(control: &Control, paging: &Paging) -> Result<Page<Service>> {
    control.store.read(|r| services::page(r, paging))
}

/// One service.
pub fn show(control: &Control, id: &ServiceId) -> Result<Versioned<Service>> {
    Versioned::of(control.store.read(|r| services::by_id(r, id))?.ok_or_else(missing)?)
}

/// Creates a service, and its first revision.
pub fn create(control: &Control, once: Once, mut new: NewService, by: &str) -> Result<Created> {
    let by = by.to_string();
    new.spec = without_bookkeeping(new.spec);
    limits::spec_fits(&new.spec)?;
    control.store.write(move |w| {
        guard::check(w)?;
        once.create(w, |w| {
            if services::by_id(w, &new.id)?.is_some() {
                // Before the name, which the same service has.
                return Err(Error::Conflict("Service id already exists".into()));
            }
            services::insert(w, &new)?;
            let service = services::by_id(w, &new.id)?.ok_or_else(missing)?;
            keep_revision(w, &service, "create", None, &by)?;
            let fields = json!({"service_id": service.id, "name": service.name, "by": by});
            events::record(w, SERVICE_CREATE.with(fields))?;
            Ok(service)
        })
    })
}

/// Replaces the description, the spec or both. An unchanged spec creates no new generation.
pub fn update(
    control: &Control,
    id: ServiceId,
    condition: Condition,
    description: Option<String>,
    spec: Option<Object>,
    by: &str,
) -> Result<Versioned<Service>> {
    if description.is_none() && spec.is_none() {
        control.store.read(guard::check)?;
        return condition.unchanged(show(control, &id)?);
    }
    let spec = spec.map(without_bookkeeping);
    spec.as_ref().map_or(Ok(()), limits::spec_fits)?;
    edit(control, id, condition, by, move |w, service, by| {
        if let Some(description) = description {
            service.description = Some(description);
        }
        if spec.as_ref().is_some_and(|spec| spec.contains_key("driver")) {
            let_run(w, service)?;
        }
        if let Some(spec) = spec.filter(|spec| *spec != service.own_spec()) {
            replace_spec(service, spec);
            service.generation += 1;
            keep_revision(w, service, "update", None, by)?;
        }
        Ok(SERVICE_UPDATE.with(json!({"service_id": service.id, "generation": service.generation, "by": by})))
    })
}

/// Restarts every replica under a new generation.
pub fn rollout(control: &Control, id: ServiceId, condition: Condition, by: &str) -> Result<Versioned<Service>> {
    edit(control, id, condition, by, |w, service, by| {
        service.generation += 1;
        service.spec.insert("rollout_requested_at".into(), w.now.to_string().into());
        keep_revision(w, service, "rollout", None, by)?;
        Ok(SERVICE_ROLLOUT.with(json!({"service_id": service.id, "generation": service.generation, "by": by})))
    })
}

/// Lets nodes run the replicas of a service from before they could.
pub fn run(control: &Control, id: ServiceId, condition: Condition, by: &str) -> Result<Versioned<Service>> {
    edit(control, id, condition, by, |w, service, by| {
        let_run(w, service)?;
        Ok(SERVICE_RUN.with(json!({"service_id": service.id, "by": by})))
    })
}

/// Ends the time in which a service is a record whatever its spec says. Its replicas wait for reports where nodes run
/// them from now on, and every node that has one gets its work again.
fn let_run(write: &Write, service: &mut Service) -> Result<()> {
    if !std::mem::take(&mut service.records_only) {
        return Ok(());
    }
    services::update(write, service)?;
    for id in services::replica_ids(write, &service.id)? {
        let Some(mut replica) = replicas::by_id(write, &id)? else { continue };
        if is_run(write, &replica)? {
            moved(&mut replica.status, true, write.now);
        }
        replicas::update(write, &replica)?;
    }
    Ok(())
}

/// Restores the spec of an earlier generation, as a new one.
pub fn rollback(
    control: &Control,
    id: ServiceId,
    condition: Condition,
    target: Option<i64>,
    by: &str,
) -> Result<Versioned<Service>> {
    edit(control, id, condition, by, move |w, service, by| {
        if target.is_none() && service.generation == 1 {
            let id = &service.id;
            return Err(Error::NotFound(format!("{id} has only one generation: there is nothing to roll back to")));
        }
        let target = target.unwrap_or(service.generation - 1);
        let old = services::revision_of(w, &service.id, target)?;
        let old = old.ok_or_else(|| {
            Error::NotFound(format!("Generation {target} of this service does not exist or is no longer kept"))
        })?;
        replace_spec(service, old.spec);
        service.generation += 1;
        service.spec.insert("rollback_requested_at".into(), w.now.to_string().into());
        keep_revision(w, service, "rollback", Some(target), by)?;
        let fields =
            json!({"service_id": service.id, "generation": service.generation, "target_generation": target, "by": by});
        Ok(SERVICE_ROLLBACK.with(fields))
    })
}

/// Deletes a service. Refused while it has replicas, unless forced: then they are deleted too.
pub fn delete(control: &Control, id: ServiceId, condition: Condition, force: bool, by: &str) -> Result<()> {
    let by = by.to_string();
    control.store.write(move |w| {
        guard::check(w)?;
        let service = services::by_id(w, &id)?.ok_or_else(missing)?;
        condition.check(&service)?;
        let placed = services::replicas_of(w, &id)?;
        if placed > 0 && !force {
            let why = format!(
                "{placed} replicas of this service are there. Scale it to 0 first, or delete it with force=true."
            );
            return Err(Error::Conflict(why));
        }
        services::delete(w, &id)?;
        let fields = json!({"service_id": id, "name": service.name, "forced": force, "replicas": placed, "by": by});
        events::record(w, SERVICE_DELETE.with(fields))?;
        Ok(())
    })
}

/// A page of a service's revisions, newest first. `before` is a generation.
pub fn revisions(control: &Control, id: &ServiceId, paging: &Paging, before: Option<i64>) -> Result<Page<Revision>> {
    control.store.read(|r| {
        services::by_id(r, id)?.ok_or_else(missing)?;
        let (mut items, limit, total) = services::revisions(r, id, paging, before.unwrap_or(i64::MAX))?;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(|last| last.generation.to_string()) } else { None };
        Ok(Page { items, total, next })
    })
}

/// The error for an unknown service.
pub fn missing() -> Error {
    Error::not_found("Service")
}

/// Replaces the operator's part of a spec; the bookkeeping stays.
fn replace_spec(service: &mut Service, spec: Object) {
    service.spec.retain(|key, _| BOOKKEEPING.contains(&key.as_str()));
    service.spec.extend(spec);
}

/// Reads, changes, writes and records a service in one transaction.
fn edit(
    control: &Control,
    id: ServiceId,
    condition: Condition,
    by: &str,
    change: impl FnOnce(&Write, &mut Service, &str) -> Result<NewEvent> + Send + 'static,
) -> Result<Versioned<Service>> {
    let by = by.to_string();
    control.store.write(move |w| {
        guard::check(w)?;
        let mut service = services::by_id(w, &id)?.ok_or_else(missing)?;
        condition.check(&service)?;
        let event = change(w, &mut service, &by)?;
        services::update(w, &service)?;
        service.updated_at = w.now;
        events::record(w, event)?;
        Versioned::of(service)
    })
}

fn keep_revision(write: &Write, service: &Service, action: &str, restored: Option<i64>, by: &str) -> Result<()> {
    let spec = service.own_spec();
    let text = serde_json::to_string(&spec).doing("write a spec as JSON")?;
    let revision = Revision {
        service_id: service.id.clone(),
        generation: service.generation,
        spec_sha256: crypto::sha256_hex(text.as_bytes()),
        spec,
        action: action.to_string(),
        restored_generation: restored,
        created_by: by.to_string(),
        created_at: write.now,
    };
    services::add_revision(write, &revision, settings::number(write, settings::REVISIONS_BYTES)?)
}
