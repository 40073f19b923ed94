//! Support bundles: one archive with everything that a helper needs, and without secrets.
//!
//! A request is a row that is `pending`. The pass `bundles` takes the oldest: in one transaction the row becomes
//! `running` and gets the path of the future file. This path distinguishes our rows from those that an agent has taken,
//! which are left alone. The file is written beside its place, flushed and renamed before the row becomes `completed`,
//! so a crash leaves a row that the next start fails, and perhaps a file that it removes, but never half a bundle for
//! download.

mod archive;
mod content;
mod forms;
mod redact;
mod shape;

#[cfg(test)]
pub use forms::is_path_word;

use super::App;
use crate::clock;
use crate::control::Control;
use crate::control::once::{Created, Once};
use crate::control::versions::Condition;
use crate::control::work::runs as requests;
use crate::error::{Chain, Doing, Error, Result};
use crate::files;
use crate::model::events::catalogue::{
    SUPPORT_BUNDLE_COMPLETED, SUPPORT_BUNDLE_DOWNLOAD, SUPPORT_BUNDLE_FAILED, SUPPORT_BUNDLE_PRUNED,
    SUPPORT_BUNDLE_RUNNING,
};
use crate::model::ids::{Id, RunId};
use crate::model::runs::{Kind, NewRun, Run, RunStatus};
use crate::store::{Write, events, runs};
use crate::thread::{Watch, lock};
use serde_json::json;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Directory of the bundles, in the data directory.
const DIR: &str = "support-bundles";
/// Number of bundles to keep; older ones are removed, row and file, when another is created. Operators fetch theirs
/// within the day, and a small disk can hold this many of the largest size.
const KEPT_MAX: usize = 5;
/// Seconds to keep a bundle: its contents are outdated by then.
const KEPT_S: i64 = 14 * 86_400;
/// Interval between searches for old bundles.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// Maximum number of `running` rows to examine together: one of ours, and those of agents, which agents end.
const RUNNING_MAX: usize = 10_000;
/// Error of a bundle that a crash interrupted.
const INTERRUPTED: &str = "The control plane ended, or could not write to its database, while this bundle was being \
    created; request another.";

/// State of the pass between its turns.
pub struct Bundles {
    state: Mutex<State>,
    /// Set after each request.
    pub news: Watch<()>,
    /// Held while files are changed together with their rows.
    files: Mutex<()>,
}

struct State {
    /// True if a row may be pending.
    wanted: bool,
    /// True once the leftovers of a crash are removed.
    cleared: bool,
    /// Time of the next search for old bundles.
    prune_at: Instant,
}

impl Default for Bundles {
    fn default() -> Bundles {
        // Requests that were pending at the last stop are still wanted.
        let state = State { wanted: true, cleared: false, prune_at: clock::tick() };
        Bundles { state: Mutex::new(state), news: Watch::new(()), files: Mutex::default() }
    }
}

/// Records a request for a bundle, and has it created.
///
/// # Errors
/// As [`requests::create`].
pub fn request(app: &App, once: Once, new: NewRun) -> Result<Created> {
    let created = requests::create(&app.control, Kind::Bundle, once, new)?;
    lock(&app.bundles.state).wanted = true;
    app.bundles.news.set(());
    Ok(created)
}

/// Deletes a finished request, and the file that was created for it.
///
/// # Errors
/// As [`requests::delete`].
pub fn delete(app: &App, id: RunId, condition: Condition) -> Result<()> {
    let gone = requests::delete(&app.control, Kind::Bundle, id, condition)?;
    discard(app, &gone);
    Ok(())
}

/// Path of a bundle of ours, relative to the data directory. An id is a valid file name: it begins with a letter or
/// digit and has no slash.
fn path_of(id: &RunId) -> String {
    format!("{DIR}/{id}.tar.gz")
}

/// True if the control plane itself creates or created it.
fn is_ours(run: &Run) -> bool {
    run.kind == Kind::Bundle && run.result.as_deref() == Some(&path_of(&run.id))
}

fn place(control: &Control, id: &RunId) -> PathBuf {
    control.config.data_dir.join(path_of(id))
}

/// A bundle for download.
pub struct Fetched {
    /// Its file, at the first byte.
    pub file: File,
    /// Its size in bytes.
    pub bytes: u64,
}

/// True if a bundle can be downloaded from here.
pub fn is_available(run: &Run) -> bool {
    run.status == RunStatus::Completed && is_ours(run)
}

/// Opens a bundle for a download, and records the caller.
pub fn fetch(control: &Control, id: &RunId, only_asks: bool) -> Result<Fetched> {
    let run =
        control.store.read(|r| runs::by_id(r, Kind::Bundle, id))?.ok_or_else(|| requests::missing(Kind::Bundle))?;
    if !is_available(&run) {
        return Err(Error::NotFound(match run.status {
            RunStatus::Completed => {
                "This bundle was made by an agent and is not kept here; its path says where it is.".to_string()
            }
            status => format!("This bundle cannot be fetched: it is {}.", status.as_str()),
        }));
    }
    let opened = File::open(place(control, id)).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (bytes, file) = opened.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => {
            Error::NotFound("The file of this bundle no longer exists on the control plane; request another.".into())
        }
        _ => Error::Unavailable(format!("The bundle cannot be read: {e}.")),
    })?;
    if !only_asks {
        let fetched = SUPPORT_BUNDLE_DOWNLOAD.with(json!({"bundle_id": id, "bytes": bytes}));
        control.store.write(move |w| events::record(w, fetched).map(drop))?;
    }
    Ok(Fetched { file, bytes })
}

/// Removes the file of a bundle whose row is gone.
fn discard(app: &App, run: &Run) {
    let control = &app.control;
    if is_ours(run) {
        let _one = lock(&app.bundles.files);
        // A bundle with the same id may have been requested and created since.
        let again = control.store.read(|r| runs::by_id(r, Kind::Bundle, &run.id));
        if again.is_ok_and(|again| again.is_none()) {
            remove(&place(control, &run.id));
        }
    }
}

fn remove(path: &std::path::Path) {
    if let Err(e) = fs::remove_file(path)
        && e.kind() != io::ErrorKind::NotFound
    {
        log::warn!(target: "system", event = "support_bundle.not_removed", path:% = path.display(), error:% = e;
            "Could not remove the file of a deleted support bundle; the next start retries");
    }
}

/// Creates the next bundle, if one is requested. Returns the time until the next turn, unless one is requested before.
pub fn turn(app: &App) -> Result<Duration> {
    let now = clock::tick();
    let (wanted, cleared, prune) = {
        let mut state = lock(&app.bundles.state);
        let prune = now >= state.prune_at;
        if prune {
            state.prune_at = now + PRUNE_EVERY;
        }
        // Cleared before the work: requests from now on are seen at the next turn. A turn that ends early, by an error
        // or a panic, leaves what a crash would leave.
        let cleared = std::mem::take(&mut state.cleared);
        (std::mem::take(&mut state.wanted) || !cleared, cleared, prune)
    };
    let more = work(app, wanted, cleared, prune)?;
    let mut state = lock(&app.bundles.state);
    state.cleared = true;
    state.wanted |= more;
    Ok(if more { Duration::ZERO } else { PRUNE_EVERY })
}

/// Work of one turn. Returns true if there may be more.
fn work(app: &App, wanted: bool, cleared: bool, prune: bool) -> Result<bool> {
    if !cleared {
        clear(app)?;
    }
    let made = wanted && next(app)?;
    if prune || made {
        forget_old(app)?;
    }
    Ok(made)
}

/// Fails the bundle that was interrupted when the control plane stopped, and removes files without a row.
fn clear(app: &App) -> Result<()> {
    let control = &app.control;
    let interrupted: Vec<Run> = control
        .store
        .read(|r| runs::of_status(r, Kind::Bundle, RunStatus::Running, RUNNING_MAX))?
        .into_iter()
        .filter(is_ours)
        .collect();
    for run in interrupted {
        end(app, &run.id, Err(INTERRUPTED.to_string()))?;
    }
    let _one = lock(&app.bundles.files);
    for (path, run) in files_with_rows(control)? {
        if !run.is_some_and(|run| is_available(&run)) {
            remove(&path);
        }
    }
    Ok(())
}

/// The files in the bundle directory, each with its row.
fn files_with_rows(control: &Control) -> Result<Vec<(PathBuf, Option<Run>)>> {
    let doing = "list the support bundles";
    let entries = match fs::read_dir(control.config.data_dir.join(DIR)) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>().doing(doing)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e).doing(doing),
    };
    let with_row = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".tar.gz")).and_then(RunId::parse);
        let run = id.map(|id| control.store.read(|r| runs::by_id(r, Kind::Bundle, &id))).transpose()?.flatten();
        Ok((entry.path(), run))
    };
    entries.into_iter().map(with_row).collect()
}

/// Takes the oldest pending request and carries it out. Returns true if there was one.
fn next(app: &App) -> Result<bool> {
    let taken = app.control.store.write(|w| {
        let Some(mut run) = runs::of_status(w, Kind::Bundle, RunStatus::Pending, 1)?.pop() else { return Ok(None) };
        run.status = RunStatus::Running;
        run.result = Some(path_of(&run.id));
        runs::update(w, &run)?;
        events::record(w, SUPPORT_BUNDLE_RUNNING.with(json!({"bundle_id": run.id, "path": run.result})))?;
        Ok(Some(run))
    })?;
    let Some(run) = taken else { return Ok(false) };
    let made = write(app, &run).map_err(|e| why(&e));
    if let Err(why) = &made {
        log::error!(target: "system", event = "support_bundle.failed", bundle_id = run.id, error = why;
            "Could not create a support bundle");
    }
    end(app, &run.id, made)?;
    Ok(true)
}

/// Writes the file beside its place, completely and flushed.
fn write(app: &App, run: &Run) -> Result<()> {
    let control = &app.control;
    files::private_dir(&control.config.data_dir.join(DIR))?;
    let beside = files::beside(&place(control, &run.id));
    let result = content::write(app, run, &beside);
    if result.is_err() {
        remove(&beside);
    }
    result
}

/// Reason of a failure, as a sentence for the requesting user.
fn why(e: &Error) -> String {
    let is_full = |e: &io::Error| matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    match matches!(e, Error::Fault(fault) if fault.source.downcast_ref::<io::Error>().is_some_and(is_full)) {
        true => "The disk of the control plane is full: free some space in its data directory, then request another."
            .to_string(),
        false => format!("It could not be made: {}.", Chain(e)),
    }
}

/// Moves the file into its place and ends the row, unless another process took over or deleted the row meanwhile.
fn end(app: &App, id: &RunId, made: std::result::Result<(), String>) -> Result<()> {
    let control = &app.control;
    let _one = lock(&app.bundles.files);
    let (path, whole) = (place(control, id), made.is_ok());
    if whole && files::beside(&path).exists() {
        files::rename(&files::beside(&path), &path)?;
    }
    let (id, error) = (id.clone(), made.err());
    let ours = control.store.write(move |w| finish(w, &id, error))?;
    if !(whole && ours) {
        remove(&path);
        remove(&files::beside(&path));
    }
    Ok(())
}

/// Ends the row. Returns true if it was still ours.
fn finish(w: &Write, id: &RunId, error: Option<String>) -> Result<bool> {
    let Some(mut run) = runs::by_id(w, Kind::Bundle, id)? else { return Ok(false) };
    if !(is_ours(&run) && run.status == RunStatus::Running) {
        return Ok(is_ours(&run) && run.status == RunStatus::Completed);
    }
    run.status = if error.is_some() { RunStatus::Failed } else { RunStatus::Completed };
    if error.is_some() {
        run.result = None;
    }
    run.error = error;
    runs::update(w, &run)?;
    let event = match &run.error {
        Some(error) => SUPPORT_BUNDLE_FAILED.with(json!({"bundle_id": id, "error": error})),
        None => SUPPORT_BUNDLE_COMPLETED.with(json!({"bundle_id": id, "path": run.result})),
    };
    events::record(w, event)?;
    Ok(true)
}

/// Removes bundles of ours that are old or too many, row and file.
fn forget_old(app: &App) -> Result<()> {
    let control = &app.control;
    let mut kept: Vec<Run> =
        files_with_rows(control)?.into_iter().filter_map(|(_, run)| run).filter(is_available).collect();
    kept.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    let before = clock::now().plus_secs(-KEPT_S);
    let surplus = kept.len().saturating_sub(KEPT_MAX);
    for run in
        kept.into_iter().enumerate().filter(|(i, run)| *i < surplus || run.created_at < before).map(|(_, run)| run)
    {
        let id = run.id.clone();
        control.store.write(move |w| {
            runs::delete(w, Kind::Bundle, &id)?;
            events::record(w, SUPPORT_BUNDLE_PRUNED.with(json!({"bundle_id": id, "kept": KEPT_MAX}))).map(drop)
        })?;
        discard(app, &run);
    }
    Ok(())
}
