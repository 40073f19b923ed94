//! Tunnels of a node, as its status reports them.

use super::Object;
use super::status_keys::{WG_ACTIVE_ROUTE, WG_FAILOVER_STATE, WG_PRIMARY_TUNNEL, WG_SECONDARY_TUNNEL};
use crate::model::ids::NodeId;
use serde::Serialize;
use serde_json::Value;

/// A line of `GET /wireguard/status`; an unknown value is `null`.
#[derive(Debug, Clone, Serialize)]
pub struct WireguardStatus {
    /// The node.
    pub node_id: NodeId,
    /// The tunnel to its first router.
    pub primary_tunnel: Value,
    /// The tunnel to its second router.
    pub secondary_tunnel: Value,
    /// The tunnel that carries traffic.
    pub active_route: Value,
    /// State of the failover between them.
    pub failover_state: Value,
}

impl WireguardStatus {
    /// Reads a node's status.
    pub fn of(node_id: NodeId, status: &Object) -> WireguardStatus {
        let value = |key: &str| status.get(key).cloned().unwrap_or(Value::Null);
        WireguardStatus {
            node_id,
            primary_tunnel: value(WG_PRIMARY_TUNNEL),
            secondary_tunnel: value(WG_SECONDARY_TUNNEL),
            active_route: value(WG_ACTIVE_ROUTE),
            failover_state: value(WG_FAILOVER_STATE),
        }
    }
}
