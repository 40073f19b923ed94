//! HTML pages, one file a page; their markup is in `assets/pages`. They call the same rules as the API.

pub mod assets;
pub mod login;
pub mod nodes;
pub mod settings;

use crate::gate::Reply;
use crate::html::{Html, page};
use crate::http::Response;
use crate::model::users::User;

/// A page in the common frame.
fn framed(status: u16, title: &str, user: Option<&User>, body: &Html) -> Reply {
    let nav = user.map_or_else(Html::empty, |u| page!("nav.html", user = &u.name));
    Ok(Response::html(status, page!("frame.html", title = title, nav = &nav, body = body).into_string()))
}

/// A sentence above a form: `bad` or `good`.
fn notice(kind: &str, text: &str) -> Html {
    page!("notice.html", kind = kind, text = text)
}

/// A field of a submitted form.
fn field<'f>(form: &'f [(String, String)], name: &str) -> &'f str {
    form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}
