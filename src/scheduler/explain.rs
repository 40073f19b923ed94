//! Explains the placement of a service's replicas, and where the next one would go.

use super::place::{Refusal, Score, Session, State, filters};
use super::plan;
use super::view::View;
use crate::clock::Timestamp;
use crate::model::ids::{NodeId, ReplicaId, ServiceId};
use crate::model::replicas::Placement;
use serde::Serialize;
use std::collections::HashMap;

/// Answer to `GET /scheduler/explain/services/{id}`.
#[derive(Serialize)]
pub struct Explanation {
    /// The service.
    pub service_id: ServiceId,
    /// Its generation.
    pub generation: i64,
    /// Time of the explanation.
    pub generated_at: Timestamp,
    /// Desired number of replicas.
    pub desired_replicas: usize,
    /// Current number of replicas.
    pub actual_replicas: usize,
    /// Warnings for an operator.
    pub warnings: Vec<String>,
    /// Candidates, best first; then the other nodes by id.
    pub nodes: Vec<NodeAnswer>,
    /// Its replicas, by id.
    pub replicas: Vec<ReplicaAnswer>,
}

/// Assessment of a node.
#[derive(Serialize)]
pub struct NodeAnswer {
    /// The node.
    pub node_id: NodeId,
    /// 1 is the node of the next replica; `null` for a node that cannot take one.
    pub rank: Option<usize>,
    /// The filters that exclude it, each with the reason.
    pub filters: Vec<Refusal>,
    /// Its score, compared part by part; smaller is better.
    pub score: Option<Score>,
    /// Replicas of the service on it.
    pub replicas: Vec<ReplicaId>,
}

/// Placement of a replica.
#[derive(Serialize)]
pub struct ReplicaAnswer {
    /// The replica.
    pub replica_id: ReplicaId,
    /// Its node.
    pub node_id: NodeId,
    /// The reason; `null` if a client placed it.
    pub placement: Option<Placement>,
}

/// Explains a service.
pub fn service(view: &View, index: usize) -> Explanation {
    let plan = plan::one(view, index);
    let service = &view.services[index];
    let mut state = State::of(view);
    let session = Session::begin(&mut state, &service.policy, service.replicas.iter().filter_map(|r| r.node));
    let mut here: HashMap<&NodeId, Vec<ReplicaId>> = HashMap::new();
    for replica in &service.replicas {
        here.entry(&replica.node_id).or_default().push(replica.id.clone());
    }
    let mut nodes: Vec<NodeAnswer> = (0..)
        .zip(&view.nodes)
        .map(|(i, node)| {
            let filters = filters(&session, node, i, &service.policy.selector);
            let score = filters.is_empty().then(|| session.score(i));
            NodeAnswer {
                node_id: node.id.clone(),
                rank: None,
                filters,
                score,
                replicas: here.remove(&node.id).unwrap_or_default(),
            }
        })
        .collect();
    nodes.sort_by(|a, b| (a.score.is_none(), a.score, &a.node_id).cmp(&(b.score.is_none(), b.score, &b.node_id)));
    for (rank, node) in (1..).zip(nodes.iter_mut().filter(|n| n.score.is_some())) {
        node.rank = Some(rank);
    }
    let replica = |r: &super::view::ReplicaView| ReplicaAnswer {
        replica_id: r.id.clone(),
        node_id: r.node_id.clone(),
        placement: r.placement.clone(),
    };
    Explanation {
        service_id: service.id.clone(),
        generation: service.generation,
        generated_at: view.now,
        desired_replicas: plan.desired_replicas,
        actual_replicas: plan.replicas_before,
        warnings: plan.warnings,
        nodes,
        replicas: service.replicas.iter().map(replica).collect(),
    }
}
