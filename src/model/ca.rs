//! The cluster's authority as operators see it.

use super::leases::LeaseState;
use crate::clock::Timestamp;
use crate::model::ids::NodeId;
use serde::Serialize;

/// An authority.
#[derive(Debug, Serialize)]
pub struct AuthorityView {
    /// Lower-case hex SHA-256 of its certificate's DER form.
    pub fingerprint: String,
    /// When it ends.
    pub not_after: Option<Timestamp>,
}

/// The authorities that are trusted, and how far a rotation is.
#[derive(Debug, Serialize)]
pub struct CaView {
    /// The one that issues.
    pub current: Option<AuthorityView>,
    /// The previous one, while it is still trusted.
    pub previous: Option<AuthorityView>,
    /// The certificates of both, PEM.
    pub ca_cert_pem: String,
    /// The one that signs what people are shown.
    pub server: Option<AuthorityView>,
    /// The one before it, while it is still what the server shows.
    pub server_previous: Option<AuthorityView>,
    /// The certificates of both, PEM: what browsers and commands are to trust.
    pub server_ca_cert_pem: String,
    /// Enrolled nodes.
    pub nodes: i64,
    /// Those of them that have what they are to trust.
    pub nodes_up_to_date: i64,
}

/// What a node trusts.
#[derive(Debug, Serialize)]
pub struct NodeTrust {
    /// Its id.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// Whether it has what it is to trust; it fetches that with its next heartbeat.
    pub up_to_date: bool,
    /// Whether it is alive to do so.
    pub lease_state: LeaseState,
}
