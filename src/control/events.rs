//! Events: listed newest first or followed live, and added to by clients.

use crate::clock;
use crate::control::access::sessions::Sessions;
use crate::control::access::visitor::Place;
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

/// Events deleted in one transaction: other writes must not wait for more.
const PRUNE_BATCH: usize = 500;
/// Batches per pass: the rest follows in the next one.
const PRUNE_BATCHES: usize = 200;
/// Events that a reader who is behind gets at once.
const CATCH_UP: usize = 500;

/// A page of events, newest first.
pub fn list(control: &Control, paging: &Paging, filter: &EventFilter) -> Result<Page<Event>> {
    control.store.read(|r| events::page(r, paging, filter))
}

/// Records a client's event. Clients must not be able to forge the server's own events.
pub fn create(control: &Control, once: Once, event: ClientEvent) -> Result<Created> {
    let event = NewEvent::of_client(event)?;
    limits::fields_fit(event.fields())?;
    control.store.write(move |w| {
        guard::check(w)?;
        once.create(w, |w| events::record(w, event))
    })
}

/// Current readers of the event stream, by address.
#[derive(Default)]
pub struct Readers(Mutex<HashMap<IpAddr, usize>>);

impl Readers {
    /// Number of readers.
    pub fn count(&self) -> usize {
        lock(&self.0).values().sum()
    }

    /// Admits another reader. One address may not have `max` or more readers, so that others there find a
    /// connection for anything else.
    fn begin(self: &Arc<Self>, address: IpAddr, max: usize) -> Result<Reading> {
        let mut all = lock(&self.0);
        let count = all.entry(address).or_default();
        if *count >= max {
            let detail =
                format!("Your address already has {count} readers of the event stream. Close one, or try again in 5s.");
            return Err(Error::RateLimited { detail, retry_after_s: 5 });
        }
        *count += 1;
        Ok(Reading { readers: Arc::clone(self), address })
    }
}

/// One reader; counted until this is dropped.
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

/// A position in the sequence of events. Nothing is queued for it: later events are read from the shared tail or, for a
/// cursor that is behind, from the database in short reads.
pub struct Cursor {
    store: Arc<Store>,
    /// Number of the event before it.
    seq: i64,
}

impl Cursor {
    /// Starts after the newest event.
    pub fn at_end(control: &Control) -> Cursor {
        Cursor { store: Arc::clone(&control.store), seq: control.store.tail.newest() }
    }

    /// The next events, each once; waits for them for at most `at_most`. `None` once the server stops.
    pub fn next(&mut self, at_most: Duration) -> Result<Option<Vec<Arc<Frame>>>> {
        let newest = self.store.tail.newest();
        let frames = match self.store.tail.after(self.seq, at_most) {
            Next::Frames(frames) => frames,
            Next::Silence => Vec::new(),
            Next::Behind => {
                let frames: Vec<Arc<Frame>> =
                    self.store.read(|r| events::following(r, self.seq, CATCH_UP))?.into_iter().map(Arc::new).collect();
                if frames.is_empty() {
                    // Everything that it missed has been deleted.
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

/// A reader of the event stream, at its own pace.
pub struct Reader {
    cursor: Cursor,
    filter: EventFilter,
    _reading: Reading,
    /// Its credential and origin, to check that they are still valid.
    shown: (String, Place),
    sessions: Arc<Sessions>,
}

impl Reader {
    /// Starts a reader after an event, after the time in the filter, or now. If that event has been deleted, it starts
    /// after the time in the filter, or with the oldest event.
    pub fn begin(
        control: &Control,
        shown: (String, Place),
        last_seen: Option<&str>,
        mut filter: EventFilter,
    ) -> Result<Reader> {
        let max = (control.config.connections_per_address_max * 3 / 4).max(1);
        let reading = control.stream_readers.begin(address::client(shown.1.address), max)?;
        // Read first, so that no event falls between it and the database's answer.
        let newest = control.store.tail.newest();
        let known = last_seen.map(|id| control.store.read(|r| events::seq_of(r, id))).transpose()?.flatten();
        let seq = match (known, filter.since) {
            (Some(seq), _) => seq,
            (None, None) if last_seen.is_some() => 0,
            (None, Some(since)) => control.store.read(|r| events::seq_before(r, since))?.unwrap_or(newest),
            (None, None) => newest,
        };
        if known.is_some() {
            // The reader's last position is more precise than the time of its first request.
            filter.since = None;
        }
        let cursor = Cursor { store: Arc::clone(&control.store), seq };
        Ok(Reader { cursor, filter, _reading: reading, shown, sessions: Arc::clone(&control.sessions) })
    }

    /// True if the session or token is still valid. Reading counts as a use, like any other request.
    pub fn is_authorized(&self) -> bool {
        let (shown, place) = &self.shown;
        let user = self.sessions.holder(&self.cursor.store, shown, *place);
        user.is_ok_and(|user| user.is_some_and(|user| user.restriction.is_none()))
    }

    /// The next events that match the filter; waits for at most `at_most`. `None` once the server stops.
    pub fn next(&mut self, at_most: Duration) -> Result<Option<Vec<Arc<Frame>>>> {
        let mut frames = self.cursor.next(at_most)?;
        frames.iter_mut().for_each(|frames| frames.retain(|frame| self.filter.admits(&frame.event)));
        Ok(frames)
    }
}

/// Deletes old events, by age and by count, in small batches.
pub fn prune(control: &Control) -> Result<()> {
    let (days, rows) = control.store.read(|r| {
        Ok((settings::number(r, settings::RETENTION_DAYS)?, settings::number(r, settings::RETENTION_ROWS)?))
    })?;
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
