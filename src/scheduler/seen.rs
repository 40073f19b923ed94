//! A view and its plans, computed once for all callers while nothing changes: frequent callers cost the others nothing.

use super::plan::{self, Plan};
use super::view::View;
use super::{Control, Plans, Scheduler, held};
use crate::clock;
use crate::error::{Doing, Result};
use crate::thread::lock;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Maximum age of a reused view: leases expire without a counted change.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// A view of the cluster, and its plans.
pub struct Seen {
    /// Change count that it includes.
    count: u64,
    at: Instant,
    pub(super) view: View,
    plans: OnceLock<Plans>,
    json: OnceLock<Vec<u8>>,
}

impl Seen {
    fn is_fresh(&self, control: &Control) -> bool {
        self.count == control.store.changes.count() && clock::tick().duration_since(self.at) < FRESH_FOR
    }

    /// The plans of all services.
    pub fn plans(&self) -> &Plans {
        let plans = || Plans {
            dry_run: true,
            generated_at: self.view.now,
            warnings: held(&self.view),
            results: plan::all(&self.view),
        };
        self.plans.get_or_init(plans)
    }

    /// The plan for a service of the view.
    pub(super) fn plan_of(&self, service: usize) -> &Plan {
        &self.plans().results[service]
    }

    /// The plans of all services as JSON.
    pub fn plans_json(&self) -> Result<&[u8]> {
        if self.json.get().is_none() {
            let json = serde_json::to_vec(self.plans()).doing("write plans as JSON")?;
            // A faster thread has written the same.
            let _ = self.json.set(json);
        }
        Ok(self.json.get().map_or(&[], Vec::as_slice))
    }
}

/// The last view.
#[derive(Default)]
pub(super) struct Last(Mutex<Option<Arc<Seen>>>);

impl Last {
    /// Frees its memory if it is outdated.
    pub fn forget(&self, control: &Control) {
        let mut last = lock(&self.0);
        if last.as_ref().is_some_and(|seen| !seen.is_fresh(control)) {
            *last = None;
        }
    }
}

/// The cluster now. Of simultaneous callers one computes it, and the others wait for the result.
pub(super) fn now(scheduler: &Scheduler, control: &Control) -> Result<Arc<Seen>> {
    let mut last = lock(&scheduler.last.0);
    if let Some(seen) = last.as_ref().filter(|seen| seen.is_fresh(control)) {
        return Ok(Arc::clone(seen));
    }
    let (at, (count, view)) = (clock::tick(), scheduler.view(control)?);
    let seen = Arc::new(Seen { count, at, view, plans: OnceLock::new(), json: OnceLock::new() });
    *last = Some(Arc::clone(&seen));
    Ok(seen)
}
