//! Reading the control plane's view of this node.

use super::{ControlPlane, Linked};
use crate::agent::identity::Identity;
use crate::client::{CallError, Signer};
use crate::clock::Timestamp;
use crate::model::node_runs::AgentRun;
use crate::model::node_self::NodeSelf;
use serde::Deserialize;

/// Reads it, in the name of this run of the agent; signed at `now`, by the server's clock.
pub fn read(
    control_plane: &ControlPlane,
    identity: &Identity,
    run: Option<&AgentRun>,
    now: Timestamp,
) -> Linked<NodeSelf> {
    let api = control_plane.api(identity)?;
    let signer = Signer { node_id: &identity.node_id, lease_token: &identity.lease_token, key: &identity.key, run };
    let answer = api.send(signer.sign("GET", "/node/self", None, now)?)?;
    let unknown = |e| format!("{}/node/self answered in a form that this version does not know: {e}", api.url());
    Ok(NodeSelf::deserialize(&answer).map_err(|e| CallError::Unreachable(unknown(e)))?)
}
