//! The first page after sign-in: how the cluster is, and what needs somebody.

use super::{At, events, mesh, nodes, parts, run};
use crate::clock;
use crate::control::trust::ca;
use crate::control::work::runs;
use crate::error::Result;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::model::events::EventFilter;
use crate::model::leases::LeaseState;
use crate::model::nodes::ListedNode;
use crate::model::runs::{Kind, RunStatus};
use crate::model::users::Role::Viewer;
use crate::model::{Paging, services::Service};
use crate::scheduler::ServiceHealth;
use crate::upkeep::backups;
use crate::upkeep::health;
use tiny_http::Method::Get;

/// Lines of a kind under what needs attention; the number of the others is told.
const LINES_MAX: usize = 5;
/// Services on the page.
const SERVICES_MAX: usize = 10;
/// Events on the page.
const EVENTS_MAX: usize = 12;
/// A rollout that is not through after this is worth a look.
const ROLLOUT_S: i64 = 600;
/// Node certificates are renewed long before they end; one that ends within this was not.
const NODE_CERTIFICATE_S: i64 = 3 * 86_400;
/// The authority's certificate takes a rotation, which takes time.
const CA_CERTIFICATE_S: i64 = 90 * 86_400;
/// A snapshot that is older is too old.
const SNAPSHOT_S: i64 = 86_400;

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
            numbers.push(number(&format!("/ui/nodes?state={word}"), n, &format!("state {word}"), &format!("nodes {word}")));
        }
    }
    numbers.push(number("/ui/services", states.len(), "soft", if states.len() == 1 { "service" } else { "services" }));
    numbers.push(number("/ui/replicas", running, "state running", &format!("of {wanted} replicas running")));
    if failing > 0 {
        numbers.push(number("/ui/replicas?state=failing", failing, "state failing", "replicas failing"));
    }
    let last = super::events::page(control, &Paging::first(EVENTS_MAX), &EventFilter::default())?;
    let body = page!(
        "overview.html",
        notice = &Html::concat(vec![page!("head.html", title = "Overview", actions = &Html::empty(), notice = &Html::empty())]),
        numbers = &Html::concat(numbers),
        attention = &attention(at, &nodes, &services, &states)?,
        mesh = &mesh::picture(control, &nodes)?,
        services = &of_services(at, &states),
        events = &Html::concat(vec![events::short(&last), parts::link("/ui/events", "All events")]),
    );
    at.page("Overview", "Overview", &body)
}

/// What somebody should look at, the most urgent first.
fn attention(at: &At, nodes: &[ListedNode], services: &[Service], states: &[ServiceHealth]) -> Result<Html> {
    let (control, now) = (at.control, clock::now());
    let mut lines = Vec::new();
    let line = |kind: &str, what: &str, href: &str, text: &str, more: &Html| {
        page!("attention.html", kind = kind, what = what, href = href, text = text, more = more)
    };
    for state in [LeaseState::Dead, LeaseState::Stale] {
        let them: Vec<&ListedNode> = nodes.iter().filter(|n| control.leases.state(&n.id) == state).collect();
        for node in them.iter().take(LINES_MAX) {
            let since = Html::concat(vec![parts::text("last heard of "), parts::maybe_time(node.heartbeat_at)]);
            lines.push(line(state.as_str(), state.as_str(), &parts::path("nodes", &node.id), &node.name, &since));
        }
        if them.len() > LINES_MAX {
            let href = format!("/ui/nodes?state={}", state.as_str());
            lines.push(line(state.as_str(), state.as_str(), &href, &format!("{} more", them.len() - LINES_MAX), &Html::empty()));
        }
    }
    let troubled: Vec<&ServiceHealth> = states.iter().filter(|s| s.failing > 0 || s.running < s.plan.desired_replicas).collect();
    for state in troubled.iter().take(LINES_MAX) {
        let id = &state.plan.service_id;
        let more = parts::text(&format!("{} of {} running, {} failing", state.running, state.plan.desired_replicas, state.failing));
        let (kind, what) = if state.failing > 0 { ("failing", "failing") } else { ("short", "too few") };
        lines.push(line(kind, what, &parts::path("services", id), id, &more));
    }
    if troubled.len() > LINES_MAX {
        lines.push(line("failing", "services", "/ui/services", &format!("{} more", troubled.len() - LINES_MAX), &Html::empty()));
    }
    let outdated = |service: &Service| states.iter().find(|s| s.plan.service_id == service.id).map_or(0, |s| s.outdated);
    let stuck: Vec<(&Service, usize)> = services
        .iter()
        .filter(|service| now.secs() - service.updated_at.secs() > ROLLOUT_S)
        .map(|service| (service, outdated(service)))
        .filter(|(_, outdated)| *outdated > 0)
        .collect();
    for (service, outdated) in stuck.iter().take(LINES_MAX) {
        let more = parts::text(&format!("{} on an older generation", parts::count(*outdated, "replica")));
        lines.push(line("warning", "rollout not through", &parts::path("services", &service.id), &service.name, &more));
    }
    if stuck.len() > LINES_MAX {
        lines.push(line("warning", "rollouts", "/ui/services", &format!("{} more", stuck.len() - LINES_MAX), &Html::empty()));
    }
    let ends_soon = |node: &&ListedNode| node.identity_expires_at.is_some_and(|end| end.secs() - now.secs() < NODE_CERTIFICATE_S);
    let ending = nodes.iter().filter(ends_soon).count();
    for node in nodes.iter().filter(ends_soon).take(LINES_MAX) {
        let more = Html::concat(vec![parts::text("its certificate ends "), parts::maybe_time(node.identity_expires_at)]);
        lines.push(line("warning", "certificate", &parts::path("nodes", &node.id), &node.name, &more));
    }
    if ending > LINES_MAX {
        lines.push(line("warning", "certificates", "/ui/settings/certificates", &format!("{} more", ending - LINES_MAX), &Html::empty()));
    }
    if let Some(end) = ca::show(control)?.current.and_then(|ca| ca.not_after)
        && end.secs() - now.secs() < CA_CERTIFICATE_S
    {
        let more = Html::concat(vec![parts::text("ends "), parts::time(end)]);
        lines.push(line("warning", "certificate", "/ui/settings/certificates", "the cluster's authority", &more));
    }
    let snapshots = runs::list(control, Kind::Snapshot, &Paging::first(super::ROWS_MAX))?.items;
    // Whether the last try went well, and how old the last good one is, are two things.
    let finished = snapshots.iter().find(|s| s.status.is_finished());
    if let Some(failed) = finished.filter(|s| s.status != RunStatus::Completed) {
        let more = Html::concat(vec![parts::text("the last one failed "), parts::time(failed.updated_at)]);
        lines.push(line("failed", "snapshot", "/ui/support", "etcd", &more));
    }
    let newest = snapshots.iter().find(|s| s.status == RunStatus::Completed);
    if let Some(old) = newest.filter(|s| now.secs() - s.updated_at.secs() > SNAPSHOT_S) {
        let more = Html::concat(vec![parts::text("the newest completed one is from "), parts::time(old.updated_at)]);
        lines.push(line("warning", "snapshot", "/ui/support", "etcd", &more));
    }
    if let Some(problem) = backups::problem(at.app)? {
        lines.push(line("warning", "backup", "/ui/settings/backups", "backups", &parts::text(&problem)));
    }
    Ok(if lines.is_empty() { parts::hint("No known problems.") } else { parts::list(lines) })
}

fn of_services(at: &At, states: &[ServiceHealth]) -> Html {
    if states.is_empty() {
        return super::services::nothing_yet(at);
    }
    let mut sorted: Vec<&ServiceHealth> = states.iter().collect();
    sorted.sort_by_key(|s| (s.failing == 0, s.running >= s.plan.desired_replicas, s.plan.service_id.clone()));
    let row = |s: &&ServiceHealth| vec![parts::service(&s.plan.service_id), super::services::state_of(s), super::services::figures(s)];
    let table =
        parts::table("Services", &parts::heads(&["Service", "State", "Replicas"]), sorted.iter().take(SERVICES_MAX).map(row).collect());
    let more = match sorted.len() > SERVICES_MAX {
        true => parts::link("/ui/services", &format!("All {} services", sorted.len())),
        false => Html::empty(),
    };
    Html::concat(vec![table, more])
}
