//! Parses the values of settings into fields of the configuration, and collects every fault.

use super::rows::{Kind, Setting};
use super::{Config, LogLevel, Secret};
use crate::model::address::{Network, host_and_port, is_host_name};
use crate::model::base_path;
use crate::model::join_string::ADDRESSES_MAX;
use log::LevelFilter;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Reads values and collects their faults.
pub(super) struct Reader<'g> {
    given: &'g BTreeMap<String, String>,
    /// The faults, each a sentence.
    pub(super) faults: Vec<String>,
}

impl<'g> Reader<'g> {
    /// A reader of values by name.
    pub(super) fn new(given: &'g BTreeMap<String, String>) -> Reader<'g> {
        Reader { given, faults: Vec::new() }
    }

    /// Reads a setting into its field.
    pub(super) fn setting(&mut self, setting: &Setting, config: &mut Config) {
        let text = self.text(setting);
        let secret = |text: String| (!text.is_empty()).then(|| Secret(Some(text.into_bytes())));
        match &setting.kind {
            Kind::Text(field) => *field(config) = text,
            Kind::Flag(field) => *field(config) = self.flag(setting),
            Kind::Int(_, _) if text.is_empty() => {}
            Kind::Int(bounds, field) => field(config).set(self.int(setting, bounds)),
            Kind::Path(field) => *field(config) = in_data(config, text),
            Kind::File(field) => *field(config) = (!text.is_empty()).then(|| text.into()),
            Kind::Key(field) => *field(config) = Secret::new(&text),
            Kind::Hidden(field) => *field(config) = secret(text),
            Kind::Own(read, _) => read(self, setting, config),
        }
    }

    /// The given value, or the default if it is missing or empty.
    fn text(&self, setting: &Setting) -> String {
        let given = self.given.get(setting.name).map(|v| v.trim()).filter(|v| !v.is_empty());
        given.unwrap_or(setting.default).to_string()
    }

    fn int(&mut self, setting: &Setting, bounds: &RangeInclusive<i64>) -> i64 {
        let (name, text, min, max) = (setting.name, self.text(setting), bounds.start(), bounds.end());
        match text.parse::<i64>() {
            Ok(n) if bounds.contains(&n) => n,
            _ => {
                self.faults.push(format!("{name} must be a whole number from {min} to {max}, not {text:?}"));
                *min
            }
        }
    }

    pub(super) fn flag(&mut self, setting: &Setting) -> bool {
        let (name, text) = (setting.name, self.text(setting));
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.faults.push(format!("{name} must be true or false, not {text:?}"));
                false
            }
        }
    }

    /// Comma-separated parts.
    fn parts(&self, setting: &Setting) -> Vec<String> {
        self.text(setting).split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_string).collect()
    }

    /// Host names and addresses.
    pub(super) fn names(&mut self, setting: &Setting, config: &mut Config) {
        let (name, names) = (setting.name, self.parts(setting));
        let is_name = |n: &str| is_host_name(n.strip_prefix("*.").unwrap_or(n));
        for bad in names.iter().filter(|n| n.parse::<IpAddr>().is_err() && !is_name(n)) {
            self.faults
                .push(format!("{name} must have names of hosts and addresses, separated by commas, not {bad:?}"));
        }
        config.tls_names = names.iter().map(|n| n.to_ascii_lowercase()).collect();
    }

    /// Hosts with an optional port.
    pub(super) fn advertised(&mut self, setting: &Setting, config: &mut Config) {
        let (name, mut found) = (setting.name, Vec::new());
        for part in self.parts(setting) {
            match host_and_port(&part) {
                Some((host, _)) if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) => {
                    self.faults.push(format!("{name} must say where others reach this server, and {part} is nowhere"));
                }
                Some(host) if !found.contains(&host) => found.push(host),
                Some(_) => {}
                None => self.faults.push(format!(
                    "{name} must have names or addresses like cp.example, 203.0.113.7:8443 or [fd00::1]:443, separated \
                        by commas, not {part:?}"
                )),
            }
        }
        if found.len() > ADDRESSES_MAX {
            self.faults.push(format!("{name} must have {ADDRESSES_MAX} addresses at most"));
        }
        config.advertised = found;
    }

    /// Networks of addresses.
    pub(super) fn networks(&mut self, setting: &Setting, config: &mut Config) {
        let name = setting.name;
        for part in self.parts(setting) {
            match Network::parse(&part) {
                Some(network) => config.trusted_proxies.push(network),
                None => self.faults.push(format!(
                    "{name} must have addresses or networks like 10.0.0.0/8, separated by commas, not {part:?}"
                )),
            }
        }
    }

    pub(super) fn base_path(&mut self, setting: &Setting, config: &mut Config) {
        let (name, text) = (setting.name, self.text(setting));
        config.base_path = base_path::parse(&text).unwrap_or_else(|| {
            self.faults.push(format!(
                "{name} must be a path like /mesh, of letters, digits, dots, dashes and underscores, not {text:?}"
            ));
            String::new()
        });
    }

    /// Two files that are only useful together.
    pub(super) fn tls_files(&mut self, setting: &Setting, config: &mut Config) {
        const KEY: &str = "TLS_KEY_FILE";
        let cert = self.text(setting);
        let key = self.given.get(KEY).map(|v| v.trim()).unwrap_or_default();
        if cert.is_empty() != key.is_empty() {
            self.faults.push(format!("{} and {KEY} must be given together", setting.name));
        }
        config.tls_files = (!cert.is_empty() && !key.is_empty()).then(|| (cert.into(), key.into()));
    }

    pub(super) fn level(&mut self, setting: &Setting, config: &mut Config) {
        let (name, text) = (setting.name, self.text(setting));
        config.log_level = LogLevel(match text.to_ascii_uppercase().as_str() {
            "DEBUG" => LevelFilter::Debug,
            "INFO" => LevelFilter::Info,
            "WARNING" | "WARN" => LevelFilter::Warn,
            "ERROR" | "CRITICAL" => LevelFilter::Error,
            _ => {
                self.faults.push(format!("{name} must be DEBUG, INFO, WARNING, ERROR or CRITICAL, not {text:?}"));
                LevelFilter::Info
            }
        });
    }

    /// A path; an empty one means no file.
    pub(super) fn log_file(&mut self, setting: &Setting, config: &mut Config) {
        let text = self.given.get(setting.name).map_or(setting.default, |v| v.trim());
        config.log_file = (!text.is_empty()).then(|| in_data(config, text.to_string()));
    }

    /// A path or an SQLite URL: three slashes precede a relative path, four an absolute one.
    pub(super) fn database(&mut self, setting: &Setting, config: &mut Config) {
        let text = self.text(setting);
        let is_sqlite = |scheme: &str| matches!(scheme, "sqlite" | "sqlite+aiosqlite" | "sqlite+pysqlite");
        let path = match text.split_once("://") {
            None => Some(text.clone()),
            Some((scheme, rest)) => {
                rest.strip_prefix('/').filter(|path| is_sqlite(scheme) && !path.is_empty()).map(str::to_string)
            }
        };
        match path {
            Some(path) => config.database_path = in_data(config, path),
            None => self.faults.push(format!("{} must be a path or sqlite:///path, not {text:?}", setting.name)),
        }
    }
}

/// Resolves a path: one that begins with `DATA_DIR/` is below that directory.
fn in_data(config: &Config, text: String) -> PathBuf {
    match text.strip_prefix("DATA_DIR/") {
        Some(rest) => config.data_dir.join(rest),
        None => PathBuf::from(text),
    }
}
