//! Turns a cookie or a bearer token into a signed-in user, and sets the cookies of a session.

use crate::control::Control;
use crate::control::access::sessions;
use crate::control::access::sessions::SignedIn;
use crate::control::access::visitor::{Place, Visitor};
use crate::error::{Error, Result};
use crate::http::{Request, Response, cookie};
use crate::model::users::User;

/// The session cookie that V1's clients read. Another cluster on the same host may overwrite it, so there is a second
/// cookie, with a suffix of this cluster.
pub const COOKIE: &str = "uptimemesh_session";
/// Name prefix: only this host itself can have set the cookie, over TLS. Without it, other hosts of the same domain or
/// an attacker on the wire could plant one.
const HOST_ONLY: &str = "__Host-";
/// Maximum number of genuine credentials in one request that are looked up.
const SHOWN_MAX: usize = 8;

/// A credential in a request.
#[derive(Clone, Copy)]
pub struct Shown<'r> {
    /// A session's token, or the secret of an API token.
    pub token: &'r str,
    /// True if a browser sent it by itself, whichever site caused the request.
    pub by_cookie: bool,
}

/// Every possible name of the session cookie: names that only we can have set first, and of these the one of this
/// cluster alone first.
fn names(control: &Control) -> [String; 4] {
    let own = format!("{COOKIE}_{}", control.sessions.word());
    [format!("{HOST_ONLY}{own}"), format!("{HOST_ONLY}{COOKIE}"), own, COOKIE.to_string()]
}

/// The credentials in a request that could be ours: bearer tokens before cookies. An old or foreign one does not hide
/// the next.
fn shown<'r>(control: &Control, request: &'r Request) -> Vec<Shown<'r>> {
    let names = request.header("cookie").map(|_| names(control));
    let bearers = request.bearers().map(|token| Shown { token, by_cookie: false });
    let cookies =
        names.iter().flatten().flat_map(|name| request.cookies(name)).map(|token| Shown { token, by_cookie: true });
    let mut all: Vec<Shown> = Vec::new();
    for one in bearers.chain(cookies) {
        if all.len() < SHOWN_MAX
            && !all.iter().any(|seen| seen.token == one.token)
            && control.sessions.is_genuine(one.token)
        {
            all.push(one);
        }
    }
    all
}

/// The caller and its credential; `None` for an anonymous caller.
pub fn holder<'r>(control: &Control, request: &'r Request) -> Result<Option<(User, Shown<'r>)>> {
    for shown in shown(control, request) {
        if let Some(user) = control.sessions.holder(&control.store, shown.token, place(request))? {
            return Ok(Some((user, shown)));
        }
    }
    Ok(None)
}

/// The caller; `None` for an anonymous one.
pub fn user_of(control: &Control, request: &Request) -> Result<Option<User>> {
    Ok(holder(control, request)?.map(|(user, _)| user))
}

/// Origin of a request.
pub fn place(request: &Request) -> Place {
    Place { address: request.client, is_local: request.is_local(), direct: request.direct_peer() }
}

/// The visitor who sends a request.
pub fn visitor(request: &Request) -> Visitor {
    Visitor { place: place(request), user_agent: request.header("user-agent").unwrap_or_default().to_string() }
}

/// CSRF token for the forms of this user's pages.
pub fn csrf(control: &Control, user: &User) -> String {
    control.sessions.csrf(user.credential_id())
}

/// Adds the cookies of a new session to an answer.
pub fn with_session(control: &Control, request: &Request, response: Response, session: &SignedIn) -> Response {
    with_cookies(control, request, response, &session.token, session.expires_in_s)
}

/// Removes the session cookies. Signing out ends every session that the browser shows.
pub fn sign_out(control: &Control, request: &Request, response: Response) -> Result<Response> {
    for shown in shown(control, request) {
        if let Some(user) = control.sessions.holder(&control.store, shown.token, place(request))? {
            match sessions::sign_out(control, &user) {
                // This browser forgets the session, even if the disk cannot.
                Ok(()) | Err(Error::Unavailable(_)) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(with_cookies(control, request, response, "", 0))
}

/// Sets V1's cookie and the cluster's own, and removes all other cookies of ours.
fn with_cookies(control: &Control, request: &Request, mut response: Response, value: &str, max_age_s: i64) -> Response {
    let secure = request.secure || control.config.auth_cookie_secure;
    let names = names(control);
    let [host_own, _, own, shared] = &names;
    // A cookie for one host alone applies to all of its paths.
    let own = if secure && request.base.is_empty() { host_own } else { own };
    for name in [shared, own] {
        response = response.with("Set-Cookie", cookie::set(name, value, &request.base, max_age_s, secure));
    }
    for name in names.iter().filter(|name| *name != shared && *name != own && request.cookie(name).is_some()) {
        let base = if name.starts_with(HOST_ONLY) { "" } else { &request.base };
        response = response.with("Set-Cookie", cookie::set(name, "", base, 0, secure));
    }
    response
}
