//! The scheduler's input: one moment of the cluster, as plain values. Plans depend on nothing else.

use crate::clock::Timestamp;
use crate::control::fleet::leases::{Leases, SeenLease};
use crate::control::settings;
use crate::error::Result;
use crate::model::capacity::{Room, room};
use crate::model::ids::{NodeId, ReplicaId, ServiceId};
use crate::model::leases::LeaseState;
use crate::model::node_status::RunWord;
use crate::model::nodes::PlacedNode;
use crate::model::replicas::{Facts, Placement, Replica};
use crate::model::runners::{self, Keeping};
use crate::model::services::Service;
use crate::model::specs;
use crate::model::specs::Policy;
use crate::model::workload::Driver;
use crate::store::{Read, nodes, replicas, services};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

/// Index of a node in the view.
pub type NodeIndex = u32;

/// Reason why nothing new is placed on a suspect node.
const SUSPECT: &str = "suspect: its connection was reset";

/// One moment of the cluster.
pub struct View {
    /// Time of the view.
    pub now: Timestamp,
    /// Every node, by id.
    pub nodes: Vec<NodeView>,
    /// Every service, by id.
    pub services: Vec<ServiceView>,
    /// Reason why nothing may move, if there is one.
    pub brake: Option<String>,
    /// True if the server started a short while ago: reports may be missing for that alone.
    pub is_starting: bool,
    /// Seconds after which a rollout is late.
    pub rollout_late_s: i64,
    /// Index of the service of each replica; built on first use.
    holders: OnceLock<HashMap<ReplicaId, usize>>,
}

/// A node, reduced to what placement needs.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// Its id.
    pub id: NodeId,
    /// Its roles.
    pub roles: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// True unless cordoned.
    pub schedulable: bool,
    /// True if all its replicas must move.
    pub draining: bool,
    /// State of the drain, in the words of its status.
    pub drain_state: String,
    /// True unless it reports that it cannot work.
    pub ready: bool,
    /// State of its lease.
    pub lease: LeaseState,
    /// True if its waiting call broke off.
    pub suspect: bool,
    /// Seconds since its death; 0 if it is not dead.
    pub dead_for_s: i64,
    /// True if it is silent since before the server started, a short while ago: it may just not have called yet.
    pub in_grace: bool,
    /// Thousandths of cores for replicas, if known.
    pub cpu_millis: Option<u64>,
    /// Mebibytes of memory for replicas, if known.
    pub memory_mb: Option<u64>,
    /// The drivers of its runner; `None` if it reports no runner.
    pub drivers: Option<Vec<Driver>>,
}

/// A service with its replicas.
pub struct ServiceView {
    /// Its id.
    pub id: ServiceId,
    /// Its generation.
    pub generation: i64,
    /// Scheduling rules of its spec.
    pub policy: Policy,
    /// Number of replicas that the scheduler has ever created for it.
    pub made: i64,
    /// The last generation whose rollout was recorded as late.
    pub late_rollout: i64,
    /// Its replicas, by id.
    pub replicas: Vec<ReplicaView>,
}

/// A replica, reduced to what placement needs.
pub struct ReplicaView {
    /// Its id.
    pub id: ReplicaId,
    /// Id of its node.
    pub node_id: NodeId,
    /// Index of its node, if that exists.
    pub node: Option<NodeIndex>,
    /// Desired state.
    pub desired_state: String,
    /// The relevant parts of its status.
    pub facts: Facts,
    /// Time of the last change.
    pub updated_at: Timestamp,
    /// True if its node runs it, and so reports it.
    pub is_run: bool,
    /// Time since which its node has not reported that it is well; `None` if all is well, or if it is a record.
    pub unavailable_since: Option<Timestamp>,
    /// Reason for its placement.
    pub placement: Option<Placement>,
}

impl View {
    /// The cluster according to the database and the leases.
    pub fn load(read: &Read, leases: &Leases, now: Timestamp, brake: Option<String>, grace: bool) -> Result<View> {
        let seen: HashMap<NodeId, SeenLease> = leases.seen().into_iter().collect();
        let never = SeenLease { state: LeaseState::Unknown, dead_for_s: 0, heard: false, suspect: false };
        let lease = |id: &NodeId| seen.get(id).copied().unwrap_or(never);
        let facts = nodes::facts(read)?.into_iter();
        let nodes = facts
            .map(|node| {
                let lease = lease(&node.id);
                node_view(node, lease, grace)
            })
            .collect();
        let mut view = View::of(now, nodes, services::all(read)?, replicas::facts(read)?, brake);
        view.is_starting = grace;
        view.rollout_late_s = settings::number(read, settings::ROLLOUT_LATE)?;
        Ok(view)
    }

    /// Builds a view from its parts, in any order.
    pub fn of(
        now: Timestamp,
        mut nodes: Vec<NodeView>,
        services: Vec<Service>,
        replicas: Vec<Replica<Facts>>,
        brake: Option<String>,
    ) -> View {
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        let index: HashMap<&NodeId, NodeIndex> = nodes.iter().zip(0..).map(|(node, i)| (&node.id, i)).collect();
        let mut policies: HashMap<ServiceId, Policy> = services.iter().map(|s| (s.id.clone(), policy(s))).collect();
        let drivers_needed = |id: &ServiceId| policies.get(id).map_or(Driver::None, |policy| policy.driver);
        let mut of_service: HashMap<ServiceId, Vec<ReplicaView>> = HashMap::with_capacity(services.len());
        for r in replicas {
            let node = index.get(&r.node_id).copied();
            let at = node.map(|index| &nodes[index as usize]);
            let is_run = at.is_some_and(|node| node.keeping(drivers_needed(&r.service_id)) == Keeping::Runs);
            let unavailable_since =
                if is_run { at.and_then(|node| unavailable_since(&r.status, node, now)) } else { None };
            let view = ReplicaView {
                is_run,
                unavailable_since,
                id: r.id,
                node_id: r.node_id,
                node,
                desired_state: r.desired_state,
                facts: r.status,
                updated_at: r.updated_at,
                placement: r.placement,
            };
            of_service.entry(r.service_id).or_default().push(view);
        }
        let mut services: Vec<ServiceView> = services
            .into_iter()
            .map(|service| {
                let mut replicas = of_service.remove(&service.id).unwrap_or_default();
                replicas.sort_by(|a, b| a.id.cmp(&b.id));
                ServiceView {
                    policy: policies.remove(&service.id).unwrap_or_else(|| policy(&service)),
                    id: service.id,
                    generation: service.generation,
                    made: service.replicas_made,
                    late_rollout: service.late_rollout,
                    replicas,
                }
            })
            .collect();
        services.sort_by(|a, b| a.id.cmp(&b.id));
        View { now, nodes, services, brake, is_starting: false, rollout_late_s: i64::MAX, holders: OnceLock::new() }
    }

    /// Index of a node.
    pub fn node(&self, id: &NodeId) -> Option<NodeIndex> {
        self.nodes.binary_search_by(|node| node.id.cmp(id)).ok().and_then(|i| NodeIndex::try_from(i).ok())
    }

    /// Why a replica is unhealthy; `None` if nothing says so.
    pub fn sickness(&self, policy: &Policy, replica: &ReplicaView) -> Option<String> {
        if !replica.is_run {
            return replica.facts.sickness();
        }
        let message = replica.facts.message.as_ref().and_then(Value::as_str).map(|said| format!(": {said}"));
        let message = message.unwrap_or_default();
        let state = replica.facts.state.as_ref().and_then(Value::as_str).unwrap_or_default();
        let is_reported = replica.facts.state_since.is_some();
        let is_final =
            [RunWord::Failed, RunWord::Refused, RunWord::Crashloop].iter().any(|word| word.as_str() == state);
        if is_reported && is_final {
            return Some(format!("its state is {state}{message}"));
        }
        let left_s = self.deadline_left_s(policy, replica).filter(|left_s| *left_s <= 0 && !self.is_starting)?;
        let past_s = policy.healthy_deadline_s - left_s;
        Some(match is_reported {
            true => format!("it is {state}, and has not been well for {past_s} s{message}"),
            false => format!("its node has not reported it for {past_s} s"),
        })
    }

    /// Seconds until a replica that is not available counts as unhealthy.
    pub fn deadline_left_s(&self, policy: &Policy, replica: &ReplicaView) -> Option<i64> {
        Some(policy.healthy_deadline_s - (self.now.secs() - replica.unavailable_since?.secs()))
    }

    /// Index of the service of this replica, if it exists.
    pub fn holder(&self, replica_id: &ReplicaId) -> Option<usize> {
        let all = || {
            self.services
                .iter()
                .enumerate()
                .flat_map(|(i, s)| s.replicas.iter().map(move |r| (r.id.clone(), i)))
                .collect()
        };
        self.holders.get_or_init(all).get(replica_id).copied()
    }

    /// Index of a service.
    pub fn service(&self, id: &ServiceId) -> Option<usize> {
        self.services.binary_search_by(|service| service.id.cmp(id)).ok()
    }
}

/// The rules for a service.
fn policy(service: &Service) -> Policy {
    Policy { driver: service.driver(), ..Policy::of(&service.spec) }
}

/// Time since which a replica that its node runs is not available.
fn unavailable_since(facts: &Facts, node: &NodeView, now: Timestamp) -> Option<Timestamp> {
    if facts.state_since.is_some() && facts.unavailable_since.is_none() && node.lease != LeaseState::Dead {
        return None;
    }
    // A status of before the node had a runner says nothing: its report is on the way.
    let said = facts.unavailable_since.as_ref().and_then(Value::as_str).and_then(Timestamp::parse);
    Some(said.unwrap_or(now))
}

fn node_view(node: PlacedNode, lease: SeenLease, grace: bool) -> NodeView {
    let facts = node.status;
    let (cpu, memory) = room(facts.capacity.as_ref(), node.capacity, node.reserved);
    NodeView {
        schedulable: facts.schedulable != Some(Value::Bool(false)),
        draining: facts.draining == Some(Value::Bool(true)),
        drain_state: facts.drain_state.as_ref().and_then(Value::as_str).unwrap_or("").to_string(),
        ready: facts.ready != Some(Value::Bool(false)),
        lease: lease.state,
        suspect: lease.suspect,
        dead_for_s: lease.dead_for_s,
        in_grace: grace && lease.state == LeaseState::Dead && !lease.heard,
        cpu_millis: cpu.map(Room::free),
        memory_mb: memory.map(Room::free),
        drivers: runners::drivers(facts.runner.as_ref()),
        id: node.id,
        roles: node.roles,
        labels: node.labels,
    }
}

impl NodeView {
    /// True if the selector of a spec matches.
    pub fn matches(&self, selector: &[(String, String)]) -> bool {
        selector.iter().all(|(key, value)| match key.as_str() {
            "role" => self.roles.contains(value),
            "node_id" => self.id == value.as_str(),
            label => {
                let has = |key: &str| self.labels.get(key) == Some(value);
                has(label) || label.strip_prefix("label:").is_some_and(has)
            }
        })
    }

    /// The way in which the node takes a replica that needs this driver.
    pub fn keeping(&self, driver: Driver) -> Keeping {
        runners::keeping(self.drivers.as_deref(), driver)
    }

    /// Reason why the node cannot run a replica that needs this driver.
    pub fn cannot_run(&self, driver: Driver) -> Option<String> {
        let has: Vec<&str> = self.drivers.iter().flatten().map(|driver| driver.as_str()).collect();
        let has = if has.is_empty() { "none".to_string() } else { has.join(", ") };
        let is_lacking = self.keeping(driver) == Keeping::Cannot;
        is_lacking.then(|| format!("its runner has no driver {}, it has {has}", driver.as_str()))
    }

    /// Reason why no replica may be placed here; `None` if they may.
    pub fn closed(&self) -> Option<&'static str> {
        match self.lease {
            LeaseState::Dead => Some("dead"),
            LeaseState::Stale => Some("stale"),
            _ if self.draining => Some("draining"),
            _ if !self.schedulable => Some("cordoned"),
            _ if !self.ready => Some("not ready"),
            _ if self.suspect => Some(SUSPECT),
            LeaseState::Alive | LeaseState::Unknown => None,
        }
    }

    /// True if replicas here may stay: a stale node keeps them, and a suspect one.
    pub fn may_keep(&self) -> bool {
        matches!(self.closed(), None | Some("stale" | SUSPECT)) && !self.draining
    }

    /// The zone, from the value of a label.
    pub fn zone(&self, label: &str) -> &str {
        self.labels.get(label).map_or("", String::as_str)
    }
}

impl ReplicaView {
    /// True if it is not known to run this generation, the newest; one that was just placed has no earlier one.
    pub fn is_outdated(&self, generation: i64) -> bool {
        let says = |value: &Option<Value>| value.as_ref().and_then(Value::as_i64) == Some(generation);
        let is_fresh = self.is_run && self.facts.applied_generation.is_none() && self.facts.update_state.is_none();
        !(says(&self.facts.applied_generation) || (is_fresh && says(&self.facts.desired_generation)))
    }
}

impl ServiceView {
    /// The pin of a replica, if it has one.
    pub fn pin(&self, replica_id: &ReplicaId) -> Option<&specs::Pinned> {
        self.policy.pinned.iter().find(|pin| pin.replica_id == *replica_id)
    }
}
