//! HTML pages, one file a page; their markup is in `assets/pages`. They call the same rules as the API.
//!
//! Pages work without scripts. Actions are forms, each on a page that lists the effects; every form redirects back with
//! a notice. `assets/static/app.js` refreshes regions marked `data-live` when something happens.

mod actions;
pub mod api_tokens;
pub mod assets;
pub mod backups;
pub mod ca;
pub mod cluster_settings;
mod diff;
pub mod docs;
pub mod events;
pub mod join_tokens;
mod lease_strip;
mod load;
pub mod login;
mod markdown;
mod mesh;
mod node_room;
pub mod node_runs;
mod node_work;
pub mod nodes;
pub mod overview;
mod parts;
pub mod replicas;
pub mod runs;
pub mod scheduler;
mod service_spec;
pub mod services;
pub mod sessions;
pub mod settings;
mod spec_text;
pub mod theme;
pub mod users;
pub mod wireguard;

use crate::clock;
use crate::control::Control;
use crate::error::Error;
use crate::gate::{self, Refusal, Reply};
use crate::html::{Html, page};
use crate::http::{Request, Response, form};
use crate::model::ids::Id;
use crate::model::users::{Role, User};
use crate::upkeep::App;
use crate::upkeep::health;
use crate::upkeep::health::Health;

/// Rows per page.
const ROWS_MAX: usize = 100;

/// Parts of the site: text and link in the navigation.
const PLACES: &[(&str, &str)] = &[
    ("Overview", "/ui"),
    ("Nodes", "/ui/nodes"),
    ("Services", "/ui/services"),
    ("Replicas", "/ui/replicas"),
    ("Scheduler", "/ui/scheduler"),
    ("Events", "/ui/events"),
    ("WireGuard", "/ui/wireguard"),
    ("Support", "/ui/support"),
    ("Settings", "/ui/settings"),
    ("Docs", "/ui/docs"),
];

/// Request of a signed-in user for a page.
struct At<'a> {
    app: &'a App,
    /// The rules of `app`.
    control: &'a Control,
    request: &'a Request,
    user: &'a User,
}

/// A page to be framed.
struct Page<'p> {
    status: u16,
    /// Part of the site, as in `PLACES`; empty for none.
    place: &'static str,
    title: &'p str,
    /// Markup for the document's head, beside that of every page.
    head: Html,
    body: &'p Html,
}

/// Draws a page. Errors become pages too; only internal faults are left to the gate, which logs them.
fn run(app: &App, request: &Request, user: &User, make: fn(&At) -> Reply) -> Reply {
    let at = At { app, control: &app.control, request, user };
    match make(&at) {
        Err(e @ Error::Fault(_)) => Err(e),
        Err(e) => at.problem(&e),
        done => done,
    }
}

/// Page for a refusal by the gate, in the caller's frame.
pub fn refused(app: &App, request: &Request, refusal: &Refusal) -> Reply {
    let title = problem_title(refusal.error);
    let body = match (refusal.error, refusal.user, refusal.needs) {
        (Error::Forbidden(_), Some(user), Some(needs)) if user.role < needs => {
            let text = format!(
                "This requires the role {} or a higher one; {} has the role {}.",
                needs.as_str(),
                user.name,
                user.role.as_str()
            );
            let how = "An admin can change your role under Settings, Users, or on the command line:";
            let command = format!("uptimemesh user role {} {}", user.name, needs.as_str());
            page!("problem_role.html", title = title, text = &text, how = how, command = &command)
        }
        (Error::NotFound(_), _, None) => {
            page!(
                "problem.html",
                title = title,
                text = "This page does not exist. The link may be incomplete or outdated."
            )
        }
        (error, ..) => page!("problem.html", title = title, text = &error.detail()),
    };
    let status = refusal.error.status();
    let framed = refusal.user.filter(|user| user.restriction.is_none()).map(|user| {
        let page = Page { status, place: "", title, head: Html::empty(), body: &body };
        At { app, control: &app.control, request, user }.framed(page)
    });
    let page = match framed {
        Some(Ok(page)) => page,
        // The cause of the refusal may also keep the frame from being drawn.
        Some(Err(_)) | None => framed_for_nobody(&app.control, request, status, title, &body)?,
    };
    Ok(refusal
        .error
        .retry_after_s()
        .into_iter()
        .fold(page, |page, wait_s| page.with("Retry-After", wait_s.to_string())))
}

/// Heading of an error page.
fn problem_title(error: &Error) -> &'static str {
    match error.status() {
        403 => "Not allowed",
        404 => "Not found",
        429 => "Too many requests",
        500 => "Something went wrong",
        503 => "Temporarily unavailable",
        _ => "Request refused",
    }
}

impl At<'_> {
    /// Argument of the path, empty if absent.
    fn arg(&self, i: usize) -> &str {
        self.request.args.get(i).map_or("", String::as_str)
    }

    /// The id in an argument of the path; 404 where it is not one.
    fn id<I: Id>(&self, i: usize, what: &'static str) -> crate::error::Result<I> {
        I::parse(self.arg(i)).ok_or_else(|| Error::not_found(what))
    }

    /// The user's name, for events.
    fn by(&self) -> &str {
        self.user.name.as_str()
    }

    /// True if the user has this role or a higher one.
    fn may(&self, role: Role) -> bool {
        self.user.role >= role
    }

    /// Fields of the submitted form.
    fn form(&self) -> Vec<(String, String)> {
        form::parse(&self.request.body)
    }

    /// The hidden field that every form needs.
    fn csrf(&self) -> Html {
        csrf_field(self.control, self.user)
    }

    /// Notice of a finished action, chosen by its word in the query, so that a link cannot put its own text on a page.
    fn notice(&self, said: &[(&str, &str)]) -> Html {
        let query = self.request.query_pairs();
        let done = field(&query, "done");
        said.iter().find(|(word, _)| *word == done).map_or_else(Html::empty, |(_, sentence)| notice("good", sentence))
    }

    /// A page in the common frame.
    fn page(&self, place: &'static str, title: &str, body: &Html) -> Reply {
        self.framed(Page { status: 200, place, title, head: Html::empty(), body })
    }

    fn framed(&self, page: Page) -> Reply {
        let health = health::read(self.app)?;
        let top = self.top(&health, page.place);
        // Trouble comes first, so that a browser tab shows it.
        let mut title = page.title.to_string();
        if page.title != page.place && !page.place.is_empty() {
            title = format!("{title} · {}", page.place);
        }
        if health.dead > 0 {
            title = format!("● {} dead · {title}", health.dead);
        } else if health.stale > 0 {
            title = format!("● {} stale · {title}", health.stale);
        }
        Ok(frame(self.request, page.status, &title, &page.head, &top, page.body))
    }

    fn top(&self, health: &Health, place: &str) -> Html {
        let here = format!(
            "{}{}{}",
            self.request.path,
            if self.request.query.is_empty() { "" } else { "?" },
            self.request.query
        );
        let here = if self.request.method == tiny_http::Method::Get { here.as_str() } else { "/ui" };
        let item = |(text, href): &(&str, &str)| match *text == place {
            true if self.request.path == *href => page!("nav_here.html", href = *href, text = *text, current = "page"),
            true => page!("nav_here.html", href = *href, text = *text, current = "true"),
            false => page!("nav_item.html", href = *href, text = *text),
        };
        let (next, button) = theme::next(self.request);
        page!(
            "top.html",
            cluster = &self.control.config.app_name,
            health = &figures(health),
            banners = &banners(health),
            nav = &Html::concat(PLACES.iter().map(item).collect()),
            csrf = &self.csrf(),
            here = here,
            theme_next = next,
            theme_button = button,
            user = self.by(),
        )
    }

    /// Page of an error.
    fn problem(&self, error: &Error) -> Reply {
        let (status, text) = (error.status(), error.detail());
        let title = problem_title(error);
        let body = page!("problem.html", title = title, text = &text);
        self.framed(Page { status, place: "", title, head: Html::empty(), body: &body })
    }
}

/// Redirects to a page with the notice of a finished action.
fn back_to(page: &str, word: &str) -> Response {
    let sign = if page.contains('?') { '&' } else { '?' };
    Response::redirect(303, &format!("{page}{sign}done={word}"))
}

/// Numbers of nodes by state, in words.
fn figures(health: &Health) -> Html {
    let figures =
        [(health.dead, "dead"), (health.stale, "stale"), (health.unknown, "unknown"), (health.alive, "alive")];
    let shown = figures.iter().filter(|(n, word)| *n > 0 || *word == "alive");
    Html::concat(
        shown
            .map(|(n, word)| {
                // Zero live nodes are not shown in green.
                let look = if *n > 0 { *word } else { "unknown" };
                page!("health.html", count = &n.to_string(), word = *word, look = look)
            })
            .collect(),
    )
}

/// Banners for what holds the whole cluster back.
fn banners(health: &Health) -> Html {
    let mut banners = Vec::new();
    if health.guarded {
        let text = "Writes are disabled: the cluster setting etcd_status says that etcd is unavailable. Heartbeats are \
            still accepted.";
        banners.push(page!("banner.html", kind = "bad", text = text, href = "/ui/settings/cluster", link = "Settings"));
    }
    if health.braked {
        let text = "The scheduler moves nothing: most nodes fell silent together, so the control plane may be cut off.";
        banners.push(page!("banner.html", kind = "bad", text = text, href = "/ui/scheduler", link = "Scheduler"));
    }
    if health.mode != "auto" {
        let text = format!("The scheduler is {}: it does nothing by itself.", health.mode);
        banners.push(page!("banner.html", kind = "warn", text = &text, href = "/ui/scheduler", link = "Scheduler"));
    }
    Html::concat(banners)
}

/// A page for a caller who is not signed in.
fn framed_for_nobody(control: &Control, request: &Request, status: u16, title: &str, body: &Html) -> Reply {
    let top = page!("top_nobody.html", cluster = &control.config.app_name);
    Ok(frame(request, status, title, &Html::empty(), &top, body))
}

fn frame(request: &Request, status: u16, title: &str, head: &Html, top: &Html, body: &Html) -> Response {
    let now = clock::now();
    let text = clock::Timestamp::from_secs(now.secs()).to_string();
    let page = page!(
        "frame.html",
        title = title,
        // The version keeps browsers from using cached assets of another version.
        version = env!("CARGO_PKG_VERSION"),
        theme = theme::chosen(request),
        head = head,
        now = &text,
        clock = &text[11..19],
        top = top,
        body = body,
    );
    Response::html(status, page.into_string())
}

/// The hidden field that proves to the gate that a form came from one of our pages.
fn csrf_field(control: &Control, user: &User) -> Html {
    page!("csrf.html", token = &gate::csrf(control, user))
}

/// Notice above a form; `kind` is `bad` or `good`.
fn notice(kind: &str, text: &str) -> Html {
    page!("notice.html", kind = kind, text = text)
}

/// Field of a submitted form, empty if absent.
fn field<'f>(form: &'f [(String, String)], name: &str) -> &'f str {
    form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}
