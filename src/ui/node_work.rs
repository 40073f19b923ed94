//! Work of a node that it does not carry out, and the reasons.

use super::{At, notice};
use crate::error::Result;
use crate::html::Html;
use crate::model::ids::NodeId;

/// Sentences about work that a node refuses, or does not get.
pub(super) fn notices(at: &At, node_id: &NodeId) -> Result<Html> {
    let state = at.control.work_documents.state(&at.control.reports, node_id)?;
    let mut found = Vec::new();
    if let Some(refused) = state.refused {
        let version = refused.version.map(|version| format!(" {version}")).unwrap_or_default();
        found.push(format!("The node refuses its work{version}, and keeps what it has: {}.", refused.reason));
    }
    if !state.left_out.is_empty() {
        let count = state.left_out.len();
        found.push(format!("The node has more replicas than it can run; it does not get the {count} newest."));
    }
    Ok(Html::concat(found.iter().map(|text| notice("bad", text)).collect()))
}
