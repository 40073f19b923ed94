//! Backups: entries of the backup directory, and the manifest inside a backup.

use crate::clock::Timestamp;
use crate::model::ids::BackupId;
use crate::model::words::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

words! {
    /// Reason for a backup.
    pub enum Kind {
        /// An operator requested it.
        Manual = "manual",
        /// The schedule was due.
        Scheduled = "scheduled",
        /// The database was about to be migrated.
        PreUpgrade = "pre-upgrade",
    }
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 3] = [Kind::Manual, Kind::Scheduled, Kind::PreUpgrade];
}

/// A backup in the directory of backups.
#[derive(Debug, Clone, Serialize)]
pub struct Backup {
    /// Its id: the name of its file without the extension.
    pub id: BackupId,
    /// Reason for the backup.
    pub kind: Kind,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Size in bytes.
    pub bytes: u64,
    /// True if reading it needs a passphrase.
    pub encrypted: bool,
    /// Path of its file, on the control plane's machine.
    pub path: String,
}

/// Manifest at the beginning of a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Its id.
    pub id: BackupId,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Version of the program that created it.
    pub program_version: String,
    /// Number of the database's last migration.
    pub schema_version: i64,
    /// SHA-256 of the certificate of the cluster's authority, in hex; `None` if there was no authority yet.
    pub authority: Option<String>,
    /// Number of rows by table.
    pub rows: BTreeMap<String, u64>,
    /// The files, in order.
    pub files: Vec<Entry>,
}

/// A file in a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the data directory.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// The last restore drill.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Drill {
    /// Time of the drill.
    pub at: Timestamp,
    /// The backup that was restored.
    pub backup_id: BackupId,
    /// The problem found; `None` if the drill succeeded.
    pub problem: Option<String>,
}
