//! Configuration: flags override the environment, which overrides `.env`. A setting is a row of `rows` and the field
//! that it fills; `read` parses values.

mod dotenv;
mod read;
mod rows;

pub use self::dotenv::{Dotenv, is_known, is_unset, nearest_setting};
use self::read::Reader;
pub use self::rows::{SETTINGS, Setting};
use crate::crypto;
use crate::error::{Error, Result};
use crate::files;
use crate::model::address::{Network, is_private};
use log::LevelFilter;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Minimum length in characters of a key in production, and of one read from a file.
const KEY_CHARS_MIN: usize = 32;

/// Default of HTTP_REQUESTS_PER_SECOND_MAX. A higher value raises other limits in proportion.
pub const REQUESTS_PER_SECOND: i64 = 500;

/// Lowest level that is logged.
#[derive(Clone, Copy)]
pub struct LogLevel(pub LevelFilter);

impl Default for LogLevel {
    fn default() -> LogLevel {
        LogLevel(LevelFilter::Info)
    }
}

/// A key, or none yet. Has neither Debug nor Display, because a key must not reach a log.
#[derive(Clone, Default)]
pub struct Secret(Option<Vec<u8>>);

impl Secret {
    /// The key's bytes.
    pub fn expose(&self) -> &[u8] {
        self.0.as_deref().expect("the server fills its keys before it starts anything that uses them")
    }

    /// A key. An empty text or an example's key counts as none; the server then generates one.
    pub fn new(text: &str) -> Secret {
        let text = text.trim();
        Secret((!text.is_empty() && !is_placeholder(text)).then(|| text.as_bytes().to_vec()))
    }
}

/// The server's configuration.
#[derive(Clone, Default)]
pub struct Config {
    /// Name reported by `/version`.
    pub app_name: String,
    /// `dev`, `prod`, ...
    pub app_env: String,
    /// Directory of all data of the server.
    pub data_dir: PathBuf,
    /// The SQLite file.
    pub database_path: PathBuf,
    /// Address to listen on; empty for all of IPv6 and IPv4.
    pub server_host: String,
    /// Addresses that others reach the server by, most likely first, with a port if it differs from the server's; empty
    /// to detect them.
    pub advertised: Vec<(String, Option<u16>)>,
    /// Port to listen on; 0 picks a free one.
    pub server_port: u16,
    /// True to speak TLS; otherwise plain HTTP only, for a proxy that ends TLS.
    pub tls: bool,
    /// Additional names and addresses for the server's certificate.
    pub tls_names: Vec<String>,
    /// The operator's own certificate chain and key.
    pub tls_files: Option<(PathBuf, PathBuf)>,
    /// Proxies that are trusted to name their clients.
    pub trusted_proxies: Vec<Network>,
    /// Path below which a proxy serves this server, `/mesh`; empty for none.
    pub base_path: String,
    /// Lowest level that is logged.
    pub log_level: LogLevel,
    /// Log file beside stderr.
    pub log_file: Option<PathBuf>,
    /// True to log every database query.
    pub log_db_queries: bool,
    /// True to log query parameters too.
    pub log_db_query_params: bool,
    /// Maximum length of a logged query in characters.
    pub log_sql_chars_max: usize,
    /// Key that signs sessions.
    pub auth_secret_key: Secret,
    /// True to restrict the session cookie to HTTPS.
    pub auth_cookie_secure: bool,
    /// Lifetime of a session in seconds.
    pub auth_session_ttl_s: i64,
    /// Seconds after which an unused session ends.
    pub auth_session_idle_s: i64,
    /// Key that signs lease tokens.
    pub cluster_signing_key: Secret,
    /// Directory of the certificate authority.
    pub pki_dir: PathBuf,
    /// Validity of a node certificate in days.
    pub node_cert_validity_days: i64,
    /// Validity of a lease token in seconds.
    pub lease_token_ttl_s: i64,
    /// Allowed clock skew of a node in seconds.
    pub heartbeat_skew_s: i64,
    /// Seconds that a first start waits for an implausible clock to be corrected.
    pub clock_wait_s: i64,
    /// Token of metrics collectors; `None` allows collecting from this machine only.
    pub metrics_token: Option<Secret>,
    /// Directory of the backups.
    pub backup_dir: PathBuf,
    /// File with the passphrase for backups.
    pub backup_passphrase_file: Option<PathBuf>,
    /// The passphrase itself, if it is not in a file.
    pub backup_passphrase: Option<Secret>,
    /// True to back up before a migration of the database.
    pub backup_before_upgrade: bool,
    /// Connections in total; `None` derives it from the limit of open files.
    pub connections_max: Option<usize>,
    /// Connections per address.
    pub connections_per_address_max: usize,
    /// Seconds that an idle connection is kept.
    pub idle_s: i64,
    /// Requests per second of a signed-in caller.
    pub requests_per_second_max: i64,
    /// Sentences about ambiguous lines of the settings file.
    pub notes: Vec<String>,
}

impl Config {
    /// A configuration for embedding and tests: everything below one directory, a free port of 127.0.0.1, and only
    /// warnings on stderr.
    ///
    /// Nothing is read from the environment, and no file is touched before the server starts.
    pub fn for_dir(dir: &Path) -> Config {
        let dir = dir.to_string_lossy().into_owned();
        let given = [
            ("DATA_DIR", dir.as_str()),
            ("SERVER_HOST", "127.0.0.1"),
            ("SERVER_PORT", "0"),
            ("LOG_LEVEL", "WARNING"),
            ("LOG_FILE", ""),
        ];
        let given: BTreeMap<_, _> = given.into_iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        Config::of(&given).unwrap_or_else(|faults| unreachable!("these settings are sound: {faults:?}"))
    }

    /// Reads the configuration from `flags` such as `("server-port", "8000")`, the process's `env`, and the content of
    /// `.env`. Fails with every fault at once, each a sentence.
    pub fn load(
        flags: &[(String, String)],
        env: impl IntoIterator<Item = (String, String)>,
        dotenv: Option<&Dotenv>,
    ) -> std::result::Result<Config, Vec<String>> {
        let mut faults = dotenv.map(|file| file.faults.clone()).unwrap_or_default();
        let mut given = dotenv.map(|file| file.values.clone()).unwrap_or_default();
        // Of names that differ only in case, the upper-case one wins.
        let mut env: Vec<(String, String)> = env.into_iter().collect();
        env.sort_by_key(|(name, _)| !name.bytes().any(|b| b.is_ascii_lowercase()));
        for (name, value) in env {
            let name = name.to_ascii_uppercase();
            if !(is_unset(&name, &value) && given.contains_key(&name)) {
                given.insert(name, value);
            }
        }
        for (flag, value) in flags {
            // A variable left unset by a script must not select the default directory, which may hold a cluster.
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
        let (mut config, mut read) = (Config::default(), Reader::new(given));
        for setting in SETTINGS {
            read.setting(setting, &mut config);
        }
        let mut faults = read.faults;
        faults.extend(config.production_faults(given));
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }

    /// Every effective setting in table order; for a secret only whether it is set.
    pub fn effective(&self) -> Vec<(&'static str, String)> {
        let mut copy = self.clone();
        SETTINGS.iter().map(|setting| (setting.name, setting.show(&mut copy))).collect()
    }

    /// Keeps the backup passphrase from this file's text, so that a user who may not read the file need not.
    pub fn keep_backup_passphrase(&mut self, text: &str) {
        self.backup_passphrase = Some(Secret(Some(text.trim_end_matches(['\r', '\n']).as_bytes().to_vec())));
        self.backup_passphrase_file = None;
    }

    /// True if the strict checks of production apply.
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
                "is a well-known placeholder"
            } else if key.chars().count() < KEY_CHARS_MIN {
                "is too short"
            } else {
                continue;
            };
            faults.push(format!(
                "{name} {why}: in production it must have at least {KEY_CHARS_MIN} random characters (try: openssl \
                    rand -hex 32)"
            ));
        }
        let reached = self.server_host.trim_matches(['[', ']']).parse::<IpAddr>();
        if !self.tls && !reached.is_ok_and(is_private) && self.server_host != "localhost" {
            let host = if self.server_host.is_empty() { "not set" } else { &self.server_host };
            faults.push(format!(
                "TLS must not be off in production while SERVER_HOST is {host}: listen on 127.0.0.1 or a private \
                    address, or leave TLS on"
            ));
        }
        if !self.auth_cookie_secure {
            faults.push("AUTH_COOKIE_SECURE must be true in production".to_string());
        }
        faults
    }

    /// Outside production, generates missing keys once and reads them at later starts, so that sessions and leases
    /// survive a restart.
    pub fn fill_keys(&mut self) -> Result<()> {
        let dir = self.data_dir.join("keys");
        for (secret, name) in
            [(&mut self.auth_secret_key, "auth-secret.key"), (&mut self.cluster_signing_key, "cluster-signing.key")]
        {
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
                "{} is damaged: restore it from a backup, or remove it (all users must sign in again and all nodes \
                    must join again)",
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

/// True if the key is an example's.
fn is_placeholder(key: &str) -> bool {
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    ["changeme", "changethis", "replaceme", "placeholder", "insecure", "devsecret"]
        .iter()
        .any(|word| plain.contains(word))
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
        let dotenv = "# comment\n\nserver_port=1\nexport SERVER_HOST = \"::1\" # here\nAPP_NAME='a # \
            b'\nLOG_LEVEL=debug # loud\n";
        let config = Config::load(
            &pairs(&[("server-port", "3")]),
            pairs(&[("Server_Port", "2"), ("app_env", "test")]),
            Some(&Dotenv::parse(".env", dotenv.as_bytes())),
        );
        let config = config.unwrap_or_else(|f| panic!("{f:?}"));
        assert_eq!((config.server_port, config.server_host.as_str(), config.app_name.as_str()), (3, "::1", "a # b"));
        assert_eq!((config.app_env.as_str(), config.log_level.0), ("test", LevelFilter::Debug));
    }

    #[test]
    fn an_empty_variable_hides_nothing_that_the_file_says() {
        let file = Dotenv::parse(".env", b"DATA_DIR=/srv/x\nSERVER_PORT=9000\nLOG_FILE=/srv/log\nAPP_NAME=\n");
        let env = pairs(&[
            ("DATA_DIR", ""),
            ("SERVER_PORT", " \t"),
            ("LOG_FILE", ""),
            ("APP_NAME", "set"),
            ("SERVER_HOST", ""),
        ]);
        let config = Config::load(&[], env, Some(&file)).unwrap_or_else(|f| panic!("{f:?}"));
        assert_eq!((config.data_dir, config.server_port, config.log_file), (PathBuf::from("/srv/x"), 9000, None));
        assert_eq!((config.app_name.as_str(), config.server_host.as_str()), ("set", ""));
        for env in [[("app_name", "b"), ("APP_NAME", "a")], [("APP_NAME", "a"), ("app_name", "b")]] {
            assert_eq!(Config::load(&[], pairs(&env), None).map(|c| c.app_name).unwrap_or_default(), "a");
        }
    }

    #[test]
    fn every_default_is_sound_and_told_as_it_is() {
        let config = Config::load(&[], [], None).unwrap_or_else(|f| panic!("{f:?}"));
        assert_eq!(config.requests_per_second_max, REQUESTS_PER_SECOND);
        for (setting, (name, shown)) in SETTINGS.iter().zip(config.effective()) {
            assert_eq!(setting.name, name);
            let default = setting.default.replace("DATA_DIR/", "data/");
            let shown = if setting.is_secret() && shown == "(not set)" { String::new() } else { shown };
            assert!(shown == default || (shown == "true" && default == "on"), "{name}: {shown:?} for {default:?}");
        }
    }

    #[test]
    fn bounds_stand_in_the_help() {
        for setting in SETTINGS {
            assert!(!setting.help().contains(['{', '}']), "{}", setting.help());
        }
        let help =
            |name: &str| SETTINGS.iter().find(|setting| setting.name == name).map(Setting::help).unwrap_or_default();
        assert_eq!(help("NODE_CERT_VALIDITY_DAYS"), "lifetime of a node's certificate in days, 1 to 825");
        assert_eq!(
            help("HTTP_CONNECTIONS_MAX"),
            "most connections, 16 to 100000; default: from the limit of open files, at most 16384"
        );
    }

    #[test]
    fn every_setting_is_told_and_no_secret_is() {
        let given = [
            ("METRICS_TOKEN", "a-secret-of-the-metrics"),
            ("TRUSTED_PROXIES", "10.0.0.0/8"),
            ("AUTH_SECRET_KEY", "a-secret-key-of-sessions"),
        ];
        let shown = Config::load(&[], pairs(&given), None).unwrap_or_else(|f| panic!("{f:?}")).effective();
        assert!(shown.iter().all(|(_, value)| value != "(not shown)" && !value.contains("a-secret")), "{shown:?}");
        assert!(
            shown.contains(&("TRUSTED_PROXIES", "10.0.0.0/8".into()))
                && shown.contains(&("METRICS_TOKEN", "(set)".into())),
            "{shown:?}"
        );
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
        let found = Config::load(&[], pairs(&bad), Some(&Dotenv::parse(".env", b"what\nA B=1\nX=\"open")))
            .err()
            .unwrap_or_default();
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
        let good = [
            ("APP_ENV", "prod"),
            ("AUTH_SECRET_KEY", key),
            ("CLUSTER_SIGNING_KEY", key),
            ("AUTH_COOKIE_SECURE", "true"),
        ];
        assert_eq!(faults(&good), [""; 0]);
        for (i, bad) in [(1, "short"), (1, "change-me-change-me-change-me-change-me"), (2, ""), (3, "false")] {
            let mut env = good;
            env[i].1 = bad;
            let found = faults(&env);
            assert!(found.len() == 1 && found[0].starts_with(env[i].0), "{found:?}");
        }
        for (host, refused) in [
            ("", true),
            ("0.0.0.0", true),
            ("8.8.8.8", true),
            ("::", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("[::1]", false),
        ] {
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
