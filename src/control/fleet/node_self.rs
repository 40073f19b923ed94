//! The control plane's knowledge of the calling node.

use super::nodes as rules;
use crate::clock;
use crate::control::Control;
use crate::control::access::node_proofs::NodeCaller;
use crate::control::trust::tls;
use crate::error::Result;
use crate::model::node_api::Part;
use crate::model::node_self::NodeSelf;
use crate::store::nodes;

/// The calling node as the control plane knows it; 404 if it was deleted meanwhile.
pub fn show(control: &Control, caller: &NodeCaller) -> Result<NodeSelf> {
    let mut node = control.store.read(|r| nodes::by_id(r, &caller.node_id))?.ok_or_else(rules::missing)?;
    control.leases.overlay(&mut node);
    Ok(NodeSelf {
        lease_state: control.leases.state(&node.id),
        addresses: control.tls.as_ref().and_then(tls::Tls::addresses),
        update: control.updates.request_for(&node.id).map(|request| Part::Known(request.into())),
        node_id: node.id,
        name: node.name,
        proven_by: caller.proven_by,
        identity_fingerprint: node.identity_fingerprint,
        identity_expires_at: node.identity_expires_at,
        heartbeat_at: node.heartbeat_at,
        lease_expires_at: node.lease_expires_at,
        server_time: clock::now(),
    })
}
