//! Requests for etcd snapshots, which agents carry out, and for support bundles.

use crate::clock::Timestamp;
use crate::model::ids::RunId;
use crate::model::words::words;
use serde::ser::{Serialize, SerializeMap, Serializer};

words! {
    /// Kind of request.
    pub enum Kind {
        /// A snapshot of etcd.
        Snapshot = "snapshot",
        /// A support bundle.
        Bundle = "bundle",
    }
}

impl Kind {
    /// The field in which clients see the location of the result.
    pub fn result_key(self) -> &'static str {
        match self {
            Kind::Snapshot => "location",
            Kind::Bundle => "path",
        }
    }
}

words! {
    /// Progress of a request.
    pub enum RunStatus {
        /// Not started yet.
        Pending = "pending",
        /// In progress.
        Running = "running",
        /// Done.
        Completed = "completed",
        /// Failed.
        Failed = "failed",
    }
}

impl RunStatus {
    /// True if the request has ended.
    pub fn is_finished(self) -> bool {
        matches!(self, RunStatus::Completed | RunStatus::Failed)
    }
}

/// A request, in the shape of the contract: a SnapshotRun or a SupportBundle.
#[derive(Debug, Clone)]
pub struct Run {
    /// Kind of request.
    pub kind: Kind,
    /// Its id, unique within its kind.
    pub id: RunId,
    /// Its progress.
    pub status: RunStatus,
    /// Location of the result.
    pub result: Option<String>,
    /// The requesting user.
    pub requested_by: Option<String>,
    /// Reason for a failure.
    pub error: Option<String>,
    /// True for a bundle that also contains values that people wrote.
    pub with_values: bool,
    /// Time of the request.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

impl Serialize for Run {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("status", self.status.as_str())?;
        map.serialize_entry(self.kind.result_key(), &self.result)?;
        map.serialize_entry("requested_by", &self.requested_by)?;
        map.serialize_entry("error", &self.error)?;
        if self.kind == Kind::Bundle {
            map.serialize_entry("with_values", &self.with_values)?;
        }
        map.serialize_entry("created_at", &self.created_at)?;
        map.serialize_entry("updated_at", &self.updated_at)?;
        map.end()
    }
}

/// A request to create.
#[derive(Debug, Default)]
pub struct NewRun {
    /// Its id; `None` to generate one.
    pub id: Option<RunId>,
    /// The requesting user.
    pub requested_by: Option<String>,
    /// True for a bundle that must also contain values that people wrote.
    pub with_values: bool,
}

/// Progress report; `None` leaves a field unchanged.
#[derive(Debug, Default)]
pub struct Report {
    /// The new progress.
    pub status: Option<RunStatus>,
    /// Location of the result.
    pub result: Option<String>,
    /// Reason for a failure.
    pub error: Option<String>,
}

impl Report {
    /// True if it contains nothing.
    pub fn is_empty(&self) -> bool {
        self.status.is_none() && self.result.is_none() && self.error.is_none()
    }
}
