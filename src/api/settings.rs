//! `/cluster-settings`.

use super::{arg, body_at, condition, list as page_of, one, paging, read_id};
use crate::control::settings;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::Request;
use crate::model::users::Role::{Admin, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use tiny_http::Method::{Get, Put};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/cluster-settings", By(Viewer, list))
        .gives(200, "[ClusterSetting]")
        .says("List cluster settings. Secrets are never among them."),
    route(Get, "/cluster-settings/{key}", By(Viewer, show))
        .gives(200, "ClusterSetting")
        .says("Show a cluster setting."),
    route(Put, "/cluster-settings/{key}", By(Admin, put))
        .gives(200, "ClusterSetting")
        .says("Set a cluster setting. Keys that name a secret are refused (403)."),
];

fn list(app: &App, request: &Request, _: &User) -> Reply {
    let paging = paging(request)?;
    Ok(page_of(request, &paging, &settings::list(&app.control, &paging)?))
}

fn show(app: &App, request: &Request, _: &User) -> Reply {
    Ok(one(request, &settings::show(&app.control, &read_id::<String>(request, "key")?)?))
}

fn put(app: &App, request: &Request, user: &User) -> Reply {
    let mut f = body_at(request, "key")?;
    let value = f.text("value", 0..=4096).required();
    let condition = condition(request);
    f.finish()?;
    Ok(one(request, &settings::put(&app.control, arg(request).to_string(), condition, value, user.name.as_str())?))
}
