//! News of nodes that the database could not store: kept in memory, bounded, until a later heartbeat writes it.

use crate::model::Object;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Maximum size of one node's news, in bytes: a whole status.
const BYTES_MAX: usize = 64 << 10;
/// Maximum size of all nodes' news, in bytes.
const TOTAL_BYTES_MAX: usize = 8 << 20;

/// News of one node. Dropping it frees its room.
pub(in crate::control) struct Unstored {
    /// The node's report.
    pub patch: Object,
    bytes: usize,
    total: Arc<AtomicUsize>,
}

impl Unstored {
    /// Keeps this news, if there is room; `total` counts the bytes of all.
    pub(in crate::control) fn keep(patch: Object, total: &Arc<AtomicUsize>) -> Option<Unstored> {
        let bytes = serde_json::to_string(&patch).map_or(usize::MAX, |text| text.len());
        if bytes > BYTES_MAX {
            return None;
        }
        let before = total.fetch_add(bytes, Relaxed);
        let unstored = Unstored { patch, bytes, total: Arc::clone(total) };
        (before + bytes <= TOTAL_BYTES_MAX).then_some(unstored)
    }
}

impl Drop for Unstored {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn news_in_memory_are_bounded() {
        let news = |bytes: usize| json!({"a": "x".repeat(bytes)}).as_object().cloned().unwrap_or_default();
        let total = Arc::default();
        assert!(Unstored::keep(news(BYTES_MAX), &total).is_none());
        let kept: Vec<Unstored> = (0..1000).map_while(|_| Unstored::keep(news(60_000), &total)).collect();
        assert_eq!(kept.len(), TOTAL_BYTES_MAX / 60_008);
        assert_eq!(kept[0].patch.len(), 1);
        drop(kept);
        assert_eq!(total.load(Relaxed), 0);
    }
}
