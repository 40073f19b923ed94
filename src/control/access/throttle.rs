//! How often somebody may call. An address that nobody has signed in from may do little, one that is refused again and again even
//! less, and whoever is signed in much, wherever it is: a bad neighbour behind the same address must not keep anybody out.

use crate::buckets::Buckets;
use crate::caller;
use crate::config::{Config, REQUESTS_PER_SECOND};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::lanes::{Lanes, Turn};
use crate::model::address;
use crate::model::ids::NodeId;
use crate::text;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Refusals of one address in a second, and at once. Guessing a key of 256 bits is hopeless anyway; this bounds the work.
const REFUSALS_PER_S: f64 = 5.0;
const REFUSALS_BURST: f64 = 200.0;
/// Requests to open routes by nobody, from one address.
const OPEN_PER_S: f64 = 50.0;
const OPEN_BURST: f64 = 1000.0;
/// Refused heartbeats of one node that cost its address nothing: a node that finds its way back needs two or three.
const REFUSED_NODE_PER_S: f64 = 1.0;
const REFUSED_NODE_BURST: f64 = 60.0;
/// A caller's burst, as a multiple of what it may do in a second.
const CALLER_BURST: f64 = 10.0;
/// Failed sign-ins that become events: one a minute of an address, and one a second of all.
const FAILED_EVENTS_PER_S: f64 = 1.0 / 60.0;
const FAILED_EVENTS_ALL_PER_S: f64 = 1.0;
const FAILED_EVENTS_ALL_BURST: f64 = 60.0;

/// Dear requests of one user: that wait for a turn, and for how long. How many have one follows from the machine.
const DEAR_WAITING_MAX: usize = 64;
const DEAR_WAIT: Duration = Duration::from_secs(10);
const DEAR_AT_ONCE_MIN: usize = 2;
/// When it is worth trying again where no turn came, in seconds.
const DEAR_RETRY_AFTER_S: u64 = 2;

/// A heartbeat is looked into for its seal up to this size: with the largest patch that is taken it is smaller.
const BEAT_BYTES_MAX: usize = 128 << 10;

/// What each source has left.
pub struct Throttle {
    /// Refusals, by address.
    pub refusals: Buckets<IpAddr>,
    /// Requests of nobody, by address.
    pub open: Buckets<IpAddr>,
    /// Requests by session, token or node.
    pub callers: Buckets<String>,
    /// Refused heartbeats of nodes that have proven their lease token, by node.
    pub refused_nodes: Buckets<String>,
    dear: Lanes<String>,
    failed_events: Buckets<IpAddr>,
    failed_events_all: Buckets<()>,
}

impl Throttle {
    pub(in crate::control) fn new(config: &Config) -> Throttle {
        let per_s = config.requests_per_second_max as f64;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // One number serves a benchmark, or a fleet behind one address.
        let more = (per_s / REQUESTS_PER_SECOND as f64).max(1.0);
        Throttle {
            refusals: Buckets::new(REFUSALS_PER_S * more, REFUSALS_BURST * more),
            open: Buckets::new(OPEN_PER_S * more, OPEN_BURST * more),
            callers: Buckets::new(per_s, per_s * CALLER_BURST),
            refused_nodes: Buckets::new(REFUSED_NODE_PER_S, REFUSED_NODE_BURST),
            dear: Lanes::new((cores / 2).max(DEAR_AT_ONCE_MIN), DEAR_WAITING_MAX),
            failed_events: Buckets::new(FAILED_EVENTS_PER_S, 1.0),
            failed_events_all: Buckets::new(FAILED_EVENTS_ALL_PER_S, FAILED_EVENTS_ALL_BURST),
        }
    }

    /// A turn for a request that costs much: a few of one user at once, whatever the number of its sessions and tokens.
    pub fn dear(&self, user: &str) -> Result<Turn<'_, String>> {
        let detail = || format!("Too many of your large requests at once. Try again in {DEAR_RETRY_AFTER_S}s.");
        let refused = || Error::RateLimited { detail: detail(), retry_after_s: DEAR_RETRY_AFTER_S };
        self.dear.enter(user.to_string(), DEAR_WAIT).ok_or_else(refused)
    }

    /// Whether one more failed sign-in from this address is worth an event: an attacker must not fill the database.
    pub(in crate::control) fn admits_failed_event(&self, address: IpAddr) -> bool {
        self.failed_events.take(address).is_ok() && self.failed_events_all.take(()).is_ok()
    }
}

/// The refusal.
pub fn too_many(wait_s: u64) -> Error {
    Error::RateLimited { detail: format!("Too many requests. Try again in {wait_s}s."), retry_after_s: wait_s }
}

/// The source of the request that this thread works for: what its log lines are counted by.
pub(in crate::control) fn source() -> IpAddr {
    address::client(caller::current().map_or(Ipv4Addr::UNSPECIFIED.into(), |c| c.address))
}

/// The node whose genuine lease token a heartbeat shows: told by its seal, before anything else is done.
pub fn node_of_beat(control: &Control, body: &[u8]) -> Option<NodeId> {
    #[derive(serde::Deserialize)]
    struct Shown<'b> {
        #[serde(borrow)]
        lease_token: std::borrow::Cow<'b, str>,
    }
    if body.len() > BEAT_BYTES_MAX {
        return None;
    }
    let shown: Shown = serde_json::from_slice(text::unmarked(body)).ok()?;
    crate::crypto::lease::open(control.config.cluster_signing_key.expose(), &shown.lease_token)?.n.parse().ok()
}
