//! The cluster's authority as operators see it.

use super::leases::LeaseState;
use crate::clock::Timestamp;
use crate::model::ids::NodeId;
use serde::Serialize;

/// Header of every answer during a rotation: SHA-256 (hex) of the authority that certifies the server afterwards.
pub const NEXT_AUTHORITY: &str = "UptimeMesh-Next-Authority";

/// One authority.
#[derive(Debug, Serialize)]
pub struct AuthorityView {
    /// Lower-case hex SHA-256 of its certificate's DER form.
    pub fingerprint: String,
    /// End of its validity.
    pub not_after: Option<Timestamp>,
}

/// The trusted authorities, and the progress of a rotation.
#[derive(Debug, Serialize)]
pub struct CaView {
    /// The authority that issues certificates.
    pub current: Option<AuthorityView>,
    /// The previous authority, while it is still trusted.
    pub previous: Option<AuthorityView>,
    /// The certificates of both, PEM.
    pub ca_cert_pem: String,
    /// The authority that signs the server's certificate for people.
    pub server: Option<AuthorityView>,
    /// Its predecessor, while it still signs what the server shows.
    pub server_previous: Option<AuthorityView>,
    /// The certificates of both, PEM, for browsers and the command line to trust.
    pub server_ca_cert_pem: String,
    /// Number of enrolled nodes.
    pub nodes: i64,
    /// Number of nodes that have the current authorities.
    pub nodes_up_to_date: i64,
}

/// Trust of one node.
#[derive(Debug, Serialize)]
pub struct NodeTrust {
    /// Its id.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// True if it has the current authorities; otherwise it fetches them with its next heartbeat.
    pub up_to_date: bool,
    /// State of its lease: only a living node can fetch them.
    pub lease_state: LeaseState,
}
