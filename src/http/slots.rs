//! Open connections, their number per network, and which one makes room for a newcomer: first the oldest
//! unauthenticated one, whatever it is doing; then one of a caller with more than a fair share; then the one that has
//! been silent longest. A resident, a node with its certificate, does not count for its network and makes no room.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::clock;
use crate::http::limits::Limits;
use crate::http::response::Response;
use crate::model::address::{self, Network};
use crate::thread::lock;

/// Limits of an IPv6 /64, /56 and /48 as multiples of the limit per address, for unauthenticated connections: a site
/// with all of its nodes may be in one of them.
const NETWORK_SHARES: [usize; 3] = [1, 2, 4];

/// Connections reserved for this machine, even before authentication; at most a quarter of all.
const LOCAL_KEPT: usize = 16;

/// An authenticated caller may hold this fraction of the connections before its own make room for others.
const HOLDER_SHARE: usize = 4;

/// Connections of one caller that are residents; more of them are like any other's. A node has two, and two more after
/// a fault of its network.
const RESIDENT_OF_HOLDER_MAX: usize = 4;

/// Part of all connections that residents leave to others.
const RESIDENT_SPARES: usize = 8;

/// Closed connections whose threads have not noticed yet: each still holds its descriptor. With more of them, newcomers
/// wait.
const LEAVING_MAX: usize = 128;

/// Maximum wait of a newcomer for those; then it is admitted anyway.
const LEAVING_WAIT: Duration = Duration::from_millis(200);

/// Time that a connection has to authenticate before it makes room: in a flood, newcomers wait instead of closing each
/// other before they are read.
const CHANCE: Duration = Duration::from_millis(50);

/// Minimum interval between reports of connections closed for others.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Priority of a connection, as its conversation learns it.
#[derive(Default)]
pub(crate) struct Standing {
    /// A handler works for it, so it has done its part.
    busy: AtomicBool,
    /// The authenticated caller.
    holder: OnceLock<String>,
    /// Held by a node with its certificate.
    resident: AtomicBool,
    /// Start of its wait without a thread.
    parked_since: Mutex<Option<Instant>>,
    /// Its place in the table.
    place: OnceLock<(Weak<Slots>, u64)>,
}

impl Standing {
    /// Marks that a handler begins or ends to work for it.
    pub fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Marks it as authenticated, the first time.
    fn prove(&self, holder: &str, is_resident: bool) {
        if self.holder.get().is_none()
            && self.holder.set(holder.to_string()).is_ok()
            && let Some((slots, number)) = self.place.get()
            && let Some(slots) = slots.upgrade()
        {
            lock(&slots.state).proven(*number, holder, is_resident);
        }
    }

    /// Notes the caller that an answer names; the handler has done its work.
    pub fn accept(&self, response: &Response) {
        if let Some(holder) = &response.holder {
            self.prove(holder, response.is_resident);
            self.resident.fetch_or(response.is_resident, Ordering::Relaxed);
        }
        self.set_busy(false);
    }

    /// True if a node with its certificate holds it: between its calls are seconds.
    pub fn is_resident(&self) -> bool {
        self.resident.load(Ordering::Relaxed)
    }

    /// Marks that it begins or ends to wait without a thread.
    pub fn set_parked(&self, parked: bool) {
        *lock(&self.parked_since) = parked.then(clock::tick);
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }
}

/// All connections.
#[derive(Default)]
pub(crate) struct Slots {
    state: Mutex<State>,
    /// Signalled when a connection has ended.
    left: Condvar,
}

/// The tables hold only open connections, so the limit bounds them.
#[derive(Default)]
struct State {
    next: u64,
    /// By number: the oldest first.
    open: BTreeMap<u64, Open>,
    by_network: HashMap<Network, BTreeSet<u64>>,
    /// Numbers of connections that have not authenticated.
    strangers: BTreeSet<u64>,
    /// Numbers of connections that are counted for no network and make no room, and how many a caller has.
    residents: HashSet<u64>,
    residents_of: HashMap<String, usize>,
    /// Maximum of residents.
    residents_max: usize,
    /// Numbers of connections that were closed.
    leaving: HashSet<u64>,
    /// Connections closed since the last report, and the time of that report.
    closed: u64,
    reported: Option<Instant>,
}

struct Open {
    since: Instant,
    networks: Vec<Network>,
    is_local: bool,
    standing: Arc<Standing>,
    socket: Arc<TcpStream>,
}

impl Open {
    /// Remaining time to authenticate.
    fn chance(&self) -> Duration {
        let passed = clock::tick().duration_since(self.since);
        if self.standing.holder.get().is_some() { Duration::ZERO } else { CHANCE.saturating_sub(passed) }
    }
}

/// The right to one connection; released when dropped.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    number: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = lock(&self.slots.state);
        state.forget(self.number);
        state.leaving.remove(&self.number);
        drop(state);
        self.slots.left.notify_all();
    }
}

impl Slots {
    /// Open connections, including parked ones.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        lock(&self.state).open.len()
    }

    /// A slot for a newcomer, if necessary another connection's; `None` if none makes room.
    pub fn admit(
        self: &Arc<Slots>,
        limits: &Limits,
        address: IpAddr,
        standing: Arc<Standing>,
        socket: Arc<TcpStream>,
    ) -> Option<Slot> {
        let by_proxy = limits.proxies.iter().any(|network| network.contains(address));
        let (networks, is_local) = (address::networks(address), address.is_loopback() && !by_proxy);
        let mut state = lock(&self.state);
        let end = clock::tick() + LEAVING_WAIT;
        while state.leaving.len() >= LEAVING_MAX {
            let left = end.saturating_duration_since(clock::tick());
            if left.is_zero() {
                break;
            }
            state = self.left.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        for (network, share) in networks.iter().zip(NETWORK_SHARES).filter(|_| !by_proxy) {
            let max = share * limits.connections_per_address_max;
            let is_full =
                |numbers: &&BTreeSet<u64>| numbers.len() >= max && (share == 1 || state.count_unproven(numbers) >= max);
            let Some(numbers) = state.by_network.get(network).filter(is_full) else { continue };
            // The caller with the most makes room too, even while a handler works for it: one caller must not lock
            // others out of their network.
            let greedy = || state.of_greediest(numbers.iter(), limits.connections_per_address_max / 2, true);
            let victim = state.after_its_chance(state.unproven(numbers.iter(), true, 0)).or_else(greedy);
            let victim =
                victim.or_else(|| state.unproven(numbers.iter(), true, 0)).or_else(|| state.silent(numbers.iter()));
            // A connection whose first request waits for its turn is not authenticated either.
            let victim = victim.or_else(|| state.after_its_chance(state.busy(numbers.iter())))?;
            state.close(victim);
        }
        while state.open.len() >= limits.connections_max || state.strangers.len() >= limits.strangers_max {
            let victim = state.choose_victim(limits.connections_max, is_local)?;
            let left = state.open.get(&victim).map_or(Duration::ZERO, Open::chance);
            if left.is_zero() {
                state.close(victim);
            } else {
                state = self.left.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        let number = state.next;
        state.next += 1;
        state.residents_max = limits.connections_max - limits.connections_max / RESIDENT_SPARES;
        state.strangers.insert(number);
        let _ = standing.place.set((Arc::downgrade(self), number));
        for network in &networks {
            state.by_network.entry(*network).or_default().insert(number);
        }
        state.open.insert(number, Open { since: clock::tick(), networks, is_local, standing, socket });
        drop(state);
        Some(Slot { slots: Arc::clone(self), number })
    }

    /// Closes one connection, because descriptors ran out.
    pub fn make_room(&self) {
        let mut state = lock(&self.state);
        let all = state.open.len();
        if let Some(victim) = state.choose_victim(all, true) {
            state.close(victim);
        }
    }

    /// Number of connections closed for others, at a limited rate.
    pub fn news(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        let now = clock::tick();
        if state.closed == 0 || state.reported.is_some_and(|at| now.duration_since(at) < REPORT_INTERVAL) {
            return None;
        }
        state.reported = Some(now);
        Some(std::mem::take(&mut state.closed))
    }

    /// Waits until `end` for all connections to close; returns true if they did.
    pub fn wait_empty(&self, end: Instant) -> bool {
        let mut state = lock(&self.state);
        while !state.open.is_empty() {
            let left = end.saturating_duration_since(clock::tick());
            if left.is_zero() {
                return false;
            }
            state = self.left.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl State {
    /// The connection that makes room for a newcomer.
    fn choose_victim(&self, connections_max: usize, for_local: bool) -> Option<u64> {
        let local_kept = LOCAL_KEPT.min(connections_max / HOLDER_SHARE);
        let unproven = self.unproven(self.strangers.iter(), for_local, local_kept);
        if self.open.len() < connections_max {
            // Too many strangers: one of them makes room.
            return unproven;
        }
        let others = || self.open.keys().filter(|number| !self.residents.contains(number));
        let of_greediest = || self.of_greediest(others(), connections_max / HOLDER_SHARE, false);
        self.after_its_chance(unproven).or_else(of_greediest).or(unproven).or_else(|| self.silent(others()))
    }

    /// The connection, if its time to authenticate is over.
    fn after_its_chance(&self, number: Option<u64>) -> Option<u64> {
        number.filter(|number| self.open.get(number).is_some_and(|open| open.chance().is_zero()))
    }

    /// The oldest unauthenticated one without a working handler. Some of this machine's are reserved from newcomers
    /// elsewhere.
    fn unproven<'n>(
        &self,
        numbers: impl Iterator<Item = &'n u64> + Clone,
        for_local: bool,
        local_kept: usize,
    ) -> Option<u64> {
        let is_unproven = |open: &Open| open.standing.holder.get().is_none();
        let mut all =
            numbers.filter_map(|number| Some((*number, self.open.get(number)?))).filter(|(_, open)| is_unproven(open));
        let spares_local = !for_local && all.clone().filter(|(_, open)| open.is_local).count() <= local_kept;
        all.find(|(_, open)| !(open.standing.is_busy() || spares_local && open.is_local)).map(|(number, _)| number)
    }

    /// Number of unauthenticated connections.
    fn count_unproven(&self, numbers: &BTreeSet<u64>) -> usize {
        let is_unproven =
            |number: &&u64| self.open.get(number).is_some_and(|open| open.standing.holder.get().is_none());
        numbers.iter().filter(is_unproven).count()
    }

    /// The oldest unauthenticated one with a working handler.
    fn busy<'n>(&self, numbers: impl Iterator<Item = &'n u64>) -> Option<u64> {
        let mut all = numbers.filter_map(|number| Some((*number, self.open.get(number)?)));
        all.find(|(_, open)| open.standing.holder.get().is_none() && open.standing.is_busy()).map(|(number, _)| number)
    }

    /// The oldest connection of the caller with the most, if that exceeds its share; one with a working handler only if
    /// that is allowed and there is no other.
    fn of_greediest<'n>(&self, numbers: impl Iterator<Item = &'n u64>, share: usize, even_busy: bool) -> Option<u64> {
        let mut of_holder: HashMap<&str, (usize, Option<u64>, Option<u64>)> = HashMap::new();
        for (number, open) in numbers.filter_map(|number| Some((*number, self.open.get(number)?))) {
            let Some(holder) = open.standing.holder.get() else { continue };
            let (count, idle, busy) = of_holder.entry(holder).or_default();
            *count += 1;
            if open.standing.is_busy() {
                busy.get_or_insert(number)
            } else {
                idle.get_or_insert(number)
            };
        }
        let (_, idle, busy) =
            of_holder.into_values().filter(|(count, ..)| *count > share).max_by_key(|(count, ..)| *count)?;
        idle.or(busy.filter(|_| even_busy))
    }

    /// The connection that has waited longest without a thread.
    fn silent<'n>(&self, numbers: impl Iterator<Item = &'n u64>) -> Option<u64> {
        let since = |number: &u64| *lock(&self.open.get(number)?.standing.parked_since);
        numbers.filter_map(|number| Some((since(number)?, *number))).min().map(|(_, number)| number)
    }

    /// Cuts off a connection. Its thread, if any, returns from any wait.
    fn close(&mut self, number: u64) {
        if let Some(open) = self.forget(number) {
            self.leaving.insert(number);
            self.closed += 1;
            // It may be closed already.
            let _ = open.socket.shutdown(Shutdown::Both);
        }
    }

    fn forget(&mut self, number: u64) -> Option<Open> {
        let open = self.open.remove(&number)?;
        self.strangers.remove(&number);
        if self.residents.remove(&number)
            && let Some(holder) = open.standing.holder.get()
            && let Some(count) = self.residents_of.get_mut(holder)
        {
            *count -= 1;
            if *count == 0 {
                self.residents_of.remove(holder);
            }
        }
        self.leave_networks(number, &open.networks);
        Some(open)
    }

    fn leave_networks(&mut self, number: u64, networks: &[Network]) {
        for network in networks {
            if let Some(numbers) = self.by_network.get_mut(network) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.by_network.remove(network);
                }
            }
        }
    }

    /// Notes that a connection has authenticated.
    fn proven(&mut self, number: u64, holder: &str, is_resident: bool) {
        self.strangers.remove(&number);
        let Some(open) = self.open.get(&number) else { return };
        let count = self.residents_of.get(holder).copied().unwrap_or(0);
        if is_resident && count < RESIDENT_OF_HOLDER_MAX && self.residents.len() < self.residents_max {
            let networks = open.networks.clone();
            self.leave_networks(number, &networks);
            self.residents.insert(number);
            self.residents_of.insert(holder.to_string(), count + 1);
        }
    }
}

#[cfg(test)]
mod tests;
