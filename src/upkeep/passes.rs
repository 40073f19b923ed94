//! Passes: work of the control plane at intervals, or when there is news. At rest, all of them together wake up about
//! once in two seconds.

use super::App;
use crate::control::access::{api_tokens, sessions};
use crate::control::fleet::leases::suspects;
use crate::control::fleet::{nodes, updates};
use crate::control::trust::tls;
use crate::control::{Control, events, once};
use crate::error::{Chain, Doing, Result};
use crate::thread::{Stop, Watch, catch_panic, every, on_news, paced, spawn};
use crate::upkeep::{backups, bundles};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest interval between looks at the leases, and the pause after a failure of the database. No lease is as short:
/// each state is noticed when it begins. A standstill that ends by then, or a second later, goes unnoticed; it is
/// shorter than the two heartbeats that a lease can miss.
const SWEEP: Duration = Duration::from_secs(3);
/// Pause of the suspicions after a failure of the database.
const SUSPECTS_RETRY: Duration = Duration::from_secs(15);
/// Interval between flushes of renewals: a cluster in which nothing happens writes next to nothing, which spares the SD
/// cards that small control planes run on. A stop writes them too. A crash loses these times only, and every lease gets
/// a fresh term after it anyway.
const FLUSH: Duration = Duration::from_secs(600);
/// Pause of the scheduler after a failure of the database.
const SCHEDULE_RETRY: Duration = Duration::from_secs(1);
/// Interval of [`PRUNES`]: a minute's worth of events of the busiest cluster is a few batches.
const PRUNE: Duration = Duration::from_secs(60);
/// Longest interval for writing the last use of sessions and tokens, and for removing expired ones.
const SESSIONS: Duration = Duration::from_secs(600);
/// Interval of [`CHECKS`].
const CHECK: Duration = Duration::from_secs(10);
/// Pause of the bundles after a failure of the database.
const BUNDLE_RETRY: Duration = Duration::from_secs(15);
/// Pause after a scheduled backup that could not be tried.
const BACKUP_RETRY: Duration = Duration::from_secs(10);
/// Pause of the updates after a failure of the database.
const UPDATE_RETRY: Duration = Duration::from_secs(2);

/// Name and work of a pass.
type Pass = (&'static str, fn(&App) -> Result<()>);

/// Passes that notice replaced certificate files, and forget nodes that are gone for good, a few at a time.
const CHECKS: &[Pass] =
    &[("tls-watch", |app| tls::turn(&app.control)), ("node-forget", |app| nodes::forget_old(&app.control))];

/// Passes that remove what is old, and check the write-ahead log.
const PRUNES: &[Pass] = &[
    ("event-prune", |app| events::prune(&app.control)),
    ("once-prune", |app| once::prune(&app.control)),
    ("token-prune", |app| api_tokens::prune(&app.control)),
    ("wal-watch", |app| {
        app.control.store.watch_wal();
        Ok(())
    }),
];

/// Starts every pass; each ends after [`stop`].
pub fn start(app: &Arc<App>, stop: &Stop) -> Result<Vec<JoinHandle<()>>> {
    let pass = |name: &'static str, interval: Duration, work: fn(&App) -> Result<()>| {
        let app = Arc::clone(app);
        every(name, interval, stop.clone(), move || {
            log_failure(name, work(&app));
        })
        .doing("start a pass")
    };
    // One thread wakes up for all of them; none of them ends another.
    let together = |name: &'static str, interval: Duration, passes: &'static [Pass]| {
        let app = Arc::clone(app);
        every(name, interval, stop.clone(), move || {
            for (pass, work) in passes {
                catch_panic(pass, || log_failure(pass, work(&app)));
            }
        })
        .doing("start passes")
    };
    let watcher = |name: &'static str, news: &Watch<()>, retry: Duration, work: fn(&App) -> Result<Duration>| {
        let app = Arc::clone(app);
        on_news(name, news.clone(), retry, move || log_failure(name, work(&app)).unwrap_or(retry)).doing("start a pass")
    };
    let at_its_pace = |name: &'static str, retry: Duration, work: fn(&App) -> Result<Duration>| {
        let app = Arc::clone(app);
        paced(name, stop.clone(), retry, move || log_failure(name, work(&app)).unwrap_or(retry)).doing("start a pass")
    };
    let waking = {
        let (app, stop) = (Arc::clone(app), stop.clone());
        spawn("event-readers", None, move || events::wake_readers(&app.control, &stop)).doing("start a pass")?
    };
    // After a crash, a session that was in use must not seem idle.
    let sessions_interval = SESSIONS.min(app.control.sessions.idle_limit() / 4);
    Ok(vec![
        waking,
        watcher("scheduler", &app.control.store.changes.news, SCHEDULE_RETRY, |app| app.scheduler.turn(&app.control))?,
        watcher("bundles", &app.bundles.news, BUNDLE_RETRY, bundles::turn)?,
        watcher("updates", &app.control.updates.news, UPDATE_RETRY, |app| updates::turn(&app.control))?,
        watcher("suspects", app.control.leases.suspicion_news(), SUSPECTS_RETRY, |app| suspects::turn(&app.control))?,
        at_its_pace("backups", BACKUP_RETRY, backups::turn)?,
        at_its_pace("lease-sweep", SWEEP, |app| app.control.leases.sweep(&app.control.store, SWEEP))?,
        pass("lease-flush", FLUSH, |app| app.control.leases.flush(&app.control.store).map(drop))?,
        pass("session-flush", sessions_interval, |app| sessions::flush(&app.control))?,
        together("checks", CHECK, CHECKS)?,
        together("prunes", PRUNE, PRUNES)?,
    ])
}

/// Ends every pass.
pub fn stop(app: &App, stop: &Stop) {
    stop.raise();
    app.control.store.changes.news.close();
    app.control.leases.suspicion_news().close();
    app.bundles.news.close();
    app.control.updates.news.close();
}

/// Last work before the database is closed.
pub fn finish(control: &Control) {
    log_failure("lease-flush", control.leases.flush(&control.store).map(drop));
    log_failure("session-flush", sessions::flush(control));
}

fn log_failure<T>(pass: &'static str, result: Result<T>) -> Option<T> {
    result
        .inspect_err(|e| {
            log::error!(target: "system", event = "pass.failed", pass, error:% = Chain(e); "A background pass failed; \
                it runs again at its next turn");
        })
        .ok()
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
            control.leases.sweep(&control.store, SWEEP).map(drop).expect("lease-sweep");
            app.scheduler.turn(control).expect("scheduler");
            updates::turn(control).expect("updates");
            CHECKS.iter().chain(PRUNES).for_each(|(pass, work)| work(&app).expect(pass));
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
