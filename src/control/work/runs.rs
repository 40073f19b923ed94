//! Requests for etcd snapshots, which agents carry out and report on, and for support bundles, which `bundles` carries
//! out unless an agent has taken one.

use crate::control::once::{Created, Once};
use crate::control::versions::{Condition, Versioned};
use crate::control::{Control, guard};
use crate::crypto;
use crate::error::{Error, Result};
use crate::model::events::catalogue::{
    self, SNAPSHOT_COMPLETED, SNAPSHOT_DELETED, SNAPSHOT_FAILED, SNAPSHOT_REQUESTED, SNAPSHOT_RUNNING,
    SUPPORT_BUNDLE_COMPLETED, SUPPORT_BUNDLE_DELETED, SUPPORT_BUNDLE_FAILED, SUPPORT_BUNDLE_REQUESTED,
    SUPPORT_BUNDLE_RUNNING,
};
use crate::model::ids::RunId;
use crate::model::runs::{Kind, NewRun, Report, Run, RunStatus};
use crate::model::{Page, Paging};
use crate::store::{events, runs};
use serde_json::json;

/// A kind's names for clients.
struct Words {
    what: &'static str,
    id: &'static str,
    prefix: &'static str,
}

fn words(kind: Kind) -> Words {
    match kind {
        Kind::Snapshot => Words { what: "Snapshot", id: "snapshot_id", prefix: "snap" },
        Kind::Bundle => Words { what: "Support bundle", id: "bundle_id", prefix: "bundle" },
    }
}

/// The event of a request that changes to this status.
fn event_of(kind: Kind, status: RunStatus) -> catalogue::Kind {
    match (kind, status) {
        (Kind::Snapshot, RunStatus::Pending) => SNAPSHOT_REQUESTED,
        (Kind::Snapshot, RunStatus::Running) => SNAPSHOT_RUNNING,
        (Kind::Snapshot, RunStatus::Completed) => SNAPSHOT_COMPLETED,
        (Kind::Snapshot, RunStatus::Failed) => SNAPSHOT_FAILED,
        (Kind::Bundle, RunStatus::Pending) => SUPPORT_BUNDLE_REQUESTED,
        (Kind::Bundle, RunStatus::Running) => SUPPORT_BUNDLE_RUNNING,
        (Kind::Bundle, RunStatus::Completed) => SUPPORT_BUNDLE_COMPLETED,
        (Kind::Bundle, RunStatus::Failed) => SUPPORT_BUNDLE_FAILED,
    }
}

/// A page of requests, newest first.
pub fn list(control: &Control, kind: Kind, paging: &Paging) -> Result<Page<Run>> {
    control.store.read(|r| runs::page(r, kind, paging))
}

/// One request.
pub fn show(control: &Control, kind: Kind, id: &RunId) -> Result<Versioned<Run>> {
    Versioned::of(control.store.read(|r| runs::by_id(r, kind, id))?.ok_or_else(|| missing(kind))?)
}

/// Creates a request.
pub fn create(control: &Control, kind: Kind, once: Once, new: NewRun) -> Result<Created> {
    control.store.write(move |w| {
        guard::check(w)?;
        once.create(w, |w| {
            let id = new
                .id
                .clone()
                .unwrap_or_else(|| RunId::of_row(format!("{}-{}", words(kind).prefix, crypto::random_hex(8))));
            if runs::by_id(w, kind, &id)?.is_some() {
                return Err(Error::Conflict(format!("{} id already exists", words(kind).what)));
            }
            runs::insert(w, kind, &id, &new)?;
            let fields = json!({words(kind).id: id, "requested_by": new.requested_by});
            events::record(w, event_of(kind, RunStatus::Pending).with(fields))?;
            runs::by_id(w, kind, &id)?.ok_or_else(|| missing(kind))
        })
    })
}

/// Applies a progress report. A finished request stays finished.
pub fn update(
    control: &Control,
    kind: Kind,
    id: RunId,
    condition: Condition,
    report: Report,
) -> Result<Versioned<Run>> {
    if report.is_empty() {
        control.store.read(guard::check)?;
        return condition.unchanged(show(control, kind, &id)?);
    }
    control.store.write(move |w| {
        guard::check(w)?;
        let mut run = runs::by_id(w, kind, &id)?.ok_or_else(|| missing(kind))?;
        condition.check(&run)?;
        if run.status.is_finished() {
            return Err(Error::Conflict(format!("It is already {}.", run.status.as_str())));
        }
        let before = run.status;
        run.status = report.status.unwrap_or(run.status);
        if before == RunStatus::Running && run.status == RunStatus::Pending {
            return Err(Error::Conflict("It is already running.".to_string()));
        }
        run.result = report.result.or(run.result);
        run.error = report.error.or(run.error);
        runs::update(w, &run)?;
        run.updated_at = w.now;
        if run.status != before {
            let fields = json!({words(kind).id: id, kind.result_key(): run.result});
            events::record(w, event_of(kind, run.status).with(fields))?;
        }
        Versioned::of(run)
    })
}

/// Deletes a finished request.
pub fn delete(control: &Control, kind: Kind, id: RunId, condition: Condition) -> Result<Run> {
    control.store.write(move |w| {
        guard::check(w)?;
        let run = runs::by_id(w, kind, &id)?.ok_or_else(|| missing(kind))?;
        condition.check(&run)?;
        if !run.status.is_finished() {
            return Err(Error::Conflict(format!(
                "It is {}: only completed or failed ones can be deleted.",
                run.status.as_str()
            )));
        }
        runs::delete(w, kind, &id)?;
        let deleted = match kind {
            Kind::Snapshot => SNAPSHOT_DELETED,
            Kind::Bundle => SUPPORT_BUNDLE_DELETED,
        };
        events::record(w, deleted.with(json!({words(kind).id: id, "status": run.status.as_str()})))?;
        Ok(run)
    })
}

pub fn missing(kind: Kind) -> Error {
    Error::not_found(words(kind).what)
}
