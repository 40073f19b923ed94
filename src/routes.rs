//! Every route of the program, in one list.

use crate::gate::{self, Handler, Route};
use crate::http::{Request, Response};
use crate::model::users::Role;
use crate::upkeep::App;
use crate::{api, openapi, ui};

/// Every route table.
pub const TABLES: &[&[Route]] = &[
    api::system::ROUTES,
    api::auth::ROUTES,
    api::sessions::ROUTES,
    api::users::ROUTES,
    api::api_tokens::ROUTES,
    api::nodes::ROUTES,
    api::node_runs::ROUTES,
    api::node_self::ROUTES,
    api::logs::ROUTES,
    api::node_relay::ROUTES,
    api::node_status::ROUTES,
    api::node_work::ROUTES,
    api::join_tokens::ROUTES,
    api::cluster::ROUTES,
    api::ca::ROUTES,
    api::backups::ROUTES,
    api::events::ROUTES,
    api::settings::ROUTES,
    api::services::ROUTES,
    api::replicas::ROUTES,
    api::endpoints::ROUTES,
    api::routers::ROUTES,
    api::runs::ROUTES,
    api::scheduler::ROUTES,
    api::status::ROUTES,
    api::updates::ROUTES,
    api::wireguard::ROUTES,
    openapi::ROUTES,
    ui::assets::ROUTES,
    ui::login::ROUTES,
    ui::theme::ROUTES,
    ui::overview::ROUTES,
    ui::nodes::ROUTES,
    ui::node_runs::ROUTES,
    ui::join_tokens::ROUTES,
    ui::services::ROUTES,
    ui::replicas::ROUTES,
    ui::scheduler::ROUTES,
    ui::events::ROUTES,
    ui::wireguard::ROUTES,
    ui::runs::ROUTES,
    ui::users::ROUTES,
    ui::api_tokens::ROUTES,
    ui::cluster_settings::ROUTES,
    ui::ca::ROUTES,
    ui::backups::ROUTES,
    ui::settings::ROUTES,
    ui::docs::ROUTES,
    ui::sessions::ROUTES,
];

/// Answers a request.
pub fn dispatch(app: &App, request: Request) -> Response {
    gate::dispatch(app, TABLES, ui::refused, request)
}

/// True if a base path collides with the beginning of one of our own paths.
pub fn has_beginning(base: &str) -> bool {
    gate::begins_like_ours(TABLES, base)
}

/// Every route: method, path pattern, allowed callers, and how calls are counted.
pub fn list() -> Vec<(String, &'static str, &'static str, &'static str)> {
    let access = |handler: &Handler| match handler {
        Handler::Open(_) => "open",
        Handler::By(Role::Viewer, _) => "viewer",
        Handler::By(Role::Operator, _) => "operator",
        Handler::By(Role::Admin, _) => "admin",
        Handler::ByNode(_) => "node",
        Handler::Checked(_) => "checked",
    };
    let line = |r: &Route| (r.method.to_string(), r.path, access(&r.handler.access), r.handler.meter.as_str());
    TABLES.iter().flat_map(|table| table.iter()).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_path_is_one_that_bundles_show() {
        for (_, path, ..) in list() {
            for part in path.split('/').filter(|part| !part.is_empty() && !part.starts_with('{')) {
                assert!(
                    crate::upkeep::bundles::is_path_word(part),
                    "{part} of {path}: add it to PATH_WORDS in upkeep/bundles/forms.rs"
                );
            }
        }
    }
}
