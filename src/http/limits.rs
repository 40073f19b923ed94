//! Limits of what clients may use: connections, bytes and time.

use crate::model::address::Network;
use std::fs;
use std::time::Duration;

/// Descriptors reserved for everything except clients: the database, logs, programs that are run.
const DESCRIPTORS_RESERVED: usize = 256;

/// Default maximum of connections, however many descriptors there are: ten thousand nodes, and people.
const CONNECTIONS_MAX: usize = 16 << 10;

/// Limits of what clients may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in total.
    pub connections_max: usize,
    /// Connections that have proven nothing yet, in total: the rest is for those that have.
    pub strangers_max: usize,
    /// Connections per address; for IPv6 per /64 network, in which a client has every address, and a few times as many
    /// per /56 and /48.
    pub connections_per_address_max: usize,
    /// Proxies, which are exempt: they forward many clients' requests.
    pub proxies: Vec<Network>,
    /// Maximum bytes of a request's head.
    pub head_bytes_max: usize,
    /// Maximum headers of a request.
    pub headers_max: usize,
    /// Maximum bytes of a request's body.
    pub body_bytes_max: usize,
    /// The first bytes of a body do not count towards the budgets below: a heartbeat needs no more, and must not wait
    /// for clients that send large bodies slowly.
    pub body_bytes_free: usize,
    /// Maximum bytes of all bodies in memory at once.
    pub bodies_in_flight_bytes_max: usize,
    /// Maximum bytes of all answers that wait to be sent, and a quarter of that per caller. Small answers are free.
    pub answers_in_flight_bytes_max: usize,
    /// TLS handshakes per second and address, with a larger burst: each costs a signature. This machine itself has no
    /// limit.
    pub handshakes_per_s_max: u32,
    /// Time for a head, from its first byte to its last.
    pub head_time: Duration,
    /// Time for a body, from the end of its head.
    pub body_time: Duration,
    /// Minimum time for a body at any pace ...
    pub body_grace: Duration,
    /// ... and bytes that must arrive per second after that.
    pub body_bytes_per_s_min: usize,
    /// Time for a client to accept an answer.
    pub write_time: Duration,
    /// Time that a silent connection keeps its thread.
    pub hold_time: Duration,
    /// Time that a parked connection stays open.
    pub idle_time: Duration,
    /// Stack of a worker. It is address space, not memory, until it is used.
    pub stack_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: descriptors_max().saturating_sub(DESCRIPTORS_RESERVED).clamp(64, CONNECTIONS_MAX),
            strangers_max: 1024,
            connections_per_address_max: 64,
            proxies: Vec::new(),
            head_bytes_max: 16 << 10,
            headers_max: 64,
            body_bytes_max: 1 << 20,
            body_bytes_free: 16 << 10,
            bodies_in_flight_bytes_max: 64 << 20,
            answers_in_flight_bytes_max: 32 << 20,
            handshakes_per_s_max: 50,
            head_time: Duration::from_secs(5),
            body_time: Duration::from_secs(30),
            body_grace: Duration::from_secs(5),
            body_bytes_per_s_min: 1 << 10,
            write_time: Duration::from_secs(30),
            hold_time: Duration::from_millis(250),
            idle_time: Duration::from_secs(75),
            // A stack overflow ends the program, and unoptimised code needs several times as much.
            stack_bytes: if cfg!(debug_assertions) { 2 << 20 } else { 512 << 10 },
        }
    }
}

/// Maximum descriptors of this process, as the kernel reports it; the usual default if unknown.
fn descriptors_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_into_the_descriptors_of_this_process() {
        let limits = Limits::default();
        assert!((64..=CONNECTIONS_MAX).contains(&limits.connections_max) && limits.connections_max < descriptors_max());
    }
}
