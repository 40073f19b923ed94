//! Support: etcd snapshots, which agents carry out and report on, and support bundles.

use super::actions::{Action, Actions, Button, no_effects, no_fields};
use super::{At, parts, run};
use crate::control::once::Once;
use crate::control::versions::Condition;
use crate::control::work::runs;
use crate::error::{Error, Result};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::model::Paging;
use crate::model::ids::{Id, RunId};
use crate::model::runs::{Kind, NewRun, Run};
use crate::model::users::Role::{Admin, Operator, Viewer};
use crate::upkeep::bundles;
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/support", By(Viewer, |c, r, u| run(c, r, u, show))),
    route(Post, "/ui/support/{kind}", By(Operator, |c, r, u| run(c, r, u, |at| REQUESTS.act(at)))),
    route(Post, "/ui/support/{kind}/{run_id}/delete", By(Operator, |c, r, u| run(c, r, u, |at| ACTIONS.act(at)))),
];

const PLACE: &str = "Support";
/// Path of this page.
const HERE: &str = "/ui/support";
/// Requests of each kind on the page.
const SHOWN_MAX: usize = 50;
const DONE: &[(&str, &str)] = &[
    (SNAPSHOTS, "Snapshot requested. It is taken when an agent picks up the request."),
    (BUNDLES, "Support bundle requested. The control plane is creating it."),
    ("delete", "Request deleted."),
];

/// Kinds of requests, with the words of this page and the equivalent command.
const KINDS: [(Kind, &str, &str, &str); 2] = [
    (Kind::Snapshot, SNAPSHOTS, "etcd snapshots", "uptimemesh snapshots --request"),
    (Kind::Bundle, BUNDLES, "Support bundles", "uptimemesh bundle create"),
];
const SNAPSHOTS: &str = "snapshots";
const BUNDLES: &str = "bundles";

fn show(at: &At) -> Reply {
    let mut sections = Vec::new();
    for (kind, word, title, command) in KINDS {
        let page = runs::list(at.control, kind, &Paging::first(SHOWN_MAX))?;
        let table = match page.items.is_empty() {
            true => parts::empty("None requested yet.", command),
            false => {
                let heads = parts::heads(&["Request", "State", "By", "Requested", "~Changed", "Result", "Action"]);
                parts::table(title, &heads, page.items.iter().map(|r| row(at, word, r)).collect())
            }
        };
        let request = REQUESTS.buttons(at, HERE, |action| action.word == word);
        let request = page!("buttons.html", buttons = &request);
        sections.push(parts::section(title, &Html::concat(vec![request, parts::live(word, &table)])));
    }
    let body = Html::concat(vec![
        page!("head.html", title = PLACE, actions = &Html::empty(), notice = &at.notice(DONE)),
        parts::hint(
            "A snapshot request stays pending until an agent picks it up and reports where the snapshot is. The \
                control plane creates support bundles; an admin can download them.",
        ),
        Html::concat(sections),
    ]);
    at.page(PLACE, PLACE, &body)
}

fn row(at: &At, word: &str, run: &Run) -> Vec<Html> {
    let result = match (&run.error, &run.result) {
        (Some(error), _) => parts::text(error),
        (None, _) if bundles::is_available(run) && at.may(Admin) => {
            parts::link(&format!("/support-bundles/{}/download", run.id), "Download")
        }
        // Downloads are links; everything else is a location on some machine.
        (None, Some(place)) if place.starts_with("https://") || place.starts_with("http://") => {
            parts::link(place, "Download")
        }
        (None, Some(place)) => parts::text(place),
        (None, None) => parts::text("none yet"),
    };
    vec![
        parts::text(run.id.as_str()),
        parts::state(run.status.as_str()),
        parts::text(run.requested_by.as_deref().unwrap_or("not recorded")),
        parts::time(run.created_at),
        parts::time(run.updated_at),
        result,
        ACTIONS.buttons(at, &parts::path(&format!("support/{word}"), &run.id), |_| run.status.is_finished()),
    ]
}

/// Requests of operators, by the word of their kind.
const REQUESTS: Actions = Actions {
    place: PLACE,
    role: Operator,
    word: |at| at.arg(0),
    object: |_| Ok((String::new(), HERE.to_string())),
    rows: &[
        Action {
            word: SNAPSHOTS,
            label: "Request a snapshot",
            button: Button::Acts(""),
            effects: no_effects,
            fields: no_fields,
            handler: |at| runs::create(at.control, Kind::Snapshot, Once::default(), asked_by(at)).map(drop),
            leads_to: None,
        },
        Action {
            word: BUNDLES,
            label: "Request a bundle",
            button: Button::Acts(""),
            effects: no_effects,
            fields: no_fields,
            handler: |at| bundles::request(at.app, Once::default(), asked_by(at)).map(drop),
            leads_to: None,
        },
    ],
};

/// A request by the user of the page.
fn asked_by(at: &At) -> NewRun {
    NewRun { requested_by: Some(at.user.name.to_string()), ..NewRun::default() }
}

/// Actions of operators on a request.
const ACTIONS: Actions = Actions {
    place: PLACE,
    role: Operator,
    word: |_| "delete",
    object: |_| Ok((String::new(), HERE.to_string())),
    rows: &[Action {
        word: "delete",
        label: "Delete",
        button: Button::Acts("quiet"),
        effects: no_effects,
        fields: no_fields,
        handler: delete,
        leads_to: None,
    }],
};

fn delete(at: &At) -> Result<()> {
    let named = KINDS.iter().find(|(_, word, ..)| *word == at.arg(0));
    let kind = named.ok_or_else(|| Error::not_found("Page"))?.0;
    let id = RunId::parse(at.arg(1)).ok_or_else(|| runs::missing(kind))?;
    match kind {
        Kind::Snapshot => runs::delete(at.control, kind, id, Condition::default()).map(drop),
        Kind::Bundle => bundles::delete(at.app, id, Condition::default()),
    }
}
