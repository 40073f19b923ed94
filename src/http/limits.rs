//! What clients may use up: connections, bytes and time.

use crate::model::address::Network;
use std::fs;
use std::time::Duration;

/// Descriptors left to everything that is no client: the database, logs, programs that are run.
const DESCRIPTORS_RESERVED: usize = 256;

/// What clients may use up.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in all.
    pub connections_max: usize,
    /// Connections of one address; of one /64 network with IPv6, where a client has that many addresses, and a few times as many of
    /// the /56 and the /48 around it.
    pub connections_per_address_max: usize,
    /// Proxies, who have as many connections as they need: what they pass on is many clients'.
    pub proxies: Vec<Network>,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// Headers of a request.
    pub headers_max: usize,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// The first bytes of a body are nobody's share of those below: a heartbeat needs no more, and must not wait for clients that send
    /// large bodies slowly.
    pub body_bytes_free: usize,
    /// Bytes of all bodies in memory at once.
    pub bodies_in_flight_bytes_max: usize,
    /// Bytes of all answers that wait to be taken; of one caller a quarter of them. Small answers are free.
    pub answers_in_flight_bytes_max: usize,
    /// TLS handshakes of one address in a second, and more at once: each costs a signature. This machine itself may have any
    /// number.
    pub handshakes_per_s_max: u32,
    /// From a head's first byte to its last.
    pub head_time: Duration,
    /// From the end of a head to the end of its body.
    pub body_time: Duration,
    /// What a body has at least, however slowly it comes ...
    pub body_grace: Duration,
    /// ... and how many bytes of it must come in a second after that.
    pub body_bytes_per_s_min: usize,
    /// For an answer to be taken.
    pub write_time: Duration,
    /// A silent connection keeps its thread so long.
    pub hold_time: Duration,
    /// A parked connection stays open so long.
    pub idle_time: Duration,
    /// Stack of a worker. It is address space, not memory, until it is used.
    pub stack_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: descriptors_max().saturating_sub(DESCRIPTORS_RESERVED).clamp(64, 1024),
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
            // A stack that overflows ends the program, and unoptimised code needs several times as much.
            stack_bytes: if cfg!(debug_assertions) { 2 << 20 } else { 512 << 10 },
        }
    }
}

/// How many descriptors this process may open, as the kernel tells; its usual default if it does not.
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
        assert!((64..=1024).contains(&limits.connections_max) && limits.connections_max < descriptors_max());
    }
}
