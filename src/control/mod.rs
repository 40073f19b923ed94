//! The rules: what a node, a lease, a token or a setting may become, and what follows. One file a noun.
//!
//! Knows nothing of HTTP: it is called by `api`, `ui` and the passes, and calls `store` and `crypto`.

pub mod api_tokens;
mod attempts;
pub mod auth;
pub mod backups;
pub mod bundles;
pub mod ca;
pub mod doctor;
pub mod endpoints;
pub mod events;
pub mod guard;
pub mod health;
pub mod hosts;
pub mod join;
pub mod join_tokens;
pub mod leases;
pub mod limits;
pub mod load_history;
pub mod local;
pub mod lookalikes;
pub mod metrics;
pub mod node_names;
pub mod node_runs;
pub mod nodes;
pub mod once;
pub mod passes;
pub mod replicas;
pub mod routers;
pub mod runs;
pub mod scheduler;
pub mod services;
pub mod sessions;
pub mod settings;
pub mod setup;
pub mod throttle;
pub mod tls;
pub mod unnamed;
mod unstored;
pub mod updates;
pub mod users;
pub mod versions;
pub mod wireguard;

use crate::config::Config;
use crate::error::Result;
use crate::logger;
use crate::store::Store;
use std::net::SocketAddr;
use std::sync::Arc;

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
    /// The scheduler.
    pub scheduler: scheduler::Scheduler,
    /// What nodes are told of the update that runs.
    pub updates: updates::Updates,
    /// What is counted as requests come.
    pub metrics: metrics::Metrics,
    /// Where the server listens.
    pub listening: SocketAddr,
    /// How TLS is spoken, where it is.
    pub tls: Option<tls::Tls>,
    /// Support bundles.
    pub bundles: bundles::Bundles,
    /// The backups that the server makes by itself.
    pub backups: backups::Own,
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
            scheduler: scheduler::Scheduler::load(&store)?,
            updates: updates::Updates::default(),
            metrics: metrics::Metrics::default(),
            bundles: bundles::Bundles::default(),
            store: Arc::new(store),
            backups: backups::Own::default(),
            stream_readers: Arc::default(),
            config,
        })
    }
}
