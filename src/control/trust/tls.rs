//! TLS of the server: nodes are shown a certificate of the cluster's authority, all others one of the server's
//! authority or the operator's own. Both can change while the server runs; open connections stay open.

use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::control::Control;
use crate::control::trust::ca;
use crate::crypto::pki::{self, Ca};
use crate::crypto::tls::{self, CONTROL_NAME, Shown, Tickets};
use crate::error::{Chain, Error, Result};
use crate::model::address::at_port;
use crate::model::addresses::Addresses;
use crate::model::join_string::ADDRESSES_MAX;
pub use crate::sys::addresses::v6_is_alone;
pub use crate::sys::host::raise_backlog;
use crate::sys::{addresses, host};
use crate::text;
use crate::thread::lock;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::ServerConfig;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

/// Days of validity of the certificate that the authority issues for the server. It lives in memory only.
const VALIDITY_DAYS: i64 = 90;
/// Days before its end at which it is renewed.
const RENEW_DAYS: i64 = 30;
/// Maximum number of names in a certificate: a machine with more addresses is known by the first ones.
const NAMES_MAX: usize = 100;
/// Maximum size of the operator's own chain or key, in bytes.
const PEM_BYTES_MAX: usize = 1 << 20;

/// Current TLS of the server.
pub struct Tls {
    config: RwLock<Arc<ServerConfig>>,
    tickets: Tickets,
    made: Mutex<Inputs>,
    /// Addresses of the server for nodes; `None` if no other machine reaches it.
    addresses: RwLock<Option<Addresses>>,
    /// The operator's own certificate, as last read successfully.
    own: Mutex<Option<Shown>>,
}

/// Inputs of the configuration.
#[derive(Clone, PartialEq)]
struct Inputs {
    names: Vec<String>,
    reached: Vec<String>,
    /// Fingerprints of the authority that certifies the server, the one that issues, and the one for people.
    authorities: [String; 3],
    /// Start of their validity, and time of their renewal.
    good: (Timestamp, Timestamp),
    files: Option<Stamp>,
}

/// Change times and sizes of the operator's files.
type Stamp = [(SystemTime, u64); 2];

impl Tls {
    /// Prepares TLS. Fails if the operator's own certificate cannot be used.
    pub fn new(config: &Config, ca: &ca::Authority, listening: SocketAddr) -> Result<Tls> {
        let tickets = Tickets::new()?;
        let files = stamp(config);
        let own = config.tls_files.as_ref().map(own).transpose()?;
        let (names, now) = ((names(config, listening), reached_at(config, listening)), clock::now());
        let (made, server) = make(ca, &tickets, names, files, own.clone(), now)?;
        let addresses = RwLock::new(sign_addresses(config, ca, listening, &made.reached, now)?);
        Ok(Tls { config: RwLock::new(server), tickets, made: Mutex::new(made), addresses, own: Mutex::new(own) })
    }

    /// Addresses of the server for nodes.
    pub fn addresses(&self) -> Option<Addresses> {
        self.addresses.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The names and addresses of the server.
    pub fn names(&self) -> Vec<String> {
        lock(&self.made).names.clone()
    }

    /// Renews the certificates if names, authorities or files have changed, or their time is almost over. Returns true
    /// if it did.
    fn refresh(&self, config: &Config, ca: &ca::Authority, listening: SocketAddr, now: Timestamp) -> Result<bool> {
        let (names, reached) = (names(config, listening), reached_at(config, listening));
        let mut made = lock(&self.made);
        let files = stamp(config);
        let wanted = Inputs { names, reached, authorities: authorities(ca)?, good: made.good, files };
        // The clock may have been set back since.
        if *made == wanted && (made.good.0..made.good.1).contains(&now) {
            return Ok(false);
        }
        let mut last = lock(&self.own);
        match config.tls_files.as_ref().map(own).transpose() {
            Ok(own) => *last = own,
            // Files are replaced one after the other; the next turn finds both. The last good one stays in use, and
            // what nodes are shown does not depend on it.
            Err(e) => {
                log::error!(target: "system", event = "tls.unchanged", error:% = Chain(&e);
                    "The operator's new certificate cannot be used; keeping the current one");
            }
        }
        let (fresh, server) = make(ca, &self.tickets, (wanted.names, wanted.reached), files, last.clone(), now)?;
        let addresses = sign_addresses(config, ca, listening, &fresh.reached, now)?;
        *made = fresh;
        *self.addresses.write().unwrap_or_else(PoisonError::into_inner) = addresses;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = server;
        log::info!(target: "system", event = "tls.changed", names:% = made.names.join(" "); "New connections use a new \
            certificate");
        Ok(true)
    }

    /// The configuration for the next connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads the operator's certificate again, whether or not its files look changed.
pub fn reread(control: &Control) -> Result<()> {
    if let Some(tls) = &control.tls {
        lock(&tls.made).files = None;
    }
    turn(control)
}

/// Renews the certificates if necessary.
pub fn turn(control: &Control) -> Result<()> {
    match &control.tls {
        Some(tls) if tls.refresh(&control.config, &control.ca, control.listening, clock::now())? => {
            control.sessions.local.follow(control.ca.vouching()?.fingerprint_hex());
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The names and addresses of this server, the one for nodes first. No node gets one of them into its certificate.
pub fn names(config: &Config, listening: SocketAddr) -> Vec<String> {
    let mut names = vec![CONTROL_NAME.to_string()];
    let mut add = |name: String| {
        let fits = name.parse::<IpAddr>().is_ok_and(|ip| !ip.is_unspecified())
            || (name.parse::<IpAddr>().is_err() && name.is_ascii());
        if fits && !name.is_empty() && names.len() < NAMES_MAX && !names.contains(&name) {
            names.push(name);
        }
    };
    config.tls_names.iter().cloned().for_each(&mut add);
    config.advertised.iter().map(|(host, _)| host.clone()).for_each(&mut add);
    add(config.server_host.trim_matches(['[', ']']).to_ascii_lowercase());
    ["localhost", "127.0.0.1", "::1"].map(str::to_string).into_iter().for_each(&mut add);
    add(host::name().unwrap_or_default().as_str().to_ascii_lowercase());
    let ip = listening.ip();
    if ip.is_unspecified() {
        addresses::all()
            .iter()
            .filter(|(a, _)| receives(config, ip, *a))
            .map(|(a, _)| a.to_string())
            .for_each(&mut add);
    }
    names
}

/// The addresses for nodes, signed by the authority that each of them trusts.
fn sign_addresses(
    config: &Config,
    ca: &ca::Authority,
    listening: SocketAddr,
    reached: &[String],
    now: Timestamp,
) -> Result<Option<Addresses>> {
    if listening.ip().is_loopback() && config.advertised.is_empty() {
        return Ok(None);
    }
    let (urls, at) = (reached.iter().map(|at| format!("https://{at}")).collect::<Vec<_>>(), now.secs());
    let signature = BASE64_STANDARD.encode(ca.vouching()?.sign(&Addresses::message(&urls, at))?);
    Ok(Some(Addresses { urls, at, signature }))
}

/// True if a server that listens at `listening` receives what is sent to this address of the machine.
fn receives(config: &Config, listening: IpAddr, address: IpAddr) -> bool {
    match listening {
        ip if !ip.is_unspecified() => ip.to_canonical() == address,
        IpAddr::V4(_) => address.is_ipv4(),
        // One socket serves both, unless the kernel is configured otherwise; then there are two, if no address is set.
        IpAddr::V6(_) => address.is_ipv6() || config.server_host.is_empty() || !v6_is_alone(),
    }
}

/// Addresses at which other machines reach this server, the most likely first: the operator's setting, or else the
/// server's names, then the addresses of the machine at which it listens.
pub fn reached_at(config: &Config, listening: SocketAddr) -> Vec<String> {
    if !config.advertised.is_empty() {
        return config.advertised.iter().map(|(host, port)| at_port(host, port.unwrap_or(listening.port()))).collect();
    }
    let ip = listening.ip();
    let mut found = if ip.is_unspecified() { addresses::outward() } else { vec![ip] };
    found.retain(|address| !address.is_loopback() && receives(config, ip, *address));
    if found.is_empty() {
        found.push(near(config, ip));
    }
    let names = config.tls_names.iter().filter(|name| !name.starts_with('*')).cloned();
    let mut all: Vec<String> = Vec::new();
    for host in names.chain(found.iter().map(IpAddr::to_string)) {
        let at = at_port(&host, listening.port());
        if all.len() < ADDRESSES_MAX && !all.contains(&at) {
            all.push(at);
        }
    }
    all
}

/// The address by which this machine itself reaches the server.
pub fn near(config: &Config, listening: IpAddr) -> IpAddr {
    match listening {
        ip if !ip.is_unspecified() => ip,
        ip if receives(config, ip, Ipv4Addr::LOCALHOST.into()) => Ipv4Addr::LOCALHOST.into(),
        _ => Ipv6Addr::LOCALHOST.into(),
    }
}

fn authorities(ca: &ca::Authority) -> Result<[String; 3]> {
    Ok([ca.vouching()?, ca.ensure()?, ca.showing()?].map(|ca| ca.fingerprint_hex()))
}

/// Creates the certificate for nodes, under one name and no other, and the one for all others, unless the operator
/// provides one.
fn make(
    ca: &ca::Authority,
    tickets: &Tickets,
    (names, reached): (Vec<String>, Vec<String>),
    files: Option<Stamp>,
    own: Option<Shown>,
    now: Timestamp,
) -> Result<(Inputs, Arc<ServerConfig>)> {
    let (vouching, showing) = (ca.vouching()?, ca.showing()?);
    let issue = |by: &Ca, names: &[String], above: &str| {
        let (cert, key) = by.issue_server(names, VALIDITY_DAYS, now)?;
        Shown::from_pem(&(cert + above), &key).map_err(|why| Error::fault("issue the server's certificate", why))
    };
    // A client that knows only the fingerprint of the authority finds it in the chain.
    let to_nodes = issue(&vouching, &[CONTROL_NAME.to_string()], vouching.cert_pem())?;
    let to_others = match own {
        Some(own) => own,
        None => issue(&showing, &names[1..], &vouching.cross_sign(&showing, VALIDITY_DAYS, now)?)?,
    };
    let authorities_pem = [vouching.cert_pem().to_string(), ca.ensure()?.cert_pem().to_string()];
    let server = tls::server(to_nodes, to_others, &authorities_pem, tickets)?;
    let good = (now.plus_secs(-pki::BACKDATED_S), now.plus_secs((VALIDITY_DAYS - RENEW_DAYS) * 86_400));
    let made = Inputs { names, reached, authorities: authorities(ca)?, good, files };
    Ok((made, server))
}

/// The chain of the operator's own certificate, in PEM, once it is verified to work with its key.
pub fn own_certificate(chain: &Path, key: &Path) -> Result<String> {
    own(&(chain.to_path_buf(), key.to_path_buf()))?;
    pem(chain)
}

/// A file of PEM.
fn pem(path: &Path) -> Result<String> {
    text::file(path, PEM_BYTES_MAX).map_err(|why| Error::Unavailable(format!("The file {why}.")))
}

/// The operator's own certificate.
fn own((chain_path, key_path): &(PathBuf, PathBuf)) -> Result<Shown> {
    let (chain, key) = (pem(chain_path)?, pem(key_path)?);
    let unusable = |why| {
        Error::Unavailable(format!(
            "The certificate in {} with the key in {} cannot be used: {why}.",
            chain_path.display(),
            key_path.display()
        ))
    };
    let shown = Shown::from_pem(&chain, &key).map_err(unusable)?;
    if pki::validity(&chain).is_some_and(|(_, ends)| ends < clock::now()) {
        log::warn!(target: "system", event = "tls.expired", path:% = chain_path.display(); "The certificate has \
            expired; clients will refuse it");
    }
    Ok(shown)
}

fn stamp(config: &Config) -> Option<Stamp> {
    let of = |path: &PathBuf| fs::metadata(path).and_then(|m| Ok((m.modified()?, m.len())));
    // A file that is missing for a moment is seen again at the next turn; one that is missing at the start is reported
    // when it is read.
    config.tls_files.as_ref().and_then(|(chain, key)| Some([of(chain).ok()?, of(key).ok()?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_renewed_before_its_end_and_when_a_name_is_added() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-tls-{}", std::process::id()));
        let mut config = Config::for_dir(&dir);
        let listening = SocketAddr::from(([127, 0, 0, 1], 1));
        let ca = ca::Authority::new(config.pki_dir.clone()).expect("an authority");
        let tls = Tls::new(&config, &ca, listening).expect("a certificate");
        let look = |config: &Config, days: i64| {
            tls.refresh(config, &ca, listening, clock::now().plus_secs(days * 86_400)).expect("a look")
        };
        assert!(!look(&config, 0));
        assert!(!look(&config, VALIDITY_DAYS - RENEW_DAYS - 1));
        assert!(look(&config, VALIDITY_DAYS - RENEW_DAYS + 1), "a month before its end");
        assert!(!look(&config, VALIDITY_DAYS - RENEW_DAYS + 1), "once");
        assert!(look(&config, 0) && !look(&config, 0), "the clock was ahead, and is right again");
        config.tls_names.push("cp.example".into());
        assert!(look(&config, 0) && !look(&config, 0), "a name was added");
        std::fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
