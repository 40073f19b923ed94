//! The rules: what a node, a lease, a token or a setting may become, and what follows. One file a noun, in four
//! rooms: `access` (who may call), `trust` (authorities and joining), `fleet` (nodes) and `work` (what runs).
//!
//! Knows nothing of HTTP: it is called by `api`, `ui`, the scheduler and the passes, and calls `store` and `crypto`.

pub mod access;
pub mod events;
pub mod fleet;
pub mod guard;
pub mod limits;
pub mod once;
pub mod settings;
pub mod trust;
pub mod versions;
pub mod work;

use crate::config::Config;
use crate::error::Result;
use crate::logger;
use crate::store::Store;
use access::{auth, hosts, sessions, setup, throttle, unnamed};
use fleet::{leases, updates};
use std::net::SocketAddr;
use std::sync::Arc;
use trust::{ca, tls};

/// The running control plane: what every handler works with.
pub struct Control {
    /// Its configuration.
    pub config: Config,
    /// Its database.
    pub store: Arc<Store>,
    /// The leases of all enrolled nodes.
    pub leases: leases::Leases,
    /// The certificate authority.
    pub ca: ca::Authority,
    /// Sign-in and its limits.
    pub auth: auth::Auth,
    /// Who is signed in. Readers of the stream outlive their request and look here too.
    pub sessions: Arc<sessions::Sessions>,
    /// What guards the first password.
    pub setup: setup::Setup,
    /// The names of this server.
    pub hosts: hosts::Hosts,
    /// How often somebody may call.
    pub throttle: throttle::Throttle,
    /// Lines about what was refused.
    pub lines: logger::Quota,
    /// Requests that a proxy does not say the client of.
    pub unnamed: unnamed::Unnamed,
    /// What nodes are told of the update that runs.
    pub updates: updates::Updates,
    /// Where the server listens.
    pub listening: SocketAddr,
    /// How TLS is spoken, where it is.
    pub tls: Option<tls::Tls>,
    /// Readers of the event stream.
    pub stream_readers: Arc<events::Readers>,
}

impl Control {
    /// Loads what lives in memory from the database.
    pub fn new(config: Config, store: Store, listening: SocketAddr) -> Result<Control> {
        let ca = ca::Authority::new(config.pki_dir.clone())?;
        let tls = config.tls.then(|| tls::Tls::new(&config, &ca, listening)).transpose()?;
        ca::adopt(&ca, &store)?;
        Ok(Control {
            leases: leases::Leases::load(&store)?,
            ca,
            listening,
            tls,
            auth: auth::Auth::default(),
            sessions: Arc::new(sessions::Sessions::new(&config, listening)),
            setup: setup::Setup::load(&config, &store)?,
            hosts: hosts::Hosts::new(&config),
            throttle: throttle::Throttle::new(&config),
            lines: logger::Quota::default(),
            unnamed: unnamed::Unnamed::default(),
            updates: updates::Updates::default(),
            store: Arc::new(store),
            stream_readers: Arc::default(),
            config,
        })
    }
}
