//! Reads a service's spec. Keys that the contract lets fall back to a default are only bounded here; all other known
//! keys are validated; unknown keys are kept.

use crate::error::Loc;
use crate::http::fields::Fields;
use crate::model::Object;
use crate::model::ids::{NodeId, ReplicaId};
use crate::model::specs::{
    CPU_MILLIS_MAX, LOST_AFTER_S_MAX, MEMORY_MB_MAX, Mode, PORTS_MAX, REPLICAS_MAX, ROLLING_MAX, ports,
};
use crate::model::workload::Workload;
use crate::model::workload::keys::{KEYS, Kind, value};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Maximum number of pinned replicas.
const PINNED_MAX: usize = 1_000;

/// The field `spec` of a body.
pub fn spec(f: &mut Fields) -> Option<Object> {
    let read = |s: &mut Fields| {
        s.lenient_nested("scheduling", scheduling);
        s.lenient_count("replicas_desired", REPLICAS_MAX);
        s.lenient_nested("rolling_update", |s| {
            s.lenient_count("max_surge", ROLLING_MAX);
            s.lenient_count("max_unavailable", ROLLING_MAX);
        });
        s.nested("resources", |s| {
            s.int("cpu_millis", 0..=CPU_MILLIS_MAX).optional();
            s.int("memory_mb", 0..=MEMORY_MB_MAX).optional();
        })
        .optional();
        let taken: usize = s.list("ports", PORTS_MAX, port).or(Vec::new()).into_iter().sum();
        if taken > PORTS_MAX {
            let msg = format!("List should have at most {PORTS_MAX} ports, those of ranges counted one by one");
            s.fault("list_type", vec!["ports".into()], msg, &taken.into());
        }
        s.nested("placement", placement).optional();
        workload(s);
        s.whole().clone()
    };
    f.nested("spec", read).optional()
}

/// The keys of a replica's workload. Values of environment variables may be secrets, and are not part of a fault.
fn workload(s: &mut Fields) {
    for key in KEYS {
        // Other values are kept, as those of a record, where the spec does not name its driver.
        s.describe_field(key.path, || match key.path {
            "driver" => schema(&key.kind),
            _ => json!({ "anyOf": [schema(&key.kind), {}] }),
        });
    }
    for fault in Workload::read(s.whole()).err().into_iter().flatten() {
        let at = fault.path.split('.').map(Loc::from).collect();
        let came = value(s.whole(), &fault.path).filter(|_| fault.path != "environment").cloned();
        s.fault("value_error", at, format!("Input should {}", fault.should), &came.unwrap_or_default());
    }
}

fn schema(kind: &Kind) -> Value {
    match kind {
        Kind::Number(range) => json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() }),
        Kind::Word(words) => json!({ "type": "string", "enum": words }),
        Kind::Text(max) => json!({ "type": "string", "minLength": 1, "maxLength": max }),
        Kind::Path(max) => json!({ "type": "string", "pattern": "^/", "maxLength": max }),
        Kind::Command { items_max, .. } => {
            json!({ "type": "array", "minItems": 1, "maxItems": items_max, "items": { "type": "string" } })
        }
        Kind::Variables => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Section => json!({ "type": "object" }),
    }
}

fn scheduling(s: &mut Fields) {
    s.lenient_count("desired_replicas", REPLICAS_MAX);
    s.int("lost_after_seconds", 0..=LOST_AFTER_S_MAX).optional();
    s.word("mode", Mode::WORDS, Mode::parse).optional();
    s.text("spread_by", 1..=64).optional();
}

/// A port is a number (TCP of the host), a text as in Compose, or an object. Returns the number of host ports that it
/// takes.
fn port(f: &mut Fields, item: Value) -> usize {
    f.describe_item(|| json!({ "type": ["integer", "string", "object"], "minimum": 1, "maximum": 65535 }));
    match &item {
        Value::Object(_) => port_object(f, &item),
        Value::Number(n) if n.is_i64() || n.is_u64() => {
            let (kind, word, bound) = match n.as_i64() {
                Some(1..=65_535) => return 1,
                Some(..=0) => ("greater_than_equal", "greater", 1),
                _ => ("less_than_equal", "less", 65_535),
            };
            f.fault(kind, Vec::new(), format!("Input should be {word} than or equal to {bound}"), &item);
            0
        }
        _ => match ports::read(&item) {
            Ok(taken) => taken.len(),
            Err(why) => {
                let msg = format!(
                    "Input should be a port, 1 to 65535, HOST:CONTAINER with /tcp or /udp, or an object with \
                        host_port: {why}"
                );
                f.fault("int_type", Vec::new(), msg, &item);
                0
            }
        },
    }
}

fn port_object(f: &mut Fields, item: &Value) -> usize {
    let host = f.int("host_port", 1..=65_535).optional();
    let published = f.int("published", 1..=65_535).optional();
    f.int("container_port", 0..=65_535).optional();
    f.int("target", 1..=65_535).optional();
    f.word("protocol", &["tcp", "udp"], |word| ["tcp", "udp"].contains(&word).then_some(())).optional();
    f.word("mode", &["host", "ingress"], |word| ["host", "ingress"].contains(&word).then_some(())).optional();
    for key in ["name", "address", "host_ip", "app_protocol"] {
        f.printable(key, 1..=64).optional();
    }
    let given = |key: &str| item.get(key).is_some_and(|v| !v.is_null());
    if !["host_port", "published", "container_port", "target"].into_iter().any(given) {
        let msg = "A port should have host_port (or published), container_port (or target), or both".to_string();
        f.fault("missing", vec!["host_port".into()], msg, item);
    } else if let (Some(host), Some(published)) = (host, published)
        && host != published
    {
        let msg = "host_port and published name different ports; leave one out".to_string();
        f.fault("string_pattern_mismatch", vec!["published".into()], msg, item);
    }
    usize::from(host.or(published).is_some())
}

fn placement(f: &mut Fields) {
    let mut seen = BTreeSet::new();
    let pinned = |f: &mut Fields, item: Value| {
        f.describe_item(|| json!({ "type": "object" }));
        if !item.is_object() {
            f.fault("dict_type", Vec::new(), "Input should be a valid dictionary".to_string(), &item);
            return;
        }
        let replica_id: ReplicaId = f.id("replica_id").required();
        f.id::<NodeId>("node_id").required();
        f.printable("desired_state", 1..=64).optional();
        if !replica_id.as_str().is_empty() && !seen.insert(replica_id.clone()) {
            let msg = "This replica is pinned twice".to_string();
            f.fault("string_pattern_mismatch", vec!["replica_id".into()], msg, &replica_id.into());
        }
    };
    f.list("pinned_replicas", PINNED_MAX, pinned).optional();
}
