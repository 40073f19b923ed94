//! Public keys, and signing requests that name them.

use super::first_pem;
use ring::signature::{ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm};
use std::net::IpAddr;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// Allowed sizes of an RSA key in bits: shorter keys are insecure, longer ones too costly to verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A public key for verifying signatures: ECDSA P-256 with SHA-256 in ASN.1 DER, or RSA PKCS#1 v1.5 with SHA-256.
pub struct PublicKey {
    algorithm: &'static dyn VerificationAlgorithm,
    spki_der: Vec<u8>,
    raw: Vec<u8>,
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in DER. `None` for a key of another kind, or an RSA key that is too short or too
    /// long.
    pub fn from_spki(der: &[u8]) -> Option<PublicKey> {
        use x509_parser::public_key::PublicKey::{EC, RSA};
        let (rest, spki) = x509_parser::x509::SubjectPublicKeyInfo::from_der(der).ok()?;
        let p256 = || {
            let curve = spki.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
            curve.is_some_and(|oid| oid == x509_parser::oid_registry::OID_EC_P256)
        };
        let algorithm: &'static dyn VerificationAlgorithm = match spki.parsed().ok()? {
            EC(point) if p256() && point.data().len() == 65 && point.data()[0] == 4 => &ECDSA_P256_SHA256_ASN1,
            RSA(key) if RSA_BITS.contains(&key.key_size()) => &RSA_PKCS1_2048_8192_SHA256,
            _ => return None,
        };
        let raw = spki.subject_public_key.data.to_vec();
        rest.is_empty().then(|| PublicKey { algorithm, spki_der: der.to_vec(), raw })
    }

    /// True if the holder of this key signed the message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm, &self.raw).verify(message, signature).is_ok()
    }

    /// The key as SubjectPublicKeyInfo in DER.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }
}

/// A certificate signing request whose signature was verified.
pub struct Csr {
    pub(super) common_name: Option<String>,
    pub(super) names: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) spki_der: Vec<u8>,
}

impl Csr {
    /// Parses a request in PEM and verifies that its author holds its key. Fails with a sentence.
    pub fn parse(pem: &str) -> std::result::Result<Csr, String> {
        let unreadable = || "The CSR is not a PEM certificate signing request.".to_string();
        let pem = first_pem(pem).map_err(|_| unreadable())?;
        if !matches!(pem.label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
            return Err(unreadable());
        }
        let (rest, csr) = X509CertificationRequest::from_der(&pem.contents).map_err(|_| unreadable())?;
        if !rest.is_empty() {
            return Err(unreadable());
        }
        let info = &csr.certification_request_info;
        let spki_der = info.subject_pki.raw.to_vec();
        if PublicKey::from_spki(&spki_der).is_none() {
            return Err("The CSR's key must be ECDSA P-256 or RSA of 2048 to 8192 bits.".to_string());
        }
        csr.verify_signature().map_err(|_| "The CSR's own signature does not verify.".to_string())?;
        let mut common_names = info.subject.iter_common_name();
        let common_name = common_names.next().and_then(|cn| cn.as_str().ok()).map(str::to_string);
        if common_names.next().is_some() {
            return Err("The CSR has more than one common name.".to_string());
        }
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        for extension in csr.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(san) = extension else { continue };
            for name in &san.general_names {
                match name {
                    GeneralName::DNSName(name) => names.push((*name).to_string()),
                    GeneralName::IPAddress(bytes) => addresses.extend(ip(bytes)),
                    _ => {}
                }
            }
        }
        Ok(Csr { common_name, names, addresses, spki_der })
    }

    /// Its common name.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// Its key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_spki(&self.spki_der).expect("the key was read when the request was")
    }
}

/// The address in a certificate or a request.
pub(super) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
