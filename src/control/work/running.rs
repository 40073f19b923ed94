//! Replicas that their nodes run themselves.

use crate::error::Result;
use crate::model::replicas::Replica;
use crate::model::runners::{self, Keeping};
use crate::model::status_keys;
use crate::model::workload::Driver;
use crate::store::{Read, nodes, services};

/// True if the node of a replica runs it, and so reports it.
pub fn is_run(read: &Read, replica: &Replica) -> Result<bool> {
    let node = nodes::by_id(read, &replica.node_id)?;
    let drivers = node.and_then(|node| runners::drivers(node.status.get(status_keys::RUNNER)));
    let service = services::by_id(read, &replica.service_id)?;
    let driver = service.map_or(Driver::None, |service| service.driver());
    Ok(runners::keeping(drivers.as_deref(), driver) == Keeping::Runs)
}
