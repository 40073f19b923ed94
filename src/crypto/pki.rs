//! The cluster's certificate authorities, certificate signing requests, and a node's key.
//!
//! A certificate contains what the cluster knows of its node. From the request come only the public key and the
//! alternative names that belong to the node.

mod request;

pub use request::{Csr, PublicKey};

use super::random;
use crate::clock::Timestamp;
use crate::error::{Doing, Error, Result};
use crate::files;
use crate::text;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SigningKey, SubjectPublicKeyInfo,
    date_time_ymd,
};
use request::ip;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use x509_parser::error::PEMError;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::{Pem, parse_x509_pem};
use x509_parser::prelude::{FromDer, X509Certificate};

/// One of the cluster's two authorities: its name, and its files in their common directory.
pub struct Kind {
    /// File of its key.
    pub key: &'static str,
    /// File of its certificate.
    pub cert: &'static str,
    common_name: &'static str,
}

/// The authority by which nodes and the control plane authenticate each other.
pub const CLUSTER: Kind = Kind { key: "cluster-ca.key", cert: "cluster-ca.crt", common_name: "UptimeMesh Cluster CA" };
/// The authority that people trust: it signs the server's certificate for browsers and commands, and no node's.
pub const SERVER: Kind = Kind { key: "server-ca.key", cert: "server-ca.crt", common_name: "UptimeMesh Server CA" };

/// Validity of an authority's certificate in years.
const CA_YEARS: u64 = 10;
/// Seconds by which `not_before` is backdated, for nodes whose clocks are behind.
pub const BACKDATED_S: i64 = 3600;
/// Bytes of a serial number: RFC 5280 §4.1.2.2 allows 20 and the first bit must be clear.
const SERIAL_BYTES: usize = 16;

/// A name that no host ever has (RFC 6761).
const NOBODY: &str = "node.invalid";

/// A newly issued certificate.
pub struct Issued {
    /// The certificate.
    pub cert_pem: String,
    /// Lower-case hex SHA-256 of its DER form.
    pub fingerprint_hex: String,
    /// Expiry of the certificate.
    pub not_after: Timestamp,
}

/// The authority. Holds a private key, so it has no Debug.
pub struct Ca {
    cert_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// Loads the authority from its directory; `None` if it does not exist. Fails if half of it is missing, if key and
    /// certificate do not match, or if the certificate is not an authority's: it must be restored, never replaced.
    pub fn load(dir: &Path, kind: &Kind) -> Result<Option<Ca>> {
        let (key_path, cert_path) = (dir.join(kind.key), dir.join(kind.cert));
        let (key, mut cert) = (files::read(&key_path)?, files::read(&cert_path)?);
        if let (Some(key), None) = (&key, &cert) {
            // A crash while the authority was created: both files exist, one under its temporary name.
            let prepared = files::beside(&cert_path);
            if let Some(text) = files::read(&prepared)?
                && Ca::of(key, text.clone()).is_ok()
            {
                files::rename(&prepared, &cert_path)?;
                cert = Some(text);
            }
        }
        match (key, cert) {
            (None, None) => Ok(None),
            (Some(key), Some(cert)) => Ca::of(&key, cert).map(Some),
            (key, _) => {
                let (here, gone) = if key.is_some() { (key_path, cert_path) } else { (cert_path, key_path) };
                let why = format!("{} is there, {} is not: restore it from a backup", here.display(), gone.display());
                Err(Error::fault("load the certificate authority", why))
            }
        }
    }

    /// Creates a new authority. A crash at any time leaves none or a complete one.
    pub fn create(dir: &Path, kind: &Kind) -> Result<Ca> {
        Ca::create_from(dir, kind, crate::clock::now())
    }

    /// The same, with a validity that starts at `from`.
    pub fn create_from(dir: &Path, kind: &Kind, from: Timestamp) -> Result<Ca> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).doing("create the authority's key")?;
        let mut params = authority_params(kind, from, Duration::from_secs(CA_YEARS * 365 * 86_400));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert_pem = params.self_signed(&key).doing("sign the authority's certificate")?.pem();
        files::private_dir(dir)?;
        let cert_path = dir.join(kind.cert);
        let prepared = files::beside(&cert_path);
        files::write(&prepared, cert_pem.as_bytes(), files::PUBLIC)?;
        files::write(&dir.join(kind.key), key.serialize_pem().as_bytes(), files::PRIVATE)?;
        files::rename(&prepared, &cert_path)?;
        Ok(Ca { cert_pem, issuer: Issuer::new(params, key) })
    }

    fn of(key_pem: &str, cert_pem: String) -> Result<Ca> {
        let doing = "load the certificate authority";
        let key = KeyPair::from_pem(&text::pem(key_pem)).doing(doing)?;
        let cert_pem = text::pem(&cert_pem).into_owned();
        let pem = first_pem(&cert_pem).doing(doing)?;
        let (_, cert) = X509Certificate::from_der(&pem.contents).doing(doing)?;
        if !cert.is_ca() {
            return Err(Error::fault(doing, "the certificate is not an authority's (CA:TRUE is missing)"));
        }
        if cert.public_key().raw != key.subject_public_key_info() {
            return Err(Error::fault(doing, "the key does not belong to the certificate"));
        }
        let issuer = Issuer::from_ca_cert_pem(&cert_pem, key).doing(doing)?;
        Ok(Ca { cert_pem, issuer })
    }

    /// The authority's certificate.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The fingerprint of the authority's certificate.
    pub fn fingerprint_hex(&self) -> String {
        fingerprint_hex(&self.cert_pem).expect("the certificate was written or read here")
    }

    /// Signs a message, for [`is_signed_by`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.issuer.key().sign(message).doing("sign with the authority's key")
    }

    /// A cross-certificate (PEM) with which clients that trust this authority also trust the server's authority.
    pub fn cross_sign(&self, server: &Ca, validity_days: i64, now: Timestamp) -> Result<String> {
        let mut params = authority_params(&SERVER, now, Duration::from_secs(validity_days.unsigned_abs() * 86_400));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(server.issuer.key(), &self.issuer).doing("vouch for the server's authority")?.pem())
    }

    /// Issues a certificate and its key (PEM) for a server with these names and addresses.
    pub fn issue_server(&self, names: &[String], validity_days: i64, now: Timestamp) -> Result<(String, String)> {
        let doing = "issue the server's certificate";
        let mut params = params(
            names.first().map_or("uptimemesh", String::as_str),
            now,
            Duration::from_secs(validity_days.unsigned_abs() * 86_400),
        );
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        for name in names {
            params.subject_alt_names.push(match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into().doing(doing)?),
            });
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).doing(doing)?;
        let cert = params.signed_by(&key, &self.issuer).doing(doing)?;
        Ok((cert.pem(), key.serialize_pem()))
    }

    /// Issues a node's certificate for the request's key, with those of the requested names that are in `own`.
    pub fn issue(
        &self,
        csr: &Csr,
        node_id: &str,
        own: &[String],
        validity_days: i64,
        now: Timestamp,
    ) -> Result<Issued> {
        let validity = Duration::from_secs(validity_days.unsigned_abs() * 86_400);
        let mut params = params(node_id, now, validity);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        for name in csr.names.iter().filter(|name| own.contains(name)) {
            params
                .subject_alt_names
                .push(SanType::DnsName(name.as_str().try_into().doing("write a certificate's name")?));
        }
        // Without an alternative name, OpenSSL and curl use the common name, which is the id.
        if params.subject_alt_names.is_empty() && !own.iter().any(|name| name == node_id) {
            params.subject_alt_names.push(SanType::DnsName(NOBODY.try_into().doing("write a certificate's name")?));
        }
        let own_addresses: Vec<IpAddr> = own.iter().filter_map(|name| name.parse().ok()).collect();
        for address in csr.addresses.iter().filter(|address| own_addresses.contains(address)) {
            params.subject_alt_names.push(SanType::IpAddress(*address));
        }
        let key = SubjectPublicKeyInfo::from_der(&csr.spki_der).doing("read a request's key")?;
        let cert = params.signed_by(&key, &self.issuer).doing("sign a node's certificate")?;
        let not_after = Timestamp::from_secs(now.secs() + validity.as_secs() as i64);
        Ok(Issued { cert_pem: cert.pem(), fingerprint_hex: super::sha256_hex(cert.der()), not_after })
    }
}

/// Parameters of every authority's certificate.
fn authority_params(kind: &Kind, now: Timestamp, validity: Duration) -> CertificateParams {
    let mut params = params(kind.common_name, now, validity);
    params.distinguished_name.push(DnType::OrganizationName, "UptimeMesh");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Parameters of every certificate: name, random serial number, validity.
fn params(common_name: &str, now: Timestamp, validity: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let mut serial = random::<SERIAL_BYTES>();
    // Positive, and of full length.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let issued = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.secs().unsigned_abs());
    params.not_before = issued - Duration::from_secs(BACKDATED_S.unsigned_abs());
    params.not_after = issued + validity;
    params
}

/// A node's key, ECDSA P-256. Holds a private key, so it has no Debug.
pub struct NodeKey(KeyPair);

impl NodeKey {
    /// Generates a key.
    pub fn generate() -> Result<NodeKey> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(NodeKey).doing("create a node key")
    }

    /// Reads a key from PKCS#8 in PEM.
    pub fn from_pem(pem: &str) -> Result<NodeKey> {
        KeyPair::from_pem(&text::pem(pem)).map(NodeKey).doing("read the node key")
    }

    /// The key as PKCS#8 in PEM.
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// A certificate signing request of this node with these alternative names (addresses are recognised).
    pub fn csr_pem(&self, node_id: &str, names: &[String]) -> Result<String> {
        let doing = "create a certificate signing request";
        let mut params = CertificateParams::new(names.to_vec()).doing(doing)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, node_id);
        params.serialize_request(&self.0).and_then(|csr| csr.pem()).doing(doing)
    }

    /// Signs a message, for [`PublicKey::verify`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.0.sign(message).doing("sign with the node key")
    }
}

/// The first block of a PEM text.
fn first_pem(text: &str) -> std::result::Result<Pem, x509_parser::nom::Err<PEMError>> {
    parse_x509_pem(text::pem(text).as_bytes()).map(|(_, pem)| pem)
}

/// The names and addresses of a certificate in PEM, as text.
pub fn names(cert_pem: &str) -> Vec<String> {
    let read = || {
        let pem = first_pem(cert_pem).ok()?;
        let (_, cert) = X509Certificate::from_der(&pem.contents).ok()?;
        let names = &cert.subject_alternative_name().ok()??.value.general_names;
        let text = |name: &GeneralName| match name {
            GeneralName::DNSName(name) => Some((*name).to_string()),
            GeneralName::IPAddress(bytes) => ip(bytes).map(|ip| ip.to_string()),
            _ => None,
        };
        Some(names.iter().filter_map(text).collect())
    };
    read().unwrap_or_default()
}

/// The common name of a certificate in PEM: a node's is its id.
pub fn common_name(cert_pem: &str) -> Option<String> {
    let (_, pem) = parse_x509_pem(cert_pem.as_bytes()).ok()?;
    common_name_der(&pem.contents)
}

/// The same for a certificate in DER.
pub fn common_name_der(cert_der: &[u8]) -> Option<String> {
    let (_, cert) = X509Certificate::from_der(cert_der).ok()?;
    cert.subject().iter_common_name().next()?.as_str().ok().map(str::to_string)
}

/// Each certificate of a PEM text; what is no certificate is left out.
pub fn certificates(pem: &str) -> Vec<String> {
    let each = pem.split_inclusive("-----END CERTIFICATE-----").map(|text| format!("{}\n", text.trim_start()));
    each.filter(|text| fingerprint_hex(text).is_some()).collect()
}

/// True if one of these authorities (PEM) signed the message.
pub fn is_signed_by(authorities_pem: &str, message: &[u8], signature: &[u8]) -> bool {
    Pem::iter_from_buffer(authorities_pem.as_bytes()).filter_map(std::result::Result::ok).any(|pem| {
        let key = spki_of(&pem.contents).and_then(PublicKey::from_spki);
        key.is_some_and(|key| key.verify(message, signature))
    })
}

/// Validity of a certificate in PEM.
pub fn validity(cert_pem: &str) -> Option<(Timestamp, Timestamp)> {
    validity_der(&first_pem(cert_pem).ok()?.contents)
}

/// The same for a certificate in DER.
pub fn validity_der(cert_der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (_, cert) = X509Certificate::from_der(cert_der).ok()?;
    let validity = cert.validity();
    Some((Timestamp::from_secs(validity.not_before.timestamp()), Timestamp::from_secs(validity.not_after.timestamp())))
}

/// The public key in a certificate in DER, as SubjectPublicKeyInfo.
pub fn spki_of(cert_der: &[u8]) -> Option<&[u8]> {
    let (_, cert) = X509Certificate::from_der(cert_der).ok()?;
    Some(cert.tbs_certificate.subject_pki.raw)
}

/// The subject of a certificate in PEM, as a name in DER.
pub fn subject_der(cert_pem: &str) -> Option<Vec<u8>> {
    let pem = first_pem(cert_pem).ok()?;
    let (_, cert) = X509Certificate::from_der(&pem.contents).ok()?;
    Some(cert.subject().as_raw().to_vec())
}

/// Lower-case hex SHA-256 of the first certificate in PEM, in its DER form: a certificate's usual fingerprint.
pub fn fingerprint_hex(cert_pem: &str) -> Option<String> {
    Some(super::sha256_hex(&first_pem(cert_pem).ok()?.contents))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn dir(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("uptimemesh-pki-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn a_certificate_has_what_the_cluster_says_and_not_what_was_asked_for() {
        let dir = dir("issue");
        let ca = Ca::create(&dir, &CLUSTER).expect("a new authority");
        let key = NodeKey::generate().expect("a key");
        let asked = ["node-a", "evil.example", "10.42.0.7", "10.42.0.8"].map(String::from);
        let csr = Csr::parse(&key.csr_pem("node-a", &asked).expect("a request")).expect("a sound request");
        assert_eq!(csr.common_name(), Some("node-a"));
        let own = ["node-a", "node-a.mesh.internal", "10.42.0.7"].map(String::from);
        let now = clock::now();
        let issued = ca.issue(&csr, "node-a", &own, 30, now).expect("a certificate");
        assert_eq!(names(&issued.cert_pem), ["node-a", "10.42.0.7"]);
        let (from, until) = validity(&issued.cert_pem).expect("its time");
        assert_eq!((from.secs(), until), (now.secs() - 3600, issued.not_after));
        let again = ca.issue(&csr, "node-a", &own, 30, now).expect("another certificate");
        assert_ne!(issued.fingerprint_hex, again.fingerprint_hex, "serial numbers are random");
        assert!(csr.public_key().verify(b"m", &key.sign(b"m").expect("a signature")));
        assert!(!csr.public_key().verify(b"n", &key.sign(b"m").expect("a signature")));
        std::fs::remove_dir_all(dir).expect("the directory is ours");
    }

    #[test]
    fn half_an_authority_is_refused_and_an_interrupted_one_is_finished() {
        let dir = dir("half");
        assert!(Ca::load(&dir, &CLUSTER).expect("nothing is there").is_none());
        let made = Ca::create(&dir, &CLUSTER).expect("a new authority");
        let loaded = Ca::load(&dir, &CLUSTER).expect("both are there").expect("an authority");
        assert_eq!(made.cert_pem(), loaded.cert_pem());
        let (key, cert) = (dir.join(CLUSTER.key), dir.join(CLUSTER.cert));
        files::rename(&cert, &files::beside(&cert)).expect("a crash before the last step");
        assert!(Ca::load(&dir, &CLUSTER).expect("it is finished").is_some());
        let said =
            |dir: &Path| Ca::load(dir, &CLUSTER).err().map(|e| crate::error::Chain(&e).to_string()).unwrap_or_default();
        std::fs::rename(&key, dir.join("away")).expect("move");
        assert!(said(&dir).contains("cluster-ca.key is not: restore it"), "{}", said(&dir));
        std::fs::write(&key, NodeKey::generate().expect("a key").to_pem()).expect("another key");
        assert!(said(&dir).contains("does not belong"), "{}", said(&dir));
        std::fs::write(&key, "nonsense").expect("a broken key");
        assert!(said(&dir).starts_with("load the certificate authority: "), "{}", said(&dir));
        std::fs::remove_dir_all(dir).expect("the directory is ours");
    }

    #[test]
    fn what_is_no_request_is_said_so() {
        let key = NodeKey::generate().expect("a key");
        let pem = key.csr_pem("n", &[]).expect("a request");
        let said = |pem: &str| Csr::parse(pem).err().unwrap_or_default();
        for bad in ["", "x", &pem[..pem.len() / 2], &pem.replace("CERTIFICATE REQUEST", "CERTIFICATE"), &key.to_pem()] {
            assert!(said(bad).contains("not a PEM certificate signing request"), "{bad}");
        }
        // The last bytes of the base64 belong to the signature.
        let at = pem.rfind("\n-----END").expect("an end") - 8;
        let flipped = if &pem[at..=at] == "A" { "B" } else { "A" };
        let forged = format!("{}{flipped}{}", &pem[..at], &pem[at + 1..]);
        assert!(!said(&forged).is_empty());
    }
}
