//! The gate: decides who may call a route, and turns errors into answers. Stands between the routes and the rules.

mod base;
mod errors;
mod meter;
mod node;
mod origin;
mod session;

pub use crate::control::access::node_proofs::NodeCaller;
pub use base::begins_like_ours;
pub use errors::answer;
pub use meter::{Meter, refund_node};
pub use session::{COOKIE, csrf, holder, place, sign_out, user_of, visitor, with_session};

use crate::caller::{self, Caller};
use crate::clock;
use crate::control::Control;
use crate::control::access::secrets::same_secret;
use crate::control::access::{throttle, unnamed};
use crate::error::{Error, Result};
use crate::http::table::{self, Found};
use crate::http::{Request, Response, form};
use crate::model::address;
use crate::model::ca::NEXT_AUTHORITY;
use crate::model::users::{Credential, Role, User};
use crate::percent;
use crate::upkeep::App;
use std::sync::Arc;

/// Result of a handler.
pub type Reply = Result<Response>;

/// A handler, and who may call it. Every route must state this, and a handler that takes a signed-in user does not fit
/// behind an open route.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Every caller.
    Open(fn(&App, &Request) -> Reply),
    /// A signed-in user with at least this role.
    By(Role, fn(&App, &Request, &User) -> Reply),
    /// A node, proven by its client certificate or by a signature in headers.
    ByNode(fn(&App, &Request, &NodeCaller) -> Reply),
    /// A caller that the handler checks itself, in its own way: a collector of metrics by its token or address, a node
    /// that renews its identity by the signature in the body.
    Checked(fn(&App, &Request) -> Reply),
}

/// A handler, with its access and documentation.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// The handler, and who may call it.
    pub access: Handler,
    /// The status of a success.
    pub status: u16,
    /// Content of the answer: the name of an object, `[Name]` for a list of them, a media type, or nothing. Empty for
    /// pages.
    pub gives: &'static str,
    /// True if only a person may call it: it is personal, or would let a token outlive its own end.
    pub personal: bool,
    /// True if its effect would let an API token outlive its own end.
    pub lasting: bool,
    /// True if it is open to a user who must change the password first.
    pub always: bool,
    /// True if it is expensive; lists and pages are so without this mark.
    pub expensive: bool,
    /// Description in the API's document: a summary that begins with a verb, then further notes for callers. Empty for
    /// pages.
    pub says: &'static str,
    /// The meaning of a 409; empty where only the general ones apply.
    pub conflicts: &'static str,
    /// Metering of its calls.
    pub meter: Meter,
}

/// A route of this program.
pub type Route = table::Route<Endpoint>;

/// A line of a route table.
pub const fn route(method: tiny_http::Method, path: &'static str, access: Handler) -> Route {
    let meter = match access {
        Handler::Open(_) | Handler::Checked(_) => Meter::Address,
        Handler::By(..) => Meter::Caller,
        Handler::ByNode(_) => Meter::Node,
    };
    let endpoint = Endpoint {
        access,
        status: 0,
        gives: "",
        personal: false,
        lasting: false,
        always: false,
        expensive: false,
        meter,
        says: "",
        conflicts: "",
    };
    Route { method, path, handler: endpoint }
}

impl Route {
    /// Sets status and content of a successful answer, for the API's document.
    pub const fn gives(mut self, status: u16, gives: &'static str) -> Route {
        self.handler.status = status;
        self.handler.gives = gives;
        self
    }

    /// Sets the description: a summary that begins with a verb, then further notes for callers.
    pub const fn says(mut self, says: &'static str) -> Route {
        self.handler.says = says;
        self
    }

    /// Sets the meaning of a 409, with the remedy.
    pub const fn conflicts(mut self, conflicts: &'static str) -> Route {
        self.handler.conflicts = conflicts;
        self
    }

    /// Refuses API tokens.
    pub const fn personal(mut self) -> Route {
        self.handler.personal = true;
        self
    }

    /// Refuses API tokens, but admits the machine's own credential: it cannot outlive the data that it is a part of.
    pub const fn lasting(mut self) -> Route {
        self.handler.lasting = true;
        self
    }

    /// Marks it as expensive: a user may have only a few such calls in progress.
    pub const fn expensive(mut self) -> Route {
        self.handler.expensive = true;
        self
    }

    /// Sets the metering, if it does not follow from the access.
    pub const fn meter(mut self, meter: Meter) -> Route {
        self.handler.meter = meter;
        self
    }

    /// Admits users who must change the password before anything else.
    pub const fn always(mut self) -> Route {
        self.handler.always = true;
        self
    }
}

/// Name of the hidden form field with the CSRF token.
const CSRF_FIELD: &str = "csrf_token";
/// Path of the sign-in page.
const SIGN_IN: &str = "/auth/login";
const CONTENT_TYPE: &str = "Content-Type";
/// Value of `WWW-Authenticate` in a 401.
const CHALLENGE: &str = "Bearer realm=\"UptimeMesh\"";
/// Maximum number of characters of an unknown host in an answer.
const HOST_CHARS_MAX: usize = 100;

/// A refused request, for the page that shows it.
pub struct Refusal<'r> {
    /// The error.
    pub error: &'r Error,
    /// The caller, if known.
    pub user: Option<&'r User>,
    /// The required role, if the page exists.
    pub needs: Option<Role>,
}

/// Draws the page for a refusal. Programs get JSON instead.
pub type Draw = fn(&App, &Request, &Refusal) -> Reply;

/// Identifies the caller, checks access and calls the handler. A caller who is not signed in learns nothing about which
/// paths exist.
pub fn dispatch(app: &App, tables: &[&'static [Route]], draw: Draw, mut request: Request) -> Response {
    let control = &app.control;
    let began = clock::tick();
    request.believe(&control.config.trusted_proxies);
    base::strip(control, tables, &mut request);
    let _scope = caller::enter(Some(Caller { actor: caller::NOBODY.to_string(), address: request.client }));
    if let Some(word) = &request.unnamed {
        unnamed::note(control, request.peer.ip(), word);
    }
    if control.tls.is_some() && !request.secure && !request.peer.ip().is_loopback() {
        let source = address::client(request.client);
        let away = || unknown_host(control, &request).unwrap_or_else(|| to_https(&request));
        let mut response =
            control.throttle.open.take(source).map_or_else(|wait_s| answer(&throttle::too_many(wait_s)), |_| away());
        response.source = Some(source);
        return response;
    }
    let found = table::find(tables, &request.method, &request.path);
    let (method, path) = match &found {
        Found::Route(route, _) => (route.method.as_str(), route.path),
        Found::OtherMethod(_) | Found::Nothing => ("-", "-"),
    };
    let source = address::client(request.client);
    let needs = match &found {
        Found::Route(Route { handler: Endpoint { access: Handler::By(role, _), .. }, .. }, _) => Some(*role),
        _ => None,
    };
    let mut user = None;
    let reply = authorize_and_call(app, tables, &mut request, found, &mut user);
    if reply.as_ref().map_or_else(has_proven_nothing, |response| response.status == 401) {
        control.throttle.refusals.spend(source);
    }
    let mut response = reply
        .unwrap_or_else(|error| refuse(app, &request, draw, &Refusal { error: &error, user: user.as_ref(), needs }));
    response.source = Some(source);
    if response.status == 401 {
        // Not Basic: a browser would prompt for a password itself.
        response = response.with("WWW-Authenticate", CHALLENGE.to_string());
    }
    response.holder = holder_name(user.as_ref());
    // Without a proxy, which would show one certificate for many.
    let is_node = user.is_none() && response.holder.is_some();
    response.is_resident = is_node && request.certificate.is_some() && !request.is_passed_on();
    let (ca, metrics, base) = (Arc::clone(&control.ca), Arc::clone(&app.metrics), request.base);
    let complete = move |mut answer: Response| {
        if let Some(next) = ca.next() {
            answer = answer.with(NEXT_AUTHORITY, next);
        }
        base::add(&mut answer, &base);
        metrics.request(method, path, answer.status, clock::tick().duration_since(began));
        answer
    };
    match response.later.take() {
        // It has neither a status nor headers yet.
        Some(later) => Response { later: Some(Box::new(later.map(complete))), ..response },
        None => complete(response),
    }
}

/// Name of the proven caller: a user, with all sessions and tokens together, or a node.
fn holder_name(user: Option<&User>) -> Option<String> {
    match user {
        Some(user) => user.restriction.is_none().then(|| format!("user:{}", user.name)),
        None => caller::current().map(|caller| caller.actor).filter(|actor| actor.starts_with("node:")),
    }
}

/// The answer to a refused caller: JSON, or a page if a person sees it.
fn refuse(app: &App, request: &Request, draw: Draw, refusal: &Refusal) -> Response {
    let mut answer = answer(refusal.error);
    if is_for_people(request)
        && let Ok(page) = draw(app, request, refusal)
    {
        answer.body = page.body;
        answer.headers.retain(|(name, _)| *name != CONTENT_TYPE);
        answer.headers.extend(page.headers);
    }
    answer
}

/// True if the refused caller has proven nothing. A node that learns the reason has proven its lease token, and after a
/// long absence a whole fleet behind one address learns it at once: that must not keep it from renewing.
fn has_proven_nothing(error: &Error) -> bool {
    matches!(error, Error::Unauthenticated { reason: None, .. })
}

/// Authorizes and calls the handler. `caller_found` is set to the caller even when the request is refused.
fn authorize_and_call(
    app: &App,
    tables: &[&'static [Route]],
    request: &mut Request,
    found: Found<'static, Endpoint>,
    caller_found: &mut Option<User>,
) -> Reply {
    let control = &app.control;
    if let Some(refusal) = unknown_host(control, request) {
        return Ok(refusal);
    }
    if request.method == tiny_http::Method::Options
        && let Some(allow) = options(tables, &request.path)
    {
        control.throttle.open.take(address::client(request.client)).map_err(throttle::too_many)?;
        return Ok(Response::empty(204).with("Allow", allow));
    }
    let meter = match &found {
        Found::Route(route, _) => route.handler.meter,
        Found::OtherMethod(_) | Found::Nothing => Meter::Caller,
    };
    let admitted = admit(control, request, meter)?;
    let by_cookie = admitted.as_ref().is_some_and(|(_, by_cookie)| *by_cookie);
    *caller_found = admitted.map(|(user, _)| user);
    let user = caller_found.as_ref();
    if let Some(user) = user {
        caller::set_actor(&user.actor());
        if user.credential == Credential::Local {
            control.sessions.local.note_use(&control.store);
        }
    }
    if let Found::Route(route, args) = found {
        request.args = args;
        let request = &*request;
        let is_user = user.is_some();
        return match route.handler.access {
            Handler::Open(handler) | Handler::Checked(handler) => {
                call_open(control, request, meter, is_user, || handler(app, request))
            }
            Handler::ByNode(handler) => {
                call_open(control, request, meter, is_user, || by_node(app, request, is_user, handler))
            }
            Handler::By(role, handler) => by_user(app, request, route, user, by_cookie, (role, handler)),
        };
    }
    let public = matches!(found, Found::OtherMethod(_)) && is_open(tables, &request.path);
    match (found, user) {
        (Found::OtherMethod(allow), _) if public => Err(Error::MethodNotAllowed(allow)),
        (_, None) => not_signed_in(control, request),
        (_, Some(user)) if user.restriction.is_some() => must_change_password(request),
        (Found::OtherMethod(allow), Some(_)) => Err(Error::MethodNotAllowed(allow)),
        (Found::Nothing | Found::Route(..), Some(_)) => Err(Error::NotFound("Not Found".into())),
    }
}

/// The methods of a path, or of all paths for `*`; `None` for an unknown path. The paths are public: they stand in the
/// source code.
fn options(tables: &[&'static [Route]], path: &str) -> Option<String> {
    let allowed = match table::find(tables, &tiny_http::Method::Options, path) {
        Found::OtherMethod(allow) => allow,
        Found::Nothing if path == "*" => "DELETE, GET, HEAD, PATCH, POST, PUT".to_string(),
        Found::Route(..) | Found::Nothing => return None,
    };
    let mut methods: Vec<&str> = allowed.split(", ").chain(["OPTIONS"]).collect();
    methods.sort_unstable();
    Some(methods.join(", "))
}

/// Refuses requests for a host that this server is not. A trusted proxy decides itself which hosts it passes on.
fn unknown_host(control: &Control, request: &Request) -> Option<Response> {
    if request.by_proxy || control.hosts.know(&request.host) {
        return None;
    }
    let host: String = request.host.chars().take(HOST_CHARS_MAX).collect();
    let sentence = format!(
        "This server is not known as {host}: add the name to TLS_NAMES, or list your proxy in TRUSTED_PROXIES."
    );
    Some(Response::error(421, &sentence))
}

/// The caller, unless it has called too often, and whether a browser sent the credential by itself. From an address
/// that was refused too often only genuine credentials are checked.
fn admit(control: &Control, request: &Request, meter: Meter) -> Result<Option<(User, bool)>> {
    let throttle = &control.throttle;
    let refused = throttle.refusals.retry_after_s(&address::client(request.client));
    let found = session::holder(control, request)?.map(|(user, shown)| (user, shown.by_cookie));
    if let Some((user, _)) = &found {
        throttle.callers.take(user.credential_id().to_string()).map_err(throttle::too_many)?;
    } else if let Some(wait_s) = refused
        && !meter.admits_refused()
    {
        meter.node(control, request).ok_or_else(|| throttle::too_many(wait_s))?;
    }
    Ok(found)
}

/// Calls a handler that is open to anonymous callers.
fn call_open(control: &Control, request: &Request, meter: Meter, is_user: bool, call: impl FnOnce() -> Reply) -> Reply {
    if meter == Meter::SignIn {
        origin::check(request)?;
    }
    if is_user { call() } else { meter.count(control, request, call) }
}

/// Calls a handler for nodes, once the node has proven itself.
fn by_node(app: &App, request: &Request, is_user: bool, handler: fn(&App, &Request, &NodeCaller) -> Reply) -> Reply {
    let node = node::prove(&app.control, request, is_user)?;
    meter::charge_node(&app.control, &node.node_id)?;
    handler(app, request, &node)
}

/// Role and handler of a route for signed-in users.
type ByUser = (Role, fn(&App, &Request, &User) -> Reply);

fn by_user(
    app: &App,
    request: &Request,
    route: &Route,
    user: Option<&User>,
    by_cookie: bool,
    (role, handler): ByUser,
) -> Reply {
    let Some(user) = user else { return not_signed_in(&app.control, request) };
    if user.restriction.is_some() && !route.handler.always {
        return must_change_password(request);
    }
    if user.role < role {
        return Err(Error::Forbidden("Your role does not allow this."));
    }
    keep_programs_out(route, user)?;
    if by_cookie && changes(request) {
        origin::check(request)?;
        if is_page(request) {
            check_form(&app.control, request, user)?;
        }
    }
    let is_expensive = route.handler.expensive || route.handler.gives.starts_with('[') || is_page(request);
    let _turn = if is_expensive { Some(app.control.throttle.expensive_turn(&user.name)?) } else { None };
    handler(app, request, user)
}

/// Refuses programs on a route for people only.
fn keep_programs_out(route: &Route, user: &User) -> Result<()> {
    match user.credential {
        Credential::ApiToken(_) if route.handler.personal || route.handler.lasting => {
            Err(Error::Forbidden("API tokens may not do this: sign in with a password."))
        }
        Credential::Local if route.handler.personal => {
            Err(Error::Forbidden("Only a person may do this, signed in with a password: the local credential cannot."))
        }
        Credential::Session(_) | Credential::ApiToken(_) | Credential::Local => Ok(()),
    }
}

/// True if a request may change something.
fn changes(request: &Request) -> bool {
    !matches!(request.method, tiny_http::Method::Get | tiny_http::Method::Head | tiny_http::Method::Options)
}

fn is_page(request: &Request) -> bool {
    request.path == "/ui" || request.path.starts_with("/ui/")
}

/// True if a person sees the answer: a browser requested it, and it is a page or leads to one. Programs send a token
/// themselves; a proxy that signs people in may do so for a browser.
fn is_for_people(request: &Request) -> bool {
    let by_browser = request.header("accept").is_some_and(|kinds| kinds.contains("text/html"));
    (by_browser || request.header("authorization").is_none())
        && (is_page(request) || (request.path == SIGN_IN && !changes(request)))
}

/// Refuses a form that did not come from a page of this session.
fn check_form(control: &Control, request: &Request, user: &User) -> Result<()> {
    let fields = form::parse(&request.body);
    let given = fields.iter().find(|(name, _)| name == CSRF_FIELD).map_or("", |(_, value)| value);
    if same_secret(csrf(control, user).as_bytes(), given.as_bytes()) {
        return Ok(());
    }
    Err(Error::Forbidden("This form is not from a page of your session: go back, reload the page and try again."))
}

/// The answer to a user who must change the password first.
fn must_change_password(request: &Request) -> Reply {
    if is_page(request) {
        return Ok(Response::redirect(303, "/ui/settings"));
    }
    Err(Error::Forbidden("Change your password first: POST /auth/password, or Settings in the UI."))
}

/// The answer to an anonymous caller.
fn not_signed_in(control: &Control, request: &Request) -> Reply {
    if !is_page(request) {
        return Err(Error::unauthenticated());
    }
    control.throttle.open.take(address::client(request.client)).map_err(throttle::too_many)?;
    Ok(to_sign_in(request))
}

/// True if any method of this path is open to anonymous callers.
fn is_open(tables: &[&'static [Route]], path: &str) -> bool {
    let is_open = |route: &Route| matches!(route.handler.access, Handler::Open(_));
    [tiny_http::Method::Get, tiny_http::Method::Post]
        .iter()
        .any(|method| matches!(table::find(tables, method, path), Found::Route(route, _) if is_open(route)))
}

/// Redirects to the same URL over HTTPS: nothing sent in the clear is acted on.
fn to_https(request: &Request) -> Response {
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let sound =
        request.host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'));
    match sound && !request.host.is_empty() {
        true => Response::redirect(308, &format!("https://{}{}{}{query}", request.host, request.base, request.path))
            .turned_away(),
        false => Response::error(400, "This server answers over HTTPS only."),
    }
}

/// Redirects to the sign-in page, and back here afterwards.
fn to_sign_in(request: &Request) -> Response {
    let mut target = request.path.clone();
    if !request.query.is_empty() {
        target.push('?');
        target.push_str(&request.query);
    }
    Response::redirect(303, &format!("{SIGN_IN}?next={}", percent::encode(&target))).turned_away()
}
