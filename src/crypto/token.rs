//! Session tokens of people, and the secrets of join tokens and API tokens.

use super::{random, sealed};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};

/// How the secret of an API token begins, so that it is known wherever it is found.
const API_PREFIX: &str = "um_";
/// How the secret of a server's local credential begins.
const LOCAL_PREFIX: &str = "uml_";
/// Characters after the prefix.
const SECRET_CHARS: usize = 43;

/// What a session token says. Whether the session goes on is written in its row; the seal lets nobody ask in vain.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionClaims {
    /// The session.
    pub session: String,
    /// Expiry, epoch seconds.
    pub exp: i64,
}

/// Makes a session token.
pub fn mint(key: &[u8], session: &str, exp: i64) -> String {
    sealed::seal(key, &SessionClaims { session: session.into(), exp })
}

/// The claims of a genuine session token; whether it still holds is for the caller to judge.
pub fn open(key: &[u8], token: &str) -> Option<SessionClaims> {
    sealed::open(key, token)
}

/// What a form of a signed-in page carries: other sites cannot know it, because it is made of the session and our key.
pub fn csrf(key: &[u8], session: &str) -> String {
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), format!("csrf{session}").as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(mac)
}

/// A word for the holder of this key, which tells nothing of the key: eight letters, digits, `-` or `_`.
pub fn word_of(key: &[u8]) -> String {
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"name of a cookie");
    BASE64_URL_SAFE_NO_PAD.encode(&mac.as_ref()[..6])
}

/// Whether this could be the secret of an API token.
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
