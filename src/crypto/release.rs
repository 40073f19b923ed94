//! The release key: the holder of its private half decides what nodes install. Ed25519 over the bytes of
//! `version.json`; the signature is one line of base64 and keys are PEM, so that `openssl` creates and verifies the
//! same.

use super::random;
use crate::error::{Error, Result};
use crate::text;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

/// Maximum size of a key file, which has about 120 bytes.
pub const KEY_BYTES_MAX: usize = 4096;
/// Maximum size of a signature file: 88 characters and a line end of up to two.
pub const SIGNATURE_BYTES_MAX: usize = 90;

/// The built-in public key for releases.
const OWN: &str = include_str!("../../ops/release-key.pub");

/// PKCS#8 prefix of the 32-byte seed (RFC 8410 §7). Version 1, without the public key, is readable by every openssl.
const PRIVATE_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// SubjectPublicKeyInfo prefix of the 32-byte key (RFC 8410 §4).
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// The private half. Has neither Debug nor Display.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Generates a key and its PEM.
    pub fn generate() -> Result<(SigningKey, String)> {
        let pem = pem("PRIVATE KEY", &[&PRIVATE_PREFIX[..], &random::<32>()].concat());
        let key = SigningKey::from_pem(&pem).map_err(|why| Error::fault("make a release key", why))?;
        Ok((key, pem))
    }

    /// Reads a key from PEM (PKCS#8), as written by this program and `openssl genpkey -algorithm ed25519`.
    pub fn from_pem(pem: &str) -> std::result::Result<SigningKey, &'static str> {
        let sound = || {
            let der = PrivatePkcs8KeyDer::from_pem_slice(text::pem(pem).as_bytes()).ok()?;
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).ok()
        };
        sound().map(SigningKey).ok_or("this is not a private release key (PEM, PKCS#8, Ed25519)")
    }

    /// The signature of these bytes, as a line of text.
    pub fn sign(&self, message: &[u8]) -> String {
        format!("{}\n", BASE64_STANDARD.encode(self.0.sign(message)))
    }

    /// The public half.
    pub fn public(&self) -> ReleaseKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        ReleaseKey(key)
    }
}

/// The public half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseKey([u8; 32]);

impl ReleaseKey {
    /// The key that this program was built with.
    pub fn own() -> ReleaseKey {
        ReleaseKey::from_pem(OWN).expect("the key is in the program, and a test reads it")
    }

    /// Reads a key from PEM (SubjectPublicKeyInfo).
    pub fn from_pem(pem: &str) -> std::result::Result<ReleaseKey, &'static str> {
        let sound = || {
            let der = SubjectPublicKeyInfoDer::from_pem_slice(text::pem(pem).as_bytes()).ok()?;
            der.as_ref().strip_prefix(&PUBLIC_PREFIX)?.try_into().ok()
        };
        sound().map(ReleaseKey).ok_or("this is not a public release key (PEM, Ed25519)")
    }

    /// Writes it as PEM.
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &[&PUBLIC_PREFIX[..], &self.0].concat())
    }

    /// Verifies a signature of these bytes; the error says why it is not valid.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> std::result::Result<(), &'static str> {
        let line = signature.strip_suffix(b"\n").unwrap_or(signature);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let raw = BASE64_STANDARD
            .decode(line)
            .ok()
            .filter(|raw| raw.len() == 64)
            .ok_or("the signature is not one line of base64, 64 bytes")?;
        let proven = UnparsedPublicKey::new(&ED25519, self.0).verify(message, &raw);
        proven.map_err(|_| "the signature was not made by this release key, or the file has changed since")
    }
}

/// PEM of a key, whose base64 fits on one line.
fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_and_its_bytes_alone() {
        let (key, pem) = SigningKey::generate().expect("a key");
        let line = key.sign(b"version 2");
        assert!(line.len() == 89 && line.ends_with('\n'));
        let again = SigningKey::from_pem(&pem).expect("the same key");
        let public = ReleaseKey::from_pem(&again.public().to_pem()).expect("its public half");
        assert!(public == key.public());
        assert_eq!(public.verify(b"version 2", line.as_bytes()), Ok(()));
        assert_eq!(public.verify(b"version 2", line.trim_end().as_bytes()), Ok(()));
        assert_eq!(public.verify(b"version 2", line.replace('\n', "\r\n").as_bytes()), Ok(()));
        let (other, _) = SigningKey::generate().expect("another key");
        assert!(public.verify(b"version 3", line.as_bytes()).is_err());
        assert!(other.public().verify(b"version 2", line.as_bytes()).is_err());
        assert!(ReleaseKey::own().verify(b"version 2", line.as_bytes()).is_err());
        for bad in ["", "\n", &line[1..], &format!("{line}\n"), &format!("{line}{line}"), "AAAA", &"A".repeat(88)] {
            assert!(public.verify(b"version 2", bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let (key, private) = SigningKey::generate().expect("a key");
        let public = key.public().to_pem();
        assert!(SigningKey::from_pem(&public).is_err() && ReleaseKey::from_pem(&private).is_err());
        for bad in ["", "x", &private[..100], &private.replace("MC4", "MC5")] {
            assert!(SigningKey::from_pem(bad).is_err(), "{bad}");
        }
        for bad in ["", "x", &public[..60], &public.replace("MCow", "MCox")] {
            assert!(ReleaseKey::from_pem(bad).is_err(), "{bad}");
        }
    }
}
