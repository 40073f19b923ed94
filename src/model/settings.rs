//! Cluster settings: keys and texts that operators may read and change. Secrets are not settings.

use crate::clock::Timestamp;
use serde::Serialize;

/// A setting, in the shape of the contract.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterSetting {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

/// True if a key names a secret, which no client may set or see through the settings.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "secret", "signing_key", "private_key", "token"].iter().any(|word| key.contains(word))
}
