//! HTML pages, one file a page; their markup is in `assets/pages`. They call the same rules as the API.

pub mod assets;
pub mod login;
pub mod nodes;
pub mod sessions;
pub mod settings;

use crate::control::Control;
use crate::gate::{self, Reply};
use crate::html::{Html, page};
use crate::http::Response;
use crate::model::users::User;

/// A page in the common frame. Every form of a signed-in page carries what [`csrf_field`] gives.
fn framed(control: &Control, status: u16, title: &str, user: Option<&User>, body: &Html) -> Reply {
    let nav = user.map_or_else(Html::empty, |u| page!("nav.html", user = &u.name, csrf = &csrf_field(control, u)));
    Ok(Response::html(status, page!("frame.html", title = title, nav = &nav, body = body).into_string()))
}

/// The hidden field by which the gate knows that a form is from one of our pages.
fn csrf_field(control: &Control, user: &User) -> Html {
    page!("csrf.html", token = &gate::csrf(control, user))
}

/// A sentence above a form: `bad` or `good`.
fn notice(kind: &str, text: &str) -> Html {
    page!("notice.html", kind = kind, text = text)
}

/// A field of a submitted form.
fn field<'f>(form: &'f [(String, String)], name: &str) -> &'f str {
    form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}
