//! State of the whole cluster: for the first page, for `/cluster/status` and for `uptimemesh status`.

use super::{App, backups, health};
use crate::clock::{self, Timestamp};
use crate::control::fleet::{nodes, updates};
use crate::control::trust::ca;
use crate::control::work::{runs, services};
use crate::control::{Control, events};
use crate::error::Result;
use crate::model::Paging;
use crate::model::events::{Event, EventFilter};
use crate::model::leases::LeaseState;
use crate::model::nodes::{Facts, ListedNode, NodeFilter};
use crate::model::runs::{Kind, RunStatus};
use crate::model::services::Service;
use crate::model::status::{Attention, ClusterStatus, NodeCounts, ServiceState, Subject};
use crate::model::updates::UpdateState;
use crate::scheduler::ServiceHealth;
use std::collections::HashMap;

/// Maximum number of problems of one kind; the others are counted.
const LINES_MAX: usize = 5;
/// Number of warnings from the event log.
const WARNINGS_MAX: usize = 5;
/// Maximum number of nodes and of services to examine.
const OBJECTS_MAX: usize = 20_000;
/// Number of snapshots among which to find the newest.
const SNAPSHOTS_MAX: usize = 1000;
/// Seconds after which an unfinished rollout is a problem.
const ROLLOUT_S: i64 = 600;
/// Seconds before the end of a node's certificate at which it is a problem: it should have been renewed long ago.
const NODE_CERTIFICATE_S: i64 = 3 * 86_400;
/// Seconds before the end of the authority's certificate at which it is a problem: a rotation takes time.
const CA_CERTIFICATE_S: i64 = 90 * 86_400;
/// Maximum age of the newest snapshot, in seconds.
const SNAPSHOT_S: i64 = 86_400;

/// Reads the whole state.
///
/// # Errors
/// Fails if the database cannot be read.
pub fn read(app: &App) -> Result<ClusterStatus> {
    let control = &app.control;
    let health = health::read(app)?;
    let nodes = nodes::list(control, &Paging::first(OBJECTS_MAX), &NodeFilter::default())?.items;
    let services = services::list(control, &Paging::first(OBJECTS_MAX))?.items;
    let states = app.scheduler.health(control)?;
    let mut attention = of_the_cluster(control, &health, &nodes)?;
    attention.extend(self::attention(app, &nodes, &services, &states)?);
    let state = |s: &ServiceHealth| ServiceState {
        service_id: s.plan.service_id.clone(),
        desired: s.plan.desired_replicas,
        running: s.running,
        pending: s.pending,
        failing: s.failing,
        outdated: s.outdated,
    };
    Ok(ClusterStatus {
        version: env!("CARGO_PKG_VERSION"),
        time: clock::now(),
        authority: ca::show(control)?.current,
        guarded: health.guarded,
        scheduler_mode: health.mode,
        braked: health.braked,
        last_backup_at: backups::newest(&control.config)?.map(|b| b.created_at),
        nodes: NodeCounts { alive: health.alive, stale: health.stale, dead: health.dead, unknown: health.unknown },
        services: states.iter().map(state).collect(),
        attention,
        warnings: warnings(control)?,
    })
}

/// The newest warnings and errors.
fn warnings(control: &Control) -> Result<Vec<Event>> {
    let mut found = Vec::new();
    for level in ["WARNING", "ERROR"] {
        let filter = EventFilter { level: Some(level.to_string()), ..EventFilter::default() };
        found.extend(events::list(control, &Paging::first(WARNINGS_MAX), &filter)?.items);
    }
    found.sort_by_key(|event| std::cmp::Reverse(event.created_at));
    found.truncate(WARNINGS_MAX);
    Ok(found)
}

fn line(
    subject: Subject,
    kind: &'static str,
    what: &'static str,
    name: &str,
    detail: String,
    at: Option<Timestamp>,
) -> Attention {
    Attention { subject, kind, what, name: name.to_string(), detail, at }
}

/// Adds a line with the number of further problems of a kind, if there are any.
fn left_out(lines: &mut Vec<Attention>, all: usize, subject: Subject, kind: &'static str, what: &'static str) {
    if all > LINES_MAX {
        lines.push(line(subject, kind, what, &format!("{} more", all - LINES_MAX), String::new(), None));
    }
}

/// Problems of the cluster as a whole: guard, brake, drains, a rotation, an update.
fn of_the_cluster(control: &Control, health: &health::Health, nodes: &[ListedNode]) -> Result<Vec<Attention>> {
    let mut lines = Vec::new();
    let mut warn =
        |subject, what, name: &str, detail: String, at| lines.push(line(subject, "warning", what, name, detail, at));
    if health.guarded {
        warn(
            Subject::Cluster,
            "writes refused",
            "write guard",
            "the setting etcd_status holds all writes".to_string(),
            None,
        );
    }
    if health.braked {
        let detail = "most nodes fell silent together; nothing is moved".to_string();
        warn(Subject::Cluster, "braked", "scheduler", detail, None);
    }
    if health.mode != "auto" {
        warn(Subject::Cluster, "mode", "scheduler", format!("it is in mode {}", health.mode), None);
    }
    let is_blocked = |node: &&ListedNode| {
        let facts = serde_json::from_str::<Facts>(node.status.get());
        facts.is_ok_and(|facts| facts.drain_state.is_some_and(|state| state == "blocked"))
    };
    for node in nodes.iter().filter(|n| n.status.get().contains("blocked")).filter(is_blocked).take(LINES_MAX) {
        let detail = "what is left on it fits nowhere else".to_string();
        warn(Subject::Node(node.id.clone()), "drain blocked", &node.name, detail, None);
    }
    let ca = ca::show(control)?;
    if ca.previous.is_some() {
        let detail = format!("{} of {} nodes are up to date", ca.nodes_up_to_date, ca.nodes);
        warn(Subject::Certificates, "rotation", "the node authority", detail, None);
    }
    let newest = updates::list(control, &Paging::first(1))?.items;
    use UpdateState::{Halted, Paused, Running};
    for update in newest.iter().filter(|u| matches!(u.state, Running | Paused | Halted)) {
        let why = update.reason.as_ref().map_or(String::new(), |why| format!(": {why}"));
        let detail = format!("to {}, {}{why}", update.version, update.state.as_str());
        warn(Subject::Cluster, "update", update.id.as_str(), detail, Some(update.created_at));
    }
    Ok(lines)
}

/// Problems with nodes, services, certificates, snapshots and backups, the most urgent first.
///
/// # Errors
/// Fails if the database cannot be read.
pub fn attention(
    app: &App,
    nodes: &[ListedNode],
    services: &[Service],
    states: &[ServiceHealth],
) -> Result<Vec<Attention>> {
    let control = &app.control;
    let now = clock::now();
    let mut lines = Vec::new();
    of_leases(control, nodes, &mut lines);
    of_services(services, states, now, &mut lines);
    of_certificates(control, nodes, now, &mut lines)?;
    of_snapshots(control, now, &mut lines)?;
    if let Some(problem) = backups::problem(app)? {
        lines.push(line(Subject::Backups, "warning", "backup", "backups", problem, None));
    }
    Ok(lines)
}

fn of_leases(control: &Control, nodes: &[ListedNode], lines: &mut Vec<Attention>) {
    for state in [LeaseState::Dead, LeaseState::Stale] {
        let word = state.as_str();
        let them: Vec<&ListedNode> = nodes.iter().filter(|n| control.leases.state(&n.id) == state).collect();
        for node in them.iter().take(LINES_MAX) {
            let detail = if node.heartbeat_at.is_some() { "last heartbeat" } else { "no heartbeat yet" };
            lines.push(line(
                Subject::Node(node.id.clone()),
                word,
                word,
                &node.name,
                detail.to_string(),
                node.heartbeat_at,
            ));
        }
        left_out(lines, them.len(), Subject::Nodes(state), word, word);
    }
    let suspects: Vec<&ListedNode> = nodes.iter().filter(|n| n.suspect_since.is_some()).collect();
    for node in suspects.iter().take(LINES_MAX) {
        let (subject, detail) = (Subject::Node(node.id.clone()), "its connection was reset".to_string());
        lines.push(line(subject, "warning", "suspect", &node.name, detail, node.suspect_since));
    }
    left_out(lines, suspects.len(), Subject::Nodes(LeaseState::Alive), "warning", "suspect");
}

fn of_services(services: &[Service], states: &[ServiceHealth], now: Timestamp, lines: &mut Vec<Attention>) {
    let troubled: Vec<&ServiceHealth> =
        states.iter().filter(|s| s.failing > 0 || s.running + s.pending < s.plan.desired_replicas).collect();
    for state in troubled.iter().take(LINES_MAX) {
        let id = &state.plan.service_id;
        let placed = state.running + state.pending + state.failing;
        let detail = format!("{placed} of {} placed, {} failing", state.plan.desired_replicas, state.failing);
        let (kind, what) = if state.failing > 0 { ("failing", "failing") } else { ("short", "too few") };
        lines.push(line(Subject::Service(id.clone()), kind, what, id.as_str(), detail, None));
    }
    left_out(lines, troubled.len(), Subject::Services, "failing", "services");
    let outdated: HashMap<&str, usize> = states.iter().map(|s| (s.plan.service_id.as_str(), s.outdated)).collect();
    let outdated = |service: &Service| outdated.get(service.id.as_str()).copied().unwrap_or(0);
    let is_stuck = |service: &&Service| now.secs() - service.updated_at.secs() > ROLLOUT_S && outdated(service) > 0;
    let stuck: Vec<&Service> = services.iter().filter(is_stuck).collect();
    for service in stuck.iter().take(LINES_MAX) {
        let replicas = outdated(service);
        let detail = format!("{replicas} replica{} on an older generation", if replicas == 1 { "" } else { "s" });
        lines.push(line(
            Subject::Service(service.id.clone()),
            "warning",
            "rollout incomplete",
            &service.name,
            detail,
            None,
        ));
    }
    left_out(lines, stuck.len(), Subject::Services, "warning", "rollouts");
}

fn of_certificates(control: &Control, nodes: &[ListedNode], now: Timestamp, lines: &mut Vec<Attention>) -> Result<()> {
    let ends_soon =
        |node: &&ListedNode| node.identity_expires_at.is_some_and(|end| end.secs() - now.secs() < NODE_CERTIFICATE_S);
    let ending: Vec<&ListedNode> = nodes.iter().filter(ends_soon).collect();
    for node in ending.iter().take(LINES_MAX) {
        let detail = "its certificate expires".to_string();
        lines.push(line(
            Subject::Node(node.id.clone()),
            "warning",
            "certificate",
            &node.name,
            detail,
            node.identity_expires_at,
        ));
    }
    left_out(lines, ending.len(), Subject::Certificates, "warning", "certificates");
    if let Some(end) = ca::show(control)?.current.and_then(|ca| ca.not_after)
        && end.secs() - now.secs() < CA_CERTIFICATE_S
    {
        lines.push(line(
            Subject::Certificates,
            "warning",
            "certificate",
            "the node authority",
            "ends".to_string(),
            Some(end),
        ));
    }
    Ok(())
}

fn of_snapshots(control: &Control, now: Timestamp, lines: &mut Vec<Attention>) -> Result<()> {
    let snapshots = runs::list(control, Kind::Snapshot, &Paging::first(SNAPSHOTS_MAX))?.items;
    // The result of the last attempt and the age of the last good one are two separate problems.
    let finished = snapshots.iter().find(|s| s.status.is_finished());
    if let Some(failed) = finished.filter(|s| s.status != RunStatus::Completed) {
        let detail = "the last one failed".to_string();
        lines.push(line(Subject::Snapshots, "failed", "snapshot", "etcd", detail, Some(failed.updated_at)));
    }
    let newest = snapshots.iter().find(|s| s.status == RunStatus::Completed);
    if let Some(old) = newest.filter(|s| now.secs() - s.updated_at.secs() > SNAPSHOT_S) {
        let detail = "the newest completed one is from".to_string();
        lines.push(line(Subject::Snapshots, "warning", "snapshot", "etcd", detail, Some(old.updated_at)));
    }
    Ok(())
}
