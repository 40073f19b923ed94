//! Examines a control plane: its configuration, keys, certificates, database, backups and nodes. A running one examines
//! itself; its data can also be examined from outside, whether it runs or not. Nothing is changed.

use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::control::fleet::lookalikes;
use crate::control::trust::tls;
use crate::control::{Control, limits};
use crate::crypto::pki::{self, CLUSTER, Ca, Kind, SERVER};
use crate::error::{Chain, Error, Result};
use crate::model::Paging;
use crate::model::backups::Drill;
use crate::model::events::catalogue::PROXY_UNNAMED;
use crate::model::events::{Event, EventFilter};
use crate::model::findings::Finding;
use crate::model::ids::NodeId;
use crate::model::leases::LeaseState;
use crate::model::local;
use crate::model::status_keys;
use crate::store::health::{self, DatabaseCheck};
use crate::store::{Read, WAL_BYTES_WARN, events, leases, node_runs, nodes, users};
use crate::sys::doctor;
use crate::upkeep::backups;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Minimum remaining days of an authority: every node must get the next one before it ends.
const CA_DAYS_LOW: i64 = 180;
/// Minimum remaining days of the operator's own server certificate: whatever renews it should have done so.
const SERVER_DAYS_LOW: i64 = 14;
/// Minimum remaining days of a node's certificate: nodes renew at half of its life, so a node below this does not
/// renew.
const NODE_DAYS_LOW: i64 = 5;
/// Maximum age of the newest backup, in days; an older one means that no more are created.
const BACKUP_DAYS_OLD: i64 = 8;
/// Maximum clock skew of a node, in seconds; beyond it heartbeats would be refused if the agent did not correct for it.
const SKEW_S_MAX: i64 = 5;
/// Seconds for which a proxy that did not name its clients is reported.
const UNNAMED_REPORTED_FOR_S: i64 = 86_400;
/// Maximum number of nodes that a finding names; the others are counted.
const NAMED_MAX: usize = 10;
/// Nodes per read.
const PAGE: usize = 500;

/// The data from the database.
struct Seen {
    faults: Vec<String>,
    version: i64,
    /// Data from tables of this program's version.
    cluster: Option<Cluster>,
}

struct Cluster {
    first_password: bool,
    /// By node: its agent's version, and its reported clock skew.
    nodes: BTreeMap<NodeId, (Option<String>, Option<i64>)>,
    states: Vec<(NodeId, LeaseState)>,
    first_certificate_end: Option<Timestamp>,
    /// Values near their limit.
    near_limits: Vec<String>,
    /// The newest event of the last day about a proxy that does not name its clients.
    unnamed: Option<Event>,
    /// Nodes with an undecided identity conflict between two machines.
    copied: Vec<NodeId>,
    /// Ids and names that look alike.
    alike: Vec<String>,
}

fn see(read: &Read) -> Result<Seen> {
    let faults = health::faults(read)?;
    let version = health::version(read)?;
    let mut seen = Seen { faults, version, cluster: None };
    if seen.faults.is_empty() && version == health::version_known() {
        seen.cluster = Some(cluster(read)?);
    }
    Ok(seen)
}

fn cluster(read: &Read) -> Result<Cluster> {
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        let page = nodes::page_of_statuses(read, &Paging { limit: PAGE, bytes_max: usize::MAX, after })?;
        for (id, status) in page.items {
            let version = status.get(status_keys::VERSION).and_then(Value::as_str).map(str::to_string);
            all.insert(id, (version, status.get(status_keys::CLOCK_OFFSET_SECONDS).and_then(Value::as_i64)));
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    Ok(Cluster {
        first_password: users::has_seeded_password(read)?,
        nodes: all,
        states: leases::enrolled(read)?.into_iter().map(|n| (n.node_id, n.lease.state)).collect(),
        first_certificate_end: nodes::first_identity_end(read)?,
        near_limits: limits::near(read)?,
        unnamed: unnamed(read)?,
        copied: node_runs::all(read)?.into_iter().filter(|(_, c)| c.decided_at.is_none()).map(|(id, _)| id).collect(),
        alike: lookalikes::all(read)?,
    })
}

fn unnamed(read: &Read) -> Result<Option<Event>> {
    let since = Some(clock::now().plus_secs(-UNNAMED_REPORTED_FOR_S));
    let filter = EventFilter { name: Some(PROXY_UNNAMED.name.to_string()), since, ..EventFilter::default() };
    Ok(events::page(read, &Paging::first(1), &filter)?.items.pop())
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
                    findings.extend(of_cluster(cluster, runs));
                    findings.push(proxies(config, cluster));
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

fn of_cluster(cluster: &Cluster, runs: bool) -> Vec<Finding> {
    vec![
        password(cluster),
        versions(cluster),
        silent(cluster, runs),
        clocks(cluster),
        node_certificates(cluster),
        near_limits(cluster),
        copied(cluster),
        alike(cluster),
    ]
}

/// Checks that proxies name their clients.
fn proxies(config: &Config, cluster: &Cluster) -> Finding {
    const CHECK: &str = "proxies";
    let Some(event) = &cluster.unnamed else {
        return match config.trusted_proxies.is_empty() {
            true => Finding::skipped(CHECK, "no proxy is trusted (TRUSTED_PROXIES)"),
            false => Finding::ok(CHECK, "trusted proxies named the client of every request in the last day"),
        };
    };
    let told = |name: &str| {
        event.fields.get(name).map(|value| value.as_str().map_or(value.to_string(), str::to_string)).unwrap_or_default()
    };
    Finding::warn(
        CHECK,
        format!(
            "at {} the proxy {} forwarded a request with {:?} in place of the client's address",
            event.created_at,
            told("proxy"),
            told("word")
        ),
        "let the proxy set X-Forwarded-For to the client's address: until then all its clients share one limit on \
            sign-ins and requests",
    )
}

fn alike(cluster: &Cluster) -> Finding {
    const CHECK: &str = "names.alike";
    match cluster.alike.is_empty() {
        true => Finding::ok(CHECK, "no two ids or names differ only in case or in leading or trailing blanks"),
        false => Finding::warn(
            CHECK,
            format!("these differ only in case or in leading or trailing blanks: {}", named(&cluster.alike)),
            "give one of them another name (a node: uptimemesh join --name, or PATCH /nodes/NODE), or delete the one \
                created by mistake",
        ),
    }
}

fn password(cluster: &Cluster) -> Finding {
    match cluster.first_password {
        true => Finding::warn(
            "password",
            "a user still has the initial password, which is public",
            "uptimemesh set-password",
        ),
        false => Finding::ok("password", "no user has the initial password"),
    }
}

fn near_limits(cluster: &Cluster) -> Finding {
    const CHECK: &str = "limits";
    if cluster.near_limits.is_empty() {
        return Finding::ok(CHECK, "nothing is near a limit of the settings");
    }
    let to_do =
        "uptimemesh setting set KEY NUMBER raises a limit; delete nodes that are gone, or set node_forget_after_days";
    Finding::warn(CHECK, format!("there are {}", cluster.near_limits.join(", ")), to_do)
}

/// Nodes whose identity is used by two machines.
fn copied(cluster: &Cluster) -> Finding {
    const CHECK: &str = "nodes.copied";
    match cluster.copied.is_empty() {
        true if cluster.nodes.is_empty() => Finding::skipped(CHECK, "there are no nodes"),
        true => Finding::ok(CHECK, "no two machines send heartbeats as one node"),
        false => Finding::warn(
            CHECK,
            format!(
                "two machines send heartbeats as one node (a copied card or image), and the later one is refused: {}",
                named(&cluster.copied.iter().map(NodeId::to_string).collect::<Vec<_>>())
            ),
            "uptimemesh node runs NODE; uptimemesh node keep-run NODE RUN; then join the other machine as a new node",
        ),
    }
}

/// Lists some names and counts the rest.
fn named(names: &[String]) -> String {
    match names.len() {
        n if n > NAMED_MAX => format!("{} and {} more", names[..NAMED_MAX].join(", "), n - NAMED_MAX),
        _ => names.join(", "),
    }
}

fn versions(cluster: &Cluster) -> Finding {
    const CHECK: &str = "nodes.versions";
    let own = env!("CARGO_PKG_VERSION");
    let is_other = |version: &Option<String>| version.as_deref().is_some_and(|v| v != own);
    let others: Vec<String> = cluster
        .nodes
        .iter()
        .filter(|(_, (version, _))| is_other(version))
        .map(|(id, (version, _))| format!("{id} ({})", version.as_deref().unwrap_or_default()))
        .collect();
    let unsaid = cluster.nodes.values().filter(|(version, _)| version.is_none()).count();
    let silent = if unsaid > 0 { format!("; {unsaid} do not report theirs") } else { String::new() };
    match (cluster.nodes.len(), others.is_empty()) {
        (0, _) => Finding::skipped(CHECK, "there are no nodes"),
        (count, true) => {
            Finding::ok(CHECK, format!("none of {count} nodes reports a version other than {own}{silent}"))
        }
        (_, false) => Finding::warn(
            CHECK,
            format!("these report a version other than {own}: {}{silent}", named(&others)),
            "on each of them: uptimemesh update",
        ),
    }
}

fn silent(cluster: &Cluster, runs: bool) -> Finding {
    const CHECK: &str = "nodes.leases";
    if cluster.states.is_empty() {
        return Finding::skipped(CHECK, "no node is enrolled");
    }
    if !runs {
        return Finding::skipped(CHECK, "the server is stopped: nodes cannot renew their leases");
    }
    let silent: Vec<String> = cluster
        .states
        .iter()
        .filter(|(_, state)| *state != LeaseState::Alive)
        .map(|(id, state)| format!("{id} ({})", state.as_str()))
        .collect();
    match silent.is_empty() {
        true => Finding::ok(CHECK, format!("all {} enrolled nodes are alive", cluster.states.len())),
        false => Finding::warn(
            CHECK,
            format!("not alive: {}", named(&silent)),
            "on each of them: uptimemesh doctor; journalctl -u uptimemesh-agent",
        ),
    }
}

fn clocks(cluster: &Cluster) -> Finding {
    const CHECK: &str = "nodes.clocks";
    let told = cluster.nodes.values().filter(|(_, offset)| offset.is_some()).count();
    let off: Vec<String> = cluster
        .nodes
        .iter()
        .filter_map(|(id, (_, offset))| {
            offset
                .filter(|s| s.abs() > SKEW_S_MAX)
                .map(|s| format!("{id} ({} s {})", s.abs(), if s > 0 { "behind" } else { "ahead" }))
        })
        .collect();
    match (told, off.is_empty()) {
        (0, _) => Finding::skipped(CHECK, "no node reports its clock"),
        (_, true) => {
            Finding::ok(CHECK, format!("the clocks of {told} nodes agree with this one within {SKEW_S_MAX} s"))
        }
        (_, false) => Finding::warn(
            CHECK,
            format!("these clocks are off: {}", named(&off)),
            "on each of them: timedatectl set-ntp true",
        ),
    }
}

fn node_certificates(cluster: &Cluster) -> Finding {
    const CHECK: &str = "certificates.nodes";
    let to_do = "uptimemesh node leases; a running agent renews it; if the agent is stopped: systemctl start \
        uptimemesh-agent, or uptimemesh node delete NODE";
    match cluster.first_certificate_end.map(|end| (days_left(end), end)) {
        None => Finding::skipped(CHECK, "no node has one"),
        Some((days, end)) if days < NODE_DAYS_LOW => {
            Finding::warn(CHECK, format!("the first node certificate expires, or expired, at {end}"), to_do)
        }
        Some((days, _)) => Finding::ok(CHECK, format!("all are valid for {days} more days, and are renewed earlier")),
    }
}
