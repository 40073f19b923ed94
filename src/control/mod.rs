//! The rules of nodes, leases, tokens, services and settings. One file per noun, in four rooms: `access` (who may
//! call), `trust` (authorities and joining), `fleet` (nodes) and `work` (what runs).
//!
//! Knows nothing of HTTP: `api`, `ui`, the scheduler and the passes call it, and it calls `store` and `crypto`.

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
use fleet::work_documents::Documents;
use fleet::{leases, relays, reports, updates, work as node_work};
use std::net::SocketAddr;
use std::sync::Arc;
use trust::{ca, tls, work_key};

/// The running control plane, for every handler.
pub struct Control {
    /// Its configuration.
    pub config: Config,
    /// Its database.
    pub store: Arc<Store>,
    /// The leases of all enrolled nodes.
    pub leases: leases::Leases,
    /// The certificate authority.
    pub ca: Arc<ca::Authority>,
    /// Sign-in and its limits.
    pub auth: auth::Auth,
    /// Sessions. Readers of the stream outlive their request and check here too.
    pub sessions: Arc<sessions::Sessions>,
    /// Guard of the first password.
    pub setup: setup::Setup,
    /// The names of this server.
    pub hosts: hosts::Hosts,
    /// Limits on the rate of calls.
    pub throttle: throttle::Throttle,
    /// Quota of log lines about refusals.
    pub lines: logger::Quota,
    /// Requests whose client a proxy does not name.
    pub unnamed: unnamed::Unnamed,
    /// The update request for nodes.
    pub updates: updates::Updates,
    /// Address at which the server listens.
    pub listening: SocketAddr,
    /// TLS, if it is on.
    pub tls: Option<tls::Tls>,
    /// Nodes that wait for work.
    pub node_work: Arc<node_work::Work>,
    /// Relays from nodes to readers.
    pub relays: Arc<relays::Relays>,
    /// Reports of nodes on their replicas.
    pub reports: Arc<reports::Reports>,
    /// The documents of their work.
    pub work_documents: Arc<Documents>,
    /// Readers of the event stream.
    pub stream_readers: Arc<events::Readers>,
}

impl Control {
    /// Loads the state that lives in memory from the database.
    pub fn new(config: Config, store: Store, listening: SocketAddr) -> Result<Control> {
        let ca = Arc::new(ca::Authority::new(config.pki_dir.clone())?);
        let tls = config.tls.then(|| tls::Tls::new(&config, &ca, listening)).transpose()?;
        ca::adopt(&ca, &store)?;
        let leases = leases::Leases::load(&store)?;
        let signer = work_key::Signer::load(&config.data_dir.join("keys"))?;
        let node_work = Arc::new(node_work::Work::new(signer.epoch, leases.losses.clone()));
        let touched = Arc::clone(&node_work);
        store.changes.on_placed(move |nodes| touched.touch(nodes));
        let setup = setup::Setup::load(&config, &store)?;
        let store = Arc::new(store);
        let documents = Documents::new(Arc::clone(&node_work), Arc::clone(&store), Arc::clone(&ca), signer);
        Ok(Control {
            leases,
            ca,
            listening,
            tls,
            auth: auth::Auth::default(),
            sessions: Arc::new(sessions::Sessions::new(&config, listening)),
            setup,
            hosts: hosts::Hosts::new(&config),
            throttle: throttle::Throttle::new(&config),
            lines: logger::Quota::default(),
            unnamed: unnamed::Unnamed::default(),
            updates: updates::Updates::default(),
            store,
            relays: Arc::new(relays::Relays::new(Arc::clone(&node_work))),
            node_work,
            reports: Arc::default(),
            work_documents: Arc::new(documents),
            stream_readers: Arc::default(),
            config,
        })
    }
}
