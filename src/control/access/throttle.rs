//! Limits on the rate of calls. An address without a sign-in may do little, one that is refused again and again even
//! less, and a signed-in user much, from any address: a bad neighbour behind the same address must not lock others out.

use crate::buckets::Buckets;
use crate::caller;
use crate::config::{Config, REQUESTS_PER_SECOND};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::lanes::{Lanes, Turn};
use crate::model::address;
use crate::model::ids::{NodeId, UserName};
use crate::text;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Refusals of one address per second, and burst. Guessing a key of 256 bits is hopeless anyway; this bounds the work.
const REFUSALS_PER_S: f64 = 5.0;
const REFUSALS_BURST: f64 = 200.0;
/// Anonymous requests to open routes from one address, per second, and burst.
const OPEN_PER_S: f64 = 50.0;
const OPEN_BURST: f64 = 1000.0;
/// Refused heartbeats of one node that are free for its address, per second, and burst: a node that recovers needs two
/// or three.
const REFUSED_NODE_PER_S: f64 = 1.0;
const REFUSED_NODE_BURST: f64 = 60.0;
/// A caller's burst, as a multiple of its limit per second.
const CALLER_BURST: f64 = 10.0;
/// Failed sign-ins that become events: one a minute per address, and one a second in total.
const FAILED_EVENTS_PER_S: f64 = 1.0 / 60.0;
const FAILED_EVENTS_ALL_PER_S: f64 = 1.0;
const FAILED_EVENTS_ALL_BURST: f64 = 60.0;

/// Expensive requests of one user that may wait for a turn, and for how long. The number that run at once depends on
/// the machine.
const EXPENSIVE_WAITING_MAX: usize = 64;
const EXPENSIVE_WAIT: Duration = Duration::from_secs(10);
const EXPENSIVE_AT_ONCE_MIN: usize = 2;
/// Seconds until another try makes sense when no turn became free.
const EXPENSIVE_RETRY_AFTER_S: u64 = 2;

/// Maximum size of a heartbeat that is searched for its seal, in bytes: one with the largest allowed patch is smaller.
const BEAT_BYTES_MAX: usize = 128 << 10;

/// Remaining budgets of all sources.
pub struct Throttle {
    /// Refusals, by address.
    pub refusals: Buckets<IpAddr>,
    /// Anonymous requests, by address.
    pub open: Buckets<IpAddr>,
    /// Requests by session, token or node.
    pub callers: Buckets<String>,
    /// Refused heartbeats of nodes that have proven their lease token, by node.
    pub refused_nodes: Buckets<String>,
    expensive: Lanes<UserName>,
    failed_events: Buckets<IpAddr>,
    failed_events_all: Buckets<()>,
}

impl Throttle {
    pub(in crate::control) fn new(config: &Config) -> Throttle {
        let per_s = config.requests_per_second_max as f64;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // One setting covers a benchmark, or a fleet behind one address.
        let more = (per_s / REQUESTS_PER_SECOND as f64).max(1.0);
        Throttle {
            refusals: Buckets::new(REFUSALS_PER_S * more, REFUSALS_BURST * more),
            open: Buckets::new(OPEN_PER_S * more, OPEN_BURST * more),
            callers: Buckets::new(per_s, per_s * CALLER_BURST),
            refused_nodes: Buckets::new(REFUSED_NODE_PER_S, REFUSED_NODE_BURST),
            expensive: Lanes::new((cores / 2).max(EXPENSIVE_AT_ONCE_MIN), EXPENSIVE_WAITING_MAX),
            failed_events: Buckets::new(FAILED_EVENTS_PER_S, 1.0),
            failed_events_all: Buckets::new(FAILED_EVENTS_ALL_PER_S, FAILED_EVENTS_ALL_BURST),
        }
    }

    /// A turn for an expensive request: a user has a few at once, whatever the number of sessions and tokens.
    pub fn expensive_turn(&self, user: &UserName) -> Result<Turn<'_, UserName>> {
        let detail = || format!("Too many of your large requests at once. Try again in {EXPENSIVE_RETRY_AFTER_S}s.");
        let refused = || Error::RateLimited { detail: detail(), retry_after_s: EXPENSIVE_RETRY_AFTER_S };
        self.expensive.enter(user.clone(), EXPENSIVE_WAIT).ok_or_else(refused)
    }

    /// True if a failed sign-in from this address may become an event: an attacker must not fill the database.
    pub(in crate::control) fn admits_failed_event(&self, address: IpAddr) -> bool {
        self.failed_events.take(address).is_ok() && self.failed_events_all.take(()).is_ok()
    }
}

/// The refusal, with the seconds to wait.
pub fn too_many(wait_s: u64) -> Error {
    Error::RateLimited { detail: format!("Too many requests. Try again in {wait_s}s."), retry_after_s: wait_s }
}

/// Source of the request that this thread handles: its log lines are counted by it.
pub(in crate::control) fn source() -> IpAddr {
    address::client(caller::current().map_or(Ipv4Addr::UNSPECIFIED.into(), |c| c.address))
}

/// The node whose genuine lease token is in a heartbeat, known by the seal alone, before anything else is proven.
pub fn node_of_beat(control: &Control, body: &[u8]) -> Option<NodeId> {
    #[derive(serde::Deserialize)]
    struct Shown<'b> {
        #[serde(borrow)]
        lease_token: std::borrow::Cow<'b, str>,
    }
    if body.len() > BEAT_BYTES_MAX {
        return None;
    }
    let shown: Shown = serde_json::from_slice(text::without_mark(body)).ok()?;
    crate::crypto::lease::open(control.config.cluster_signing_key.expose(), &shown.lease_token)?.n.parse().ok()
}
