//! Authorities of servers: those that this system believes, those in a file, and the one that a server shows.

use super::{Api, CallError, Called, Trust};
use crate::text;
use std::fs::File;
use std::io::Read;
use std::sync::{Arc, OnceLock};

/// Usual files with the certificates of public authorities; `SSL_CERT_FILE` names another.
const PUBLIC_CERTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Largest file of authorities, in bytes; collections of public ones have a quarter of a megabyte.
const AUTHORITIES_BYTES_MAX: u64 = 4 << 20;

/// SHA-256 (hex) of the authority by which the control plane at this URL would prove itself. Nothing is sent to it.
pub fn shown_authority(url: &str) -> Called<String> {
    let seen = Arc::new(OnceLock::new());
    let api =
        Api::with(&[url.to_string()], Some(Trust::Unknown(Arc::clone(&seen))), None).map_err(CallError::Unreachable)?;
    let failed = api.get("/health").err();
    match (seen.get(), failed) {
        (Some(Some(authority)), _) => Ok(authority.clone()),
        (Some(None), _) => Err(CallError::Unreachable(format!(
            "nothing says that {url} can be trusted: neither an authority that this machine believes nor one of a \
                UptimeMesh cluster vouches for its certificate. If a proxy of yours answers there, give the authority \
                of its certificate: --ca-file FILE"
        ))),
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
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(AUTHORITIES_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|e| format!("cannot read the trusted certificates in {path}: {e}"))?;
    if bytes.len() as u64 > AUTHORITIES_BYTES_MAX {
        return Err(format!("the file of trusted certificates, {path}, is longer than {AUTHORITIES_BYTES_MAX} bytes"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_authorities_has_an_end() {
        assert!(authorities_in("/dev/zero").is_err_and(|why| why.contains("is longer than")));
    }
}
