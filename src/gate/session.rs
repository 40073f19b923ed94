//! From a cookie or a bearer token to a signed-in user, and the cookies that carry a session.

use crate::control::Control;
use crate::control::access::auth::Visitor;
use crate::control::access::sessions;
use crate::control::access::sessions::{Place, SignedIn};
use crate::error::{Error, Result};
use crate::http::{Request, Response, cookie};
use crate::model::users::User;

/// The name of the session cookie that V1's clients read. Another cluster on the same host may overwrite it, so there is one more, with the
/// cluster's own word behind this name.
pub const COOKIE: &str = "uptimemesh_session";
/// Before a name: only this host itself can have set the cookie, over TLS. Others of the same domain, or somebody on the wire, could plant
/// one without.
const HOST_ONLY: &str = "__Host-";
/// Genuine credentials of one request that are asked about.
const SHOWN_MAX: usize = 8;

/// What a request shows.
#[derive(Clone, Copy)]
pub struct Shown<'r> {
    /// A session's token, or the secret of an API token.
    pub token: &'r str,
    /// Whether a browser sent it by itself, whoever caused the request.
    pub by_cookie: bool,
}

/// Every name that a session's cookie may have: what only we can have set before what others may have, and this cluster's alone before
/// what all share.
fn names(control: &Control) -> [String; 4] {
    let own = format!("{COOKIE}_{}", control.sessions.word());
    [format!("{HOST_ONLY}{own}"), format!("{HOST_ONLY}{COOKIE}"), own, COOKIE.to_string()]
}

/// What a request shows that could be ours: bearer tokens before cookies. One that is old or another's does not hide the next.
fn shown<'r>(control: &Control, request: &'r Request) -> Vec<Shown<'r>> {
    let names = request.header("cookie").map(|_| names(control));
    let bearers = request.bearers().map(|token| Shown { token, by_cookie: false });
    let cookies = names.iter().flatten().flat_map(|name| request.cookies(name)).map(|token| Shown { token, by_cookie: true });
    let mut all: Vec<Shown> = Vec::new();
    for one in bearers.chain(cookies) {
        if all.len() < SHOWN_MAX && !all.iter().any(|seen| seen.token == one.token) && control.sessions.is_genuine(one.token) {
            all.push(one);
        }
    }
    all
}

/// Who is calling, and what shows it; `None` for nobody we know.
pub fn holder<'r>(control: &Control, request: &'r Request) -> Result<Option<(User, Shown<'r>)>> {
    for shown in shown(control, request) {
        if let Some(user) = control.sessions.holder(&control.store, shown.token, place(request))? {
            return Ok(Some((user, shown)));
        }
    }
    Ok(None)
}

/// Who is calling; `None` for nobody we know.
pub fn user_of(control: &Control, request: &Request) -> Result<Option<User>> {
    Ok(holder(control, request)?.map(|(user, _)| user))
}

/// Where a request comes from.
pub fn place(request: &Request) -> Place {
    Place { address: request.client, is_local: request.is_local(), direct: request.direct_peer() }
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

/// An answer that takes it away. Whoever leaves a browser means every session that it shows.
pub fn sign_out(control: &Control, request: &Request, response: Response) -> Result<Response> {
    for shown in shown(control, request) {
        if let Some(user) = control.sessions.holder(&control.store, shown.token, place(request))? {
            match sessions::sign_out(control, &user) {
                // This browser forgets the session, whatever the disk says.
                Ok(()) | Err(Error::Unavailable(_)) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(with_cookies(control, request, response, "", 0))
}

/// V1's cookie, and the cluster's own. What else the browser has of ours goes.
fn with_cookies(control: &Control, request: &Request, mut response: Response, value: &str, max_age_s: i64) -> Response {
    let secure = request.secure || control.config.auth_cookie_secure;
    let names = names(control);
    let [host_own, _, own, shared] = &names;
    // A cookie for one host alone is one for all of its paths.
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
