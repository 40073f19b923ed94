//! The part of a service's spec that says how a replica runs on its node: what runs, with which rights and limits, how
//! its health is checked, when it is restarted and how it is stopped.
//!
//! Version 1 let operators keep anything in a spec. So a spec is checked strictly only if it names its `driver`, or has
//! a list as `command`; any other with wrong values here is a record, which no node runs, and gets warnings.

pub mod keys;

use super::Object;
use crate::model::words::words;
use keys::{Fault, value};
use serde_json::Value;
use std::collections::BTreeMap;

words! {
    /// Driver of a replica.
    pub enum Driver {
        /// A program of the node.
        Process = "process",
        /// A container.
        Container = "container",
        /// Nothing: the service is a record.
        None = "none",
    }
}

words! {
    /// Condition under which a replica that ended by itself is started again.
    pub enum RestartPolicy {
        /// Always.
        Always = "always",
        /// Unless it ended with status 0.
        OnFailure = "on_failure",
        /// Never.
        Never = "never",
    }
}

/// Default maximum number of processes and threads of a replica.
const PIDS: u64 = 512;

/// A replica, as its node runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its driver.
    pub driver: Driver,
    /// Image of a container.
    pub image: Option<String>,
    /// Program and arguments; empty for those of the image.
    pub command: Vec<String>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Name or number of the user it runs as; `None` for the node's default.
    pub user: Option<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Limit of CPU, in thousandths of a core.
    pub cpu_millis: Option<u64>,
    /// Limit of memory, in mebibytes.
    pub memory_mb: Option<u64>,
    /// Limit of processes and threads.
    pub pids: u64,
    /// Health check.
    pub health: Option<Health>,
    /// Restarts.
    pub restart: Restart,
    /// Signal that requests its end.
    pub stop_signal: String,
    /// Seconds between that signal and its being killed.
    pub stop_grace_s: u64,
    /// Size of a log file, in mebibytes.
    pub log_max_mb: u64,
    /// Number of log files.
    pub log_files: u64,
    /// Seconds of running after which a replica without a health check is healthy.
    pub min_healthy_s: u64,
}

/// A health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Its target.
    pub check: Check,
    /// Seconds between two checks.
    pub interval_s: u64,
    /// Seconds after which a check has failed.
    pub timeout_s: u64,
    /// Failed checks in a row that make a replica unhealthy.
    pub retries: u64,
    /// Seconds after the start in which failed checks do not count, until the first success.
    pub start_period_s: u64,
    /// Seconds between two checks within the start period, until the first success.
    pub start_interval_s: u64,
}

/// Target of a health check, on the node itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The answer of a web server.
    Http {
        /// Its port.
        port: u16,
        /// Path and query of the request.
        path: String,
        /// Expected status; `None` for any from 200 to 399.
        status: Option<u16>,
    },
    /// A port that accepts connections.
    Tcp {
        /// The port.
        port: u16,
    },
    /// A program that ends with status 0.
    Exec(Vec<String>),
}

/// Restarts of a replica that ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// Condition of a restart.
    pub policy: RestartPolicy,
    /// Seconds before the first restart; each further one waits twice as long.
    pub delay_s: u64,
    /// Longest wait, in seconds.
    pub delay_max_s: u64,
    /// Seconds of health after which the first delay counts again.
    pub reset_after_s: u64,
}

/// A record.
impl Default for Workload {
    fn default() -> Workload {
        Workload::of(&Object::new(), Driver::None)
    }
}

impl Workload {
    /// Reads a spec; the error has every fault. A spec that is not checked strictly has none.
    pub fn read(spec: &Object) -> Result<Workload, Vec<Fault>> {
        if value(spec, "driver").and_then(Value::as_str) == Some(Driver::None.as_str()) {
            return Ok(Workload::of(spec, Driver::None));
        }
        let found = faults(spec);
        match found.is_empty() {
            true => Ok(Workload::of(spec, driver(spec))),
            false if is_strict(spec) => Err(found),
            false => Ok(Workload::of(spec, Driver::None)),
        }
    }

    fn of(spec: &Object, driver: Driver) -> Workload {
        let number = |path, default| value(spec, path).and_then(Value::as_u64).unwrap_or(default);
        let text = |path| value(spec, path).and_then(Value::as_str).map(str::to_string);
        let limit = |path| Some(number(path, 0)).filter(|n| *n > 0);
        let policy = value(spec, "restart.policy").and_then(Value::as_str).and_then(RestartPolicy::parse);
        let variables = value(spec, "environment").and_then(Value::as_object).into_iter().flatten();
        let delay_s = number("restart.delay_seconds", 1);
        Workload {
            driver,
            image: text("image"),
            command: texts(spec, "command"),
            environment: variables.filter_map(|(name, v)| Some((name.clone(), v.as_str()?.to_string()))).collect(),
            user: text("user"),
            working_dir: text("working_dir"),
            cpu_millis: limit("resources.cpu_millis"),
            memory_mb: limit("resources.memory_mb"),
            pids: number("resources.pids", PIDS),
            health: health(spec),
            restart: Restart {
                policy: policy.unwrap_or(RestartPolicy::Always),
                delay_s,
                delay_max_s: number("restart.delay_max_seconds", delay_s.max(60)),
                reset_after_s: number("restart.reset_after_seconds", 600),
            },
            stop_signal: text("stop.signal").unwrap_or_else(|| "SIGTERM".to_string()),
            stop_grace_s: number("stop.grace_seconds", 10),
            log_max_mb: number("logs.max_mb", 10),
            log_files: number("logs.files", 3),
            min_healthy_s: number("rolling_update.min_healthy_seconds", 10),
        }
    }
}

/// Warnings about a spec that looks as if it should run but is a record, each a sentence without its end.
pub fn warnings(spec: &Object) -> Vec<String> {
    let is_meant = ["command", "image"].into_iter().any(|key| value(spec, key).is_some());
    if !is_meant || is_strict(spec) {
        return Vec::new();
    }
    let record = |fault: Fault| format!("{fault}; until then the service is a record, and no node runs it");
    faults(spec).into_iter().map(record).collect()
}

/// True if the spec's wrong values are faults.
fn is_strict(spec: &Object) -> bool {
    value(spec, "driver").is_some() || value(spec, "command").is_some_and(Value::is_array)
}

fn driver(spec: &Object) -> Driver {
    let named = value(spec, "driver").and_then(Value::as_str).and_then(Driver::parse);
    named.unwrap_or_else(|| match (value(spec, "image"), value(spec, "command")) {
        (Some(_), _) => Driver::Container,
        (None, Some(_)) => Driver::Process,
        (None, None) => Driver::None,
    })
}

/// Every fault, of the keys by themselves first.
fn faults(spec: &Object) -> Vec<Fault> {
    let mut found = keys::faults(spec);
    let mut should = |path: &str, what: &str| {
        if !found.iter().any(|fault| fault.path == path) {
            found.push(Fault::new(path, what));
        }
    };
    match driver(spec) {
        Driver::Process => {
            let command = value(spec, "command").and_then(Value::as_array);
            if !command.and_then(|items| items.first()?.as_str()).is_some_and(|program| program.starts_with('/')) {
                should("command", "begin with the absolute path of a program: [\"/usr/bin/sleep\", \"60\"]");
            }
        }
        Driver::Container if value(spec, "image").is_none() => should("image", "name the image of the container"),
        Driver::Container | Driver::None => {}
    }
    let has = |path| value(spec, path).is_some();
    if has("health") && ["health.http", "health.tcp", "health.exec"].into_iter().filter(|path| has(path)).count() != 1 {
        should("health", "have one of http, tcp and exec");
    }
    for (check, port) in [("health.http", "health.http.port"), ("health.tcp", "health.tcp.port")] {
        if has(check) && !has(port) {
            should(port, "be the port to check");
        }
    }
    if value(spec, "health.http.path")
        .and_then(Value::as_str)
        .is_some_and(|path| !path.bytes().all(|b| b.is_ascii_graphic()))
    {
        should("health.http.path", "have only ASCII characters, without spaces; write others as %20");
    }
    let delay = |path, default| value(spec, path).and_then(Value::as_u64).unwrap_or(default);
    if has("restart.delay_max_seconds") && delay("restart.delay_max_seconds", 0) < delay("restart.delay_seconds", 1) {
        should("restart.delay_max_seconds", "not be below restart.delay_seconds");
    }
    found
}

fn texts(spec: &Object, path: &str) -> Vec<String> {
    let items = value(spec, path).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_string)).collect()
}

fn health(spec: &Object) -> Option<Health> {
    let number = |path| value(spec, path).and_then(Value::as_u64);
    let short = |path| number(path).and_then(|n| u16::try_from(n).ok());
    let exec = Some(texts(spec, "health.exec")).filter(|command| !command.is_empty());
    let http = |port| Check::Http {
        port,
        path: value(spec, "health.http.path").and_then(Value::as_str).unwrap_or("/").to_string(),
        status: short("health.http.status"),
    };
    let check = short("health.http.port").map(http);
    let check = check.or_else(|| short("health.tcp.port").map(|port| Check::Tcp { port }));
    Some(Health {
        check: check.or(exec.map(Check::Exec))?,
        interval_s: number("health.interval_seconds").unwrap_or(10),
        timeout_s: number("health.timeout_seconds").unwrap_or(3),
        retries: number("health.retries").unwrap_or(3),
        start_period_s: number("health.start_period_seconds").unwrap_or(30),
        start_interval_s: number("health.start_interval_seconds").unwrap_or(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(spec: Value) -> Result<Workload, Vec<String>> {
        let all = |faults: Vec<Fault>| faults.iter().map(Fault::to_string).collect();
        Workload::read(spec.as_object().expect("an object")).map_err(all)
    }

    #[test]
    fn a_program_needs_its_path_only() {
        let w = read(json!({"command": ["/usr/bin/sleep", "60"]})).expect("a workload");
        assert_eq!((w.driver, w.command.len(), w.pids, w.cpu_millis), (Driver::Process, 2, PIDS, None));
        assert_eq!((w.restart.policy, w.restart.delay_s, w.restart.delay_max_s), (RestartPolicy::Always, 1, 60));
        assert_eq!((w.stop_signal.as_str(), w.stop_grace_s, w.health, w.min_healthy_s), ("SIGTERM", 10, None, 10));
    }

    #[test]
    fn every_key_is_read() {
        let w = read(json!({
            "command": ["/bin/web"], "environment": {"A": "b"}, "user": "web", "working_dir": "/srv",
            "resources": {"cpu_millis": 500, "memory_mb": 64, "pids": 20},
            "health": {"http": {"port": 80, "path": "/up?full=1", "status": 204}, "interval_seconds": 5,
                "timeout_seconds": 2, "retries": 4, "start_period_seconds": 6, "start_interval_seconds": 2},
            "restart": {"policy": "on_failure", "delay_seconds": 2, "delay_max_seconds": 8, "reset_after_seconds": 9},
            "stop": {"signal": "SIGINT", "grace_seconds": 3}, "logs": {"max_mb": 1, "files": 2},
            "rolling_update": {"min_healthy_seconds": 7},
        }))
        .expect("a workload");
        assert_eq!(w.environment, BTreeMap::from([("A".to_string(), "b".to_string())]));
        assert_eq!((w.user.as_deref(), w.working_dir.as_deref()), (Some("web"), Some("/srv")));
        assert_eq!((w.cpu_millis, w.memory_mb, w.pids), (Some(500), Some(64), 20));
        let check = Check::Http { port: 80, path: "/up?full=1".to_string(), status: Some(204) };
        let (interval_s, timeout_s, retries, start_period_s, start_interval_s) = (5, 2, 4, 6, 2);
        let health = Health { check, interval_s, timeout_s, retries, start_period_s, start_interval_s };
        assert_eq!(w.health, Some(health));
        let policy = RestartPolicy::OnFailure;
        assert_eq!(w.restart, Restart { policy, delay_s: 2, delay_max_s: 8, reset_after_s: 9 });
        assert_eq!((w.stop_signal.as_str(), w.stop_grace_s), ("SIGINT", 3));
        assert_eq!((w.log_max_mb, w.log_files, w.min_healthy_s), (1, 2, 7));
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let found = read(json!({
            "command": ["sleep", "60"], "environment": {"1A": "b"}, "user": "", "working_dir": "srv",
            "resources": {"pids": 0}, "stop": "SIGTERM",
            "health": {"interval_seconds": 0, "http": {"path": "/a b"}, "tcp": {"port": 70000}},
            "restart": {"policy": "sometimes", "delay_seconds": 9, "delay_max_seconds": 8},
            "logs": {"files": 1.5}, "rolling_update": {"min_healthy_seconds": -1},
        }))
        .expect_err("faults");
        let paths: Vec<&str> = found.iter().filter_map(|text| text.split(' ').next()).collect();
        let wanted = [
            "environment",
            "user",
            "working_dir",
            "resources.pids",
            "health.tcp.port",
            "health.interval_seconds",
            "restart.policy",
            "stop",
            "logs.files",
            "rolling_update.min_healthy_seconds",
            "command",
            "health",
            "health.http.port",
            "health.http.path",
            "restart.delay_max_seconds",
        ];
        assert_eq!(paths, wanted.map(|path| format!("spec.{path}")), "{found:#?}");
    }

    #[test]
    fn values_are_bounded() {
        let many: Vec<String> = vec!["/x".to_string(); 257];
        let variables: Object = (0..513).map(|i| (format!("V{i}"), json!(""))).collect();
        for (spec, want) in [
            (json!({"command": many}), "1 to 256 texts"),
            (json!({"command": ["/x", "a".repeat(64 << 10)]}), "at most 65536 bytes"),
            (json!({"command": ["/x", "a\0"]}), "zero bytes"),
            (json!({"command": ["/x", 5]}), "a list of texts"),
            (json!({"command": []}), "1 to 256 texts"),
            (json!({"command": ["/x"], "environment": variables}), "at most 512 variables"),
            (json!({"command": ["/x"], "environment": {"A": "s".repeat(200_000)}}), "at most 131072 bytes"),
            (json!({"command": ["/x"], "environment": {"UPTIMEMESH_RUN": "x"}}), "set by the node"),
            (json!({"command": ["/x"], "environment": {"A": 5}}), "as A"),
            (json!({"command": ["/x"], "user": "a".repeat(65)}), "1 to 64 printable"),
            (json!({"command": ["/x"], "health": {}}), "one of http, tcp and exec"),
            (json!({"driver": "process"}), "absolute path"),
            (json!({"driver": "container"}), "image of the container"),
            (json!({"driver": "docker", "command": ["/x"]}), "one of process, container, none"),
        ] {
            let found = read(spec).expect_err(want);
            assert!(found.len() == 1 && found[0].contains(want), "{want}: {found:?}");
        }
    }

    #[test]
    fn specs_of_version_1_are_records() {
        for (spec, driver, warned) in [
            (json!({}), Driver::None, 0),
            (json!({"image": "x", "n": 5}), Driver::Container, 0),
            (json!({"image": "x", "command": ["run"]}), Driver::Container, 0),
            (json!({"command": "python3 -m http.server"}), Driver::None, 1),
            (json!({"image": {"name": "x"}, "environment": ["A=b"]}), Driver::None, 2),
            (json!({"user": 5, "restart": "always"}), Driver::None, 0),
            (json!({"driver": "none", "command": ["x"], "health": 5}), Driver::None, 0),
        ] {
            let object = spec.as_object().expect("an object").clone();
            assert_eq!(warnings(&object).len(), warned, "{spec}: {:?}", warnings(&object));
            assert_eq!(read(spec.clone()).map(|w| w.driver), Ok(driver), "{spec}");
        }
    }
}
