//! Signatures of the work that a control plane gives to its nodes. The bytes are signed as they are sent (Ed25519,
//! RFC 8032), by a key of their own: the authority signs that key and is not needed for each document.

use super::pki;
use super::release::{ReleaseKey, SigningKey};
use crate::error::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// First bytes of what is signed for a document, so that no other signature of the key passes for one.
const DOCUMENT: &[u8] = b"uptimemesh work v1\0";
/// First bytes of what is signed for the request of a relay.
const RELAY: &[u8] = b"uptimemesh relay v1\0";
/// First bytes of what the authority signs for a key.
const KEY: &[u8] = b"uptimemesh work key v1\0";

/// The key that signs work.
pub struct WorkKey(SigningKey);

impl WorkKey {
    /// A new key, and its PEM.
    pub fn generate() -> Result<(WorkKey, String)> {
        SigningKey::generate().map(|(key, pem)| (WorkKey(key), pem))
    }

    /// The key in a PEM of PKCS#8; `None` if it is not one.
    pub fn from_pem(pem: &str) -> Option<WorkKey> {
        SigningKey::from_pem(pem).ok().map(WorkKey)
    }

    /// The public key, PEM.
    pub fn public_pem(&self) -> String {
        self.0.public().to_pem()
    }

    /// Signature of a document, base64.
    pub fn sign(&self, document: &str) -> String {
        self.0.sign(&[DOCUMENT, document.as_bytes()].concat()).trim_end().to_string()
    }

    /// Signature of the request of a relay, base64.
    pub fn sign_relay(&self, request: &str) -> String {
        self.0.sign(&[RELAY, request.as_bytes()].concat()).trim_end().to_string()
    }

    /// Signature of an authority over the public key, base64.
    pub fn certify(&self, authority: &pki::Ca) -> Result<String> {
        authority.sign(&key_message(&self.public_pem())).map(|signature| BASE64_STANDARD.encode(signature))
    }
}

/// True if one of these authorities (PEM) signed the public key (PEM).
pub fn is_certified(authorities_pem: &str, public_pem: &str, certificate: &str) -> bool {
    let signature = BASE64_STANDARD.decode(certificate).ok();
    signature.is_some_and(|signature| pki::is_signed_by(authorities_pem, &key_message(public_pem), &signature))
}

/// True if the public key (PEM) proves the signature of the document.
pub fn is_signed(document: &str, signature: &str, public_pem: &str) -> bool {
    proves(public_pem, &[DOCUMENT, document.as_bytes()].concat(), signature)
}

/// True if the public key (PEM) proves the signature of the request of a relay.
pub fn is_relay_signed(request: &str, signature: &str, public_pem: &str) -> bool {
    proves(public_pem, &[RELAY, request.as_bytes()].concat(), signature)
}

fn proves(public_pem: &str, message: &[u8], signature: &str) -> bool {
    ReleaseKey::from_pem(public_pem).is_ok_and(|key| key.verify(message, signature.as_bytes()).is_ok())
}

fn key_message(public_pem: &str) -> Vec<u8> {
    [KEY, public_pem.as_bytes()].concat()
}
