//! Reads an operator's settings for a node's room: capacity and reserve.

use crate::http::fields::Fields;
use crate::model::capacity::{Capacity, Reserved};
use crate::model::specs::{CPU_MILLIS_MAX, MEMORY_MB_MAX};
use serde_json::Value;

/// The fields `capacity` and `reserved` of a body.
pub fn room(f: &mut Fields) -> (Option<Capacity>, Option<Reserved>) {
    let capacity = f.nested("capacity", |f| {
        only(f, &["cpu_millis", "memory_mb"]);
        Capacity {
            cpu_millis: amount(f, "cpu_millis", CPU_MILLIS_MAX),
            memory_mb: amount(f, "memory_mb", MEMORY_MB_MAX),
        }
    });
    let capacity = capacity.optional();
    let reserved = f.nested("reserved", |f| {
        only(f, &["cpu_millis", "cpu_percent", "memory_mb", "memory_percent"]);
        let reserved = Reserved {
            cpu_millis: amount(f, "cpu_millis", CPU_MILLIS_MAX),
            cpu_percent: amount(f, "cpu_percent", 100),
            memory_mb: amount(f, "memory_mb", MEMORY_MB_MAX),
            memory_percent: amount(f, "memory_percent", 100),
        };
        for (amount, percent, name) in [
            (reserved.cpu_millis, reserved.cpu_percent, "cpu_percent"),
            (reserved.memory_mb, reserved.memory_percent, "memory_percent"),
        ] {
            if let (Some(_), Some(percent)) = (amount, percent) {
                let msg = "Give either an amount or a share, not both".to_string();
                f.fault("string_pattern_mismatch", vec![name.into()], msg, &percent.into());
            }
        }
        reserved
    });
    (capacity, reserved.optional())
}

fn amount(f: &mut Fields, name: &'static str, max: i64) -> Option<u64> {
    f.int(name, 0..=max).optional().map(i64::unsigned_abs)
}

/// Refuses unknown keys: a misspelt one would silently leave the value to the node.
fn only(f: &mut Fields, keys: &[&str]) {
    let others: Vec<(String, Value)> = f
        .whole()
        .iter()
        .filter(|(key, _)| !keys.contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    for (key, value) in others {
        let msg = format!("Unknown key; known keys are {}", keys.join(", "));
        f.fault("string_pattern_mismatch", vec![key.as_str().into()], msg, &value);
    }
}
