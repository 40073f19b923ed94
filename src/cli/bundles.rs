//! Commands for support bundles.

use super::answers::{encoded, listed_at, remove, said, shown};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output::{self, Kind, Table, column};
use super::progress::Progress;
use super::waiting::{self, State, TIMEOUT};
use super::watch::WATCH;
use crate::client::{Api, Called};
use crate::files;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

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
    TIMEOUT,
    opt("output", "FILE", "wait, and put it into this file"),
    opt("with-values", "", "also hold what people wrote, secrets included; for your own use only"),
];

/// Options of `bundle download`.
const DOWNLOAD: &[Opt] = &[opt("output", "FILE", "put it into this file (default uptimemesh-ID.tar.gz)")];

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
    let limit = waiting::limit(args);
    args.get("output").map_or(Ok(()), |path| replaceable(Path::new(path)))?;
    let mut api = signed_in(args)?;
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
        let again = format!("uptimemesh bundle show {id}");
        bundle = waiting::wait(args, &mut api, limit, &again, |api| progress_of(api, &id))?;
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

/// State of a bundle that the control plane makes.
fn progress_of(api: &Api, id: &str) -> Called<State<Value>> {
    let bundle = api.get(&route(id))?;
    Ok(match bundle["status"].as_str() {
        Some("completed") => State::Done(bundle),
        Some("failed") => State::Failed(Failure::Failed(bundle["error"].as_str().unwrap_or("it failed").to_string())),
        _ => State::Working(format!("the support bundle {id} is {}", said(&bundle["status"]))),
    })
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
    let again = format!("Nothing was kept here; to fetch it again: uptimemesh bundle download {id}");
    let progress = Progress::of_own_work(args, &again)?;
    let bytes = api.download(&format!("{}/download", route(id)), &mut made.file)?;
    made.finish()?;
    drop(progress);
    if output::wants_json(args) {
        output::structured(args, &json!({"id": id, "file": path.display().to_string(), "bytes": bytes}));
    } else {
        output::outcome(args, id, &format!("Wrote {} ({bytes} bytes). Check it before you share it.", path.display()));
    }
    Ok(())
}
