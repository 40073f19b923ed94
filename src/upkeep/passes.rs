//! Passes: periodic work of the control plane.

use super::App;
use crate::control::access::sessions;
use crate::control::fleet::{nodes, updates};
use crate::control::trust::tls;
use crate::control::{Control, events, once};
use crate::error::{Chain, Doing, Error, Result};
use crate::thread::{Stop, every, spawn};
use crate::upkeep::{backups, bundles};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Interval for noticing expired leases.
const SWEEP: Duration = Duration::from_secs(1);
/// Interval between flushes of renewals: one default heartbeat, so a row is written at most once per beat. A crash
/// loses at most these, and every lease gets a fresh term after it anyway; more often would wear out the SD cards that
/// small control planes run on.
const FLUSH: Duration = Duration::from_secs(15);
/// Interval between checks whether a reconcile is due.
const SCHEDULE: Duration = Duration::from_millis(250);
/// Interval for removing old events and answers: a minute's worth of the busiest cluster is a few batches.
const PRUNE: Duration = Duration::from_secs(60);
/// Interval for writing the last use of sessions and tokens, and for removing expired ones.
const SESSIONS: Duration = Duration::from_secs(60);
/// Interval for noticing replaced certificate files.
const WATCH_TLS: Duration = Duration::from_secs(10);
/// Interval for noticing requests for support bundles: an operator waits for the result. It costs no query while there
/// are none.
const BUNDLES: Duration = Duration::from_millis(250);
/// Interval between checks whether a backup or a drill is due: each reads a short directory.
const BACKUPS: Duration = Duration::from_secs(1);
/// Interval between checks of the write-ahead log.
const WATCH_WAL: Duration = Duration::from_secs(60);

/// Interval between checks of the running update: nodes take minutes.
const UPDATES: Duration = Duration::from_secs(2);

/// Interval for forgetting nodes that are gone for good: a few at a time.
const FORGET_NODES: Duration = Duration::from_secs(10);

/// Starts every pass; each ends when `stop` is raised.
pub fn start(app: &Arc<App>, stop: &Stop) -> Result<Vec<JoinHandle<()>>> {
    let pass = |name: &'static str, interval: Duration, work: fn(&App) -> Result<()>| {
        let app = Arc::clone(app);
        every(name, interval, stop.clone(), move || log_failure(name, work(&app))).doing("start a pass")
    };
    let waking = {
        let (app, stop) = (Arc::clone(app), stop.clone());
        spawn("event-readers", None, move || events::wake_readers(&app.control, &stop)).doing("start a pass")?
    };
    Ok(vec![
        waking,
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

/// Last work before the database is closed.
pub fn finish(control: &Control) {
    log_failure("lease-flush", control.leases.flush(&control.store).map(drop));
    log_failure("session-flush", sessions::flush(control));
}

fn log_failure(pass: &'static str, result: Result<()>) {
    if let Err(e) = result {
        let e: &Error = &e;
        log::error!(target: "system", event = "pass.failed", pass, error:% = Chain(e); "A background pass failed; it \
            runs again at its next turn");
    }
}
