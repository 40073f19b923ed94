//! Pace of heartbeats: a control plane of many nodes, or one that does not keep up, asks all nodes to come less often
//! and gives them longer leases, so that none runs out because of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Heartbeats in the time of one lease: two may be lost before it runs out.
const BEATS_PER_LEASE: i64 = 3;
/// Maximum number of heartbeats a second from a whole fleet: a tenth of a core, at the 80 to 100 µs that each takes.
const BEATS_PER_S_MAX: u64 = 1000;
/// Longest interval, in seconds: a third of the longest lease.
const INTERVAL_S_MAX: i64 = 100;
/// A sweep that comes later than this has waited for a core, as requests do.
pub(super) const LATE: Duration = Duration::from_secs(1);
/// Maximum number of times that the interval is doubled because of late sweeps.
const DOUBLINGS_MAX: u32 = 3;
/// Sweeps in time after which one doubling is undone: about half a minute.
const CALM: u32 = 10;

/// Pace of all nodes. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Pace(Arc<State>);

#[derive(Default)]
struct State {
    nodes: AtomicU64,
    doublings: AtomicU32,
    calm: AtomicU32,
}

/// Interval and lease of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Term {
    /// Seconds of its lease.
    pub ttl_s: i64,
    /// Seconds until its next heartbeat; `None`: a third of the lease, as always.
    pub next_s: Option<i64>,
}

impl Pace {
    /// Notes the number of enrolled nodes, and how much later than planned a sweep came.
    pub fn note(&self, nodes: usize, late_by: Duration) {
        let state = &self.0;
        state.nodes.store(nodes as u64, Relaxed);
        let doublings = state.doublings.load(Relaxed);
        if late_by > LATE {
            state.calm.store(0, Relaxed);
            state.doublings.store((doublings + 1).min(DOUBLINGS_MAX), Relaxed);
        } else if doublings > 0 && state.calm.fetch_add(1, Relaxed) + 1 >= CALM {
            state.calm.store(0, Relaxed);
            state.doublings.store(doublings - 1, Relaxed);
        }
    }

    /// The term of a node that requests a lease of `ttl_s` seconds.
    pub fn term(&self, ttl_s: i64) -> Term {
        let own_s = ttl_s / BEATS_PER_LEASE;
        let fleet_s = i64::try_from(self.0.nodes.load(Relaxed).div_ceil(BEATS_PER_S_MAX)).unwrap_or(i64::MAX);
        let doubled_s = own_s.max(fleet_s).saturating_mul(1 << self.0.doublings.load(Relaxed));
        let next_s = doubled_s.min(INTERVAL_S_MAX);
        if next_s <= own_s {
            return Term { ttl_s, next_s: None };
        }
        Term { ttl_s: ttl_s.max(next_s * BEATS_PER_LEASE), next_s: Some(next_s) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_nodes_come_less_often_with_longer_leases() {
        let pace = Pace::default();
        for (nodes, ttl_s, term) in [
            (3_000, 15, (15, None)),
            (5_000, 15, (15, None)),
            (10_000, 15, (30, Some(10))),
            (10_000, 45, (45, None)),
            (1_000_000, 15, (300, Some(100))),
            (1_000_000, 300, (300, None)),
        ] {
            pace.note(nodes, Duration::ZERO);
            let Term { ttl_s: given_s, next_s } = pace.term(ttl_s);
            assert_eq!((given_s, next_s), term, "{nodes} nodes, {ttl_s} s");
        }
    }

    #[test]
    fn a_control_plane_that_does_not_keep_up_stretches_and_recovers() {
        let pace = Pace::default();
        let next_s = || pace.term(15).next_s;
        for expected in [Some(10), Some(20), Some(40), Some(40)] {
            pace.note(3, 2 * LATE);
            assert_eq!(next_s(), expected);
        }
        for expected in [Some(20), Some(10), None] {
            (0..CALM).for_each(|_| pace.note(3, Duration::ZERO));
            assert_eq!(next_s(), expected);
        }
    }
}
