//! How the cluster is, in the few figures that every page shows.

use super::App;
use crate::control::guard;
use crate::error::Result;
use crate::model::leases::LeaseState;
use crate::store::nodes;

/// How the cluster is.
#[derive(Debug, Default, Clone, Copy)]
pub struct Health {
    /// Nodes whose lease runs.
    pub alive: usize,
    /// Nodes whose lease ran out a moment ago.
    pub stale: usize,
    /// Nodes whose lease ran out longer ago.
    pub dead: usize,
    /// Nodes that never had a lease.
    pub unknown: usize,
    /// Whether writes are held back.
    pub guarded: bool,
    /// Whether the brake holds the scheduler.
    pub braked: bool,
    /// What the scheduler does by itself: `auto`, `manual` or `paused`.
    pub mode: &'static str,
}

/// Looks at all of it.
pub fn look(app: &App) -> Result<Health> {
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
