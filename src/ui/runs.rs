//! Support: etcd snapshots, which agents carry out and report on, and support bundles.

use super::{At, back_to, parts, run};
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
    route(Post, "/ui/support/{kind}", By(Operator, |c, r, u| run(c, r, u, request))),
    route(Post, "/ui/support/{kind}/{run_id}/delete", By(Operator, |c, r, u| run(c, r, u, delete))),
];

const PLACE: &str = "Support";
/// Requests of each kind on the page.
const SHOWN_MAX: usize = 50;
const DONE: &[(&str, &str)] = &[
    ("snapshots", "Snapshot requested. It is taken when an agent picks up the request."),
    ("bundles", "Support bundle requested. The control plane is creating it."),
    ("deleted", "Request deleted."),
];

/// Kinds of requests, with the words of this page and the equivalent command.
const KINDS: [(Kind, &str, &str, &str, &str); 2] = [
    (Kind::Snapshot, "snapshots", "etcd snapshots", "Request a snapshot", "uptimemesh snapshots --request"),
    (Kind::Bundle, "bundles", "Support bundles", "Request a bundle", "uptimemesh bundle create"),
];

fn show(at: &At) -> Reply {
    let mut sections = Vec::new();
    for (kind, word, title, button, command) in KINDS {
        let page = runs::list(at.control, kind, &Paging::first(SHOWN_MAX))?;
        let table = match page.items.is_empty() {
            true => parts::empty("None requested yet.", command),
            false => {
                let heads = parts::heads(&["Request", "State", "By", "Requested", "~Changed", "Result", "Action"]);
                parts::table(title, &heads, page.items.iter().map(|r| row(at, word, r)).collect())
            }
        };
        let request = match at.may(Operator) {
            true => page!("run_request.html", word = word, csrf = &at.csrf(), button = button),
            false => Html::empty(),
        };
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
    let delete = match run.status.is_finished() && at.may(Operator) {
        true => page!("run_delete.html", word = word, id = run.id.as_str(), csrf = &at.csrf()),
        false => Html::empty(),
    };
    vec![
        parts::text(run.id.as_str()),
        parts::state(run.status.as_str()),
        parts::text(run.requested_by.as_deref().unwrap_or("not recorded")),
        parts::time(run.created_at),
        parts::time(run.updated_at),
        result,
        delete,
    ]
}

fn kind(at: &At) -> Result<(Kind, &'static str)> {
    KINDS
        .iter()
        .find(|(_, word, ..)| *word == at.arg(0))
        .map(|(kind, word, ..)| (*kind, *word))
        .ok_or_else(|| Error::not_found("Page"))
}

fn request(at: &At) -> Reply {
    let (kind, word) = kind(at)?;
    let new = NewRun { requested_by: Some(at.user.name.to_string()), ..NewRun::default() };
    match kind {
        Kind::Snapshot => runs::create(at.control, kind, Once::default(), new)?,
        Kind::Bundle => bundles::request(at.app, Once::default(), new)?,
    };
    Ok(back_to("/ui/support", word))
}

fn delete(at: &At) -> Reply {
    let (kind, _) = kind(at)?;
    let id = RunId::parse(at.arg(1)).ok_or_else(|| runs::missing(kind))?;
    match kind {
        Kind::Snapshot => drop(runs::delete(at.control, kind, id, Condition::default())?),
        Kind::Bundle => bundles::delete(at.app, id, Condition::default())?,
    }
    Ok(back_to("/ui/support", "deleted"))
}
