//! Every setting: name, default, help, kind with bounds, and the field of [`Config`] that it fills.

use super::read::Reader;
use super::{Config, Secret};
use crate::model::address::at_port;
use Kind::{File, Flag, Hidden, Int, Key, Own, Path, Text};
use log::LevelFilter;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// One setting.
pub struct Setting {
    /// Its name in the environment and in `.env`; its flag is the same in lower case with dashes.
    pub name: &'static str,
    /// Default value as text; empty for none.
    pub default: &'static str,
    /// Help text with the unit; `{bounds}` stands for the bounds of a number.
    help: &'static str,
    pub(super) kind: Kind,
}

/// Type of a value and the field that it fills.
pub(super) enum Kind {
    /// Any text.
    Text(fn(&mut Config) -> &mut String),
    /// True or false.
    Flag(fn(&mut Config) -> &mut bool),
    /// A whole number within these bounds.
    Int(RangeInclusive<i64>, fn(&mut Config) -> Number<'_>),
    /// A path. One that begins with `DATA_DIR/` is below that directory.
    Path(fn(&mut Config) -> &mut PathBuf),
    /// An optional file path.
    File(fn(&mut Config) -> &mut Option<PathBuf>),
    /// A key. The server generates a missing one.
    Key(fn(&mut Config) -> &mut Secret),
    /// An optional secret.
    Hidden(fn(&mut Config) -> &mut Option<Secret>),
    /// A special form: how it is read and how it is shown.
    Own(fn(&mut Reader, &Setting, &mut Config), fn(&Config) -> String),
}

/// The field of a number.
pub(super) enum Number<'c> {
    I64(&'c mut i64),
    Usize(&'c mut usize),
    U16(&'c mut u16),
    /// `None` if no value is given.
    OptionalUsize(&'c mut Option<usize>),
}

impl Number<'_> {
    /// Sets the field; the setting's bounds keep the number within those of the field.
    pub(super) fn set(self, n: i64) {
        match self {
            Number::I64(field) => *field = n,
            Number::Usize(field) => *field = n as usize,
            Number::U16(field) => *field = n as u16,
            Number::OptionalUsize(field) => *field = Some(n as usize),
        }
    }

    fn show(self) -> String {
        match self {
            Number::I64(field) => field.to_string(),
            Number::Usize(field) => field.to_string(),
            Number::U16(field) => field.to_string(),
            Number::OptionalUsize(field) => field.map(|n| n.to_string()).unwrap_or_default(),
        }
    }
}

impl Setting {
    /// True for a secret: it has no flag, because every user of the machine can read the arguments of a process.
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Key(_) | Hidden(_))
    }

    /// Help text with the unit and bounds.
    pub fn help(&self) -> String {
        match &self.kind {
            Int(bounds, _) => self.help.replace("{bounds}", &format!("{} to {}", bounds.start(), bounds.end())),
            _ => self.help.to_string(),
        }
    }

    /// The value in a configuration as text; for a secret only whether it is set.
    pub(super) fn show(&self, config: &mut Config) -> String {
        let set = |is_set: bool| if is_set { "(set)" } else { "(not set)" }.to_string();
        match &self.kind {
            Text(field) => field(config).clone(),
            Flag(field) => field(config).to_string(),
            Int(_, field) => field(config).show(),
            Path(field) => field(config).display().to_string(),
            File(field) => field(config).as_ref().map(|file| file.display().to_string()).unwrap_or_default(),
            Key(field) => set(field(config).0.is_some()),
            Hidden(field) => set(field(config).as_ref().is_some_and(|secret| secret.0.is_some())),
            Own(_, show) => show(config),
        }
    }
}

const fn setting(name: &'static str, default: &'static str, help: &'static str, kind: Kind) -> Setting {
    Setting { name, default, help, kind }
}

fn advertised(config: &Config) -> String {
    let text = |(host, port): &(String, Option<u16>)| port.map_or(host.clone(), |port| at_port(host, port));
    config.advertised.iter().map(text).collect::<Vec<_>>().join(",")
}

fn level(config: &Config) -> String {
    match config.log_level.0 {
        LevelFilter::Warn => "WARNING".to_string(),
        level => level.to_string(),
    }
}

/// Every setting of the server. `DATA_DIR` precedes the settings that depend on it.
pub const SETTINGS: &[Setting] = &[
    setting("APP_NAME", "UptimeMesh", "name of the cluster, shown on pages and in /version", Text(|c| &mut c.app_name)),
    setting("APP_ENV", "dev", "prod or production: strict checks at start", Text(|c| &mut c.app_env)),
    setting("DATA_DIR", "data", "directory of all data of the server", Path(|c| &mut c.data_dir)),
    setting(
        "DATABASE_URL",
        "DATA_DIR/app.db",
        "path of the SQLite database, or sqlite:///path",
        Own(|read, setting, c| read.database(setting, c), |c| c.database_path.display().to_string()),
    ),
    setting(
        "SERVER_HOST",
        "",
        "address to listen on, 0.0.0.0 for all of IPv4; empty: all of IPv6 and IPv4",
        Text(|c| &mut c.server_host),
    ),
    setting(
        "SERVER_PORT",
        "8000",
        "port to listen on; 0: any free port",
        Int(0..=65_535, |c| Number::U16(&mut c.server_port)),
    ),
    setting(
        "TLS",
        "on",
        "off: plain HTTP only, behind a proxy that speaks HTTPS",
        Own(|read, setting, c| c.tls = read.flag(setting), |c| if c.tls { "on" } else { "off" }.to_string()),
    ),
    setting(
        "ADVERTISE_ADDRESSES",
        "",
        "where others reach this server, instead of the addresses that it finds: hosts, optionally with ports, \
            comma-separated, the likeliest first",
        Own(|read, setting, c| read.advertised(setting, c), advertised),
    ),
    setting(
        "TLS_NAMES",
        "",
        "additional names and addresses of this server, comma-separated",
        Own(|read, setting, c| read.names(setting, c), |c| c.tls_names.join(",")),
    ),
    setting(
        "TLS_CERT_FILE",
        "",
        "certificate chain of your own (PEM); read again when it changes",
        Own(
            |read, setting, c| read.tls_files(setting, c),
            |c| c.tls_files.as_ref().map(|(cert, _)| cert.display().to_string()).unwrap_or_default(),
        ),
    ),
    // Read together with the certificate: neither is useful alone.
    setting(
        "TLS_KEY_FILE",
        "",
        "its private key (PEM)",
        Own(|_, _, _| (), |c| c.tls_files.as_ref().map(|(_, key)| key.display().to_string()).unwrap_or_default()),
    ),
    setting(
        "TRUSTED_PROXIES",
        "",
        "addresses or networks of proxies whose X-Forwarded-For, -Proto, -Host and -Prefix, or Forwarded, are trusted",
        Own(
            |read, setting, c| read.networks(setting, c),
            |c| c.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        ),
    ),
    setting(
        "BASE_PATH",
        "",
        "path below which a proxy serves this server, such as /mesh, whether or not the proxy strips it",
        Own(|read, setting, c| read.base_path(setting, c), |c| c.base_path.clone()),
    ),
    setting(
        "LOG_LEVEL",
        "INFO",
        "DEBUG, INFO, WARNING, ERROR or CRITICAL",
        Own(|read, setting, c| read.level(setting, c), level),
    ),
    setting(
        "LOG_FILE",
        "DATA_DIR/app.log",
        "log file in addition to stderr; empty: none",
        Own(
            |read, setting, c| read.log_file(setting, c),
            |c| c.log_file.as_ref().map(|file| file.display().to_string()).unwrap_or_default(),
        ),
    ),
    setting("LOG_DB_QUERIES", "false", "log every database query", Flag(|c| &mut c.log_db_queries)),
    setting(
        "LOG_DB_QUERY_PARAMS",
        "false",
        "log the parameters of database queries, too, without secrets",
        Flag(|c| &mut c.log_db_query_params),
    ),
    setting(
        "LOG_SQL_MAX_LENGTH",
        "400",
        "characters of a logged query, {bounds}",
        Int(50..=8000, |c| Number::Usize(&mut c.log_sql_chars_max)),
    ),
    setting(
        "AUTH_SECRET_KEY",
        "",
        "key that signs sessions; outside production created once in DATA_DIR/keys",
        Key(|c| &mut c.auth_secret_key),
    ),
    setting(
        "AUTH_COOKIE_SECURE",
        "false",
        "send the session cookie over HTTPS only",
        Flag(|c| &mut c.auth_cookie_secure),
    ),
    setting(
        "AUTH_SESSION_TTL_SECONDS",
        "43200",
        "lifetime of a session in seconds, {bounds}",
        Int(60..=2_592_000, |c| Number::I64(&mut c.auth_session_ttl_s)),
    ),
    setting(
        "AUTH_SESSION_IDLE_SECONDS",
        "7200",
        "seconds after which an unused session ends, {bounds}",
        Int(60..=2_592_000, |c| Number::I64(&mut c.auth_session_idle_s)),
    ),
    setting(
        "CLUSTER_SIGNING_KEY",
        "",
        "key that signs lease tokens; outside production created once in DATA_DIR/keys",
        Key(|c| &mut c.cluster_signing_key),
    ),
    setting("CLUSTER_PKI_DIR", "DATA_DIR/pki", "directory of the certificate authority", Path(|c| &mut c.pki_dir)),
    setting(
        "NODE_CERT_VALIDITY_DAYS",
        "30",
        "lifetime of a node's certificate in days, {bounds}",
        Int(1..=825, |c| Number::I64(&mut c.node_cert_validity_days)),
    ),
    setting(
        "CLUSTER_LEASE_TOKEN_TTL_SECONDS",
        "86400",
        "lifetime of a lease token in seconds, {bounds}",
        Int(60..=2_592_000, |c| Number::I64(&mut c.lease_token_ttl_s)),
    ),
    setting(
        "HEARTBEAT_SIGNATURE_MAX_SKEW_SECONDS",
        "30",
        "largest error of a node's clock in seconds, {bounds}",
        Int(1..=3600, |c| Number::I64(&mut c.heartbeat_skew_s)),
    ),
    setting(
        "CLOCK_WAIT_SECONDS",
        "600",
        "longest wait of a first start, in seconds, for a clock that is behind the program's date, {bounds}",
        Int(0..=86_400, |c| Number::I64(&mut c.clock_wait_s)),
    ),
    setting(
        "METRICS_TOKEN",
        "",
        "bearer token for GET /metrics from other machines; this machine needs none",
        Hidden(|c| &mut c.metrics_token),
    ),
    setting("BACKUP_DIR", "DATA_DIR/backups", "directory of backups", Path(|c| &mut c.backup_dir)),
    setting(
        "BACKUP_PASSPHRASE_FILE",
        "",
        "file with the passphrase that encrypts backups",
        File(|c| &mut c.backup_passphrase_file),
    ),
    setting(
        "UPTIMEMESH_BACKUP_PASSPHRASE",
        "",
        "passphrase that encrypts backups",
        Hidden(|c| &mut c.backup_passphrase),
    ),
    setting(
        "BACKUP_BEFORE_UPGRADE",
        "on",
        "off: upgrade the database without a backup",
        Flag(|c| &mut c.backup_before_upgrade),
    ),
    setting(
        "HTTP_CONNECTIONS_MAX",
        "",
        "most connections, {bounds}; default: from the limit of open files, at most 16384",
        Int(16..=100_000, |c| Number::OptionalUsize(&mut c.connections_max)),
    ),
    setting(
        "HTTP_CONNECTIONS_PER_ADDRESS_MAX",
        "64",
        "most connections of one address, {bounds}",
        Int(1..=100_000, |c| Number::Usize(&mut c.connections_per_address_max)),
    ),
    setting(
        "HTTP_IDLE_SECONDS",
        "75",
        "seconds that an idle connection is kept, {bounds}; set it above your proxy's: usually 60, Google Cloud 600",
        Int(1..=86_400, |c| Number::I64(&mut c.idle_s)),
    ),
    setting(
        "HTTP_REQUESTS_PER_SECOND_MAX",
        "500",
        "requests a second of one signed-in caller, {bounds}; bursts of ten times that",
        Int(1..=1_000_000, |c| Number::I64(&mut c.requests_per_second_max)),
    ),
];
