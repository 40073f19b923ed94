//! Requirements of a replica on its node: the only judge, for planning and for applying.

use super::{Session, State};
use crate::model::node_work::REPLICAS_MAX;
use crate::model::runners::Keeping;
use crate::model::specs::Policy;
use crate::scheduler::view::{NodeIndex, NodeView};

/// Reason why a node cannot take a replica.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refusal {
    /// Kind of the reason, the same for all nodes that it applies to.
    pub filter: &'static str,
    /// The reason with its figures.
    pub reason: String,
}

impl Refusal {
    pub(super) fn new(filter: &'static str, reason: impl Into<String>) -> Refusal {
        Refusal { filter, reason: reason.into() }
    }
}

/// Missing resources of a node for one more replica of a service; `None` if it fits. Checks taken resources, not lease
/// or selector.
pub fn fits(state: &State, node: NodeIndex, policy: &Policy) -> Option<Refusal> {
    let (i, here) = (node as usize, &state.view.nodes[node as usize]);
    if let Some(why) = here.cannot_run(policy.driver) {
        return Some(Refusal::new("driver", why));
    }
    if here.keeping(policy.driver) == Keeping::Runs && state.load[i] >= REPLICAS_MAX {
        return Some(Refusal::new("replicas", format!("it has {REPLICAS_MAX} replicas, the most that a node runs")));
    }
    let wanted = policy.resources;
    if let Some(has) = here.cpu_millis
        && wanted.cpu_millis > 0
        && state.cpu_millis[i] + wanted.cpu_millis > has
    {
        let left = has.saturating_sub(state.cpu_millis[i]);
        return Some(Refusal::new("cpu", format!("{left} of its {has} CPU millis are left")));
    }
    if let Some(has) = here.memory_mb
        && wanted.memory_mb > 0
        && state.memory_mb[i] + wanted.memory_mb > has
    {
        let left = has.saturating_sub(state.memory_mb[i]);
        return Some(Refusal::new("memory", format!("{left} of its {has} MB of memory are left")));
    }
    let taken = policy.ports.iter().find(|port| state.ports[i].contains_key(port));
    taken.map(|port| Refusal::new("ports", format!("its port {port} is taken")))
}

/// Shortage on a node, of the resources that this service uses: what the replicas there want beyond its capacity.
pub(super) fn overfull(state: &State, node: NodeIndex, policy: &Policy) -> Option<String> {
    let (i, here) = (node as usize, &state.view.nodes[node as usize]);
    let lacks = |wanted: u64, taken: u64, has: Option<u64>, what: &str| {
        let has = has.filter(|has| wanted > 0 && taken > *has)?;
        Some(format!("its replicas want {taken} {what}, and it has {has} for them"))
    };
    let cpu = lacks(policy.resources.cpu_millis, state.cpu_millis[i], here.cpu_millis, "CPU millis");
    cpu.or_else(|| lacks(policy.resources.memory_mb, state.memory_mb[i], here.memory_mb, "MB of memory"))
}

/// Reasons that exclude a node for a service, filter by filter; empty for a candidate.
pub fn filters(session: &Session, node: &NodeView, index: NodeIndex, selector: &[(String, String)]) -> Vec<Refusal> {
    let mut failed: Vec<Refusal> = node.closed().map(|why| Refusal::new(why, why)).into_iter().collect();
    if !node.matches(selector) {
        failed.push(Refusal::new("selector", "the selector does not match"));
    }
    failed.extend(session.refusal(index));
    failed
}
