//! Users: creating, changing role or password, deleting.

use super::actions::{Action, Actions, Button, no_fields, sentences};
use super::{At, Page as Shown, back_to, field, notice, parts, run, settings};
use crate::control::access::auth::{PASSWORD_LEN_MAX, PASSWORD_LEN_MIN};
use crate::control::access::users;
use crate::control::versions::Condition;
use crate::error::{Error, Result};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::http::fields::Fields;
use crate::model::Paging;
use crate::model::users::Person;
use crate::model::users::Role::{self, Admin};
use serde_json::json;
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/settings/users", By(Admin, |c, r, u| run(c, r, u, show))),
    route(Post, "/ui/settings/users", By(Admin, |c, r, u| run(c, r, u, create))).personal(),
    route(Get, "/ui/settings/users/{name}/{action}", By(Admin, |c, r, u| run(c, r, u, |at| ACTIONS.ask(at)))),
    route(Post, "/ui/settings/users/{name}/{action}", By(Admin, |c, r, u| run(c, r, u, |at| ACTIONS.act(at))))
        .personal(),
];

const PLACE: &str = "Settings";
/// Users on the page.
const SHOWN_MAX: usize = 500;
const DONE: &[(&str, &str)] = &[
    ("create", "User created. The password must be changed at the first sign-in."),
    ("role", "Role changed. The user's sessions have ended."),
    ("password", "Password set. It must be changed at the next sign-in."),
    ("delete", "User deleted."),
];

fn show(at: &At) -> Reply {
    page_of(at, 200, &at.notice(DONE), "")
}

fn page_of(at: &At, status: u16, above: &Html, name: &str) -> Reply {
    let people = users::list(at.control, &Paging::first(SHOWN_MAX))?;
    let row = |person: &Person| {
        let path = parts::path("settings/users", &person.name);
        let buttons =
            if person.name == at.user.name { parts::text("you") } else { ACTIONS.buttons(at, &path, |_| true) };
        let must =
            if person.must_change_password { page!("chip.html", text = "must change password") } else { Html::empty() };
        vec![
            Html::concat(vec![parts::text(&format!("{} ", person.name)), must]),
            parts::text(person.role.as_str()),
            parts::time(person.created_at),
            page!("buttons.html", buttons = &buttons),
        ]
    };
    let table = parts::table(
        "Users",
        &parts::heads(&["User", "Role", "~Made", "Action"]),
        people.items.iter().map(row).collect(),
    );
    let body = Html::concat(vec![
        page!("head.html", title = "Users", actions = &Html::empty(), notice = above),
        settings::tabs(at),
        table,
        page!(
            "user_new.html",
            csrf = &at.csrf(),
            name = name,
            role = &parts::select_words("Role", "role", Role::WORDS, "viewer"),
        ),
    ]);
    at.framed(Shown { status, place: PLACE, title: "Users", head: Html::empty(), body: &body })
}

fn create(at: &At) -> Reply {
    let form = at.form();
    let name = field(&form, "name");
    let body = json!({ "name": name, "role": field(&form, "role"), "password": field(&form, "password") }).to_string();
    let made = Fields::of_body(body.as_bytes()).and_then(|mut f| {
        let name = f.id("name").required();
        let role = f.word("role", Role::WORDS, Role::parse).required_with(Role::Viewer);
        let password = f.text("password", PASSWORD_LEN_MIN..=PASSWORD_LEN_MAX).required();
        f.finish()?;
        users::create(at.control, name, role, &password, true, at.user)
    });
    match made {
        Ok(_) => Ok(back_to("/ui/settings/users", "create")),
        Err(e @ Error::Fault(_)) => Err(e),
        Err(e) => page_of(at, e.status(), &notice("bad", &settings::without_input(&e)), name),
    }
}

/// Actions of admins on a user.
const ACTIONS: Actions = Actions {
    place: PLACE,
    role: Admin,
    word: |at| at.arg(1),
    object: |at| Ok((person(at)?.name.to_string(), "/ui/settings/users".to_string())),
    rows: &[
        Action {
            word: "role",
            label: "Change role",
            button: Button::Asks,
            effects: |_| {
                sentences(&[
                    "The user's sessions end.",
                    "The user's API tokens can do no more than the new role from now on.",
                ])
            },
            fields: |at| Ok(parts::select_words("Role", "role", Role::WORDS, person(at)?.role.as_str())),
            handler: |at| {
                let role = Role::parse(field(&at.form(), "role"));
                let role =
                    role.ok_or_else(|| Error::Malformed("Unknown role: choose one from the list.".to_string()))?;
                users::set_role(at.control, at.id(0, "User")?, Condition::default(), Some(role)).map(drop)
            },
            leads_to: None,
        },
        Action {
            word: "password",
            label: "Set password",
            button: Button::Asks,
            effects: |_| {
                sentences(&[
                    "The user's sessions end.",
                    "At the next sign-in the user must choose a password of their own.",
                ])
            },
            fields: |_| Ok(page!("password.html", label = "New password")),
            handler: set_password,
            leads_to: None,
        },
        Action {
            word: "delete",
            label: "Remove",
            button: Button::Warns,
            effects: |_| sentences(&["The user's sessions end at once, and all API tokens of the user with them."]),
            fields: no_fields,
            handler: |at| users::delete(at.control, at.id(0, "User")?, Condition::default(), at.user),
            leads_to: None,
        },
    ],
};

/// The user in the path.
fn person(at: &At) -> Result<Person> {
    Ok(users::show(at.control, &at.id(0, "User")?)?.object)
}

fn set_password(at: &At) -> Result<()> {
    let form = at.form();
    let password = field(&form, "password");
    if !(PASSWORD_LEN_MIN..=PASSWORD_LEN_MAX).contains(&password.chars().count()) {
        return Err(Error::Malformed(format!("A password has at least {PASSWORD_LEN_MIN} characters.")));
    }
    users::set_password(at.control, at.id(0, "User")?, password, true, at.user)
}
