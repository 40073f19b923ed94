//! The documents with which nodes learn their work: created and signed when they are fetched, never stored.

use super::reports::Reports;
use super::work::Work;
use crate::control::trust::ca::Authority;
use crate::control::trust::work_key::Signer;
use crate::crypto::pki;
use crate::error::{Doing, Result};
use crate::model::ids::{NodeId, ReplicaId, ServiceId};
use crate::model::node_progress::WorkState;
use crate::model::node_work::{Assignment, Document, FORM, NodeWork, REPLICAS_BYTES_MAX, REPLICAS_MAX};
use crate::model::relay::{RelayRequest, WorkAnswer};
use crate::model::replicas::{Facts, Replica};
use crate::model::services::Service;
use crate::model::workload::Driver;
use crate::store::{Read, Store, replicas, services};
use std::collections::HashMap;
use std::sync::Arc;

/// The source of the documents.
pub struct Documents {
    work: Arc<Work>,
    store: Arc<Store>,
    ca: Arc<Authority>,
    signer: Signer,
}

impl Documents {
    /// Documents of the states that `work` counts.
    pub fn new(work: Arc<Work>, store: Arc<Store>, ca: Arc<Authority>, signer: Signer) -> Documents {
        Documents { work, store, ca, signer }
    }

    /// The present document of a node.
    pub fn current(&self, node_id: &NodeId) -> Result<NodeWork> {
        // Read before the rows and the authorities: a change after it gets a later number, so that nothing is missed.
        let version = self.work.version(node_id);
        let Assigned { replicas, left_out } = self.store.read(|r| assignments(r, node_id))?;
        if !left_out.is_empty() {
            log::warn!(
                target: "cluster", event = "work.left_out", node_id, replicas = left_out.len(); "A node has more \
                    replicas than its work may have; the newest are left out"
            );
        }
        let authorities = pki::certificates(&self.ca.trusted()?.pem);
        let document = Document { v: FORM, node_id: node_id.clone(), version, replicas, authorities };
        self.signer.sign(&document, self.ca.vouching()?.as_ref())
    }

    /// The same, with the relays that are requested of the node now: they are given once.
    pub fn answer(&self, node_id: &NodeId) -> Result<WorkAnswer> {
        let work = self.current(node_id)?;
        Ok(WorkAnswer { work, relay_requests: self.work.take_requests(node_id) })
    }

    /// Requests a relay of its node, and wakes the node's call.
    pub fn request_relay(&self, request: &RelayRequest) -> Result<()> {
        let signed = self.signer.sign_relay(request)?;
        self.work.request(&request.node_id, request.relay_id.clone(), signed);
        Ok(())
    }

    /// The work of a node, the state of it that the node holds, and what it reports.
    pub fn state(&self, reports: &Reports, node_id: &NodeId) -> Result<WorkState> {
        let version = self.work.version(node_id);
        let Assigned { replicas, left_out } = self.store.read(|r| assignments(r, node_id))?;
        let (held, last) = (self.work.held(node_id), reports.last(node_id));
        Ok(WorkState {
            node_id: node_id.clone(),
            version,
            held: held.map(|held| held.version),
            held_at: held.map(|held| held.at),
            waits: self.work.is_waiting(node_id),
            reported_at: last.as_ref().map(|last| last.at),
            acts_on: last.as_ref().and_then(|last| last.held),
            foreign_reports: last.as_ref().map_or(0, |last| last.foreign),
            refused: last.and_then(|last| last.refused),
            usage: reports.usage(node_id),
            left_out,
            replicas,
        })
    }
}

/// The replicas of a node, each with the spec of its generation, and those beyond the limits.
struct Assigned {
    replicas: Vec<Assignment>,
    left_out: Vec<ReplicaId>,
}

/// The oldest replicas of a node, as far as a document may have them: what runs is not ended by what comes later.
fn assignments(read: &Read, node_id: &NodeId) -> Result<Assigned> {
    let mut known: HashMap<ServiceId, Service> = HashMap::new();
    let mut assigned = Assigned { replicas: Vec::new(), left_out: Vec::new() };
    let mut placed = replicas::of_node(read, node_id)?;
    placed.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    let mut bytes = 0;
    for replica in placed {
        if !known.contains_key(&replica.service_id) {
            let Some(service) = services::by_id(read, &replica.service_id)? else { continue };
            known.insert(replica.service_id.clone(), service);
        }
        let Some(assignment) = assignment(read, replica, &known)? else { continue };
        bytes += serde_json::to_string(&assignment).doing("write an assignment as JSON")?.len();
        if assigned.replicas.len() < REPLICAS_MAX as usize && bytes <= REPLICAS_BYTES_MAX {
            assigned.replicas.push(assignment);
        } else {
            assigned.left_out.push(assignment.replica_id);
        }
    }
    assigned.replicas.sort_by(|a, b| a.replica_id.cmp(&b.replica_id));
    assigned.left_out.sort_unstable();
    Ok(assigned)
}

fn assignment(read: &Read, replica: Replica<Facts>, known: &HashMap<ServiceId, Service>) -> Result<Option<Assignment>> {
    let Some(service) = known.get(&replica.service_id) else { return Ok(None) };
    let wanted = generation(&replica.status).filter(|generation| *generation != service.generation);
    let older = match wanted {
        Some(generation) => services::revision_of(read, &service.id, generation)?,
        None => None,
    };
    // The newest one, too, where the wanted one is not kept any more.
    let (generation, mut spec) = match older {
        Some(revision) => (revision.generation, revision.spec),
        None => (service.generation, service.own_spec()),
    };
    if service.records_only {
        spec.insert("driver".into(), Driver::None.as_str().into());
    }
    let Replica { id: replica_id, service_id, desired_state, .. } = replica;
    Ok(Some(Assignment { replica_id, service_id, generation, desired_state, spec }))
}

/// The generation that a replica should run: the one that was wanted last, else the one it runs.
fn generation(facts: &Facts) -> Option<i64> {
    let number = |value: &Option<serde_json::Value>| value.as_ref().and_then(serde_json::Value::as_i64);
    number(&facts.desired_generation).or_else(|| number(&facts.applied_generation))
}
