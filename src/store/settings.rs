//! Rows of cluster settings.

use super::query::query;
use super::{Read, Write};
use crate::error::Result;
use crate::model::settings::ClusterSetting;
use crate::model::{Page, Paging};
use rusqlite::{Row, named_params};

fn setting(row: &Row) -> rusqlite::Result<ClusterSetting> {
    Ok(ClusterSetting {
        key: row.get("key")?,
        value: row.get("value")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

/// A page of settings, by key.
pub fn page(read: &Read, paging: &Paging) -> Result<Page<ClusterSetting>> {
    let (after, limit) = (paging.after.as_deref().unwrap_or(""), paging.limit + 1);
    let (items, cut_at) = read.page_rows(
        query!("settings", "page"),
        named_params! { ":after": after, ":limit": limit as i64 },
        paging,
        setting,
    )?;
    Ok(Page::cut(items, cut_at, read.count(query!("settings", "count"), &[])?, |s| &s.key))
}

/// The setting of this key.
pub fn by_key(read: &Read, key: &str) -> Result<Option<ClusterSetting>> {
    read.row(query!("settings", "by_key"), named_params! { ":key": key }, setting)
}

/// Stores a setting.
pub fn put(write: &Write, key: &str, value: &str) -> Result<()> {
    write.run(query!("settings", "put"), named_params! { ":key": key, ":value": value, ":now": write.now })?;
    write.changed();
    Ok(())
}
