//! Events: what happened, newest first or as it happens, and what clients add to it.

use crate::clock;
use crate::control::access::sessions::{Place, Sessions};
use crate::control::once::{Created, Once};
use crate::control::{Control, guard, limits, settings};
use crate::error::{Error, Result};
use crate::model::address;
use crate::model::events::{ClientEvent, Event, EventFilter, NewEvent};
use crate::model::{Page, Paging};
use crate::store::changes::{Frame, Next};
use crate::store::{Store, events};
use crate::thread::lock;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Events that one transaction forgets: other writes must not wait for more.
const PRUNE_BATCH: usize = 500;
/// Batches of one pass: what is left goes at the next one.
const PRUNE_BATCHES: usize = 200;
/// Events that a reader that is behind gets at once.
const CATCH_UP: usize = 500;

/// A page of events, newest first.
pub fn list(control: &Control, paging: &Paging, filter: &EventFilter) -> Result<Page<Event>> {
    control.store.read(|r| events::page(r, paging, filter))
}

/// Records a client's event. What the server itself says must not be said by anybody else.
pub fn create(control: &Control, once: Once, event: ClientEvent) -> Result<Created> {
    let event = NewEvent::of_client(event)?;
    limits::fields_fit(event.fields())?;
    control.store.write(move |w| {
        guard::check(w)?;
        once.create(w, |w| events::record(w, event))
    })
}

/// Who reads the stream of events now.
#[derive(Default)]
pub struct Readers(Mutex<HashMap<IpAddr, usize>>);

impl Readers {
    /// Readers there are.
    pub fn count(&self) -> usize {
        lock(&self.0).values().sum()
    }

    /// Lets one more begin to read. An address may not have so many readers that nobody there finds a connection for anything else.
    fn begin(self: &Arc<Self>, address: IpAddr, max: usize) -> Result<Reading> {
        let mut all = lock(&self.0);
        let count = all.entry(address).or_default();
        if *count >= max {
            let detail = format!("Your address already has {count} readers of the event stream. Close one, or try again in 5s.");
            return Err(Error::RateLimited { detail, retry_after_s: 5 });
        }
        *count += 1;
        Ok(Reading { readers: Arc::clone(self), address })
    }
}

/// One reader; it is counted until this is dropped.
struct Reading {
    readers: Arc<Readers>,
    address: IpAddr,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut all = lock(&self.readers.0);
        if let Some(count) = all.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.address);
            }
        }
    }
}

/// A place in the sequence of events. Nothing is queued for it: what follows is read from the shared tail, or, when it is behind, from the
/// database in short reads.
pub struct Cursor {
    store: Arc<Store>,
    /// The number of the event before it.
    seq: i64,
}

impl Cursor {
    /// After the newest event.
    pub fn at_end(control: &Control) -> Cursor {
        Cursor { store: Arc::clone(&control.store), seq: control.store.tail.newest() }
    }

    /// The next events, each once; waits for them at most this long. `None` once the server stops.
    pub fn next(&mut self, at_most: Duration) -> Result<Option<Vec<Arc<Frame>>>> {
        let newest = self.store.tail.newest();
        let frames = match self.store.tail.after(self.seq, at_most) {
            Next::Frames(frames) => frames,
            Next::Silence => Vec::new(),
            Next::Behind => {
                let frames: Vec<Arc<Frame>> =
                    self.store.read(|r| events::following(r, self.seq, CATCH_UP))?.into_iter().map(Arc::new).collect();
                if frames.is_empty() {
                    // All that it missed is forgotten.
                    self.seq = self.seq.max(newest);
                }
                frames
            }
            Next::Closed => return Ok(None),
        };
        self.seq = frames.last().map_or(self.seq, |last| last.seq);
        Ok(Some(frames))
    }
}

/// A reader of the stream of events, at its own pace.
pub struct Reader {
    cursor: Cursor,
    filter: EventFilter,
    _reading: Reading,
    /// What it showed, from where, and who knows whether that still holds.
    shown: (String, Place),
    sessions: Arc<Sessions>,
}

impl Reader {
    /// A reader that begins after an event, after the moment of the filter, or now. After an event that is forgotten comes what is after
    /// the moment of the filter, or the oldest that is left.
    pub fn begin(control: &Control, shown: (String, Place), last_seen: Option<&str>, mut filter: EventFilter) -> Result<Reader> {
        let max = (control.config.connections_per_address_max * 3 / 4).max(1);
        let reading = control.stream_readers.begin(address::client(shown.1.address), max)?;
        // Asked first, so that nothing falls between it and what the database says.
        let newest = control.store.tail.newest();
        let known = last_seen.map(|id| control.store.read(|r| events::seq_of(r, id))).transpose()?.flatten();
        let seq = match (known, filter.since) {
            (Some(seq), _) => seq,
            (None, None) if last_seen.is_some() => 0,
            (None, Some(since)) => control.store.read(|r| events::seq_before(r, since))?.unwrap_or(newest),
            (None, None) => newest,
        };
        if known.is_some() {
            // Where the reader was says more than when it first asked.
            filter.since = None;
        }
        let cursor = Cursor { store: Arc::clone(&control.store), seq };
        Ok(Reader { cursor, filter, _reading: reading, shown, sessions: Arc::clone(&control.sessions) })
    }

    /// Whether the session or the token that it reads under still holds. Reading uses it, like any other request.
    pub fn is_welcome(&self) -> bool {
        let (shown, place) = &self.shown;
        let user = self.sessions.holder(&self.cursor.store, shown, *place);
        user.is_ok_and(|user| user.is_some_and(|user| user.restriction.is_none()))
    }

    /// The next events that the filter admits; waits for events at most this long. `None` once the server stops.
    pub fn next(&mut self, at_most: Duration) -> Result<Option<Vec<Arc<Frame>>>> {
        let mut frames = self.cursor.next(at_most)?;
        frames.iter_mut().for_each(|frames| frames.retain(|frame| self.filter.admits(&frame.event)));
        Ok(frames)
    }
}

/// Forgets old events, by age and by count, in small batches.
pub fn prune(control: &Control) -> Result<()> {
    let (days, rows) =
        control.store.read(|r| Ok((settings::number(r, settings::RETENTION_DAYS)?, settings::number(r, settings::RETENTION_ROWS)?)))?;
    let before = clock::now().plus_secs(-days * 86_400);
    let mut gone = 0;
    for _ in 0..PRUNE_BATCHES {
        let batch = control.store.write(move |w| events::prune(w, before, rows, PRUNE_BATCH))?;
        gone += batch;
        if batch < PRUNE_BATCH {
            break;
        }
    }
    if gone > 0 {
        log::info!(target: "system", event = "events.prune", gone, days, rows; "Deleted the oldest events");
    }
    Ok(())
}
