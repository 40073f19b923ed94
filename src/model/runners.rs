//! Abilities of a node's runner, from the key `runner` of the node's status.

use super::Object;
use super::workload::{Driver, Workload};
use serde_json::Value;

/// Way in which a node takes a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// As a record: clients say what becomes of it.
    Record,
    /// The node runs the replica, and reports it.
    Runs,
    /// The node cannot run the replica.
    Cannot,
}

/// The drivers of a node's runner; `None` if the node reports no runner. Those of one that has not said yet may be all:
/// what it runs already is not moved because its agent was there first.
pub fn drivers(runner: Option<&Value>) -> Option<Vec<Driver>> {
    let runner = runner?.as_object()?;
    let drivers = runner.get("drivers")?.as_array()?;
    if drivers.is_empty() && runner.get("away") == Some(&Value::Bool(true)) {
        return Some(vec![Driver::Process, Driver::Container]);
    }
    Some(drivers.iter().filter_map(|word| Driver::parse(word.as_str()?)).filter(|d| *d != Driver::None).collect())
}

/// The driver that a spec needs; a spec with faults needs none.
pub fn driver(spec: &Object) -> Driver {
    Workload::read(spec).map_or(Driver::None, |workload| workload.driver)
}

/// The way in which a node with these drivers takes a replica that needs this one.
pub fn keeping(drivers: Option<&[Driver]>, needed: Driver) -> Keeping {
    match drivers {
        Some(drivers) if needed != Driver::None && drivers.contains(&needed) => Keeping::Runs,
        Some(_) if needed != Driver::None => Keeping::Cannot,
        Some(_) | None => Keeping::Record,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_runs_what_its_runner_has_a_driver_for() {
        let spec = |spec: Value| driver(spec.as_object().expect("an object"));
        let process = spec(json!({"command": ["/bin/true"]}));
        let container = spec(json!({"image": "nginx"}));
        let record = spec(json!({"driver": "none", "command": ["/bin/true"]}));
        let of = |runner: Value, needed| keeping(drivers(Some(&runner)).as_deref(), needed);
        let runner = json!({"drivers": ["process", "of a later version"], "limits": "v2"});
        assert_eq!(of(runner.clone(), process), Keeping::Runs);
        assert_eq!(of(runner.clone(), container), Keeping::Cannot);
        assert_eq!(of(runner, record), Keeping::Record);
        for without in [json!(null), json!("none"), json!({}), json!({"drivers": 1})] {
            assert_eq!(of(without.clone(), process), Keeping::Record, "{without}");
        }
        assert_eq!(of(json!({"drivers": []}), process), Keeping::Cannot);
        assert_eq!(of(json!({"drivers": [], "away": true}), process), Keeping::Runs);
        assert_eq!(of(json!({"drivers": ["process"], "away": true}), container), Keeping::Cannot);
    }
}
