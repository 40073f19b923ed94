//! Backups: what the directory of backups has, and what a backup says of itself.

use crate::clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why a backup was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Somebody asked for it.
    Manual,
    /// It was time for one.
    Scheduled,
    /// The database was about to be brought up to date.
    PreUpgrade,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 3] = [Kind::Manual, Kind::Scheduled, Kind::PreUpgrade];

    /// The word with which ids begin.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Manual => "manual",
            Kind::Scheduled => "scheduled",
            Kind::PreUpgrade => "pre-upgrade",
        }
    }
}

/// A backup in the directory of backups.
#[derive(Debug, Clone, Serialize)]
pub struct Backup {
    /// Its id, which is its file's name without the end.
    pub id: String,
    /// Why it was made.
    pub kind: Kind,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its size.
    pub bytes: u64,
    /// Whether a passphrase is needed to read it.
    pub encrypted: bool,
    /// Its file, on the control plane's machine.
    pub path: String,
}

/// What a backup says of itself, at its beginning.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The program that made it.
    pub program_version: String,
    /// The number of the database's last migration.
    pub schema_version: i64,
    /// SHA-256 of the certificate of the cluster's authority, in hex; none where there was none yet.
    pub authority: Option<String>,
    /// How many rows each table of the database has.
    pub rows: BTreeMap<String, u64>,
    /// The files, in their order.
    pub files: Vec<Entry>,
}

/// A file in a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the data directory.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// The last restore drill.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Drill {
    /// When it was.
    pub at: Timestamp,
    /// Which backup was restored.
    pub backup_id: String,
    /// What was wrong; none where all was well.
    pub problem: Option<String>,
}
