//! Leases do not age while the control plane stands still: in that time it hears no node.

use super::{Lease, Leases, seconds};
use crate::clock;
use crate::thread::lock;
use std::time::{Duration, Instant};

/// Time after a missed sweep at which leases stop ageing until it comes.
const AGES_FOR: Duration = Duration::from_secs(3);

impl Lease {
    /// Moves the end of the lease by a time in which the control plane stood still, up to a full lease from `now`.
    pub(super) fn extend(&mut self, by: Duration, now: Instant) {
        let Some(end) = self.ends else { return };
        let later = (end + by).min(now + seconds(self.ttl_s)).max(end);
        self.ends = Some(later);
        self.expires_at = self.expires_at.plus_secs((later - end).as_secs().try_into().unwrap_or(0));
    }
}

impl Leases {
    /// The time that leases are compared with. It stands still while no sweep comes, which then extends them. Not to be
    /// called while a part of the table is locked.
    pub(super) fn tick(&self) -> Instant {
        clock::tick().min(*lock(&self.sweep_due) + AGES_FOR)
    }
}
