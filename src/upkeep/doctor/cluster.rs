//! Examines the cluster: passwords, versions, clocks and certificates of nodes, proxies, limits, copied identities.

use super::days_left;
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::control::fleet::lookalikes;
use crate::control::limits;
use crate::error::Result;
use crate::model::Paging;
use crate::model::events::catalogue::PROXY_UNNAMED;
use crate::model::events::{Event, EventFilter};
use crate::model::findings::Finding;
use crate::model::ids::NodeId;
use crate::model::leases::LeaseState;
use crate::model::status_keys;
use crate::store::{Read, events, leases, node_runs, nodes, users};
use serde_json::Value;
use std::collections::BTreeMap;

/// Minimum remaining days of a node's certificate: nodes renew at half of its life, so a node below this does not
/// renew.
const NODE_DAYS_LOW: i64 = 5;
/// Maximum clock skew of a node, in seconds; beyond it heartbeats would be refused if the agent did not correct for it.
const SKEW_S_MAX: i64 = 5;
/// Seconds for which a proxy that did not name its clients is reported.
const UNNAMED_REPORTED_FOR_S: i64 = 86_400;
/// Maximum number of nodes that a finding names; the others are counted.
const NAMED_MAX: usize = 10;
/// Nodes per read.
const PAGE: usize = 500;

/// The cluster as the database describes it.
pub(super) struct Cluster {
    first_password: bool,
    /// By node: its agent's version, and its reported clock skew.
    nodes: BTreeMap<NodeId, (Option<String>, Option<i64>)>,
    states: Vec<(NodeId, LeaseState)>,
    first_certificate_end: Option<Timestamp>,
    /// Values near their limit.
    near_limits: Vec<String>,
    /// The newest event of the last day about a proxy that does not name its clients.
    unnamed: Option<Event>,
    /// Nodes with an undecided identity conflict between two machines.
    copied: Vec<NodeId>,
    /// Ids and names that look alike.
    alike: Vec<String>,
}

/// Reads it.
pub(super) fn read(read: &Read) -> Result<Cluster> {
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        let page = nodes::page_of_statuses(read, &Paging { limit: PAGE, bytes_max: usize::MAX, after })?;
        for (id, status) in page.items {
            let version = status.get(status_keys::VERSION).and_then(Value::as_str).map(str::to_string);
            all.insert(id, (version, status.get(status_keys::CLOCK_OFFSET_SECONDS).and_then(Value::as_i64)));
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    Ok(Cluster {
        first_password: users::has_seeded_password(read)?,
        nodes: all,
        states: leases::enrolled(read)?.into_iter().map(|n| (n.node_id, n.lease.state)).collect(),
        first_certificate_end: nodes::first_identity_end(read)?,
        near_limits: limits::near(read)?,
        unnamed: unnamed(read)?,
        copied: node_runs::all(read)?.into_iter().filter(|(_, c)| c.decided_at.is_none()).map(|(id, _)| id).collect(),
        alike: lookalikes::all(read)?,
    })
}

fn unnamed(read: &Read) -> Result<Option<Event>> {
    let since = Some(clock::now().plus_secs(-UNNAMED_REPORTED_FOR_S));
    let filter = EventFilter { name: Some(PROXY_UNNAMED.name.to_string()), since, ..EventFilter::default() };
    Ok(events::page(read, &Paging::first(1), &filter)?.items.pop())
}

/// Examines the cluster; `runs` is true if its server is running.
pub(super) fn examine(cluster: &Cluster, runs: bool) -> Vec<Finding> {
    vec![
        password(cluster),
        versions(cluster),
        silent(cluster, runs),
        clocks(cluster),
        node_certificates(cluster),
        near_limits(cluster),
        copied(cluster),
        alike(cluster),
    ]
}

/// Checks that proxies name their clients.
pub(super) fn proxies(config: &Config, cluster: &Cluster) -> Finding {
    const CHECK: &str = "proxies";
    let Some(event) = &cluster.unnamed else {
        return match config.trusted_proxies.is_empty() {
            true => Finding::skipped(CHECK, "no proxy is trusted (TRUSTED_PROXIES)"),
            false => Finding::ok(CHECK, "trusted proxies named the client of every request in the last day"),
        };
    };
    let shown = |name: &str| {
        event.fields.get(name).map(|value| value.as_str().map_or(value.to_string(), str::to_string)).unwrap_or_default()
    };
    Finding::warn(
        CHECK,
        format!(
            "at {} the proxy {} forwarded a request with {:?} in place of the client's address",
            event.created_at,
            shown("proxy"),
            shown("word")
        ),
        "let the proxy set X-Forwarded-For to the client's address: until then all its clients share one limit on \
            sign-ins and requests",
    )
}

fn alike(cluster: &Cluster) -> Finding {
    const CHECK: &str = "names.alike";
    match cluster.alike.is_empty() {
        true => Finding::ok(CHECK, "no two ids or names differ only in case or in leading or trailing blanks"),
        false => Finding::warn(
            CHECK,
            format!("these differ only in case or in leading or trailing blanks: {}", named(&cluster.alike)),
            "give one of them another name (a node: uptimemesh join --name, or PATCH /nodes/NODE), or delete the one \
                created by mistake",
        ),
    }
}

fn password(cluster: &Cluster) -> Finding {
    match cluster.first_password {
        true => Finding::warn(
            "password",
            "a user still has the initial password, which is public",
            "uptimemesh set-password",
        ),
        false => Finding::ok("password", "no user has the initial password"),
    }
}

fn near_limits(cluster: &Cluster) -> Finding {
    const CHECK: &str = "limits";
    if cluster.near_limits.is_empty() {
        return Finding::ok(CHECK, "nothing is near a limit of the settings");
    }
    let to_do =
        "uptimemesh setting set KEY NUMBER raises a limit; delete nodes that are gone, or set node_forget_after_days";
    Finding::warn(CHECK, format!("there are {}", cluster.near_limits.join(", ")), to_do)
}

/// Nodes whose identity is used by two machines.
fn copied(cluster: &Cluster) -> Finding {
    const CHECK: &str = "nodes.copied";
    match cluster.copied.is_empty() {
        true if cluster.nodes.is_empty() => Finding::skipped(CHECK, "there are no nodes"),
        true => Finding::ok(CHECK, "no two machines send heartbeats as one node"),
        false => Finding::warn(
            CHECK,
            format!(
                "two machines send heartbeats as one node (a copied card or image), and the later one is refused: {}",
                named(&cluster.copied.iter().map(NodeId::to_string).collect::<Vec<_>>())
            ),
            "uptimemesh node runs NODE; uptimemesh node keep-run NODE RUN; then join the other machine as a new node",
        ),
    }
}

/// Lists some names and counts the rest.
fn named(names: &[String]) -> String {
    match names.len() {
        n if n > NAMED_MAX => format!("{} and {} more", names[..NAMED_MAX].join(", "), n - NAMED_MAX),
        _ => names.join(", "),
    }
}

fn versions(cluster: &Cluster) -> Finding {
    const CHECK: &str = "nodes.versions";
    let own = env!("CARGO_PKG_VERSION");
    let is_other = |version: &Option<String>| version.as_deref().is_some_and(|v| v != own);
    let others: Vec<String> = cluster
        .nodes
        .iter()
        .filter(|(_, (version, _))| is_other(version))
        .map(|(id, (version, _))| format!("{id} ({})", version.as_deref().unwrap_or_default()))
        .collect();
    let unsaid = cluster.nodes.values().filter(|(version, _)| version.is_none()).count();
    let silent = if unsaid > 0 { format!("; {unsaid} do not report theirs") } else { String::new() };
    match (cluster.nodes.len(), others.is_empty()) {
        (0, _) => Finding::skipped(CHECK, "there are no nodes"),
        (count, true) => {
            Finding::ok(CHECK, format!("none of {count} nodes reports a version other than {own}{silent}"))
        }
        (_, false) => Finding::warn(
            CHECK,
            format!("these report a version other than {own}: {}{silent}", named(&others)),
            "on each of them: uptimemesh update",
        ),
    }
}

fn silent(cluster: &Cluster, runs: bool) -> Finding {
    const CHECK: &str = "nodes.leases";
    if cluster.states.is_empty() {
        return Finding::skipped(CHECK, "no node is enrolled");
    }
    if !runs {
        return Finding::skipped(CHECK, "the server is stopped: nodes cannot renew their leases");
    }
    let silent: Vec<String> = cluster
        .states
        .iter()
        .filter(|(_, state)| *state != LeaseState::Alive)
        .map(|(id, state)| format!("{id} ({})", state.as_str()))
        .collect();
    match silent.is_empty() {
        true => Finding::ok(CHECK, format!("all {} enrolled nodes are alive", cluster.states.len())),
        false => Finding::warn(
            CHECK,
            format!("not alive: {}", named(&silent)),
            "on each of them: uptimemesh doctor; journalctl -u uptimemesh-agent",
        ),
    }
}

fn clocks(cluster: &Cluster) -> Finding {
    const CHECK: &str = "nodes.clocks";
    let count = cluster.nodes.values().filter(|(_, offset)| offset.is_some()).count();
    let off: Vec<String> = cluster
        .nodes
        .iter()
        .filter_map(|(id, (_, offset))| {
            offset
                .filter(|s| s.abs() > SKEW_S_MAX)
                .map(|s| format!("{id} ({} s {})", s.abs(), if s > 0 { "behind" } else { "ahead" }))
        })
        .collect();
    match (count, off.is_empty()) {
        (0, _) => Finding::skipped(CHECK, "no node reports its clock"),
        (_, true) => {
            Finding::ok(CHECK, format!("the clocks of {count} nodes agree with this one within {SKEW_S_MAX} s"))
        }
        (_, false) => Finding::warn(
            CHECK,
            format!("these clocks are off: {}", named(&off)),
            "on each of them: timedatectl set-ntp true",
        ),
    }
}

fn node_certificates(cluster: &Cluster) -> Finding {
    const CHECK: &str = "certificates.nodes";
    let to_do = "uptimemesh node leases; a running agent renews it; if the agent is stopped: systemctl start \
        uptimemesh-agent, or uptimemesh node delete NODE";
    match cluster.first_certificate_end.map(|end| (days_left(end), end)) {
        None => Finding::skipped(CHECK, "no node has one"),
        Some((days, end)) if days < NODE_DAYS_LOW => {
            Finding::warn(CHECK, format!("the first node certificate expires, or expired, at {end}"), to_do)
        }
        Some((days, _)) => Finding::ok(CHECK, format!("all are valid for {days} more days, and are renewed earlier")),
    }
}
