//! Assets of the pages, embedded in the binary: style sheet, script and icon.

use crate::gate::Handler::Open;
use crate::gate::{Reply, Route, route};
use crate::http::{Request, Response};
use crate::upkeep::App;
use tiny_http::Method::Get;

/// The routes of this file. They are open because the sign-in page needs them.
pub const ROUTES: &[Route] = &[
    route(Get, "/static/style.css", Open(style)),
    route(Get, "/static/app.js", Open(script)),
    route(Get, "/favicon.ico", Open(icon)),
];

fn style(_: &App, _: &Request) -> Reply {
    Ok(asset("text/css; charset=utf-8", include_bytes!("../../assets/static/style.css")))
}

fn script(_: &App, _: &Request) -> Reply {
    Ok(asset("text/javascript; charset=utf-8", include_bytes!("../../assets/static/app.js")))
}

fn icon(_: &App, _: &Request) -> Reply {
    Ok(asset("image/svg+xml", include_bytes!("../../assets/static/favicon.svg")))
}

fn asset(kind: &'static str, bytes: &[u8]) -> Response {
    Response::bytes(200, kind, bytes.to_vec()).with("Cache-Control", "public, max-age=3600".into())
}
