//! `/updates`: updates of the fleet, one ring at a time.

use super::{created, id_of, list as page_of, once, one, paging, read_id};
use crate::control::fleet::updates;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::ids::UpdateId;
use crate::model::release::Version;
use crate::model::updates::{NewUpdate, is_channel};
use crate::model::users::Role::{Admin, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use serde_json::json;
use std::ops::RangeInclusive;
use tiny_http::Method::{Get, Post};

/// Seconds between rings: none to a week.
const WAIT_S: RangeInclusive<i64> = 0..=604_800;
/// Default number of seconds between rings.
const WAIT_S_DEFAULT: i64 = 600;
/// Number of nodes that may fail: up to the size of the largest fleet.
const LOST: RangeInclusive<i64> = 0..=100_000;

/// Maximum length of an id, in bytes: the id plus the number of an attempt is the id of the nodes' request.
const ID_BYTES_MAX: usize = 40;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/updates", By(Viewer, list)).gives(200, "[Update]").says("List fleet updates, newest first."),
    route(Post, "/updates", By(Admin, create))
        .gives(201, "Update")
        .says("Update the fleet, one ring at a time.")
        .conflicts("An update of this id exists, another one is not finished, or a ring has no living node."),
    route(Get, "/updates/{update_id}", By(Viewer, show)).gives(200, "Update").says("Show a fleet update."),
    route(Post, "/updates/{update_id}/pause", By(Admin, pause))
        .gives(200, "Update")
        .says("Pause a fleet update. No further node is updated until it is resumed.")
        .conflicts("The update is not running."),
    route(Post, "/updates/{update_id}/resume", By(Admin, resume))
        .gives(200, "Update")
        .says("Resume a paused or halted fleet update. Nodes that failed try again.")
        .conflicts("The update is neither paused nor halted."),
    route(Post, "/updates/{update_id}/cancel", By(Admin, cancel))
        .gives(200, "Update")
        .says("Cancel a fleet update. Updated nodes keep the new version.")
        .conflicts("The update is finished."),
];

fn list(app: &App, request: &Request, _: &User) -> Reply {
    let paging = paging(request)?;
    Ok(page_of(request, &paging, &updates::list(&app.control, &paging)?))
}

fn create(app: &App, request: &Request, user: &User) -> Reply {
    let once = once(request, user)?;
    let mut f = Fields::of_body(&request.body)?;
    let new = NewUpdate {
        id: f.id::<UpdateId>("id").optional(),
        channel: f.text("channel", 1..=32).or("stable".to_string()),
        version: f.text("version", 1..=64).required(),
        ring_label: f.id("ring_label").or("ring".to_string()),
        rings: f.words("rings").required(),
        wait_s: f.int("wait_seconds", WAIT_S).or(WAIT_S_DEFAULT),
        lost_max: f.int("lost_max", LOST).or(0),
    };
    let mismatch = "string_pattern_mismatch";
    if new.id.as_ref().is_some_and(|id| id.as_str().len() > ID_BYTES_MAX) {
        let msg = format!("An update id has at most {ID_BYTES_MAX} characters");
        f.fault("string_too_long", vec!["id".into()], msg, &json!(new.id));
    }
    if !is_channel(&new.channel) {
        f.fault(
            mismatch,
            vec!["channel".into()],
            "A channel is 1 to 32 characters of a-z 0-9 -".into(),
            &json!(new.channel),
        );
    }
    if f.whole().contains_key("version") && !new.version.is_empty() && Version::parse(&new.version).is_none() {
        f.fault(
            mismatch,
            vec!["version".into()],
            "A version looks like 2.1.0 or 2.1.0-rc.1".into(),
            &json!(new.version),
        );
    }
    let odd = new.rings.iter().any(|ring| ring.chars().any(char::is_control));
    let twice = new.rings.iter().enumerate().any(|(i, ring)| new.rings[..i].contains(ring));
    if f.whole().contains_key("rings") && (new.rings.is_empty() || twice || odd) {
        let msg = "Rings are values of the label, each once, in the order of their update; * is all nodes in no other";
        f.fault("value_error", vec!["rings".into()], msg.into(), &json!(new.rings));
    }
    f.finish()?;
    Ok(created(updates::create(&app.control, once, new)?))
}

fn show(app: &App, request: &Request, _: &User) -> Reply {
    Ok(one(request, &updates::show(&app.control, &read_id(request, "update_id")?)?))
}

fn pause(app: &App, request: &Request, _: &User) -> Reply {
    let update = updates::pause(&app.control, id_of(request, "update_id")?)?;
    Ok(Response::json(200, &update.object))
}

fn resume(app: &App, request: &Request, _: &User) -> Reply {
    let update = updates::resume(&app.control, id_of(request, "update_id")?)?;
    Ok(Response::json(200, &update.object))
}

fn cancel(app: &App, request: &Request, _: &User) -> Reply {
    let update = updates::cancel(&app.control, id_of(request, "update_id")?)?;
    Ok(Response::json(200, &update.object))
}
