//! Rows of leases: narrow, with an integer key, so that a flush of thousands touches few pages.

use super::query::query;
use super::{Read, Write};
use crate::error::Result;
use crate::model::ids::NodeId;
use crate::model::leases::LeaseState;
use rusqlite::named_params;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// The stored part of a lease.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeaseRow {
    /// The node's number.
    pub node_seq: i64,
    /// Epoch seconds of the last accepted heartbeat.
    pub heartbeat_at_s: i64,
    /// Epoch seconds at which the node signed it.
    pub signed_at_s: i64,
    /// Seconds that the lease lasts after a heartbeat.
    pub ttl_s: i64,
    /// The last transition recorded as an event.
    pub state: LeaseState,
}

/// An enrolled node, as the lease table needs it at the start.
pub struct Enrolled {
    /// Its id.
    pub node_id: NodeId,
    /// Fingerprint of its certificate.
    pub fingerprint: String,
    /// Its key (SubjectPublicKeyInfo, DER).
    pub key: Vec<u8>,
    /// Digest of the authorities it was given.
    pub trust: Option<String>,
    /// Its lease.
    pub lease: LeaseRow,
}

impl ToSql for LeaseState {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            LeaseState::Alive => 0.into(),
            LeaseState::Stale => 1.into(),
            LeaseState::Dead => 2.into(),
            LeaseState::Unknown => rusqlite::types::Null.into(),
        })
    }
}

impl FromSql for LeaseState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            0 => Ok(LeaseState::Alive),
            1 => Ok(LeaseState::Stale),
            2 => Ok(LeaseState::Dead),
            n => Err(FromSqlError::OutOfRange(n)),
        }
    }
}

/// Every enrolled node with its lease.
pub fn enrolled(read: &Read) -> Result<Vec<Enrolled>> {
    read.rows(query!("leases", "enrolled"), &[], |r| {
        Ok(Enrolled {
            node_id: r.get("id")?,
            fingerprint: r.get("identity_fingerprint")?,
            key: r.get("identity_key")?,
            trust: r.get("identity_trust")?,
            lease: LeaseRow {
                node_seq: r.get("seq")?,
                heartbeat_at_s: r.get("heartbeat_at_s")?,
                signed_at_s: r.get("signed_at_s")?,
                ttl_s: r.get("ttl_s")?,
                state: r.get("state")?,
            },
        })
    })
}

/// Stores the lease of a joining node.
pub fn put(write: &Write, lease: &LeaseRow) -> Result<()> {
    let row = named_params! {
        ":seq": lease.node_seq, ":heartbeat_at_s": lease.heartbeat_at_s, ":signed_at_s": lease.signed_at_s,
        ":ttl_s": lease.ttl_s, ":state": lease.state,
    };
    write.run(query!("leases", "put"), row)?;
    write.changed();
    Ok(())
}

/// Stores a renewal.
pub fn renew(write: &Write, lease: &LeaseRow) -> Result<()> {
    let row = named_params! {
        ":seq": lease.node_seq, ":heartbeat_at_s": lease.heartbeat_at_s, ":signed_at_s": lease.signed_at_s,
        ":ttl_s": lease.ttl_s,
    };
    write.run(query!("leases", "renew"), row)?;
    Ok(())
}

/// Stores a transition.
pub fn set_state(write: &Write, node_seq: i64, state: LeaseState) -> Result<()> {
    write.run(query!("leases", "set_state"), named_params! { ":seq": node_seq, ":state": state })?;
    write.changed();
    Ok(())
}
