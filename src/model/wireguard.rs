//! The tunnels of a node, as its status tells them.

use super::Object;
use serde::Serialize;
use serde_json::Value;

/// A line of `GET /wireguard/status`; `null` where nothing is known.
#[derive(Debug, Clone, Serialize)]
pub struct WireguardStatus {
    /// The node.
    pub node_id: String,
    /// The tunnel to its first router.
    pub primary_tunnel: Value,
    /// The tunnel to its second router.
    pub secondary_tunnel: Value,
    /// Which of them carries traffic.
    pub active_route: Value,
    /// What the change-over between them does.
    pub failover_state: Value,
}

impl WireguardStatus {
    /// What a node's status says.
    pub fn of(node_id: String, status: &Object) -> WireguardStatus {
        let value = |key: &str| status.get(key).cloned().unwrap_or(Value::Null);
        WireguardStatus {
            node_id,
            primary_tunnel: value("wg_primary_tunnel"),
            secondary_tunnel: value("wg_secondary_tunnel"),
            active_route: value("wg_active_route"),
            failover_state: value("wg_failover_state"),
        }
    }
}
