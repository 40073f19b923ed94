//! Room for replicas on a node: its capacity, less a reserve for the machine itself. An operator's setting overrides
//! the node's report.

use super::specs::count_of;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Capacity of a node as an operator sets it; `None` leaves a value to the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capacity {
    /// Thousandths of cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
    /// Mebibytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u64>,
}

/// Reserve of a node as an operator sets it, an amount or a share of each resource; `None` leaves a value to the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reserved {
    /// Thousandths of cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
    /// Percentage of the cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u64>,
    /// Mebibytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u64>,
    /// Percentage of the memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<u64>,
}

/// One resource of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Total amount.
    pub total: u64,
    /// Amount that stays free.
    pub reserved: u64,
}

impl Room {
    /// Amount that replicas may use.
    pub fn free(self) -> u64 {
        self.total.saturating_sub(self.reserved)
    }
}

/// CPU (in thousandths of cores) and memory (in mebibytes) of a node; `None` for an unknown value. `reported` is the
/// key `capacity` of its status: `cpu_millis` and `memory_mb`, and the machine's own need, `system_cpu_millis` and
/// `system_memory_mb`.
pub fn room(
    reported: Option<&Value>,
    capacity: Option<Capacity>,
    reserved: Option<Reserved>,
) -> (Option<Room>, Option<Room>) {
    let reported_count = |key: &str| reported.and_then(|c| c.get(key)).and_then(count_of).map(i64::unsigned_abs);
    let (capacity, reserved) = (capacity.unwrap_or_default(), reserved.unwrap_or_default());
    let of = |said: Option<u64>, key: &str, amount: Option<u64>, percent: Option<u64>| {
        let total = said.or_else(|| reported_count(key))?;
        let share = || percent.map(|p| total.saturating_mul(p).div_ceil(100));
        Some(Room {
            total,
            reserved: amount.or_else(share).or_else(|| reported_count(&format!("system_{key}"))).unwrap_or(0),
        })
    };
    (
        of(capacity.cpu_millis, "cpu_millis", reserved.cpu_millis, reserved.cpu_percent),
        of(capacity.memory_mb, "memory_mb", reserved.memory_mb, reserved.memory_percent),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_operators_word_goes_before_the_nodes() {
        let reported =
            json!({"cpu_millis": 4000, "memory_mb": 1000, "system_cpu_millis": 200, "system_memory_mb": 100});
        let free = |capacity: Capacity, reserved: Reserved| {
            let (cpu, memory) = room(Some(&reported), Some(capacity), Some(reserved));
            (cpu.map(Room::free), memory.map(Room::free))
        };
        let (none, keep) = (Capacity::default(), Reserved::default());
        assert_eq!(free(none, keep), (Some(3800), Some(900)));
        assert_eq!(
            free(none, Reserved { cpu_millis: Some(0), memory_percent: Some(50), ..keep }),
            (Some(4000), Some(500))
        );
        assert_eq!(free(Capacity { cpu_millis: Some(1000), memory_mb: None }, keep), (Some(800), Some(900)));
        assert_eq!(free(none, Reserved { memory_mb: Some(5000), ..keep }).1, Some(0));
        let (cpu, memory) = room(None, Some(Capacity { cpu_millis: None, memory_mb: Some(64) }), None);
        assert_eq!((cpu, memory.map(Room::free)), (None, Some(64)));
        assert_eq!(room(Some(&json!({"cpu_millis": "x", "memory_mb": 8})), None, None).1.map(Room::free), Some(8));
    }
}
