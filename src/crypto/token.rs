//! Session tokens of people, and the secrets of join tokens.

use super::{random, sealed};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// What a session token says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionClaims {
    /// Who signed in.
    pub user: String,
    /// Under which password: with another, the session is void.
    pub version: String,
    /// Expiry, epoch seconds.
    pub exp: i64,
}

/// Makes a session token.
pub fn mint(key: &[u8], user: &str, version: &str, exp: i64) -> String {
    sealed::seal(key, &SessionClaims { user: user.into(), version: version.into(), exp })
}

/// The claims of a genuine session token; whether it still holds is for the caller to judge.
pub fn open(key: &[u8], token: &str) -> Option<SessionClaims> {
    sealed::open(key, token)
}

/// The secret of a join token: 256 random bits.
pub fn join_secret() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random::<32>())
}
