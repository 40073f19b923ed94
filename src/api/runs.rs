//! `/etcd/snapshots`, which agents create and report on, and `/support-bundles`, which the control plane creates.

use super::{arg_id, body_at, condition, created, id_of, list as page_of, once, one, paging, read_id};
use crate::control::work::runs;
use crate::error::Error;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response, Sink};
use crate::model::ids::RunId;
use crate::model::runs::Kind::{self, Bundle, Snapshot};
use crate::model::runs::{NewRun, Report, RunStatus};
use crate::model::users::Role::{Admin, Operator, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use crate::upkeep::bundles;
use std::fs::File;
use std::io::{self, Read};
use tiny_http::Method::{self, Delete, Get, Patch, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/etcd/snapshots", By(Viewer, |c, r, _| list(c, r, Snapshot)))
        .gives(200, "[SnapshotRun]")
        .says("List etcd snapshots, newest first."),
    route(Post, "/etcd/snapshots", By(Operator, |c, r, u| create(c, r, u, Snapshot)))
        .gives(201, "SnapshotRun")
        .says("Request an etcd snapshot. An agent takes it and reports by PATCH.")
        .conflicts("A snapshot of this id exists."),
    route(Get, "/etcd/snapshots/{snapshot_id}", By(Viewer, |c, r, _| show(c, r, Snapshot)))
        .gives(200, "SnapshotRun")
        .says("Show an etcd snapshot."),
    route(Patch, "/etcd/snapshots/{snapshot_id}", By(Operator, |c, r, _| update(c, r, Snapshot)))
        .gives(200, "SnapshotRun")
        .says("Report the progress of an etcd snapshot.")
        .conflicts("The snapshot is finished, or is running and cannot be pending again."),
    route(Delete, "/etcd/snapshots/{snapshot_id}", By(Operator, |c, r, _| delete(c, r, Snapshot)))
        .gives(204, "")
        .says("Delete the record of a finished etcd snapshot.")
        .conflicts("The snapshot is pending or running."),
    route(Get, "/support-bundles", By(Viewer, |c, r, _| list(c, r, Bundle)))
        .gives(200, "[SupportBundle]")
        .says("List support bundles, newest first."),
    route(Post, "/support-bundles", By(Operator, |c, r, u| create(c, r, u, Bundle)))
        .gives(201, "SupportBundle")
        .says("Request a support bundle. The server creates it, unless an agent reports on it first.")
        .conflicts("A support bundle of this id exists."),
    route(Get, "/support-bundles/{bundle_id}", By(Viewer, |c, r, _| show(c, r, Bundle)))
        .gives(200, "SupportBundle")
        .says("Show a support bundle."),
    route(Patch, "/support-bundles/{bundle_id}", By(Operator, |c, r, _| update(c, r, Bundle)))
        .gives(200, "SupportBundle")
        .says("Report the progress of a support bundle that an agent creates.")
        .conflicts("The bundle is finished, or is running and cannot be pending again."),
    // A bundle contains more than an operator may read: users, tokens, the log.
    route(Get, "/support-bundles/{bundle_id}/download", By(Admin, download))
        .gives(200, "application/gzip")
        .says("Download a support bundle that the server created."),
    route(Delete, "/support-bundles/{bundle_id}", By(Operator, |c, r, _| delete(c, r, Bundle)))
        .gives(204, "")
        .says("Delete a finished support bundle and its file.")
        .conflicts("The bundle is pending or running."),
];

/// Size of the pieces in which a bundle is read and sent, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// The name of the id in the path.
fn name(kind: Kind) -> &'static str {
    match kind {
        Snapshot => "snapshot_id",
        Bundle => "bundle_id",
    }
}

fn list(app: &App, request: &Request, kind: Kind) -> Reply {
    let paging = paging(request)?;
    Ok(page_of(request, &paging, &runs::list(&app.control, kind, &paging)?))
}

fn show(app: &App, request: &Request, kind: Kind) -> Reply {
    Ok(one(request, &runs::show(&app.control, kind, &read_id(request, name(kind))?)?))
}

fn create(app: &App, request: &Request, user: &User, kind: Kind) -> Reply {
    let once = once(request, user)?;
    let mut f = Fields::of_optional_body(&request.body)?;
    let id = f.id("id").optional();
    let requested_by = f.printable("requested_by", 1..=128).optional();
    let with_values = kind == Bundle && f.flag("with_values").or(false);
    f.finish()?;
    if with_values && user.role < Admin {
        return Err(Error::Forbidden("Only an admin may request a bundle with values: it can contain secrets."));
    }
    let new = NewRun { id, requested_by, with_values };
    Ok(created(match kind {
        Snapshot => runs::create(&app.control, kind, once, new)?,
        Bundle => bundles::request(app, once, new)?,
    }))
}

fn update(app: &App, request: &Request, kind: Kind) -> Reply {
    let condition = condition(request);
    let mut f = body_at(request, name(kind))?;
    let report = Report {
        status: f.word("status", RunStatus::WORDS, RunStatus::parse).optional(),
        result: f.printable(kind.result_key(), 1..=1024).optional(),
        error: f.text("error", 1..=4096).optional(),
    };
    f.finish()?;
    Ok(one(request, &runs::update(&app.control, kind, arg_id(request)?, condition, report)?))
}

fn download(app: &App, request: &Request, _: &User) -> Reply {
    let id = id_of::<RunId>(request, name(Bundle))?;
    let fetched = bundles::fetch(&app.control, &id, request.method == Method::Head)?;
    // An id has no character that a quoted name could not contain, but some systems refuse a colon.
    let file_name = format!("uptimemesh-{}.tar.gz", id.as_str().replace(':', "_"));
    let stream = Box::new(move |sink: &mut dyn Sink| send(fetched.file, sink));
    Ok(Response::sized("application/gzip", fetched.bytes, stream)
        .with("Content-Disposition", format!("attachment; filename=\"{file_name}\"")))
}

fn send(mut file: File, sink: &mut dyn Sink) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(()),
            count => sink.send(&chunk[..count])?,
        }
    }
}

fn delete(app: &App, request: &Request, kind: Kind) -> Reply {
    let condition = condition(request);
    let id = id_of(request, name(kind))?;
    match kind {
        Snapshot => drop(runs::delete(&app.control, kind, id, condition)?),
        Bundle => bundles::delete(app, id, condition)?,
    }
    Ok(Response::empty(204))
}
