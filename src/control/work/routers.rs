//! Router assignments: through which two nodes another one reaches the mesh.

use crate::control::once::{Created, Once};
use crate::control::versions::{Condition, Versioned};
use crate::control::{Control, guard};
use crate::error::{Error, Result};
use crate::model::events::catalogue::{ROUTER_ASSIGNMENT_CREATE, ROUTER_ASSIGNMENT_DELETE};
use crate::model::ids::{AssignmentId, NodeId};
use crate::model::routers::{NewRouterAssignment, RouterAssignment};
use crate::model::{Page, Paging};
use crate::store::{events, nodes, routers};
use serde_json::json;

/// A page of assignments; of one node or of all.
pub fn list(control: &Control, paging: &Paging, node_id: Option<&NodeId>) -> Result<Page<RouterAssignment>> {
    control.store.read(|r| routers::page(r, paging, node_id))
}

/// One assignment.
pub fn show(control: &Control, id: &AssignmentId) -> Result<Versioned<RouterAssignment>> {
    Versioned::of(control.store.read(|r| routers::by_id(r, id))?.ok_or_else(missing)?)
}

/// Makes an assignment. Its two routers differ, and every node that it names is there.
pub fn create(control: &Control, once: Once, new: NewRouterAssignment) -> Result<Created> {
    control.store.write(move |w| {
        guard::check(w)?;
        once.create(w, |w| {
            if routers::by_id(w, &new.id)?.is_some() {
                return Err(Error::Conflict("Router assignment id already exists".to_string()));
            }
            if new.primary_router_id == new.secondary_router_id {
                return Err(Error::Malformed("Primary and secondary router must differ".to_string()));
            }
            for id in [&new.node_id, &new.primary_router_id, &new.secondary_router_id] {
                nodes::by_id(w, id)?.ok_or_else(|| Error::NotFound(format!("Node not found: {id}")))?;
            }
            routers::insert(w, &new)?;
            let fields = json!({"assignment_id": new.id, "node_id": new.node_id});
            events::record(w, ROUTER_ASSIGNMENT_CREATE.with(fields))?;
            routers::by_id(w, &new.id)?.ok_or_else(missing)
        })
    })
}

/// Takes an assignment away.
pub fn delete(control: &Control, id: AssignmentId, condition: Condition) -> Result<()> {
    control.store.write(move |w| {
        guard::check(w)?;
        let assignment = routers::by_id(w, &id)?.ok_or_else(missing)?;
        condition.check(&assignment)?;
        routers::delete(w, &id)?;
        let fields = json!({"assignment_id": id, "node_id": assignment.node_id});
        events::record(w, ROUTER_ASSIGNMENT_DELETE.with(fields))?;
        Ok(())
    })
}

fn missing() -> Error {
    Error::not_found("Router assignment")
}
