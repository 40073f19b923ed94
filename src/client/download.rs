//! Fetching a file of a release, where the machine has no program of its own for that.

use super::CONNECT_TIME;
use super::trust::system_authorities;
use crate::client::connect::TlsConnector;
use crate::client::socket::SocketConnector;
use crate::crypto::tls::{self, Trust};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use ureq::Agent;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::Connector;

/// A slow line takes the program in half an hour.
const DOWNLOAD_TIME: Duration = Duration::from_secs(1800);
/// Hosts of releases send on to where the file is.
const REDIRECTS_MAX: u32 = 5;

/// Downloads a URL to a file; an answer of more than `bytes_max` bytes is an error. Callers check the file itself, so
/// any host will do, but over `https` the authorities of the system must know it.
pub fn download(url: &str, file: &Path, bytes_max: u64) -> Result<(), String> {
    let config = Agent::config_builder().max_redirects(REDIRECTS_MAX).timeout_connect(Some(CONNECT_TIME));
    let config = config.timeout_global(Some(DOWNLOAD_TIME)).build();
    let agent = match system_authorities() {
        Ok(pem) => {
            let connector = ().chain(SocketConnector).chain(TlsConnector(tls::client(Trust::Authorities(pem), None)?));
            Agent::with_parts(config, connector, DefaultResolver::default())
        }
        Err(why) if url.starts_with("https://") => return Err(why),
        Err(_) => config.new_agent(),
    };
    let mut response = agent.get(url).call().map_err(|e| format!("{url} cannot be fetched: {e}"))?;
    let mut out = File::create(file).map_err(|e| format!("{} cannot be written: {e}", file.display()))?;
    let mut body = response.body_mut().with_config().limit(bytes_max + 1).reader().take(bytes_max + 1);
    let count = std::io::copy(&mut body, &mut out).map_err(|e| format!("{url} cannot be fetched: {e}"))?;
    match count <= bytes_max {
        true => Ok(()),
        false => Err(format!("{url} is longer than {bytes_max} bytes")),
    }
}
