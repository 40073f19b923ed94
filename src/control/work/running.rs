//! Replicas that their nodes run themselves.

use crate::error::Result;
use crate::model::ids::NodeId;
use crate::model::replica_words;
use crate::model::replicas::{Replica, moved};
use crate::model::runners::{self, Keeping};
use crate::model::status_keys;
use crate::model::workload::Driver;
use crate::store::{Read, Write, nodes, replicas, services};
use serde_json::Value;

/// True if the node of a replica runs it, and so reports it.
pub fn is_run(read: &Read, replica: &Replica) -> Result<bool> {
    let node = nodes::by_id(read, &replica.node_id)?;
    let drivers = node.and_then(|node| runners::drivers(node.status.get(status_keys::RUNNER)));
    let service = services::by_id(read, &replica.service_id)?;
    let driver = service.map_or(Driver::None, |service| service.driver());
    Ok(runners::keeping(drivers.as_deref(), driver) == Keeping::Runs)
}

/// Starts to wait for the reports of a node that has become able to run some of its replicas: until now they were
/// records, which say nothing of what runs there.
pub fn await_reports(write: &Write, node_id: &NodeId) -> Result<()> {
    for listed in replicas::of_node(write, node_id)? {
        let Some(mut replica) = replicas::by_id(write, &listed.id)? else { continue };
        if replica_words::is_of_node(&replica.status) || !is_run(write, &replica)? {
            continue;
        }
        // A replica of an older generation gets the spec of that one, which may be a record.
        let newest = services::by_id(write, &replica.service_id)?.map(|service| service.generation);
        let facts = [&listed.status.desired_generation, &listed.status.applied_generation];
        if facts.into_iter().flatten().next().and_then(Value::as_i64) == newest {
            moved(&mut replica.status, true, write.now);
            replicas::update(write, &replica)?;
        }
    }
    Ok(())
}
