//! Authorities of servers: those that this system believes, those in a file, and the one that a server shows.

use super::{Api, CallError, Called, Trust};
use crate::text;
use std::fs;
use std::sync::{Arc, OnceLock};

/// Usual files with the certificates of public authorities; `SSL_CERT_FILE` names another.
const PUBLIC_CERTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// SHA-256 (hex) of the authority by which the control plane at this URL would prove itself. Nothing is sent to it.
pub fn shown_authority(url: &str) -> Called<String> {
    let seen = Arc::new(OnceLock::new());
    let api =
        Api::with(&[url.to_string()], Some(Trust::Unknown(Arc::clone(&seen))), None).map_err(CallError::Unreachable)?;
    let failed = api.get("/health").err();
    match (seen.get(), failed) {
        (Some(authority), _) => Ok(authority.clone()),
        (None, Some(e)) => Err(e),
        (None, None) => Err(CallError::Unreachable(format!("{url} shows no certificate"))),
    }
}

/// The certificates of the authorities that this system believes.
pub(super) fn system_authorities() -> Result<String, String> {
    let path = std::env::var("SSL_CERT_FILE").unwrap_or(PUBLIC_CERTS.to_string());
    authorities_in(&path).map_err(|why| format!("{why} (SSL_CERT_FILE names another file)"))
}

/// The certificates of authorities in a file.
pub fn authorities_in(path: &str) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|e| format!("cannot read the trusted certificates in {path}: {e}"))?;
    if text::is_wide(&bytes) {
        return text::decode(bytes).map_err(|why| format!("the file of trusted certificates, {path}, {why}"));
    }
    // Comments in collections are in any encoding.
    Ok(String::from_utf8_lossy(text::without_mark(&bytes)).into_owned())
}

/// Why a server is not believed, if that is what went wrong.
pub(super) fn foreign(e: &ureq::Error) -> Option<String> {
    let ureq::Error::Io(e) = e else { return None };
    match e.get_ref()?.downcast_ref::<rustls::Error>()? {
        e @ rustls::Error::InvalidCertificate(_) => Some(e.to_string()),
        _ => None,
    }
}
