//! Backups: the list, the newest one's age, the last restore drill; creating, downloading and deleting.

use super::actions::{Action, Actions, Button, no_fields, sentences};
use super::{At, parts, run, settings};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::model::backups::Backup;
use crate::model::users::Role::{Admin, Viewer};
use crate::upkeep::backups;
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/settings/backups", By(Viewer, |c, r, u| run(c, r, u, show))),
    route(Get, "/ui/settings/backups/create", By(Admin, |c, r, u| run(c, r, u, |at| CREATION.ask(at)))),
    route(Post, "/ui/settings/backups/create", By(Admin, |c, r, u| run(c, r, u, |at| CREATION.act(at)))),
    route(Get, "/ui/settings/backups/{backup_id}/delete", By(Admin, |c, r, u| run(c, r, u, |at| ACTIONS.ask(at)))),
    route(Post, "/ui/settings/backups/{backup_id}/delete", By(Admin, |c, r, u| run(c, r, u, |at| ACTIONS.act(at)))),
];

const PLACE: &str = "Settings";
/// Path of this page.
const HERE: &str = "/ui/settings/backups";
/// Backups on the page.
const SHOWN_MAX: usize = 200;
const DONE: &[(&str, &str)] = &[("create", "Backup created."), ("delete", "Backup deleted.")];

fn show(at: &At) -> Reply {
    let config = &at.control.config;
    let all = backups::list(config)?;
    let table = match all.is_empty() {
        true => parts::empty(
            "No backups yet. The server creates one soon by itself. To create one now, run on its machine:",
            "uptimemesh backup create",
        ),
        false => {
            let heads = parts::heads(&["Backup", "Made", "~MB", "~Encrypted", "Action"]);
            parts::table("Backups", &heads, all.iter().take(SHOWN_MAX).map(|b| row(at, b)).collect())
        }
    };
    let drill = match backups::last_drill(config)? {
        None => parts::text("none yet"),
        Some(drill) => Html::concat(vec![
            parts::text(if drill.problem.is_some() { "failed " } else { "passed " }),
            parts::time(drill.at),
            parts::text(&format!(" with {}", drill.backup_id)),
        ]),
    };
    let well = backups::problem(at.app)?.map_or_else(|| parts::text("all is well"), |problem| parts::text(&problem));
    let facts = parts::facts(vec![
        ("Newest", parts::maybe_time(all.first().map(|b| b.created_at))),
        ("Last restore drill", drill),
        ("State", well),
        ("Directory", parts::text(&config.backup_dir.display().to_string())),
    ]);
    let actions = CREATION.buttons(at, HERE, |_| true);
    let body = Html::concat(vec![
        page!("head.html", title = "Backups", actions = &actions, notice = &at.notice(DONE)),
        settings::tabs(at),
        parts::live("backups", &Html::concat(vec![facts, table])),
        parts::hint(
            "A backup contains every key of the cluster. Protect an unencrypted one like the server's data directory, \
                and keep encrypted copies elsewhere.",
        ),
        parts::empty("Restore it on the machine that will be the control plane:", "uptimemesh backup restore FILE"),
    ]);
    at.page(PLACE, "Backups", &body)
}

fn row(at: &At, backup: &Backup) -> Vec<Html> {
    let id = crate::percent::encode(backup.id.as_str());
    let download = match at.may(Admin) && backup.encrypted {
        true => parts::link(&format!("/backups/{id}/download"), "Download"),
        false => Html::empty(),
    };
    vec![
        parts::text(backup.id.as_str()),
        parts::time(backup.created_at),
        parts::text(&format!("{:.1}", backup.bytes as f64 / 1e6)),
        parts::text(if backup.encrypted { "yes" } else { "no" }),
        Html::concat(vec![download, ACTIONS.buttons(at, &format!("{HERE}/{id}"), |_| true)]),
    ]
}

/// The action that creates a backup.
const CREATION: Actions = Actions {
    place: PLACE,
    role: Admin,
    word: |_| "create",
    object: |_| Ok((String::new(), HERE.to_string())),
    rows: &[Action {
        word: "create",
        label: "Create a backup",
        button: Button::Asks,
        effects: |at| {
            let how = match backups::passphrase(&at.control.config)? {
                Some(_) => "It is encrypted with the server's backup passphrase.",
                None => {
                    "It is not encrypted, because the server has no backup passphrase (BACKUP_PASSPHRASE_FILE). The \
                        file alone is enough to impersonate the control plane."
                }
            };
            sentences(&[
                "Database, authority and keys are copied as they are now. The cluster keeps working meanwhile.",
                how,
            ])
        },
        fields: no_fields,
        handler: |at| backups::create_on_request(at.control).map(drop),
        leads_to: None,
    }],
};

/// Actions of admins on a backup.
const ACTIONS: Actions = Actions {
    place: PLACE,
    role: Admin,
    word: |_| "delete",
    object: |at| Ok((backups::show(&at.control.config, &at.id(0, "Backup")?)?.id.to_string(), HERE.to_string())),
    rows: &[Action {
        word: "delete",
        label: "Delete",
        button: Button::Warns,
        effects: |_| {
            sentences(&["The cluster can no longer be restored to that moment, unless the file was copied elsewhere."])
        },
        fields: no_fields,
        handler: |at| backups::delete(at.control, &at.id(0, "Backup")?),
        leads_to: None,
    }],
};
