//! Common form of session and lease tokens: `base64url(payload) "." base64url(HMAC-SHA256(key, base64url(payload)))`,
//! without padding. Every holder can read a token; only the holder of the key can create one.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::hmac;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Maximum length of a token in bytes; longer ones are rejected unread.
const TOKEN_BYTES_MAX: usize = 2048;

pub(super) fn seal(key: &[u8], claims: &impl Serialize) -> String {
    let claims = serde_json::to_vec(claims).expect("claims are plain texts and numbers");
    let mut token = BASE64.encode(claims);
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), token.as_bytes());
    token.push('.');
    BASE64.encode_string(mac, &mut token);
    token
}

/// The claims of a genuine token. The comparison takes constant time.
pub(super) fn open<C: DeserializeOwned>(key: &[u8], token: &str) -> Option<C> {
    let (payload, mac) = token.split_once('.').filter(|_| token.len() <= TOKEN_BYTES_MAX)?;
    let mac = BASE64.decode(mac).ok()?;
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), payload.as_bytes(), &mac).ok()?;
    serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()
}
