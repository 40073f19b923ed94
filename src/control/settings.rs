//! Cluster settings: read and set. Never guarded, so that `etcd_status` can be put right.

use super::Control;
use crate::error::{Error, Result};
use crate::model::events::NewEvent;
use crate::model::settings::{ClusterSetting, is_secret};
use crate::model::{Page, Paging};
use crate::store::{events, settings};
use serde_json::json;

/// A page of settings.
pub fn list(control: &Control, paging: &Paging) -> Result<Page<ClusterSetting>> {
    control.store.read(|r| settings::page(r, paging))
}

/// One setting.
pub fn show(control: &Control, key: &str) -> Result<ClusterSetting> {
    control.store.read(|r| settings::by_key(r, key))?.ok_or_else(|| Error::not_found("Cluster setting"))
}

/// Sets one; keys that name a secret are refused.
pub fn put(control: &Control, key: String, value: String, by: &str) -> Result<ClusterSetting> {
    if is_secret(&key) {
        return Err(Error::Forbidden("Secrets are not cluster settings and cannot be set here."));
    }
    let by = by.to_string();
    control.store.write(move |w| {
        settings::put(w, &key, &value)?;
        events::record(w, NewEvent::info("settings", "setting.update", json!({"key": key, "by": by})))?;
        settings::by_key(w, &key)?.ok_or_else(|| Error::not_found("Cluster setting"))
    })
}
