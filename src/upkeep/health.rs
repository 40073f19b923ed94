//! Health of the cluster, in the few figures that every page shows.

use super::App;
use crate::control::guard;
use crate::error::Result;
use crate::model::leases::LeaseState;
use crate::store::nodes;

/// Health of the cluster.
#[derive(Debug, Default, Clone, Copy)]
pub struct Health {
    /// Nodes with a valid lease.
    pub alive: usize,
    /// Nodes whose lease has just expired.
    pub stale: usize,
    /// Nodes whose lease expired longer ago.
    pub dead: usize,
    /// Nodes that never had a lease.
    pub unknown: usize,
    /// True if the write guard is on.
    pub guarded: bool,
    /// True if the brake holds the scheduler.
    pub braked: bool,
    /// Mode of the scheduler: `auto`, `manual` or `paused`.
    pub mode: &'static str,
}

/// Reads the current figures.
pub fn read(app: &App) -> Result<Health> {
    let control = &app.control;
    let mut health = Health::default();
    for (_, state) in control.leases.states() {
        match state {
            LeaseState::Alive => health.alive += 1,
            LeaseState::Stale => health.stale += 1,
            LeaseState::Dead => health.dead += 1,
            LeaseState::Unknown => {}
        }
    }
    let (nodes, guarded) = control.store.read(|r| Ok((nodes::count(r)?, guard::is_up(r)?)))?;
    health.unknown = (nodes as usize).saturating_sub(health.alive + health.stale + health.dead);
    health.guarded = guarded;
    let scheduler = app.scheduler.status(control)?;
    (health.braked, health.mode) = (scheduler.braked, scheduler.mode);
    Ok(health)
}
