//! The list of leases.

use crate::control::Control;
use crate::error::{Error, FieldFault, Loc, Result};
use crate::model::leases::{LeaseState, LeaseView};
use crate::model::{Page, Paging};
use crate::store::nodes;

/// A page of `GET /cluster/leases`: alive, stale, dead, unknown, each by name.
pub fn list(control: &Control, paging: &Paging) -> Result<Page<LeaseView>> {
    let named = control.store.read(nodes::names)?;
    let (tick, stale_for) = (control.leases.tick(), control.leases.stale_for());
    let mut items: Vec<LeaseView> = named
        .into_iter()
        .map(|(node_id, name, roles)| {
            let seen = control.leases.with(&node_id, |l| {
                (l.heartbeat_at, l.expires_at, l.state(tick, stale_for), l.suspect_since(tick, stale_for))
            });
            let (heartbeat_at, lease_expires_at) = (seen.map(|s| s.0), seen.map(|s| s.1));
            LeaseView {
                node_id,
                name,
                roles,
                heartbeat_at,
                lease_expires_at,
                lease_state: seen.map_or(LeaseState::Unknown, |s| s.2),
                suspect_since: seen.and_then(|s| s.3),
            }
        })
        .collect();
    items.sort_by(|a, b| (a.lease_state, &a.name).cmp(&(b.lease_state, &b.name)));
    let total = items.len() as u64;
    let begin = match &paging.after {
        None => 0,
        Some(id) => match items.iter().position(|l| l.node_id == id.as_str()) {
            Some(i) => i + 1,
            None => {
                let loc = vec![Loc::Name("query".into()), Loc::Name("after".into())];
                let msg = "This node was deleted: read the list from its beginning".to_string();
                return Err(Error::Invalid(vec![FieldFault {
                    kind: "string_pattern_mismatch",
                    loc,
                    msg,
                    input: id.as_str().into(),
                }]));
            }
        },
    };
    let rest = items.split_off(begin).into_iter().take(paging.limit + 1).collect();
    Ok(Page::cut(rest, paging.limit, total, |l| l.node_id.as_str()))
}
