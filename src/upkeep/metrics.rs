//! Metrics in Prometheus' text format (version 0.0.4), for `GET /metrics`.

use super::App;
use crate::clock;
use crate::control::Control;
use crate::error::Result;
use crate::model::leases::LeaseState;
use crate::scheduler::Scheduler;
use crate::store::nodes;
use crate::thread::lock;
use crate::upkeep::backups as kept;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Upper bounds of the latency buckets, in seconds: from an answer from memory to a slow disk.
const BUCKETS_S: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0];

/// Counters of requests.
#[derive(Default)]
pub struct Metrics {
    /// By method, route and status: bounded by the route table.
    requests: Mutex<BTreeMap<(&'static str, &'static str, u16), u64>>,
    latency: Mutex<BTreeMap<(&'static str, &'static str), Histogram>>,
}

#[derive(Default, Clone)]
struct Histogram {
    /// Number of answers in each bucket, and above the last.
    buckets: [u64; BUCKETS_S.len() + 1],
    sum_s: f64,
}

impl Metrics {
    /// Counts an answer.
    pub fn request(&self, method: &'static str, path: &'static str, status: u16, took: Duration) {
        *lock(&self.requests).entry((method, path, status)).or_default() += 1;
        let took_s = took.as_secs_f64();
        let bucket = BUCKETS_S.iter().position(|bound| took_s <= *bound).unwrap_or(BUCKETS_S.len());
        let mut latency = lock(&self.latency);
        let histogram = latency.entry((method, path)).or_default();
        histogram.buckets[bucket] += 1;
        histogram.sum_s += took_s;
    }
}

/// All metrics as text.
pub fn text(app: &App) -> Result<String> {
    let control = &app.control;
    let mut out = Text(String::with_capacity(16 << 10));
    out.family("uptimemesh_build_info", "gauge", "Build information; always 1.");
    out.sample("uptimemesh_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    requests(&mut out, &app.metrics);
    leases(&mut out, control);
    scheduler(&mut out, &app.scheduler);
    store(&mut out, control);
    certificates(&mut out, control)?;
    backups(&mut out, app)?;
    out.family("uptimemesh_stream_readers", "gauge", "Readers of the event stream.");
    out.sample("uptimemesh_stream_readers", &[], control.stream_readers.count() as f64);
    out.family("uptimemesh_waiting_nodes", "gauge", "Nodes with a call that waits for work.");
    out.sample("uptimemesh_waiting_nodes", &[], control.node_work.waiting() as f64);
    out.family("uptimemesh_suspect_nodes", "gauge", "Nodes whose waiting call was reset; they may be dead.");
    out.sample("uptimemesh_suspect_nodes", &[], control.leases.suspects() as f64);
    out.family(
        "uptimemesh_unnamed_requests_total",
        "counter",
        "Requests that a trusted proxy forwarded without naming the client.",
    );
    out.sample("uptimemesh_unnamed_requests_total", &[], control.unnamed.count() as f64);
    Ok(out.0)
}

fn requests(out: &mut Text, metrics: &Metrics) {
    out.family("uptimemesh_http_requests_total", "counter", "Answers, by route and status.");
    for ((method, path, status), count) in &*lock(&metrics.requests) {
        let labels = [("method", *method), ("route", *path), ("status", &status.to_string())];
        out.sample("uptimemesh_http_requests_total", &labels, *count as f64);
    }
    out.family("uptimemesh_http_request_seconds", "histogram", "Time from a complete request to its answer, by route.");
    // Copied, so that no request waits for the writing.
    let latency = lock(&metrics.latency).clone();
    for ((method, path), histogram) in &latency {
        let mut sum = 0;
        for (i, count) in histogram.buckets.iter().enumerate() {
            sum += count;
            let bound = BUCKETS_S.get(i).map_or("+Inf".to_string(), f64::to_string);
            out.sample(
                "uptimemesh_http_request_seconds_bucket",
                &[("method", method), ("route", path), ("le", &bound)],
                sum as f64,
            );
        }
        out.sample("uptimemesh_http_request_seconds_sum", &[("method", method), ("route", path)], histogram.sum_s);
        out.sample("uptimemesh_http_request_seconds_count", &[("method", method), ("route", path)], sum as f64);
    }
}

fn leases(out: &mut Text, control: &Control) {
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for state in [LeaseState::Alive, LeaseState::Stale, LeaseState::Dead] {
        states.insert(state.as_str(), 0);
    }
    for (_, state) in control.leases.states() {
        *states.entry(state.as_str()).or_default() += 1;
    }
    out.family("uptimemesh_leases", "gauge", "Enrolled nodes, by the state of their lease.");
    states.iter().for_each(|(state, count)| out.sample("uptimemesh_leases", &[("state", state)], *count as f64));
    let (accepted, refused) = control.leases.heartbeats();
    out.family("uptimemesh_heartbeats_accepted_total", "counter", "Heartbeats that renewed a lease.");
    out.sample("uptimemesh_heartbeats_accepted_total", &[], accepted as f64);
    out.family(
        "uptimemesh_heartbeats_refused_total",
        "counter",
        "Heartbeats that were refused, by the check that failed.",
    );
    refused.iter().for_each(|(reason, count)| {
        out.sample("uptimemesh_heartbeats_refused_total", &[("reason", reason)], *count as f64)
    });
}

fn scheduler(out: &mut Text, scheduler: &Scheduler) {
    let stats = &scheduler.stats;
    for (name, help, value) in [
        ("uptimemesh_scheduler_runs_total", "Reconciles.", stats.runs.load(Relaxed)),
        ("uptimemesh_scheduler_actions_total", "Actions in them.", stats.actions.load(Relaxed)),
        (
            "uptimemesh_scheduler_conflicts_total",
            "Plans repeated because something had changed.",
            stats.conflicts.load(Relaxed),
        ),
    ] {
        out.family(name, "counter", help);
        out.sample(name, &[], value as f64);
    }
    out.family("uptimemesh_scheduler_queue", "gauge", "Reconciles waiting or running.");
    out.sample("uptimemesh_scheduler_queue", &[], scheduler.waiting() as f64);
    out.family("uptimemesh_scheduler_brake", "gauge", "1 while most nodes are silent together and nothing is moved.");
    out.sample("uptimemesh_scheduler_brake", &[], f64::from(u8::from(scheduler.is_braked())));
}

fn store(out: &mut Text, control: &Control) {
    let stats = control.store.writer_stats();
    for (name, kind, help, value) in [
        ("uptimemesh_store_queue", "gauge", "Writes waiting or in progress.", stats.queued as f64),
        ("uptimemesh_store_commits_total", "counter", "Commits.", stats.commits as f64),
        (
            "uptimemesh_store_writes_total",
            "counter",
            "Writes. Divided by commits: the average size of a group.",
            stats.jobs as f64,
        ),
        (
            "uptimemesh_store_commit_seconds_total",
            "counter",
            "Time in transactions and their commits.",
            stats.commit_micros as f64 / 1e6,
        ),
        (
            "uptimemesh_store_database_bytes",
            "gauge",
            "Size of the database file.",
            control.store.database_bytes() as f64,
        ),
        ("uptimemesh_store_wal_bytes", "gauge", "Size of the write-ahead log.", control.store.wal_bytes() as f64),
    ] {
        out.family(name, kind, help);
        out.sample(name, &[], value);
    }
}

fn certificates(out: &mut Text, control: &Control) -> Result<()> {
    let now = clock::now();
    let days = |at: clock::Timestamp| (at.0 - now.0) as f64 / 86_400e6;
    out.family(
        "uptimemesh_certificate_days_left",
        "gauge",
        "Days until the certificate of the authority, and the first one of a node, expires.",
    );
    if let Some(ends) = control.ca.ends_at() {
        out.sample("uptimemesh_certificate_days_left", &[("of", "ca")], days(ends));
    }
    if let Some(ends) = control.store.read(nodes::first_identity_end)? {
        out.sample("uptimemesh_certificate_days_left", &[("of", "node")], days(ends));
    }
    Ok(())
}

fn backups(out: &mut Text, app: &App) -> Result<()> {
    let age_s = |at: clock::Timestamp| (clock::now().0 - at.0) as f64 / 1e6;
    out.family("uptimemesh_backup_age_seconds", "gauge", "Age of the newest backup; absent if there is none.");
    if let Some(backup) = kept::newest(&app.control.config)? {
        out.sample("uptimemesh_backup_age_seconds", &[], age_s(backup.created_at));
    }
    let drill = kept::last_drill(&app.control.config)?;
    out.family(
        "uptimemesh_backup_drill_age_seconds",
        "gauge",
        "Time since the last restore drill of the newest backup; absent before the first.",
    );
    drill.iter().for_each(|drill| out.sample("uptimemesh_backup_drill_age_seconds", &[], age_s(drill.at)));
    out.family(
        "uptimemesh_backup_ok",
        "gauge",
        "0 if the last backup or drill failed, or the newest backup is missing or too old.",
    );
    out.sample("uptimemesh_backup_ok", &[], f64::from(u8::from(kept::problem(app)?.is_none())));
    Ok(())
}

/// Metrics text being written.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{braces} {value}");
    }
}
