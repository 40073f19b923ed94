//! From a cookie or a bearer token to a signed-in user, and the cookies that carry a session.

use crate::control::Control;
use crate::control::auth::Visitor;
use crate::control::sessions::{Place, SignedIn};
use crate::error::Result;
use crate::http::{Request, Response, cookie};
use crate::model::users::User;

/// The name of the session cookie that V1's clients read.
pub const COOKIE: &str = "uptimemesh_session";
/// The one beside it that only this host itself can have set, over TLS: another host of the same domain, or somebody on the wire,
/// could plant the plain one.
const HOST_COOKIE: &str = "__Host-uptimemesh_session";

/// What a request shows.
#[derive(Clone, Copy)]
pub struct Shown<'r> {
    /// A session's token, or the secret of an API token.
    pub token: &'r str,
    /// Whether a browser sent it by itself, whoever caused the request.
    pub by_cookie: bool,
}

/// What a request shows: a bearer token wins over a cookie, and the cookie that only we can have set over the plain one.
pub fn shown(request: &Request) -> Option<Shown<'_>> {
    let bearer = request.header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let by_cookie = bearer.is_none();
    let token = bearer.or_else(|| request.cookie(HOST_COOKIE)).or_else(|| request.cookie(COOKIE))?;
    Some(Shown { token, by_cookie })
}

/// Who is calling; `None` for nobody we know.
pub fn user_of(control: &Control, request: &Request) -> Result<Option<User>> {
    match shown(request) {
        Some(shown) => control.sessions.holder(&control.store, shown.token, place(request)),
        None => Ok(None),
    }
}

/// Where a request comes from.
pub fn place(request: &Request) -> Place {
    Place { address: request.client, is_local: request.is_local() }
}

/// Who comes to the door.
pub fn visitor(request: &Request) -> Visitor {
    Visitor { place: place(request), user_agent: request.header("user-agent").unwrap_or_default().to_string() }
}

/// What the forms of this user's pages carry.
pub fn csrf(control: &Control, user: &User) -> String {
    control.sessions.csrf(user.credential_id())
}

/// An answer that gives a session to a browser.
pub fn with_session(control: &Control, request: &Request, response: Response, session: &SignedIn) -> Response {
    with_cookies(control, request, response, &session.token, session.expires_in_s)
}

/// An answer that takes it away.
pub fn without_session(control: &Control, request: &Request, response: Response) -> Response {
    with_cookies(control, request, response, "", 0)
}

fn with_cookies(control: &Control, request: &Request, response: Response, value: &str, max_age_s: i64) -> Response {
    let secure = request.secure || control.config.auth_cookie_secure;
    let response = response.with("Set-Cookie", cookie::set(COOKIE, value, max_age_s, secure));
    if secure { response.with("Set-Cookie", cookie::set(HOST_COOKIE, value, max_age_s, true)) } else { response }
}
