//! The state of the whole cluster, in one object.

use crate::clock::Timestamp;
use crate::model::ca::AuthorityView;
use crate::model::events::Event;
use crate::model::ids::{NodeId, ServiceId};
use crate::model::leases::LeaseState;
use serde::Serialize;

/// Answer of `/cluster/status`.
#[derive(Debug, Serialize)]
pub struct ClusterStatus {
    /// Version of the control plane.
    pub version: &'static str,
    /// Its clock.
    pub time: Timestamp,
    /// The authority that issues the nodes' certificates.
    pub authority: Option<AuthorityView>,
    /// True if the write guard refuses changes.
    pub guarded: bool,
    /// Mode of the scheduler: `auto`, `manual` or `paused`.
    pub scheduler_mode: &'static str,
    /// True if the brake holds the scheduler.
    pub braked: bool,
    /// Time of the newest backup.
    pub last_backup_at: Option<Timestamp>,
    /// Nodes by the state of their leases.
    pub nodes: NodeCounts,
    /// Every service, by id.
    pub services: Vec<ServiceState>,
    /// Problems that need attention, the most urgent first.
    pub attention: Vec<Attention>,
    /// The newest events of level WARNING and ERROR, newest first.
    pub warnings: Vec<Event>,
}

/// Nodes by the state of their leases.
#[derive(Debug, Serialize)]
pub struct NodeCounts {
    /// Nodes whose lease runs.
    pub alive: usize,
    /// Nodes whose lease ran out a moment ago.
    pub stale: usize,
    /// Nodes whose lease ran out longer ago.
    pub dead: usize,
    /// Nodes that never had a lease.
    pub unknown: usize,
}

/// Replicas of a service.
#[derive(Debug, Serialize)]
pub struct ServiceState {
    /// The service.
    pub service_id: ServiceId,
    /// Desired number of replicas.
    pub desired: usize,
    /// Healthy replicas on healthy nodes.
    pub running: usize,
    /// Replicas that their nodes have not reported as well yet.
    pub pending: usize,
    /// Other replicas.
    pub failing: usize,
    /// Replicas of an earlier generation.
    pub outdated: usize,
}

/// The object of a problem.
#[derive(Debug, PartialEq)]
pub enum Subject {
    /// A node.
    Node(NodeId),
    /// The nodes with this lease state.
    Nodes(LeaseState),
    /// A service.
    Service(ServiceId),
    /// Services in general.
    Services,
    /// The authority and the certificates of nodes.
    Certificates,
    /// Snapshots of etcd.
    Snapshots,
    /// Backups.
    Backups,
    /// The cluster as a whole.
    Cluster,
}

/// A problem that needs attention.
#[derive(Debug, Serialize)]
pub struct Attention {
    /// The object, for links.
    #[serde(skip)]
    pub subject: Subject,
    /// Urgency, as a word for which pages have a colour: `dead`, `stale`, `failing`, `failed`, `short` or `warning`.
    pub kind: &'static str,
    /// The problem, in a word or two.
    pub what: &'static str,
    /// Name of the object, or the number of further ones.
    pub name: String,
    /// Details; may be empty.
    pub detail: String,
    /// The time at the end of the details.
    pub at: Option<Timestamp>,
}
