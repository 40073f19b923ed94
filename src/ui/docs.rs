//! The documentation.

use super::{At, markdown, parts, run};
use crate::docs::{TOPICS, Topic, topic};
use crate::error::Error;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::model::users::Role::Viewer;
use tiny_http::Method::Get;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/docs", By(Viewer, |app, r, u| run(app, r, u, list))),
    route(Get, "/ui/docs/{topic}", By(Viewer, |app, r, u| run(app, r, u, show))),
];

const PLACE: &str = "Docs";

fn list(at: &At) -> Reply {
    let link = |topic: &Topic| parts::link(&format!("/ui/docs/{}", topic.name), topic.title());
    let body = Html::concat(vec![
        page!("head.html", title = PLACE, actions = &Html::empty(), notice = &Html::empty()),
        parts::hint("The same texts are on the command line: uptimemesh docs TOPIC."),
        parts::list(TOPICS.iter().map(link).collect()),
    ]);
    at.page(PLACE, PLACE, &body)
}

fn show(at: &At) -> Reply {
    let topic = topic(at.arg(0)).ok_or_else(|| Error::not_found("Page"))?;
    at.page(PLACE, topic.title(), &markdown::html(topic.text))
}
