//! Services: the list, a page for each with its spec, revisions and replicas, and the actions of operators. Its forms
//! are in `service_spec`.

use super::actions::{Action, Actions, Button, no_fields};
use super::{At, ROWS_MAX, diff, field, notice, parts, run, service_spec};
use crate::control::Control;
use crate::control::fleet::lookalikes;
use crate::control::versions::Condition;
use crate::control::work::{replicas, services};
use crate::error::{Error, Result};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::model::Paging;
use crate::model::services::{Revision, Service};
use crate::model::users::Role::{Operator, Viewer};
use crate::model::workload::Driver;
use crate::scheduler;
use crate::scheduler::ServiceHealth;
use tiny_http::Method::{Get, Post};

/// Services that a list is built from; the command line shows all.
const SERVICES_MAX: usize = 10_000;
/// Revisions on a service's page.
const REVISIONS_MAX: usize = 20;
/// Nodes in an explanation.
const EXPLAINED_MAX: usize = 50;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/services", By(Viewer, |c, r, u| run(c, r, u, list))),
    route(Get, "/ui/new-service", By(Operator, |c, r, u| run(c, r, u, service_spec::new))),
    route(Post, "/ui/new-service", By(Operator, |c, r, u| run(c, r, u, service_spec::create))),
    route(Get, "/ui/services/{service_id}", By(Viewer, |c, r, u| run(c, r, u, show))),
    route(Get, "/ui/services/{service_id}/explain", By(Viewer, |c, r, u| run(c, r, u, explain))),
    route(Get, "/ui/services/{service_id}/spec", By(Operator, |c, r, u| run(c, r, u, service_spec::edit))),
    route(Post, "/ui/services/{service_id}/spec", By(Operator, |c, r, u| run(c, r, u, service_spec::save))),
    route(Get, "/ui/services/{service_id}/revisions/{generation}", By(Viewer, |c, r, u| run(c, r, u, revision))),
    route(
        Post,
        "/ui/services/{service_id}/revisions/{generation}",
        By(Operator, |c, r, u| run(c, r, u, |at| ROLLBACK.act(at))),
    ),
    route(Get, "/ui/services/{service_id}/{action}", By(Operator, |c, r, u| run(c, r, u, |at| ACTIONS.ask(at)))),
    route(Post, "/ui/services/{service_id}/{action}", By(Operator, |c, r, u| run(c, r, u, |at| ACTIONS.act(at)))),
];

const PLACE: &str = "Services";
const DONE: &[(&str, &str)] = &[
    ("create", "Service created. The scheduler places its replicas once nothing has changed for a few seconds."),
    ("save", "Spec saved as a new generation."),
    ("rollout", "Rollout started. Every replica is restarted."),
    ("run", "Nodes may run this service."),
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
    } else if health.running + health.pending < health.plan.desired_replicas {
        "short"
    } else if health.pending > 0 {
        "pending"
    } else if health.outdated > 0 {
        "updating"
    } else {
        "healthy"
    })
}

/// Numbers of running and desired replicas.
pub(super) fn figures(health: &ServiceHealth) -> Html {
    let part = |count: usize, word: &str| if count > 0 { format!(", {count} {word}") } else { String::new() };
    let others = part(health.pending, "pending") + &part(health.failing, "failing");
    parts::text(&format!("{} of {}{others}", health.running, health.plan.desired_replicas))
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
        parts::live("services", &Html::concat(vec![table, parts::pager(found.len(), "service", number, pages, &href)])),
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
        ("Driver", parts::text(driver(&service))),
        ("Description", parts::text(service.description.as_deref().unwrap_or("none"))),
        ("Made", parts::time(service.created_at)),
        ("Changed", parts::time(service.updated_at)),
    ];
    let mut warnings = lookalikes::of_service(at.control, &service.id, &service.name);
    if service.is_held_back() {
        let why = "No node runs this service: it is older than the nodes' ability to run replicas.";
        warnings.push(why.to_string());
    }
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
    }
    actions.push(ACTIONS.buttons(at, &path, |action| action.word != "run" || service.is_held_back()));
    let body = Html::concat(vec![
        page!("head.html", title = &service.name, actions = &Html::concat(actions), notice = &at.notice(DONE)),
        follows,
        parts::section("Spec", &parts::code(&parts::pretty(&service.spec))),
    ]);
    at.page(PLACE, &service.name, &body)
}

/// The driver of a service, in words.
fn driver(service: &Service) -> &'static str {
    match service.driver() {
        Driver::None => "none: its replicas are records",
        driver => driver.as_str(),
    }
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
    let service = services::show(at.control, &at.id(0, "Service")?)?.object;
    let (revision, before) = named(at)?;
    let text = parts::pretty(&revision.spec);
    let mut body = vec![
        page!(
            "head.html",
            title = &format!("{}, generation {}", service.name, revision.generation),
            actions = &parts::button(&parts::path("services", &service.id), "Back to the service", ""),
            notice = &Html::empty(),
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
        body.push(ROLLBACK.form(at)?);
    }
    body.push(parts::section("Spec", &parts::code(&text)));
    at.page(PLACE, &format!("{} generation {}", service.name, revision.generation), &Html::concat(body))
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

/// Actions of operators on a service.
const ACTIONS: Actions = Actions {
    place: PLACE,
    role: Operator,
    word: |at| at.arg(1),
    object: |at| {
        let service = services::show(at.control, &at.id(0, "Service")?)?.object;
        Ok((service.name, parts::path("services", &service.id)))
    },
    rows: &[
        Action {
            word: "run",
            label: "Let nodes run it",
            button: Button::Asks,
            effects: |at| {
                Ok(vec![
                    "Nodes that can run its replicas start them.".to_string(),
                    format!("{} there now.", are(placed(at)?)),
                ])
            },
            fields: no_fields,
            handler: |at| services::run(at.control, at.id(0, "Service")?, Condition::default(), at.by()).map(drop),
            leads_to: None,
        },
        Action {
            word: "rollout",
            label: "Roll out",
            button: Button::Asks,
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
            button: Button::Warns,
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

/// The rollback on a revision's page.
const ROLLBACK: Actions = Actions {
    place: PLACE,
    role: Operator,
    word: |_| "rollback",
    object: |at| {
        let (revision, _) = named(at)?;
        let service = services::show(at.control, &revision.service_id)?.object;
        let name = format!("{}, generation {}", service.name, revision.generation);
        Ok((name, parts::path("services", &service.id)))
    },
    rows: &[Action {
        word: "rollback",
        label: "Roll back",
        button: Button::Asks,
        effects: |at| {
            let (revision, _) = named(at)?;
            let service = services::show(at.control, &revision.service_id)?.object;
            Ok(vec![
                format!(
                    "The spec of generation {} becomes generation {}.",
                    revision.generation,
                    service.generation + 1
                ),
                "Replicas are updated to it step by step, as max_surge and max_unavailable allow.".to_string(),
            ])
        },
        fields: no_fields,
        handler: |at| {
            let (revision, _) = named(at)?;
            let (service_id, to) = (revision.service_id, Some(revision.generation));
            services::rollback(at.control, service_id, Condition::default(), to, at.by()).map(drop)
        },
        leads_to: None,
    }],
};

/// Number of replicas of the service named by the path.
fn placed(at: &At) -> Result<u64> {
    Ok(replicas::list(at.control, &Paging::first(1), Some(&at.id(0, "Service")?), None)?.total)
}

fn are(replicas: u64) -> String {
    if replicas == 1 { "1 replica is".to_string() } else { format!("{replicas} replicas are") }
}
