//! Events: what happened, newest first, and what clients add to it.

use super::{Control, guard};
use crate::error::Result;
use crate::model::events::{Event, NewEvent};
use crate::model::{Page, Paging};
use crate::store::events;

/// Events that are kept: months of a small fleet, some twenty megabytes.
const KEPT_MAX: i64 = 100_000;

/// A page of events, newest first.
pub fn list(control: &Control, paging: &Paging, category: Option<&str>) -> Result<Page<Event>> {
    control.store.read(|r| events::page(r, paging, category))
}

/// Records a client's event.
pub fn create(control: &Control, event: NewEvent) -> Result<Event> {
    control.store.write(move |w| {
        guard::check(w)?;
        events::record(w, event)
    })
}

/// Forgets old events.
pub fn prune(control: &Control) -> Result<()> {
    let gone = control.store.write(|w| events::prune(w, KEPT_MAX))?;
    if gone > 0 {
        log::info!(target: "system", event = "events.prune", gone, kept = KEPT_MAX; "Forgot the oldest events");
    }
    Ok(())
}
