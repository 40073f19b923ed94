//! Events: what happened, newest first, and what clients add to it.

use super::{Control, guard};
use crate::error::Result;
use crate::model::events::{Event, NewEvent};
use crate::model::{Page, Paging};
use crate::store::events;

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
