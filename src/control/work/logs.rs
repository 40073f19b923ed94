//! The output of replicas, as their nodes send it: interleaved by time for one reader. A replica whose node does not
//! send it is named and does not keep the others waiting.

use crate::bell::Bell;
use crate::clock;
use crate::control::Control;
use crate::control::fleet::relays::{Busy, Held, Source, Standing};
use crate::control::work::{replicas as replica_rules, services as service_rules};
use crate::error::Result;
use crate::model::Paging;
use crate::model::events::NewEvent;
use crate::model::events::catalogue::{REPLICA_LOGS, SERVICE_LOGS};
use crate::model::ids::{NodeId, ReplicaId, ServiceId};
use crate::model::leases::LeaseState;
use crate::model::log_entries::LogEntry;
use crate::model::relay::{FORM, LogLine, LogPart, REPLICAS_MAX, RelayRequest, TERM_S, Wants};
use crate::store::{events, replicas, services};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Approximate size of a piece of the output, in bytes.
const PIECE_BYTES: usize = 64 << 10;
/// Longest time that a reader stays.
const READ_TIME: Duration = Duration::from_secs(3600);

/// A reader of the output of some replicas.
pub struct LogReader {
    bell: Bell,
    nodes: Vec<OfNode>,
    /// Replicas that cannot be read, not given yet.
    missing: Vec<Missing>,
    ends_at: Instant,
    is_ended: bool,
}

/// The replicas of a node, and their relay.
struct OfNode {
    source: Source,
    node_id: NodeId,
    replicas: Vec<ReplicaId>,
}

struct Missing {
    replica_id: ReplicaId,
    node_id: NodeId,
    reason: String,
}

/// Begins to read the replicas of a service, those of one node only if it is given.
pub fn of_service(control: &Control, id: ServiceId, node_id: Option<NodeId>, part: LogPart) -> Result<LogReader> {
    let found = control.store.read(|r| {
        services::by_id(r, &id)?.ok_or_else(service_rules::missing)?;
        replicas::page(r, &Paging::first(REPLICAS_MAX), Some(&id), node_id.as_ref())
    })?;
    let replicas = found.items.into_iter().map(|replica| (replica.id, replica.node_id)).collect();
    let event = SERVICE_LOGS.with(json!({ "service_id": id, "node_id": node_id, "follow": part.follow }));
    begin(control, replicas, part, event)
}

/// Begins to read a replica.
pub fn of_replica(control: &Control, id: ReplicaId, part: LogPart) -> Result<LogReader> {
    let replica = control.store.read(|r| replicas::by_id(r, &id))?.ok_or_else(replica_rules::missing)?;
    let event = REPLICA_LOGS.with(json!({
        "replica_id": id, "service_id": replica.service_id, "node_id": replica.node_id, "follow": part.follow,
    }));
    begin(control, vec![(replica.id, replica.node_id)], part, event)
}

/// Records who reads, before anything is read.
fn begin(control: &Control, replicas: Vec<(ReplicaId, NodeId)>, part: LogPart, event: NewEvent) -> Result<LogReader> {
    control.store.write(move |w| events::record(w, event).map(drop))?;
    let mut by_node: BTreeMap<NodeId, Vec<ReplicaId>> = BTreeMap::new();
    for (replica_id, node_id) in replicas {
        by_node.entry(node_id).or_default().push(replica_id);
    }
    let ends_at = clock::tick() + READ_TIME;
    let mut reader =
        LogReader { bell: Bell::default(), nodes: Vec::new(), missing: Vec::new(), ends_at, is_ended: false };
    for (node_id, replicas) in by_node {
        match request(control, &node_id, &replicas, part, &reader.bell)? {
            Ok(source) => reader.nodes.push(OfNode { source, node_id, replicas }),
            Err(reason) => reader.lose(node_id, replicas, &reason),
        }
    }
    Ok(reader)
}

/// Requests the output from a node; the reason if that is pointless.
fn request(
    control: &Control,
    node_id: &NodeId,
    replicas: &[ReplicaId],
    part: LogPart,
    bell: &Bell,
) -> Result<std::result::Result<Source, String>> {
    let lease = control.leases.state(node_id);
    if matches!(lease, LeaseState::Dead | LeaseState::Unknown) {
        return Ok(Err(format!("its node is {}", lease.as_str())));
    }
    let source = match control.relays.open(node_id, bell) {
        Ok(source) => source,
        Err(Busy::All) => return Ok(Err("too many logs are being read; close one and try again".to_string())),
        Err(Busy::Node) => {
            return Ok(Err("too many logs of its node are being read; close one and try again".to_string()));
        }
    };
    let request = RelayRequest {
        v: FORM,
        relay_id: source.id.clone(),
        node_id: node_id.clone(),
        expires_at: clock::now().plus_secs(TERM_S),
        wants: Wants::Logs { replicas: replicas.to_vec(), part },
    };
    control.work_documents.request_relay(&request)?;
    Ok(Ok(source))
}

impl LogReader {
    /// Rung when there may be more.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// True once all has been given.
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Gives some of the next entries. Returns the time at which to try again if there are none.
    pub fn next(&mut self, give: &mut dyn FnMut(&LogEntry)) -> Instant {
        let now = clock::tick();
        self.part_from_ended(now);
        let mut lost = std::mem::take(&mut self.missing);
        for Missing { replica_id, node_id, reason } in lost.drain(..) {
            give(&LogEntry::Missing { replica_id: &replica_id, node_id: &node_id, reason: &reason });
        }
        if self.nodes.is_empty() || self.ends_at <= now {
            self.nodes.clear();
            self.is_ended = true;
            give(&LogEntry::End);
        }
        self.merge(now, give)
    }

    /// Closes relays that have ended; what they have sent is given first.
    fn part_from_ended(&mut self, now: Instant) {
        for node in std::mem::take(&mut self.nodes) {
            let held = node.source.lock();
            let standing = if held.peek().is_some() { Standing::Live } else { held.standing(now) };
            drop(held);
            match standing {
                Standing::Over => {}
                Standing::Lost(reason) => self.lose(node.node_id, node.replicas, &reason),
                Standing::Behind | Standing::Live => self.nodes.push(node),
            }
        }
    }

    fn lose(&mut self, node_id: NodeId, replicas: Vec<ReplicaId>, reason: &str) {
        let missing = |replica_id| Missing { replica_id, node_id: node_id.clone(), reason: reason.to_string() };
        self.missing.extend(replicas.into_iter().map(missing));
    }

    /// Gives what has come, the oldest first. Waits for a node that still has older lines to send, and not for new
    /// ones.
    fn merge(&self, now: Instant, give: &mut dyn FnMut(&LogEntry)) -> Instant {
        let mut held: Vec<Held> = self.nodes.iter().map(|node| node.source.lock()).collect();
        let mut freed = Vec::new();
        let mut bytes = 0;
        while bytes < PIECE_BYTES
            && !held.iter().any(|held| held.peek().is_none() && held.standing(now) == Standing::Behind)
        {
            let oldest = (0..held.len()).filter_map(|n| Some((held[n].peek()?.at, n))).min();
            let Some((_, n)) = oldest else { break };
            let Some(line) = held[n].take(&mut freed) else { break };
            bytes += line.text.len();
            let node = &self.nodes[n];
            // The node may have sent a position that is not one of the request.
            if let Some(replica_id) = node.replicas.get(line.replica) {
                let LogLine { at, stream, is_partial, text, .. } = &line;
                give(&LogEntry::Line {
                    replica_id,
                    node_id: &node.node_id,
                    at: *at,
                    stream: *stream,
                    partial: *is_partial,
                    text,
                });
            }
        }
        let until = held.iter().map(Held::until).min().unwrap_or(now).min(self.ends_at);
        drop(held);
        freed.iter().for_each(Bell::ring);
        until
    }
}
