//! Requests for etcd snapshots, which agents carry out, and for support bundles.

use crate::clock::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A snapshot of etcd.
    Snapshot,
    /// A support bundle.
    Bundle,
}

impl Kind {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Snapshot => "snapshot",
            Kind::Bundle => "bundle",
        }
    }

    /// The name under which clients see where the result is.
    pub fn result_key(self) -> &'static str {
        match self {
            Kind::Snapshot => "location",
            Kind::Bundle => "path",
        }
    }
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    /// Nobody has taken it up.
    Pending,
    /// Somebody works on it.
    Running,
    /// It is done.
    Completed,
    /// It could not be done.
    Failed,
}

impl RunStatus {
    /// The words of the API.
    pub const WORDS: &[&str] = &["pending", "running", "completed", "failed"];

    /// The word that clients see.
    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Pending => "pending",
            RunStatus::Running => "running",
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
        }
    }

    /// The status of a word.
    pub fn parse(word: &str) -> Option<RunStatus> {
        [RunStatus::Pending, RunStatus::Running, RunStatus::Completed, RunStatus::Failed].into_iter().find(|s| s.as_str() == word)
    }

    /// Whether nothing more will come of it.
    pub fn is_finished(self) -> bool {
        matches!(self, RunStatus::Completed | RunStatus::Failed)
    }
}

/// A request, in the shape of the contract: a SnapshotRun or a SupportBundle.
#[derive(Debug, Clone)]
pub struct Run {
    /// What is asked for.
    pub kind: Kind,
    /// Its id, unique among its kind.
    pub id: String,
    /// How far it is.
    pub status: RunStatus,
    /// Where the result is.
    pub result: Option<String>,
    /// Who asked.
    pub requested_by: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// True for a bundle that holds what people wrote, too.
    pub with_values: bool,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last changed.
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

/// A request that is made.
#[derive(Debug, Default)]
pub struct NewRun {
    /// Its id; one is made where none is given.
    pub id: Option<String>,
    /// Who asks.
    pub requested_by: Option<String>,
    /// True for a bundle that is to hold what people wrote, too.
    pub with_values: bool,
}

/// What a report says of a request; `None` leaves a field as it is.
#[derive(Debug, Default)]
pub struct Report {
    /// How far it is.
    pub status: Option<RunStatus>,
    /// Where the result is.
    pub result: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

impl Report {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.status.is_none() && self.result.is_none() && self.error.is_none()
    }
}
