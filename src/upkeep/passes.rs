//! Passes: periodic work of the control plane.

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

/// Interval for noticing expired leases.
const SWEEP: Duration = Duration::from_secs(1);
/// Interval between flushes of renewals: a cluster in which nothing happens writes next to nothing, which spares the SD
/// cards that small control planes run on. A stop writes them too. A crash loses these times only, and every lease gets
/// a fresh term after it anyway.
const FLUSH: Duration = Duration::from_secs(600);
/// Interval between checks whether a reconcile is due.
const SCHEDULE: Duration = Duration::from_millis(250);
/// Interval for removing old events and answers: a minute's worth of the busiest cluster is a few batches.
const PRUNE: Duration = Duration::from_secs(60);
/// Longest interval for writing the last use of sessions and tokens, and for removing expired ones.
const SESSIONS: Duration = Duration::from_secs(600);
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
    // After a crash, a session that was in use must not seem idle.
    let sessions_interval = SESSIONS.min(app.control.sessions.idle_limit() / 4);
    Ok(vec![
        pass("lease-sweep", SWEEP, |app| app.control.leases.sweep(&app.control.store).map(drop))?,
        pass("lease-flush", FLUSH, |app| app.control.leases.flush(&app.control.store).map(drop))?,
        pass("scheduler", SCHEDULE, |app| app.scheduler.turn(&app.control))?,
        pass("updates", UPDATES, |app| updates::turn(&app.control))?,
        pass("event-prune", PRUNE, |app| events::prune(&app.control))?,
        pass("node-forget", FORGET_NODES, |app| nodes::forget_old(&app.control))?,
        pass("once-prune", PRUNE, |app| once::prune(&app.control))?,
        pass("session-flush", sessions_interval, |app| sessions::flush(&app.control))?,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::store::{QueryLog, Store};
    use std::fs;

    #[test]
    fn a_minute_in_which_nothing_happens_writes_nothing() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-quiet-{}", std::process::id()));
        crate::files::private_dir(&dir).expect("a directory");
        let mut config = Config::for_dir(&dir);
        config.tls = false;
        config.fill_keys().expect("keys");
        let path = config.database_path.clone();
        let store = Store::open(&path, 1, QueryLog::default()).expect("a database");
        let app = App::new(config, store, ([127, 0, 0, 1], 1).into()).expect("an app");
        let minute = || {
            let control = &app.control;
            control.leases.sweep(&control.store).map(drop).expect("lease-sweep");
            app.scheduler.turn(control).expect("scheduler");
            updates::turn(control).expect("updates");
            events::prune(control).expect("event-prune");
            nodes::forget_old(control).expect("node-forget");
            once::prune(control).expect("once-prune");
            tls::turn(control).expect("tls-watch");
            bundles::turn(&app).expect("bundles");
            backups::turn(&app).expect("backups");
        };
        // The first one may finish what a start leaves.
        minute();
        let bytes = || [&path, &path.with_extension("db-wal")].map(|file| fs::read(file).expect("a file"));
        let before = bytes();
        minute();
        assert!(before == bytes(), "a pass wrote into the database");
        app.control.store.close();
        fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
