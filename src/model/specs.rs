//! The scheduler's view of a service's spec. The keys of V1 (counts, selector, flags) are read leniently: a value of
//! the wrong type falls back to its default, and the plan warns of it. Later keys were validated when the spec was
//! written.

mod known;
pub mod ports;

use super::Object;
use crate::json;
use crate::model::ids::{NodeId, ReplicaId};
use crate::model::runners;
use crate::model::words::words;
use crate::model::workload::{self, Driver};
use serde_json::Value;
use std::fmt;

/// Maximum number of replicas of a service.
pub const REPLICAS_MAX: i64 = 10_000;
/// Maximum for `rolling_update.max_surge` and `max_unavailable`.
pub const ROLLING_MAX: i64 = 1_000;
/// Default number of seconds from a node's death until its replicas move: a lease and `node_dead_after_seconds` have
/// passed by then.
pub const LOST_AFTER_S: i64 = 0;
/// Default for `healthy_deadline_seconds`.
pub const HEALTHY_DEADLINE_S: i64 = 300;
/// Maximum for `lost_after_seconds`: a week.
pub const LOST_AFTER_S_MAX: i64 = 604_800;
/// Maximum CPU of a replica, in thousandths of a core: a thousand cores.
pub const CPU_MILLIS_MAX: i64 = 1_000_000;
/// Maximum memory of a replica, in mebibytes: sixteen tebibytes.
pub const MEMORY_MB_MAX: i64 = 16 << 20;
/// Maximum number of ports of a replica.
pub const PORTS_MAX: usize = 64;

/// Separation of the replicas of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AntiAffinity {
    /// No separation.
    Off,
    /// They share a node only if no other node is left.
    Soft,
    /// They never share a node.
    Hard,
}

words! {
    /// Number of replicas, and their nodes.
    pub enum Mode {
        /// A fixed number, wherever they fit.
        Replicated = "replicated",
        /// One on every eligible node.
        PerNode = "per_node",
    }
}

/// Resources that a replica uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Mebibytes of memory.
    pub memory_mb: u64,
}

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The protocol of a word.
    pub fn parse(word: &str) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp].into_iter().find(|protocol| protocol.as_str() == word)
    }

    /// The word of a protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// A port of the host. Each protocol has ports of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

/// As people write it, such as `53/udp`.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol.as_str())
    }
}

/// A replica pinned to one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Pinned {
    /// The replica.
    pub replica_id: ReplicaId,
    /// The node.
    pub node_id: NodeId,
    /// Desired state; `running` by default.
    pub desired_state: Option<String>,
}

/// Scheduling rules of a spec.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Desired number of replicas; `None` keeps the current number.
    pub desired: Option<usize>,
    /// Requirements on nodes: `role`, `node_id`, or a label, with its value; `label:KEY` is always a label.
    pub selector: Vec<(String, String)>,
    /// Separation of replicas.
    pub anti_affinity: AntiAffinity,
    /// True if unhealthy replicas move.
    pub reschedule_unhealthy: bool,
    /// Extra replicas during an update.
    pub max_surge: usize,
    /// Replicas that may be down at once.
    pub max_unavailable: usize,
    /// Seconds for which a replica that its node runs may be unavailable.
    pub healthy_deadline_s: i64,
    /// The driver of its replicas.
    pub driver: Driver,
    /// Seconds from a node's death until its replicas move.
    pub lost_after_s: i64,
    /// Number of replicas, and their nodes.
    pub mode: Mode,
    /// The label over whose values replicas are spread.
    pub spread_by: Option<String>,
    /// Resources of each replica.
    pub resources: Resources,
    /// Host ports of each replica.
    pub ports: Vec<HostPort>,
    /// Pinned replicas.
    pub pinned: Vec<Pinned>,
    /// Warnings about parts that were not understood, each a sentence.
    pub warnings: Vec<String>,
}

/// Reads a count: numbers in texts count, negative ones are 0, fractions are cut off. `None` for anything else.
pub fn count_of(value: &Value) -> Option<i64> {
    let n = match value {
        Value::Number(n) => n.as_i64().unwrap_or_else(|| json::float(n) as i64),
        Value::String(text) => text.trim().parse().ok().or_else(|| {
            let digits = text.trim();
            let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            whole.then_some(i64::MAX)
        })?,
        _ => return None,
    };
    Some(n.max(0))
}

impl Policy {
    /// Maximum number of replicas that are updated, or leave draining nodes, at a time: at least one.
    pub fn at_once(&self) -> usize {
        (self.max_surge + self.max_unavailable).max(1)
    }

    /// Reads a spec.
    pub fn of(spec: &Object) -> Policy {
        let mut read = Lenient { warnings: Vec::new() };
        let empty = Object::new();
        let scheduling = read.object(spec, "scheduling").unwrap_or(&empty);
        let rolling = read.object(spec, "rolling_update").unwrap_or(&empty);
        let desired =
            read.count(scheduling, "scheduling.desired_replicas").or_else(|| read.count(spec, "replicas_desired"));
        let selector = read.selector(scheduling);
        let anti_affinity = match scheduling.get("anti_affinity") {
            Some(Value::String(word)) if word == "hard" => AntiAffinity::Hard,
            _ if read.flag(scheduling, "scheduling.anti_affinity") => AntiAffinity::Soft,
            _ => AntiAffinity::Off,
        };
        let int = |object: &Object, key: &str| object.get(key).and_then(count_of);
        let mode = scheduling.get("mode").and_then(Value::as_str).and_then(Mode::parse).unwrap_or(Mode::Replicated);
        if mode == Mode::PerNode && desired.is_some() {
            read.warnings
                .push("the desired number of replicas is ignored: spec.scheduling.mode is per_node".to_string());
        }
        let resources = spec.get("resources").and_then(Value::as_object).unwrap_or(&empty);
        Policy {
            desired: desired.map(|n| n.min(REPLICAS_MAX) as usize),
            selector,
            anti_affinity,
            reschedule_unhealthy: read.flag(scheduling, "scheduling.reschedule_unhealthy"),
            max_surge: read.count(rolling, "rolling_update.max_surge").unwrap_or(1).min(ROLLING_MAX) as usize,
            max_unavailable: read.count(rolling, "rolling_update.max_unavailable").unwrap_or(0).min(ROLLING_MAX)
                as usize,
            healthy_deadline_s: int(rolling, "healthy_deadline_seconds").unwrap_or(HEALTHY_DEADLINE_S).max(1),
            driver: runners::driver(spec),
            lost_after_s: int(scheduling, "lost_after_seconds").unwrap_or(LOST_AFTER_S).min(LOST_AFTER_S_MAX),
            mode,
            spread_by: scheduling.get("spread_by").and_then(Value::as_str).map(str::to_string),
            resources: Resources {
                cpu_millis: int(resources, "cpu_millis").unwrap_or(0).unsigned_abs(),
                memory_mb: int(resources, "memory_mb").unwrap_or(0).unsigned_abs(),
            },
            ports: read.ports(spec),
            pinned: pinned(spec),
            warnings: [read.warnings, known::warnings(spec), workload::warnings(spec)].concat(),
        }
    }
}

fn pinned(spec: &Object) -> Vec<Pinned> {
    let items = spec.get("placement").and_then(|p| p.get("pinned_replicas")).and_then(Value::as_array);
    let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).map(str::to_string);
    let one = |item: &Value| {
        Some(Pinned {
            replica_id: ReplicaId::of_row(text(item, "replica_id")?),
            node_id: NodeId::of_row(text(item, "node_id")?),
            desired_state: text(item, "desired_state"),
        })
    };
    items.into_iter().flatten().filter_map(one).collect()
}

/// Reads values of any type.
struct Lenient {
    warnings: Vec<String>,
}

impl Lenient {
    fn warn(&mut self, what: &str, wanted: &str, default: &str) {
        self.warnings.push(format!("spec.{what} should be {wanted}; {default} stands in its place"));
    }

    fn object<'s>(&mut self, spec: &'s Object, key: &str) -> Option<&'s Object> {
        match spec.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::Object(object)) => Some(object),
            Some(_) => {
                self.warn(key, "an object", "an empty one");
                None
            }
        }
    }

    /// `what` is the path of the field; its last part is the key.
    fn count(&mut self, object: &Object, what: &str) -> Option<i64> {
        let value = object.get(last(what)).filter(|v| !v.is_null())?;
        let count = count_of(value);
        match count {
            None => self.warn(what, "a whole number", "its default"),
            Some(n) if value.as_f64().is_some_and(|x| x.fract() != 0.0) => {
                self.warn(what, "a whole number", &n.to_string())
            }
            Some(_) => {}
        }
        count
    }

    /// True unless the field says false.
    fn flag(&mut self, object: &Object, what: &str) -> bool {
        match object.get(last(what)) {
            None | Some(Value::Null) => true,
            Some(Value::Bool(b)) => *b,
            Some(_) => {
                self.warn(what, "true or false", "true");
                true
            }
        }
    }

    /// The host ports in a spec, sorted, without duplicates.
    fn ports(&mut self, spec: &Object) -> Vec<HostPort> {
        let items = spec.get("ports").and_then(Value::as_array).into_iter().flatten();
        let mut taken = Vec::new();
        for (i, item) in items.enumerate() {
            match ports::read(item) {
                Ok(ports) => taken.extend(ports),
                Err(why) => self.warnings.push(format!("spec.ports[{i}] is not understood, and takes no port: {why}")),
            }
            if item.get("mode").and_then(Value::as_str) == Some("ingress") {
                self.warnings.push(format!(
                    "spec.ports[{i}].mode is ingress, but the port is taken on each replica's own node only"
                ));
            }
        }
        taken.sort_unstable();
        taken.dedup();
        taken
    }

    fn selector(&mut self, scheduling: &Object) -> Vec<(String, String)> {
        match scheduling.get("node_selector") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Object(map)) => map
                .iter()
                .map(|(key, value)| {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
                    if value.is_object() || value.is_array() || value.is_null() {
                        self.warnings
                            .push(format!("spec.scheduling.node_selector.{key} should be a text; no node has {text}"));
                    }
                    (key.clone(), text)
                })
                .collect(),
            Some(_) => {
                self.warn("scheduling.node_selector", "an object", "an empty one");
                Vec::new()
            }
        }
    }
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(spec: Value) -> Policy {
        Policy::of(spec.as_object().expect("an object"))
    }

    #[test]
    fn an_empty_spec_has_the_defaults() {
        let p = policy(json!({}));
        assert_eq!((p.desired, p.anti_affinity, p.reschedule_unhealthy), (None, AntiAffinity::Soft, true));
        assert_eq!((p.max_surge, p.max_unavailable, p.lost_after_s, p.mode), (1, 0, LOST_AFTER_S, Mode::Replicated));
        assert!(p.warnings.is_empty() && p.selector.is_empty() && p.ports.is_empty());
    }

    #[test]
    fn counts_are_read_as_v1_read_them() {
        for (value, want) in [
            (json!(3), Some(3)),
            (json!("3"), Some(3)),
            (json!(" 7 "), Some(7)),
            (json!(-2), Some(0)),
            (json!("-2"), Some(0)),
            (json!(2.9), Some(2)),
            (json!(true), None),
            (json!("x"), None),
            (json!([]), None),
            (json!("99999999999999999999"), Some(i64::MAX)),
        ] {
            assert_eq!(count_of(&value), want, "{value}");
        }
        assert_eq!(policy(json!({"replicas_desired": "4"})).desired, Some(4));
        assert_eq!(policy(json!({"replicas_desired": 4, "scheduling": {"desired_replicas": 2}})).desired, Some(2));
        let fallback = policy(json!({"replicas_desired": 4, "scheduling": {"desired_replicas": []}}));
        assert_eq!((fallback.desired, fallback.warnings.len()), (Some(4), 1));
    }

    #[test]
    fn wrong_types_fall_back_with_a_warning() {
        let p = policy(json!({"scheduling": {"anti_affinity": "yes", "reschedule_unhealthy": 0, "node_selector": 5},
                "rolling_update": []}));
        assert_eq!((p.anti_affinity, p.reschedule_unhealthy, p.max_surge), (AntiAffinity::Soft, true, 1));
        assert_eq!(p.warnings.len(), 4, "{:?}", p.warnings);
        assert_eq!(policy(json!({"scheduling": {"anti_affinity": "hard"}})).warnings, [""; 0]);
    }

    #[test]
    fn ports_and_pins_are_read() {
        let p = policy(json!({"ports": [80, {"host_port": 53, "protocol": "udp"}, {"container_port": 1}, 80],
            "placement": {"pinned_replicas": [{"replica_id": "a", "node_id": "n", "desired_state": "stopped"}]}}));
        assert_eq!(p.ports.iter().map(HostPort::to_string).collect::<Vec<_>>(), ["80/tcp", "53/udp"]);
        assert_eq!(p.pinned.len(), 1);
    }
}
