//! From a cookie or a bearer token to a signed-in user.

use crate::control::{Control, auth};
use crate::error::Result;
use crate::http::{Request, cookie};
use crate::model::users::User;

/// The name of the session cookie.
pub const COOKIE: &str = "uptimemesh_session";

/// Who is calling; `None` for nobody we know.
pub fn user_of(control: &Control, request: &Request) -> Result<Option<User>> {
    match token_of(request) {
        Some(token) => auth::user_of(control, token),
        None => Ok(None),
    }
}

/// The session token that a request shows.
pub fn token_of(request: &Request) -> Option<&str> {
    let bearer = request.header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or_else(|| request.cookie(COOKIE))
}

/// The cookie that carries a session.
pub fn session_cookie(control: &Control, session: &auth::Session) -> String {
    cookie::set(COOKIE, &session.token, session.expires_in_s, control.config.auth_cookie_secure)
}

/// The cookie that ends it.
pub fn cleared_cookie(control: &Control) -> String {
    cookie::set(COOKIE, "", 0, control.config.auth_cookie_secure)
}
