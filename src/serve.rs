//! A running server: wires configuration, database, rules, routes and background passes together.

use crate::config::{Config, REQUESTS_PER_SECOND};
use crate::control::access::auth;
pub use crate::control::events::Cursor;
use crate::control::trust::{ca, join_tokens, tls};
use crate::error::{Chain, Doing, Error, Result};
use crate::http::Limits;
use crate::http::listen::{Front, TlsSource};
use crate::model::address;
use crate::model::ids::{NodeId, ServiceId};
use crate::model::join_tokens::{Admits, JoinRole, NewJoinToken};
use crate::offline::{lock_data_dir, make_parent};
use crate::store::{self, QueryLog, Store};
use crate::thread::{Stop, lock};
use crate::upkeep::App;
use crate::upkeep::{backups, passes};
use crate::{clock, files, logger, routes};
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Grace period for in-flight requests at shutdown.
const GRACE: Duration = Duration::from_secs(10);
/// Concurrent reads in addition to one per core.
const READERS_EXTRA: usize = 2;
/// Interval at which a start checks whether the clock was set.
const CLOCK_LOOK: Duration = Duration::from_secs(1);

/// A running control plane. Dropping it stops it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use uptimemesh::{Config, Server};
///
/// let dir = std::env::temp_dir().join(format!("uptimemesh-doc-{}", std::process::id()));
/// let server = Server::start(Config::for_dir(&dir))?;
///
/// let mut answer = ureq::get(format!("{}/health", server.url())).call()?;
/// assert!(answer.body_mut().read_to_string()?.contains(r#""status":"ok""#));
///
/// server.shutdown();
/// std::fs::remove_dir_all(&dir)?;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    address: SocketAddr,
    app: Arc<App>,
    stop: Stop,
    running: Mutex<Option<Running>>,
}

/// A service with fewer replicas than desired.
#[derive(PartialEq)]
pub struct Unplaced {
    /// The service's id.
    pub service_id: ServiceId,
    /// Replicas with a node.
    pub placed: usize,
    /// Desired replicas.
    pub desired: usize,
    /// The first warning of its plan; empty for none.
    pub why: String,
}

struct Running {
    front: Front,
    passes: Vec<JoinHandle<()>>,
    /// Lock of the data directory, which the operating system releases even after a crash.
    _lock: File,
}

impl Server {
    /// Starts a control plane: opens its data, migrates the database, and listens.
    pub fn start(mut config: Config) -> Result<Server> {
        if routes::has_beginning(&config.base_path) {
            let sentence =
                "BASE_PATH must not begin like a path of the program's own, such as /ui or /nodes: take /mesh";
            return Err(Error::Malformed(sentence.into()));
        }
        if is_first_start_with_wrong_clock(&config)? {
            ca::clock_is_right()?;
        }
        files::private_dir(&config.data_dir)?;
        let held = lock_data_dir(&config.data_dir)?;
        backups::finish(&config.data_dir)?;
        backups::clean(&config.data_dir)?;
        logger::init(config.log_level.0, config.log_file.clone())?;
        for note in &config.notes {
            log::warn!(target: "system", event = "config.note"; "{note}");
        }
        config.fill_keys()?;
        let readers = std::thread::available_parallelism().map_or(1, usize::from) + READERS_EXTRA;
        make_parent(&config.database_path)?;
        let listeners = listen(&config.server_host, config.server_port)?;
        let address = listeners[0].local_addr().doing("read the listening address")?;
        store::wait_for(&config.database_path)?;
        backups::before_upgrade(&config)?;
        let store = Store::open(&config.database_path, readers, query_log(&config))?;
        let limits = limits(&config);
        let app = Arc::new(App::new(config, store, address)?);
        backups::settle(&app.control)?;
        ca::check_dates(&app.control)?;
        let stop = Stop::default();
        let passes = passes::start(&app, &stop)?;
        let answering = Arc::clone(&app);
        // Before the first answer: a command that was refused finds the new credential.
        let authority = app.control.tls.is_some().then(|| app.control.ca.vouching()).transpose()?;
        app.control.sessions.local.publish(url(&app, address), authority.map(|ca| ca.fingerprint_hex()));
        let tls: Option<TlsSource> = app.control.tls.is_some().then(|| {
            let speaking = Arc::clone(&app);
            let source: TlsSource =
                Arc::new(move || speaking.control.tls.as_ref().expect("TLS is on, and does not go off").config());
            source
        });
        let front =
            Front::start(listeners, limits, tls, Arc::new(move |request| routes::dispatch(&answering, request)))?;
        let server = Server { address, app, stop, running: Mutex::new(Some(Running { front, passes, _lock: held })) };
        if server.app.control.tls.is_none()
            && server.app.control.config.trusted_proxies.is_empty()
            && !address::is_private(server.address.ip())
        {
            log::warn!(
                target: "system", event = "serve.plain", address = server.url();
                "TLS is off and the server accepts connections from other machines: passwords and tokens cross the \
                    network unencrypted. Listen on a private address and list the proxy in TRUSTED_PROXIES"
            );
        }
        log::info!(target: "system", event = "serve.start", address = server.url(), version = env!("CARGO_PKG_VERSION");
            "Listening");
        Ok(server)
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// URL for a browser on this machine: plain HTTP if that does not leave the machine.
    pub fn url(&self) -> String {
        url(&self.app, self.address)
    }

    /// URLs for browsers and nodes elsewhere, most likely first; empty if it only serves a proxy or this machine.
    pub fn urls_elsewhere(&self) -> Vec<String> {
        let reached = if self.app.control.tls.is_some()
            && (!self.address.ip().is_loopback() || !self.app.control.config.advertised.is_empty())
        {
            tls::reached_at(&self.app.control.config, self.address)
        } else {
            Vec::new()
        };
        reached.iter().map(|at| format!("https://{at}")).collect()
    }

    /// URL for this machine's agent.
    pub fn agent_url(&self) -> String {
        let scheme = if self.app.control.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", SocketAddr::new(self.near(), self.address.port()))
    }

    /// SHA-256 of the certificate of the server's authority.
    pub fn authority(&self) -> Result<String> {
        Ok(self.app.control.ca.vouching()?.fingerprint_hex())
    }

    /// The address by which this machine reaches the server.
    fn near(&self) -> IpAddr {
        tls::near(&self.app.control.config, self.address.ip())
    }

    /// Creates the certificate authority, and a join token for this node only: for the machine that the server runs on.
    pub fn bootstrap_local(&self, node_id: &NodeId) -> Result<NewJoinToken> {
        const TTL_S: i64 = 300;
        join_tokens::ensure_authority(&self.app.control)?;
        join_tokens::create(
            &self.app.control,
            Admits { node_id: Some(node_id.clone()), ..JoinRole::Core.into() },
            TTL_S,
        )
    }

    /// Creates a join string for one worker, valid for `ttl_s` seconds; `None` if the server does not speak TLS.
    pub fn invite_worker(&self, ttl_s: i64) -> Result<Option<String>> {
        join_tokens::create(&self.app.control, JoinRole::Worker.into(), ttl_s).map(|token| token.join_string)
    }

    /// The events from now on.
    pub fn events(&self) -> Cursor {
        Cursor::at_end(&self.app.control)
    }

    /// Services with fewer replicas than desired and no node for more.
    pub fn unplaced(&self) -> Result<Vec<Unplaced>> {
        let services = self.app.scheduler.health(&self.app.control)?.into_iter().map(|health| health.plan);
        let short = services.filter(|plan| plan.actual_replicas < plan.desired_replicas);
        let unplaced = short.map(|plan| Unplaced {
            service_id: plan.service_id,
            placed: plan.actual_replicas,
            desired: plan.desired_replicas,
            why: plan.warnings.into_iter().next().unwrap_or_default(),
        });
        Ok(unplaced.collect())
    }

    /// The time, in epoch seconds, that the next heartbeat of this node must be signed after, if that is known.
    pub fn signed_at(&self, node_id: &NodeId) -> Option<i64> {
        let control = &self.app.control;
        control.leases.signed_at(node_id, clock::now().secs() + control.config.heartbeat_skew_s)
    }

    /// True if the initial account still has its well-known password.
    pub fn has_initial_password(&self) -> Result<bool> {
        auth::has_seeded_password(&self.app.control)
    }

    /// Code that changing that password requires from other machines, while it is set.
    pub fn setup_code(&self) -> Option<String> {
        self.app.control.setup.code()
    }

    /// Reloads the operator's certificate; keeps the current one if the new one is unusable.
    pub fn reload_certificate(&self) {
        if let Err(e) = tls::reread(&self.app.control) {
            log::error!(target: "system", event = "tls.unchanged", error:% = Chain(&e); "Could not reload the \
                certificate");
        }
    }

    /// Stops: accepts nothing more, finishes in-flight requests, writes what is in memory, and closes the database.
    pub fn shutdown(&self) {
        let Some(running) = lock(&self.running).take() else { return };
        // Readers of the event stream would wait for the next event.
        self.app.control.store.tail.close();
        self.app.control.sessions.local.withdraw();
        running.front.stop(GRACE);
        passes::stop(&self.app, &self.stop);
        for pass in running.passes {
            if pass.join().is_err() {
                log::error!(target: "system", event = "serve.pass_panicked"; "A background pass panicked");
            }
        }
        passes::finish(&self.app.control);
        self.app.control.store.close();
        log::info!(target: "system", event = "serve.stop"; "Stopped");
    }
}

/// URL of a server that listens at this address, for this machine.
fn url(app: &App, address: SocketAddr) -> String {
    let ip = tls::near(&app.control.config, address.ip());
    let scheme = if app.control.tls.is_some() && !ip.is_loopback() { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(ip, address.port()))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Before a first start, waits for a plausible clock: keys and certificates are dated for years. Returns false if the
/// flag was raised first; fails after the configured time.
pub fn wait_for_clock(config: &Config, stop: &Stop) -> Result<bool> {
    if !is_first_start_with_wrong_clock(config)? {
        return Ok(true);
    }
    logger::init(config.log_level.0, config.log_file.clone().filter(|file| file.parent().is_some_and(Path::exists)))?;
    let (now, built, most_s) = (clock::now(), clock::built_at(), config.clock_wait_s);
    log::warn!(
        target: "system", event = "clock.wait", now:%, program_of:% = built, wait_s = most_s;
        "This machine's clock is behind this program's build date; creating keys and certificates waits until it is \
            correct"
    );
    eprintln!(
        "It is {now} by this machine's clock, and this program is from {built}: waiting for the clock, {most_s} \
            seconds at most. Set it: {}",
        ca::SET_CLOCK
    );
    let end = clock::tick() + Duration::from_secs(most_s.unsigned_abs());
    while is_first_start_with_wrong_clock(config)? {
        if clock::tick() >= end {
            return ca::clock_is_right().map(|()| true);
        }
        if stop.wait(CLOCK_LOOK) {
            return Ok(false);
        }
    }
    log::info!(target: "system", event = "clock.right", now:% = clock::now(); "The clock was set");
    Ok(true)
}

fn is_first_start_with_wrong_clock(config: &Config) -> Result<bool> {
    Ok(!clock::is_plausible(clock::now()) && !ca::Authority::is_made(&config.pki_dir)?)
}

/// Limits for the clients of a server with this configuration.
fn limits(config: &Config) -> Limits {
    let defaults = Limits::default();
    // A raised number of requests is for large fleets behind one address.
    let raised = u32::try_from(config.requests_per_second_max / REQUESTS_PER_SECOND).unwrap_or(1).max(1);
    let handshakes = defaults.handshakes_per_s_max.saturating_mul(raised);
    Limits {
        connections_max: config.connections_max.unwrap_or(defaults.connections_max),
        connections_per_address_max: config.connections_per_address_max,
        proxies: config.trusted_proxies.clone(),
        handshakes_per_s_max: handshakes,
        idle_time: Duration::from_secs(config.idle_s.unsigned_abs()),
        ..defaults
    }
}

fn query_log(config: &Config) -> QueryLog {
    QueryLog {
        queries: config.log_db_queries,
        params: config.log_db_query_params,
        sql_chars_max: config.log_sql_chars_max,
    }
}

fn listen(host: &str, port: u16) -> Result<Vec<TcpListener>> {
    let listeners = bind(host, port).map_err(|e| {
        let at = if host.is_empty() { String::new() } else { format!("{host} ") };
        Error::Unavailable(match e.kind() {
            io::ErrorKind::AddrInUse => format!(
                "Cannot listen on {at}port {port}: another program on this machine uses it, perhaps another server. \
                    Stop that one, or choose another port with --server-port."
            ),
            _ => format!(
                "Cannot listen on {at}port {port}: {e}. Choose another address or port with --server-host \
                and --server-port."
            ),
        })
    })?;
    listeners.iter().for_each(tls::raise_backlog);
    Ok(listeners)
}

/// Listens at this address; an empty one means all of IPv6 and IPv4, or of IPv4 if the machine has no IPv6.
pub(crate) fn bind(host: &str, port: u16) -> io::Result<Vec<TcpListener>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if !host.is_empty() {
        return Ok(vec![TcpListener::bind((host, port))?]);
    }
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return Ok(vec![TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?]);
    }
    let first = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    if !tls::v6_is_alone() {
        return Ok(vec![first]);
    }
    let port = first.local_addr()?.port();
    Ok(vec![first, TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?])
}
