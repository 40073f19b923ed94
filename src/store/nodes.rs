//! Rows of nodes.

use super::query::query;
use super::row::{Column, Json, json};
use super::{Read, Write};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::ca::NodeTrust;
use crate::model::ids::NodeId;
use crate::model::leases::LeaseState;
use crate::model::nodes::{ListedNode, Node, PlacedNode};
use crate::model::{Object, Page, Paging};
use rusqlite::{Row, named_params};
use std::collections::BTreeMap;

/// A row of `page` or `by_id`, by position: finding columns by name took almost half of the time of a long list.
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
        identity_fingerprint: row.get(8)?,
        identity_expires_at: row.get(9)?,
        created_at: row.get(10)?,
        updated_at: row.get(11)?,
        mesh_ip_given: row.get(12)?,
        capacity: row.get::<_, Option<Json<_>>>(13)?.map(|c| c.0),
        reserved: row.get::<_, Option<Json<_>>>(14)?.map(|r| r.0),
    })
}

/// A page of nodes, by id. Lease fields are laid over by `control::leases`.
pub fn page(read: &Read, paging: &Paging) -> Result<Page<ListedNode>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit + 1);
    let (items, cut_at) =
        read.page_rows(query!("nodes", "page"), named_params! { ":after": after, ":limit": limit as i64 }, paging, node)?;
    Ok(Page::cut(items, cut_at, read.count(query!("nodes", "count"), &[])?, |n| n.id.as_str()))
}

/// Which nodes are wanted; `None` asks nothing.
pub struct Wanted<'w> {
    /// One of their roles.
    pub role: Option<&'w str>,
    /// Labels they all have.
    pub labels: &'w BTreeMap<String, String>,
    /// They are among these ids.
    pub among: Option<Vec<NodeId>>,
    /// They are not among these ids.
    pub not_among: Option<Vec<NodeId>>,
}

/// A page of the wanted nodes, by id.
pub fn page_of(read: &Read, paging: &Paging, wanted: &Wanted) -> Result<Page<ListedNode>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit as i64 + 1);
    let (among, not_among) = (wanted.among.as_ref().map(json).transpose()?, wanted.not_among.as_ref().map(json).transpose()?);
    let labels = json(wanted.labels)?;
    let page = named_params! { ":after": after, ":role": wanted.role, ":labels": labels, ":among": among, ":not_among": not_among, ":limit": limit };
    let (items, cut_at) = read.page_rows(query!("nodes", "page_of"), page, paging, node)?;
    let count = named_params! { ":role": wanted.role, ":labels": labels, ":among": among, ":not_among": not_among };
    Ok(Page::cut(items, cut_at, read.count(query!("nodes", "count_of"), count)?, |n| n.id.as_str()))
}

/// When the first of the nodes' certificates ends.
pub fn first_identity_end(read: &Read) -> Result<Option<Timestamp>> {
    Ok(read.row(query!("nodes", "first_identity_end"), &[], |r| r.get(0))?.flatten())
}

/// Every node, with what of its status decides what may be placed there.
pub fn facts(read: &Read) -> Result<Vec<PlacedNode>> {
    read.rows(query!("nodes", "all"), &[], node)
}

/// A page of ids and statuses, by id.
pub fn page_of_statuses(read: &Read, paging: &Paging) -> Result<Page<(NodeId, Object)>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit as i64 + 1);
    let page = named_params! { ":after": after, ":limit": limit };
    let (items, cut_at) =
        read.page_rows(query!("nodes", "page_of_statuses"), page, paging, |r| Ok((r.get(0)?, r.get::<_, Json<_>>(1)?.0)))?;
    Ok(Page::cut(items, cut_at, read.count(query!("nodes", "count"), &[])?, |(id, _)| id.as_str()))
}

/// The node of this id.
pub fn by_id(read: &Read, id: &NodeId) -> Result<Option<Node>> {
    read.row(query!("nodes", "by_id"), named_params! { ":id": id }, node)
}

/// How many nodes there are.
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

/// Id and name, in lower case, of each node that was known before this one and has its id or its full name; of all others, where this one is
/// not known yet.
pub fn earlier(read: &Read, id: &NodeId, full: &str) -> Result<Vec<(String, String)>> {
    let lower = |row: &Row| Ok((row.get::<_, String>(0)?.to_ascii_lowercase(), row.get::<_, String>(1)?.trim().to_ascii_lowercase()));
    let short = id.as_str().to_ascii_lowercase();
    let wanted = named_params! { ":id": id, ":short": short, ":full": full.to_ascii_lowercase() };
    read.rows(query!("nodes", "earlier"), wanted, lower)
}

/// Id and name of other nodes whose id or name is this one, but for the case of ASCII letters and blanks around it.
pub fn alike(read: &Read, id: &NodeId, folded_id: &str, folded_name: &str) -> Result<Vec<(NodeId, String)>> {
    let wanted = named_params! { ":id": id, ":folded_id": folded_id, ":folded_name": folded_name };
    let mut found = read.rows(query!("nodes", "alike"), wanted, |row| Ok((row.get(0)?, row.get(1)?)))?;
    found.sort();
    Ok(found)
}

/// The mesh addresses that were given to other nodes.
pub fn addresses_given(read: &Read, id: &NodeId) -> Result<Vec<String>> {
    read.rows(query!("nodes", "addresses_given"), named_params! { ":id": id }, |row| row.get(0))
}

/// How many replicas are placed on this node.
pub fn replicas_on(read: &Read, id: &NodeId) -> Result<u64> {
    read.count(query!("nodes", "replicas_on"), named_params! { ":id": id })
}

/// Writes a new node; 409 when its id or its name is taken.
pub fn insert(write: &Write, node: &Node) -> Result<()> {
    write.run(
        query!("nodes", "insert"),
        named_params! {
            ":id": node.id, ":name": node.name, ":roles": json(&node.roles)?, ":labels": json(&node.labels)?, ":mesh_ip": node.mesh_ip,
            ":mesh_ip_given": node.mesh_ip_given, ":status": json(&node.status)?, ":api_endpoint": node.api_endpoint,
            ":capacity": node.capacity.as_ref().map(json).transpose()?, ":reserved": node.reserved.as_ref().map(json).transpose()?,
            ":now": write.now,
        },
    )?;
    write.changed();
    Ok(())
}

/// Writes a changed node.
pub fn update(write: &Write, node: &Node) -> Result<()> {
    report(write, node)?;
    write.changed();
    Ok(())
}

/// Writes a node that changed in nothing the scheduler cares for.
pub fn report(write: &Write, node: &Node) -> Result<()> {
    write.run(
        query!("nodes", "update"),
        named_params! {
            ":id": node.id, ":name": node.name, ":roles": json(&node.roles)?, ":labels": json(&node.labels)?, ":mesh_ip": node.mesh_ip,
            ":mesh_ip_given": node.mesh_ip_given, ":status": json(&node.status)?, ":api_endpoint": node.api_endpoint,
            ":capacity": node.capacity.as_ref().map(json).transpose()?, ":reserved": node.reserved.as_ref().map(json).transpose()?,
            ":now": write.now,
        },
    )?;
    Ok(())
}

/// Gives a node a new identity: the certificate's fingerprint and end, the key (SubjectPublicKeyInfo, DER), and the digest of what the node
/// is told to trust with it.
pub fn set_identity(write: &Write, id: &NodeId, fingerprint: &str, expires_at: Timestamp, key: &[u8], trust: &str) -> Result<()> {
    let row = named_params! {
        ":id": id, ":fingerprint": fingerprint, ":expires_at": expires_at, ":key": key, ":trust": trust, ":now": write.now,
    };
    write.run(query!("nodes", "set_identity"), row)?;
    Ok(())
}

/// Enrolled nodes of which it is not noted what they trust were given this.
pub fn adopt_trust(write: &Write, trust: &str) -> Result<()> {
    write.run(query!("nodes", "adopt_trust"), named_params! { ":trust": trust }).map(drop)
}

/// How many nodes are enrolled, and how many of them have this to trust.
pub fn count_trust(read: &Read, trust: &str) -> Result<(i64, i64)> {
    let counted = read.row(query!("nodes", "count_trust"), named_params! { ":trust": trust }, |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(counted.unwrap_or_default())
}

/// A page of enrolled nodes, by id, and whether each has this to trust.
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

/// Enrolled nodes whose last heartbeat was before this moment and that no replica or router assignment names.
pub fn unheard_since(read: &Read, before: Timestamp, limit: usize) -> Result<Vec<NodeId>> {
    let wanted = named_params! { ":before_s": before.secs(), ":limit": limit as i64 };
    read.rows(query!("nodes", "unheard_since"), wanted, |r| r.get(0))
}

/// Takes a node away, its lease with it. Tells whether it was there.
pub fn delete(write: &Write, id: &NodeId) -> Result<bool> {
    let gone = write.run(query!("nodes", "delete"), named_params! { ":id": id })? > 0;
    write.changed();
    Ok(gone)
}
