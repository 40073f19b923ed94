//! Pages of a browser: how long each takes on a fresh server, and with two thousand nodes and five thousand replicas.

use crate::line;
use crate::scheduler::Cluster;
use std::time::{Duration, Instant};

/// Every kind of page; `n00000`, `s00000` and its first replica are there.
const PAGES: &[&str] = &[
    "/ui",
    "/ui/nodes",
    "/ui/nodes?sort=state&q=n01",
    "/ui/nodes/n00000",
    "/ui/services",
    "/ui/services/s00000",
    "/ui/services/s00000/explain",
    "/ui/replicas",
    "/ui/replicas?service=s00000",
    "/ui/scheduler",
    "/ui/scheduler/apply/-rebalance",
    "/ui/events",
    "/ui/wireguard",
    "/ui/support",
    "/ui/settings/cluster",
    "/ui/settings/certificates",
];
/// Bytes of a page, which shows a hundred rows at most.
const BYTES_MAX: usize = 50_000;

/// Times every page against its limit.
pub fn pages() {
    let mut cluster = Cluster::new("pages-fresh", 1, 1, 1);
    cluster.call("POST", "/scheduler/reconcile/all", "");
    worst(&mut cluster, "fresh server", 20.0, PAGES);
    let mut cluster = Cluster::new("pages", 2_000, 500, 10);
    // Everything is to be placed yet: the longest plan.
    worst(
        &mut cluster,
        "5,000 replicas to place",
        100.0,
        &["/ui", "/ui/services", "/ui/scheduler", "/ui/scheduler/apply/-all"],
    );
    cluster.call("POST", "/scheduler/reconcile/all", "");
    worst(&mut cluster, "2,000 nodes, 5,000 replicas", 100.0, PAGES);
}

/// A line for the slowest page, and one for each that is near the limit or over it.
fn worst(cluster: &mut Cluster, with: &str, limit_ms: f64, pages: &[&str]) {
    let mut times: Vec<(f64, usize, &str)> = pages.iter().map(|page| time(cluster, page)).collect();
    times.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (ms, bytes, page) in &times {
        println!("    {page:<40} {ms:>8.1} ms {bytes:>8} bytes");
    }
    let (ms, _, page) = times[0];
    let what = format!("slowest page, {with}");
    line(
        &what,
        format!("{ms:.1} ms"),
        format!("{:.2} of the limit: {page}", ms / limit_ms),
        &format!("below {limit_ms} ms"),
        ms < limit_ms,
    );
    let (_, bytes, page) = times.iter().max_by_key(|(_, bytes, _)| *bytes).unwrap();
    let what = format!("largest page, {with}");
    line(&what, format!("{} KiB", bytes / 1024), page.to_string(), "below 50 kB", *bytes < BYTES_MAX);
}

/// The best of some tries: what others do on the machine only makes it longer. A page is sent when it is whole.
fn time<'p>(cluster: &mut Cluster, page: &'p str) -> (f64, usize, &'p str) {
    let (mut best, mut bytes) = (Duration::MAX, 0);
    for _ in 0..5 {
        let began = Instant::now();
        bytes = cluster.call("GET", page, "").len();
        best = best.min(began.elapsed());
    }
    (best.as_secs_f64() * 1e3, bytes, page)
}
