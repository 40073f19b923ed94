//! Lease tokens, which a node sends with every heartbeat beside its signature.

use super::sealed;
use serde::{Deserialize, Serialize};

/// Claims of a lease token. Fields are in the order of the JSON on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseClaims {
    /// Expiry, epoch seconds.
    pub exp: i64,
    /// Fingerprint of the node's certificate.
    pub fp: String,
    /// Issue, epoch seconds.
    pub iat: i64,
    /// The node's id.
    pub n: String,
}

/// Creates a token.
pub fn mint(key: &[u8], claims: &LeaseClaims) -> String {
    sealed::seal(key, claims)
}

/// The claims of a genuine token; the caller checks expiry.
pub fn open(key: &[u8], token: &str) -> Option<LeaseClaims> {
    sealed::open(key, token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    #[test]
    fn a_token_has_the_wires_form_and_cannot_be_altered() {
        let claims = LeaseClaims { exp: 2, fp: "ab".into(), iat: 1, n: "node-a".into() };
        let token = mint(b"key", &claims);
        let payload = token.split('.').next().and_then(|p| BASE64_URL_SAFE_NO_PAD.decode(p).ok());
        assert_eq!(payload.as_deref(), Some(&br#"{"exp":2,"fp":"ab","iat":1,"n":"node-a"}"#[..]));
        assert_eq!(open(b"key", &token), Some(claims));
        assert_eq!(open(b"other", &token), None);
        for i in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[i] = if bytes[i] == b'A' { b'B' } else { b'A' };
            assert_eq!(open(b"key", &String::from_utf8(bytes).expect("ASCII")), None, "byte {i}");
        }
        for bad in
            ["", ".", "a.b", "a.b.c", "\u{e9}.\u{e9}", &format!("{token}.x"), &format!("{token}="), &"a".repeat(5000)]
        {
            assert_eq!(open(b"key", bad), None, "{bad}");
        }
    }
}
