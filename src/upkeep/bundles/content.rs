//! Contents of a bundle: gathered first, because text that people wrote in one part may appear in a sentence of
//! another, then written.

use super::archive::TarGz;
use super::forms::PARTS;
use super::redact::Redactor;
use super::shape::Closer;
use crate::clock;
use crate::config::Config;
use crate::control::trust::ca;
use crate::control::{Control, settings};
use crate::crypto;
use crate::error::{Chain, Doing, Error, Result};
use crate::files;
use crate::json;
use crate::model::events::EventFilter;
use crate::model::nodes::NodeFilter;
use crate::model::runs::{Kind, Run};
use crate::model::{Page, Paging};
use crate::store::users;
use crate::upkeep::App;
use crate::upkeep::{doctor, metrics};
use serde::Serialize;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Maximum size of a file in a bundle, in bytes: five thousand nodes, or the services of a fleet.
const FILE_BYTES_MAX: usize = 4 << 20;
/// Maximum size of the log's tail, in bytes: about thirty thousand lines.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// Maximum size of all files together, in bytes, and so of a bundle, which is not compressed. A machine of 512 MB can
/// hold it in memory while it is created.
const BUNDLE_BYTES_MAX: usize = 32 << 20;
/// Maximum number of events; the newest are kept.
const EVENTS_MAX: usize = 2000;
/// Rows per read: no read keeps the database for long.
const PAGE: usize = 500;
/// Maximum size of a file with secrets, in bytes; a larger one is not ours.
const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;
/// Maximum number of files with secrets in one directory, and of directories below it: more than a control plane has
/// nodes of its own.
const SECRET_FILES_MAX: usize = 1000;
const SECRET_DEPTH_MAX: usize = 4;
/// Maximum number of users whose password hash is searched for.
const USERS_MAX: usize = 10_000;

/// One file of a bundle, before its secrets are removed.
struct Part {
    path: &'static str,
    body: Body,
    /// Note about what was left out.
    cut: Option<String>,
}

/// As text: trees of JSON need four times the memory, so only one exists at a time.
enum Body {
    Json(String),
    Log(String),
    /// Our metrics; the labels are ours too.
    Figures(String),
}

/// Writes the bundle for a request, completely and flushed.
pub fn write(app: &App, run: &Run, path: &Path) -> Result<()> {
    let (parts, mut left_out) = gather(app);
    let (mut secrets, mut words) = (Redactor::default(), Redactor::default());
    add_known_secrets(&app.control, &mut secrets);
    if !run.with_values {
        let mut closer = Closer { words: &mut words, learning: true };
        parts.iter().try_for_each(|part| closed(part, &mut closer).map(drop))?;
    }
    let now = clock::now();
    let _ = fs::remove_file(path);
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(files::PRIVATE)
        .open(path)
        .doing("create a support bundle")?;
    let doing = "write a support bundle";
    let mut archive = TarGz::new(BufWriter::new(file), now.secs()).doing(doing)?;
    let (mut listed, mut total) = (Vec::new(), 0);
    for part in parts {
        let text = match run.with_values {
            true => with_values(&part)?,
            false => closed(&part, &mut Closer { words: &mut words, learning: false })?,
        };
        let text = secrets.redact(&text);
        if total + text.len() > BUNDLE_BYTES_MAX {
            left_out.push(json!({"path": part.path, "why": format!("all files together would have more than \
                {BUNDLE_BYTES_MAX} bytes")}));
            continue;
        }
        total += text.len();
        archive.add(part.path, text.as_bytes()).doing(doing)?;
        listed.push(json!({"path": part.path, "bytes": text.len(), "sha256": crypto::sha256_hex(text.as_bytes()),
            "cut": part.cut}));
    }
    let manifest = json!({
        "format": 2,
        "bundle_id": run.id,
        "made_at": now,
        "program": "uptimemesh",
        "version": env!("CARGO_PKG_VERSION"),
        "with_values": run.with_values,
        "files": listed,
        "left_out": left_out,
        "limits": {"file_bytes": FILE_BYTES_MAX, "log_bytes": LOG_BYTES_MAX, "all_bytes": BUNDLE_BYTES_MAX,
        "events": EVENTS_MAX},
        "redaction": if run.with_values { WITH_VALUES } else { WITHOUT_VALUES },
    });
    let manifest = secrets.redact(&(serde_json::to_string_pretty(&manifest).doing(doing)? + "\n"));
    archive.add("manifest.json", manifest.as_bytes()).doing(doing)?;
    let mut out = archive.finish().doing(doing)?;
    out.flush().doing(doing)?;
    out.get_ref().sync_all().doing(doing)
}

/// Description of a bundle's contents in its manifest.
const WITHOUT_VALUES: &str = "Only UptimeMesh's own fields show their values: numbers, times, ids, addresses and fixed \
    words. All other text is reduced to key names, types and lengths.";
const WITH_VALUES: &str = "THIS BUNDLE MAY CONTAIN SECRETS: specs, environments, labels, settings, events and log \
    lines are shown as written. Only the server's own keys, tokens and password hashes are removed. Keep it private.";

/// Text of a part that shows only the shape of whatever people or programs wrote.
fn closed(part: &Part, closer: &mut Closer) -> Result<String> {
    match (&part.body, PARTS.iter().find(|(path, _)| *path == part.path)) {
        (Body::Json(text), Some((_, form))) => pretty(&closer.value(parsed(text)?, form)),
        (Body::Json(_), None) => Err(Error::fault(MAKING, format!("{} has no form", part.path))),
        (Body::Log(text), _) => Ok(text.lines().map(|line| closer.line(line) + "\n").collect()),
        (Body::Figures(text), _) => Ok(text.clone()),
    }
}

fn with_values(part: &Part) -> Result<String> {
    match &part.body {
        Body::Json(text) => pretty(&parsed(text)?),
        Body::Log(text) | Body::Figures(text) => Ok(text.clone()),
    }
}

fn pretty(value: &Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(value).doing(MAKING)? + "\n")
}

/// Gathers all parts. A part that cannot be read is named with the reason, because that may be the problem to solve.
fn gather(app: &App) -> (Vec<Part>, Vec<Value>) {
    use crate::control::access::api_tokens;
    use crate::control::events;
    use crate::control::fleet::{leases, nodes};
    use crate::control::trust::join_tokens;
    use crate::control::work::{endpoints, replicas, routers, runs, services};
    type Make = fn(&App) -> Result<(Body, Option<String>)>;
    let all: &[(&'static str, Make)] = &[
        ("doctor.json", |a| plain(&doctor::of_running(&a.control))),
        ("config.json", |a| plain(&config_of(&a.control.config))),
        ("cluster/nodes.json", |a| list(|p| nodes::list(&a.control, p, &NodeFilter::default()))),
        ("cluster/leases.json", |a| list(|p| leases::list(&a.control, p))),
        ("cluster/services.json", |a| list(|p| services::list(&a.control, p))),
        ("cluster/replicas.json", |a| list(|p| replicas::list(&a.control, p, None, None))),
        ("cluster/endpoints.json", |a| list(|p| endpoints::list(&a.control, p, None))),
        ("cluster/router-assignments.json", |a| list(|p| routers::list(&a.control, p, None))),
        ("cluster/settings.json", |a| list(|p| settings::list(&a.control, p))),
        ("cluster/snapshots.json", |a| list(|p| runs::list(&a.control, Kind::Snapshot, p))),
        ("cluster/support-bundles.json", |a| list(|p| runs::list(&a.control, Kind::Bundle, p))),
        ("cluster/users.json", |a| list(|p| crate::control::access::users::list(&a.control, p))),
        ("cluster/api-tokens.json", |a| list(|p| api_tokens::list(&a.control, p, None))),
        ("cluster/join-tokens.json", |a| list(|p| join_tokens::list(&a.control, p))),
        ("cluster/authority.json", |a| plain(&ca::show(&a.control)?)),
        ("cluster/scheduler.json", |a| plain(&a.scheduler.status(&a.control)?)),
        ("events.json", |a| list_of(EVENTS_MAX, |p| events::list(&a.control, p, &EventFilter::default()))),
        ("metrics.txt", |a| Ok((Body::Figures(metrics::text(a)?), None))),
        ("log/app.log", |a| log_tail(&a.control.config)),
    ];
    let (mut parts, mut left_out) = (Vec::new(), Vec::new());
    for (path, make) in all {
        match make(app) {
            Ok((body, cut)) => parts.push(Part { path, body, cut }),
            Err(e) => left_out.push(json!({"path": path, "why": Chain(&e).to_string()})),
        }
    }
    (parts, left_out)
}

fn parsed(text: &str) -> Result<Value> {
    json::kept(text).doing(MAKING)
}

/// Action named in the error if a part cannot be written as JSON.
const MAKING: &str = "write a part of a support bundle";

fn plain(value: &impl Serialize) -> Result<(Body, Option<String>)> {
    Ok((Body::Json(serde_json::to_string(value).doing(MAKING)?), None))
}

fn list<T: Serialize>(read: impl Fn(&Paging) -> Result<Page<T>>) -> Result<(Body, Option<String>)> {
    list_of(usize::MAX, read)
}

/// A list of at most `items_max` items, within the size of a file.
fn list_of<T: Serialize>(
    items_max: usize,
    read: impl Fn(&Paging) -> Result<Page<T>>,
) -> Result<(Body, Option<String>)> {
    let (mut text, mut count, mut after) = ("[".to_string(), 0, None);
    let mut cut = None;
    while cut.is_none() {
        let page = read(&Paging { limit: PAGE, bytes_max: usize::MAX, after })?;
        for item in &page.items {
            let item = serde_json::to_string(item).doing(MAKING)?;
            if text.len() + item.len() > FILE_BYTES_MAX || count == items_max {
                cut = Some(format!("the first {count} of {}", page.total));
                break;
            }
            if count > 0 {
                text.push(',');
            }
            text.push_str(&item);
            count += 1;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    text.push(']');
    Ok((Body::Json(text), cut))
}

/// The configuration; of secrets only the names.
fn config_of(config: &Config) -> Value {
    config.effective().into_iter().map(|(name, value)| json!({"setting": name, "is": value})).collect()
}

/// The tail of the log, starting with a whole line; includes the previous file if the log was rotated a moment ago.
fn log_tail(config: &Config) -> Result<(Body, Option<String>)> {
    let Some(path) = &config.log_file else {
        let why = "no log file is kept (LOG_FILE is empty); the service manager may have it: journalctl -u uptimemesh";
        return Err(Error::Unavailable(why.into()));
    };
    crate::logger::flush();
    let (text, all) = tail(path, LOG_BYTES_MAX)?;
    let mut before = path.clone().into_os_string();
    before.push(".1");
    let (older, _) = tail(Path::new(&before), LOG_BYTES_MAX.saturating_sub(text.len() as u64)).unwrap_or_default();
    let cut = (text.len() as u64) < all;
    Ok((Body::Log(older + &text), cut.then(|| format!("the last of {all} bytes"))))
}

/// The last lines of a file, at most `bytes_max` bytes, and the size of the file.
fn tail(path: &Path, bytes_max: u64) -> Result<(String, u64)> {
    let doing = "read the log";
    let mut file = File::open(path).doing(doing)?;
    let all = file.metadata().doing(doing)?.len();
    let from = all.saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(from)).doing(doing)?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes).doing(doing)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match from {
        0 => Ok((text, all)),
        // The first line is incomplete.
        _ => Ok((text.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_string()), all)),
    }
}

/// Adds every secret that this machine's control plane knows, by value.
fn add_known_secrets(control: &Control, redactor: &mut Redactor) {
    let config = &control.config;
    let of_config = [
        Some(&config.auth_secret_key),
        Some(&config.cluster_signing_key),
        config.metrics_token.as_ref(),
        config.backup_passphrase.as_ref(),
    ];
    for secret in of_config.into_iter().flatten() {
        redactor.add(&String::from_utf8_lossy(secret.expose()));
    }
    redactor.add(control.sessions.local.secret());
    let mut files = SECRET_FILES_MAX;
    for dir in [&config.data_dir.join("keys"), &config.pki_dir, &config.data_dir.join("identities")] {
        add_dir(dir, SECRET_DEPTH_MAX, &mut files, redactor);
    }
    if let Some((_, key)) = &config.tls_files {
        add_file(key, redactor);
    }
    if let Some(passphrase) = &config.backup_passphrase_file {
        add_file(passphrase, redactor);
    }
    if let Err(e) = add_hashes(control, redactor) {
        // No part of a bundle contains them by design.
        log::warn!(target: "system", event = "support_bundle.hashes", error:% = Chain(&e);
            "Could not read the password hashes that a support bundle must not contain");
    }
}

fn add_dir(dir: &Path, depth: usize, files: &mut usize, redactor: &mut Redactor) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if *files == 0 {
            return;
        }
        *files -= 1;
        if path.is_dir() {
            if depth > 0 {
                add_dir(&path, depth - 1, files, redactor);
            }
        } else if !path.extension().is_some_and(|e| e == "crt" || e == "urls") {
            add_file(&path, redactor);
        }
    }
}

/// Adds the secret in a file, or each of its lines of base64.
fn add_file(path: &Path, redactor: &mut Redactor) {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text));
    if read.is_ok() {
        text.lines().filter(|line| !line.starts_with("-----")).for_each(|line| redactor.add(line));
    }
}

fn add_hashes(control: &Control, redactor: &mut Redactor) -> Result<()> {
    let mut after = None;
    let mut seen = 0;
    while seen < USERS_MAX {
        let page = control
            .store
            .read(|r| users::page(r, &Paging { limit: PAGE, bytes_max: usize::MAX, after: after.clone() }))?;
        seen += page.items.len();
        for person in &page.items {
            if let Some(account) = control.store.read(|r| users::by_name(r, &person.name))? {
                redactor.add(&account.password_hash);
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    Ok(())
}
