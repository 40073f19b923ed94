//! From an assignment to what the node should run: the spec's workload, under the machine's policy.

use super::decide::Wanted;
use super::policy::Policy;
use super::run::{Limits, LogBounds, RunId, RunSpec, StopSpec, VERSION};
use crate::crypto;
use crate::model::node_work::Assignment;
use crate::model::workload::keys::Fault;
use crate::model::workload::{Driver, Workload};
use serde_json::json;

/// Desired state of a replica that runs.
const RUNNING: &str = "running";
/// Key of a spec that a requested rollout changes: with it, the replicas start again.
const ROLLOUT: &str = "rollout_requested_at";

/// The replica as the node should run it; `None` for a record.
pub fn wanted(assignment: &Assignment, policy: &Policy) -> Option<Wanted> {
    let read = Workload::read(&assignment.spec);
    // A spec that another version accepted.
    let faults = |faults: Vec<Fault>| faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ");
    let (mut workload, fault) = match read {
        Ok(workload) => (workload, None),
        Err(found) => (Workload::default(), Some(faults(found))),
    };
    if workload.driver == Driver::None && fault.is_none() {
        return None;
    }
    let user = policy.user(&workload);
    let refused = fault.or_else(|| refused_driver(workload.driver, policy)).or_else(|| user.clone().err());
    workload.user = user.ok().flatten();
    Some(Wanted {
        digest: digest(assignment, &workload),
        generation: assignment.generation,
        runs: assignment.desired_state == RUNNING,
        workload,
        refused,
    })
}

fn refused_driver(driver: Driver, policy: &Policy) -> Option<String> {
    match driver {
        Driver::Container => Some("this node runs no containers".to_string()),
        _ if !policy.allows(driver) => Some("this node's policy (drivers) does not allow processes".to_string()),
        _ => None,
    }
}

/// Digest of all that a run depends on. Health checks, restarts and stops are the runner's, and change no run. Its JSON
/// must stay as it is: another digest restarts every replica.
fn digest(assignment: &Assignment, workload: &Workload) -> String {
    let depends_on = json!({
        "command": workload.command, "environment": workload.environment, "user": workload.user,
        "working_dir": workload.working_dir, "cpu_millis": workload.cpu_millis, "memory_mb": workload.memory_mb,
        "pids": workload.pids, "log_max_mb": workload.log_max_mb, "log_files": workload.log_files,
        "rollout": assignment.spec.get(ROLLOUT),
    });
    crypto::sha256_hex(depends_on.to_string().as_bytes())
}

/// A new run of a replica.
pub fn run_spec(assignment: &Assignment, wanted: &Wanted, sequence: u64, restarts: u64, streak: u32) -> RunSpec {
    let workload = &wanted.workload;
    RunSpec {
        v: VERSION,
        id: RunId::random(),
        replica_id: assignment.replica_id.clone(),
        service_id: assignment.service_id.clone(),
        generation: wanted.generation,
        digest: wanted.digest.clone(),
        command: workload.command.clone(),
        environment: workload.environment.clone(),
        working_dir: workload.working_dir.clone(),
        user: workload.user.clone(),
        limits: Limits { cpu_millis: workload.cpu_millis, memory_mb: workload.memory_mb, pids: Some(workload.pids) },
        logs: LogBounds { max_mb: workload.log_max_mb, files: u32::try_from(workload.log_files).unwrap_or(u32::MAX) },
        stop: StopSpec { signal: workload.stop_signal.clone(), grace_s: workload.stop_grace_s },
        sequence,
        restarts,
        streak,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn of(spec: serde_json::Value) -> Option<Wanted> {
        let assignment = Assignment {
            replica_id: "r".parse().expect("an id"),
            service_id: "s".parse().expect("an id"),
            generation: 3,
            desired_state: RUNNING.to_string(),
            spec: spec.as_object().expect("an object").clone(),
        };
        wanted(&assignment, &Policy::load(Path::new("/no/such/policy")).expect("the default"))
    }

    #[test]
    fn a_run_depends_on_its_program_and_not_on_its_health() {
        let digest = |spec| of(spec).expect("a workload").digest;
        let first = digest(json!({"command": ["/x"]}));
        for same in [
            json!({"command": ["/x"], "health": {"tcp": {"port": 80}}, "restart": {"delay_seconds": 5}}),
            json!({"command": ["/x"], "stop": {"grace_seconds": 5}, "scheduling": {"desired_replicas": 4}}),
        ] {
            assert_eq!(digest(same.clone()), first, "{same}");
        }
        for other in [
            json!({"command": ["/y"]}),
            json!({"command": ["/x"], "environment": {"A": ""}}),
            json!({"command": ["/x"], "resources": {"memory_mb": 5}}),
            json!({"command": ["/x"], "rollout_requested_at": "2026-11-23T20:12:26Z"}),
        ] {
            assert_ne!(digest(other.clone()), first, "{other}");
        }
    }

    #[test]
    fn what_the_node_cannot_run_is_refused_with_a_reason() {
        for (spec, why) in [
            (json!({"image": "nginx"}), "no containers"),
            (json!({"command": ["/x"], "user": "no-such-user-here"}), "no user"),
            (json!({"command": ["x"], "stop": 5}), "spec.stop should be an object; spec.command should begin with"),
        ] {
            let refused = of(spec.clone()).expect("a workload").refused.expect("a reason");
            assert!(refused.contains(why), "{spec}: {refused}");
        }
        assert_eq!(of(json!({"command": ["/x"]})).expect("a workload").refused, None);
        assert_eq!((of(json!({})), of(json!({"driver": "none", "command": ["/x"]}))), (None, None));
    }
}
