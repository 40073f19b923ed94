//! The first page after sign-in: state of the cluster, and what needs attention.

use super::{At, events, mesh, nodes, parts, run};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::model::Paging;
use crate::model::events::EventFilter;
use crate::model::status::{Attention, Subject};
use crate::model::users::Role::Viewer;
use crate::scheduler::ServiceHealth;
use crate::upkeep::{health, status};
use tiny_http::Method::Get;

/// Services on the page.
const SERVICES_MAX: usize = 10;
/// Events on the page.
const EVENTS_MAX: usize = 12;
/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Get, "/ui", By(Viewer, |c, r, u| run(c, r, u, show)))];

fn show(at: &At) -> Reply {
    let control = at.control;
    let health = health::read(at.app)?;
    let nodes = nodes::all(control)?;
    let services = super::services::all(control)?;
    let states = at.app.scheduler.health(control)?;
    let wanted: usize = states.iter().map(|s| s.plan.desired_replicas).sum();
    let running: usize = states.iter().map(|s| s.running).sum();
    let failing: usize = states.iter().map(|s| s.failing).sum();
    let number = |href: &str, number: usize, class: &str, text: &str| {
        page!("number.html", href = href, number = &number.to_string(), class = class, text = text)
    };
    let mut numbers = vec![number("/ui/nodes?state=alive", health.alive, "state alive", "nodes alive")];
    for (n, word) in [(health.stale, "stale"), (health.dead, "dead"), (health.unknown, "unknown")] {
        if n > 0 {
            numbers.push(number(
                &format!("/ui/nodes?state={word}"),
                n,
                &format!("state {word}"),
                &format!("nodes {word}"),
            ));
        }
    }
    numbers.push(number("/ui/services", states.len(), "soft", if states.len() == 1 { "service" } else { "services" }));
    numbers.push(number("/ui/replicas", running + failing, "soft", &format!("of {wanted} replicas placed")));
    if failing > 0 {
        numbers.push(number("/ui/replicas?state=failing", failing, "state failing", "replicas failing"));
    }
    let last = super::events::page(control, &Paging::first(EVENTS_MAX), &EventFilter::default())?;
    let body = page!(
        "overview.html",
        notice = &Html::concat(vec![page!(
            "head.html",
            title = "Overview",
            actions = &Html::empty(),
            notice = &Html::empty()
        )]),
        numbers = &Html::concat(numbers),
        attention = &attention(&status::attention(at.app, &nodes, &services, &states)?),
        mesh = &mesh::picture(control, &nodes)?,
        services = &of_services(at, &states),
        events = &Html::concat(vec![events::short(&last), parts::link("/ui/events", "All events")]),
    );
    at.page("Overview", "Overview", &body)
}

/// Lines that need attention, the most urgent first.
fn attention(lines: &[Attention]) -> Html {
    let row = |line: &Attention| {
        let more = match line.at {
            Some(at) => Html::concat(vec![parts::text(&format!("{} ", line.detail)), parts::time(at)]),
            None => parts::text(&line.detail),
        };
        page!(
            "attention.html",
            kind = line.kind,
            what = line.what,
            href = &href(&line.subject),
            text = &line.name,
            more = &more
        )
    };
    if lines.is_empty() {
        return parts::hint("No known problems.");
    }
    parts::list(lines.iter().map(row).collect())
}

/// The page about a subject.
fn href(subject: &Subject) -> String {
    match subject {
        Subject::Node(id) => parts::path("nodes", id),
        Subject::Nodes(state) => format!("/ui/nodes?state={}", state.as_str()),
        Subject::Service(id) => parts::path("services", id),
        Subject::Services => "/ui/services".to_string(),
        Subject::Certificates => "/ui/settings/certificates".to_string(),
        Subject::Snapshots => "/ui/support".to_string(),
        Subject::Backups => "/ui/settings/backups".to_string(),
        Subject::Cluster => "/ui/settings/cluster".to_string(),
    }
}

fn of_services(at: &At, states: &[ServiceHealth]) -> Html {
    if states.is_empty() {
        return super::services::nothing_yet(at);
    }
    let mut sorted: Vec<&ServiceHealth> = states.iter().collect();
    sorted.sort_by_key(|s| (s.failing == 0, s.running >= s.plan.desired_replicas, s.plan.service_id.clone()));
    let row = |s: &&ServiceHealth| {
        vec![parts::service(&s.plan.service_id), super::services::state_of(s), super::services::figures(s)]
    };
    let table = parts::table(
        "Services",
        &parts::heads(&["Service", "State", "Replicas"]),
        sorted.iter().take(SERVICES_MAX).map(row).collect(),
    );
    let more = match sorted.len() > SERVICES_MAX {
        true => parts::link("/ui/services", &format!("All {} services", sorted.len())),
        false => Html::empty(),
    };
    Html::concat(vec![table, more])
}
