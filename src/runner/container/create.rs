//! The container of a run, as the daemon is asked to create it. Pure.

use crate::runner::docker::{Call, Daemon};
use crate::runner::run::{ContainerSpec, RunSpec};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Label with the name of the runner.
pub const NODE: &str = "uptimemesh.node";
/// Label with the spec of the run, as JSON.
pub const SPEC: &str = "uptimemesh.spec";
/// End of the name of a container whose end was requested: it outlives the runner.
const STOPPING: &str = "-stopping";
/// Time for the creation, the start and the removal of a container: disks are slow.
pub const SLOW: Duration = Duration::from_secs(120);

/// Name of the container of a run.
pub fn name(spec: &RunSpec) -> String {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let replica: String =
        spec.replica_id.as_str().chars().map(|c| if is_usual(c) { c } else { '-' }).take(64).collect();
    format!("um-{replica}-{}", spec.id)
}

/// Name of the container of a run whose end was requested.
pub fn stopping_name(spec: &RunSpec) -> String {
    name(spec) + STOPPING
}

/// True if a container of this name was requested to end.
pub fn is_stopping(name: &str) -> bool {
    name.ends_with(STOPPING)
}

/// Path of a container, and what follows it.
pub fn path_of(container: &str, rest: &str) -> String {
    format!("/containers/{}{rest}", crate::percent::encode(container))
}

/// A call that deletes.
pub fn delete_call(path: &str) -> Call<'_> {
    Call::quick("DELETE", path).within(SLOW)
}

/// Body of the call that creates the container of a run.
pub fn body(spec: &RunSpec, container: &ContainerSpec, image: &str, node: &str, daemon: &Daemon) -> Value {
    let mut body = json!({
        "Image": image,
        "Env": environment(spec),
        "Labels": labels(spec, node),
        "StopSignal": spec.stop.signal,
        "StopTimeout": spec.stop.grace_s,
        // Health is the runner's, by the service's spec.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host(spec, container, daemon),
    });
    let mut put = |key: &str, value: Value| {
        body[key] = value;
    };
    if !spec.command.is_empty() {
        put("Cmd", json!(spec.command));
    }
    if !container.entrypoint.is_empty() {
        put("Entrypoint", json!(container.entrypoint));
    }
    if let Some(user) = &spec.user {
        put("User", json!(user));
    }
    if let Some(dir) = &spec.working_dir {
        put("WorkingDir", json!(dir));
    }
    let exposed: Map<String, Value> = container.ports.iter().map(|port| (port_key(port), json!({}))).collect();
    put("ExposedPorts", Value::Object(exposed));
    body
}

/// Environment of the container: the spec's, and the names that every run has.
fn environment(spec: &RunSpec) -> Vec<String> {
    let own = [
        ("UPTIMEMESH_RUN", spec.id.as_str()),
        ("UPTIMEMESH_REPLICA", spec.replica_id.as_str()),
        ("UPTIMEMESH_SERVICE", spec.service_id.as_str()),
    ];
    let given = spec.environment.iter().map(|(name, value)| format!("{name}={value}"));
    given.chain(own.iter().map(|(name, value)| format!("{name}={value}"))).collect()
}

/// Labels of the container. The spec is among them, so that the next runner finds all of the run.
fn labels(spec: &RunSpec, node: &str) -> Value {
    json!({
        NODE: node,
        "uptimemesh.replica": spec.replica_id.as_str(),
        "uptimemesh.service": spec.service_id.as_str(),
        "uptimemesh.run": spec.id.as_str(),
        SPEC: serde_json::to_string(spec).unwrap_or_default(),
    })
}

/// Limits, ports and bounds on the machine's side.
fn host(spec: &RunSpec, container: &ContainerSpec, daemon: &Daemon) -> Value {
    let mut host = json!({
        "RestartPolicy": {"Name": "no"},
        "SecurityOpt": ["no-new-privileges"],
        "LogConfig": log_config(spec, daemon),
    });
    if let Some(mb) = spec.limits.memory_mb {
        let bytes = mb.saturating_mul(1 << 20);
        host["Memory"] = json!(bytes);
        // Equal: no swap beside it.
        host["MemorySwap"] = json!(bytes);
    }
    if let Some(millis) = spec.limits.cpu_millis {
        host["NanoCpus"] = json!(millis.saturating_mul(1_000_000));
    }
    if let Some(pids) = spec.limits.pids {
        host["PidsLimit"] = json!(pids);
    }
    let mut bindings = Map::new();
    for port in &container.ports {
        let binding = json!({
            "HostIp": port.address.as_deref().unwrap_or_default(),
            "HostPort": port.host_port.to_string(),
        });
        let all = bindings.entry(port_key(port)).or_insert_with(|| json!([]));
        all.as_array_mut().into_iter().for_each(|all| all.push(binding.clone()));
    }
    host["PortBindings"] = Value::Object(bindings);
    host
}

fn port_key(port: &crate::runner::run::PublishedPort) -> String {
    format!("{}/{}", port.container_port, port.protocol)
}

/// Bounds of the log. Podman keeps one file, and cuts it off.
fn log_config(spec: &RunSpec, daemon: &Daemon) -> Value {
    let size = format!("{}m", spec.logs.max_mb);
    match daemon.is_podman {
        true => json!({"Type": "k8s-file", "Config": {"max-size": size}}),
        false => json!({"Type": "json-file", "Config": {"max-size": size, "max-file": spec.logs.files.to_string()}}),
    }
}
