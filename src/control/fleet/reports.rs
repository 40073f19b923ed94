//! Reports of nodes on their replicas: what changes a replica's status is written, and all else is kept in memory.

use crate::clock::{self, Timestamp};
use crate::control::{Control, guard};
use crate::error::Result;
use crate::model::events::NewEvent;
use crate::model::events::catalogue::{REPLICA_STATE, REPLICA_STATE_SICK};
use crate::model::ids::{NodeId, ReplicaId};
use crate::model::node_status::{NodeStatus, ReplicaReport, StatusAnswer, Usage, WorkRefusal};
use crate::model::node_work::WorkVersion;
use crate::model::replica_words::{self, Change, Notable};
use crate::model::replicas::Replica;
use crate::store::{Read, Write, events, replicas};
use crate::thread::lock;
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// The reports of all nodes in this run of the control plane.
#[derive(Default)]
pub struct Reports {
    nodes: Mutex<HashMap<NodeId, Arc<Mutex<OfNode>>>>,
}

/// The reports of a node. Locked while one of them is taken: they come one after the other.
#[derive(Default)]
struct OfNode {
    /// The runner's start that reported last.
    run: String,
    /// The start before it: what comes from there is late.
    earlier: String,
    /// True once that start has reported all its replicas.
    is_full: bool,
    /// Number of the last report of each replica, and the figures in it.
    replicas: HashMap<ReplicaId, Figures>,
    last: Option<Last>,
    is_foreign_logged: bool,
}

struct Figures {
    seq: u64,
    usage: Option<Usage>,
}

/// The last report of a node, without its replicas.
#[derive(Debug, Clone)]
pub struct Last {
    /// Time of the report.
    pub at: Timestamp,
    /// The state of the work that the node acts on.
    pub held: Option<WorkVersion>,
    /// The work that it refuses.
    pub refused: Option<WorkRefusal>,
    /// Reported replicas that were not the node's, since the control plane started.
    pub foreign: u64,
}

/// A report, sorted by what it does to the database.
#[derive(Default)]
struct Sorted {
    changed: Vec<(Replica, Change)>,
    foreign: Vec<ReplicaId>,
}

impl Reports {
    fn of(&self, node_id: &NodeId) -> Arc<Mutex<OfNode>> {
        Arc::clone(lock(&self.nodes).entry(node_id.clone()).or_default())
    }

    fn known(&self, node_id: &NodeId) -> Option<Arc<Mutex<OfNode>>> {
        lock(&self.nodes).get(node_id).map(Arc::clone)
    }

    /// Forgets a node that was deleted.
    pub fn forget(&self, node_id: &NodeId) {
        lock(&self.nodes).remove(node_id);
    }

    /// The last report of a node, if there was one in this run of the control plane.
    pub fn last(&self, node_id: &NodeId) -> Option<Last> {
        lock(&*self.known(node_id)?).last.clone()
    }

    /// Use of the node by each of its replicas, by its last report of them.
    pub fn usage(&self, node_id: &NodeId) -> BTreeMap<ReplicaId, Usage> {
        let Some(node) = self.known(node_id) else { return BTreeMap::new() };
        lock(&node).replicas.iter().filter_map(|(id, figures)| Some((id.clone(), figures.usage?))).collect()
    }
}

impl OfNode {
    /// The reports of this call that are later than what is known; all others are late.
    fn later(&mut self, status: &NodeStatus) -> Vec<ReplicaReport> {
        if status.run == self.earlier {
            return Vec::new();
        }
        if status.run != self.run {
            let earlier = std::mem::replace(&mut self.run, status.run.clone());
            *self = OfNode { run: std::mem::take(&mut self.run), earlier, last: self.last.take(), ..OfNode::default() };
        }
        let mut newest: HashMap<ReplicaId, u64> = HashMap::new();
        let mut later = Vec::new();
        for report in &status.changes {
            let here = newest.get(&report.replica_id).copied();
            let known = here.or_else(|| self.replicas.get(&report.replica_id).map(|figures| figures.seq));
            if known.is_none_or(|known| report.seq > known) {
                newest.insert(report.replica_id.clone(), report.seq);
                later.push(report.clone());
            }
        }
        later
    }

    /// Notes a report that was taken.
    fn note(&mut self, node_id: &NodeId, status: NodeStatus, later: &[ReplicaReport], foreign: &[ReplicaId]) {
        for report in later {
            let figures = Figures { seq: report.seq, usage: report.status.usage };
            self.replicas.insert(report.replica_id.clone(), figures);
        }
        if status.full {
            let all: HashSet<&ReplicaId> = status.changes.iter().map(|report| &report.replica_id).collect();
            self.replicas.retain(|id, _| all.contains(id));
            self.is_full = true;
        }
        self.replicas.retain(|id, _| !foreign.contains(id));
        if !foreign.is_empty() && !std::mem::replace(&mut self.is_foreign_logged, true) {
            log::info!(
                target: "cluster", event = "replica.foreign_report", node_id, replica_id:% = foreign[0]; "A node \
                    reported a replica that is not its own; nothing was written. Others of this start are not logged"
            );
        }
        let before = self.last.as_ref().map_or(0, |last| last.foreign);
        self.last = Some(Last {
            at: clock::now(),
            held: status.held,
            refused: status.refused,
            foreign: before + foreign.len() as u64,
        });
    }
}

/// Takes a report of a node. One that changes no replica costs no write.
pub fn take(control: &Control, node_id: &NodeId, status: NodeStatus) -> Result<StatusAnswer> {
    let node = control.reports.of(node_id);
    let mut node = lock(&node);
    let is_current = status.run != node.earlier;
    let later = node.later(&status);
    let late = (status.changes.len() - later.len()) as u64;
    let kept: Option<HashSet<ReplicaId>> =
        (status.full && is_current).then(|| status.changes.iter().map(|report| report.replica_id.clone()).collect());
    let found = control.store.read(|r| sort(r, node_id, &later, kept.as_ref(), clock::now()))?;
    let foreign = if found.changed.is_empty() {
        found.foreign
    } else {
        let (id, reports) = (node_id.clone(), later.clone());
        control.store.write(move |w| {
            guard::check(w)?;
            // Again: a replica may have moved meanwhile.
            let Sorted { changed, foreign } = sort(w, &id, &reports, kept.as_ref(), w.now)?;
            changed.iter().try_for_each(|(replica, change)| write(w, replica, *change))?;
            Ok(foreign)
        })?
    };
    let taken = (later.len() - foreign.len()) as u64;
    if is_current {
        node.note(node_id, status, &later, &foreign);
    }
    Ok(StatusAnswer { taken, late, foreign, wants_full: !node.is_full })
}

/// Sorts later reports of a node's replicas; of a full report, `kept` has all that the node has.
fn sort(
    read: &Read,
    node_id: &NodeId,
    later: &[ReplicaReport],
    kept: Option<&HashSet<ReplicaId>>,
    now: Timestamp,
) -> Result<Sorted> {
    let mut sorted = Sorted::default();
    for report in later {
        let replica = replicas::by_id(read, &report.replica_id)?.filter(|replica| replica.node_id == *node_id);
        let Some(mut replica) = replica else {
            sorted.foreign.push(report.replica_id.clone());
            continue;
        };
        if let Some(change) = replica_words::take(&mut replica.status, &report.status, now) {
            sorted.changed.push((replica, change));
        }
    }
    let Some(kept) = kept else { return Ok(sorted) };
    for listed in replicas::of_node(read, node_id)? {
        if listed.status.state_since.is_none() || kept.contains(&listed.id) {
            continue;
        }
        let Some(mut replica) = replicas::by_id(read, &listed.id)? else { continue };
        replica_words::await_report(&mut replica.status, now);
        sorted.changed.push((replica, Change { notable: None, places: true }));
    }
    Ok(sorted)
}

/// Writes a replica that a report has changed, with the event that it is worth.
fn write(write: &Write, replica: &Replica, change: Change) -> Result<()> {
    replicas::report(write, replica, change.places)?;
    let Some(notable) = change.notable else { return Ok(()) };
    events::record(write, event(replica, notable)).map(drop)
}

fn event(replica: &Replica, notable: Notable) -> NewEvent {
    let kind = match notable {
        Notable::Trouble => REPLICA_STATE_SICK,
        Notable::Completed | Notable::Recovered => REPLICA_STATE,
    };
    let said = |key: &str| replica.status.get(key).cloned().unwrap_or_default();
    let last_exit = replica.status.get("exit").and_then(|exit| exit.get("words")).cloned().unwrap_or_default();
    kind.with(json!({
        "replica_id": replica.id, "service_id": replica.service_id, "node_id": replica.node_id,
        "state": said(replica_words::STATE), "message": said("message"), "exit": last_exit,
    }))
}
