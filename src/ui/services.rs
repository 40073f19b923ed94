//! Services: the list, a page for each with its spec, revisions and replicas, and the actions of operators.

use super::actions::{Action, Actions, no_fields};
use super::{At, Page as Shown, ROWS_MAX, back_to, diff, field, notice, parts, run, spec_text};
use crate::control::Control;
use crate::control::fleet::lookalikes;
use crate::control::once::Once;
use crate::control::versions::{Condition, Versioned};
use crate::control::work::{replicas, services};
use crate::error::{Error, FieldFault, Loc, Result};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::http::fields::Fields;
use crate::inputs::specs::spec;
use crate::model::services::{NewService, Revision, Service};
use crate::model::users::Role::{Operator, Viewer};
use crate::model::{Object, Paging, specs::Policy};
use crate::scheduler;
use crate::scheduler::ServiceHealth;
use serde_json::{Value, json};
use tiny_http::Method::{Get, Post};

/// Services that a list is built from; the command line shows all.
const SERVICES_MAX: usize = 10_000;
/// Revisions on a service's page.
const REVISIONS_MAX: usize = 20;
/// Nodes in an explanation.
const EXPLAINED_MAX: usize = 50;

/// Spec that the form of a new service starts with.
const EXAMPLE: &str =
    "{\n  \"image\": \"nginx\",\n  \"ports\": [8080],\n  \"scheduling\": {\n    \"desired_replicas\": 2\n  }\n}";

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/services", By(Viewer, |c, r, u| run(c, r, u, list))),
    route(Get, "/ui/new-service", By(Operator, |c, r, u| run(c, r, u, new))),
    route(Post, "/ui/new-service", By(Operator, |c, r, u| run(c, r, u, create))),
    route(Get, "/ui/services/{service_id}", By(Viewer, |c, r, u| run(c, r, u, show))),
    route(Get, "/ui/services/{service_id}/explain", By(Viewer, |c, r, u| run(c, r, u, explain))),
    route(Get, "/ui/services/{service_id}/spec", By(Operator, |c, r, u| run(c, r, u, edit))),
    route(Post, "/ui/services/{service_id}/spec", By(Operator, |c, r, u| run(c, r, u, save))),
    route(Get, "/ui/services/{service_id}/revisions/{generation}", By(Viewer, |c, r, u| run(c, r, u, revision))),
    route(Post, "/ui/services/{service_id}/revisions/{generation}", By(Operator, |c, r, u| run(c, r, u, roll_back))),
    route(Get, "/ui/services/{service_id}/{action}", By(Operator, |c, r, u| run(c, r, u, |at| ACTIONS.ask(at)))),
    route(Post, "/ui/services/{service_id}/{action}", By(Operator, |c, r, u| run(c, r, u, |at| ACTIONS.act(at)))),
];

const PLACE: &str = "Services";
const DONE: &[(&str, &str)] = &[
    ("create", "Service created. The scheduler places its replicas once nothing has changed for a few seconds."),
    ("save", "Spec saved as a new generation."),
    ("rollout", "Rollout started. Every replica is restarted."),
    ("rollback", "Earlier spec restored as a new generation."),
    ("delete", "Service deleted."),
];

/// Every service.
pub(super) fn all(control: &Control) -> Result<Vec<Service>> {
    Ok(services::list(control, &Paging::first(SERVICES_MAX))?.items)
}

/// Placeholder for an empty list of services.
pub(super) fn nothing_yet(at: &At) -> Html {
    let empty = parts::empty(
        "No services yet. Describe one in a file, or create it here:",
        "uptimemesh service apply -f web.json",
    );
    if at.may(Operator) {
        Html::concat(vec![empty, parts::button("/ui/new-service", "New service", "primary")])
    } else {
        empty
    }
}

/// State of a service, in a word.
pub(super) fn state_of(health: &ServiceHealth) -> Html {
    parts::state(if health.failing > 0 {
        "failing"
    } else if health.running < health.plan.desired_replicas {
        "short"
    } else if health.outdated > 0 {
        "updating"
    } else {
        "healthy"
    })
}

/// Numbers of running and desired replicas.
pub(super) fn figures(health: &ServiceHealth) -> Html {
    let failing = if health.failing > 0 { format!(", {} failing", health.failing) } else { String::new() };
    parts::text(&format!("{} of {}{failing}", health.running, health.plan.desired_replicas))
}

fn list(at: &At) -> Reply {
    let query = at.request.query_pairs();
    let wanted = field(&query, "q").to_lowercase();
    let mut found = all(at.control)?;
    found.retain(|s| s.id.as_str().to_lowercase().contains(&wanted) || s.name.to_lowercase().contains(&wanted));
    let states = at.app.scheduler.health(at.control)?;
    let pages = found.len().div_ceil(ROWS_MAX).max(1);
    let number = field(&query, "page").parse().unwrap_or(1).clamp(1, pages);
    let shown = &found[(number - 1) * ROWS_MAX..found.len().min(number * ROWS_MAX)];
    let row = |service: &Service| {
        // Plans are in the order of ids, as the view is.
        let health = states.binary_search_by(|s| s.plan.service_id.cmp(&service.id)).ok().map(|i| &states[i]);
        let rollout = health.filter(|h| h.outdated > 0).map_or(String::new(), |h| format!(", {} to go", h.outdated));
        vec![
            parts::link(&parts::path("services", &service.id), &service.name),
            health.map_or_else(Html::empty, state_of),
            health.map_or_else(Html::empty, figures),
            parts::text(&format!("{}{rollout}", service.generation)),
            parts::text(service.description.as_deref().unwrap_or("")),
            parts::time(service.updated_at),
        ]
    };
    let table = match (found.is_empty(), wanted.is_empty()) {
        (true, true) => nothing_yet(at),
        (true, false) => parts::hint("No services match."),
        _ => {
            let heads = parts::heads(&["Service", "State", "Replicas", "Generation", "~Description", "~Changed"]);
            parts::table("Services", &heads, shown.iter().map(row).collect())
        }
    };
    let href =
        |page: usize| parts::with_query("/ui/services", &[("q", field(&query, "q")), ("page", &page.to_string())]);
    let new = if at.may(Operator) { parts::button("/ui/new-service", "New service", "primary") } else { Html::empty() };
    let body = Html::concat(vec![
        page!("head.html", title = PLACE, actions = &new, notice = &at.notice(DONE)),
        page!("filter.html", action = "/ui/services", fields = &parts::field("Text", "q", field(&query, "q"))),
        parts::live(
            "services",
            &Html::concat(vec![table, super::nodes::pager(found.len(), "service", number, pages, &href)]),
        ),
    ]);
    at.page(PLACE, PLACE, &body)
}

fn show(at: &At) -> Reply {
    let service = services::show(at.control, &at.id(0, "Service")?)?.object;
    let states = at.app.scheduler.health(at.control)?;
    let health = states.iter().find(|s| s.plan.service_id == service.id);
    let path = parts::path("services", &service.id);
    let placed = replicas::list(at.control, &Paging::first(ROWS_MAX), Some(&service.id), None)?;
    let mut by_node: Vec<_> = placed.items.iter().collect();
    by_node.sort_by(|a, b| (&a.node_id, &a.id).cmp(&(&b.node_id, &b.id)));
    let rows: Vec<Vec<Html>> =
        by_node.into_iter().map(|r| super::replicas::row_of_service(r, service.generation)).collect();
    let table = match rows.is_empty() {
        true => parts::hint("No replicas yet."),
        false => parts::table(
            "Replicas by node",
            &parts::heads(&["Node", "Replica", "State", "Runs generation", "~Since"]),
            rows,
        ),
    };
    let more = (placed.total as usize).saturating_sub(placed.items.len());
    let all_of = parts::with_query("/ui/replicas", &[("service", service.id.as_str())]);
    let more = if more > 0 { parts::link(&all_of, &format!("{more} more")) } else { Html::empty() };
    let facts = vec![
        ("State", health.map_or_else(Html::empty, state_of)),
        ("Replicas", health.map_or_else(Html::empty, figures)),
        ("Generation", parts::text(&service.generation.to_string())),
        ("Id", parts::text(service.id.as_str())),
        ("Description", parts::text(service.description.as_deref().unwrap_or("none"))),
        ("Made", parts::time(service.created_at)),
        ("Changed", parts::time(service.updated_at)),
    ];
    let mut warnings = lookalikes::of_service(at.control, &service.id, &service.name);
    warnings.extend(health.into_iter().flat_map(|h| h.plan.warnings.iter().cloned()));
    let warnings = warnings.iter().map(|w| notice("bad", w)).collect();
    let follows = parts::live(
        "service",
        &Html::concat(vec![
            rollout(health),
            Html::concat(warnings),
            parts::facts(facts),
            parts::section("Replicas", &Html::concat(vec![table, more])),
            parts::section("Revisions", &revisions(at, &service)?),
        ]),
    );
    let mut actions = vec![parts::button(&format!("{path}/explain"), "Explain", "")];
    if at.may(Operator) {
        actions.push(parts::button(&format!("{path}/spec"), "Edit spec", ""));
        actions.push(parts::button(&format!("{path}/rollout"), "Roll out", ""));
        actions.push(parts::button(&format!("{path}/delete"), "Delete", "danger"));
    }
    let body = Html::concat(vec![
        page!("head.html", title = &service.name, actions = &Html::concat(actions), notice = &at.notice(DONE)),
        follows,
        parts::section("Spec", &parts::code(&parts::pretty(&service.spec))),
    ]);
    at.page(PLACE, &service.name, &body)
}

/// Progress of a rollout.
fn rollout(health: Option<&ServiceHealth>) -> Html {
    let Some(health) = health.filter(|h| h.outdated > 0) else { return Html::empty() };
    let all = health.plan.replicas_before.max(health.outdated);
    let text = format!(
        "Rolling out generation {}: {} of {} replicas run it.",
        health.plan.generation,
        all - health.outdated,
        all
    );
    let far =
        page!("progress.html", max = &all.to_string(), value = &(all - health.outdated).to_string(), text = &text);
    let Some(waits) = &health.plan.rollout else { return far };
    let asked = parts::text(&format!("No report yet from {} of them, the first asked ", waits.pending));
    Html::concat(vec![
        far,
        page!("p.html", class = "hint", body = &Html::concat(vec![asked, parts::time(waits.waiting_since)])),
    ])
}

fn revisions(at: &At, service: &Service) -> Result<Html> {
    let page = services::revisions(at.control, &service.id, &Paging::first(REVISIONS_MAX), None)?;
    let row = |revision: &Revision| {
        let restored = revision.restored_generation.map_or(String::new(), |g| format!(" to {g}"));
        vec![
            parts::link(
                &format!("{}/revisions/{}", parts::path("services", &service.id), revision.generation),
                &revision.generation.to_string(),
            ),
            parts::text(&format!("{}{restored}", revision.action)),
            parts::text(&revision.created_by),
            parts::time(revision.created_at),
        ]
    };
    let table = parts::table(
        "Revisions",
        &parts::heads(&["Generation", "By", "Who", "When"]),
        page.items.iter().map(row).collect(),
    );
    let older = (page.total as usize).saturating_sub(page.items.len());
    let command = format!("{older} older ones: uptimemesh service history {}", service.id);
    let more = if older > 0 { parts::hint(&command) } else { Html::empty() };
    Ok(Html::concat(vec![table, more]))
}

/// The revision named by the path, and the previous one.
fn named(at: &At) -> Result<(Revision, Option<Revision>)> {
    let missing = || Error::not_found("Revision");
    let generation: i64 = at.arg(1).parse().map_err(|_| missing())?;
    let mut found =
        services::revisions(at.control, &at.id(0, "Service")?, &Paging::first(2), Some(generation.saturating_add(1)))?
            .items
            .into_iter();
    let revision = found.next().filter(|r| r.generation == generation).ok_or_else(missing)?;
    Ok((revision, found.next()))
}

fn revision(at: &At) -> Reply {
    revision_page(at, None)
}

fn revision_page(at: &At, failed: Option<&Error>) -> Reply {
    let service = services::show(at.control, &at.id(0, "Service")?)?.object;
    let (revision, before) = named(at)?;
    let text = parts::pretty(&revision.spec);
    let mut body = vec![
        page!(
            "head.html",
            title = &format!("{}, generation {}", service.name, revision.generation),
            actions = &parts::button(&parts::path("services", &service.id), "Back to the service", ""),
            notice = &failed.map_or_else(Html::empty, |e| notice("bad", &e.detail())),
        ),
        parts::facts(vec![
            ("By", parts::text(&revision.action)),
            ("Who", parts::text(&revision.created_by)),
            ("When", parts::time(revision.created_at)),
        ]),
    ];
    if let Some(before) = before {
        let title = format!("Changes since generation {}", before.generation);
        body.push(parts::section(&title, &diff::lines(&parts::pretty(&before.spec), &text)));
    }
    if revision.generation != service.generation {
        body.push(parts::section(
            "Effect of rolling back now",
            &diff::lines(&parts::pretty(&service.own_spec()), &text),
        ));
        if at.may(Operator) {
            let effects = [
                format!(
                    "The spec of generation {} becomes generation {}.",
                    revision.generation,
                    service.generation + 1
                ),
                "Replicas are updated to it step by step, as max_surge and max_unavailable allow.".to_string(),
            ];
            body.push(page!(
                "confirm_here.html",
                action = &at.request.path,
                csrf = &at.csrf(),
                effects = &parts::items_of(effects.iter().map(|effect| parts::text(effect)).collect()),
                button = &format!("Roll back to generation {}", revision.generation),
            ));
        }
    }
    body.push(parts::section("Spec", &parts::code(&text)));
    let title = format!("{} generation {}", service.name, revision.generation);
    let body = Html::concat(body);
    at.framed(Shown {
        status: failed.map_or(200, Error::status),
        place: PLACE,
        title: &title,
        head: Html::empty(),
        body: &body,
    })
}

fn roll_back(at: &At) -> Reply {
    let (revision, _) = named(at)?;
    match services::rollback(at.control, at.id(0, "Service")?, Condition::default(), Some(revision.generation), at.by())
    {
        Ok(_) => Ok(back_to(&parts::path("services", at.arg(0)), "rollback")),
        Err(e @ Error::Fault(_)) => Err(e),
        Err(e) => revision_page(at, Some(&e)),
    }
}

fn explain(at: &At) -> Reply {
    let service = services::show(at.control, &at.id(0, "Service")?)?.object;
    let why = at.app.scheduler.explain(at.control, &service.id)?;
    let row = |node: &scheduler::NodeAnswer| {
        let filters: Vec<&str> = node.filters.iter().map(|f| f.reason.as_str()).collect();
        let answer = match (node.rank, node.score) {
            (Some(rank), Some(score)) => {
                let used = if score.used_permille > 0 {
                    format!(", {} % taken", score.used_permille / 10)
                } else {
                    String::new()
                };
                format!(
                    "choice {rank}: {} of this service, {} in its zone, {} in all{used}",
                    score.same_service, score.zone_replicas, score.load
                )
            }
            _ => format!("takes none: {}", filters.join("; ")),
        };
        let here = node.replicas.iter().map(|id| Html::concat(vec![parts::replica(id), parts::text(" ")])).collect();
        vec![parts::node(&node.node_id), parts::text(&answer), Html::concat(here)]
    };
    let placed = why.replicas.iter().take(EXPLAINED_MAX).map(|replica| {
        let (reason, moment) = replica.placement.as_ref().map_or_else(
            || (parts::text("placed by a client"), Html::empty()),
            |p| (parts::text(&format!("{}: {}", p.action.as_str(), p.reason)), parts::time(p.at)),
        );
        vec![parts::replica(&replica.replica_id), parts::node(&replica.node_id), reason, moment]
    });
    let placed = parts::table("Placed replicas", &parts::heads(&["Replica", "Node", "Why", "Since"]), placed.collect());
    let nodes = why.nodes.iter().take(EXPLAINED_MAX).map(row).collect();
    let hidden = why.nodes.len().saturating_sub(EXPLAINED_MAX);
    let more = format!("{hidden} more: uptimemesh scheduler explain {}", service.id);
    let body = Html::concat(vec![
        page!(
            "head.html",
            title = &format!("Why {} runs where it does", service.name),
            actions = &parts::button(&parts::path("services", &service.id), "Back to the service", ""),
            notice = &Html::concat(why.warnings.iter().map(|w| notice("bad", w)).collect()),
        ),
        parts::paragraph(&format!("{} of {} replicas are placed.", why.actual_replicas, why.desired_replicas)),
        parts::section("Why its replicas are there", &placed),
        parts::section(
            "Where the next replica would go, and why",
            &parts::table("Nodes", &parts::heads(&["Node", "Answer", "Replicas here"]), nodes),
        ),
        if hidden > 0 { parts::hint(&more) } else { Html::empty() },
    ]);
    at.page(PLACE, &format!("Explain {}", service.name), &body)
}

fn new(at: &At) -> Reply {
    let typed = Typed { id: "", name: "", description: "", text: EXAMPLE };
    new_page(at, 200, &typed, &Html::empty())
}

/// Values typed into the form of a new service.
struct Typed<'f> {
    id: &'f str,
    name: &'f str,
    description: &'f str,
    text: &'f str,
}

fn new_page(at: &At, status: u16, typed: &Typed, faults: &Html) -> Reply {
    let fields = vec![
        parts::field("Id", "id", typed.id),
        parts::field("Name (empty: the id)", "name", typed.name),
        parts::field("Description", "description", typed.description),
        doubts(typed.text),
    ];
    let form = form(at, "/ui/new-service", &Html::concat(fields), typed.text, faults, "Create the service");
    let body = Html::concat(vec![
        page!("head.html", title = "New service", actions = &Html::empty(), notice = &Html::empty()),
        form,
    ]);
    at.framed(Shown { status, place: PLACE, title: "New service", head: Html::empty(), body: &body })
}

fn form(at: &At, action: &str, fields: &Html, text: &str, faults: &Html, button: &str) -> Html {
    let described = if faults.is_empty() { Html::empty() } else { page!("described.html") };
    page!(
        "spec.html",
        action = action,
        csrf = &at.csrf(),
        fields = fields,
        described = &described,
        text = text,
        faults = faults,
        button = button,
    )
}

/// Warnings about a spec that can be saved although parts of it are not understood.
fn doubts(text: &str) -> Html {
    let spec: Object = serde_json::from_str(text).unwrap_or_default();
    Html::concat(Policy::of(&spec).warnings.iter().map(|w| notice("bad", w)).collect())
}

fn create(at: &At) -> Reply {
    let form = at.form();
    let [id, name, description, text] = ["id", "name", "description", "spec"].map(|key| field(&form, key));
    let name = if name.is_empty() { id } else { name };
    let made = read_spec(text, json!({ "id": id, "name": name, "description": description })).and_then(|body| {
        let mut f = Fields::of_body(body.as_bytes())?;
        let new = NewService {
            id: f.id("id").required(),
            name: f.name("name").required(),
            description: f.text("description", 0..=4096).optional().filter(|d| !d.is_empty()),
            spec: spec(&mut f).unwrap_or_default(),
        };
        f.finish()?;
        services::create(at.control, Once::default(), new, at.by())
    });
    match made {
        Ok(_) => Ok(back_to(&parts::path("services", id), "create")),
        Err(e @ Error::Fault(_)) => Err(e),
        Err(e) => new_page(at, e.status(), &Typed { id, name, description, text }, &faults(&e, text)),
    }
}

fn edit(at: &At) -> Reply {
    let Versioned { object: service, tag, .. } = services::show(at.control, &at.id(0, "Service")?)?;
    let text = parts::pretty(&service.own_spec());
    edit_page(at, 200, &service, &tag, &text, &Html::empty())
}

fn edit_page(at: &At, status: u16, service: &Service, version: &str, text: &str, faults: &Html) -> Reply {
    let fields = Html::concat(vec![
        doubts(text),
        parts::hidden("version", version),
        parts::hint(
            "Saving creates a new generation, and replicas are updated to it step by step. Earlier generations stay \
                and can be restored.",
        ),
    ]);
    let body = Html::concat(vec![
        page!(
            "head.html",
            title = &format!("Spec of {}", service.name),
            actions = &parts::button(&parts::path("services", &service.id), "Back to the service", ""),
            notice = &Html::empty(),
        ),
        form(at, &at.request.path, &fields, text, faults, "Save as a new generation"),
    ]);
    let title = format!("Spec of {}", service.name);
    at.framed(Shown { status, place: PLACE, title: &title, head: Html::empty(), body: &body })
}

fn save(at: &At) -> Reply {
    let form = at.form();
    let (text, version) = (field(&form, "spec"), field(&form, "version"));
    let saved = read_spec(text, json!({})).and_then(|body| {
        let mut f = Fields::of_body(body.as_bytes())?;
        let spec = spec(&mut f);
        f.finish()?;
        let condition = Condition::if_match(Some(version));
        services::update(at.control, at.id(0, "Service")?, condition, None, spec, at.by())
    });
    match saved {
        Ok(_) => Ok(back_to(&parts::path("services", at.arg(0)), "save")),
        Err(e @ Error::Fault(_)) => Err(e),
        Err(e) => {
            let service = services::show(at.control, &at.id(0, "Service")?)?.object;
            edit_page(at, e.status(), &service, version, text, &faults(&e, text))
        }
    }
}

/// Body that the API would get: the typed spec, with the other fields of `body`.
fn read_spec(text: &str, mut body: Value) -> Result<String> {
    let f = Fields::of_body(text.as_bytes())?;
    body["spec"] = Value::Object(f.whole().clone());
    f.finish()?;
    Ok(body.to_string())
}

/// Faults of a form: those of the spec under the line concerned, all others above it.
fn faults(error: &Error, text: &str) -> Html {
    let Error::Invalid(all) = error else { return notice("bad", &error.detail()) };
    let text = &text.replace('\r', "");
    let place = |fault: &FieldFault| match (fault.kind, &fault.loc[..]) {
        ("json_invalid", [_, Loc::Index(at)]) => Some(spec_text::line_at(text, *at)),
        (_, [Loc::Name(body)]) if body == "body" => Some(0),
        _ => spec_text::inside(fault).map(|path| spec_text::line_of(text, path)),
    };
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for fault in all {
        match place(fault) {
            Some(line) => below.push((line, fault.msg.clone())),
            None => above.push(notice("bad", &fault.to_string())),
        }
    }
    if !below.is_empty() {
        let mut lines = Vec::new();
        for (i, line) in text.lines().enumerate() {
            lines.push(page!("line.html", text = line));
            lines.extend(below.iter().filter(|(at, _)| *at == i).map(|(_, msg)| page!("line_fault.html", text = msg)));
        }
        // The fault of an incomplete text is behind the last line.
        let end = text.lines().count();
        lines.extend(below.iter().filter(|(at, _)| *at >= end).map(|(_, msg)| page!("line_fault.html", text = msg)));
        above.push(page!("faults.html", lines = &Html::concat(lines)));
    }
    Html::concat(above)
}

/// Actions of operators on a service.
const ACTIONS: Actions = Actions {
    place: PLACE,
    word: |at| at.arg(1),
    object: |at| {
        let service = services::show(at.control, &at.id(0, "Service")?)?.object;
        Ok((service.name, parts::path("services", &service.id)))
    },
    rows: &[
        Action {
            word: "rollout",
            label: "Roll out",
            is_dangerous: false,
            effects: |at| {
                let service = services::show(at.control, &at.id(0, "Service")?)?.object;
                Ok(vec![
                    format!("Generation {} is created with the same spec.", service.generation + 1),
                    format!("{} restarted, step by step, as max_surge and max_unavailable allow.", are(placed(at)?)),
                ])
            },
            fields: no_fields,
            handler: |at| services::rollout(at.control, at.id(0, "Service")?, Condition::default(), at.by()).map(drop),
            leads_to: None,
        },
        Action {
            word: "delete",
            label: "Delete",
            is_dangerous: true,
            effects: |at| {
                Ok(vec![
                    "The service and all its revisions are deleted.".to_string(),
                    format!("{} there now.", are(placed(at)?)),
                ])
            },
            fields: |_| Ok(parts::checkbox("force", "Delete its replicas too.")),
            handler: |at| {
                let force = !field(&at.form(), "force").is_empty();
                services::delete(at.control, at.id(0, "Service")?, Condition::default(), force, at.by())
            },
            leads_to: Some("/ui/services"),
        },
    ],
};

/// Number of replicas of the service named by the path.
fn placed(at: &At) -> Result<u64> {
    Ok(replicas::list(at.control, &Paging::first(1), Some(&at.id(0, "Service")?), None)?.total)
}

fn are(replicas: u64) -> String {
    if replicas == 1 { "1 replica is".to_string() } else { format!("{replicas} replicas are") }
}
