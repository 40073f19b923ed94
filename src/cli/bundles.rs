//! Commands for support bundles.

use super::answers::{encoded, listed_at, remove, said, shown};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output::{self, Kind, Table, column};
use super::progress::Progress;
use super::watch::WATCH;
use crate::client::Api;
use crate::{clock, files};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const BUNDLES: Table = Table {
    noun: "support bundles",
    id: "id",
    columns: &[
        column("ID", "id", Kind::Id),
        column("STATUS", "status", Kind::State),
        column("REQUESTED BY", "requested_by", Kind::Text).sparse(),
        column("AGE", "created_at", Kind::Time),
        column("ERROR", "error", Kind::Text).sparse(),
        column("PATH", "path", Kind::Text).sparse().wide(),
    ],
    tabs: &[
        ("ID", "id"),
        ("STATUS", "status"),
        ("PATH", "path"),
        ("REQUESTED-BY", "requested_by"),
        ("CREATED", "created_at"),
        ("ERROR", "error"),
    ],
};

/// Options of `bundle create`.
const CREATE: &[Opt] = &[
    opt("wait", "", "wait until it is made"),
    opt("timeout", "SECONDS", "longest wait (default 300)"),
    opt("output", "FILE", "wait, and put it into this file"),
    opt("with-values", "", "also hold what people wrote, secrets included; for your own use only"),
];

/// Options of `bundle download`.
const DOWNLOAD: &[Opt] = &[opt("output", "FILE", "put it into this file (default uptimemesh-ID.tar.gz)")];

/// Interval between checks of a wait.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command(
        "bundle create",
        "",
        "Create a support bundle at the control plane, without secrets.",
        &[CREATE, SIGN_IN],
        create,
    )
    .formerly(&["support-bundle create"])
    .example("uptimemesh bundle create --output bundle.tar.gz"),
    command("bundle list", "", "List support bundles, newest first.", &[WATCH, SIGN_IN], list)
        .formerly(&["support-bundle list"]),
    command("bundle show", "ID", "Print the state of a support bundle.", &[SIGN_IN], show),
    command("bundle download", "ID", "Fetch a support bundle.", &[DOWNLOAD, SIGN_IN], download)
        .formerly(&["support-bundle download"]),
    command("bundle delete", "ID", "Remove a support bundle.", &[SIGN_IN], delete),
];

fn list(args: &Args) -> Result<(), Failure> {
    listed_at(args, &BUNDLES, "/support-bundles")
}

fn show(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&route(args.word(0)))?);
    Ok(())
}

fn delete(args: &Args) -> Result<(), Failure> {
    remove(args, &route(args.word(0)))
}

fn route(id: &str) -> String {
    format!("/support-bundles/{}", encoded(id))
}

fn create(args: &Args) -> Result<(), Failure> {
    let timeout_s = args.int("timeout", 300);
    args.get("output").map_or(Ok(()), |path| replaceable(Path::new(path)))?;
    let api = signed_in(args)?;
    let mut bundle = api.post(
        "/support-bundles",
        &json!({ "requested_by": args.get("username"), "with_values": args.has("with-values") }),
    )?;
    let id = bundle["id"].as_str().unwrap_or_default().to_string();
    if args.has("with-values") {
        eprintln!(
            "This bundle will hold what people wrote: specs, environments, labels, settings, events and log lines, \
                with every secret in them. Keep it to yourself."
        );
    }
    if args.has("wait") || args.get("output").is_some() {
        bundle = wait(args, &api, &id, Duration::from_secs(timeout_s.unsigned_abs()))?;
    }
    match args.get("output") {
        Some(path) => fetch(args, &api, &id, Path::new(path)),
        None => {
            output::done(
                args,
                &bundle,
                &format!("The support bundle {} is {}.", said(&bundle["id"]), said(&bundle["status"])),
            );
            Ok(())
        }
    }
}

/// Waits until it is made; fails with the reason where it is not.
fn wait(args: &Args, api: &Api, id: &str, at_most: Duration) -> Result<Value, Failure> {
    let end = clock::tick() + at_most;
    let progress = Progress::begin(args, &format!("uptimemesh bundle show {id}"))?;
    progress.say(&format!("The control plane makes the support bundle {id} ..."));
    loop {
        let bundle = api.get(&route(id))?;
        match bundle["status"].as_str() {
            Some("completed") => return Ok(bundle),
            Some("failed") => {
                return Err(Failure::Failed(bundle["error"].as_str().map_or("it failed".to_string(), output::ascii)));
            }
            _ if clock::tick() > end => {
                return Err(Failure::TimedOut(format!(
                    "it is still {}; look again: uptimemesh bundle show {id}",
                    said(&bundle["status"])
                )));
            }
            _ => std::thread::sleep(LOOK_EVERY),
        }
    }
}

fn download(args: &Args) -> Result<(), Failure> {
    let id = args.word(0);
    let path = args
        .get("output")
        .map_or_else(|| PathBuf::from(format!("uptimemesh-{}.tar.gz", id.replace(['/', ':'], "_"))), PathBuf::from);
    replaceable(&path)?;
    fetch(args, &signed_in(args)?, id, &path)
}

/// A file is put into its place as a whole; a device, a link such as `/dev/stdout`, or a directory must not be what it
/// replaces.
fn replaceable(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => Err(Failure::Failed(format!(
            "{} is not a regular file; name a new one, or one that may be replaced",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Puts a bundle into a file that only its owner may read, whole or not at all.
fn fetch(args: &Args, api: &Api, id: &str, path: &Path) -> Result<(), Failure> {
    let mut made = files::Replacing::begin(path)
        .map_err(|e| format!("{} cannot be written: {e}", files::beside(path).display()))?;
    let bytes = api.download(&format!("{}/download", route(id)), &mut made.file)?;
    made.finish()?;
    if output::wants_json(args) {
        output::structured(args, &json!({"id": id, "file": path.display().to_string(), "bytes": bytes}));
    } else {
        output::outcome(args, id, &format!("Wrote {} ({bytes} bytes). Check it before you share it.", path.display()));
    }
    Ok(())
}
