//! The local credential: a server writes it into its data directory, and commands on the same machine read it there.

use serde::{Deserialize, Serialize};

/// Name of the file in the data directory.
pub const FILE: &str = "local.json";

/// Content of the file. Holds a secret, so it has no Debug.
#[derive(Serialize, Deserialize)]
pub struct LocalCredential {
    /// URL of the server for this machine.
    pub url: String,
    /// SHA-256 (hex) of the authority by which the server proves itself; `None` if it does not speak TLS.
    pub authority: Option<String>,
    /// Bearer token, valid until the server stops.
    pub token: String,
}
