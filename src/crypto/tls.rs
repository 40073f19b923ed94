//! TLS configurations of server and clients: which certificates are shown, and which are trusted. rustls with ring, TLS
//! 1.3 and 1.2.
//!
//! Nodes and the control plane recognise each other by their own protocol name (ALPN, RFC 7301). A client that offers
//! it gets the certificate that the cluster's authority issued for [`CONTROL_NAME`], whatever certificate other clients
//! get and by whatever address it was called: so a node needs to trust only its cluster.

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
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The control plane's name in the certificate for nodes. No node's certificate ever contains it.
pub const CONTROL_NAME: &str = "control-plane.uptimemesh.internal";

/// The protocol name by which nodes request that certificate.
const NODE_PROTOCOL: &[u8] = b"uptimemesh/1";

/// The protocol of all other clients.
const HTTP_PROTOCOL: &[u8] = b"http/1.1";

/// TLS 1.3 session tickets sent after a handshake: clients keep one connection and resume with one ticket.
const TICKETS: usize = 1;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A certificate with its chain and key. Holds a private key, so it has no Debug.
#[derive(Clone)]
pub struct Shown(Arc<CertifiedKey>);

impl Shown {
    /// Reads a chain, the server's own certificate first, and its key. Fails with a sentence.
    pub fn from_pem(chain_pem: &str, key_pem: &str) -> std::result::Result<Shown, String> {
        let chain = certificates(chain_pem).filter(|chain| !chain.is_empty()).ok_or("there is no certificate (PEM)")?;
        let key = PrivateKeyDer::from_pem_slice(text::pem(key_pem).as_bytes())
            .map_err(|_| "there is no private key (PEM)")?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => "the key does not belong to the certificate".to_string(),
            e => e.to_string(),
        })?;
        Ok(Shown(Arc::new(certified)))
    }
}

/// Issuer of session tickets, shared by all configurations of a server.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// A new issuer; its keys rotate by themselves and end with the process.
    pub fn new() -> Result<Tickets> {
        ring::Ticketer::new().map(Tickets).doing("make the keys of session tickets")
    }
}

/// Configuration of a server, with certificates for nodes and for other clients. It requests a client certificate,
/// accepts any and requires none: each request checks whether it is an enrolled node's, so that deleting a node takes
/// effect immediately.
pub fn server(
    to_nodes: Shown,
    to_others: Shown,
    authorities: &[String],
    tickets: &Tickets,
) -> Result<Arc<ServerConfig>> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let names = authorities.iter().filter_map(|pem| pki::subject_der(pem)).map(DistinguishedName::from).collect();
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .doing("prepare TLS")?;
    let mut config = builder
        .with_client_cert_verifier(Arc::new(AnyHolder { names, algorithms }))
        .with_cert_resolver(Arc::new(ByProtocol { to_nodes: to_nodes.0, to_others: to_others.0 }));
    // Of the ciphers, all good, prefer the stronger one of both sides, as security scanners expect.
    config.ignore_client_order = true;
    config.alpn_protocols = vec![NODE_PROTOCOL.to_vec(), HTTP_PROTOCOL.to_vec()];
    config.ticketer = Arc::clone(&tickets.0);
    config.send_tls13_tickets = TICKETS;
    // Clients present their session to resume it; the server stores none.
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

/// The part that every certificate verifier shares: proof of the key by ring's algorithms in `self.algorithms`.
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

/// Verifies only that a client holds the key of its certificate.
#[derive(Debug)]
struct AnyHolder {
    /// Names of the authorities, so that a browser does not offer unrelated certificates.
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

/// Servers that a client trusts.
pub enum Trust {
    /// A server whose certificate for the called name is signed by these authorities (PEM).
    Authorities(String),
    /// The control plane of the cluster with these authorities (PEM).
    Cluster(String),
    /// The control plane of the cluster whose authority's certificate has one of these SHA-256 (hex).
    Pinned(Vec<String>),
    /// No server yet: notes the SHA-256 (hex) of the authority by which a control plane proves itself, if one does, and
    /// ends the handshake.
    Unknown(Arc<OnceLock<Option<String>>>),
}

/// Configuration of a client: which servers it trusts, and the certificate that it shows on request.
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
        Trust::Pinned(fingerprints) => {
            let verifier = ControlPlane { trusted: Anchors::Pinned(fingerprints), algorithms };
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
            let key = PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes())
                .map_err(|e| format!("the node's key cannot be used: {e}"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| format!("the node's certificate cannot be used: {e}"))?
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
enum Anchors {
    Known(RootCertStore),
    Pinned(Vec<String>),
}

/// Trusts the holder of a certificate for [`CONTROL_NAME`] from the cluster's authority, by whatever name or address it
/// was called.
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
            Anchors::Pinned(fingerprints) => {
                let authority = intermediates.iter().find(|cert| fingerprints.contains(&super::sha256_hex(cert)));
                let mut store = RootCertStore::empty();
                store.add(authority.ok_or(CertificateError::UnknownIssuer)?.clone())?;
                pinned = store;
                &pinned
            }
        };
        // A machine without a battery-backed clock starts in 1970, or where its clock stopped; it must connect to learn
        // the time. The key of an expired certificate is no easier to steal than a current one: both are only in the
        // server's memory.
        let in_secs = |at: Timestamp| u64::try_from(at.secs()).unwrap_or(0);
        let (begins, ends) = pki::validity_der(end_entity).ok_or(CertificateError::BadEncoding)?;
        let now = now.as_secs().min(in_secs(ends)).max(in_secs(begins));
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let cert = ParsedCertificate::try_from(end_entity)?;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &cert,
            roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let name = ServerName::try_from(CONTROL_NAME)
            .map_err(|_| rustls::Error::General("the control plane's name".into()))?;
        rustls::client::verify_server_name(&cert, &name)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures_by_algorithms!();
}

/// Trusts no server, and notes which authority would have to be believed.
#[derive(Debug)]
struct Onlooker {
    seen: Arc<OnceLock<Option<String>>>,
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
            let pinned =
                ControlPlane { trusted: Anchors::Pinned(vec![authority.clone()]), algorithms: self.algorithms };
            pinned.verify_server_cert(end_entity, intermediates, name, ocsp, now).is_ok()
        };
        let _ = self.seen.set(intermediates.iter().map(|cert| super::sha256_hex(cert)).find(vouches));
        Err(CertificateError::UnknownIssuer.into())
    }

    signatures_by_algorithms!();
}

fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(text::pem(pem).as_bytes()).collect::<std::result::Result<_, _>>().ok()
}

/// The authorities in a PEM text; unusable ones are skipped, as in every collection of public ones.
fn roots(pem: &str) -> std::result::Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let pem = text::pem(pem);
    let (usable, _) = roots
        .add_parsable_certificates(CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(std::result::Result::ok));
    if usable == 0 { Err("there is no certificate of an authority (PEM)".to_string()) } else { Ok(roots) }
}
