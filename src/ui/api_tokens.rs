//! API tokens: created for programs, listed without their secret, revoked.

use super::actions::{Action, Actions, Button, no_fields};
use super::{At, Page as Shown, field, notice, parts, run, settings};
use crate::control::access::api_tokens;
use crate::error::{Error, Result};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::http::fields::Fields;
use crate::model::Paging;
use crate::model::api_tokens::{ApiToken, NewApiToken};
use crate::model::users::Role::{self, Admin};
use serde_json::json;
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/settings/tokens", By(Admin, |c, r, u| run(c, r, u, show))),
    route(Post, "/ui/settings/tokens", By(Admin, |c, r, u| run(c, r, u, create))).personal(),
    route(Get, "/ui/settings/tokens/{token_id}/delete", By(Admin, |c, r, u| run(c, r, u, |at| ACTIONS.ask(at)))),
    route(Post, "/ui/settings/tokens/{token_id}/delete", By(Admin, |c, r, u| run(c, r, u, |at| ACTIONS.act(at)))),
];

const PLACE: &str = "Settings";
/// Tokens on the page.
const SHOWN_MAX: usize = 500;
/// Lifetime of a token in days: allowed values and the default.
const DAYS: std::ops::RangeInclusive<i64> = 1..=3650;
const DAYS_DEFAULT: &str = "90";
const DONE: &[(&str, &str)] = &[("delete", "Token revoked. Programs that use it are refused from now on.")];

fn show(at: &At) -> Reply {
    page_of(at, 200, &at.notice(DONE), Html::empty())
}

fn all(at: &At) -> Result<Vec<ApiToken>> {
    Ok(api_tokens::list(at.control, &Paging::first(SHOWN_MAX), None)?.items)
}

fn page_of(at: &At, status: u16, above: &Html, made: Html) -> Reply {
    let row = |token: &ApiToken| {
        let from = token.last_used_address.as_deref().map_or(String::new(), |from| format!(" from {from}"));
        vec![
            parts::text(&token.name),
            parts::text(token.owner.as_str()),
            parts::text(token.role.as_str()),
            parts::time(token.expires_at),
            Html::concat(vec![parts::maybe_time(token.last_used_at), parts::text(&from)]),
            ACTIONS.buttons(at, &parts::path("settings/tokens", &token.id), |_| true),
        ]
    };
    let tokens = all(at)?;
    let table = match tokens.is_empty() {
        true => parts::empty(
            "No API tokens yet. A token lets a program act with one role:",
            "uptimemesh api-token create deploy --role operator",
        ),
        false => parts::table(
            "API tokens",
            &parts::heads(&["Token", "~Owner", "Role", "Ends", "~Last used", "Action"]),
            tokens.iter().map(row).collect(),
        ),
    };
    let body = Html::concat(vec![
        page!("head.html", title = "API tokens", actions = &Html::empty(), notice = above),
        settings::tabs(at),
        made,
        table,
        page!(
            "token_new.html",
            csrf = &at.csrf(),
            role = &parts::select_words("Role", "role", Role::WORDS, "viewer"),
            days = &parts::field("Valid for (days)", "days", DAYS_DEFAULT),
        ),
    ]);
    at.framed(Shown { status, place: PLACE, title: "API tokens", head: Html::empty(), body: &body })
}

fn create(at: &At) -> Reply {
    match minted(at) {
        Ok(token) => {
            let said = notice("good", "Token created. Copy it now: it cannot be shown again.");
            page_of(at, 200, &said, page!("copy.html", id = "secret", text = &token.token))
        }
        Err(e @ Error::Fault(_)) => Err(e),
        Err(e) => page_of(at, e.status(), &notice("bad", &e.detail()), Html::empty()),
    }
}

fn minted(at: &At) -> Result<NewApiToken> {
    let form = at.form();
    let body =
        json!({ "name": field(&form, "name"), "role": field(&form, "role"), "days": field(&form, "days") }).to_string();
    let mut f = Fields::of_body(body.as_bytes())?;
    let name = f.name("name").required();
    let role = f.word("role", Role::WORDS, Role::parse).required_with(Role::Viewer);
    let days = f.int("days", DAYS).required();
    f.finish()?;
    api_tokens::create(at.control, at.user, name, role, days)
}

/// Actions of admins on a token.
const ACTIONS: Actions = Actions {
    place: PLACE,
    role: Admin,
    word: |_| "delete",
    object: |at| Ok((token(at)?.name, "/ui/settings/tokens".to_string())),
    rows: &[Action {
        word: "delete",
        label: "Delete",
        button: Button::Warns,
        effects: |at| Ok(vec![format!("Programs that use this token of {} are refused at once.", token(at)?.owner)]),
        fields: no_fields,
        handler: |at| api_tokens::delete(at.control, at.id(0, "API token")?, None),
        leads_to: None,
    }],
};

fn token(at: &At) -> Result<ApiToken> {
    all(at)?.into_iter().find(|t| t.id == at.arg(0)).ok_or_else(|| Error::not_found("API token"))
}
