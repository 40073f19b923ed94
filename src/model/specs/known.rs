//! The known keys of a spec, in one table, and the warnings about others: unknown keys inside our sections, and at the
//! top level the words that other systems use for something that has another name here. Other keys at the top level are
//! the operator's own.

use super::Object;
use serde_json::{Map, Value};

/// Our sections, with all their keys. `[]` goes through a list.
const SECTIONS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "scheduling",
            "replicas_desired",
            "rolling_update",
            "resources",
            "ports",
            "placement",
            "driver",
            "image",
            "command",
            "environment",
            "user",
            "working_dir",
            "health",
            "restart",
            "stop",
            "logs",
        ],
    ),
    (
        "scheduling",
        &[
            "desired_replicas",
            "node_selector",
            "anti_affinity",
            "reschedule_unhealthy",
            "lost_after_seconds",
            "mode",
            "spread_by",
        ],
    ),
    ("rolling_update", &["max_surge", "max_unavailable", "min_healthy_seconds", "healthy_deadline_seconds"]),
    ("resources", &["cpu_millis", "memory_mb", "pids"]),
    (
        "health",
        &[
            "http",
            "tcp",
            "exec",
            "interval_seconds",
            "timeout_seconds",
            "retries",
            "start_period_seconds",
            "start_interval_seconds",
        ],
    ),
    ("health.http", &["port", "path", "status"]),
    ("health.tcp", &["port"]),
    ("restart", &["policy", "delay_seconds", "delay_max_seconds", "reset_after_seconds"]),
    ("stop", &["signal", "grace_seconds"]),
    ("logs", &["max_mb", "files"]),
    ("placement", &["pinned_replicas"]),
    ("placement.pinned_replicas[]", &["replica_id", "node_id", "desired_state"]),
    (
        PORTS,
        &[
            "host_port",
            "published",
            "container_port",
            "target",
            "protocol",
            "mode",
            "name",
            "address",
            "host_ip",
            "app_protocol",
        ],
    ),
];

/// The section whose keys mean something else at the top level.
const PORTS: &str = "ports[]";

/// Words of Compose, Swarm, Nomad and Kubernetes, in lower case and without punctuation, and our key; empty if we have
/// no such feature.
const FOREIGN: &[(&str, &[&str])] = &[
    (
        "scheduling.desired_replicas",
        &[
            "replicas",
            "replica",
            "replicacount",
            "numreplicas",
            "count",
            "instances",
            "instancecount",
            "scale",
            "copies",
            "desired",
            "desiredcount",
        ],
    ),
    (
        "scheduling.node_selector",
        &[
            "constraints",
            "constraint",
            "affinity",
            "affinities",
            "nodeaffinity",
            "selector",
            "nodelabels",
            "tolerations",
            "datacenters",
            "datacenter",
            "nodepool",
            "nodename",
            "region",
            "hosts",
        ],
    ),
    ("scheduling.spread_by", &["spread", "spreads", "preferences", "topologyspreadconstraints", "topologykey"]),
    ("scheduling.anti_affinity", &["podantiaffinity", "distincthosts", "maxreplicaspernode"]),
    ("scheduling.mode", &["global", "daemonset", "system"]),
    ("scheduling.reschedule_unhealthy", &["reschedule", "migrate"]),
    (
        "scheduling.lost_after_seconds",
        &["disconnect", "maxclientdisconnect", "stopafterclientdisconnect", "tolerationseconds"],
    ),
    ("scheduling, rolling_update and resources", &["deploy", "deployment"]),
    (
        "rolling_update",
        &["update", "updateconfig", "rollbackconfig", "strategy", "updatestrategy", "deploymentstrategy"],
    ),
    ("rolling_update.max_unavailable", &["parallelism", "maxparallel"]),
    ("resources", &["limits", "requests", "reservations", "reservation"]),
    (
        "resources.cpu_millis",
        &["cpu", "cpus", "cores", "nanocpus", "cpushares", "cpuquota", "cpulimit", "cpureservation", "millicpu"],
    ),
    (
        "resources.memory_mb",
        &["memory", "mem", "ram", "memlimit", "memreservation", "memorymax", "memorylimit", "memorybytes"],
    ),
    ("ports", &["expose", "publish", "published", "hostport", "containerport", "portmappings", "publishedports"]),
    ("ports[].host_port", &["static"]),
    ("ports[].container_port", &["to", "targetport"]),
    ("placement.pinned_replicas", &["pins", "pinned"]),
    ("command", &["cmd", "entrypoint", "args", "arguments", "argv", "execstart"]),
    ("environment", &["env", "envs", "envvars", "variables", "environmentvariables"]),
    ("user", &["runas", "runasuser", "uid", "username"]),
    ("working_dir", &["workdir", "workingdirectory", "cwd"]),
    ("health", &["healthcheck", "healthchecks", "check", "checks", "livenessprobe", "readinessprobe", "startupprobe"]),
    ("health.interval_seconds", &["interval", "period", "periodseconds"]),
    ("health.timeout_seconds", &["timeout"]),
    ("health.retries", &["failurethreshold"]),
    ("health.start_period_seconds", &["startperiod", "initialdelayseconds"]),
    ("health.start_interval_seconds", &["startinterval"]),
    ("health.http", &["httpget"]),
    ("health.tcp", &["tcpsocket"]),
    ("health.exec", &["test"]),
    ("restart", &["restartpolicy"]),
    ("restart.policy", &["condition", "name"]),
    ("restart.delay_seconds", &["delay"]),
    ("stop.signal", &["stopsignal", "killsignal"]),
    ("stop.grace_seconds", &["stopgraceperiod", "terminationgraceperiodseconds", "killtimeout"]),
    ("logs", &["logging", "logconfig", "logdriver"]),
    ("logs.max_mb", &["maxsize", "maxfilesize"]),
    ("logs.files", &["maxfile", "maxfiles"]),
    ("resources.pids", &["pidslimit", "ulimits"]),
    ("rolling_update.min_healthy_seconds", &["minreadyseconds", "monitor", "minhealthytime"]),
    (
        "",
        &[
            "dependson",
            "network",
            "extends",
            "autoscaling",
            "minreplicas",
            "maxreplicas",
            "networks",
            "networkmode",
            "apiversion",
            "kind",
            "metadata",
            "template",
            "spec",
            "containers",
            "initcontainers",
            "services",
            "job",
            "jobs",
            "group",
            "groups",
            "task",
            "tasks",
            "taskgroups",
            "progressdeadlineseconds",
            "failureaction",
            "order",
            "canary",
        ],
    ),
];

/// Maximum number of unknown keys with a warning of their own.
const WARNINGS_MAX: usize = 20;
/// Maximum number of characters of a key in a warning.
const KEY_CHARS_MAX: usize = 64;

/// Warnings about keys that have no effect but look as if they should have one.
pub fn warnings(spec: &Object) -> Vec<String> {
    let mut found = Vec::new();
    for (section, keys) in SECTIONS {
        for (place, object) in objects(spec, section) {
            for key in object.keys().filter(|key| !keys.contains(&key.as_str())) {
                found.extend(warning(section, &place, keys, key));
            }
        }
    }
    let more = found.len().saturating_sub(WARNINGS_MAX);
    found.truncate(WARNINGS_MAX);
    if more > 0 {
        found.push(format!("{more} more keys of the spec are not known"));
    }
    found
}

/// The objects at a path, each with its place in this spec.
fn objects<'s>(spec: &'s Object, path: &str) -> Vec<(String, &'s Map<String, Value>)> {
    let mut found = vec![("spec".to_string(), spec)];
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let (key, is_list) = step.strip_suffix("[]").map_or((step, false), |key| (key, true));
        let inside = |(place, object): (String, &'s Map<String, Value>)| {
            let place = format!("{place}.{key}");
            match object.get(key) {
                Some(Value::Object(inner)) if !is_list => vec![(place, inner)],
                Some(Value::Array(items)) if is_list => {
                    let one =
                        |(i, item): (usize, &'s Value)| item.as_object().map(|inner| (format!("{place}[{i}]"), inner));
                    items.iter().enumerate().filter_map(one).collect()
                }
                _ => Vec::new(),
            }
        };
        found = found.into_iter().flat_map(inside).collect();
    }
    found
}

/// Warning about a key that the section does not have; `None` for the operator's own keys.
fn warning(section: &str, place: &str, keys: &[&str], key: &str) -> Option<String> {
    let word = plain(key);
    let near = nearest(&word, keys).map(|name| format!("{place}.{name}"));
    let known = || {
        let others = SECTIONS.iter().filter(|(other, _)| !other.is_empty() && *other != PORTS);
        others.flat_map(|(other, keys)| keys.iter().map(move |k| (*other, *k))).find(|(_, k)| plain(k) == word)
    };
    let foreign = || FOREIGN.iter().find(|(_, words)| words.contains(&word.as_str())).map(|(name, _)| *name);
    let shown: String = key.chars().take(KEY_CHARS_MAX).collect();
    let said = |rest: String| Some(format!("{place}.{shown} is not known here; {rest}"));
    match (near, known(), foreign()) {
        (Some(name), ..) => said(format!("did you mean {name}?")),
        (None, Some((other, name)), _) => said(format!("did you mean spec.{other}.{name}?")),
        (None, None, Some("")) => said("nothing is done about it".to_string()),
        (None, None, Some(name)) => said(format!("did you mean spec.{name}?")),
        (None, None, None) if section.is_empty() => None,
        (None, None, None) => said(format!("known are {}", keys.join(", "))),
    }
}

/// A key in lower case, without punctuation.
fn plain(key: &str) -> String {
    key.chars()
        .filter(|c| !matches!(c, '_' | '-' | ' ' | '.'))
        .flat_map(char::to_lowercase)
        .take(KEY_CHARS_MAX)
        .collect()
}

/// The closest key to a word, if one is close enough: one typing error in a short word, two in a longer one, three in a
/// long one.
fn nearest<'k>(word: &str, keys: &[&'k str]) -> Option<&'k str> {
    let slips = |key: &str| match key.len() {
        ..=6 => 1,
        7..=12 => 2,
        _ => 3,
    };
    let close = keys.iter().map(|key| (distance(word, &plain(key)), *key)).filter(|(far, key)| *far <= slips(key));
    close.min_by_key(|(far, _)| *far).map(|(_, key)| key)
}

/// Number of insertions, deletions, changes and swaps of neighbours that turn one word into another.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn warnings_of(spec: Value) -> Vec<String> {
        warnings(spec.as_object().expect("an object"))
    }

    #[test]
    fn the_nearest_known_name_is_suggested() {
        for (spec, want) in [
            (
                json!({"scheduling": {"desired_replica": 2}}),
                "spec.scheduling.desired_replica is not known here; did you mean spec.scheduling.desired_replicas?",
            ),
            (json!({"scheduling": {"replicas": 2}}), "did you mean spec.scheduling.desired_replicas?"),
            (json!({"scheduling": {"nodeSelector": {}}}), "did you mean spec.scheduling.node_selector?"),
            (json!({"scheduling": {"max_surge": 2}}), "did you mean spec.rolling_update.max_surge?"),
            (json!({"scheduling": {"blob": {}}}), "known are desired_replicas, node_selector"),
            (json!({"rolling_update": {"maxUnavailable": 1}}), "did you mean spec.rolling_update.max_unavailable?"),
            (json!({"rolling_update": {"parallelism": 1}}), "did you mean spec.rolling_update.max_unavailable?"),
            (json!({"resources": {"limits": {"cpus": "0.5"}}}), "did you mean spec.resources?"),
            (json!({"resources": {"memory_bm": 64}}), "did you mean spec.resources.memory_mb?"),
            (
                json!({"ports": [80, {"host_prot": 80}]}),
                "spec.ports[1].host_prot is not known here; did you mean spec.ports[1].host_port?",
            ),
            (json!({"placement": {"constraints": []}}), "did you mean spec.scheduling.node_selector?"),
            (
                json!({"placement": {"pinned_replicas": [{"node": "n"}]}}),
                "spec.placement.pinned_replicas[0].node is not known here",
            ),
            (json!({"replicas": 3}), "spec.replicas is not known here; did you mean spec.scheduling.desired_replicas?"),
            (json!({"Deploy": {}}), "did you mean spec.scheduling, rolling_update and resources?"),
            (json!({"schedulling": {}}), "did you mean spec.scheduling?"),
            (json!({"rollingUpdate": {}}), "did you mean spec.rolling_update?"),
            (json!({"node-selector": {}}), "did you mean spec.scheduling.node_selector?"),
            (json!({"networks": ["a"]}), "spec.networks is not known here; nothing is done about it"),
            (json!({"env": {"A": "b"}}), "spec.env is not known here; did you mean spec.environment?"),
            (json!({"Cmd": ["/x"]}), "did you mean spec.command?"),
            (json!({"healthcheck": {}}), "did you mean spec.health?"),
            (json!({"health": {"httpGet": {}}}), "did you mean spec.health.http?"),
            (json!({"restart": {"condition": "any"}}), "did you mean spec.restart.policy?"),
        ] {
            let found = warnings_of(spec.clone());
            assert!(found.len() == 1 && found[0].contains(want), "{spec}: {found:?}");
        }
    }

    #[test]
    fn the_operators_own_keys_give_no_warning() {
        let own = json!({"image": "nginx", "command": ["x"], "environment": {"replicas": "3"}, "owner": "me",
            "notes": "", "team": {}, "version": 2, "labels": {}, "x": 1, "blob": "", "mine": {"count": 1},
            "rollout_requested_at": "",
            "scheduling": {"node_selector": {"anything": "x"}}});
        assert_eq!(warnings_of(own), [""; 0]);
    }

    #[test]
    fn many_unknown_keys_are_counted() {
        let many: Object = (0..1000).map(|i| (format!("{i}{}", "k".repeat(500)), Value::Null)).collect();
        let found = warnings_of(json!({ "scheduling": many }));
        assert_eq!((found.len(), found[20].as_str()), (21, "980 more keys of the spec are not known"));
        assert!(found.iter().all(|t| t.len() < 400));
    }

    #[test]
    fn slips_are_counted() {
        for (a, b, want) in [
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "ab", 1),
            ("", "ab", 2),
            ("prot", "port", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), want, "{a} {b}");
        }
    }
}
