//! Cluster settings: those that the server reads, with their meaning, and custom ones.

use super::{At, Page as Shown, back_to, field, notice, parts, run, settings as tabs};
use crate::control::settings;
use crate::control::versions::Condition;
use crate::error::{Error, Result};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::http::fields::Fields;
use crate::model::Paging;
use crate::model::settings::ClusterSetting;
use crate::model::users::Role::{Admin, Viewer};
use serde_json::json;
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/settings/cluster", By(Viewer, |c, r, u| run(c, r, u, show))),
    route(Post, "/ui/settings/cluster", By(Admin, |c, r, u| run(c, r, u, put))),
];

const PLACE: &str = "Settings";
/// Settings on the page.
const SHOWN_MAX: usize = 500;
const DONE: &[(&str, &str)] = &[("put", "Setting saved.")];

/// Meanings of the settings that the server reads.
const MEANINGS: &[(&str, &str)] = &[
    ("backup_drill_interval_seconds", "Seconds between restore drills of the newest scheduled backup; 0 for none."),
    ("backup_interval_seconds", "Seconds between scheduled backups; 0 for none."),
    ("backup_keep", "Scheduled backups to keep. Backups created on request stay until they are deleted."),
    ("cluster_bootstrapped", "True once the first join tokens exist. Maintained by the server."),
    ("cluster_bootstrapped_at", "Time of the first join tokens. Maintained by the server."),
    (
        "etcd_status",
        "State of etcd, set by its operator. While it is down, unavailable or stale, only heartbeats, sign-ins and \
            changes of these settings are accepted.",
    ),
    ("events_retention_days", "Days to keep events."),
    ("events_retention_rows", "Maximum number of events to keep."),
    (
        "idempotency_bytes_max",
        "Maximum size of the answers kept for a day for requests with an Idempotency-Key, in bytes. When it is used \
            up, such requests get 429.",
    ),
    (
        "node_dead_after_seconds",
        "Seconds from the end of a node's lease until the stale node is dead and its replicas move. Version 1 had 60.",
    ),
    (
        "node_forget_after_days",
        "Days after its last heartbeat until a dead node is deleted, unless replicas or router assignments name it; 0 \
            for never.",
    ),
    ("nodes_max", "Maximum number of nodes. Beyond it no node can be created or join."),
    ("scheduler_brake", "Stops the scheduler while most nodes are silent together. Off lets it continue."),
    ("scheduler_mode", "Mode of the scheduler."),
    (
        "service_revisions_bytes_max",
        "Maximum size of the revisions kept per service, in bytes. The oldest are deleted first, the current one \
            never.",
    ),
];

fn show(at: &At) -> Reply {
    page_of(at, 200, &at.notice(DONE))
}

fn page_of(at: &At, status: u16, above: &Html) -> Reply {
    let found = settings::list(at.control, &Paging::first(SHOWN_MAX))?;
    let row = |setting: &ClusterSetting| {
        let meaning =
            MEANINGS.iter().find(|(key, _)| *key == setting.key).map_or("Custom setting.", |(_, meaning)| meaning);
        let allowed = settings::allowed(&setting.key).unwrap_or_default();
        let value = match (at.may(Admin), settings::words(&setting.key)) {
            (true, Some(words)) => {
                // Any other value counts as the default.
                let said = setting.value.trim().to_lowercase();
                let chosen = words.iter().find(|w| **w == said).or(words.first()).copied().unwrap_or_default();
                page!(
                    "setting_words.html",
                    csrf = &at.csrf(),
                    key = &setting.key,
                    options = &parts::options_words(words, chosen)
                )
            }
            (true, None) => page!("setting_value.html", csrf = &at.csrf(), key = &setting.key, value = &setting.value),
            (false, _) => parts::text(&setting.value),
        };
        Html::concat(vec![
            page!("setting_key.html", key = &setting.key),
            parts::hint(&format!("{meaning} {allowed}")),
            value,
            page!(
                "p.html",
                class = "hint",
                body = &Html::concat(vec![parts::text("Changed "), parts::time(setting.updated_at)])
            ),
        ])
    };
    let new = if at.may(Admin) { page!("setting_new.html", csrf = &at.csrf()) } else { Html::empty() };
    let body = Html::concat(vec![
        page!("head.html", title = "Cluster settings", actions = &Html::empty(), notice = above),
        tabs::tabs(at),
        parts::list(found.items.iter().map(row).collect()),
        new,
    ]);
    at.framed(Shown { status, place: PLACE, title: "Cluster settings", head: Html::empty(), body: &body })
}

fn put(at: &At) -> Reply {
    match written(at) {
        Ok(()) => Ok(back_to("/ui/settings/cluster", "put")),
        Err(e @ Error::Fault(_)) => Err(e),
        Err(e) => page_of(at, e.status(), &notice("bad", &e.detail())),
    }
}

fn written(at: &At) -> Result<()> {
    let form = at.form();
    let body = json!({ "key": field(&form, "key"), "value": field(&form, "value") }).to_string();
    let mut f = Fields::of_body(body.as_bytes())?;
    let key = f.id("key").required();
    let value = f.text("value", 0..=4096).required();
    f.finish()?;
    settings::put(at.control, key, Condition::default(), value, at.by()).map(drop)
}
