//! Rows of nodes.

use super::query::query;
use super::row::{Column, Json, json};
use super::{Read, Write};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::ca::NodeTrust;
use crate::model::ids::NodeId;
use crate::model::leases::LeaseState;
use crate::model::mesh_address::MeshAddress;
use crate::model::nodes::{ListedNode, Node, PlacedNode};
use crate::model::{Object, Page, Paging};
use rusqlite::{Row, named_params};
use std::collections::BTreeMap;

/// Reads a row of `page` or `by_id` by position: finding columns by name took almost half of the time of a long list.
fn node<R, L, S>(row: &Row) -> rusqlite::Result<Node<R, L, S>>
where
    R: Column,
    L: Column,
    S: Column,
{
    Ok(Node {
        seq: row.get(0)?,
        id: row.get(1)?,
        name: row.get(2)?,
        roles: row.get::<_, Json<_>>(3)?.0,
        labels: row.get::<_, Json<_>>(4)?.0,
        mesh_ip: row.get(5)?,
        status: row.get::<_, Json<_>>(6)?.0,
        api_endpoint: row.get(7)?,
        heartbeat_at: None,
        lease_expires_at: None,
        suspect_since: None,
        identity_fingerprint: row.get(8)?,
        identity_expires_at: row.get(9)?,
        created_at: row.get(10)?,
        updated_at: row.get(11)?,
        mesh_ip_given: row.get(12)?,
        capacity: row.get::<_, Option<Json<_>>>(13)?.map(|c| c.0),
        reserved: row.get::<_, Option<Json<_>>>(14)?.map(|r| r.0),
    })
}

/// A page of nodes, by id. `control::leases` overlays the lease fields.
pub fn page(read: &Read, paging: &Paging) -> Result<Page<ListedNode>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit + 1);
    let (items, cut_at) = read.page_rows(
        query!("nodes", "page"),
        named_params! { ":after": after, ":limit": limit as i64 },
        paging,
        node,
    )?;
    Ok(Page::cut(items, cut_at, read.count(query!("nodes", "count"), &[])?, |n| n.id.as_str()))
}

/// Filter for node lists; a `None` field matches all.
pub struct NodeFilter<'w> {
    /// Role that the nodes have.
    pub role: Option<&'w str>,
    /// Labels that the nodes have.
    pub labels: &'w BTreeMap<String, String>,
    /// Ids to include.
    pub among: Option<Vec<NodeId>>,
    /// Ids to exclude.
    pub not_among: Option<Vec<NodeId>>,
}

/// A page of matching nodes, by id.
pub fn page_of(read: &Read, paging: &Paging, wanted: &NodeFilter) -> Result<Page<ListedNode>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit as i64 + 1);
    let (among, not_among) =
        (wanted.among.as_ref().map(json).transpose()?, wanted.not_among.as_ref().map(json).transpose()?);
    let labels = json(wanted.labels)?;
    let page = named_params! {
        ":after": after, ":role": wanted.role, ":labels": labels, ":among": among, ":not_among": not_among,
        ":limit": limit,
    };
    let (items, cut_at) = read.page_rows(query!("nodes", "page_of"), page, paging, node)?;
    let count = named_params! { ":role": wanted.role, ":labels": labels, ":among": among, ":not_among": not_among };
    Ok(Page::cut(items, cut_at, read.count(query!("nodes", "count_of"), count)?, |n| n.id.as_str()))
}

/// Earliest expiry of the nodes' certificates.
pub fn first_identity_end(read: &Read) -> Result<Option<Timestamp>> {
    Ok(read.row(query!("nodes", "first_identity_end"), &[], |r| r.get(0))?.flatten())
}

/// Every node, with the part of its status that matters for placement.
pub fn facts(read: &Read) -> Result<Vec<PlacedNode>> {
    read.rows(query!("nodes", "all"), &[], node)
}

/// A page of ids and statuses, by id.
pub fn page_of_statuses(read: &Read, paging: &Paging) -> Result<Page<(NodeId, Object)>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit as i64 + 1);
    let page = named_params! { ":after": after, ":limit": limit };
    let (items, cut_at) = read
        .page_rows(query!("nodes", "page_of_statuses"), page, paging, |r| Ok((r.get(0)?, r.get::<_, Json<_>>(1)?.0)))?;
    Ok(Page::cut(items, cut_at, read.count(query!("nodes", "count"), &[])?, |(id, _)| id.as_str()))
}

/// The node of this id.
pub fn by_id(read: &Read, id: &NodeId) -> Result<Option<Node>> {
    read.row(query!("nodes", "by_id"), named_params! { ":id": id }, node)
}

/// Number of nodes.
pub fn count(read: &Read) -> Result<u64> {
    read.count(query!("nodes", "count"), &[])
}

/// Id, name and roles of every node.
pub fn names(read: &Read) -> Result<Vec<(NodeId, String, Vec<String>)>> {
    read.rows(query!("nodes", "names"), &[], |r| Ok((r.get(0)?, r.get(1)?, r.get::<_, Json<_>>(2)?.0)))
}

/// The id of the node of this name.
pub fn id_of_name(read: &Read, name: &str) -> Result<Option<NodeId>> {
    read.row(query!("nodes", "id_of_name"), named_params! { ":name": name }, |r| r.get(0))
}

/// Id and name, in lower case, of older nodes that share this one's id or full name; of all other nodes if this one
/// does not exist yet.
pub fn earlier(read: &Read, id: &NodeId, full: &str) -> Result<Vec<(String, String)>> {
    let lower = |row: &Row| {
        Ok((row.get::<_, String>(0)?.to_ascii_lowercase(), row.get::<_, String>(1)?.trim().to_ascii_lowercase()))
    };
    let short = id.as_str().to_ascii_lowercase();
    let wanted = named_params! { ":id": id, ":short": short, ":full": full.to_ascii_lowercase() };
    read.rows(query!("nodes", "earlier"), wanted, lower)
}

/// Id and name of other nodes with this id or name, ignoring the case of ASCII letters and surrounding spaces.
pub fn alike(read: &Read, id: &NodeId, folded_id: &str, folded_name: &str) -> Result<Vec<(NodeId, String)>> {
    let wanted = named_params! { ":id": id, ":folded_id": folded_id, ":folded_name": folded_name };
    let mut found = read.rows(query!("nodes", "alike"), wanted, |row| Ok((row.get(0)?, row.get(1)?)))?;
    found.sort();
    Ok(found)
}

/// Mesh addresses of other nodes.
pub fn addresses_given(read: &Read, id: &NodeId) -> Result<Vec<MeshAddress>> {
    read.rows(query!("nodes", "addresses_given"), named_params! { ":id": id }, |row| row.get(0))
}

/// Number of replicas placed on this node.
pub fn replicas_on(read: &Read, id: &NodeId) -> Result<u64> {
    read.count(query!("nodes", "replicas_on"), named_params! { ":id": id })
}

/// Inserts a node; 409 if its id or name exists.
pub fn insert(write: &Write, node: &Node) -> Result<()> {
    write.run(
        query!("nodes", "insert"),
        named_params! {
            ":id": node.id, ":name": node.name, ":roles": json(&node.roles)?, ":labels": json(&node.labels)?,
            ":mesh_ip": node.mesh_ip,
            ":mesh_ip_given": node.mesh_ip_given, ":status": json(&node.status)?, ":api_endpoint": node.api_endpoint,
            ":capacity": node.capacity.as_ref().map(json).transpose()?,
            ":reserved": node.reserved.as_ref().map(json).transpose()?,
            ":now": write.now,
        },
    )?;
    write.changed();
    Ok(())
}

/// Stores a changed node.
pub fn update(write: &Write, node: &Node) -> Result<()> {
    report(write, node)?;
    write.changed();
    Ok(())
}

/// Stores a node whose change is irrelevant to the scheduler.
pub fn report(write: &Write, node: &Node) -> Result<()> {
    write.run(
        query!("nodes", "update"),
        named_params! {
            ":id": node.id, ":name": node.name, ":roles": json(&node.roles)?, ":labels": json(&node.labels)?,
            ":mesh_ip": node.mesh_ip,
            ":mesh_ip_given": node.mesh_ip_given, ":status": json(&node.status)?, ":api_endpoint": node.api_endpoint,
            ":capacity": node.capacity.as_ref().map(json).transpose()?,
            ":reserved": node.reserved.as_ref().map(json).transpose()?,
            ":now": write.now,
        },
    )?;
    Ok(())
}

/// Stores a node's new identity: fingerprint and expiry of the certificate, the key (SubjectPublicKeyInfo, DER), and
/// the digest of the authorities it was given.
pub fn set_identity(
    write: &Write,
    id: &NodeId,
    fingerprint: &str,
    expires_at: Timestamp,
    key: &[u8],
    trust: &str,
) -> Result<()> {
    let row = named_params! {
        ":id": id, ":fingerprint": fingerprint, ":expires_at": expires_at, ":key": key, ":trust": trust,
        ":now": write.now,
    };
    write.run(query!("nodes", "set_identity"), row)?;
    Ok(())
}

/// Sets the digest of authorities for enrolled nodes that have none.
pub fn set_missing_trust(write: &Write, trust: &str) -> Result<()> {
    write.run(query!("nodes", "adopt_trust"), named_params! { ":trust": trust }).map(drop)
}

/// Number of enrolled nodes, and of those with this digest of authorities.
pub fn count_trust(read: &Read, trust: &str) -> Result<(i64, i64)> {
    let counted =
        read.row(query!("nodes", "count_trust"), named_params! { ":trust": trust }, |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(counted.unwrap_or_default())
}

/// A page of enrolled nodes, by id, and whether each has this digest of authorities.
pub fn trust_page(read: &Read, paging: &Paging, trust: &str) -> Result<Page<NodeTrust>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit as i64 + 1);
    let page = named_params! { ":trust": trust, ":after": after, ":limit": limit };
    let (items, cut_at) = read.page_rows(query!("nodes", "trust_page"), page, paging, |r| {
        let up_to_date = r.get::<_, Option<bool>>(2)?.unwrap_or(false);
        Ok(NodeTrust { node_id: r.get(0)?, name: r.get(1)?, up_to_date, lease_state: LeaseState::Unknown })
    })?;
    let (enrolled, _) = count_trust(read, trust)?;
    Ok(Page::cut(items, cut_at, enrolled.unsigned_abs(), |n| n.node_id.as_str()))
}

/// Enrolled nodes whose last heartbeat is older than this time and that no replica or router assignment refers to.
pub fn unheard_since(read: &Read, before: Timestamp, limit: usize) -> Result<Vec<NodeId>> {
    let wanted = named_params! { ":before_s": before.secs(), ":limit": limit as i64 };
    read.rows(query!("nodes", "unheard_since"), wanted, |r| r.get(0))
}

/// Deletes a node and its lease. Returns true if it existed.
pub fn delete(write: &Write, id: &NodeId) -> Result<bool> {
    let gone = write.run(query!("nodes", "delete"), named_params! { ":id": id })? > 0;
    write.changed();
    Ok(gone)
}
