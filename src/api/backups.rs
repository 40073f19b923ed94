//! `/backups`: backups on the control plane's machine.

use super::{id_of, list as page_of, no_fields, paging};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::{Request, Response};
use crate::model::Page;
use crate::model::users::Role::{Admin, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use crate::upkeep::backups;
use std::io::Read;
use tiny_http::Method::{self, Delete, Get, Post};

/// Size of the pieces in which a backup is sent, in bytes.
const SENT_BYTES: usize = 64 << 10;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/backups", By(Viewer, list)).gives(200, "[Backup]").says("List backups, newest first."),
    route(Post, "/backups", By(Admin, create))
        .gives(201, "Backup")
        .says("Create a backup now. Answers when it is complete.")
        .conflicts("Another backup is being created or verified: try again later.")
        .expensive(),
    route(Get, "/backups/{backup_id}", By(Viewer, show)).gives(200, "Backup").says("Show a backup."),
    route(Get, "/backups/{backup_id}/download", By(Admin, download))
        .gives(200, "application/octet-stream")
        .says("Download an encrypted backup. One without encryption never leaves the machine (403)."),
    route(Delete, "/backups/{backup_id}", By(Admin, delete)).gives(204, "").says("Delete a backup."),
];

fn list(app: &App, request: &Request, _: &User) -> Reply {
    let paging = paging(request)?;
    let all = backups::list(&app.control.config)?;
    let total = all.len() as u64;
    let begin = paging
        .after
        .as_ref()
        .map_or(0, |after| all.iter().position(|b| b.id == after.as_str()).map_or(all.len(), |at| at + 1));
    let items = all.into_iter().skip(begin).take(paging.limit + 1).collect();
    Ok(page_of(request, &paging, &Page::cut(items, paging.limit, total, |b| b.id.as_str())))
}

fn create(app: &App, request: &Request, _: &User) -> Reply {
    no_fields(request)?;
    Ok(Response::json(201, &backups::create_on_request(&app.control)?))
}

fn show(app: &App, request: &Request, _: &User) -> Reply {
    Ok(Response::json(200, &backups::show(&app.control.config, &id_of(request, "backup_id")?)?))
}

fn delete(app: &App, request: &Request, _: &User) -> Reply {
    backups::delete(&app.control, &id_of(request, "backup_id")?)?;
    Ok(Response::empty(204))
}

fn download(app: &App, request: &Request, _: &User) -> Reply {
    let (backup, mut file) =
        backups::download(&app.control, &id_of(request, "backup_id")?, request.method == Method::Head)?;
    let stream = Box::new(move |sink: &mut dyn crate::http::response::Sink| {
        let mut buffer = vec![0; SENT_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                count => sink.send(&buffer[..count])?,
            }
        }
    });
    let name = format!("attachment; filename=\"{}.umbackup\"", backup.id);
    Ok(Response::sized("application/octet-stream", backup.bytes, stream).with("Content-Disposition", name))
}
