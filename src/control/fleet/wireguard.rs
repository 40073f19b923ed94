//! Reports of nodes about their tunnels.

use crate::control::Control;
use crate::error::Result;
use crate::model::wireguard::WireguardStatus;
use crate::model::{Page, Paging};
use crate::store::nodes;

/// A page of nodes with their tunnels, by id.
pub fn list(control: &Control, paging: &Paging) -> Result<Page<WireguardStatus>> {
    let page = control.store.read(|r| nodes::page_of_statuses(r, paging))?;
    let of = |(node_id, status)| WireguardStatus::of(node_id, &status);
    Ok(Page { items: page.items.into_iter().map(of).collect(), total: page.total, next: page.next })
}
