//! Endpoints: addresses of replicas, and their health.

use crate::control::once::{Created, Once};
use crate::control::versions::{Condition, Versioned};
use crate::control::work::replicas as replica_rules;
use crate::control::{Control, guard};
use crate::error::{Error, Result};
use crate::model::endpoints::{Endpoint, NewEndpoint};
use crate::model::events::catalogue::{ENDPOINT_CREATE, ENDPOINT_DELETE, ENDPOINT_UPDATE};
use crate::model::ids::{EndpointId, ReplicaId};
use crate::model::{Page, Paging};
use crate::store::{endpoints, events, replicas};
use serde_json::json;

/// A page of endpoints; of one replica or of all.
pub fn list(control: &Control, paging: &Paging, replica_id: Option<&ReplicaId>) -> Result<Page<Endpoint>> {
    control.store.read(|r| endpoints::page(r, paging, replica_id))
}

/// One endpoint.
pub fn show(control: &Control, id: &EndpointId) -> Result<Versioned<Endpoint>> {
    Versioned::of(control.store.read(|r| endpoints::by_id(r, id))?.ok_or_else(missing)?)
}

/// Creates an endpoint of a replica.
pub fn create(control: &Control, once: Once, new: NewEndpoint) -> Result<Created> {
    control.store.write(move |w| {
        guard::check(w)?;
        once.create(w, |w| {
            if endpoints::by_id(w, &new.id)?.is_some() {
                return Err(Error::Conflict("Endpoint id already exists".to_string()));
            }
            replicas::by_id(w, &new.replica_id)?.ok_or_else(replica_rules::missing)?;
            endpoints::insert(w, &new)?;
            let fields = json!({"endpoint_id": new.id, "replica_id": new.replica_id});
            events::record(w, ENDPOINT_CREATE.with(fields))?;
            endpoints::by_id(w, &new.id)?.ok_or_else(missing)
        })
    })
}

/// Updates the result of a health check.
pub fn update(
    control: &Control,
    id: EndpointId,
    condition: Condition,
    healthy: Option<bool>,
) -> Result<Versioned<Endpoint>> {
    let Some(healthy) = healthy else {
        control.store.read(guard::check)?;
        return condition.unchanged(show(control, &id)?);
    };
    control.store.write(move |w| {
        guard::check(w)?;
        condition.check(&endpoints::by_id(w, &id)?.ok_or_else(missing)?)?;
        endpoints::set_healthy(w, &id, healthy)?;
        let fields = json!({"endpoint_id": id, "healthy": healthy});
        events::record(w, ENDPOINT_UPDATE.with(fields))?;
        Versioned::of(endpoints::by_id(w, &id)?.ok_or_else(missing)?)
    })
}

/// Deletes an endpoint.
pub fn delete(control: &Control, id: EndpointId, condition: Condition) -> Result<()> {
    control.store.write(move |w| {
        guard::check(w)?;
        let endpoint = endpoints::by_id(w, &id)?.ok_or_else(missing)?;
        condition.check(&endpoint)?;
        endpoints::delete(w, &id)?;
        let fields = json!({"endpoint_id": id, "replica_id": endpoint.replica_id});
        events::record(w, ENDPOINT_DELETE.with(fields))?;
        Ok(())
    })
}

fn missing() -> Error {
    Error::not_found("Endpoint")
}
