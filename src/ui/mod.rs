//! HTML pages, one file a page; their markup is in `assets/pages`. They call the same rules as the API.
//!
//! A page works without scripts: actions are forms, each behind a page that says what will happen, and every form leads back with a
//! notice. Regions marked `data-live` are fetched anew by `assets/static/app.js` when something happens.

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
pub mod nodes;
pub mod overview;
mod parts;
pub mod replicas;
pub mod runs;
pub mod scheduler;
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

/// Items that a page shows at once.
const ROWS_MAX: usize = 100;

/// The parts of the site, as the navigation names them.
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

/// A request by somebody who is signed in, on its way to a page.
struct At<'a> {
    app: &'a App,
    /// The rules of `app`.
    control: &'a Control,
    request: &'a Request,
    user: &'a User,
}

/// What a page is.
struct Page<'p> {
    status: u16,
    /// Which part of the site it belongs to.
    place: &'static str,
    title: &'p str,
    /// What stands in the head beside what every page has.
    head: Html,
    body: &'p Html,
}

/// Makes a page. What goes wrong is a page too; only our own faults are left to the gate, which writes them down.
fn run(app: &App, request: &Request, user: &User, make: fn(&At) -> Reply) -> Reply {
    let at = At { app, control: &app.control, request, user };
    match make(&at) {
        Err(e @ Error::Fault(_)) => Err(e),
        Err(e) => at.problem(&e),
        done => done,
    }
}

/// The page of a refusal of the gate's, in the frame of whoever asked.
pub fn refused(app: &App, request: &Request, refusal: &Refusal) -> Reply {
    let title = problem_title(refusal.error);
    let body = match (refusal.error, refusal.user, refusal.needs) {
        (Error::Forbidden(_), Some(user), Some(needs)) if user.role < needs => {
            let text =
                format!("This takes the role {} or a higher one; {} has the role {}.", needs.as_str(), user.name, user.role.as_str());
            let how = "An admin can give it to you: Settings, Users; or on the command line:";
            let command = format!("uptimemesh user role {} {}", user.name, needs.as_str());
            page!("problem_role.html", title = title, text = &text, how = how, command = &command)
        }
        (Error::NotFound(_), _, None) => page!("problem.html", title = title, text = "There is no such page; the link may be cut or old."),
        (error, ..) => page!("problem.html", title = title, text = &error.detail()),
    };
    let status = refusal.error.status();
    let framed = refusal.user.filter(|user| user.restriction.is_none()).map(|user| {
        let page = Page { status, place: "", title, head: Html::empty(), body: &body };
        At { app, control: &app.control, request, user }.framed(page)
    });
    let page = match framed {
        Some(Ok(page)) => page,
        // What keeps the page from being shown may keep its frame from being drawn.
        Some(Err(_)) | None => framed_for_nobody(&app.control, request, status, title, &body)?,
    };
    Ok(refusal.error.retry_after_s().into_iter().fold(page, |page, wait_s| page.with("Retry-After", wait_s.to_string())))
}

/// The heading of what did not go well.
fn problem_title(error: &Error) -> &'static str {
    match error.status() {
        403 => "Not allowed",
        404 => "Not found",
        429 => "Too many requests",
        500 => "Something went wrong here",
        503 => "Not possible at the moment",
        _ => "That did not work",
    }
}

impl At<'_> {
    /// An argument of the path.
    fn arg(&self, i: usize) -> &str {
        self.request.args.get(i).map_or("", String::as_str)
    }

    /// The id in an argument of the path; 404 where it is not one.
    fn id<I: Id>(&self, i: usize, what: &'static str) -> crate::error::Result<I> {
        I::parse(self.arg(i)).ok_or_else(|| Error::not_found(what))
    }

    /// Whether the user may do what takes this role.
    fn may(&self, role: Role) -> bool {
        self.user.role >= role
    }

    /// The fields of the form that was submitted.
    fn form(&self) -> Vec<(String, String)> {
        form::parse(&self.request.body)
    }

    /// The hidden field that every form carries.
    fn csrf(&self) -> Html {
        csrf_field(self.control, self.user)
    }

    /// The notice that an action left behind, by its word in the query: no text of a link's ever stands on a page as ours.
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
        let health = health::look(self.app)?;
        let top = self.top(&health, page.place);
        // What is wrong comes first, so that a tab tells it.
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
        let here = format!("{}{}{}", self.request.path, if self.request.query.is_empty() { "" } else { "?" }, self.request.query);
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
            user = &self.user.name,
        )
    }

    /// The page of something that did not go well.
    fn problem(&self, error: &Error) -> Reply {
        let (status, text) = (error.status(), error.detail());
        let title = problem_title(error);
        let body = page!("problem.html", title = title, text = &text);
        self.framed(Page { status, place: "", title, head: Html::empty(), body: &body })
    }
}

/// To a page that says what was done.
fn back_to(page: &str, word: &str) -> Response {
    let sign = if page.contains('?') { '&' } else { '?' };
    Response::redirect(303, &format!("{page}{sign}done={word}"))
}

/// How many nodes are how, in words.
fn figures(health: &Health) -> Html {
    let figures = [(health.dead, "dead"), (health.stale, "stale"), (health.unknown, "unknown"), (health.alive, "alive")];
    let shown = figures.iter().filter(|(n, word)| *n > 0 || *word == "alive");
    Html::concat(
        shown
            .map(|(n, word)| {
                // None is nothing to be green about.
                let look = if *n > 0 { *word } else { "unknown" };
                page!("health.html", count = &n.to_string(), word = *word, look = look)
            })
            .collect(),
    )
}

/// What holds the cluster, where something does.
fn banners(health: &Health) -> Html {
    let mut banners = Vec::new();
    if health.guarded {
        let text = "Writes are disabled: the cluster setting etcd_status says that etcd is not well. Heartbeats go on.";
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

/// A page for nobody in particular.
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
        // Another version's style and script are other files to a browser's cache.
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
