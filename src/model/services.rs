//! A service: what should run, and every spec it ever had.

use super::Object;
use crate::clock::Timestamp;
use serde::Serialize;

/// Keys of a spec that the server keeps: what a client says of them is not taken.
pub const BOOKKEEPING: &[&str] = &["rollout_requested_at", "rollback_requested_at"];

/// A service, in the shape of the contract.
#[derive(Debug, Clone, Serialize)]
pub struct Service {
    /// Its id, unique and final.
    pub id: String,
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
    /// Replicas that the scheduler ever made for it.
    #[serde(skip)]
    pub replicas_made: i64,
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
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What should run.
    pub spec: Object,
}

/// One spec that a service had.
#[derive(Debug, Clone, Serialize)]
pub struct Revision {
    /// Of which service.
    pub service_id: String,
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
