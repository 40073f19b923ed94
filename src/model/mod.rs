//! Plain types of the cluster. Serializing one gives exactly the contract's JSON; nothing here does I/O or reads a
//! clock.

pub mod address;
pub mod addresses;
pub mod api_tokens;
pub mod backups;
pub mod base_path;
pub mod ca;
pub mod capacity;
pub mod endpoints;
pub mod events;
pub mod findings;
pub mod ids;
pub mod join_string;
pub mod join_tokens;
pub mod leases;
pub mod local;
pub mod mesh_address;
pub mod node_api;
pub mod node_calls;
pub mod node_progress;
pub mod node_runs;
pub mod node_self;
pub mod node_status;
pub mod node_work;
pub mod nodes;
pub mod release;
pub mod replica_words;
pub mod replicas;
pub mod routers;
pub mod runners;
pub mod runs;
pub mod services;
pub mod sessions;
pub mod settings;
pub mod specs;
pub mod status;
pub mod status_keys;
pub mod updates;
pub mod users;
pub mod wireguard;
pub mod words;
pub mod workload;

/// A JSON object, such as `status` and `fields`.
pub type Object = serde_json::Map<String, serde_json::Value>;

/// One page of a list: its items, the total, and the start of the next page.
#[derive(Debug)]
pub struct Page<T> {
    /// The items of this page, in the list's order.
    pub items: Vec<T>,
    /// Number of items in the whole list.
    pub total: u64,
    /// The id to pass as `after` for the next page; `None` on the last page.
    pub next: Option<String>,
}

/// The part of a list to read.
#[derive(Debug, Clone)]
pub struct Paging {
    /// Maximum number of items.
    pub limit: usize,
    /// Maximum size of the items, in bytes; at least one item is always returned.
    pub bytes_max: usize,
    /// Only items after this id in the list's order.
    pub after: Option<String>,
}

impl Paging {
    /// The first `limit` items, whatever their size: for readers that keep no copy of them.
    pub fn first(limit: usize) -> Paging {
        Paging { limit, bytes_max: usize::MAX, after: None }
    }
}

impl<T> Page<T> {
    /// Builds a page from rows that were read with `limit` + 1: the extra row only shows that there is a next page.
    pub fn cut(mut items: Vec<T>, limit: usize, total: u64, id: impl Fn(&T) -> &str) -> Page<T> {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(|last| id(last).to_string()) } else { None };
        Page { items, total, next }
    }
}
