//! Requests for which a trusted proxy does not name the client: counted, and reported to the operator, who has to
//! correct the proxy.

use crate::buckets::Buckets;
use crate::control::Control;
use crate::error::Chain;
use crate::model::events::catalogue::PROXY_UNNAMED;
use crate::store::events;
use serde_json::json;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Rate of log lines and events about one proxy: one in ten minutes.
const REPORTS_PER_S: f64 = 1.0 / 600.0;
/// Maximum number of characters of a proxy's header in a report.
const WORD_CHARS_MAX: usize = 100;

/// Number of such requests since the start.
pub struct Unnamed {
    count: AtomicU64,
    reports: Buckets<IpAddr>,
}

impl Default for Unnamed {
    fn default() -> Unnamed {
        Unnamed { count: AtomicU64::new(0), reports: Buckets::new(REPORTS_PER_S, 1.0) }
    }
}

impl Unnamed {
    /// Requests since the start.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }
}

/// Counts a request for which this proxy sent `word` instead of its client's address.
pub fn note(control: &Control, proxy: IpAddr, word: &str) {
    let count = control.unnamed.count.fetch_add(1, Relaxed) + 1;
    if control.unnamed.reports.take(proxy).is_err() {
        return;
    }
    let word: String = word.chars().take(WORD_CHARS_MAX).collect();
    log::warn!(target: "api", event = PROXY_UNNAMED.name, proxy:% = proxy, word = word, requests = count;
        "A trusted proxy does not name the clients of its requests");
    let fields = json!({ "proxy": proxy.to_string(), "word": word, "requests": count });
    let recorded = control.store.write(move |w| events::record(w, PROXY_UNNAMED.with(fields)).map(drop));
    if let Err(e) = recorded {
        log::warn!(target: "api", event = "proxy.unrecorded", error:% = Chain(&e); "Could not record that a proxy does \
            not name its clients");
    }
}
