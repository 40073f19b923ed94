//! What the control plane does by itself, again and again.

use super::{Control, backups, bundles, events, nodes, once, scheduler, sessions, tls, updates};
use crate::error::{Chain, Doing, Error, Result};
use crate::thread::{Stop, every};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A lease that ran out is noticed within this.
const SWEEP: Duration = Duration::from_secs(1);
/// Renewals are written so often: as often as a node with the usual lease beats, so that no row is written in vain. A crash loses at most these, and every lease gets a fresh term after it anyway;
/// more often would wear out the SD cards that small control planes run on.
const FLUSH: Duration = Duration::from_secs(15);
/// The scheduler looks so often whether it is time to reconcile.
const SCHEDULE: Duration = Duration::from_millis(250);
/// Old events and answers are forgotten so often: a minute's worth of the busiest cluster is a few batches.
const PRUNE: Duration = Duration::from_secs(60);
/// When sessions and tokens were last used is written so often, and what has ended is forgotten.
const SESSIONS: Duration = Duration::from_secs(60);
/// The server's certificates are looked at so often: an operator who replaces one sees it work before the coffee is ready.
const WATCH_TLS: Duration = Duration::from_secs(10);
/// Whether a support bundle is wanted is looked at so often: somebody waits for it. It costs no query while none is.
const BUNDLES: Duration = Duration::from_millis(250);
/// Whether it is time for a backup or a drill is looked at so often: a short directory is read for it.
const BACKUPS: Duration = Duration::from_secs(1);
/// The write-ahead log is looked at so often.
const WATCH_WAL: Duration = Duration::from_secs(60);

/// The update that runs is looked at so often: nodes take minutes.
const UPDATES: Duration = Duration::from_secs(2);

/// Interval for forgetting nodes that are gone for good: a few at a time.
const FORGET_NODES: Duration = Duration::from_secs(10);

/// Starts every pass; each ends when the flag is raised.
pub fn start(control: &Arc<Control>, stop: &Stop) -> Result<Vec<JoinHandle<()>>> {
    let pass = |name: &'static str, interval: Duration, work: fn(&Control) -> Result<()>| {
        let control = Arc::clone(control);
        every(name, interval, stop.clone(), move || tell(name, work(&control))).doing("start a pass")
    };
    Ok(vec![
        pass("lease-sweep", SWEEP, |c| c.leases.sweep(&c.store).map(drop))?,
        pass("lease-flush", FLUSH, |c| c.leases.flush(&c.store).map(drop))?,
        pass("scheduler", SCHEDULE, scheduler::turn)?,
        pass("updates", UPDATES, updates::turn)?,
        pass("event-prune", PRUNE, events::prune)?,
        pass("node-forget", FORGET_NODES, nodes::forget_old)?,
        pass("once-prune", PRUNE, once::prune)?,
        pass("session-flush", SESSIONS, sessions::flush)?,
        pass("tls-watch", WATCH_TLS, tls::turn)?,
        pass("bundles", BUNDLES, bundles::turn)?,
        pass("backups", BACKUPS, backups::turn)?,
        pass("wal-watch", WATCH_WAL, |c| {
            c.store.watch_wal();
            Ok(())
        })?,
    ])
}

/// The last things before the database is closed.
pub fn finish(control: &Control) {
    tell("lease-flush", control.leases.flush(&control.store).map(drop));
    tell("session-flush", sessions::flush(control));
}

fn tell(pass: &'static str, result: Result<()>) {
    if let Err(e) = result {
        let e: &Error = &e;
        log::error!(target: "system", event = "pass.failed", pass, error:% = Chain(e); "A pass failed; it runs again at its next turn");
    }
}
