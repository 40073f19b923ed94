//! Services: each with its spec and all earlier specs.

use super::Object;
use super::specs::Policy;
use crate::clock::Timestamp;
use crate::model::ids::ServiceId;
use crate::model::runners;
use crate::model::workload::Driver;
use serde::ser::{Serialize, SerializeStruct, Serializer};

/// Keys of a spec that the server maintains: a client's values for them are ignored.
pub const BOOKKEEPING: &[&str] = &["rollout_requested_at", "rollback_requested_at"];

/// A service, in the shape of the contract.
#[derive(Debug, Clone)]
pub struct Service {
    /// Unique id; never changes.
    pub id: ServiceId,
    /// Unique name.
    pub name: String,
    /// Its purpose.
    pub description: Option<String>,
    /// Its spec, with the server's bookkeeping merged in.
    pub spec: Object,
    /// Number of its newest revision.
    pub generation: i64,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
    /// Number of replicas that the scheduler has ever created for it; never shown.
    pub replicas_made: i64,
    /// True if its replicas are records whatever the spec says: it is older than the nodes' ability to run them.
    pub records_only: bool,
    /// The generation whose rollout was reported late, or 0; never shown.
    pub late_rollout: i64,
}

/// Includes warnings about the parts of its spec that were not understood, so that every answer shows them.
impl Serialize for Service {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("Service", 9)?;
        shown.serialize_field("id", &self.id)?;
        shown.serialize_field("name", &self.name)?;
        shown.serialize_field("description", &self.description)?;
        shown.serialize_field("spec", &self.spec)?;
        shown.serialize_field("generation", &self.generation)?;
        shown.serialize_field("records_only", &self.records_only)?;
        shown.serialize_field("warnings", &self.warnings())?;
        shown.serialize_field("created_at", &self.created_at)?;
        shown.serialize_field("updated_at", &self.updated_at)?;
        shown.end()
    }
}

impl Service {
    /// Warnings about its spec, and about what keeps it from running.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Policy::of(&self.spec).warnings;
        if self.is_held_back() {
            warnings.push(format!(
                "no node runs it, because it is older than the nodes' ability to run replicas; to let them: \
                    uptimemesh service run {}",
                self.id
            ));
        }
        warnings
    }

    /// True if nodes would run its replicas, were it not older than their ability to do so.
    pub fn is_held_back(&self) -> bool {
        self.records_only && runners::driver(&self.spec) != Driver::None
    }

    /// The driver of its replicas.
    pub fn driver(&self) -> Driver {
        if self.records_only { Driver::None } else { runners::driver(&self.spec) }
    }

    /// The spec as the operator wrote it.
    pub fn own_spec(&self) -> Object {
        without_bookkeeping(self.spec.clone())
    }
}

/// A spec without the server's bookkeeping.
pub fn without_bookkeeping(mut spec: Object) -> Object {
    spec.retain(|key, _| !BOOKKEEPING.contains(&key.as_str()));
    spec
}

/// A service to create.
pub struct NewService {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// Its purpose.
    pub description: Option<String>,
    /// Its spec.
    pub spec: Object,
}

/// One revision of a service's spec.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Revision {
    /// Its service.
    pub service_id: ServiceId,
    /// Its number; a newer revision has a higher one, and no number is used twice.
    pub generation: i64,
    /// The spec, as the operator wrote it.
    pub spec: Object,
    /// Lower-case hex SHA-256 of the spec's JSON.
    pub spec_sha256: String,
    /// `create`, `update`, `rollout` or `rollback`.
    pub action: String,
    /// The generation whose spec a rollback restored.
    pub restored_generation: Option<i64>,
    /// Its author.
    pub created_by: String,
    /// Time of creation.
    pub created_at: Timestamp,
}
