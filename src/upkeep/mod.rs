//! The application: the rules, the scheduler above them, and periodic maintenance.

pub mod backups;
pub mod bundles;
pub mod doctor;
pub mod health;
pub mod metrics;
pub mod passes;
pub mod status;

use crate::config::Config;
use crate::control::Control;
use crate::error::Result;
use crate::scheduler::Scheduler;
use crate::store::Store;
use std::net::SocketAddr;
use std::sync::Arc;

/// Everything that a request or a pass needs.
pub struct App {
    /// The rules, with their state in memory.
    pub control: Control,
    /// The scheduler.
    pub scheduler: Scheduler,
    /// State of the support bundles.
    pub bundles: bundles::Bundles,
    /// State of scheduled backups.
    pub backups: backups::Schedule,
    /// Counters of requests.
    pub metrics: Arc<metrics::Metrics>,
}

impl App {
    /// Loads the state that lives in memory from the database.
    ///
    /// # Errors
    /// Fails if the database or the authority cannot be read.
    pub fn new(config: Config, store: Store, listening: SocketAddr) -> Result<App> {
        let scheduler = Scheduler::load(&store)?;
        Ok(App {
            control: Control::new(config, store, listening)?,
            scheduler,
            bundles: bundles::Bundles::default(),
            backups: backups::Schedule::default(),
            metrics: Arc::default(),
        })
    }
}
