//! Progress of a node with its work.

use crate::clock::Timestamp;
use crate::model::ids::{NodeId, ReplicaId};
use crate::model::node_status::{Usage, WorkRefusal};
use crate::model::node_work::{Assignment, WorkVersion};
use serde::Serialize;
use std::collections::BTreeMap;

/// Progress of a node with its work, for operators.
#[derive(Debug, Clone, Serialize)]
pub struct WorkState {
    /// The node.
    pub node_id: NodeId,
    /// State of the work.
    #[serde(flatten)]
    pub version: WorkVersion,
    /// The state that the node holds on its disk, by its last call to this run of the control plane; `None` before it.
    pub held: Option<WorkVersion>,
    /// Time of that call.
    pub held_at: Option<Timestamp>,
    /// True while a call of the node waits for news.
    pub waits: bool,
    /// Time of the last report of the node's runner to this run of the control plane; `None` before it.
    pub reported_at: Option<Timestamp>,
    /// The state that the node acts on, by that report.
    pub acts_on: Option<WorkVersion>,
    /// The work that the node refuses, by that report.
    pub refused: Option<WorkRefusal>,
    /// Reported replicas that were not the node's, since the start of the control plane.
    pub foreign_reports: u64,
    /// Use of the node by each replica that it reports.
    pub usage: BTreeMap<ReplicaId, Usage>,
    /// Replicas that the document leaves out, because it would have too many or be too long.
    pub left_out: Vec<ReplicaId>,
    /// The replicas that the node should run.
    pub replicas: Vec<Assignment>,
}
