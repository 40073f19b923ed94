//! Cluster settings. Never guarded, so that `etcd_status` can be corrected.

use crate::control::Control;
use crate::control::versions::{Condition, Versioned};
use crate::error::{Error, FieldFault, Loc, Result};
use crate::model::events::catalogue::SETTING_UPDATE;
use crate::model::settings::{ClusterSetting, is_secret};
use crate::model::{Page, Paging};
use crate::store::{Read, events, settings};
use serde_json::json;

/// Days to keep events.
pub const RETENTION_DAYS: &str = "events_retention_days";
/// Number of events to keep.
pub const RETENTION_ROWS: &str = "events_retention_rows";
/// Mode of the scheduler.
pub const SCHEDULER_MODE: &str = "scheduler_mode";
/// True if the scheduler's brake is enabled.
pub const SCHEDULER_BRAKE: &str = "scheduler_brake";
/// Seconds that a rollout may take before an event reports it as late.
pub const ROLLOUT_LATE: &str = "rollout_late_seconds";

/// Seconds between two scheduled backups; 0 for none.
pub const BACKUP_INTERVAL: &str = "backup_interval_seconds";
/// Number of scheduled backups to keep.
pub const BACKUP_KEPT: &str = "backup_keep";
/// Seconds between two restore drills; 0 for none.
pub const DRILL_INTERVAL: &str = "backup_drill_interval_seconds";

/// Seconds from the end of a node's lease until the `stale` node is `dead`.
pub const NODE_DEAD_AFTER: &str = "node_dead_after_seconds";
/// Days after its last heartbeat until a dead node is deleted; 0 for never.
pub const NODE_FORGET_DAYS: &str = "node_forget_after_days";
/// Maximum number of nodes in the cluster.
pub const NODES_MAX: &str = "nodes_max";
/// Maximum size of the kept revisions of one service, in bytes.
pub const REVISIONS_BYTES: &str = "service_revisions_bytes_max";
/// Maximum size of the kept answers to requests with an Idempotency-Key, in bytes.
pub const IDEMPOTENCY_BYTES: &str = "idempotency_bytes_max";

/// Values that a setting of the server may have.
enum Rule {
    Number { default: i64, min: i64, max: i64 },
    Word(&'static [&'static str]),
}

/// The settings that the server reads, with their allowed values; the first word is the default. All others are free
/// texts of the operator.
const RULES: &[(&str, Rule)] = &[
    (RETENTION_DAYS, Rule::Number { default: 30, min: 1, max: 3650 }),
    (RETENTION_ROWS, Rule::Number { default: 1_000_000, min: 1_000, max: 100_000_000 }),
    (BACKUP_INTERVAL, Rule::Number { default: 86_400, min: 0, max: 31_536_000 }),
    (BACKUP_KEPT, Rule::Number { default: 7, min: 1, max: 1_000 }),
    (DRILL_INTERVAL, Rule::Number { default: 604_800, min: 0, max: 31_536_000 }),
    (NODE_DEAD_AFTER, Rule::Number { default: 15, min: 1, max: 86_400 }),
    (NODE_FORGET_DAYS, Rule::Number { default: 0, min: 0, max: 3650 }),
    (NODES_MAX, Rule::Number { default: 10_000, min: 1, max: 1_000_000 }),
    // The minimum holds four of the largest specs: a rollback always finds the previous one.
    (REVISIONS_BYTES, Rule::Number { default: 16 << 20, min: 256 << 10, max: 1 << 30 }),
    (IDEMPOTENCY_BYTES, Rule::Number { default: 64 << 20, min: 1 << 20, max: 1 << 30 }),
    (SCHEDULER_MODE, Rule::Word(&["auto", "manual", "paused"])),
    (SCHEDULER_BRAKE, Rule::Word(&["on", "off"])),
    (ROLLOUT_LATE, Rule::Number { default: 300, min: 1, max: 604_800 }),
];

fn rule(key: &str) -> Option<&'static Rule> {
    RULES.iter().find(|(name, _)| *name == key).map(|(_, rule)| rule)
}

/// The allowed values of a setting, as a sentence; `None` for a free text.
pub fn allowed(key: &str) -> Option<String> {
    Some(match rule(key)? {
        Rule::Number { default, min, max } => format!("A whole number from {min} to {max}; {default} if not set."),
        Rule::Word(words) => format!("One of: {}.", words.join(", ")),
    })
}

/// The allowed words of a setting, the default first; `None` if it is not a choice of words.
pub fn words(key: &str) -> Option<&'static [&'static str]> {
    match rule(key)? {
        Rule::Word(words) => Some(words),
        Rule::Number { .. } => None,
    }
}

/// A page of settings.
pub fn list(control: &Control, paging: &Paging) -> Result<Page<ClusterSetting>> {
    control.store.read(|r| settings::page(r, paging))
}

/// One setting.
pub fn show(control: &Control, key: &str) -> Result<Versioned<ClusterSetting>> {
    Versioned::of(control.store.read(|r| settings::by_key(r, key))?.ok_or_else(missing)?)
}

fn missing() -> Error {
    Error::not_found("Cluster setting")
}

/// The number in a setting, or its default.
pub fn number(read: &Read, key: &str) -> Result<i64> {
    let said = settings::by_key(read, key)?.and_then(|s| s.value.trim().parse().ok());
    Ok(match rule(key) {
        Some(Rule::Number { default, min, max }) => said.map_or(*default, |n: i64| n.clamp(*min, *max)),
        _ => said.unwrap_or(0),
    })
}

/// The word in a setting, or its default.
pub fn word(read: &Read, key: &str) -> Result<&'static str> {
    let said = settings::by_key(read, key)?.map(|s| s.value.trim().to_lowercase()).unwrap_or_default();
    Ok(match rule(key) {
        Some(Rule::Word(words)) => words.iter().find(|w| **w == said).or(words.first()).copied().unwrap_or(""),
        _ => "",
    })
}

/// Refuses a value that the server could not use.
fn check(key: &str, value: &str) -> Result<()> {
    let (fits, msg) = match rule(key) {
        None => return Ok(()),
        Some(Rule::Number { min, max, .. }) => (
            value.trim().parse().is_ok_and(|n: i64| (*min..=*max).contains(&n)),
            format!("{key} should be a whole number from {min} to {max}"),
        ),
        Some(Rule::Word(words)) => (
            words.contains(&value.trim().to_lowercase().as_str()),
            format!("{key} should be one of: {}", words.join(", ")),
        ),
    };
    if fits {
        return Ok(());
    }
    let loc = vec![Loc::Name("body".into()), Loc::Name("value".into())];
    Err(Error::Invalid(vec![FieldFault { kind: "string_pattern_mismatch", loc, msg, input: value.into() }]))
}

/// Sets a setting; refuses keys that name a secret.
pub fn put(
    control: &Control,
    key: String,
    condition: Condition,
    value: String,
    by: &str,
) -> Result<Versioned<ClusterSetting>> {
    if is_secret(&key) {
        return Err(Error::Forbidden("Secrets are not cluster settings and cannot be set here."));
    }
    check(&key, &value)?;
    let by = by.to_string();
    control.store.write(move |w| {
        condition.check_found(settings::by_key(w, &key)?.as_ref())?;
        settings::put(w, &key, &value)?;
        events::record(w, SETTING_UPDATE.with(json!({"key": key, "by": by})))?;
        Versioned::of(settings::by_key(w, &key)?.ok_or_else(missing)?)
    })
}
