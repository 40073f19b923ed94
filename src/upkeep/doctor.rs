//! Examines a control plane: its configuration, keys, certificates, database, backups and nodes. A running one examines
//! itself; its data can also be examined from outside, whether it runs or not. Nothing is changed.

mod cluster;

use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::control::Control;
use crate::control::trust::tls;
use crate::crypto::pki::{self, CLUSTER, Ca, Kind, SERVER};
use crate::error::{Chain, Error, Result};
use crate::model::backups::Drill;
use crate::model::findings::Finding;
use crate::model::local;
use crate::store::health::{self, DatabaseCheck};
use crate::store::{Read, WAL_BYTES_WARN};
use crate::sys::doctor;
use crate::upkeep::backups;
use std::fs;
use std::path::{Path, PathBuf};

/// Minimum remaining days of an authority: every node must get the next one before it ends.
const CA_DAYS_LOW: i64 = 180;
/// Minimum remaining days of the operator's own server certificate: whatever renews it should have done so.
const SERVER_DAYS_LOW: i64 = 14;
/// Maximum age of the newest backup, in days; an older one means that no more are created.
const BACKUP_DAYS_OLD: i64 = 8;
/// The data from the database.
struct Seen {
    faults: Vec<String>,
    version: i64,
    /// Data from tables of this program's version.
    cluster: Option<cluster::Cluster>,
}

fn see(read: &Read) -> Result<Seen> {
    let faults = health::faults(read)?;
    let version = health::version(read)?;
    let mut seen = Seen { faults, version, cluster: None };
    if seen.faults.is_empty() && version == health::version_known() {
        seen.cluster = Some(cluster::read(read)?);
    }
    Ok(seen)
}

/// Examines a running control plane from inside.
pub fn of_running(control: &Control) -> Vec<Finding> {
    let mut findings = doctor::machine(&control.config.data_dir);
    let names = control.tls.as_ref().map(tls::Tls::names);
    findings.push(Finding::ok("server", format!("it runs and listens at {}", control.listening)));
    findings.extend(of(&control.config, true, control.store.read(see)));
    if let Some(names) = names {
        findings.push(Finding::ok("certificates.names", format!("over TLS it answers to: {}", names.join(", "))));
    }
    findings
}

/// Examines the data of a control plane from outside; `runs` is true if a server is using it.
pub fn of_data(config: &Config, runs: bool) -> Vec<Finding> {
    let mut findings = doctor::machine(&config.data_dir);
    let seen = match config.database_path.exists() {
        true => DatabaseCheck::open(&config.database_path).and_then(|database| database.read(see)),
        false => Err(Error::NotFound(format!("there is no database at {}", config.database_path.display()))),
    };
    findings.extend(of(config, runs, seen));
    findings
}

fn of(config: &Config, runs: bool, seen: Result<Seen>) -> Vec<Finding> {
    let mut findings = vec![strictness(config), doctor::private("files.keys", &config.data_dir, &secrets(config))];
    findings.extend(authorities(config));
    findings.push(server_certificate(config));
    findings.push(newest_backup(config));
    findings.push(wal(config));
    match seen {
        Ok(seen) => {
            findings.extend(database(config, &seen, runs));
            match &seen.cluster {
                Some(cluster) => {
                    findings.extend(cluster::examine(cluster, runs));
                    findings.push(cluster::proxies(config, cluster));
                }
                None => findings
                    .push(Finding::skipped("nodes", "not checked: the database must be sound and up to date first")),
            }
        }
        Err(e) => {
            let to_do = format!(
                "if this is the right place ({}), restore a backup: uptimemesh backup restore --help",
                config.database_path.display()
            );
            findings.push(Finding::fail("database", Chain(&e).to_string(), to_do));
        }
    }
    findings
}

/// Result of the checks for production. A configuration that does not even load is reported by its loader.
fn strictness(config: &Config) -> Finding {
    const CHECK: &str = "config";
    match config.is_production() {
        true => Finding::ok(CHECK, "it is sound, and strict (APP_ENV is production)"),
        false => Finding::ok(
            CHECK,
            format!("it is sound; the strict checks of production are off (APP_ENV={})", config.app_env),
        ),
    }
}

/// Files and directories that only their owner may read.
fn secrets(config: &Config) -> Vec<PathBuf> {
    let mut paths = vec![
        config.data_dir.clone(),
        config.data_dir.join("keys"),
        config.pki_dir.clone(),
        config.data_dir.join(local::FILE),
    ];
    let inside = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
    paths.extend(["", "-wal", "-shm"].map(|end| {
        let mut file = config.database_path.clone().into_os_string();
        file.push(end);
        PathBuf::from(file)
    }));
    paths.extend(inside(&config.data_dir.join("keys")));
    for kind in [&CLUSTER, &SERVER] {
        paths.extend(["", "previous", "next"].iter().map(|dir| config.pki_dir.join(dir).join(kind.key)));
    }
    for identity in inside(&config.data_dir.join("identities")) {
        paths.extend(["node.key", "lease.token"].map(|name| identity.join(name)));
    }
    paths.extend(config.tls_files.iter().map(|(_, key)| key.clone()));
    paths.push(config.backup_dir.clone());
    paths.extend(config.backup_passphrase_file.clone());
    paths
}

fn days_left(ends: Timestamp) -> i64 {
    (ends.secs() - clock::now().secs()).div_euclid(86_400)
}

/// One of the authorities.
fn authority(config: &Config, check: &'static str, kind: &Kind, name: &str) -> Finding {
    let dir = &config.pki_dir;
    let (key, cert) = (dir.join(kind.key), dir.join(kind.cert));
    let restore = "restore it from a backup: uptimemesh backup restore --help";
    if let Err(e) = key.try_exists() {
        return Finding::fail(
            check,
            format!("cannot examine {}: {e}", dir.display()),
            "give it to the owner of the data directory: chown -R",
        );
    }
    match (key.exists(), cert.exists()) {
        (false, false) => Finding::skipped(check, "not created yet; the first start creates it"),
        (true, true) => match Ca::load(dir, kind) {
            Ok(Some(ca)) => {
                let validity = pki::validity(ca.cert_pem());
                Finding::validity(check, name, validity, clock::now(), CA_DAYS_LOW, "uptimemesh ca rotate --wait")
            }
            Ok(None) => Finding::skipped(check, "not created yet; the first start creates it"),
            Err(e) => Finding::fail(check, Chain(&e).to_string(), restore),
        },
        (has_key, _) => {
            let (here, gone) = if has_key { (&key, &cert) } else { (&cert, &key) };
            Finding::fail(check, format!("{} exists, but {} does not", here.display(), gone.display()), restore)
        }
    }
}

/// The authorities, and the progress of a rotation.
fn authorities(config: &Config) -> Vec<Finding> {
    let dir = &config.pki_dir;
    let mut findings = vec![
        authority(config, "certificates.authority", &CLUSTER, "the node authority"),
        authority(config, "certificates.people", &SERVER, "the server authority"),
    ];
    let has = |name: &str| dir.join(name).join(CLUSTER.cert).exists();
    findings.push(match (has("next"), has("previous")) {
        (true, _) => Finding::warn(
            "certificates.rotation",
            "a rotation was interrupted",
            "start the server: it completes or discards the rotation; then uptimemesh ca show",
        ),
        (_, true) => {
            let to_do = "uptimemesh ca nodes; when all are up to date: uptimemesh ca drop-previous";
            Finding::warn(
                "certificates.rotation",
                "a rotation is in progress: the previous authority is still trusted",
                to_do,
            )
        }
        _ => Finding::ok("certificates.rotation", "no rotation is in progress"),
    });
    findings
}

/// The certificate that the server shows to browsers.
fn server_certificate(config: &Config) -> Finding {
    const CHECK: &str = "certificates.server";
    match (&config.tls_files, config.tls) {
        (_, false) => Finding::skipped(CHECK, "TLS is off: the proxy in front of the server has the certificate"),
        (None, true) => Finding::ok(CHECK, "the server authority issues it at each start, and again before it expires"),
        (Some((chain, key)), true) => {
            let to_do = format!(
                "renew it, and put chain and key in {} and {}; the server rereads them by itself",
                chain.display(),
                key.display()
            );
            match tls::own_certificate(chain, key) {
                Ok(pem) => Finding::validity(
                    CHECK,
                    "the certificate in TLS_CERT_FILE",
                    pki::validity(&pem),
                    clock::now(),
                    SERVER_DAYS_LOW,
                    &to_do,
                ),
                Err(e) => Finding::fail(CHECK, Chain(&e).to_string(), to_do),
            }
        }
    }
}

/// The newest backup, and the result of the last restore drill.
fn newest_backup(config: &Config) -> Finding {
    const CHECK: &str = "backups";
    let make = "uptimemesh backup create; and keep copies on another machine";
    match backups::newest(config) {
        Err(e) => Finding::fail(CHECK, Chain(&e).to_string(), "let the server's user read the directory of BACKUP_DIR"),
        Ok(None) => Finding::warn(CHECK, format!("there is none in {}", config.backup_dir.display()), make),
        Ok(Some(newest)) => {
            let at = newest.created_at;
            if let Ok(Some(Drill { problem: Some(why), backup_id, .. })) = backups::last_drill(config) {
                let to_do =
                    "uptimemesh backup verify FILE shows what is wrong; create a new one: uptimemesh backup create";
                return Finding::warn(
                    CHECK,
                    format!("the newest is from {at}, and the restore drill of {backup_id} failed: {why}"),
                    to_do,
                );
            }
            match -days_left(at) {
                days if days > BACKUP_DAYS_OLD => {
                    Finding::warn(CHECK, format!("the newest is from {at}, {days} days ago"), make)
                }
                _ => Finding::ok(CHECK, format!("the newest is from {at}")),
            }
        }
    }
}

fn wal(config: &Config) -> Finding {
    let mut path = config.database_path.clone().into_os_string();
    path.push("-wal");
    let bytes = fs::metadata(&path).map_or(0, |m| m.len());
    let seen = format!("the write-ahead log has {} MiB", bytes >> 20);
    match bytes > WAL_BYTES_WARN {
        true => Finding::warn("database.wal", seen + ": a reader may be stuck", "systemctl restart uptimemesh"),
        false => Finding::ok("database.wal", seen),
    }
}

fn database(config: &Config, seen: &Seen, runs: bool) -> Vec<Finding> {
    let path = config.database_path.display();
    let bytes = fs::metadata(&config.database_path).map_or(0, |m| m.len());
    let whole = match seen.faults.first() {
        None => Finding::ok("database.integrity", format!("{path} is sound ({} MiB)", bytes >> 20)),
        Some(fault) => {
            let to_do =
                "stop the server and restore a backup: systemctl stop uptimemesh; uptimemesh backup restore --help";
            Finding::fail("database.integrity", format!("{path} is damaged: {fault}"), to_do)
        }
    };
    let known = health::version_known();
    let version = match seen.version {
        version if version == known => {
            Finding::ok("database.version", format!("it is at version {version}, as this program"))
        }
        version if version > known => {
            let seen = format!("it is at version {version}, this program supports up to {known}");
            Finding::fail(
                "database.version",
                seen,
                "start the newer uptimemesh, or restore a backup made before the upgrade: uptimemesh backup restore \
                    --help",
            )
        }
        version if runs => {
            let seen = format!("it is at version {version}, this program is at {known}, and an older one is running");
            Finding::warn("database.version", seen, "systemctl restart uptimemesh")
        }
        version => Finding::ok(
            "database.version",
            format!("it is at version {version}; the next start migrates it to {known}"),
        ),
    };
    vec![whole, version]
}
