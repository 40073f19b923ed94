//! The write guard: while etcd is down or stale, the cluster's state must not change.

use crate::error::{Error, Result};
use crate::store::{Read, settings};

/// The setting with the state of etcd.
pub const ETCD_STATUS: &str = "etcd_status";

/// The answer to a guarded write.
pub const REFUSAL: &str = "Cluster writes are disabled while etcd is unavailable or stale.";

/// Refuses while etcd is unavailable or stale. Called inside the write's own transaction, so that no write slips past a
/// change.
pub fn check(read: &Read) -> Result<()> {
    if is_up(read)? { Err(Error::Unavailable(REFUSAL.to_string())) } else { Ok(()) }
}

/// True if the guard refuses writes.
pub fn is_up(read: &Read) -> Result<bool> {
    let said = settings::by_key(read, ETCD_STATUS)?;
    Ok(said.is_some_and(|setting| {
        ["down", "unavailable", "stale"].contains(&setting.value.trim().to_lowercase().as_str())
    }))
}
