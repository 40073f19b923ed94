//! The local credential: what a server writes into its data directory, and commands on its machine read there.

use serde::{Deserialize, Serialize};

/// Name of the file in the data directory.
pub const FILE: &str = "local.json";

/// Content of the file. Holds a secret, so it has no Debug.
#[derive(Serialize, Deserialize)]
pub struct LocalCredential {
    /// URL at which this machine reaches the server.
    pub url: String,
    /// SHA-256 (hex) of the authority by which the server proves itself; `None` where it speaks no TLS.
    pub authority: Option<String>,
    /// Bearer token, good until the server stops.
    pub token: String,
}
