//! Configuration: flags over environment over `.env`. Every setting, with its default, unit and meaning, stands in one table,
//! from which the help and the README's table come.

mod dotenv;

pub use self::dotenv::{Dotenv, is_known, meant, says_nothing};
use crate::crypto;
use crate::error::{Error, Result};
use crate::files;
use crate::model::address::{Network, at_port, host_and_port, is_host_name, is_private};
use crate::model::base_path;
use crate::model::join_string::ADDRESSES_MAX;
use log::LevelFilter;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A key must have so many characters in production.
const KEY_CHARS_MIN: usize = 32;

/// One setting.
pub struct Setting {
    /// Its name in the environment and in `.env`; its flag is the same in lower case with dashes.
    pub name: &'static str,
    /// Its value where nothing is given, as text; empty for none.
    pub default: &'static str,
    /// What it is, with its unit.
    pub help: &'static str,
}

impl Setting {
    /// Whether it is a secret: it has no flag then, because everybody on the machine can read the arguments of a process.
    pub fn is_secret(&self) -> bool {
        ["AUTH_SECRET_KEY", "CLUSTER_SIGNING_KEY", "METRICS_TOKEN", "UPTIMEMESH_BACKUP_PASSPHRASE"].contains(&self.name)
    }
}

const fn setting(name: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { name, default, help }
}

/// Every setting of the server.
pub const SETTINGS: &[Setting] = &[
    setting("APP_NAME", "UptimeMesh", "name that /version tells"),
    setting("APP_ENV", "dev", "prod or production turns the strict checks at start on"),
    setting("DATA_DIR", "data", "directory of everything that the server keeps"),
    setting("DATABASE_URL", "DATA_DIR/app.db", "path of the SQLite database, or sqlite:///path"),
    setting("SERVER_HOST", "", "address to listen on, 0.0.0.0 for every IPv4 one; where none is given, all of IPv6 and IPv4"),
    setting("SERVER_PORT", "8000", "port to listen on; 0 takes a free one"),
    setting("TLS", "on", "off: plain HTTP only, behind a proxy that speaks HTTPS"),
    setting(
        "ADVERTISE_ADDRESSES",
        "",
        "where others reach this server, instead of what it finds: hosts, with ports or without, comma-separated, the likeliest first",
    ),
    setting("TLS_NAMES", "", "more names and addresses that this server is reached by, comma-separated"),
    setting("TLS_CERT_FILE", "", "a certificate chain of your own (PEM); read again when it changes"),
    setting("TLS_KEY_FILE", "", "its private key (PEM)"),
    setting(
        "TRUSTED_PROXIES",
        "",
        "addresses or networks of proxies whose X-Forwarded-For, -Proto, -Host and -Prefix, or Forwarded, are believed",
    ),
    setting("BASE_PATH", "", "path below which a proxy shows this server, like /mesh, whether the proxy takes it off or not"),
    setting("LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING, ERROR or CRITICAL"),
    setting("LOG_FILE", "DATA_DIR/app.log", "log file beside stderr; empty for none"),
    setting("LOG_DB_QUERIES", "false", "log every database query"),
    setting("LOG_DB_QUERY_PARAMS", "false", "with their parameters, secrets left out"),
    setting("LOG_SQL_MAX_LENGTH", "400", "characters of a logged query, 50 to 8000"),
    setting("AUTH_SECRET_KEY", "", "key that signs sessions; made once in DATA_DIR/keys outside production"),
    setting("AUTH_COOKIE_SECURE", "false", "send the session cookie over HTTPS only"),
    setting("AUTH_SESSION_TTL_SECONDS", "43200", "seconds that a session lasts, 60 to 2592000"),
    setting("AUTH_SESSION_IDLE_SECONDS", "7200", "seconds after which a session ends that nobody uses, 60 to 2592000"),
    setting("CLUSTER_SIGNING_KEY", "", "key that signs lease tokens; made once in DATA_DIR/keys outside production"),
    setting("CLUSTER_PKI_DIR", "DATA_DIR/pki", "directory of the certificate authority"),
    setting("NODE_CERT_VALIDITY_DAYS", "30", "days that a node certificate is valid, 1 to 825"),
    setting("CLUSTER_LEASE_TOKEN_TTL_SECONDS", "86400", "seconds that a lease token is valid, 60 to 2592000"),
    setting("HEARTBEAT_SIGNATURE_MAX_SKEW_SECONDS", "30", "seconds that a node's clock may be off, 1 to 3600"),
    setting("CLOCK_WAIT_SECONDS", "600", "seconds that a first start waits for a clock that is behind the program's own date, 0 to 86400"),
    setting("METRICS_TOKEN", "", "bearer token for GET /metrics from elsewhere; from this machine itself none is needed"),
    setting("BACKUP_DIR", "DATA_DIR/backups", "directory of the backups"),
    setting("BACKUP_PASSPHRASE_FILE", "", "file with the passphrase that backups are encrypted for"),
    setting("UPTIMEMESH_BACKUP_PASSPHRASE", "", "the same, without a file"),
    setting("BACKUP_BEFORE_UPGRADE", "on", "off: bring the database up to date without making a backup before"),
    setting("HTTP_CONNECTIONS_MAX", "", "connections in all, 16 to 100000; by the limit of open files, at most 1024"),
    setting("HTTP_CONNECTIONS_PER_ADDRESS_MAX", "64", "connections of one address, 1 to 100000"),
    setting(
        "HTTP_IDLE_SECONDS",
        "75",
        "seconds that a silent connection is kept, 1 to 86400; more than a proxy keeps it: usually 60, at Google Cloud 600",
    ),
    setting("HTTP_REQUESTS_PER_SECOND_MAX", "500", "requests a second of one signed-in caller, 1 to 1000000; ten times that at once"),
];

/// A key or nothing yet. Neither Debug nor Display: a key must not find its way into a log.
#[derive(Clone)]
pub struct Secret(Option<Vec<u8>>);

impl Secret {
    /// The key's bytes.
    pub fn expose(&self) -> &[u8] {
        self.0.as_deref().expect("the server fills its keys before it starts anything that uses them")
    }

    /// A key. None at all, or one of those that stand in examples, leaves it to the server to make one.
    pub fn new(text: &str) -> Secret {
        let text = text.trim();
        Secret((!text.is_empty() && !is_placeholder(text)).then(|| text.as_bytes().to_vec()))
    }
}

/// The server's configuration.
#[derive(Clone)]
pub struct Config {
    /// Name that `/version` tells.
    pub app_name: String,
    /// `dev`, `prod`, ...
    pub app_env: String,
    /// Directory of everything that the server keeps.
    pub data_dir: PathBuf,
    /// The SQLite file.
    pub database_path: PathBuf,
    /// Address to listen on; empty for all of IPv6 and IPv4.
    pub server_host: String,
    /// Where others reach the server, the likeliest first, with a port where it is not the server's own; empty: what it finds by itself.
    pub advertised: Vec<(String, Option<u16>)>,
    /// Port to listen on; 0 takes a free one.
    pub server_port: u16,
    /// Whether TLS is spoken; without it only plain HTTP is, for a proxy that speaks TLS.
    pub tls: bool,
    /// More names and addresses that the server is reached by.
    pub tls_names: Vec<String>,
    /// A certificate chain and its key of the operator's own.
    pub tls_files: Option<(PathBuf, PathBuf)>,
    /// Proxies that are believed about whose request they pass on.
    pub trusted_proxies: Vec<Network>,
    /// The path below which a proxy shows this server, `/mesh`; empty for none.
    pub base_path: String,
    /// Least level that is logged.
    pub log_level: LevelFilter,
    /// Log file beside stderr.
    pub log_file: Option<PathBuf>,
    /// Whether to log every database query.
    pub log_db_queries: bool,
    /// Whether to log their parameters too.
    pub log_db_query_params: bool,
    /// Characters of a logged query.
    pub log_sql_chars_max: usize,
    /// Key that signs sessions.
    pub auth_secret_key: Secret,
    /// Whether the session cookie is for HTTPS only.
    pub auth_cookie_secure: bool,
    /// Seconds that a session lasts.
    pub auth_session_ttl_s: i64,
    /// Seconds after which a session ends that nobody uses.
    pub auth_session_idle_s: i64,
    /// Key that signs lease tokens.
    pub cluster_signing_key: Secret,
    /// Directory of the certificate authority.
    pub pki_dir: PathBuf,
    /// Days that a node certificate is valid.
    pub node_cert_validity_days: i64,
    /// Seconds that a lease token is valid.
    pub lease_token_ttl_s: i64,
    /// Seconds that a node's clock may be off.
    pub heartbeat_skew_s: i64,
    /// Seconds that a first start waits for a clock that cannot be right.
    pub clock_wait_s: i64,
    /// What a collector of metrics shows; `None` lets only this machine collect.
    pub metrics_token: Option<Secret>,
    /// Directory of the backups.
    pub backup_dir: PathBuf,
    /// File with the passphrase that backups are encrypted for.
    pub backup_passphrase_file: Option<PathBuf>,
    /// The passphrase itself, where it was given without a file.
    pub backup_passphrase: Option<Secret>,
    /// Whether a backup is made before the database is brought up to date.
    pub backup_before_upgrade: bool,
    /// Connections in all; `None` follows the limit of open files.
    pub connections_max: Option<usize>,
    /// Connections of one address.
    pub connections_per_address_max: usize,
    /// Seconds that a silent connection is kept.
    pub idle_s: i64,
    /// Requests a second of one signed-in caller.
    pub requests_per_second_max: i64,
    /// What in the settings file may be meant otherwise, each a sentence.
    pub notes: Vec<String>,
}

impl Config {
    /// A configuration for embedding and tests: everything below one directory, a free port of 127.0.0.1, warnings on
    /// stderr only.
    ///
    /// Nothing is read from the environment, and no file is touched before the server starts.
    pub fn for_dir(dir: &Path) -> Config {
        let dir = dir.to_string_lossy().into_owned();
        let given =
            [("DATA_DIR", dir.as_str()), ("SERVER_HOST", "127.0.0.1"), ("SERVER_PORT", "0"), ("LOG_LEVEL", "WARNING"), ("LOG_FILE", "")];
        let given: BTreeMap<_, _> = given.into_iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        Config::of(&given).unwrap_or_else(|faults| unreachable!("these settings are sound: {faults:?}"))
    }

    /// Reads the configuration. `flags` are `("server-port", "8000")`, `env` is the process's, `dotenv` what `.env` says.
    /// Fails with every fault at once, each a sentence.
    pub fn load(
        flags: &[(String, String)],
        env: impl IntoIterator<Item = (String, String)>,
        dotenv: Option<&Dotenv>,
    ) -> std::result::Result<Config, Vec<String>> {
        let mut faults = dotenv.map(|file| file.faults.clone()).unwrap_or_default();
        let mut given = dotenv.map(|file| file.values.clone()).unwrap_or_default();
        // Of names that differ in case only, the one in capitals is ours.
        let mut env: Vec<(String, String)> = env.into_iter().collect();
        env.sort_by_key(|(name, _)| !name.bytes().any(|b| b.is_ascii_lowercase()));
        for (name, value) in env {
            let name = name.to_ascii_uppercase();
            if !(says_nothing(&name, &value) && given.contains_key(&name)) {
                given.insert(name, value);
            }
        }
        for (flag, value) in flags {
            // What a script left unset must not lead to the default directory, in which there may be a cluster.
            if flag == "data-dir" && value.trim().is_empty() {
                faults.push("DATA_DIR must not be empty".to_string());
            }
            given.insert(flag.to_ascii_uppercase().replace('-', "_"), value.clone());
        }
        match Config::of(&given) {
            Ok(mut config) if faults.is_empty() => {
                config.notes = dotenv.map(|file| file.notes.clone()).unwrap_or_default();
                Ok(config)
            }
            Ok(_) => Err(faults),
            Err(more) => Err(faults.into_iter().chain(more).collect()),
        }
    }

    fn of(given: &BTreeMap<String, String>) -> std::result::Result<Config, Vec<String>> {
        let mut read = Reader { given, faults: Vec::new() };
        let data_dir = PathBuf::from(read.text("DATA_DIR"));
        let in_data = |text: String| match text.strip_prefix("DATA_DIR/") {
            Some(rest) => data_dir.join(rest),
            None => PathBuf::from(text),
        };
        let log_file = given.get("LOG_FILE").map_or("DATA_DIR/app.log", |v| v.trim());
        let config = Config {
            app_name: read.text("APP_NAME"),
            app_env: read.text("APP_ENV"),
            database_path: in_data(read.database()),
            server_host: read.text("SERVER_HOST"),
            advertised: read.advertised("ADVERTISE_ADDRESSES"),
            server_port: read.int("SERVER_PORT", 0, 65_535) as u16,
            tls: read.flag("TLS"),
            tls_names: read.names("TLS_NAMES"),
            tls_files: read.pair("TLS_CERT_FILE", "TLS_KEY_FILE"),
            trusted_proxies: read.networks("TRUSTED_PROXIES"),
            base_path: read.base_path("BASE_PATH"),
            log_level: read.level("LOG_LEVEL"),
            log_file: (!log_file.is_empty()).then(|| in_data(log_file.to_string())),
            log_db_queries: read.flag("LOG_DB_QUERIES"),
            log_db_query_params: read.flag("LOG_DB_QUERY_PARAMS"),
            log_sql_chars_max: read.int("LOG_SQL_MAX_LENGTH", 50, 8000) as usize,
            auth_secret_key: Secret::new(&read.text("AUTH_SECRET_KEY")),
            auth_cookie_secure: read.flag("AUTH_COOKIE_SECURE"),
            auth_session_ttl_s: read.int("AUTH_SESSION_TTL_SECONDS", 60, 2_592_000),
            auth_session_idle_s: read.int("AUTH_SESSION_IDLE_SECONDS", 60, 2_592_000),
            cluster_signing_key: Secret::new(&read.text("CLUSTER_SIGNING_KEY")),
            pki_dir: in_data(read.text("CLUSTER_PKI_DIR")),
            node_cert_validity_days: read.int("NODE_CERT_VALIDITY_DAYS", 1, 825),
            lease_token_ttl_s: read.int("CLUSTER_LEASE_TOKEN_TTL_SECONDS", 60, 2_592_000),
            heartbeat_skew_s: read.int("HEARTBEAT_SIGNATURE_MAX_SKEW_SECONDS", 1, 3600),
            clock_wait_s: read.int("CLOCK_WAIT_SECONDS", 0, 86_400),
            metrics_token: Some(read.text("METRICS_TOKEN")).filter(|t| !t.is_empty()).map(|t| Secret(Some(t.into_bytes()))),
            backup_dir: in_data(read.text("BACKUP_DIR")),
            backup_passphrase_file: Some(read.text("BACKUP_PASSPHRASE_FILE")).filter(|t| !t.is_empty()).map(PathBuf::from),
            backup_passphrase: Some(read.text("UPTIMEMESH_BACKUP_PASSPHRASE"))
                .filter(|t| !t.is_empty())
                .map(|t| Secret(Some(t.into_bytes()))),
            backup_before_upgrade: read.flag("BACKUP_BEFORE_UPGRADE"),
            connections_max: match read.text("HTTP_CONNECTIONS_MAX").is_empty() {
                true => None,
                false => Some(read.int("HTTP_CONNECTIONS_MAX", 16, 100_000) as usize),
            },
            connections_per_address_max: read.int("HTTP_CONNECTIONS_PER_ADDRESS_MAX", 1, 100_000) as usize,
            idle_s: read.int("HTTP_IDLE_SECONDS", 1, 86_400),
            requests_per_second_max: read.int("HTTP_REQUESTS_PER_SECOND_MAX", 1, 1_000_000),
            notes: Vec::new(),
            data_dir,
        };
        let mut faults = read.faults;
        faults.extend(config.production_faults(given));
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }

    /// Every setting as it is in force, in the order of the table; of a secret only whether it is set.
    pub fn told(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Path| path.display().to_string();
        let set = |secret: &Secret| if secret.0.is_some() { "(set)" } else { "(not set)" }.to_string();
        let level = |level: LevelFilter| match level {
            LevelFilter::Warn => "WARNING".to_string(),
            level => level.to_string(),
        };
        let file = |of: fn(&(PathBuf, PathBuf)) -> &PathBuf| self.tls_files.as_ref().map(|files| path(of(files))).unwrap_or_default();
        let value = |name: &str| match name {
            "APP_NAME" => self.app_name.clone(),
            "APP_ENV" => self.app_env.clone(),
            "DATA_DIR" => path(&self.data_dir),
            "DATABASE_URL" => path(&self.database_path),
            "SERVER_HOST" => self.server_host.clone(),
            "ADVERTISE_ADDRESSES" => {
                let text = |(host, port): &(String, Option<u16>)| port.map_or(host.clone(), |port| at_port(host, port));
                self.advertised.iter().map(text).collect::<Vec<_>>().join(",")
            }
            "SERVER_PORT" => self.server_port.to_string(),
            "TLS" => if self.tls { "on" } else { "off" }.to_string(),
            "TLS_NAMES" => self.tls_names.join(","),
            "TLS_CERT_FILE" => file(|files| &files.0),
            "TLS_KEY_FILE" => file(|files| &files.1),
            "TRUSTED_PROXIES" => self.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            "BASE_PATH" => self.base_path.clone(),
            "LOG_LEVEL" => level(self.log_level),
            "LOG_FILE" => self.log_file.as_deref().map(path).unwrap_or_default(),
            "LOG_DB_QUERIES" => self.log_db_queries.to_string(),
            "LOG_DB_QUERY_PARAMS" => self.log_db_query_params.to_string(),
            "LOG_SQL_MAX_LENGTH" => self.log_sql_chars_max.to_string(),
            "AUTH_SECRET_KEY" => set(&self.auth_secret_key),
            "AUTH_COOKIE_SECURE" => self.auth_cookie_secure.to_string(),
            "AUTH_SESSION_TTL_SECONDS" => self.auth_session_ttl_s.to_string(),
            "AUTH_SESSION_IDLE_SECONDS" => self.auth_session_idle_s.to_string(),
            "CLUSTER_SIGNING_KEY" => set(&self.cluster_signing_key),
            "CLUSTER_PKI_DIR" => path(&self.pki_dir),
            "NODE_CERT_VALIDITY_DAYS" => self.node_cert_validity_days.to_string(),
            "CLUSTER_LEASE_TOKEN_TTL_SECONDS" => self.lease_token_ttl_s.to_string(),
            "HEARTBEAT_SIGNATURE_MAX_SKEW_SECONDS" => self.heartbeat_skew_s.to_string(),
            "CLOCK_WAIT_SECONDS" => self.clock_wait_s.to_string(),
            "BACKUP_DIR" => path(&self.backup_dir),
            "BACKUP_PASSPHRASE_FILE" => self.backup_passphrase_file.as_deref().map(path).unwrap_or_default(),
            "UPTIMEMESH_BACKUP_PASSPHRASE" => self.backup_passphrase.as_ref().map_or("(not set)".to_string(), set),
            "BACKUP_BEFORE_UPGRADE" => self.backup_before_upgrade.to_string(),
            "METRICS_TOKEN" => self.metrics_token.as_ref().map_or("(not set)".to_string(), set),
            "HTTP_CONNECTIONS_MAX" => self.connections_max.map(|n| n.to_string()).unwrap_or_default(),
            "HTTP_CONNECTIONS_PER_ADDRESS_MAX" => self.connections_per_address_max.to_string(),
            "HTTP_IDLE_SECONDS" => self.idle_s.to_string(),
            "HTTP_REQUESTS_PER_SECOND_MAX" => self.requests_per_second_max.to_string(),
            _ => "(not told)".to_string(),
        };
        SETTINGS.iter().map(|setting| (setting.name, value(setting.name))).collect()
    }

    /// Keeps the passphrase of backups that stands in this file's text, so that it need not be read again by a user who may not.
    pub fn keep_backup_passphrase(&mut self, text: &str) {
        self.backup_passphrase = Some(Secret(Some(text.trim_end_matches(['\r', '\n']).as_bytes().to_vec())));
        self.backup_passphrase_file = None;
    }

    /// Whether the strict checks of production apply.
    pub fn is_production(&self) -> bool {
        ["prod", "production"].iter().any(|word| self.app_env.eq_ignore_ascii_case(word))
    }

    fn production_faults(&self, given: &BTreeMap<String, String>) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.is_production() {
            return faults;
        }
        for name in ["AUTH_SECRET_KEY", "CLUSTER_SIGNING_KEY"] {
            let key = given.get(name).map_or("", |v| v.trim());
            let why = if key.is_empty() {
                "must be set"
            } else if is_placeholder(key) {
                "is the placeholder that everybody knows"
            } else if key.chars().count() < KEY_CHARS_MIN {
                "is too short"
            } else {
                continue;
            };
            faults.push(format!(
                "{name} {why}: in production it must have at least {KEY_CHARS_MIN} random characters (try: openssl rand -hex 32)"
            ));
        }
        let reached = self.server_host.trim_matches(['[', ']']).parse::<IpAddr>();
        if !self.tls && !reached.is_ok_and(is_private) && self.server_host != "localhost" {
            let host = if self.server_host.is_empty() { "not set" } else { &self.server_host };
            faults.push(format!(
                "TLS must not be off in production while SERVER_HOST is {host}: listen on 127.0.0.1 or a private address, or leave TLS on"
            ));
        }
        if !self.auth_cookie_secure {
            faults.push("AUTH_COOKIE_SECURE must be true in production".to_string());
        }
        faults
    }

    /// Outside production, makes the keys that were not given, once, and reads them at every later start, so that sessions
    /// and leases survive it.
    pub fn fill_keys(&mut self) -> Result<()> {
        let dir = self.data_dir.join("keys");
        for (secret, name) in [(&mut self.auth_secret_key, "auth-secret.key"), (&mut self.cluster_signing_key, "cluster-signing.key")] {
            if secret.0.is_none() {
                *secret = kept(&dir, name)?;
            }
        }
        Ok(())
    }
}

fn kept(dir: &Path, name: &str) -> Result<Secret> {
    let path = dir.join(name);
    match files::read(&path)? {
        Some(text) if text.trim().len() >= KEY_CHARS_MIN => Ok(Secret(Some(text.trim().as_bytes().to_vec()))),
        Some(_) => {
            let why = format!(
                "{} is damaged: restore it from a backup, or remove it (everybody must sign in again and every node join again)",
                path.display()
            );
            Err(Error::fault("read a key", why))
        }
        None => {
            let key = crypto::random_hex(32);
            files::private_dir(dir)?;
            files::write(&path, key.as_bytes(), files::PRIVATE)?;
            Ok(Secret(Some(key.into_bytes())))
        }
    }
}

/// Whether a key is one of those that stand in examples.
fn is_placeholder(key: &str) -> bool {
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    ["changeme", "changethis", "replaceme", "placeholder", "insecure", "devsecret"].iter().any(|word| plain.contains(word))
}

/// Reads values, and collects what is wrong with them.
struct Reader<'g> {
    given: &'g BTreeMap<String, String>,
    faults: Vec<String>,
}

impl Reader<'_> {
    /// The value given, or the default where none or an empty one was.
    fn text(&self, name: &str) -> String {
        let given = self.given.get(name).map(|v| v.trim()).filter(|v| !v.is_empty());
        let default = || SETTINGS.iter().find(|s| s.name == name).map_or("", |s| s.default);
        given.unwrap_or_else(default).to_string()
    }

    fn int(&mut self, name: &str, min: i64, max: i64) -> i64 {
        let text = self.text(name);
        match text.parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) => n,
            _ => {
                self.faults.push(format!("{name} must be a whole number from {min} to {max}, not {text:?}"));
                min
            }
        }
    }

    fn flag(&mut self, name: &str) -> bool {
        let text = self.text(name);
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.faults.push(format!("{name} must be true or false, not {text:?}"));
                false
            }
        }
    }

    /// Parts between commas.
    fn parts(&self, name: &str) -> Vec<String> {
        self.text(name).split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_string).collect()
    }

    /// Names of hosts, and addresses.
    fn names(&mut self, name: &str) -> Vec<String> {
        let names = self.parts(name);
        let is_name = |n: &str| is_host_name(n.strip_prefix("*.").unwrap_or(n));
        for bad in names.iter().filter(|n| n.parse::<IpAddr>().is_err() && !is_name(n)) {
            self.faults.push(format!("{name} must have names of hosts and addresses, separated by commas, not {bad:?}"));
        }
        names.iter().map(|n| n.to_ascii_lowercase()).collect()
    }

    /// Hosts, each with a port or without.
    fn advertised(&mut self, name: &str) -> Vec<(String, Option<u16>)> {
        let mut found = Vec::new();
        for part in self.parts(name) {
            match host_and_port(&part) {
                Some((host, _)) if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) => {
                    self.faults.push(format!("{name} must say where others reach this server, and {part} is nowhere"));
                }
                Some(host) if !found.contains(&host) => found.push(host),
                Some(_) => {}
                None => self.faults.push(format!(
                    "{name} must have names or addresses like cp.example, 203.0.113.7:8443 or [fd00::1]:443, separated by commas, not {part:?}"
                )),
            }
        }
        if found.len() > ADDRESSES_MAX {
            self.faults.push(format!("{name} must have {ADDRESSES_MAX} addresses at most"));
        }
        found
    }

    /// Networks of addresses.
    fn networks(&mut self, name: &str) -> Vec<Network> {
        let mut networks = Vec::new();
        for part in self.parts(name) {
            match Network::parse(&part) {
                Some(network) => networks.push(network),
                None => {
                    self.faults.push(format!("{name} must have addresses or networks like 10.0.0.0/8, separated by commas, not {part:?}"))
                }
            }
        }
        networks
    }

    fn base_path(&mut self, name: &str) -> String {
        let text = self.text(name);
        base_path::parse(&text).unwrap_or_else(|| {
            self.faults.push(format!("{name} must be a path like /mesh, of letters, digits, dots, dashes and underscores, not {text:?}"));
            String::new()
        })
    }

    /// Two files that are of no use without each other.
    fn pair(&mut self, one: &str, other: &str) -> Option<(PathBuf, PathBuf)> {
        let (a, b) = (self.text(one), self.text(other));
        if a.is_empty() != b.is_empty() {
            self.faults.push(format!("{one} and {other} must be given together"));
        }
        (!a.is_empty() && !b.is_empty()).then(|| (a.into(), b.into()))
    }

    fn level(&mut self, name: &str) -> LevelFilter {
        let text = self.text(name);
        match text.to_ascii_uppercase().as_str() {
            "DEBUG" => LevelFilter::Debug,
            "INFO" => LevelFilter::Info,
            "WARNING" | "WARN" => LevelFilter::Warn,
            "ERROR" | "CRITICAL" => LevelFilter::Error,
            _ => {
                self.faults.push(format!("{name} must be DEBUG, INFO, WARNING, ERROR or CRITICAL, not {text:?}"));
                LevelFilter::Info
            }
        }
    }

    /// A path, or a URL of SQLite: three slashes are followed by a relative path, four by an absolute one.
    fn database(&mut self) -> String {
        let text = self.text("DATABASE_URL");
        let Some((scheme, rest)) = text.split_once("://") else { return text };
        match rest.strip_prefix('/') {
            Some(path) if matches!(scheme, "sqlite" | "sqlite+aiosqlite" | "sqlite+pysqlite") && !path.is_empty() => path.to_string(),
            _ => {
                self.faults.push(format!("DATABASE_URL must be a path or sqlite:///path, not {text:?}"));
                text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
    }

    fn faults(env: &[(&str, &str)]) -> Vec<String> {
        Config::load(&[], pairs(env), None).err().unwrap_or_default()
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_dotenv() {
        let dotenv = "# comment\n\nserver_port=1\nexport SERVER_HOST = \"::1\" # here\nAPP_NAME='a # b'\nLOG_LEVEL=debug # loud\n";
        let config = Config::load(
            &pairs(&[("server-port", "3")]),
            pairs(&[("Server_Port", "2"), ("app_env", "test")]),
            Some(&Dotenv::parse(".env", dotenv.as_bytes())),
        );
        let config = config.unwrap_or_else(|f| panic!("{f:?}"));
        assert_eq!((config.server_port, config.server_host.as_str(), config.app_name.as_str()), (3, "::1", "a # b"));
        assert_eq!((config.app_env.as_str(), config.log_level), ("test", LevelFilter::Debug));
    }

    #[test]
    fn an_empty_variable_hides_nothing_that_the_file_says() {
        let file = Dotenv::parse(".env", b"DATA_DIR=/srv/x\nSERVER_PORT=9000\nLOG_FILE=/srv/log\nAPP_NAME=\n");
        let env = pairs(&[("DATA_DIR", ""), ("SERVER_PORT", " \t"), ("LOG_FILE", ""), ("APP_NAME", "set"), ("SERVER_HOST", "")]);
        let config = Config::load(&[], env, Some(&file)).unwrap_or_else(|f| panic!("{f:?}"));
        assert_eq!((config.data_dir, config.server_port, config.log_file), (PathBuf::from("/srv/x"), 9000, None));
        assert_eq!((config.app_name.as_str(), config.server_host.as_str()), ("set", ""));
        for env in [[("app_name", "b"), ("APP_NAME", "a")], [("APP_NAME", "a"), ("app_name", "b")]] {
            assert_eq!(Config::load(&[], pairs(&env), None).map(|c| c.app_name).unwrap_or_default(), "a");
        }
    }

    #[test]
    fn every_setting_is_told_and_no_secret_is() {
        let given = [
            ("METRICS_TOKEN", "a-secret-of-the-metrics"),
            ("TRUSTED_PROXIES", "10.0.0.0/8"),
            ("AUTH_SECRET_KEY", "a-secret-key-of-sessions"),
        ];
        let told = Config::load(&[], pairs(&given), None).unwrap_or_else(|f| panic!("{f:?}")).told();
        assert!(told.iter().all(|(_, value)| value != "(not told)" && !value.contains("a-secret")), "{told:?}");
        assert!(told.contains(&("TRUSTED_PROXIES", "10.0.0.0/8".into())) && told.contains(&("METRICS_TOKEN", "(set)".into())), "{told:?}");
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let bad = [
            ("SERVER_PORT", "70000"),
            ("AUTH_COOKIE_SECURE", "maybe"),
            ("LOG_LEVEL", "loud"),
            ("DATABASE_URL", "postgres://x/y"),
            ("NODE_CERT_VALIDITY_DAYS", "0"),
            ("TLS", "maybe"),
            ("TLS_NAMES", "a b"),
            ("TLS_KEY_FILE", "key.pem"),
            ("TRUSTED_PROXIES", "10.0.0.1, proxy"),
            ("BASE_PATH", "mesh"),
            ("HTTP_IDLE_SECONDS", "0"),
            ("ADVERTISE_ADDRESSES", "cp.example:443, https://cp.example"),
        ];
        let found = Config::load(&[], pairs(&bad), Some(&Dotenv::parse(".env", b"what\nA B=1\nX=\"open"))).err().unwrap_or_default();
        for part in [
            ".env line 1",
            ".env line 2",
            ".env line 3",
            "SERVER_PORT",
            "AUTH_COOKIE_SECURE",
            "LOG_LEVEL",
            "DATABASE_URL",
            "NODE_CERT_VALIDITY_DAYS",
            "TLS must",
            "TLS_NAMES",
            "TLS_CERT_FILE",
            "TRUSTED_PROXIES",
            "BASE_PATH",
            "HTTP_IDLE_SECONDS",
            "ADVERTISE_ADDRESSES",
        ] {
            assert_eq!(found.iter().filter(|f| f.starts_with(part)).count(), 1, "{part}: {found:?}");
        }
        assert_eq!(found.len(), 15, "{found:?}");
        let found = Config::load(&pairs(&[("data-dir", " ")]), [], None).err().unwrap_or_default();
        assert_eq!(found, ["DATA_DIR must not be empty"]);
    }

    #[test]
    fn production_wants_real_keys_and_a_secure_cookie() {
        assert_eq!(faults(&[("APP_ENV", "Production")]).len(), 3);
        let key = "0123456789abcdef0123456789abcdef";
        let good = [("APP_ENV", "prod"), ("AUTH_SECRET_KEY", key), ("CLUSTER_SIGNING_KEY", key), ("AUTH_COOKIE_SECURE", "true")];
        assert_eq!(faults(&good), [""; 0]);
        for (i, bad) in [(1, "short"), (1, "change-me-change-me-change-me-change-me"), (2, ""), (3, "false")] {
            let mut env = good;
            env[i].1 = bad;
            let found = faults(&env);
            assert!(found.len() == 1 && found[0].starts_with(env[i].0), "{found:?}");
        }
        for (host, refused) in
            [("", true), ("0.0.0.0", true), ("8.8.8.8", true), ("::", true), ("127.0.0.1", false), ("10.1.2.3", false), ("[::1]", false)]
        {
            let found = faults(&[&good[..], &[("TLS", "off"), ("SERVER_HOST", host)]].concat());
            assert_eq!(found.iter().any(|f| f.starts_with("TLS must not be off")), refused, "{host}: {found:?}");
        }
    }

    #[test]
    fn the_database_is_a_path_or_a_url_of_sqlite() {
        for (url, path) in [
            ("sqlite+aiosqlite:///./data/app.db", "./data/app.db"),
            ("sqlite:////var/lib/x.db", "/var/lib/x.db"),
            ("x.db", "x.db"),
            ("", "data/app.db"),
        ] {
            let config = Config::load(&[], pairs(&[("DATABASE_URL", url)]), None).unwrap_or_else(|f| panic!("{f:?}"));
            assert_eq!(config.database_path, PathBuf::from(path), "{url}");
        }
    }
}
