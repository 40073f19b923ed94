//! Session tokens of users, and the secrets of join tokens and API tokens.

use super::{random, sealed};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};

/// Prefix of an API token's secret, so that it is recognised anywhere.
const API_PREFIX: &str = "um_";
/// Prefix of a local credential's secret.
const LOCAL_PREFIX: &str = "uml_";
/// Characters after the prefix.
const SECRET_CHARS: usize = 43;

/// Claims of a session token. The session's row says whether it is still open; the seal saves a look-up for forged
/// ones.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionClaims {
    /// The session.
    pub session: String,
    /// Expiry, epoch seconds.
    pub exp: i64,
}

/// Creates a session token.
pub fn mint(key: &[u8], session: &str, exp: i64) -> String {
    sealed::seal(key, &SessionClaims { session: session.into(), exp })
}

/// The claims of a genuine session token; the caller checks expiry.
pub fn open(key: &[u8], token: &str) -> Option<SessionClaims> {
    sealed::open(key, token)
}

/// Anti-forgery token of a signed-in page's form: other sites cannot know it, because it is derived from the session
/// and our key.
pub fn csrf(key: &[u8], session: &str) -> String {
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), format!("csrf{session}").as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(mac)
}

/// A short identifier of this key that does not reveal it: eight letters, digits, `-` or `_`.
pub fn key_id(key: &[u8]) -> String {
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"name of a cookie");
    BASE64_URL_SAFE_NO_PAD.encode(&mac.as_ref()[..6])
}

/// True if this could be the secret of an API token.
pub fn is_api_secret(text: &str) -> bool {
    is_secret(text, API_PREFIX)
}

/// True if this could be the secret of a local credential.
pub fn is_local_secret(text: &str) -> bool {
    is_secret(text, LOCAL_PREFIX)
}

fn is_secret(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| rest.len() == SECRET_CHARS)
}

/// The secret of a local credential: 256 random bits.
pub fn local_secret() -> String {
    format!("{LOCAL_PREFIX}{}", join_secret())
}

/// The secret of an API token: 256 random bits.
pub fn api_secret() -> String {
    format!("{API_PREFIX}{}", join_secret())
}

/// The secret of a join token: 256 random bits.
pub fn join_secret() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random::<32>())
}
