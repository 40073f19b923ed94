//! The rules: what a node, a lease, a token or a setting may become, and what follows. One file a noun.
//!
//! Knows nothing of HTTP: it is called by `api`, `ui` and the passes, and calls `store` and `crypto`.

pub mod auth;
pub mod ca;
pub mod endpoints;
pub mod events;
pub mod guard;
pub mod join;
pub mod join_tokens;
pub mod leases;
pub mod limits;
pub mod metrics;
pub mod nodes;
pub mod once;
pub mod passes;
pub mod replicas;
pub mod routers;
pub mod runs;
pub mod scheduler;
pub mod services;
pub mod settings;
pub mod tls;
pub mod versions;
pub mod wireguard;

use crate::config::Config;
use crate::error::Result;
use crate::store::Store;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

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
    /// The scheduler.
    pub scheduler: scheduler::Scheduler,
    /// What is counted as requests come.
    pub metrics: metrics::Metrics,
    /// Where the server listens.
    pub listening: SocketAddr,
    /// How TLS is spoken, where it is.
    pub tls: Option<tls::Tls>,
    /// Readers of the event stream.
    pub stream_readers: Arc<AtomicUsize>,
}

impl Control {
    /// Loads what lives in memory from the database.
    pub fn new(config: Config, store: Store, listening: SocketAddr) -> Result<Control> {
        let ca = ca::Authority::new(config.pki_dir.clone())?;
        let tls = config.tls.then(|| tls::Tls::new(&config, &ca, listening)).transpose()?;
        ca::adopt(&ca, &store)?;
        let leases = leases::Leases::load(&store)?;
        let auth = auth::Auth::default();
        let scheduler = scheduler::Scheduler::load(&store)?;
        let metrics = metrics::Metrics::default();
        let (store, stream_readers) = (Arc::new(store), Arc::default());
        Ok(Control { config, store, leases, ca, auth, scheduler, metrics, listening, tls, stream_readers })
    }
}
