//! A service: what should run, and every spec it ever had.

use super::Object;
use super::specs::Policy;
use crate::clock::Timestamp;
use crate::model::ids::ServiceId;
use serde::ser::{Serialize, SerializeStruct, Serializer};

/// Keys of a spec that the server keeps: what a client says of them is not taken.
pub const BOOKKEEPING: &[&str] = &["rollout_requested_at", "rollback_requested_at"];

/// A service, in the shape of the contract.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its id, unique and final.
    pub id: ServiceId,
    /// Its name, unique.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What should run and how; with the server's bookkeeping laid over.
    pub spec: Object,
    /// The number of its newest revision.
    pub generation: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Replicas that the scheduler ever made for it; never shown.
    pub replicas_made: i64,
    /// The generation whose rollout was told to be late, 0 where none was; never shown.
    pub rollout_told: i64,
}

/// With what of its spec was not understood, so that no answer passes over it.
impl Serialize for Service {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("Service", 8)?;
        shown.serialize_field("id", &self.id)?;
        shown.serialize_field("name", &self.name)?;
        shown.serialize_field("description", &self.description)?;
        shown.serialize_field("spec", &self.spec)?;
        shown.serialize_field("generation", &self.generation)?;
        shown.serialize_field("warnings", &Policy::of(&self.spec).warnings)?;
        shown.serialize_field("created_at", &self.created_at)?;
        shown.serialize_field("updated_at", &self.updated_at)?;
        shown.end()
    }
}

impl Service {
    /// The spec as the operator wrote it.
    pub fn own_spec(&self) -> Object {
        without_bookkeeping(self.spec.clone())
    }
}

/// A spec without what the server keeps in it.
pub fn without_bookkeeping(mut spec: Object) -> Object {
    spec.retain(|key, _| !BOOKKEEPING.contains(&key.as_str()));
    spec
}

/// A service that is about to be made.
pub struct NewService {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What should run.
    pub spec: Object,
}

/// One spec that a service had.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Revision {
    /// Of which service.
    pub service_id: ServiceId,
    /// Its number: the higher the newer, never given twice.
    pub generation: i64,
    /// The spec, as the operator wrote it.
    pub spec: Object,
    /// Lower-case hex SHA-256 of the spec's JSON.
    pub spec_sha256: String,
    /// `create`, `update`, `rollout` or `rollback`.
    pub action: String,
    /// The generation whose spec a rollback put back.
    pub restored_generation: Option<i64>,
    /// Who.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}
