//! Events: listed newest first or followed live, and added to by clients.

use crate::bell::Bell;
use crate::clock;
use crate::control::access::readers::ReaderCredential;
use crate::control::access::visitor::Place;
use crate::control::once::{Created, Once};
use crate::control::{Control, guard, limits, settings};
use crate::error::{Error, Result};
use crate::model::address;
use crate::model::events::{ClientEvent, Event, EventFilter, NewEvent};
use crate::model::users::Role;
use crate::model::{Page, Paging};
use crate::store::changes::{Frame, Next};
use crate::store::{Store, events};
use crate::thread::{Stop, lock};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Events deleted in one transaction: other writes must not wait for more.
const PRUNE_BATCH: usize = 500;
/// Batches per pass: the rest follows in the next one.
const PRUNE_BATCHES: usize = 200;
/// Events that a reader who is behind reads from the database at once.
const CATCH_UP: usize = 100;
/// Size of the events that a reader gets at once, in bytes, but for the last one: they wait in memory until the reader
/// has taken them.
const PIECE_BYTES: usize = 128 << 10;
/// Pause between two wake-ups of the readers. Events in between share a write, so that a burst does not cost one for
/// each event and reader.
const PACE: Duration = Duration::from_millis(20);

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

/// Current readers of the event stream.
#[derive(Default)]
pub struct Readers(Mutex<All>);

#[derive(Default)]
struct All {
    by_address: HashMap<IpAddr, usize>,
    bells: HashMap<u64, Bell>,
    next: u64,
}

impl Readers {
    /// Number of readers.
    pub fn count(&self) -> usize {
        lock(&self.0).bells.len()
    }

    /// Wakes every reader.
    fn ring(&self) {
        let bells: Vec<Bell> = lock(&self.0).bells.values().cloned().collect();
        bells.iter().for_each(Bell::ring);
    }

    /// Admits another reader. One address may not have `max` or more readers, so that others there find a
    /// connection for anything else.
    fn begin(self: &Arc<Self>, address: IpAddr, max: usize) -> Result<Reading> {
        let mut all = lock(&self.0);
        let count = all.by_address.entry(address).or_default();
        if *count >= max {
            let detail =
                format!("Your address already has {count} readers of the event stream. Close one, or try again in 5s.");
            return Err(Error::RateLimited { detail, retry_after_s: 5 });
        }
        *count += 1;
        let (number, bell) = (all.next, Bell::default());
        all.next += 1;
        all.bells.insert(number, bell.clone());
        Ok(Reading { readers: Arc::clone(self), address, number, bell })
    }
}

/// One reader; counted until this is dropped.
struct Reading {
    readers: Arc<Readers>,
    address: IpAddr,
    number: u64,
    bell: Bell,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut all = lock(&self.readers.0);
        all.bells.remove(&self.number);
        if let Some(count) = all.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.by_address.remove(&self.address);
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
    reading: Reading,
    credential: ReaderCredential,
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
        Ok(Reader { cursor, filter, reading, credential: ReaderCredential::new(control, shown, Role::Viewer) })
    }

    /// True if the session or token is still valid.
    pub fn is_authorized(&self) -> bool {
        self.credential.is_valid()
    }

    /// Rung when there may be more events, and when the server stops.
    pub fn bell(&self) -> &Bell {
        &self.reading.bell
    }

    /// True if no event follows at the moment.
    pub fn is_current(&self) -> bool {
        self.cursor.seq >= self.cursor.store.tail.newest()
    }

    /// Some of the next events, as far as they match the filter. `None` once the server stops.
    pub fn next(&mut self) -> Result<Option<Vec<Arc<Frame>>>> {
        let before = self.cursor.seq;
        let Some(mut frames) = self.cursor.next(Duration::ZERO)? else { return Ok(None) };
        let mut bytes = 0;
        let fits = |frame: &&Arc<Frame>| {
            bytes += frame.json.len();
            bytes <= PIECE_BYTES
        };
        let count = frames.iter().take_while(fits).count().max(1);
        if count < frames.len() {
            frames.truncate(count);
            self.cursor.seq = frames.last().map_or(before, |last| last.seq);
        }
        frames.retain(|frame| self.filter.admits(&frame.event));
        Ok(Some(frames))
    }
}

/// Wakes the readers of the stream when there are events, until the server stops.
pub fn wake_readers(control: &Control, stop: &Stop) {
    let mut seen = control.store.tail.newest();
    while let Some(newest) = control.store.tail.beyond(seen) {
        seen = newest;
        control.stream_readers.ring();
        if stop.wait(PACE) {
            break;
        }
    }
    control.stream_readers.ring();
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
