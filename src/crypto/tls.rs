//! How TLS is spoken: what the server shows and asks for, and whom a client believes. rustls with ring, TLS 1.3 and 1.2.
//!
//! Nodes and the control plane know each other by a protocol name of their own (ALPN, RFC 7301). To whoever offers it the server shows
//! the certificate that the cluster's authority issued for [`CONTROL_NAME`], whatever certificate everybody else is shown and by
//! whatever address it was reached: so a node needs to trust nobody but its cluster.

use super::pki::{self, NodeKey};
use crate::clock::Timestamp;
use crate::error::{Doing, Result};
use crate::text;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ParsedCertificate, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The control plane's name in the certificate that nodes ask for. No node ever gets it into its own.
pub const CONTROL_NAME: &str = "control-plane.uptimemesh.internal";

/// The protocol name by which nodes ask for that certificate.
const NODE_PROTOCOL: &[u8] = b"uptimemesh/1";

/// The protocol that everybody else speaks here.
const HTTP_PROTOCOL: &[u8] = b"http/1.1";

/// Session tickets of TLS 1.3 that a handshake ends with: clients here keep one connection, and come back with one.
const TICKETS: usize = 1;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A certificate with its chain, and the key to it. Holds a private key, so it has no Debug.
#[derive(Clone)]
pub struct Shown(Arc<CertifiedKey>);

impl Shown {
    /// Reads a chain, the server's own certificate first, and its key. Fails with a sentence.
    pub fn from_pem(chain_pem: &str, key_pem: &str) -> std::result::Result<Shown, String> {
        let chain = certificates(chain_pem).filter(|chain| !chain.is_empty()).ok_or("there is no certificate (PEM)")?;
        let key = PrivateKeyDer::from_pem_slice(text::pem(key_pem).as_bytes()).map_err(|_| "there is no private key (PEM)")?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => "the key does not belong to the certificate".to_string(),
            e => e.to_string(),
        })?;
        Ok(Shown(Arc::new(certified)))
    }
}

/// What makes the tickets by which sessions are resumed, good for all configurations of a server.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// A new one; its keys change by themselves, and end with the process.
    pub fn new() -> Result<Tickets> {
        ring::Ticketer::new().map(Tickets).doing("make the keys of session tickets")
    }
}

/// A server's side: what it shows to nodes and to everybody else. It asks for a certificate, takes any, and needs none: whether one
/// is that of an enrolled node is decided for each request, so that it counts from the moment on at which a node is deleted.
pub fn server(to_nodes: Shown, to_others: Shown, authorities: &[String], tickets: &Tickets) -> Result<Arc<ServerConfig>> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let names = authorities.iter().filter_map(|pem| pki::subject_der(pem)).map(DistinguishedName::from).collect();
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .doing("prepare TLS")?;
    let mut config = builder
        .with_client_cert_verifier(Arc::new(AnyHolder { names, algorithms }))
        .with_cert_resolver(Arc::new(ByProtocol { to_nodes: to_nodes.0, to_others: to_others.0 }));
    // Among ciphers that are all good, the stronger of both sides first: what scanners ask for.
    config.ignore_client_order = true;
    config.alpn_protocols = vec![NODE_PROTOCOL.to_vec(), HTTP_PROTOCOL.to_vec()];
    config.ticketer = Arc::clone(&tickets.0);
    config.send_tls13_tickets = TICKETS;
    // Whoever comes back presents its session; nothing is kept for those who do not.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct ByProtocol {
    to_nodes: Arc<CertifiedKey>,
    to_others: Arc<CertifiedKey>,
}

impl ResolvesServerCert for ByProtocol {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_node = hello.alpn().is_some_and(|mut offered| offered.any(|name| name == NODE_PROTOCOL));
        Some(Arc::clone(if is_node { &self.to_nodes } else { &self.to_others }))
    }
}

/// The part that every verifier of certificates has: whether the other side holds the key, by ring's algorithms in `self.algorithms`.
macro_rules! signatures_by_algorithms {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls12_signature(message, cert, dss, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(message, cert, dss, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

/// Proves that a client holds the key of the certificate it shows, and nothing else.
#[derive(Debug)]
struct AnyHolder {
    /// Names of the authorities, so that a browser does not offer certificates that are for others.
    names: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyHolder {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> std::result::Result<ClientCertVerified, rustls::Error> {
        ParsedCertificate::try_from(end_entity).map(|_| ClientCertVerified::assertion())
    }

    signatures_by_algorithms!();
}

/// Whom a client believes to be the server.
pub enum Trust {
    /// Whoever these authorities (PEM) say has the name that was called.
    Authorities(String),
    /// The control plane of the cluster with these authorities (PEM).
    Cluster(String),
    /// The control plane of the cluster whose authority's certificate has this SHA-256 (hex).
    Pinned(String),
    /// Nobody yet: notes the SHA-256 (hex) of the authority by which a control plane proves itself, and ends the handshake.
    Unknown(Arc<OnceLock<String>>),
}

/// A client's side: whom it believes, and the certificate that it shows when it is asked for one.
pub fn client(trust: Trust, identity: Option<(&str, &NodeKey)>) -> std::result::Result<Arc<ClientConfig>, String> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| e.to_string())?;
    let (builder, protocol) = match trust {
        Trust::Authorities(pem) => (builder.with_root_certificates(roots(&pem)?), HTTP_PROTOCOL),
        Trust::Cluster(pem) => {
            let verifier = ControlPlane { trusted: Anchors::Known(roots(&pem)?), algorithms };
            (builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)), NODE_PROTOCOL)
        }
        Trust::Pinned(fingerprint) => {
            let verifier = ControlPlane { trusted: Anchors::Pinned(fingerprint), algorithms };
            (builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)), NODE_PROTOCOL)
        }
        Trust::Unknown(seen) => {
            let verifier = Onlooker { seen, algorithms };
            (builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)), NODE_PROTOCOL)
        }
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((cert_pem, key)) => {
            let chain = certificates(cert_pem).ok_or("the node's certificate cannot be read")?;
            let key = PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).map_err(|e| format!("the node's key cannot be used: {e}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| format!("the node's certificate cannot be used: {e}"))?
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
enum Anchors {
    Known(RootCertStore),
    Pinned(String),
}

/// Believes the holder of a certificate for [`CONTROL_NAME`] of the cluster's own authority, by whatever name or address it was called.
#[derive(Debug)]
struct ControlPlane {
    trusted: Anchors,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ControlPlane {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let pinned;
        let roots = match &self.trusted {
            Anchors::Known(roots) => roots,
            Anchors::Pinned(fingerprint) => {
                let authority = intermediates.iter().find(|cert| super::sha256_hex(cert) == *fingerprint);
                let mut store = RootCertStore::empty();
                store.add(authority.ok_or(CertificateError::UnknownIssuer)?.clone())?;
                pinned = store;
                &pinned
            }
        };
        // A machine without a clock of its own comes up in 1970, or where its clock was left; it must get here to learn what time it is. The
        // key of a certificate that ended is of no more use to a thief than that of one in force: both are in the server's memory only.
        let in_secs = |at: Timestamp| u64::try_from(at.secs()).unwrap_or(0);
        let (begins, ends) = pki::validity_der(end_entity).ok_or(CertificateError::BadEncoding)?;
        let now = now.as_secs().min(in_secs(ends)).max(in_secs(begins));
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let cert = ParsedCertificate::try_from(end_entity)?;
        rustls::client::verify_server_cert_signed_by_trust_anchor(&cert, roots, intermediates, now, self.algorithms.all)?;
        let name = ServerName::try_from(CONTROL_NAME).map_err(|_| rustls::Error::General("the control plane's name".into()))?;
        rustls::client::verify_server_name(&cert, &name)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures_by_algorithms!();
}

/// Believes nobody, and notes which authority would have to be believed.
#[derive(Debug)]
struct Onlooker {
    seen: Arc<OnceLock<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let vouches = |authority: &String| {
            let pinned = ControlPlane { trusted: Anchors::Pinned(authority.clone()), algorithms: self.algorithms };
            pinned.verify_server_cert(end_entity, intermediates, name, ocsp, now).is_ok()
        };
        if let Some(authority) = intermediates.iter().map(|cert| super::sha256_hex(cert)).find(vouches) {
            let _ = self.seen.set(authority);
        }
        Err(CertificateError::UnknownIssuer.into())
    }

    signatures_by_algorithms!();
}

fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(text::pem(pem).as_bytes()).collect::<std::result::Result<_, _>>().ok()
}

/// The authorities in a text of PEM; those that cannot be used are left out, as in every collection of public ones.
fn roots(pem: &str) -> std::result::Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let pem = text::pem(pem);
    let (usable, _) = roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(std::result::Result::ok));
    if usable == 0 { Err("there is no certificate of an authority (PEM)".to_string()) } else { Ok(roots) }
}
