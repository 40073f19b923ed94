//! The agent's settings in one table, from which its options and their help come. `agent`, `up` and `doctor` share the
//! defaults.

use crate::model::leases::{AGENT_LEASE_TTL_S, LEASE_TTL_RANGE_S};
use crate::runner::policy::POLICY;
use log::LevelFilter;
use std::path::{Path, PathBuf};

/// Directory of update requests, below the data directory.
const UPDATE_DIR: &str = "update";
/// State file of the updater, as it is installed.
const UPDATE_STATE: &str = "/var/lib/uptimemesh-update/state.json";

/// Directory of the runner's files, below the data directory.
const RUNNER_DIR: &str = "runner";

/// Variables that systemd and OpenRC set for their services.
const OF_SERVICES: [&str; 2] = ["NOTIFY_SOCKET", "RC_SVCNAME"];

/// Place of the runner, which runs the replicas of this node.
#[derive(Debug, Clone, PartialEq)]
pub enum RunnerPlace {
    /// Inside the agent, with its rights.
    Inside,
    /// Nowhere: the node only keeps what it should run.
    None,
    /// Behind this socket: a service of root's.
    Service(PathBuf),
}

impl RunnerPlace {
    fn parse(text: &str) -> Option<RunnerPlace> {
        match text {
            "inside" => Some(RunnerPlace::Inside),
            "none" => Some(RunnerPlace::None),
            path => Path::new(path).is_absolute().then(|| RunnerPlace::Service(PathBuf::from(path))),
        }
    }
}

/// One setting of the agent.
pub struct AgentSetting {
    /// Its option, without the dashes.
    pub option: &'static str,
    /// Its name in the environment; empty if it has none.
    pub variable: &'static str,
    /// Stands for its value in the help.
    pub value: &'static str,
    /// Description, with unit, bounds and default.
    pub help: &'static str,
}

const fn setting(
    option: &'static str,
    variable: &'static str,
    value: &'static str,
    help: &'static str,
) -> AgentSetting {
    AgentSetting { option, variable, value, help }
}

const TTL: AgentSetting =
    setting("ttl", "", "SECONDS", "life of a lease, 10 to 300 (default 15); a heartbeat goes out at a third of it");
const UPDATES: AgentSetting = setting(
    "update-dir",
    "",
    "DIR",
    "where updates that the control plane wants are written down (default update, in the data directory)",
);
const STATE: AgentSetting = setting(
    "update-state",
    "",
    "FILE",
    "file with the state of the updater (default /var/lib/uptimemesh-update/state.json)",
);
const LEVEL: AgentSetting =
    setting("log-level", "LOG_LEVEL", "LEVEL", "DEBUG, INFO, WARNING or ERROR (default INFO) [LOG_LEVEL]");
const LOG: AgentSetting = setting("log-file", "LOG_FILE", "FILE", "log file beside stderr [LOG_FILE]");
const RUNNER: AgentSetting = setting(
    "runner",
    "UPTIMEMESH_RUNNER",
    "PLACE",
    "inside (the agent runs the node's replicas), none, or the socket of `uptimemesh runner` (default inside; for a \
        service of systemd or OpenRC none) [UPTIMEMESH_RUNNER]",
);
const POLICY_FILE: AgentSetting = setting(
    "runner-policy",
    "UPTIMEMESH_RUNNER_POLICY",
    "FILE",
    "file that says who replicas may run as (default /etc/uptimemesh/runner.conf) [UPTIMEMESH_RUNNER_POLICY]",
);

/// Every setting of the agent.
pub const AGENT_SETTINGS: [AgentSetting; 7] = [TTL, UPDATES, STATE, RUNNER, POLICY_FILE, LEVEL, LOG];

/// The agent's configuration.
#[derive(Debug, PartialEq)]
pub struct AgentConfig {
    /// Seconds of a lease.
    pub lease_ttl_s: i64,
    /// Directory of update requests.
    pub update_dir: PathBuf,
    /// State file of the updater.
    pub update_state: PathBuf,
    /// Place of the runner.
    pub runner: RunnerPlace,
    /// Directory of the runner's files.
    pub runner_dir: PathBuf,
    /// File of the runner's policy.
    pub runner_policy: PathBuf,
    /// Least level of log lines.
    pub log_level: LevelFilter,
    /// Log file beside stderr.
    pub log_file: Option<PathBuf>,
}

impl AgentConfig {
    /// The configuration where nothing is given, for this data directory.
    pub fn in_dir(data_dir: &Path) -> AgentConfig {
        let is_service = OF_SERVICES.iter().any(|name| std::env::var_os(name).is_some());
        AgentConfig {
            lease_ttl_s: AGENT_LEASE_TTL_S,
            update_dir: data_dir.join(UPDATE_DIR),
            update_state: PathBuf::from(UPDATE_STATE),
            // A service that does not say otherwise is one of 2.0.0: its sandbox would be the replicas' as well.
            runner: if is_service { RunnerPlace::None } else { RunnerPlace::Inside },
            runner_dir: data_dir.join(RUNNER_DIR),
            runner_policy: PathBuf::from(POLICY),
            log_level: LevelFilter::Info,
            log_file: None,
        }
    }

    /// The configuration with what `given` has for each setting, and every fault of it.
    pub fn read(data_dir: &Path, given: impl Fn(&AgentSetting) -> Option<String>) -> (AgentConfig, Vec<String>) {
        let mut config = AgentConfig::in_dir(data_dir);
        let mut faults = Vec::new();
        if let Some(text) = given(&TTL) {
            match lease_ttl(&text) {
                Ok(ttl_s) => config.lease_ttl_s = ttl_s,
                Err(why) => faults.push(why),
            }
        }
        if let Some(word) = given(&LEVEL) {
            match level(&word) {
                Some(level) => config.log_level = level,
                None => faults.push(format!("--log-level must be DEBUG, INFO, WARNING or ERROR, not {word:?}")),
            }
        }
        if let Some(word) = given(&RUNNER) {
            match RunnerPlace::parse(&word) {
                Some(place) => config.runner = place,
                None => {
                    faults.push(format!("--runner must be inside, none or the absolute path of a socket, not {word:?}"))
                }
            }
        }
        config.runner_policy = given(&POLICY_FILE).map_or(config.runner_policy, PathBuf::from);
        config.update_dir = given(&UPDATES).map_or(config.update_dir, PathBuf::from);
        config.update_state = given(&STATE).map_or(config.update_state, PathBuf::from);
        config.log_file = given(&LOG).map(PathBuf::from);
        (config, faults)
    }
}

/// Seconds of a lease that the control plane accepts, from the option `--ttl`.
pub fn lease_ttl(text: &str) -> Result<i64, String> {
    let ttl_s: i64 = text.parse().map_err(|_| format!("--ttl must be a whole number, not {text:?}"))?;
    let (least, most) = (LEASE_TTL_RANGE_S.start(), LEASE_TTL_RANGE_S.end());
    let is_fit = LEASE_TTL_RANGE_S.contains(&ttl_s);
    is_fit.then_some(ttl_s).ok_or_else(|| format!("--ttl must be {least} to {most} seconds"))
}

/// A level by its word, as in the log; `None` if it is none of them.
pub fn level(word: &str) -> Option<LevelFilter> {
    match word.to_ascii_uppercase().as_str() {
        "WARNING" => Some(LevelFilter::Warn),
        "CRITICAL" => Some(LevelFilter::Error),
        word => word.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_read_and_every_fault_named() {
        let read = |values: [&str; 7]| {
            AgentConfig::read(Path::new("/d"), |setting| {
                let at = AGENT_SETTINGS.iter().position(|s| s.option == setting.option).expect("a row of the table");
                Some(values[at].to_string()).filter(|value| !value.is_empty())
            })
        };
        assert_eq!(read([""; 7]), (AgentConfig::in_dir(Path::new("/d")), vec![]));
        let all = AgentConfig {
            lease_ttl_s: 10,
            update_dir: "/u".into(),
            update_state: "/s".into(),
            runner: RunnerPlace::None,
            runner_dir: "/d/runner".into(),
            runner_policy: "/p".into(),
            log_level: LevelFilter::Warn,
            log_file: Some("/l".into()),
        };
        assert_eq!(read(["10", "/u", "/s", "none", "/p", "warning", "/l"]), (all, vec![]));
        let socket = read(["", "", "", "/run/r.sock", "", "", ""]).0.runner;
        assert_eq!(socket, RunnerPlace::Service("/run/r.sock".into()));
        assert_eq!(read(["9", "", "", "outside", "", "loud", ""]).1.len(), 3);
        assert!(read(["x", "", "", "", "", "", ""]).1[0].contains("whole number"));
    }

    #[test]
    fn the_help_names_bounds_and_defaults() {
        let bounds =
            format!("{} to {} (default {AGENT_LEASE_TTL_S})", LEASE_TTL_RANGE_S.start(), LEASE_TTL_RANGE_S.end());
        assert!(TTL.help.contains(&bounds) && STATE.help.contains(UPDATE_STATE) && UPDATES.help.contains(UPDATE_DIR));
        assert!(POLICY_FILE.help.contains(POLICY));
        assert!(AGENT_SETTINGS.iter().all(|s| s.variable.is_empty() || s.help.ends_with(&format!("[{}]", s.variable))));
    }
}
