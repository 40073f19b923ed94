//! The gate: who may call what, and how an error becomes an answer. Stands between the routes and the rules.

mod errors;
mod session;

pub use errors::answer;
pub use session::{COOKIE, cleared_cookie, session_cookie, token_of, user_of};

use crate::clock;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::http::table::{self, Found};
use crate::http::{Request, Response};
use crate::model::users::{Role, User};
use crate::percent;

/// What a handler gives back.
pub type Reply = Result<Response>;

/// A handler, and who may call it. A route cannot be written without saying so, and a handler that wants a signed-in
/// user cannot be put behind an open route.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Anybody.
    Open(fn(&Control, &Request) -> Reply),
    /// A signed-in user of this role at least.
    By(Role, fn(&Control, &Request, &User) -> Reply),
    /// A node, which the handler makes prove itself by its signature.
    FromNode(fn(&Control, &Request) -> Reply),
    /// A collector of metrics, which the handler knows by its token or its address.
    FromScraper(fn(&Control, &Request) -> Reply),
}

/// A handler, and what it gives when all goes well.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// Who may call it, and what it does.
    pub access: Handler,
    /// The status of a success.
    pub status: u16,
    /// What the answer is: the name of an object, `[Name]` for a list of them, a media type, or nothing. Empty for pages.
    pub gives: &'static str,
}

/// A route of this program.
pub type Route = table::Route<Endpoint>;

/// A line of a route table.
pub const fn route(method: tiny_http::Method, path: &'static str, access: Handler) -> Route {
    Route { method, path, handler: Endpoint { access, status: 0, gives: "" } }
}

impl Route {
    /// Says what the answer is when all goes well, for the API's document.
    pub const fn gives(mut self, status: u16, gives: &'static str) -> Route {
        self.handler.status = status;
        self.handler.gives = gives;
        self
    }
}

/// Finds who is calling, whether they may, and what handles it. Whoever is not signed in learns nothing of which paths exist.
pub fn dispatch(control: &Control, tables: &[&'static [Route]], mut request: Request) -> Response {
    let began = clock::tick();
    request.believe(&control.config.trusted_proxies);
    if control.tls.is_some() && !request.secure && !request.peer.ip().is_loopback() {
        return to_https(&request);
    }
    let found = table::find(tables, &request.method, &request.path);
    let (method, path) = match &found {
        Found::Route(route, _) => (route.method.as_str(), route.path),
        Found::OtherMethod(_) | Found::Nothing => ("-", "-"),
    };
    let response = enter(control, tables, &mut request, found).unwrap_or_else(|e| answer(&e));
    control.metrics.request(method, path, response.status, clock::tick().duration_since(began));
    response
}

fn enter(control: &Control, tables: &[&'static [Route]], request: &mut Request, found: Found<'static, Endpoint>) -> Reply {
    if let Found::Route(route, args) = &found {
        request.args.clone_from(args);
        match route.handler.access {
            Handler::Open(handler) | Handler::FromNode(handler) | Handler::FromScraper(handler) => return handler(control, request),
            Handler::By(..) => {}
        }
    }
    let public = matches!(found, Found::OtherMethod(_)) && is_open(tables, &request.path);
    let user = if public { None } else { session::user_of(control, request)? };
    let Some(user) = user else {
        return match found {
            Found::OtherMethod(allow) if public => Err(Error::MethodNotAllowed(allow)),
            _ if request.path == "/ui" || request.path.starts_with("/ui/") => Ok(to_sign_in(request)),
            _ => Err(Error::unauthenticated()),
        };
    };
    match found {
        Found::Nothing => Err(Error::NotFound("Not Found".into())),
        Found::OtherMethod(allow) => Err(Error::MethodNotAllowed(allow)),
        Found::Route(route, _) => match route.handler.access {
            Handler::By(role, _) if user.role < role => Err(Error::Forbidden("Your role does not allow this.")),
            Handler::By(_, handler) => handler(control, request, &user),
            Handler::Open(handler) | Handler::FromNode(handler) | Handler::FromScraper(handler) => handler(control, request),
        },
    }
}

/// Whether any method of this path is open to anybody.
fn is_open(tables: &[&'static [Route]], path: &str) -> bool {
    [tiny_http::Method::Get, tiny_http::Method::Post]
        .iter()
        .any(|method| matches!(table::find(tables, method, path), Found::Route(r, _) if matches!(r.handler.access, Handler::Open(_))))
}

/// The same over HTTPS: what was said in the clear is not acted on.
fn to_https(request: &Request) -> Response {
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let sound = request.host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'));
    match sound && !request.host.is_empty() {
        true => Response::redirect(308, &format!("https://{}{}{query}", request.host, request.path)),
        false => Response::error(400, "This server answers over HTTPS only."),
    }
}

/// To the sign-in page, and back here afterwards.
fn to_sign_in(request: &Request) -> Response {
    let mut target = request.path.clone();
    if !request.query.is_empty() {
        target.push('?');
        target.push_str(&request.query);
    }
    Response::redirect(303, &format!("/auth/login?next={}", percent::encode(&target)))
}
