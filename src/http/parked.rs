//! Connections without a thread, each until its socket is ready, its bell rings, or its time is over. One thread waits
//! for all of them in the kernel (`listen` runs it); at rest it does not wake.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::clock;
use crate::http::exchange::{Conn, Wants};
use crate::http::slots::Slot;
use crate::http::socket::{Interest, Poller, has_bytes};
use crate::thread::lock;

/// Minimum time between two looks at who has been silent for too long: thousands expire in one, each up to this late.
pub(super) const SILENT_LOOK_EVERY: Duration = Duration::from_secs(1);

/// The same for answers that wait: their clients speak again at once, and must not all do so together.
const WAITING_LOOK_EVERY: Duration = Duration::from_millis(20);

/// A connection and its slot.
pub(super) struct Live {
    pub conn: Conn,
    pub slot: Slot,
}

/// All parked connections.
pub(super) struct Parking {
    poller: Poller,
    lot: Mutex<Lot>,
}

struct Lot {
    /// By token, which only grows. A late report of the kernel finds none.
    all: HashMap<u64, (Live, Instant)>,
    /// The same, by the end of their time: those that wait for news, and the others.
    waiting: Ends,
    silent: Ends,
    next: u64,
    /// Time of the next look at the clock.
    looks_at: Option<Instant>,
    /// When stopping, only answers on their way are waited for.
    stopping: bool,
    closed: bool,
}

/// Tokens by the end of their time, which is looked at now and then.
struct Ends {
    all: BTreeSet<(Instant, u64)>,
    look_every: Duration,
    looked_at: Option<Instant>,
}

/// Next step for a connection that was parked.
pub(super) enum Woken {
    /// Its client speaks.
    Speaks(Live),
    /// More of its answer follows.
    Due(Live),
    /// It is over: to be dropped where nothing is locked.
    Over(Live),
}

impl Ends {
    fn new(look_every: Duration) -> Ends {
        Ends { all: BTreeSet::new(), look_every, looked_at: None }
    }

    /// The time to look at the clock again.
    fn next_look(&self) -> Option<Instant> {
        let (end, _) = self.all.first()?;
        Some(self.looked_at.map_or(*end, |last| last + self.look_every).max(*end))
    }

    /// Takes out the tokens whose time is over, if it is time to look.
    fn expired(&mut self, now: Instant) -> BTreeSet<(Instant, u64)> {
        if self.next_look().is_none_or(|at| at > now) {
            return BTreeSet::new();
        }
        self.looked_at = Some(now);
        let later = self.all.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.all, later)
    }
}

impl Lot {
    fn new() -> Lot {
        Lot {
            all: HashMap::new(),
            waiting: Ends::new(WAITING_LOOK_EVERY),
            silent: Ends::new(SILENT_LOOK_EVERY),
            next: 0,
            looks_at: None,
            stopping: false,
            closed: false,
        }
    }

    /// The ends among which that of such a wait is.
    fn ends_of(&mut self, wants: Wants) -> &mut Ends {
        match wants {
            Wants::News => &mut self.waiting,
            Wants::Request | Wants::Room => &mut self.silent,
        }
    }

    fn take(&mut self, token: u64) -> Option<Live> {
        let (live, until) = self.all.remove(&token)?;
        self.ends_of(live.conn.wants()).all.remove(&(until, token));
        live.conn.standing.set_parked(false);
        // Taken out for another reason than its bell, a ring from now on must not be lost on this token.
        if let Some(bell) = live.conn.bell() {
            bell.leave();
        }
        Some(live)
    }

    /// The time to look at the clock again.
    fn next_look(&self) -> Option<Instant> {
        self.waiting.next_look().into_iter().chain(self.silent.next_look()).min()
    }
}

impl Parking {
    pub fn new() -> io::Result<Parking> {
        Ok(Parking { poller: Poller::new()?, lot: Mutex::new(Lot::new()) })
    }

    /// Parks a connection; `wake` creates what its bell does for a token. Returns it with its next step if there is
    /// nothing to wait for: the bell has rung, the front stops, or the kernel refuses.
    pub fn park(
        &self,
        mut live: Live,
        idle_time: Duration,
        wake: impl FnOnce(u64) -> Box<dyn FnOnce() + Send>,
    ) -> Option<Woken> {
        let (wants, until) = (live.conn.wants(), live.conn.until(idle_time));
        let mut lot = lock(&self.lot);
        if lot.closed || (lot.stopping && wants == Wants::Request) {
            return Some(Woken::Over(live));
        }
        if lot.stopping && wants == Wants::News {
            return Some(Woken::Due(live));
        }
        let token = lot.next;
        lot.next += 1;
        let interest = match wants {
            Wants::Request | Wants::News => Interest::Bytes,
            Wants::Room => Interest::Room,
        };
        let is_known = std::mem::replace(&mut live.conn.is_watched, true);
        // All under one lock, which a report of the kernel and a ring wait for, too.
        if self.poller.watch(live.conn.transport.socket(), token, interest, is_known).is_err() {
            return Some(Woken::Over(live));
        }
        if live.conn.bell().is_some_and(|bell| !bell.on_ring(wake(token))) {
            return Some(Woken::Due(live));
        }
        live.conn.standing.set_parked(true);
        lot.all.insert(token, (live, until));
        lot.ends_of(wants).all.insert((until, token));
        let next_look = lot.next_look();
        if lot.looks_at.is_none_or(|at| next_look.is_some_and(|next| next < at)) {
            lot.looks_at = next_look;
            drop(lot);
            self.poller.poke();
        }
        None
    }

    /// Takes out a connection whose bell rang.
    pub fn take(&self, token: u64) -> Option<Live> {
        lock(&self.lot).take(token)
    }

    /// Waits for connections that are ready or whose time is over, and takes them out; `None` when closed.
    pub fn wait(&self) -> Option<Vec<Woken>> {
        let at_most = {
            let mut lot = lock(&self.lot);
            if lot.closed {
                return None;
            }
            lot.looks_at = lot.next_look();
            lot.looks_at.map(|at| at.saturating_duration_since(clock::tick()))
        };
        let ready = self.poller.wait(at_most);
        let mut woken = Vec::with_capacity(ready.len());
        let mut lot = lock(&self.lot);
        for ready in ready {
            woken.extend(self.hear(&mut lot, ready.token, ready.is_over));
        }
        let now = clock::tick();
        // One that waits for news is answered without any; the others have had their time.
        let (waiting, silent) = (lot.waiting.expired(now), lot.silent.expired(now));
        woken.extend(waiting.into_iter().filter_map(|(_, token)| lot.take(token)).map(Woken::Due));
        woken.extend(silent.into_iter().filter_map(|(_, token)| lot.take(token)).map(Woken::Over));
        Some(woken)
    }

    /// Decides about a connection of which the kernel reports something.
    fn hear(&self, lot: &mut Lot, token: u64, is_over: bool) -> Option<Woken> {
        let (live, _) = lot.all.get(&token)?;
        let (conn, socket) = (&live.conn, live.conn.transport.socket());
        match conn.wants() {
            Wants::Request if is_over && !has_bytes(socket) => lot.take(token).map(Woken::Over),
            Wants::Request => lot.take(token).map(Woken::Speaks),
            Wants::Room => lot.take(token).map(Woken::Due),
            Wants::News if is_over => lot.take(token).map(Woken::Over),
            // Its client sends the next request before it has this answer: that is read later.
            Wants::News => match self.poller.watch(socket, token, Interest::End, true) {
                Ok(()) => None,
                Err(_) => lot.take(token).map(Woken::Over),
            },
        }
    }

    /// Begins to stop: silent connections are over, and answers that wait are due now.
    pub fn stop(&self) -> Vec<Woken> {
        let mut lot = lock(&self.lot);
        lot.stopping = true;
        let is_sending = |live: &Live| live.conn.wants() == Wants::Room;
        let tokens: Vec<u64> =
            lot.all.iter().filter(|(_, (live, _))| !is_sending(live)).map(|(token, _)| *token).collect();
        let taken = tokens.into_iter().filter_map(|token| lot.take(token));
        let next = |live: Live| match live.conn.wants() {
            Wants::News => Woken::Due(live),
            Wants::Request | Wants::Room => Woken::Over(live),
        };
        taken.map(next).collect()
    }

    /// Closes what is left, and ends the wait.
    pub fn close(&self) {
        let left = {
            let mut lot = lock(&self.lot);
            lot.closed = true;
            lot.waiting.all.clear();
            lot.silent.all.clear();
            std::mem::take(&mut lot.all)
        };
        drop(left);
        self.poller.poke();
    }

    /// Parked connections, and those of them that wait for news.
    #[cfg(test)]
    pub fn count(&self) -> (usize, usize) {
        let lot = lock(&self.lot);
        let waiting = lot.all.values().filter(|(live, _)| live.conn.wants() == Wants::News).count();
        (lot.all.len(), waiting)
    }
}
