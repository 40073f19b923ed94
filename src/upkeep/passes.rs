//! What the control plane does by itself, again and again.

use super::App;
use crate::control::access::sessions;
use crate::control::fleet::{nodes, updates};
use crate::control::trust::tls;
use crate::control::{Control, events, once};
use crate::error::{Chain, Doing, Error, Result};
use crate::thread::{Stop, every};
use crate::upkeep::{backups, bundles};
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
pub fn start(app: &Arc<App>, stop: &Stop) -> Result<Vec<JoinHandle<()>>> {
    let pass = |name: &'static str, interval: Duration, work: fn(&App) -> Result<()>| {
        let app = Arc::clone(app);
        every(name, interval, stop.clone(), move || tell(name, work(&app))).doing("start a pass")
    };
    Ok(vec![
        pass("lease-sweep", SWEEP, |app| app.control.leases.sweep(&app.control.store).map(drop))?,
        pass("lease-flush", FLUSH, |app| app.control.leases.flush(&app.control.store).map(drop))?,
        pass("scheduler", SCHEDULE, |app| app.scheduler.turn(&app.control))?,
        pass("updates", UPDATES, |app| updates::turn(&app.control))?,
        pass("event-prune", PRUNE, |app| events::prune(&app.control))?,
        pass("node-forget", FORGET_NODES, |app| nodes::forget_old(&app.control))?,
        pass("once-prune", PRUNE, |app| once::prune(&app.control))?,
        pass("session-flush", SESSIONS, |app| sessions::flush(&app.control))?,
        pass("tls-watch", WATCH_TLS, |app| tls::turn(&app.control))?,
        pass("bundles", BUNDLES, bundles::turn)?,
        pass("backups", BACKUPS, backups::turn)?,
        pass("wal-watch", WATCH_WAL, |app| {
            app.control.store.watch_wal();
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
        log::error!(target: "system", event = "pass.failed", pass, error:% = Chain(e); "A background pass failed; it runs again at its next turn");
    }
}
